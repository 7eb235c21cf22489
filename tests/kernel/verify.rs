//! `fsmon verify` after histories of which the test knows the truth.

#[path = "verify/disk.rs"]
mod disk;
#[path = "verify/mounts.rs"]
mod mounts;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use rustix::time::{ClockId, Timespec, clock_settime};
use serde_json::Value;

use crate::Suite;
use crate::flood;
use crate::ground::{Fs, Ground};
use crate::recorder::{Home, Recorder, tell};
use crate::wait::{PATIENCE, until};
use crate::workers::together;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("verify_clean_day", clean_day);
    suite.one("verify_overflow_and_two_gaps", two_gaps);
    suite.one("verify_kill_9", killed);
    suite.alone("verify_clock_step", &[], clock_step);
    suite.one("verify_edited_journal", edited);
    suite.one("verify_cut_journal", cut);
    suite.one("verify_cut_journal_under_the_daemon", cut_while_it_runs);
    suite.one("verify_disk_full", disk::full);
    suite.one("verify_kill_9_on_a_full_disk", disk::killed);
    suite.one("verify_written_in_the_end", disk::written);
    suite.one("verify_removed_and_added", removed_and_added);
    suite.one("verify_daemon_never_started", never_started);
    suite.one("verify_mount_watched_by_its_directories", mounts::weak);
    suite.one("verify_mounted_while_nobody_looks", mounts::unseen);
    suite.one("verify_mounts_that_only_pass", mounts::passing);
    suite.tools(
        "verify_mount_in_the_place_of_another",
        &["mkfs.ext4"],
        mounts::replaced,
    );
    suite.one("verify_trimmed_rotated_and_cut_logs", logs_of_others);
}

struct Scene {
    home: Home,
    root: PathBuf,
    ground: Ground,
}

impl Scene {
    fn new(settings: &str) -> Self {
        let ground = Ground::new();
        let root = ground.mount(Fs::Tmpfs);
        let home = Home::new(&ground);
        home.configure(settings);
        home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
        Self { home, root, ground }
    }

    /// Asks; the exit code must fit the answer.
    #[track_caller]
    fn verify(&self, words: &[&str]) -> Value {
        let done = self.home.run(&[&["verify", "--json"], words].concat());
        let answer: Value = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", tell(&done)));
        let code = i32::from(answer["complete"] != true);
        assert_eq!(done.status.code(), Some(code), "{}", tell(&done));
        // What people read says the same.
        let told = self.home.run(&[&["verify"], words].concat());
        assert_eq!(told.status.code(), Some(code), "{}", tell(&told));
        let text = String::from_utf8(told.stdout).unwrap();
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(last == "complete", code == 0, "{text}");
        answer
    }

    fn journal(&self) -> PathBuf {
        self.home.log_dir().join("journal.jsonl")
    }

    fn edit_journal(&self, edit: impl FnOnce(Vec<String>) -> Vec<String>) {
        let text = fs::read_to_string(self.journal()).unwrap();
        let lines = edit(text.lines().map(str::to_owned).collect());
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.journal(), text).unwrap();
    }

    /// Waits until next to nothing that was read is left to be told.
    fn drained(&self) {
        let empty = || {
            let health = self.home.ok(&["health", "--json"]);
            let health: Value = serde_json::from_str(&health).unwrap();
            let held = health["queues"]["held_bytes"].as_u64().unwrap();
            // Who asks is a program that was started, and its own record may be the one that is held.
            (held < 1 << 16).then_some(())
        };
        assert!(until(PATIENCE, empty).is_some());
    }

    /// Records a file and ends well.
    fn a_run(&self, name: &str) {
        let mut recorder = self.home.start();
        self.record(&mut recorder, name);
        recorder.stop();
    }

    fn record(&self, recorder: &mut Recorder, name: &str) {
        File::create(self.root.join(name)).unwrap();
        recorder.settle("_global", &self.root);
    }
}

/// The states of the pieces of a watch.
#[track_caller]
fn states<'a>(answer: &'a Value, path: &Path) -> Vec<&'a str> {
    let watches = answer["watches"].as_array().unwrap();
    let watch = watches
        .iter()
        .find(|watch| watch["path"] == path.to_str().unwrap())
        .unwrap_or_else(|| panic!("no {}: {answer:#}", path.display()));
    let pieces = watch["pieces"].as_array().unwrap();
    for (one, next) in pieces.iter().zip(&pieces[1..]) {
        assert_eq!(one["to"], next["from"], "time without a word: {watch:#}");
    }
    let states = pieces.iter().map(|piece| piece["state"].as_str().unwrap());
    states.collect()
}

