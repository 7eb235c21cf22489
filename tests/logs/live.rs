//! Several at once, at full speed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use fsmon::filters::time::TimeWindow;
use fsmon::log::line::{LogLine, decode};
use fsmon::query::{self, QueryRequest};

use crate::{appender, line, scratch};

/// Writes numbered lines until told to stop, never more than `allowed`; says how many.
fn record(dir: &Path, allowed: &AtomicI64, stop: &AtomicBool) -> i64 {
    let mut appender = appender(dir, 256 << 20);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) || appender.pending_bytes() > 0 {
        for _ in 0..3 {
            if next < allowed.load(Ordering::Relaxed) {
                appender.queue(LOG, |out| out.extend(numbered(next)));
                next += 1;
            }
        }
        let report = appender.flush();
        assert!(
            report.errors.is_empty() && report.dropped == 0,
            "{report:?}"
        );
    }
    next
}

pub(crate) fn numbered(number: i64) -> Vec<u8> {
    line(BASE + number, format!("/n/{number}").as_bytes())
}

/// The numbers of all whole lines; a cut in place can leave a blank one.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<i64> {
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.trim_ascii().is_empty())
        .map(|line| match decode(line) {
            Some(LogLine::Event(event)) => event.time.0 - BASE,
            other => panic!("{other:?} in {}", String::from_utf8_lossy(line)),
        })
        .collect()
}

/// `logrotate` with rename and create: every line is in one of the files, once.
pub(crate) fn rotation() {
    let place = scratch();
    let dir = place.path();
    let (stop, allowed) = (AtomicBool::new(false), AtomicI64::new(i64::MAX));
    let written = thread::scope(|scope| {
        let recorder = scope.spawn(|| record(dir, &allowed, &stop));
        let mut rotated = 0;
        while rotated < 300 && !recorder.is_finished() {
            if fs::metadata(dir.join(LOG)).is_ok_and(|meta| meta.len() > 0) {
                fs::rename(dir.join(LOG), dir.join(format!("old{rotated}"))).unwrap();
                rotated += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        recorder.join().unwrap()
    });
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with(".lock") {
            let numbers = numbers(&fs::read(path).unwrap());
            assert!(numbers.is_sorted());
            for number in numbers {
                assert!(seen.insert(number), "{number} twice");
            }
        }
    }
    assert!(seen.into_iter().eq(0..written));
}

/// The real command, killed at any moment, beside a recorder that never pauses.
pub(crate) fn killed_cleans() {
    let home = scratch();
    let dir = home.path().join(".local/state/fsmon");
    let (stop, allowed) = (AtomicBool::new(false), AtomicI64::new(8_000));
    let (dir, log) = (&dir, dir.join(LOG));
    let (written, cut) = thread::scope(|scope| {
        let recorder = scope.spawn(|| record(dir, &allowed, &stop));
        let (mut cut, mut whole) = (0, 0);
        for round in 0.. {
            if whole >= 12 || recorder.is_finished() {
                break;
            }
            let mut clean = Command::new(env!("CARGO_BIN_EXE_fsmon"))
                .args([
                    "clean",
                    "load",
                    "-s",
                    ">=1TB",
                    "-t",
                    &format!(">={}", time(cut)),
                ])
                .env_clear()
                .env("HOME", home.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            if round % 3 > 0 {
                // A moment that differs each time: when so many more lines have been written.
                let moment = length_of(&log) + round * 7919 % 400_000;
                while length_of(&log) < moment && clean.try_wait().unwrap().is_none() {
                    thread::yield_now();
                }
                clean.kill().unwrap();
            }
            whole += u32::from(clean.wait().unwrap().success());
            // Everything from the cut on must be there; the next cut is within what was seen.
            if let Ok(bytes) = fs::read(dir.join(LOG)) {
                cut = unbroken_from(cut, &bytes);
                allowed.store(cut + 8_000, Ordering::Relaxed);
            }
        }
        stop.store(true, Ordering::Relaxed);
        (recorder.join().unwrap(), cut)
    });
    assert_eq!(
        unbroken_from(cut, &fs::read(dir.join(LOG)).unwrap()),
        written - 1
    );
}

fn length_of(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |meta| meta.len())
}

fn unbroken_from(cut: i64, bytes: &[u8]) -> i64 {
    let mut numbers = numbers(bytes);
    numbers.retain(|number| *number >= cut);
    let Some(last) = numbers.last() else {
        return cut;
    };
    assert!(
        (cut..=*last).eq(numbers.iter().copied()),
        "not all from {cut} to {last}"
    );
    *last
}

pub(crate) fn time(number: i64) -> String {
    let line = numbered(number);
    String::from_utf8(line[9..39].to_vec()).unwrap()
}

pub(crate) fn growing() {
    let place = scratch();
    let dir = place.path();
    let (stop, allowed) = (AtomicBool::new(false), AtomicI64::new(i64::MAX));
    thread::scope(|scope| {
        let recorder = scope.spawn(|| record(dir, &allowed, &stop));
        let request = QueryRequest {
            log_dir: dir.to_owned(),
            logs: None,
            paths: Vec::new(),
            window: TimeWindow::ALL,
            scan: false,
        };
        let mut seen = 0;
        while seen < 5_000 && !recorder.is_finished() {
            let mut out = Vec::new();
            let outcome = query::run(&request, &mut out).unwrap();
            let numbers = numbers(&out);
            assert_eq!(outcome.unreadable, 0);
            assert!(numbers.iter().copied().eq(0..numbers.len() as i64));
            assert!(numbers.len() >= seen);
            seen = numbers.len();
        }
        stop.store(true, Ordering::Relaxed);
        recorder.join().unwrap()
    });
}

const LOG: &str = "load_log.jsonl";
pub(crate) const BASE: i64 = 1_778_148_001_000_000_000;
