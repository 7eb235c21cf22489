//! Everything that can happen to a recorder, at once, against ground truth: `cargo bench --bench chaos`
//! (as root).
//!
//! `-- --minutes N` says how long (10), `--seed N` which things happen when; `--keep DIR` copies the logs there
//! when they are not what happened; `--machine` also sets the clock and puts a CPU offline in the last third, for
//! a machine that is nobody else's.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it takes only a part of what the kernel tests have, and ends at the first thing that does not work"
)]

#[path = "../kernel/actor.rs"]
mod actor;
#[path = "../kernel/chaos.rs"]
mod chaos;
#[path = "../kernel/deeds.rs"]
mod deeds;
#[path = "../kernel/ground.rs"]
mod ground;
#[path = "../kernel/lines.rs"]
mod lines;
#[path = "../kernel/plans.rs"]
mod plans;
#[path = "../kernel/recorder.rs"]
mod recorder;
#[path = "../kernel/truth.rs"]
mod truth;
#[path = "../kernel/wait.rs"]
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use chaos::Plan;
use ground::Fs;

fn main() -> ExitCode {
    if chaos::is_one_of_it() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)
    };
    let number = |name: &str| given(name)?.parse::<f64>().ok();
    let is_given = |name: &str| words.iter().any(|word| word == name);
    let short = Plan::short();
    let plan = Plan {
        seconds: (number("--minutes").unwrap_or(10.0) * 60.0) as u64,
        seed: number("--seed").unwrap_or(1.0) as u64,
        kinds: vec![Fs::Tmpfs, Fs::Ext4, Fs::Xfs, Fs::Btrfs, Fs::Overlay],
        rate: number("--rate").unwrap_or(120.0) as usize,
        burst: 12_000,
        pause_ms: 350,
        stop_ms: 4000,
        full_ms: 4000,
        machine: is_given("--machine"),
        keep: given("--keep").map(PathBuf::from),
    };
    let plan = if is_given("--quick") {
        Plan {
            seed: plan.seed,
            keep: plan.keep,
            ..short
        }
    } else {
        plan
    };
    println!("seed {}, {} s", plan.seed, plan.seconds);
    let failed = chaos::run(&plan);
    for what in &failed {
        println!("{what}");
    }
    if failed.is_empty() {
        println!("the logs and what happened agree");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
