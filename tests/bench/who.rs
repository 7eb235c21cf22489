//! What it costs to know who did it: `cargo bench --bench who` (as root).
//!
//! Short processes are started by two others, first without touching a file, then making, closing
//! and removing one each. The table shows the CPU time of the daemon beside that of a bare reader
//! of the same events, which asks for nothing, attributes nothing and writes nothing, in the same
//! run. The number of processes is the first argument, or 40,000.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends at the first thing that does not work, and prints its table"
)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use fsmon::event::TypeSet;
use fsmon::fid_parser::bits;
use fsmon::fid_parser::wire;
use fsmon::monitor::marks::Dialect;
use fsmon::sys::epoll::PollSet;
use fsmon::sys::fanotify::{Group, MarkOn, Reporting};

fn main() {
    if let Ok(order) = std::env::var(STARTER) {
        return start_half(&order);
    }
    let wanted = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(40_000_usize);
    let ground = tempfile::tempdir().unwrap();
    let tree = ground.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "nr_inodes=0", "who"])
        .arg(&tree)
        .status()
        .unwrap();
    assert!(mounted.success(), "root is needed to mount a tmpfs");
    let _unmount = Unmount(&tree);
    let bare = [
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "relocation-model=static",
    ];
    let ended = compiled("bench/programs/ended.rs", &bare, &tree);
    let deed = compiled(
        "kernel/programs/deed.rs",
        &["target-feature=+crt-static"],
        &tree,
    );
    let made = tree.join("made");
    fs::create_dir(&made).unwrap();
    let daemon = Daemon::start(&ground.path().join("home"), &made);
    let reader = Reader::start(&tree);

    println!(
        "{:<16} {:>8} {:>8} {:>9} {:>9} {:>11} {:>11} {:>9}",
        "", "lives", "a second", "records", "lines", "daemon ms", "reader ms", "ms/10,000"
    );
    let file = format!("{}/f.#", made.display());
    let quiet: [&str; 0] = [];
    let busy = ["make", &file, "drop"];
    for (name, program, words) in [
        ("no file touched", &ended, &quiet[..]),
        ("a file each", &deed, &busy[..]),
    ] {
        let lines = daemon.lines();
        let (before, read, records) = (daemon.cpu(), reader.cpu(), reader.records());
        let started = Instant::now();
        start_all(program, words, wanted);
        let rate = wanted as f64 / started.elapsed().as_secs_f64();
        daemon.settle(&made);
        let (cost, bare) = (daemon.cpu() - before, reader.cpu() - read);
        let lines = daemon.lines() - lines;
        println!(
            "{name:<16} {wanted:>8} {rate:>8.0} {:>9} {lines:>9} {:>11.1} {:>11.1} {:>9.1}",
            reader.records() - records,
            millis(cost),
            millis(bare),
            millis(cost) * 10_000.0 / wanted as f64
        );
        if lines > 1000 {
            println!(
                "  per 1,000,000 lines: {:.2} s of the daemon, {:.2} s of the reader",
                cost as f64 / 1e3 / lines as f64,
                bare as f64 / 1e3 / lines as f64
            );
        }
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Has two processes start `count` processes, one after the other each.
fn start_all(program: &Path, words: &[&str], count: usize) {
    let start = |half: usize| {
        Command::new(std::env::current_exe().unwrap())
            .env(STARTER, format!("{half} {}", count / 2))
            .arg(program)
            .args(words)
            .spawn()
            .unwrap()
    };
    for mut starter in [start(0), start(1)] {
        assert!(starter.wait().unwrap().success());
    }
}

/// What one of those processes does.
fn start_half(order: &str) {
    let (half, count) = order.split_once(' ').unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for number in 0..count.parse::<usize>().unwrap() {
        let number = format!("{half}-{number}");
        let words = arguments[1..].iter().map(|word| word.replace('#', &number));
        let status = Command::new(&arguments[0]).args(words).status().unwrap();
        assert!(status.success());
    }
}

/// In the environment of a process that starts others.
const STARTER: &str = "FSMON_BENCH_STARTER";

/// A static program out of the tests' folder, compiled into `tree`.
fn compiled(source: &str, flags: &[&str], tree: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(source);
    let program = tree.join(source.file_stem().unwrap());
    let done = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ])
        .args(flags.iter().flat_map(|flag| ["-C", flag]))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .status()
        .unwrap();
    assert!(done.success());
    program
}

