//! How long an answer takes: `cargo bench --bench ask` (as root for the last part).
//!
//! Makes a log, a gigabyte unless an argument names other mebibytes, asks it, and trims it on four
//! filesystems (with the argument `windows` it only asks for minutes; with `make FILE` it only makes
//! the log there), beside what `cat`, `grep -F`, `tail`, `jq` and `cp` take for the same in the same
//! run. Medians of several runs: wall and CPU seconds of the program alone, and its peak memory. What
//! it prints goes through a pipe to a reader that only counts.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends at the first thing that does not work, and prints its table"
)]

#[path = "generate.rs"]
mod generate;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta};
use fsmon::event::WallTime;
use generate::{Made, write_log};
use wait4::Wait4 as _;

const RUNS: usize = 5;

fn main() {
    let mebibytes = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(1024_u64);
    let mut words = std::env::args();
    if words.any(|word| word == "make") {
        let made = write_log(Path::new(&words.next().unwrap()), mebibytes << 20);
        println!("{:#?}", made.unwrap());
        return;
    }
    let ground = tempfile::tempdir().unwrap();
    let home = Home::new(ground.path());
    let made = write_log(&home.log, mebibytes << 20).unwrap();
    println!(
        "{} lines, {:.2} GiB, {:.1} days\n",
        made.lines,
        made.bytes as f64 / f64::from(1 << 30),
        (made.last.0 - made.first.0) as f64 / 86_400e9
    );
    head();
    ask_minutes(&home, &made);
    if std::env::args().all(|word| word != "windows") {
        ask(&home, &made);
        trim(ground.path(), &home, &made);
    }
}

fn ask_minutes(home: &Home, made: &Made) {
    let at = |share: f64| {
        let from = WallTime(made.first.0 + ((made.last.0 - made.first.0) as f64 * share) as i64);
        let text = |minutes| {
            let time = DateTime::from_timestamp_nanos(from.0) + TimeDelta::minutes(minutes);
            time.to_rfc3339_opts(SecondsFormat::Nanos, true)
        };
        [format!(">={}", text(0)), format!("<{}", text(1))]
    };
    for (name, share) in [
        ("near the start", 0.01),
        ("in the middle", 0.5),
        ("near the end", 0.99),
    ] {
        let [from, to] = at(share);
        row(&format!("a minute {name}"), || {
            home.fsmon(&["query", "_global", "-t", &from, "-t", &to])
        });
    }
}

fn ask(home: &Home, made: &Made) {
    let log = home.log.to_str().unwrap();
    row("all of it: cat", || command("cat", &[log]));
    row("all of it: query", || home.fsmon(&["query", "_global"]));
    row("a path: grep -F", || {
        command("grep", &["-F", made.below, log])
    });
    row("a path: query -p", || {
        home.fsmon(&["query", "_global", "-p", made.below])
    });
    row("last of each path: changes", || {
        home.fsmon(&["changes", "_global"])
    });
    row("below a path: changes -p", || {
        home.fsmon(&["changes", "_global", "-p", made.below])
    });
    row("one file: grep -F", || {
        command("grep", &["-F", made.saved, log])
    });
    row("one file: why", || {
        home.fsmon(&["why", made.saved, "--json"])
    });
    row("the last 100,000 lines: tail", || {
        command("tail", &["-n", "100000", log])
    });
    let part = home.log.with_file_name("part.jsonl");
    let part_bytes = made.bytes.min(64 << 20);
    let mut head = fs::File::open(&home.log).unwrap().take(part_bytes);
    std::io::copy(&mut head, &mut fs::File::create(&part).unwrap()).unwrap();
    let filter = format!("select(.path | startswith({:?}))", made.below);
    row("a path in the first 64 MiB: jq", || {
        command("jq", &["-c", &filter, part.to_str().unwrap()])
    });
    fs::remove_file(part).unwrap();
}

