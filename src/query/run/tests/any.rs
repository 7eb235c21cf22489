//! Any logs and any question: what comes is what a reading of each line finds.

use std::collections::HashMap;
use std::mem;

use super::*;
use crate::event::{Attribution, EventType, FileEvent};
use crate::log::line::encode_event;

/// A line of a log, and what it is without a look at it.
struct Row {
    log: usize,
    bytes: Vec<u8>,
    what: What,
}

enum What {
    Event(i64, Vec<u8>),
    Hole(i64, i64),
    /// No event, although it may have a time.
    Strange(Option<i64>),
    Blank,
}

impl Row {
    /// The time by which it may be wanted.
    fn time(&self) -> Option<i64> {
        match self.what {
            What::Event(time, _) | What::Hole(time, _) => Some(time),
            What::Strange(_) | What::Blank => None,
        }
    }

    /// Any time in it.
    fn any_time(&self) -> Option<i64> {
        match self.what {
            What::Strange(time) => time,
            _ => self.time(),
        }
    }
}

/// Noise that is the same in each run, so that a failure can be seen again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, limit: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as i64 % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as i64) as usize]
    }
}

/// How the clock of a recorder goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// It is set forwards and back, and the times in the log never go back.
    Held,
    /// The times in the log go back with it, sometimes.
    Raw,
}

/// Logs in a directory.
struct Logs {
    place: tempfile::TempDir,
    rows: Vec<Vec<Row>>,
    /// The last time of all.
    end: i64,
}

impl Logs {
    /// So many logs of about so many bytes.
    fn make(dice: &mut Dice, count: usize, size: usize, clock: Clock) -> Self {
        let place = tempfile::tempdir().unwrap();
        let rows: Vec<_> = (0..count).map(|log| rows(dice, log, size, clock)).collect();
        for (log, rows) in rows.iter().enumerate() {
            let mut bytes = rows
                .iter()
                .map(|row| &row.bytes[..])
                .collect::<Vec<_>>()
                .concat();
            bytes.extend(torn(dice));
            fs::write(place.path().join(name_of(log)), bytes).unwrap();
        }
        let end = rows.iter().flatten().filter_map(Row::any_time).max();
        Self {
            place,
            rows,
            end: end.unwrap_or(0),
        }
    }

    fn is_sorted(&self, log: usize) -> bool {
        self.rows[log].iter().filter_map(Row::any_time).is_sorted()
    }

    /// The wanted lines of one log, as they stand there.
    fn wanted<'l>(&'l self, log: usize, question: &Question) -> Vec<&'l Row> {
        let rows = self.rows[log].iter();
        rows.filter(|row| question.wants(row)).collect()
    }
}

fn rows(dice: &mut Dice, log: usize, size: usize, clock: Clock) -> Vec<Row> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let (mut set, mut time) = (0, i64::MIN);
    // Some logs are sorted all the same.
    let back = dice.pick(&[0, 1, 1, 8]);
    while bytes < size {
        set += match dice.roll(60) {
            0 => -dice.roll(300 * SECOND),
            1 => dice.roll(300 * SECOND),
            2..20 => dice.roll(SECOND),
            _ => dice.roll(3),
        };
        let is_back = clock == Clock::Raw && set < time && dice.roll(40) < back;
        time = if is_back { set } else { set.max(time) };
        let row = any_row(dice, log, rows.len(), time, size);
        bytes += row.bytes.len();
        rows.push(row);
    }
    if let Some(first) = rows.first_mut() {
        // What a cut in place leaves in front.
        let blanks = dice.pick(&[0, 0, 1, 4095, 9000]);
        first.bytes.splice(..0, vec![b' '; blanks]);
    }
    rows
}

