//! Who did it, when the recorder is late, blind on one eye, or pids come round again.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::Suite;
use crate::deeds::{STRANGER, Stage, Verdict};
use crate::ground::{self, Fs, Ground};
use crate::recorder::{Home, Recorder};
use crate::wait::{PATIENCE, let_pass, until};
use crate::who::Cast;

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "reader_stalled", stalled);
        suite.on(kind, "perf_refused", perf_refused);
    }
    suite.alone("rings_overflow", &["mount"], overflow);
    for (name, switches) in [
        ("pids_reused", None),
        ("pids_reused_read_late", Some("read-delay-ms=50")),
    ] {
        suite.alone(name, &["mount"], move || pids_reused(switches));
    }
}

/// Two programs of two users, each of which forks `count` children that fork once more.
fn families(stage: &Stage, count: usize) -> Cast {
    let mut cast = Cast::new();
    let (count, uid) = (count.to_string(), STRANGER.to_string());
    let (one, two) = (stage.program("family-one"), stage.program("family-two"));
    let child = stage.program("a-child-of-two");
    cast.script(&[
        &one,
        "each",
        &count,
        "fork",
        "make",
        &stage.file("one", "#"),
    ]);
    cast.maker("one", "family-one", &one, &["family-one", "family-one"]);
    cast.script(&[
        &two,
        "setuid",
        &uid,
        "each",
        &count,
        "fork",
        "make",
        &stage.file("two", "#"),
    ]);
    cast.maker("two", "family-two", &two, &["family-two", "family-two"]);
    cast.script(&[
        &two,
        "each",
        &count,
        "become",
        &child,
        "x",
        "make",
        &stage.file("three", "#"),
    ]);
    cast.maker("three", "a-child-of-two", &child, &["family-two"]);
    cast
}

fn watched(kind: Fs, switches: Option<&'static str>) -> (Ground, Stage, Home) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let stage = Stage::new(&root);
    let mut home = Home::new(&ground);
    home.configure("[logging]\nchain = \"always\"");
    home.switches = switches;
    home.watch("_global", &stage.made, &["-r", "-t", "CREATE"]);
    (ground, stage, home)
}

/// The memory for process records holds three times as much: nobody may be kept from the CPU for longer.
const STALL: Duration = Duration::from_millis(200);

/// Stops the recorder again and again while processes come and go as fast as they can.
fn stalled(kind: Fs) {
    const COUNT: usize = 3000;
    let (ground, stage, home) = watched(kind, None);
    let cast = families(&stage, COUNT);
    let mut recorder = home.start();
    let casts = cast.play_at_once(&ground, |all_done| {
        while !all_done() {
            stop_for(&recorder, STALL);
            let_pass(Duration::from_millis(20));
        }
    });
    recorder.settle("_global", &stage.made);
    let said = recorder.stop();
    let verdict = Verdict::of(&home.log("_global"), &stage, &casts);
    verdict.print(&format!("reader stalled on {}", kind.name()));
    for sort in cast.sorts.keys() {
        verdict.check_told(sort, "CREATE", COUNT);
    }
    verdict.check_all_right();
    assert!(!said.iter().any(|line| line.contains("lost")), "{said:#?}");
}

fn stop_for(recorder: &Recorder, time: Duration) {
    recorder.halt();
    let_pass(time);
    recorder.signal(Signal::CONT);
}

/// The recorder is stopped until the rings have run over.
fn overflow() {
    const COUNT: usize = 8000;
    let (ground, stage, home) = watched(Fs::Tmpfs, None);
    let cast = families(&stage, COUNT);
    let mut recorder = home.start();
    let casts = cast.play_at_once(&ground, |all_done| {
        recorder.halt();
        while !all_done() {
            let_pass(Duration::from_millis(20));
        }
        recorder.signal(Signal::CONT);
    });
    recorder.settle("_global", &stage.made);
    // The kernel says how many records found no room in front of the next one that does.
    let is_said = |line: &String| line.contains("process records lost");
    let said = until(PATIENCE, || {
        Command::new("/bin/true").status().unwrap();
        recorder.stderr().iter().any(is_said).then_some(())
    });
    assert!(said.is_some(), "{}", recorder.said());
    recorder.settle("_global", &stage.made);
    recorder.stop();
    let gaps: Vec<_> = home
        .log("_global")
        .into_iter()
        .filter(|line| line.kind == "GAP")
        .collect();
    assert!(!gaps.is_empty());
    for gap in gaps {
        assert!(gap.lost.unwrap() > 0 && gap.cause.unwrap().contains("process records lost"));
    }
    assert!(!home.journal_of("GAP").is_empty());
    let verdict = Verdict::of(&home.log("_global"), &stage, &casts);
    verdict.print("rings run over");
    for sort in cast.sorts.keys() {
        verdict.check_told(sort, "CREATE", COUNT);
    }
    verdict.check_never_wrong();
    let worst = verdict.worst();
    assert!(
        worst.ambiguous + worst.unknown > 0,
        "nothing was lost: {worst:?}"
    );
}

