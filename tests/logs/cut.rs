//! Cleaning on real filesystems: in a loop, beside four recorders that never pause, with kill -9 of
//! either at any moment; and what stays of the file itself.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{env, io, thread};

use fsmon::clean::plan::Keep;
use fsmon::clean::{self, CleanReport, CleanRequest};
use fsmon::event::WallTime;
use fsmon::filters::time::TimeWindow;
use fsmon::query::{self, QueryRequest};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::disk::Mount;
use crate::live::{BASE, numbered, numbers, time};
use crate::{appender, line as line_of, scratch};

/// Is set for this program when it is to be a recorder: the directory and the name of its log.
pub(crate) const RECORDER: &str = "FSMON_LOGS_RECORDER";

/// Appends numbered lines until its stdin ends; goes on behind the last one that is there.
pub(crate) fn be_recorder(log: &Path) {
    static STOP: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        io::stdin().read_to_end(&mut Vec::new()).ok();
        STOP.store(true, Ordering::Relaxed);
    });
    let name = log.file_name().unwrap().to_str().unwrap();
    let mut appender = appender(log.parent().unwrap(), 64 << 20);
    let last = appender.last_time(name).unwrap();
    let mut next = last.map_or(0, |time| time.0 - BASE + 1);
    while !STOP.load(Ordering::Relaxed) || !appender.is_idle() {
        // So much is cleaned soon; without an end it would be a test of the disk.
        if length(log) > 400_000 || appender.pending_bytes() > 100_000 {
            thread::park_timeout(Duration::from_millis(1));
        } else {
            for _ in 0..7 {
                appender.queue(name, |out| out.extend(numbered(next)));
                next += 1;
            }
        }
        let report = appender.flush();
        assert!(
            report.errors.is_empty() && report.dropped == 0,
            "{report:?}"
        );
    }
}

struct Recorder(Child);

impl Recorder {
    fn start(log: &Path) -> Self {
        let mut program = Command::new(env::current_exe().unwrap());
        program.env(RECORDER, log).stdin(Stdio::piped());
        Self(program.spawn().unwrap())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn flood(mount: &Mount) {
    // Four recorders are enough for a machine.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = mount.point();
    let dir = home.join(".local/state/fsmon");
    fs::create_dir_all(&dir).unwrap();
    let logs: Vec<PathBuf> = (0..4)
        .map(|n| dir.join(format!("load{n}_log.jsonl")))
        .collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&dir, &stop));
        let mut recorders: Vec<_> = logs.iter().map(|log| Recorder::start(log)).collect();
        let mut last = [-1; 4];
        for round in 0..ROUNDS {
            let which = round % 4;
            let log = &logs[which];
            while length(log) < 20_000 {
                assert!(recorders[which].0.try_wait().unwrap().is_none());
                thread::yield_now();
            }
            clean_once(&home, log, round, &mut last[which]);
            if round % 9 == 8 {
                recorders[which] = Recorder::start_after(&mut recorders[which], log);
                // Its last lines may not have been written; those that were must stay.
                last[which] = check(log, last[which]);
            }
            if asking.is_finished() {
                break;
            }
        }
        for recorder in &mut recorders {
            drop(recorder.0.stdin.take());
            assert!(recorder.0.wait().unwrap().success(), "a recorder failed");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(asking.join().unwrap() > 0, "nobody asked");
        for (log, last) in logs.iter().zip(last) {
            check(log, last);
        }
    });
}

impl Recorder {
    /// Kills one, and starts another in its place.
    fn start_after(before: &mut Self, log: &Path) -> Self {
        before.0.kill().unwrap();
        before.0.wait().unwrap();
        Self::start(log)
    }
}

/// One clean, by age or by size, killed at some moment in two of three cases.
fn clean_once(home: &Path, log: &Path, round: usize, last: &mut i64) {
    *last = check(log, *last);
    let by_size = round % 8 >= 4;
    let (size, from) = if by_size {
        (format!(">={KEPT}B"), 0)
    } else {
        (">=1TB".to_owned(), *last)
    };
    let name = log.file_name().unwrap().to_str().unwrap();
    let mut clean = Command::new(env!("CARGO_BIN_EXE_fsmon"))
        .args(["clean", name.strip_suffix("_log.jsonl").unwrap()])
        .args(["-s", &size, "-t", &format!(">={}", time(from))])
        .env_clear()
        .env("HOME", home)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    if !round.is_multiple_of(3) {
        for _ in 0..round * 7919 % 3000 {
            thread::yield_now();
        }
        clean.kill().unwrap();
        clean.wait().unwrap();
    } else {
        assert!(clean.wait().unwrap().success());
    }
    let bytes = fs::read(log).unwrap();
    let first = numbers(&bytes)[0];
    assert!(by_size || first <= from, "{first} is older than {from}");
    assert!(!by_size || bytes.len() as u64 >= KEPT, "{}", bytes.len());
}