fn breaks(answer: &Value) -> Vec<String> {
    let breaks = answer["journal"]["breaks"].as_array().unwrap();
    let why = breaks
        .iter()
        .map(|breach| breach["why"].as_str().unwrap().to_owned());
    why.collect()
}

fn clean_day() {
    let scene = Scene::new("");
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    let answer = scene.verify(&[]);
    assert_eq!(states(&answer, &scene.root), ["complete"]);
    assert_eq!(answer["watches"][0]["recording"], true);
    let answer = scene.verify(&["_global", "-t", ">1d"]);
    assert_eq!(
        states(&answer, &scene.root),
        ["not watched", "complete"],
        "a day ago nobody watched"
    );
    scene.record(&mut recorder, "2");
    recorder.stop();
    let answer = scene.verify(&["_global"]);
    assert_eq!(states(&answer, &scene.root), ["complete"]);
    assert_eq!(answer["watches"][0]["recording"], false);
    let answer = scene.verify(&["-t", ">now"]);
    assert_eq!(answer["complete"], false, "nothing records now: {answer:#}");
    // A line that was noted proves later that it, and all before it, is what it was.
    let head = answer["journal"]["last"].as_str().unwrap().to_owned();
    scene.a_run("3");
    let answer = scene.verify(&["--expect", &head]);
    assert_eq!(breaks(&answer), Vec::<String>::new());
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "stopped", "complete"]
    );
    let answer = scene.verify(&["nobody"]);
    assert_eq!(answer["watches"], Value::Array(Vec::new()));
}

fn two_gaps() {
    let scene = Scene::new("[capture]\nceiling = \"1MB\"");
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    for round in 1..=2 {
        let dir = scene.root.join(format!("round{round}"));
        fs::create_dir(&dir).unwrap();
        recorder.settle("_global", &scene.root);
        recorder.halt();
        together(flood::workers(&dir, 8_000));
        recorder.signal(Signal::CONT);
        let told = until(PATIENCE, || {
            (scene.home.journal_of("GAP").len() >= round).then_some(())
        });
        assert!(told.is_some(), "no GAP: {:#?}", scene.home.journal());
        scene.drained();
        recorder.settle("_global", &scene.root);
        scene.record(&mut recorder, &format!("after{round}"));
    }
    let answer = scene.verify(&[]);
    let gaps = scene.home.journal_of("GAP");
    let watch = &answer["watches"][0];
    let holes: Vec<&Value> = watch["pieces"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|piece| piece["state"] != "complete")
        .collect();
    assert!(holes.len() >= 2, "{watch:#}");
    // Losses of two kinds may overlap: no hole without a GAP, and nothing in a GAP is complete.
    let within = |outer: (&Value, &Value), inner: (&Value, &Value)| {
        outer.0.as_str() <= inner.0.as_str() && inner.1.as_str() <= outer.1.as_str()
    };
    for hole in &holes {
        let fits =
            |gap: &Value| within((&gap["since"], &gap["time"]), (&hole["from"], &hole["to"]));
        assert!(gaps.iter().any(fits), "{hole:#} {gaps:#?}");
    }
    for gap in &gaps {
        let is_claimed = |piece: &Value| {
            piece["state"] == "complete"
                && piece["from"].as_str() < gap["time"].as_str()
                && piece["to"].as_str() > gap["since"].as_str()
        };
        assert!(
            !watch["pieces"].as_array().unwrap().iter().any(is_claimed),
            "{watch:#} {gap:#}"
        );
    }
    // Between the two, and after them, everything is there.
    let between = gaps[0]["time"].as_str().unwrap();
    let until = gaps.last().unwrap()["since"].as_str().unwrap();
    if gaps.len() == 2 {
        let answer = scene.verify(&["-t", &format!(">{between}"), "-t", &format!("<{until}")]);
        assert_eq!(states(&answer, &scene.root), ["complete"]);
    }
    let after = format!(">{}", gaps.last().unwrap()["time"].as_str().unwrap());
    let answer = scene.verify(&["-t", &after]);
    assert_eq!(states(&answer, &scene.root), ["complete"]);
    recorder.stop();
}

fn killed() {
    let scene = Scene::new("");
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    recorder.kill();
    let answer = scene.verify(&[]);
    assert_eq!(states(&answer, &scene.root), ["complete", "died"]);
    scene.a_run("2");
    let answer = scene.verify(&[]);
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "died", "complete"]
    );
    assert_eq!(breaks(&answer), Vec::<String>::new());
}

/// Sets the machine's clock, and sets it right again when dropped.
struct Step {
    real: Duration,
    since: Instant,
}

impl Step {
    fn set(&self, off: i64) {
        let now = self.real + self.since.elapsed();
        let time = Timespec {
            tv_sec: now.as_secs().cast_signed() + off,
            tv_nsec: now.subsec_nanos().into(),
        };
        clock_settime(ClockId::Realtime, time).unwrap();
    }

