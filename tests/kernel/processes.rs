//! The process feeds against the real kernel: every birth, name, user and end is seen.

use std::collections::HashMap;
use std::fs;
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
        "a_cpu_that_was_away_is_listened_to_again",
        &["taskset"],
        a_cpu_that_was_away_is_listened_to_again,
    );
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
        if n % 20 == 0 {
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

/// The second CPU; it is back in any case when this is dropped.
struct SecondCpu;

impl SecondCpu {
    const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

    fn switch(on: bool) {
        fs::write(Self::SWITCH, if on { "1" } else { "0" }).unwrap();
    }
}

impl Drop for SecondCpu {
    fn drop(&mut self) {
        fs::write(Self::SWITCH, "1").ok();
    }
}

/// The kernel switches the side band of a CPU off with it, and leaves it off: as after a suspend.
fn a_cpu_that_was_away_is_listened_to_again() {
    let is_there = fs::read_to_string(SecondCpu::SWITCH).is_ok_and(|state| state.trim() == "1");
    if !is_there {
        println!("no second CPU that can go");
        return;
    }
    let mut feed = ProcFeed::open(FeedOptions::default()).unwrap();
    let cpu = SecondCpu;
    let mut follow = |goes: bool, comes: bool| -> (bool, usize) {
        if goes {
            SecondCpu::switch(false);
        }
        if comes {
            SecondCpu::switch(true);
        }
        let mut out = Vec::new();
        let has_changed = feed.follow_cpus(&mut out).unwrap();
        let is_loss = |record: &&ProcRecord| matches!(record.what, ProcChange::Lost { .. });
        let losses = out.iter().filter(is_loss).count();
        out.clear();
        let child = Command::new("taskset").args(["-c", "0,1", "true"]).status();
        assert!(child.unwrap().success());
        if comes || !goes {
            let mut child = Command::new("taskset");
            let mut child = child.args(["-c", "1", "true"]).spawn().unwrap();
            let pid = child.id();
            child.wait().unwrap();
            feed.drain(&mut out);
            let is_exec = |record: &&ProcRecord| {
                record.pid == pid
                    && matches!(&record.what, ProcChange::Comm { comm, exec: true } if comm.as_bytes() == b"true")
            };
            assert_eq!(
                out.iter().filter(is_exec).count(),
                1,
                "goes {goes}, comes {comes}"
            );
        }
        (has_changed, losses)
    };
    // Nothing happened; away and back between two looks; away for one; back; nothing.
    assert_eq!(follow(false, false), (false, 0));
    assert_eq!(follow(true, true), (true, 1));
    assert_eq!(follow(true, false), (true, 0));
    assert_eq!(follow(false, true), (true, 1));
    assert_eq!(follow(false, false), (false, 0));
    drop(cpu);
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
