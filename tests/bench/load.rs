//! What recording costs under load, and whether all of it is right: `cargo bench --bench load` (as root).
//!
//! Each workload runs alone, with a bare reader of the same events, with one that also writes a line
//! of fixed bytes for each event (the floor), and with fsmon; with `--peers` also with public
//! versions of it. What each workload did is known, and the log is compared with it. The rows are
//! medians of several rounds that take turns; CPU time counts, since others may be at work as well.
//!
//! - `--quick`: small workloads, one round
//! - `--only churn,flood`: these workloads, or `idle`
//! - `--rounds N`: three unless said
//! - `--peers DIR`: the programs DIR/*/bin/fsmon, named after the directory, and auditd where its package is
//!   installed and nobody uses it
//!
//! Ends with 1 when a line is missing or wrong in a log of fsmon.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "a benchmark ends at the first thing that does not work, and prints its table"
)]

#[path = "../kernel/actor.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod actor;
#[path = "load/audit.rs"]
mod audit;
#[path = "load/check.rs"]
mod check;
#[path = "../kernel/deeds.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod deeds;
#[path = "load/floor.rs"]
mod floor;
#[path = "../kernel/ground.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod ground;
#[path = "load/idle.rs"]
mod idle;
#[path = "../kernel/lines.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod lines;
#[path = "load/loads.rs"]
mod loads;
#[path = "load/measure.rs"]
mod measure;
#[path = "load/monitors.rs"]
mod monitors;
#[path = "../kernel/plans.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod plans;
#[path = "load/table.rs"]
mod table;
#[path = "../kernel/truth.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod truth;
#[path = "../kernel/wait.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod wait;
#[path = "../kernel/workers.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod workers;

use std::ffi::OsStr;
use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use actor::Actor;
use check::compare;
use ground::{Fs, Ground};
use idle::Idle;
use loads::{Load, Ready};
use monitors::{Kind, Running};
use table::{Block, Run, head, is_perfect};