    fn by(seconds: i64) -> Self {
        let step = Self {
            real: SystemTime::now().duration_since(UNIX_EPOCH).unwrap(),
            since: Instant::now(),
        };
        step.set(seconds);
        step
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn clock_step() {
    let scene = Scene::new("");
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    for seconds in [-5, 7] {
        let step = Step::by(seconds);
        scene.record(&mut recorder, &format!("set {seconds}"));
        drop(step);
        scene.record(&mut recorder, &format!("back from {seconds}"));
    }
    recorder.stop();
    let answer = scene.verify(&[]);
    // Nothing is missing; and what the clock did is told.
    assert_eq!(states(&answer, &scene.root), ["complete"]);
    let clock = answer["clock"].as_array().unwrap();
    let steps: Vec<i64> = clock
        .iter()
        .map(|step| (step["step_ns"].as_i64().unwrap() as f64 / 1e9).round() as i64)
        .collect();
    assert_eq!(steps, [-5, 5, 7, -7]);
    let step = Step::by(-3);
    scene.a_run("in the past");
    drop(step);
    let answer = scene.verify(&[]);
    assert_eq!(breaks(&answer), Vec::<String>::new());
    assert_eq!(
        answer["logs"],
        Value::Array(Vec::new()),
        "no log is blamed: {answer:#}"
    );
}

fn edited() {
    let scene = Scene::new("");
    scene
        .home
        .watch("_global", &scene.ground.directory("other"), &[]);
    scene.a_run("1");
    scene.a_run("2");
    assert_eq!(breaks(&scene.verify(&[])), Vec::<String>::new());
    let whole = fs::read(scene.journal()).unwrap();
    // A stop that never was, a watch elsewhere, a time: whatever it is that somebody changes.
    for (what, with) in [
        ("SIGTERM", "SIGKILL"),
        ("\"recursive\":true", "\"recursive\":true "),
        ("\"after_crash\":false", "\"after_crash\":true"),
    ] {
        scene.edit_journal(|mut lines| {
            let line = lines.iter_mut().find(|line| line.contains(what)).unwrap();
            *line = line.replacen(what, with, 1);
            lines
        });
        let answer = scene.verify(&[]);
        assert_eq!(
            breaks(&answer),
            ["the line before it is not the one that was written"],
            "{what}"
        );
        assert_eq!(answer["complete"], false);
        fs::write(scene.journal(), &whole).unwrap();
    }
    // Two lines change places; one is added.
    scene.edit_journal(|mut lines| {
        lines.swap(2, 3);
        lines
    });
    assert!(!breaks(&scene.verify(&[])).is_empty());
    fs::write(scene.journal(), &whole).unwrap();
    scene.edit_journal(|mut lines| {
        lines.insert(
            3,
            r#"{"time":"2026-05-07T10:00:00.000000000Z","event":"CLOCK","step_ns":0}"#.to_owned(),
        );
        lines
    });
    assert_eq!(
        breaks(&scene.verify(&[])),
        ["it is not a line of the recorder's"]
    );
    // The daemon goes on behind its own last line, and what was added stays an addition.
    scene.a_run("3");
    assert_eq!(
        breaks(&scene.verify(&[])),
        ["it is not a line of the recorder's"]
    );
}

fn cut() {
    let scene = Scene::new("");
    scene.a_run("1");
    let head = scene.verify(&[])["journal"]["last"]
        .as_str()
        .unwrap()
        .to_owned();
    scene.a_run("2");
    let whole = fs::read(scene.journal()).unwrap();
    let lines = whole.iter().filter(|byte| **byte == b'\n').count();
    // Out of the middle.
    scene.edit_journal(|mut lines| {
        lines.drain(2..4);
        lines
    });
    let answer = scene.verify(&[]);
    assert_eq!(breaks(&answer), ["lines 3 to 4 are missing before it"]);
    fs::write(scene.journal(), &whole).unwrap();
    // Its beginning: what is left tells of the second run only.
    scene.edit_journal(|mut lines| {
        lines.split_off(
            lines
                .iter()
                .rposition(|line| line.contains("START"))
                .unwrap(),
        )
    });
    let answer = scene.verify(&[]);
    assert_eq!(breaks(&answer).len(), 1);
    assert!(breaks(&answer)[0].contains("missing"));
    assert_eq!(states(&answer, &scene.root), ["complete"]);
    fs::write(scene.journal(), &whole).unwrap();
    // Its end, with all that tells of the second run: the log knows better.
    scene.edit_journal(|mut lines| {
        lines.truncate(
            lines
                .iter()
                .rposition(|line| line.contains("START"))
                .unwrap(),
        );
        lines
    });
    let answer = scene.verify(&[]);
    assert_eq!(answer["complete"], false, "{answer:#}");
    assert!(
        answer["logs"][0]["what"]
            .as_str()
            .unwrap()
            .contains("the end of the journal is missing")
    );
    // Only the last line: what is left looks like a crash, unless somebody has noted that line.
    fs::write(scene.journal(), &whole).unwrap();
    let last = scene.verify(&[])["journal"]["last"]
        .as_str()
        .unwrap()
        .to_owned();
    scene.edit_journal(|mut lines| {
        lines.truncate(lines.len() - 1);
        lines
    });
    let answer = scene.verify(&["--expect", &head, "--expect", &last]);
    assert_eq!(
        breaks(&answer),
        [format!("line {lines}, which is expected, is not there")]
    );
    // All of it.
    fs::remove_file(scene.journal()).unwrap();
    scene.a_run("3");
    let answer = scene.verify(&[]);
    assert!(
        answer["logs"][0]["what"]
            .as_str()
            .unwrap()
            .contains("begins before the journal does")
    );
    assert_eq!(answer["complete"], false);
    let answer = scene.verify(&["--expect", &head]);
    assert_eq!(breaks(&answer).len(), 1, "{answer:#}");
}

fn cut_while_it_runs() {
    let scene = Scene::new("");
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    assert_eq!(scene.verify(&[])["complete"], true);
    scene.edit_journal(|mut lines| {
        lines.truncate(lines.len() - 1);
        lines
    });
    let answer = scene.verify(&[]);
    assert_eq!(
        breaks(&answer),
        ["the line that the daemon wrote last is not there"]
    );
    scene.record(&mut recorder, "2");
    recorder.stop();
    let answer = scene.verify(&[]);
    assert!(breaks(&answer)[0].contains("missing"), "{answer:#}");
}

fn removed_and_added() {
    let scene = Scene::new("");
    let other = scene.ground.directory("other");
    scene.home.watch("sort", &other, &["-r"]);
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    scene.home.unwatch("_global", &scene.root);
    File::create(scene.root.join("unseen")).unwrap();
    scene.home.watch("_global", &scene.root, &["-r"]);
    scene.record(&mut recorder, "2");
    let answer = scene.verify(&[]);
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "not watched", "complete"]
    );
    assert_eq!(states(&answer, &other), ["complete"]);
    assert_eq!(scene.verify(&["sort"])["complete"], true);
    let added = scene.home.journal_of("ADD");
    let since = format!(">={}", added.last().unwrap()["time"].as_str().unwrap());
    assert_eq!(scene.verify(&["-t", &since])["complete"], true);
    recorder.stop();
}