/// Every line is whole, and none is missing or there twice between the first and the last; none
/// of those seen before at the end has gone. Returns the number of the last.
fn check(log: &Path, last: i64) -> i64 {
    let numbers = numbers(&fs::read(log).unwrap());
    let (Some(first), Some(newest)) = (numbers.first(), numbers.last()) else {
        panic!("the log is empty");
    };
    assert!((*first..=*newest).eq(numbers.iter().copied()), "a hole");
    assert!(*newest >= last, "{last} has gone, {newest} is the last");
    *newest
}

/// Asks all the while; whatever the answer lacks, it never holds a line twice or half.
fn ask(dir: &Path, stop: &AtomicBool) -> u64 {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = QueryRequest {
            log_dir: dir.to_owned(),
            logs: Some(vec!["load0_log.jsonl".to_owned()]),
            paths: Vec::new(),
            window: TimeWindow::ALL,
            scan: false,
        };
        let mut out = Vec::new();
        let outcome = query::run(&request, &mut out).unwrap();
        let numbers = numbers(&out);
        assert!(numbers.is_sorted_by(|a, b| a < b), "a line twice");
        assert!(outcome.out_of_order.is_empty());
        asked += u64::from(!numbers.is_empty());
    }
    asked
}

/// The file stays the same one, with its owner and mode, and who has it open sees what is appended.
pub(crate) fn same_file(mount: &Mount) {
    // Of the last, less goes than a block, and so much stays that it is not copied for that.
    for (count, from, size) in [
        (3000, 1500, None),
        (3000, 0, Some(100_000)),
        (6000, 5, None),
    ] {
        let log = mount.point().join("x_log.jsonl");
        let all: Vec<u8> = (0..count).flat_map(numbered).collect();
        fs::write(&log, &all).unwrap();
        fs::set_permissions(&log, Permissions::from_mode(0o640)).unwrap();
        chown(&log, Some(12_345), Some(54_321)).unwrap();
        let before = fs::metadata(&log).unwrap();
        let reader = File::open(&log).unwrap();
        let report = clean_to(&log, from, size, true);
        assert_eq!(fs::read(&log).unwrap(), all, "a dry run writes");
        assert_eq!(report, clean_to(&log, from, size, false));
        let after = fs::metadata(&log).unwrap();
        let state = |meta: &fs::Metadata| (meta.ino(), meta.mode(), meta.uid(), meta.gid());
        assert_eq!(state(&before), state(&after));
        assert_eq!(report.after, after.len());
        let kept = numbers(&fs::read(&log).unwrap());
        assert!(kept.iter().copied().eq(kept[0]..count), "a hole");
        assert_eq!(
            count as usize - kept.len(),
            (report.by_time + report.by_size) as usize
        );
        assert!(from == 0 || kept[0] == from);
        let mut appender = appender(log.parent().unwrap(), 1 << 20);
        appender.queue("x_log.jsonl", |out| out.extend(numbered(count)));
        assert!(appender.flush().errors.is_empty());
        let mut seen = Vec::new();
        (&reader).read_to_end(&mut seen).unwrap();
        assert_eq!(numbers(&seen).last(), Some(&count));
        // Another run finds nothing more, also with the blanks in front.
        let again = clean_to(&log, from, size, false);
        assert_eq!(again.by_time, 0);
        assert!(again.by_size <= 1);
    }
}

/// Takes the answer to a query, and cuts the log as soon as something comes.
struct Cutter<'a> {
    log: &'a Path,
    answer: Vec<u8>,
    /// At which line.
    at: Option<i64>,
}

