//! What it costs to learn a large tree: `cargo bench --bench walk` (as root).
//!
//! Makes directories on a tmpfs, lets the daemon walk them, and prints CPU seconds and bytes for
//! each directory beside what `find` needs for the same tree in the same run. The number of
//! directories is the first argument, or 1,000,000.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark ends at the first thing that does not work, and prints its table"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(1_000_000_usize);
    let ground = tempfile::tempdir().unwrap();
    let (home, tree) = (ground.path().join("home"), ground.path().join("tree"));
    fs::create_dir_all(home.join(".config/fsmon")).unwrap();
    fs::create_dir(&tree).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8g,nr_inodes=0", "walk"])
        .arg(&tree)
        .status()
        .unwrap();
    assert!(mounted.success(), "root is needed to mount a tmpfs");
    let _unmount = Unmount(&tree);
    make(&tree, wanted);
    let socket = format!("[socket]\npath = {:?}\n", home.join("fsmon.sock"));
    fs::write(home.join(".config/fsmon/fsmon.toml"), socket).unwrap();
    let fsmon = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fsmon"));
        command
            .env_clear()
            .env("HOME", &home)
            .env("PATH", "/usr/bin:/bin");
        command
    };
    fsmon()
        .args(["add", "_global", "-r", "--path"])
        .arg(&tree)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let mut daemon = fsmon()
        .args([
            "daemon",
            "--debug",
            "--cache-dir-cap",
            "2000000",
            "--cache-stats-interval",
            "3600",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(daemon.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("a walk has ended"))
        .unwrap_or_default();
    let numbers: Vec<usize> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let cpu = cpu_seconds(daemon.id());
    let resident = status_kib(daemon.id(), "VmRSS:");
    Command::new("kill")
        .arg(daemon.id().to_string())
        .status()
        .unwrap();
    daemon.wait().unwrap();
    let find = reference(&tree);
    let (known, bytes) = (numbers[0], numbers[1]);
    println!("| directories | CPU seconds | of `find -type d` | bytes each | resident |");
    println!("|---|---|---|---|---|");
    println!(
        "| {known} | {cpu:.2} | {find:.2} | {:.1} | {} MiB |",
        bytes as f64 / known as f64,
        resident / 1024
    );
    assert!(known >= wanted, "the walk ended early: {line}");
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0).status().ok();
    }
}

/// A tree a hundred wide at each level, as deep as it has to be.
fn make(tree: &Path, wanted: usize) {
    let mut made = 0;
    let mut level = vec![tree.to_owned()];
    while made < wanted {
        let mut next = Vec::new();
        for parent in &level {
            for n in 0..100.min(wanted - made) {
                let dir = parent.join(format!("dir{n:03}"));
                fs::create_dir(&dir).unwrap();
                next.push(dir);
                made += 1;
            }
        }
        level = next;
    }
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: f64 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|n| n.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

fn status_kib(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap()
}

fn reference(tree: &Path) -> f64 {
    let timed = format!(
        "times_before=$(cut -d' ' -f16,17 /proc/$$/stat); find '{}' -type d | wc -l >&2; cut -d' ' -f16,17 /proc/$$/stat",
        tree.display()
    );
    let output = Command::new("sh")
        .args(["-c", &timed])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .map(|n| n.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}