/// The CPU time of all threads of a process, or of one, in nanoseconds.
fn cpu_of(tasks: &str, only: Option<&OsStr>) -> u64 {
    let dirs = fs::read_dir(tasks)
        .unwrap()
        .flatten()
        .map(|task| task.path());
    let wanted = |dir: &PathBuf| only.is_none_or(|only| dir.file_name() == Some(only));
    dirs.filter(wanted)
        .filter_map(|dir| fs::read_to_string(dir.join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(home: &Path, made: &Path) -> Self {
        fs::create_dir_all(home.join(".config/fsmon")).unwrap();
        let socket = format!("[socket]\npath = {:?}\n", home.join("fsmon.sock"));
        fs::write(home.join(".config/fsmon/fsmon.toml"), socket).unwrap();
        let fsmon = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fsmon"));
            command
                .env_clear()
                .env("HOME", home)
                .env("PATH", "/usr/bin:/bin")
                .stderr(Stdio::null());
            command
        };
        let added = fsmon()
            .args([
                "add",
                "_global",
                "-r",
                "-t",
                "CREATE,CLOSE_WRITE,DELETE",
                "--path",
            ])
            .arg(made)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(added.success());
        let mut child = fsmon()
            .arg("daemon")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = out.lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line == "ready"),
            "the daemon does not start"
        );
        Self {
            child,
            log: home.join(".local/state/fsmon/_global_log.jsonl"),
        }
    }

    fn cpu(&self) -> u64 {
        cpu_of(&format!("/proc/{}/task", self.child.id()), None)
    }

    fn lines(&self) -> usize {
        let bytes = fs::read(&self.log).unwrap_or_default();
        bytes.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Waits until everything up to now is in the log.
    fn settle(&self, made: &Path) {
        let marker = format!("marker-{}", self.lines());
        fs::create_dir(made.join(&marker)).unwrap();
        while !String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).contains(&marker) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads the same events, lets a millisecond of them gather when there are many, and counts them.
struct Reader {
    thread: OsString,
    records: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Reader {
    fn start(tree: &Path) -> Self {
        let group = Group::open(Reporting { target_fid: true }).unwrap();
        let dir = fs::File::open(tree).unwrap();
        let types = TypeSet::DEFAULT;
        let mask = Dialect::Modern.mask(types) & !bits::FS_ERROR;
        group
            .add_mark(MarkOn::Filesystem, mask, dir.as_fd())
            .unwrap();
        let (records, ended) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counted, stop) = (records.clone(), ended.clone());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            // A link to PID/task/TID.
            tell.send(fs::read_link("/proc/thread-self").unwrap())
                .unwrap();
            let poll = PollSet::new().unwrap();
            poll.add(group.as_fd()).unwrap();
            let mut buffer = vec![0; 32 << 10];
            while !stop.load(Ordering::Relaxed) {
                poll.wait().unwrap();
                std::thread::park_timeout(Duration::from_millis(1));
                while let Some(len) = group.read(&mut buffer).unwrap() {
                    let read = wire::masks(&buffer[..len]).count() as u64;
                    counted.fetch_add(read, Ordering::Relaxed);
                }
            }
        });
        Self {
            thread: told.recv().unwrap().file_name().unwrap().to_owned(),
            records,
            ended,
        }
    }

    fn cpu(&self) -> u64 {
        cpu_of("/proc/self/task", Some(&self.thread))
    }

    fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0).status().ok();
    }
}