fn any_row(dice: &mut Dice, log: usize, number: usize, time: i64, size: usize) -> Row {
    let (mut stamp, mut bytes) = (Vec::new(), Vec::new());
    write_time(WallTime(time), &mut stamp);
    let stamp = String::from_utf8(stamp).unwrap();
    let what = match dice.roll(100) {
        0..3 => {
            let lost = dice.pick(&[-1, 0, 7, 1000]);
            let gap = Gap {
                time: WallTime(time),
                lost,
                cause: format!("test {log} {number}").into(),
                since: WallTime(time),
            };
            encode_gap(&gap, &mut bytes);
            What::Hole(time, lost)
        }
        3..5 => {
            bytes.extend(dice.pick(&STRANGE));
            What::Strange(None)
        }
        5 => {
            bytes.extend(format!("{{\"time\":\"{stamp}\",\"n\":{number}}}\n").bytes());
            What::Strange(Some(time))
        }
        6 => {
            bytes.extend(dice.pick(&[&b"\n"[..], b"  \r\n"]));
            What::Blank
        }
        7..10 => {
            // As another program would write it, an hour further east.
            write_time(WallTime(time + 3600 * SECOND), &mut bytes);
            let stamp = String::from_utf8(mem::take(&mut bytes)).unwrap();
            let stamp = stamp.replace('Z', "+01:00");
            let line = format!(
                "{{ \"pid\":{log}, \"path\" : \"\\/a\\u002fodd\", \"n\":{number}, \"event_type\":\"NEW\",\"time\":\"{stamp}\"}} \r\n"
            );
            bytes.extend(line.bytes());
            What::Event(time, b"/a/odd".to_vec())
        }
        _ => {
            let path = any_path(dice, size);
            encode_event(&event(log, number, time, &path), &mut bytes);
            What::Event(time, path)
        }
    };
    Row { log, bytes, what }
}

fn any_path(dice: &mut Dice, size: usize) -> Vec<u8> {
    let mut path = dice
        .pick(&[
            &b"/a/"[..],
            b"/ab/",
            b"/b/",
            b"/a",
            b"/a/\"\\\n",
            b"/a\xff/",
            b"/a/\xff",
        ])
        .to_vec();
    let length = match dice.roll(400) {
        // Longer than what is read at a time.
        0 if size >= LARGE => 100_000 + dice.roll(200_000),
        0..40 => dice.roll(9000),
        _ => dice.roll(300),
    };
    path.extend(vec![b'x'; length as usize]);
    path
}