fn main() -> ExitCode {
    if let Ok(job) = std::env::var(workers::VARIABLE) {
        return work(&job);
    }
    let orders = Orders::read();
    ground::sweep();
    let mut kinds = vec![Kind::Fsmon, Kind::Alone, Kind::Reader, Kind::Logger];
    kinds.extend(orders.peers.iter().cloned());
    let mut blocks = Vec::new();
    head();
    for load in Load::ALL
        .into_iter()
        .filter(|load| orders.wants(load.name()))
    {
        let mut block = Block::new(load);
        let mut length = 256;
        for round in 0..orders.rounds {
            for kind in &kinds {
                // One round of those that may need a minute for it.
                if round > 0 && matches!(kind, Kind::Peer { .. } | Kind::Audit) {
                    continue;
                }
                let Some(run) = run(load, kind, length, &orders) else {
                    continue;
                };
                if *kind == Kind::Fsmon && run.events > 0 {
                    length = (run.bytes / run.events) as usize;
                }
                block.add(kind, run);
            }
        }
        block.print();
        blocks.push(block);
    }
    let mut idles = Vec::new();
    if orders.wants("idle") {
        let programs = kinds
            .iter()
            .filter(|kind| matches!(kind, Kind::Fsmon | Kind::Peer { .. }));
        let events = if orders.quick { 100 } else { 1000 };
        println!();
        println!(
            "| idle           | wake-ups/s | resident MiB | lone event ms, median | worst of {events:>4} |"
        );
        println!(
            "|----------------|-----------:|-------------:|----------------------:|--------------:|"
        );
        for kind in programs {
            let Some(idle) = idle::look(kind, events) else {
                continue;
            };
            println!(
                "| {:<14} | {:>10.1} | {:>12.2} | {:>21.2} | {:>13.2} |",
                kind.name(),
                idle.wake_ups_a_second(),
                idle.resident as f64 / f64::from(1 << 20),
                idle.median(),
                idle.worst()
            );
            if *kind == Kind::Fsmon {
                idles.push(idle);
            }
        }
    }
    footnotes();
    if judge(&blocks, idles.first()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the command line says.
#[derive(Debug)]
struct Orders {
    quick: bool,
    only: Vec<String>,
    rounds: usize,
    peers: Vec<Kind>,
}

impl Orders {
    fn read() -> Self {
        let mut orders = Self {
            quick: false,
            only: Vec::new(),
            rounds: 0,
            peers: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default();
            match word.as_str() {
                "--quick" => orders.quick = true,
                "--only" => orders.only = value().split(',').map(str::to_owned).collect(),
                "--rounds" => orders.rounds = value().parse().unwrap_or(0),
                "--peers" => orders.peers = peers(Path::new(&value())),
                // What cargo adds.
                "--bench" => {}
                _ => {
                    println!("load: '{word}' is none of --quick, --only, --rounds, --peers");
                    std::process::exit(2);
                }
            }
        }
        if orders.rounds == 0 {
            orders.rounds = if orders.quick { 1 } else { 3 };
        }
        orders
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// The programs installed below a directory.
fn peers(dir: &Path) -> Vec<Kind> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/fsmon"))
        .filter(|program| fs::metadata(program).is_ok())
        .collect();
    found.sort();
    let audit = audit::is_ready().then_some(Kind::Audit);
    let name = |program: &Path| {
        let dir = program.parent()?.parent()?.file_name()?.to_str()?;
        Some(format!("public {dir}"))
    };
    found
        .into_iter()
        .filter_map(|program| {
            Some(Kind::Peer {
                name: name(&program)?,
                program,
            })
        })
        .chain(audit)
        .collect()
}

/// The job of a process that does a part of a workload, or is the floor.
fn work(job: &str) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let path = |at: usize| Path::new(words[at].as_str());
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    println!("waiting");
    std::io::stdin()
        .lock()
        .read_line(&mut String::new())
        .unwrap();
    match job {
        "churn" => plans::churn(&mut Actor::hands(), path(0), number(1)),
        "flood" => plans::flood(path(0), number(1)),
        "storm" => plans::storm(
            &mut Actor::hands(),
            path(0),
            path(1),
            number(2),
            plans::STEPS,
        ),
        "spawn" => plans::spawn(&words[0], number(1), number(2)),
        "floor" if words.len() == 1 => floor::read(path(0), None, 1),
        "floor" => floor::read(path(0), Some(OsStr::new(&words[1])), number(2)),
        _ => panic!("no such job: {job}"),
    }
    ExitCode::SUCCESS
}

/// Lets one look on while one workload runs.
fn run(load: Load, kind: &Kind, length: usize, orders: &Orders) -> Option<Run> {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let ready = Ready::new(load, &ground, &root, orders.quick);
    let mut running = Running::start(kind, &ground, &root, length)?;
    let idle = running
        .pid()
        .map_or(0, |pid| measure::memory(pid, "VmRSS:"));
    let counted = match kind {
        Kind::Reader | Kind::Logger => running.settle(PATIENCE),
        _ => Some(0),
    };
    let before = running.cpu();
    let done = ready.go(*kind == Kind::Fsmon);
    let settled = running.settle(PATIENCE);
    let late = settled.map(|_| (Instant::now() - done.at).as_secs_f64() * 1e3);
    let cpu = (running.cpu() - before) as f64 / 1e9;
    let peak = running
        .pid()
        .map_or(0, |pid| measure::memory(pid, "VmHWM:"));
    let mut run = Run {
        cpu,
        work: done.cpu.as_secs_f64(),
        idle,
        peak,
        late,
        events: settled.unwrap_or(0) - counted.unwrap_or(0).min(settled.unwrap_or(0)),
        bytes: 0,
        score: None,
    };
    if let Running::Program(program) = &running {
        let (log, mut expected) = (program.log.clone(), done.expected);
        run.bytes = fs::metadata(&log).map_or(0, |found| found.len());
        let log = if *kind == Kind::Audit {
            expected.keep_names();
            audit::translated(&log)
        } else {
            log
        };
        let score = compare(&log, *kind == Kind::Fsmon, expected, &done.doers);
        run.events = score.lines as u64;
        run.score = Some(score);
    }
    drop(running);
    Some(run)
}

/// What the columns mean.
fn footnotes() {
    println!(
        "
events: lines in the log, without those of the benchmark itself; for the readers, what they counted;
B/line: bytes of the log for each.
s/1M: CPU seconds of the one who looks on, from the start of the workload until its last line stands
in the log, for a million events; floor: the logging reader, whose lines have the mean length of fsmon's.
workload: CPU seconds of the workload itself; x bare: to those with the bare reader.
idle, peak: resident MiB before the workload, and the most ever; last line: ms after the workload's end.
captured, path, who: each operation is known with pid, command, user and parent for churn, short,
rmrf, storm and floods; for git and tar each file's making, writing and removal, the process, and of
other types (times, git's own files) only where they may be; for cargo that the log leads from the
tree before to the tree after in possible steps, and that each process descends from cargo.
auditd: what is made, removed and renamed; it has no other types. Its CPU is that of the daemon and of the
kernel's thread that hands it the records; they are made in the workload's own time."
    );
}

/// Prints each target and whether it is met; whether all logs are right.
fn judge(blocks: &[Block], idle: Option<&Idle>) -> bool {
    println!();
    let mut right = true;
    let say = |name: &str, met: bool, figure: String| {
        let met = if met { "met    " } else { "NOT MET" };
        println!("{met} {name}: {figure}");
    };
    let mut peak = 0.0_f64;
    for block in blocks {
        let Some(row) = block.row(&Kind::Fsmon) else {
            continue;
        };
        peak = peak.max(row.peak);
        let perfect = row.score.as_ref().is_some_and(is_perfect);
        right &= perfect;
        let name = block.load.name();
        say(
            &format!("{name}: all captured, paths and processes right"),
            perfect,
            format!("{:.0} lines", row.events),
        );
        if let Some((floor, bare)) = block.ratios() {
            if matches!(block.load, Load::Flood | Load::FloodBig | Load::Churn) {
                say(
                    &format!("{name}: CPU at most 2 x the floor"),
                    floor <= 2.0,
                    format!("{floor:.2}"),
                );
            }
            say(
                &format!("{name}: workload at most 1.1 x with the bare reader"),
                bare <= 1.1,
                format!("{bare:.2}"),
            );
        }
    }
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    if !blocks.is_empty() {
        say(
            "resident under 64 MiB at any load",
            mib(peak) < 64.0,
            format!("{:.1} MiB", mib(peak)),
        );
    }
    if let Some(idle) = idle {
        let resident = mib(idle.resident as f64);
        say(
            "resident under 5 MiB when idle",
            resident < 5.0,
            format!("{resident:.2} MiB"),
        );
        let wakes = idle.wake_ups_a_second();
        say(
            "no wake-up when idle",
            wakes == 0.0,
            format!("{wakes:.1} in {} quiet seconds", idle.quiet.0),
        );
        let (median, worst) = (idle.median(), idle.worst());
        say(
            "a lone event in the log within 5 ms (median)",
            median < 5.0,
            format!("{median:.2} ms"),
        );
        say(
            "and within 20 ms (worst)",
            worst < 20.0,
            format!("{worst:.2} ms"),
        );
    }
    right
}

/// How long the last line may take.
const PATIENCE: Duration = Duration::from_secs(60);
