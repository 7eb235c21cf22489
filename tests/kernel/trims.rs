//! `clean` beside the daemon that records a flood, and with either of them killed at any moment.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Suite;
use crate::ground::{Fs, Ground, sh};
use crate::lines::MARKER;
use crate::recorder::{Home, Recorder};
use crate::wait::{PATIENCE, until};
use crate::workers::Worker;

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4, Fs::Xfs, Fs::Btrfs] {
        suite.on(kind, "clean_beside_the_daemon", beside_the_daemon);
    }
    suite.tools(
        "clean_where_ext4_has_no_extents",
        &["mkfs.ext4"],
        no_extents,
    );
    suite.tools("followed_by_tail_over_a_clean", &["mkfs.ext4"], followed);
}

/// Makes files of numbered names, as one of the workers.
pub(crate) fn work(dir: &Path, who: usize, from: usize, count: usize) {
    for number in from..from + count {
        let path = dir.join(format!("w{who}.{number}"));
        File::create_new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // An unoptimised daemon would fall behind without end.
        let begin = Instant::now();
        while cfg!(debug_assertions) && begin.elapsed() < Duration::from_micros(400) {
            std::hint::spin_loop();
        }
    }
}

/// Every creation is in the log, or older than a cut that was asked for.
fn beside_the_daemon(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = ground.mount(kind).join("home");
    fs::create_dir(&home).unwrap();
    let home = Home::at(home);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut seen = Seen::default();
    let mut turn = 0;
    for round in 0..MOST_ROUNDS {
        // How many cleans fit into a round is the disk's to say.
        if round >= ROUNDS && seen.cut > 20 && turn > 40 {
            break;
        }
        let mut recorder = Some(home.start());
        let mut workers: Vec<Worker> = (0..WORKERS)
            .map(|who| {
                let words = [who, round * EACH, EACH].map(|number| number.to_string());
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                Worker::new("count", &[&[root.to_str().unwrap()], &words[..]].concat())
            })
            .collect();
        workers.iter_mut().for_each(Worker::go);
        let last_turn = turn + 5 + round;
        while !workers.iter_mut().all(Worker::is_done) {
            // Every second daemon does not live to see the end of its flood.
            if round % 2 == 1 && turn == last_turn {
                recorder.take().unwrap().kill();
                break;
            }
            trim(&home, turn, &mut seen);
            turn += 1;
        }
        for worker in workers {
            worker.finish();
        }
        match recorder {
            Some(mut recorder) => {
                recorder.settle("_global", &root);
                recorder.stop();
                seen.look(&home);
                for who in 0..WORKERS {
                    assert_eq!(seen.newest[who], Some((round + 1) * EACH - 1), "of {who}");
                }
            }
            None => {
                seen.look(&home);
                seen.killed.push(round);
            }
        }
    }
    assert!(seen.cut > 20, "only {} cleans cut something", seen.cut);
    assert!(turn > 40, "only {turn} cleans");
}

/// One clean, by age or by size, killed at some moment in two of three cases.
fn trim(home: &Home, turn: usize, seen: &mut Seen) {
    seen.look(home);
    if seen.lines.len() < 40 {
        return;
    }
    let by_size = turn % 8 >= 4;
    // By age, a third of what is known goes.
    let first = seen.lines.len() / 3;
    let time = time_of(&seen.lines[first]);
    let (size, from) = if by_size {
        (format!(">={KEPT}B"), "1970-01-01".to_owned())
    } else {
        (">=1TB".to_owned(), time.clone())
    };
    let mut clean = home
        .command(&["clean", "_global", "-s", &size, "-t", &format!(">={from}")])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let whole = end(&mut clean, turn);
    let known = seen.lines[first].clone();
    let (before, bytes) = (seen.lines.first().cloned(), seen.bytes);
    seen.look(home);
    seen.cut += usize::from(before != seen.lines.first().cloned());
    if by_size {
        let least = KEPT.min(bytes);
        assert!(
            seen.bytes >= least,
            "{} of {bytes} bytes are left",
            seen.bytes
        );
    } else {
        assert!(seen.lines.contains(&known), "cut too much");
        let oldest = time_of(&seen.lines[0]);
        assert!(!whole || oldest >= time, "{oldest} is older than {time}");
    }
}

/// Lets a clean end, or kills it; whether it came to its end.
fn end(clean: &mut Child, turn: usize) -> bool {
    if !turn.is_multiple_of(3) {
        for _ in 0..turn * 7919 % 4000 {
            thread::yield_now();
        }
        clean.kill().unwrap();
    }
    let status = clean.wait().unwrap();
    assert!(status.success() || !turn.is_multiple_of(3), "{status}");
    status.success()
}

/// What was seen of the log so far.
#[derive(Default)]
struct Seen {
    /// Its whole lines when it was last looked at.
    lines: Vec<String>,
    bytes: u64,
    /// The number of the newest file of each worker.
    newest: [Option<usize>; WORKERS],
    /// Rounds whose daemon was killed: the end of what they did may be missing.
    killed: Vec<usize>,
    /// Cleans that cut something.
    cut: usize,
}

