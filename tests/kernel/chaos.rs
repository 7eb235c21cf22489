//! Everything at once: processes of all kinds work, watches come and go, logs are rotated, the disk is
//! full, readers hang, the recorder stands still, is killed and started again, filesystems come and go.
//! Afterwards what was done and what the logs say, with the holes that they name, agree exactly.

#[path = "chaos/chronicle.rs"]
mod chronicle;
#[path = "chaos/conductor.rs"]
mod conductor;
#[path = "chaos/crew.rs"]
mod crew;
#[path = "chaos/edit.rs"]
mod edit;
#[path = "chaos/gaps.rs"]
mod gaps;
#[path = "chaos/guests.rs"]
mod guests;
#[path = "chaos/judge.rs"]
mod judge;
#[path = "chaos/ledger.rs"]
mod ledger;
#[path = "chaos/machine.rs"]
mod machine;
#[path = "chaos/pieces.rs"]
mod pieces;
#[path = "chaos/stage.rs"]
mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::ground::Fs;

use chronicle::Chronicle;
use conductor::Conductor;
pub(crate) use crew::is_one_of_it;
use gaps::Gap;
use judge::Judge;
use ledger::Ledger;
use stage::Stage;

/// How long, how hard and on what.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<Fs>,
    /// Operations a second of each process, and of one that works in a burst.
    pub(crate) rate: usize,
    pub(crate) burst: usize,
    /// Pause between two things that are done, on average.
    pub(crate) pause_ms: u64,
    /// How long the recorder stands still and the disk is full, at most.
    pub(crate) stop_ms: usize,
    pub(crate) full_ms: usize,
    /// The clock is set and a CPU goes offline, too.
    pub(crate) machine: bool,
    /// Where the logs are kept that are not what happened.
    pub(crate) keep: Option<PathBuf>,
}

impl Plan {
    /// Short enough to be one test among others, and gentle to the machine.
    pub(crate) fn short() -> Self {
        Self {
            seconds: 10,
            seed: 1,
            kinds: vec![Fs::Tmpfs, Fs::Ext4],
            rate: 100,
            burst: 3000,
            pause_ms: 120,
            stop_ms: 1200,
            full_ms: 1000,
            machine: false,
            keep: None,
        }
    }
}

/// A run of all that, in which nothing may be wrong.
pub(crate) fn short() {
    let failed = run(&Plan::short());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Performs a plan and prints the figures; what is wrong.
pub(crate) fn run(plan: &Plan) -> Vec<String> {
    let mut stage = Stage::new(plan);
    let mut conductor = Conductor::new(plan.clone(), &mut stage);
    conductor.perform();
    let said = std::mem::take(&mut conductor.said);
    let mut failed: Vec<String> = stage.failed.clone();
    let refused = said.iter().filter(|line| line.starts_with("asked "));
    failed.extend(refused.cloned());
    stage.chronicle.sharpen(&stage.home.journal());
    let wrong = judge(&stage);
    if let (Some(dir), false) = (&plan.keep, wrong.is_empty()) {
        stage.keep_logs(dir);
    }
    failed.extend(wrong);
    failed
}

fn judge(stage: &Stage) -> Vec<String> {
    let ledger = Ledger::of(&stage.lives);
    let Chronicle { runs, faults, .. } = &stage.chronicle;
    let (begin, end) = (runs[0].ready, runs.last().unwrap().ended);
    let seconds = (end - begin) as f64 / 1e9;
    println!(
        "{seconds:.0} s, {} processes and {} short ones, {} operations, {} runs of the recorder",
        stage.lives.len(),
        ledger.doers.len() - stage.lives.len(),
        ledger.deeds.len(),
        runs.len()
    );
    let mut kinds: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for (fault, span) in faults {
        let (count, time) = kinds.entry(format!("{fault:?}")).or_default();
        *count += 1;
        *time += (span.to - span.from) as f64 / 1e9;
    }
    for (kind, (count, time)) in kinds {
        println!("  {kind:<14} {count:>5} times, {time:>7.1} s");
    }
    let journal = Gap::of_journal(&stage.home.journal(), &stage.chronicle);
    let mut failed = Vec::new();
    for (group, log) in stage.groups.iter().zip(&stage.logs) {
        let lines = log.read(stage.chronicle.clock_set.is_some());
        let mut judge = Judge::new(group, &stage.chronicle, &ledger, &lines);
        let gaps = judge.judge(&journal);
        let figures = judge.figures;
        let share = gaps.total() as f64 / (end - begin) as f64 * 100.0;
        println!("{group}: {figures:?}");
        println!(
            "  {} GAPs, {:.1} s, {share:.1} % of the time",
            gaps.0.len(),
            gaps.total() as f64 / 1e9
        );
        for gap in gaps.0.iter().take(40) {
            let millis = |at: u64| at.saturating_sub(begin) / 1_000_000;
            println!(
                "    {}..{} ms: {} lost, {}",
                millis(gap.span.from),
                millis(gap.span.to),
                gap.lost,
                gap.cause
            );
        }
        let unsure = figures.unsure as f64 / (figures.expected + figures.unsure).max(1) as f64;
        if unsure > 0.05 {
            failed.push(format!(
                "{group}: {:.1} % are indeterminate",
                unsure * 100.0
            ));
        }
        let text = judge.report.text(lines.len());
        failed.extend(text.map(|text| format!("{group}: {text}")));
    }
    failed
}