fn never_started() {
    let scene = Scene::new("");
    let done = scene.home.run(&["verify"]);
    assert_eq!(done.status.code(), Some(1), "{}", tell(&done));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("there is no journal"), "{said}");
    let done = scene.home.run(&["verify", "--json"]);
    assert_eq!(done.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(answer["complete"], false);
}

fn logs_of_others() {
    let scene = Scene::new("");
    let log = scene.home.log_path("_global");
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    scene.record(&mut recorder, "2");
    // Renamed: its lines are there under another name.
    fs::rename(&log, log.with_extension("old")).unwrap();
    scene.record(&mut recorder, "3");
    assert_eq!(scene.verify(&[])["complete"], true);
    // And now they are not.
    fs::remove_file(log.with_extension("old")).unwrap();
    let answer = scene.verify(&[]);
    assert_eq!(states(&answer, &scene.root), ["not in the log", "complete"]);
    let changes = scene.home.journal_of("LOG");
    assert_eq!(changes.len(), 1, "{changes:?}");
    let after = format!(">{}", changes[0]["time"].as_str().unwrap());
    assert_eq!(scene.verify(&["-t", &after])["complete"], true);
    // Trimmed by `clean`: what is left is complete, what is gone is only missed by whoever asks for it.
    scene.home.ok(&["clean", "_global", "-t", ">now"]);
    scene.record(&mut recorder, "4");
    assert_eq!(scene.home.journal_of("CLEAN").len(), 1);
    let answer = scene.verify(&["-t", &after]);
    assert_eq!(states(&answer, &scene.root), ["not in the log", "complete"]);
    // Cut by somebody.
    File::options()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(0)
        .unwrap();
    scene.record(&mut recorder, "5");
    recorder.stop();
    let changes = scene.home.journal_of("LOG");
    assert_eq!(changes.last().unwrap()["how"], "cut");
    assert_eq!(scene.verify(&[])["complete"], false);
    // And while nobody records.
    fs::remove_file(&log).unwrap();
    scene.a_run("6");
    let changes = scene.home.journal_of("LOG");
    assert_eq!(changes.last().unwrap()["how"], "moved away");
}