fn event(log: usize, number: usize, time: i64, path: &[u8]) -> FileEvent {
    FileEvent {
        time: WallTime(time),
        kind: EventType::Create,
        path: path.to_vec(),
        // With both no line is like another.
        pid: log as u32,
        file_size: number as u64,
        cmd: "x".into(),
        user: "y".into(),
        ppid: 1,
        tgid: 1,
        chain: "1|x|y".into(),
        exe: None,
        other_path: None,
        attribution: Attribution::Exact,
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}

/// What a crash leaves at the end: nothing, half a line, or one without its newline.
fn torn(dice: &mut Dice) -> Vec<u8> {
    let mut line = Vec::new();
    encode_event(&event(9, 0, 0, b"/a/torn"), &mut line);
    let length = dice.pick(&[0, 0, 30, 90, line.len() - 1]);
    line.truncate(length);
    line
}

#[derive(Clone, Debug)]
struct Question {
    /// None means all.
    log: Option<usize>,
    first: i64,
    last: i64,
    prefix: Option<&'static str>,
    scan: bool,
    /// How much is read at a time, when it is not what `run` chooses.
    block: Option<usize>,
}

impl Question {
    fn any(dice: &mut Dice, logs: &Logs) -> Self {
        let around = |dice: &mut Dice| match dice.roll(3) {
            // A time that stands in a log.
            0 => {
                let rows = &logs.rows[dice.roll(logs.rows.len() as i64) as usize];
                let row = rows.get(dice.roll(rows.len().max(1) as i64) as usize);
                row.and_then(Row::any_time).unwrap_or(0) + dice.roll(3) - 1
            }
            _ => dice.roll(logs.end + 40 * SECOND) - 20 * SECOND,
        };
        let first = around(dice);
        let (first, last) = match dice.roll(8) {
            0 => (i64::MIN, around(dice)),
            1 => (first, i64::MAX),
            2 => (i64::MIN, i64::MAX),
            3 => (first, first + dice.roll(4) - 1),
            _ => (first, first + dice.roll(80 * SECOND) - 4 * SECOND),
        };
        let log = dice.roll(logs.rows.len() as i64 * 2) as usize;
        Self {
            log: Some(log).filter(|log| *log < logs.rows.len()),
            first,
            last,
            prefix: dice.pick(&[None, Some("/a"), Some("/ab/"), Some("/")]),
            scan: false,
            block: dice.pick(&[None, None, Some(1), Some(700), Some(5000)]),
        }
    }

    /// Whether each line of the logs is looked at.
    fn reads_all(&self) -> bool {
        let is_of_all_times = (self.first, self.last) == (i64::MIN, i64::MAX);
        is_of_all_times || (self.scan && self.first <= self.last)
    }

    fn wants(&self, row: &Row) -> bool {
        let is_below = match (&row.what, self.prefix) {
            (What::Event(_, path), Some(prefix)) => {
                let prefix = prefix.trim_end_matches('/').as_bytes();
                let rest = path.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            }
            _ => true,
        };
        let is_now = |time| (self.first..=self.last).contains(&time);
        is_below && row.time().is_some_and(is_now)
    }

    /// The logs that are asked.
    fn asked(&self, logs: &Logs) -> Vec<usize> {
        (0..logs.rows.len())
            .filter(|log| self.log.is_none_or(|asked| asked == *log))
            .collect()
    }

    fn put(&self, logs: &Logs) -> (Vec<u8>, QueryOutcome) {
        let request = QueryRequest {
            log_dir: logs.place.path().to_owned(),
            logs: self.log.map(|log| vec![name_of(log)]),
            paths: self
                .prefix
                .iter()
                .map(|prefix| prefix.as_bytes().to_vec())
                .collect(),
            window: TimeWindow {
                first: WallTime(self.first),
                last: WallTime(self.last),
            },
            scan: self.scan,
        };
        let mut out = Vec::new();
        let outcome = match self.block {
            Some(block) if !request.window.is_empty() => run_in_blocks(&request, block, &mut out),
            _ => run(&request, &mut out).unwrap(),
        };
        assert!(outcome.refused.is_empty() && outcome.missing.is_empty() && !outcome.no_log);
        (out, outcome)
    }
}

/// What [`run`] does, with so small a block that lines and merges cross many of them.
fn run_in_blocks(request: &QueryRequest, block: usize, out: &mut Vec<u8>) -> QueryOutcome {
    let mut outcome = QueryOutcome::default();
    let files = open_logs(request, &mut outcome).unwrap();
    let selection = Selection::new(request.window, &request.paths);
    let how = Reading {
        scan: request.scan,
        apart: files.len() > 1,
        block,
    };
    let streams = files.into_iter();
    let streams = streams
        .map(|(name, file)| Stream::open(name, file, &selection, &how).unwrap())
        .collect();
    write_merged(streams, out, &mut outcome).unwrap();
    outcome
}

fn bytes_of(rows: &[&Row]) -> Vec<u8> {
    rows.iter().flat_map(|row| row.bytes.clone()).collect()
}

/// What is counted is what was handed out.
fn assert_counts(outcome: &QueryOutcome, told: &[&Row], case: &dyn Fn() -> String) {
    let lost = told.iter().filter_map(|row| match row.what {
        What::Hole(_, lost) => Some(lost),
        _ => None,
    });
    let lost: Vec<i64> = lost.collect();
    let known: u64 = lost
        .iter()
        .filter_map(|lost| u64::try_from(*lost).ok())
        .sum();
    assert_eq!(
        (
            outcome.lines,
            outcome.gaps,
            outcome.lost,
            outcome.lost_unknown
        ),
        (
            told.len() as u64,
            lost.len() as u64,
            known,
            lost.contains(&-1)
        ),
        "{}",
        case()
    );
}

/// Whoever looks at each line counts those that are no events.
fn assert_unreadable(outcome: &QueryOutcome, logs: &Logs, question: &Question) {
    let asked = question.asked(logs);
    let rows = asked.iter().flat_map(|log| &logs.rows[*log]);
    let strange = rows.filter(|row| matches!(row.what, What::Strange(_)));
    let strange = strange.count() as u64;
    if question.reads_all() && matches!(question.prefix, None | Some("/")) {
        assert_eq!(outcome.unreadable, strange, "{question:?}");
    } else {
        assert!(outcome.unreadable <= strange, "{question:?}");
    }
}

#[test]
fn any_window_of_any_logs_is_what_a_reading_of_each_line_finds() {
    let mut dice = Dice(7);
    for round in 0..50 {
        let (size, questions) = match round {
            0 => (0, 10),
            _ if round % 10 == 9 => (LARGE + dice.roll(100_000) as usize, 60),
            _ => (dice.roll(60_000) as usize, 100),
        };
        let logs = Logs::make(&mut dice, 1 + round % 3, size, Clock::Held);
        for _ in 0..questions {
            let question = Question {
                scan: dice.roll(8) == 0,
                ..Question::any(&mut dice, &logs)
            };
            let (out, outcome) = question.put(&logs);
            let asked = question.asked(&logs).into_iter();
            let mut expected: Vec<&Row> =
                asked.flat_map(|log| logs.wanted(log, &question)).collect();
            // Of one time the first log first.
            expected.sort_by_key(|row| row.time());
            let case = || format!("round {round}: {question:?}");
            assert!(out == bytes_of(&expected), "{}", case());
            assert_counts(&outcome, &expected, &case);
            assert!(outcome.out_of_order.is_empty(), "{}", case());
            assert_unreadable(&outcome, &logs, &question);
        }
    }
}

#[test]
fn a_clock_that_went_back_is_noticed_or_does_no_harm() {
    let mut dice = Dice(8);
    let (mut noticed, mut whole) = (0, 0);
    for round in 0..60 {
        // Of a log of this size every line is looked at.
        let size = dice.roll(70_000) as usize;
        let logs = Logs::make(&mut dice, 1 + round % 3, size, Clock::Raw);
        for _ in 0..60 {
            let question = Question {
                scan: dice.roll(3) == 0,
                ..Question::any(&mut dice, &logs)
            };
            let (out, outcome) = question.put(&logs);
            let case = || format!("round {round}: {question:?}");
            let told = rows_in(&out, &logs);
            assert_counts(&outcome, &told, &case);
            assert_unreadable(&outcome, &logs, &question);
            for log in question.asked(&logs) {
                let told = told.iter().copied().filter(|row| row.log == log);
                let told: Vec<&Row> = told.collect();
                let is_named = outcome.out_of_order.contains(&name_of(log));
                assert!(!is_named || !logs.is_sorted(log), "{}", case());
                let wanted = logs.wanted(log, &question);
                let is_right = bytes_of(&told) == bytes_of(&wanted);
                assert!(
                    is_right || (is_named && !question.reads_all()),
                    "{}",
                    case()
                );
                (noticed, whole) = (noticed + u32::from(is_named), whole + u32::from(!is_named));
            }
            // Of lines that are passed over for their paths, the times may not be looked at.
            let is_told_by_time = matches!(question.prefix, None | Some("/"));
            if question.scan && (is_told_by_time || question.asked(&logs).len() == 1) {
                assert!(out == in_turn(&logs, &question), "{}", case());
            }
        }
    }
    assert!(noticed > 300 && whole > 300, "{noticed} {whole}");
}

/// Which lines these are.
fn rows_in<'l>(out: &[u8], logs: &'l Logs) -> Vec<&'l Row> {
    let rows = logs.rows.iter().flatten();
    let known: HashMap<&[u8], &Row> = rows.map(|row| (&row.bytes[..], row)).collect();
    out.split_inclusive(|byte| *byte == b'\n')
        .map(|line| known[line])
        .collect()
}