impl Seen {
    /// Looks at the log: it is what it was, but for a piece of its front, and has grown.
    fn look(&mut self, home: &Home) {
        let Ok(text) = fs::read(home.log_path("_global")) else {
            return;
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let text = String::from_utf8(text[..whole.map_or(0, |at| at + 1)].to_vec()).unwrap();
        self.bytes = text.len() as u64;
        // A cut in place leaves blanks in front.
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.trim_start().to_owned())
            .collect();
        let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        let Some(first) = lines.first() else {
            assert!(self.lines.is_empty(), "everything has gone");
            return;
        };
        if let Some(at) = self.lines.iter().position(|line| line == first) {
            let known = &self.lines[at..];
            assert!(lines.starts_with(known), "what was there has changed");
        }
        let mut newest: [Option<usize>; WORKERS] = [None; WORKERS];
        for (who, number) in lines.iter().filter_map(|line| made(line)) {
            let expected = newest[who].map(|last| last + 1);
            assert!(
                expected.is_none_or(|expected| self.follows(expected, number)),
                "{number} of {who} comes behind {:?}",
                newest[who]
            );
            newest[who] = Some(number);
        }
        for (newest, before) in newest.iter_mut().zip(self.newest) {
            // Whoever made nothing lately may have nothing left.
            *newest = newest.or(before);
            assert!(*newest >= before, "{before:?} has gone");
        }
        (self.lines, self.newest) = (lines, newest);
    }

    /// Whether nothing is missing between: but for the end of a killed round.
    fn follows(&self, expected: usize, number: usize) -> bool {
        let is_begin = number.is_multiple_of(EACH);
        number == expected
            || number > expected
                && is_begin
                && (expected / EACH..number / EACH).all(|round| self.killed.contains(&round))
    }
}

/// Which worker made which of its files, if the line is about one.
fn made(line: &str) -> Option<(usize, usize)> {
    let line: Value = serde_json::from_str(line).expect(line);
    let name = line["path"].as_str().unwrap().rsplit('/').next().unwrap();
    let (who, number) = name.strip_prefix('w')?.split_once('.')?;
    Some((who.parse().ok()?, number.parse().ok()?))
}

fn time_of(line: &str) -> String {
    line[9..39].to_owned()
}

/// ext4 takes no blocks out of a file that is mapped as on ext3: what stays is copied. The daemon, which
/// has the old file open, goes on with the new one.
fn no_extents() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let at = ground.directory("mapped");
    let image = ground.image("mapped", "64M");
    sh(&["mkfs.ext4", "-q", "-O", "^extent,^64bit"], &[&image]);
    sh(&["mount", "-o", "loop"], &[&image, &at]);
    let home = Home::at(at.join("home"));
    let (mut recorder, log) = with_old_lines(&home, &root, 3000);
    let before = fs::metadata(&log).unwrap();
    home.ok(&["clean", "_global", "-t", ">=2021-01-01", "-s", ">=1TB"]);
    let after = fs::metadata(&log).unwrap();
    assert_ne!(before.ino(), after.ino(), "it was cut in place");
    assert!(after.len() < 8192 && before.len() > 200_000);
    fs::write(root.join("after"), "").unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    let mut seen = Seen::default();
    seen.look(&home);
    let is_marker = |line: &&String| line.contains(MARKER);
    let lines: Vec<_> = seen.lines.iter().filter(|line| !is_marker(line)).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, name) in lines.iter().zip(["/new\"", "/after\""]) {
        assert!(line.contains(name), "{line}");
    }
}

/// A daemon that has recorded one file behind so many old lines.
fn with_old_lines(home: &Home, root: &Path, count: usize) -> (Recorder, PathBuf) {
    home.watch("_global", root, &["-r", "-t", "CREATE"]);
    let log = home.log_path("_global");
    fs::create_dir_all(home.log_dir()).unwrap();
    let old = |number: usize| {
        format!(
            "{{\"time\":\"2020-01-01T00:00:00.{number:09}Z\",\"event_type\":\"CREATE\",\"path\":\"/old\"}}\n"
        )
    };
    fs::write(&log, (0..count).map(old).collect::<String>()).unwrap();
    let mut recorder = home.start();
    fs::write(root.join("new"), "").unwrap();
    recorder.settle("_global", root);
    (recorder, log)
}

/// `tail -F` goes on over a clean: what is recorded afterwards is shown.
fn followed() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    for kind in [Fs::Ext4, Fs::Tmpfs] {
        let home = Home::at(ground.mount(kind).join("home"));
        let (mut recorder, log) = with_old_lines(&home, &root, 3000);
        let shown = ground.dir.join("shown");
        let tail = std::process::Command::new("tail")
            .args(["-n", "2", "-F"])
            .arg(&log)
            .stdout(File::create(&shown).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut tail = Ended(tail);
        let shows = |name: &str| {
            let text = until(PATIENCE, || {
                let text = fs::read_to_string(&shown).unwrap();
                (text.contains(name) && text.ends_with('\n')).then_some(text)
            });
            text.unwrap_or_else(|| panic!("tail does not show {name}"))
        };
        shows("new");
        home.ok(&["clean", "_global", "-t", ">=2021-01-01", "-s", ">=1TB"]);
        for name in ["after", "later"] {
            fs::write(root.join(name), "").unwrap();
            recorder.settle("_global", &root);
            let text = shows(name);
            assert!(!text.contains("/old"), "{text}");
        }
        assert!(tail.0.try_wait().unwrap().is_none());
        recorder.stop();
        for name in ["new", "after", "later"] {
            fs::remove_file(root.join(name)).unwrap();
        }
    }
}

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

const WORKERS: usize = 4;
const ROUNDS: usize = 4;
const MOST_ROUNDS: usize = 40;
/// Files that each worker makes in a round.
const EACH: usize = 1500;
/// So many bytes a clean by size leaves.
const KEPT: u64 = 100_000;
