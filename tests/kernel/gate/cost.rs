//! What the gate costs those who open files.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use super::keeper::Keeper;
use crate::ground::{Fs, Ground};
use crate::workers::Worker;

const OPENS: usize = 100_000;
const HELD_UP: usize = 10_000;
const ROUNDS: usize = 5;

/// Opens in unmarked directories of the same filesystem cost less than a microsecond more.
pub(crate) fn of_opens(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    for dir in ["open", "guarded"] {
        fs::create_dir(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("plain"), "x").unwrap();
    }
    fs::write(root.join("guarded/secret"), "x").unwrap();
    let plain = root.join("open/plain");
    let alone = (0..ROUNDS).map(|_| cost(&plain, OPENS));
    let alone = alone.fold(f64::MAX, f64::min);
    let mut keeper = Keeper::new(Duration::from_secs(1));
    let pattern = root.join("guarded/sec*");
    let rule = [pattern.to_str().unwrap(), "", "", ""];
    let (mut without, mut with) = (f64::MAX, f64::MAX);
    // In turns, so that what else the machine does falls on both.
    for _ in 0..ROUNDS {
        keeper.guard(&[]);
        without = without.min(cost(&plain, OPENS));
        keeper.guard(&[rule]);
        with = with.min(cost(&plain, OPENS));
    }
    let beside = held_up(&keeper, &root.join("guarded/plain"));
    let refused = held_up(&keeper, &root.join("guarded/secret"));
    println!(
        "{}: open and close, CPU us: without a gate {alone:.3}, that guards nothing {without:.3}, that guards another directory {with:.3}; in a guarded directory {:.1} (gate {:.1}); refused {:.1} (gate {:.1})",
        kind.name(),
        beside.0,
        beside.1,
        refused.0,
        refused.1
    );
    assert!(
        with - without.min(alone) < 1.0,
        "{with} against {without}, {alone}"
    );
    assert_eq!(keeper.refusals(HELD_UP).len(), HELD_UP);
    assert_eq!(keeper.tally()[0], 2 * HELD_UP as u64);
    keeper.end();
}

/// CPU per open of the opener and of the gate.
fn held_up(keeper: &Keeper, path: &Path) -> (f64, f64) {
    let before = cpu_of(keeper.pid());
    let opener = cost(path, HELD_UP);
    let gate = (cpu_of(keeper.pid()) - before) as f64 / 1000.0 / HELD_UP as f64;
    (opener, gate)
}

pub(crate) fn cost(path: &Path, times: usize) -> f64 {
    let mut worker = Worker::new("cost", &[path.to_str().unwrap(), &times.to_string()]);
    worker.go();
    let nanoseconds: u64 = worker.finish().trim().parse().unwrap();
    nanoseconds as f64 / 1000.0 / times as f64
}

/// What the process does: opens a file again and again, and prints what that took.
pub(crate) fn open_often(path: &Path, times: usize) {
    let before = cpu_of(std::process::id());
    for _ in 0..times {
        File::open(path).ok();
    }
    println!("{}", cpu_of(std::process::id()) - before);
}

/// Nanoseconds of CPU that the threads of a process have had.
fn cpu_of(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    tasks.map(|task| of(task.unwrap())).sum()
}