/// What several logs come to that are read from beginning to end. A line that is older than one before
/// it comes when that one's time has come.
fn in_turn(logs: &Logs, question: &Question) -> Vec<u8> {
    let mut all = Vec::new();
    for log in question.asked(logs) {
        let mut time = None;
        for row in &logs.rows[log] {
            time = time.max(row.time());
            if question.wants(row) {
                all.push((time, row));
            }
        }
    }
    all.sort_by_key(|(time, _)| *time);
    let rows: Vec<&Row> = all.into_iter().map(|(_, row)| row).collect();
    bytes_of(&rows)
}

fn name_of(log: usize) -> String {
    format!("g{log}_log.jsonl")
}

const SECOND: i64 = 1_000_000_000;
/// Some of what is read at a time.
const LARGE: usize = 300 * 1024;
/// The last two have the recorder's form but for a byte that no line of its has.
const STRANGE: [&[u8]; 7] = [
    b"garbage\n",
    b"{}\n",
    b"{\"time\":\"nonsense\",\"event_type\":\"CREATE\",\"path\":\"/a\"}\n",
    b"\xff\xfe\n",
    b"{\"time\":\"1970-01-01T00:00:03.000000000Z\",\"event_type\":\"CREATE\",\"path\":\"/a\n",
    b"{\"time\":\"1970-01-01T00:00:03.000000000Z\",\"event_type\":\"CREATE\",\"path\":\"/a\xff\"}\n",
    b"{\"time\":\"2200-01-01T00:00:00.000000000Z\",\"event_type\":\"CREATE\",\"path\":\"/a\xff\"}\n",
];
