//! The process feeds against the real kernel: every birth, name, user and end is seen.

use std::collections::HashMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fsmon::event::Attribution;
use fsmon::proc_cache::{
    FeedOptions, Knowledge, ProcChange, ProcFeed, ProcLimits, ProcRecord, ProcTable,
};
use fsmon::sys::clock;

use crate::Suite;

pub(crate) fn list(suite: &mut Suite) {
    // Alone: each measures what the kernel tells of few processes among all there are.
    suite.alone(
        "every_short_process_is_seen_whole",
        &[],
        every_short_process_is_seen_whole,
    );
    suite.alone("changes_of_user_are_seen", &[], changes_of_user_are_seen);
    suite.alone(
        "without_perf_the_connector_brings_births_and_deaths",
        &[],
        without_perf_the_connector_brings_births_and_deaths,
    );
    suite.alone(
        "a_full_ring_says_how_much_it_lost_and_proc_mends_it",
        &[],
        a_full_ring_says_how_much_it_lost_and_proc_mends_it,
    );
}

/// What was seen of one process.
#[derive(Default)]
struct Seen {
    fork: bool,
    comm: bool,
    exe: bool,
    exit: bool,
}

fn every_short_process_is_seen_whole() {
    const PROCESSES: usize = 3000;
    let mut feed = ProcFeed::open(FeedOptions::default()).unwrap();
    assert_eq!(feed.knowledge(), Knowledge::Full, "{:?}", feed.sources());
    let mut records = Vec::new();
    let mut pids = Vec::new();
    for n in 0..PROCESSES {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        pids.push(child.id());
        child.wait().unwrap();
        if n % 500 == 0 {
            feed.drain(&mut records);
        }
    }
    feed.drain(&mut records);
    assert!(records.is_sorted_by_key(|record| record.time));

    let me = std::process::id();
    let mut seen: HashMap<u32, Seen> = HashMap::new();
    for record in &records {
        let seen = seen.entry(record.pid).or_default();
        match &record.what {
            ProcChange::Fork { ppid, .. } => seen.fork |= *ppid == me,
            ProcChange::Comm { comm, exec } => seen.comm |= *exec && comm.as_bytes() == b"true",
            ProcChange::Exe { path, .. } => seen.exe |= path.ends_with("/true"),
            ProcChange::Exit => seen.exit = true,
            ProcChange::Lost { count, .. } => panic!("{count} records lost"),
            _ => {}
        }
    }
    let whole = |pid| {
        seen.get(pid)
            .is_some_and(|s| s.fork && s.comm && s.exe && s.exit)
    };
    let missing = pids.iter().filter(|&pid| !whole(pid)).count();
    assert_eq!(missing, 0, "of {PROCESSES}");
}

fn changes_of_user_are_seen() {
    let mut feed = ProcFeed::open(FeedOptions::default()).unwrap();
    let mut child = Command::new("/bin/true").uid(4321).spawn().unwrap();
    child.wait().unwrap();
    let euid = |what: &ProcChange| *what == ProcChange::Euid { uid: 4321 };
    drain_until(&mut feed, &mut Vec::new(), child.id(), euid);
}

fn without_perf_the_connector_brings_births_and_deaths() {
    let options = FeedOptions {
        perf: false,
        ..FeedOptions::default()
    };
    let mut feed = ProcFeed::open(options).unwrap();
    let knowledge = feed.knowledge();
    assert_eq!(knowledge, Knowledge::WithoutNames, "{:?}", feed.sources());
    let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    let (me, pid) = (std::process::id(), child.id());
    let mut records = Vec::new();
    drain_until(
        &mut feed,
        &mut records,
        pid,
        |what| matches!(what, ProcChange::Fork { ppid, .. } if *ppid == me),
    );
    drain_until(
        &mut feed,
        &mut records,
        pid,
        |what| matches!(what, ProcChange::ReadBack { comm, .. } if comm.as_bytes() == b"sleep"),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    drain_until(&mut feed, &mut records, pid, |what| {
        *what == ProcChange::Exit
    });
}

fn a_full_ring_says_how_much_it_lost_and_proc_mends_it() {
    let options = FeedOptions {
        ring_bytes: 4096,
        ..FeedOptions::default()
    };
    let mut feed = ProcFeed::open(options).unwrap();
    let mut table = ProcTable::new(ProcLimits::default());
    for _ in 0..200 {
        Command::new("/bin/true").status().unwrap();
    }
    let mut records = Vec::new();
    feed.drain(&mut records);
    // The kernel writes how many it dropped when there is room again.
    for _ in 0..20 {
        Command::new("/bin/true").status().unwrap();
        feed.drain(&mut records);
    }
    records.iter().for_each(|record| table.apply(record));
    assert!(table.stats().lost > 200, "{:?}", table.stats());
    assert!(table.needs_resync());
    table
        .snapshot(Path::new("/proc"), clock::monotonic())
        .unwrap();
    assert!(!table.needs_resync());
    let me = table.at(std::process::id(), clock::monotonic()).unwrap();
    assert_eq!(me.attribution, Attribution::Exact);
}

/// Drains into `records` until the process has had such a change.
fn drain_until(
    feed: &mut ProcFeed,
    records: &mut Vec<ProcRecord>,
    pid: u32,
    wanted: impl Fn(&ProcChange) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let mut of_pid = records.iter().filter(|record| record.pid == pid);
        if of_pid.any(|record| wanted(&record.what)) {
            return;
        }
        feed.drain(records);
        std::thread::yield_now();
    }
    records.retain(|record| record.pid == pid);
    panic!("it did not come; these did: {records:?}");
}