impl Write for Cutter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answer.extend_from_slice(bytes);
        if let Some(at) = self.at.take() {
            assert_eq!(clean_to(self.log, at, None, false).by_time, at as u64);
            // As long as before: the size tells nothing.
            let mut appender = appender(self.log.parent().unwrap(), 64 << 20);
            for number in 3000..4600 {
                appender.queue("x_log.jsonl", |out| out.extend(numbered(number)));
            }
            assert!(appender.flush().errors.is_empty());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A query whose log is cut under it goes on where it was, or behind the cut.
pub(crate) fn query_meanwhile(mount: &Mount) {
    // Where it has read to, and then a cut at the very line that was read last, and around it.
    let read = query_and_cut(mount, 2500);
    for at in read - 3..read + 3 {
        query_and_cut(mount, at);
    }
}

fn query_and_cut(mount: &Mount, at: i64) -> i64 {
    let log = mount.point().join("x_log.jsonl");
    let all: Vec<u8> = (0..3000).flat_map(numbered).collect();
    fs::write(&log, &all).unwrap();
    let inode = fs::metadata(&log).unwrap().ino();
    let request = QueryRequest {
        log_dir: mount.point(),
        logs: None,
        paths: Vec::new(),
        window: TimeWindow::ALL,
        scan: false,
    };
    let mut out = Cutter {
        log: &log,
        answer: Vec::new(),
        at: Some(at),
    };
    let outcome = query::run(&request, &mut out).unwrap();
    assert_eq!(inode, fs::metadata(&log).unwrap().ino());
    let numbers = numbers(&out.answer);
    let before = (0..)
        .zip(&numbers)
        .take_while(|(count, number)| count == *number);
    let before = before.count() as i64;
    assert!(before > 0, "nothing came before the cut");
    let expected = (0..before).chain(at.max(before)..4600);
    assert!(numbers.iter().copied().eq(expected), "cut at {at}");
    assert_eq!(
        (outcome.lines, outcome.unreadable),
        (numbers.len() as u64, 0)
    );
    before
}

/// Whatever stands in a log, what is cut in place is what is copied elsewhere but for blanks, and
/// the dry run says exactly what comes.
pub(crate) fn any_log(mount: &Mount) {
    let elsewhere = scratch();
    let (here, there) = (
        mount.point().join("x_log.jsonl"),
        elsewhere.path().join("x_log.jsonl"),
    );
    let line = prop_oneof![
        30 => (0_i64..3, 0_usize..3000).prop_map(Some),
        1 => Just(None),
    ];
    let lines = proptest::collection::vec(line, 1..120);
    let case = (
        lines,
        0_i64..200,
        proptest::option::of(0_u64..200_000),
        any::<bool>(),
    );
    let config = Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&case, |(lines, from, size, torn)| {
        let mut number = 0;
        let mut all = Vec::new();
        for (index, step) in lines.iter().enumerate() {
            match step {
                Some((step, length)) => {
                    number += step;
                    all.extend(line_of(BASE + number, &vec![b'p'; *length]));
                }
                None if index % 3 == 0 => all.push(b'\n'),
                None => all.extend(format!("garbage {index}\n").bytes()),
            }
        }
        all.extend(if torn { &b"{\"time\":"[..] } else { b"" });
        fs::write(&here, &all).unwrap();
        fs::write(&there, &all).unwrap();
        let forecast = clean_to(&here, from, size, true);
        assert_eq!(fs::read(&here).unwrap(), all);
        let done = clean_to(&here, from, size, false);
        assert_eq!(forecast, done);
        let copied = clean_to(&there, from, size, false);
        let after = fs::read(&here).unwrap();
        assert_eq!(after.len() as u64, done.after);
        let expected = fs::read(&there).unwrap();
        let lead = (done.after - copied.after) as usize;
        assert!(lead < 4096 && after[..lead].iter().all(|byte| *byte == b' '));
        assert!(after[lead..] == expected);
        let after = copied.after;
        assert_eq!(CleanReport { after, ..done }, copied);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn clean_to(log: &Path, from: i64, size: Option<u64>, dry_run: bool) -> CleanReport {
    let request = CleanRequest {
        log_path: log.to_owned(),
        keep: Keep {
            window: TimeWindow {
                first: WallTime(BASE + from),
                ..TimeWindow::ALL
            },
            size: size.map(|size| format!(">={size}B").parse().unwrap()),
        },
        dry_run,
        owner: None,
    };
    clean::run(&request, &mut |_| Ok(())).unwrap().unwrap()
}

fn length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |meta| meta.len())
}

const ROUNDS: usize = 72;
const KEPT: u64 = 10_000;