/// Without the rings much is unknown, and nothing is claimed that is not so.
fn perf_refused(kind: Fs) {
    const ROUNDS: usize = 500;
    let (ground, stage, home) = watched(kind, Some("no-perf"));
    let mut cast = Cast::new();
    let names = ["quick-one", "quick-two", "quick-three"];
    for (sort, name) in ["a", "b", "c"].into_iter().zip(names) {
        let path = stage.program(name);
        cast.script(&[&path, "make", &stage.file(sort, "@")]);
        cast.maker(sort, name, &path, &[]);
    }
    let (first, second) = (stage.program("first"), stage.program("second"));
    let uid = STRANGER.to_string();
    cast.script(&[
        &first,
        "make",
        &stage.file("p", "@"),
        "setuid",
        &uid,
        "become",
        &second,
        "x",
        "make",
        &stage.file("t", "@"),
    ]);
    cast.maker("p", "first", &first, &[]);
    cast.maker("t", "second", &second, &[]);
    let mut recorder = home.start();
    let casts = cast.play(&ground, ROUNDS);
    recorder.settle("_global", &stage.made);
    let said = recorder.stop();
    assert!(said.iter().any(|line| line.contains("perf")), "{said:?}");
    let verdict = Verdict::of(&home.log("_global"), &stage, &casts);
    verdict.print(&format!("without perf on {}", kind.name()));
    for sort in cast.sorts.keys() {
        verdict.check_told(sort, "CREATE", ROUNDS);
    }
    verdict.check_never_wrong();
}

/// So few pids that each has many owners within a second, of both families.
fn pids_reused(switches: Option<&'static str>) {
    const COUNT: usize = 4000;
    let (ground, stage, home) = watched(Fs::Tmpfs, switches);
    let cast = families(&stage, COUNT);
    let mut recorder = home.start();
    let limit = FewPids::new();
    let casts = cast.play_at_once(&ground, |_| ());
    drop(limit);
    recorder.settle("_global", &stage.made);
    recorder.stop();
    let lines = home.log("_global");
    let pids: std::collections::HashSet<u32> = lines.iter().map(|line| line.pid).collect();
    assert!(
        lines.len() > 8 * pids.len(),
        "{} pids for {} lines",
        pids.len(),
        lines.len()
    );
    let verdict = Verdict::of(&lines, &stage, &casts);
    verdict.print(&format!("pids reused, {}", switches.unwrap_or("live")));
    for sort in cast.sorts.keys() {
        verdict.check_told(sort, "CREATE", COUNT);
    }
    verdict.check_never_wrong();
    assert_eq!(verdict.worst().unknown, 0);
}

const PID_MAX: &str = "/proc/sys/kernel/pid_max";

/// While this lives the machine has few pids.
struct FewPids {
    before: String,
}

impl FewPids {
    fn new() -> Self {
        let before = fs::read_to_string(PID_MAX).unwrap();
        fs::write(ground::kept_pid_max(), &before).unwrap();
        fs::write(PID_MAX, "800").unwrap();
        Self { before }
    }
}

impl Drop for FewPids {
    fn drop(&mut self) {
        fs::write(PID_MAX, &self.before).ok();
        fs::remove_file(ground::kept_pid_max()).ok();
    }
}

/// Gives the machine its pids back after a run that was killed.
pub(crate) fn restore_pids() {
    if let Ok(before) = fs::read_to_string(ground::kept_pid_max()) {
        drop(FewPids { before });
    }
}