/// Trims the log to its newer half on each filesystem, beside copying that half there.
fn trim(ground: &Path, home: &Home, made: &Made) {
    println!("\nto the newer half, warm and synced:");
    head();
    let middle = made.first.0 + (made.last.0 - made.first.0) / 2;
    let kept = format!(
        ">={}",
        DateTime::from_timestamp_nanos(middle).to_rfc3339_opts(SecondsFormat::Nanos, true)
    );
    for kind in ["ext4", "xfs", "btrfs", "tmpfs"] {
        let Some(disk) = Disk::mount(ground, kind, made.bytes) else {
            println!("{kind:<34} (cannot be mounted here)");
            continue;
        };
        let there = Home::new(&disk.point);
        let again = || {
            fs::copy(&home.log, &there.log).unwrap();
            fs::File::open(&there.log).unwrap().sync_all().unwrap();
            // Warm: what was written may have been dropped from memory by a full disk's pressure.
            command("cat", &[there.log.to_str().unwrap()])
                .stdout(Stdio::null())
                .status()
                .unwrap();
        };
        print(
            &format!("{kind}: clean"),
            &(0..3)
                .map(|_| {
                    again();
                    measure(there.fsmon(&["clean", "_global", "-t", &kept, "-s", ">=100TB"]))
                })
                .collect::<Vec<_>>(),
        );
        let half = there.log.with_file_name("half");
        print(
            &format!("{kind}: cp of what stays"),
            &(0..3)
                .map(|_| {
                    fs::remove_file(&half).ok();
                    measure(command(
                        "cp",
                        &[
                            "--reflink=never",
                            there.log.to_str().unwrap(),
                            half.to_str().unwrap(),
                        ],
                    ))
                })
                .collect::<Vec<_>>(),
        );
    }
}

/// A home with a log in it.
struct Home {
    dir: PathBuf,
    log: PathBuf,
}

impl Home {
    fn new(dir: &Path) -> Self {
        let logs = dir.join(".local/state/fsmon");
        fs::create_dir_all(&logs).unwrap();
        Self {
            dir: dir.to_owned(),
            log: logs.join("_global_log.jsonl"),
        }
    }

    fn fsmon(&self, words: &[&str]) -> Command {
        let mut fsmon = command(env!("CARGO_BIN_EXE_fsmon"), words);
        fsmon.env_clear().env("HOME", &self.dir);
        fsmon
    }
}

fn command(program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env("LC_ALL", "C").stderr(Stdio::null());
    command
}

/// What one run took.
#[derive(Clone, Copy)]
struct Run {
    wall: Duration,
    cpu: Duration,
    peak: u64,
    bytes: u64,
}

fn measure(mut command: Command) -> Run {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let counting = std::thread::spawn(move || {
        let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
        while let Ok(got @ 1..) = out.read(&mut buffer) {
            bytes += got as u64;
        }
        bytes
    });
    let used = child.wait4().unwrap();
    let bytes = counting.join().unwrap();
    Run {
        wall: started.elapsed(),
        cpu: used.rusage.utime + used.rusage.stime,
        peak: used.rusage.maxrss,
        bytes,
    }
}

fn row(name: &str, make: impl Fn() -> Command) {
    let runs: Vec<Run> = (0..RUNS).map(|_| measure(make())).collect();
    print(name, &runs);
}

fn head() {
    println!(
        "{:<34} {:>9} {:>9} {:>10} {:>12}",
        "", "wall ms", "CPU ms", "peak MiB", "MiB out"
    );
}

fn print(name: &str, runs: &[Run]) {
    let median = |value: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "{name:<34} {:>9.1} {:>9.1} {:>10.1} {:>12.1}",
        median(|run| run.wall.as_secs_f64() * 1e3),
        median(|run| run.cpu.as_secs_f64() * 1e3),
        median(|run| run.peak as f64 / f64::from(1 << 20)),
        median(|run| run.bytes as f64 / f64::from(1 << 20)),
    );
}

/// A filesystem made for the purpose.
struct Disk {
    point: PathBuf,
    image: PathBuf,
}

impl Disk {
    fn mount(ground: &Path, kind: &str, bytes: u64) -> Option<Self> {
        let (point, image) = (ground.join(kind), ground.join(format!("{kind}.img")));
        fs::create_dir(&point).unwrap();
        let size = 3 * bytes + (512 << 20);
        let run = |program: &str, words: &[&str]| {
            let done = command(program, words).stdout(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        let (at, file) = (point.to_str().unwrap(), image.to_str().unwrap());
        let mounted = if kind == "tmpfs" {
            run(
                "mount",
                &[
                    "-t",
                    "tmpfs",
                    "-o",
                    &format!("size={size}"),
                    "fsmon-ask",
                    at,
                ],
            )
        } else {
            fs::File::create(&image).unwrap().set_len(size).unwrap();
            let force = if kind == "ext4" { "-F" } else { "-f" };
            run(&format!("mkfs.{kind}"), &["-q", force, file])
                && run("mount", &["-o", "loop", file, at])
        };
        let disk = Self { point, image };
        mounted.then_some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        command("umount", &[self.point.to_str().unwrap()])
            .status()
            .ok();
        fs::remove_file(&self.image).ok();
        fs::remove_dir(&self.point).ok();
    }
}
