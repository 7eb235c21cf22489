//! What the writer, `clean` and `query` should do to the bytes of logs, as plainly as it can be said.

use std::mem;

use chrono::DateTime;
use fsmon::clean::CleanReport;
use fsmon::clean::plan::Keep;
use fsmon::event::WallTime;
use fsmon::filters::time::TimeWindow;
use fsmon::log::line::{Gap, encode_gap};
use serde_json::{Map, Value};

/// A writer that never fails, and the files it writes.
pub(crate) struct Writer {
    /// How many bytes may be pending.
    pub(crate) ceiling: usize,
    pub(crate) logs: [Log; 2],
    dropped: u64,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) file: Option<Vec<u8>>,
    pending: Vec<u8>,
    /// Lines given up since the last that was taken: how many, since when and until when.
    lost: Option<(i64, i64, i64)>,
    trouble: Option<&'static str>,
}

impl Writer {
    pub(crate) fn new(ceiling: usize) -> Self {
        Self {
            ceiling,
            logs: Default::default(),
            dropped: 0,
        }
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.logs.iter().map(|log| log.pending.len()).sum()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.logs.iter().all(Log::is_idle)
    }

    /// Lines given up since this was asked before.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        mem::take(&mut self.dropped)
    }

    pub(crate) fn queue(&mut self, log: usize, time: i64, line: &[u8]) {
        let held = self.pending_bytes();
        let log = &mut self.logs[log];
        let mut new = Vec::new();
        if log.lost.is_some() && held < self.ceiling / 2 {
            new = log.end_hole();
        }
        if log.lost.is_none() && held + new.len() + line.len() <= self.ceiling {
            new.extend_from_slice(line);
        } else {
            let (count, since, _) = log.lost.unwrap_or((0, time, time));
            log.lost = Some((count + 1, since, time));
            self.dropped += 1;
        }
        log.pending.extend(new);
    }

    /// Writes all that is pending, and says what that was.
    pub(crate) fn flush(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for log in self.logs.iter_mut().filter(|log| !log.is_idle()) {
            let file = log.file.get_or_insert_default();
            mend(file, &log.pending);
            let mut written = mem::take(&mut log.pending);
            written.extend(log.end_hole());
            log.trouble = None;
            all.extend_from_slice(&written);
            log.file.get_or_insert_default().extend(written);
        }
        all
    }

    /// Notes why what is pending was not written.
    pub(crate) fn explain(&mut self, trouble: &'static str) {
        for log in self.logs.iter_mut().filter(|log| !log.is_idle()) {
            log.trouble = Some(trouble);
        }
    }

    /// Forgets all but the files.
    pub(crate) fn crash(&mut self) {
        self.dropped = 0;
        for log in &mut self.logs {
            *log = Log {
                file: log.file.take(),
                ..Log::default()
            };
        }
    }
}

impl Log {
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.lost.is_none()
    }

    /// The line that will be written next.
    pub(crate) fn next_line(&self) -> &[u8] {
        let mut lines = self.pending.split_inclusive(|byte| *byte == b'\n');
        lines.next().unwrap_or_default()
    }

    /// The line for what was given up, if anything was.
    fn end_hole(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        if let Some((lost, since, until)) = self.lost.take() {
            let gap = Gap {
                time: WallTime(until),
                lost,
                cause: self
                    .trouble
                    .unwrap_or("the log could not be written fast enough")
                    .into(),
                since: WallTime(since),
            };
            encode_gap(&gap, &mut line);
        }
        line
    }
}

/// What the writer makes of a torn end before it writes `pending`.
fn mend(file: &mut Vec<u8>, pending: &[u8]) {
    let torn = whole_lines(file).1.to_vec();
    if torn.is_empty() {
        return;
    }
    let is_whole = serde_json::from_slice::<Map<String, Value>>(&torn).is_ok();
    if is_whole && !pending.starts_with(&torn) {
        file.push(b'\n');
    } else {
        file.truncate(file.len() - torn.len());
    }
}

/// The lines of a file, and what follows the last of them.
pub(crate) fn whole_lines(file: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let end = file
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    (
        file[..end].split_inclusive(|byte| *byte == b'\n'),
        &file[end..],
    )
}

/// What `clean` says and leaves. Where only old lines go, those from the first young one on stay as
/// they are, blank ones, too. The size takes lines from the head.
pub(crate) fn cleaned(file: &[u8], keep: &Keep) -> (CleanReport, Vec<u8>) {
    let (lines, rest) = whole_lines(file);
    let lines: Vec<_> = lines.collect();
    let mut report = CleanReport {
        before: file.len() as u64,
        after: file.len() as u64,
        ..CleanReport::default()
    };
    let is_wanted = |time| keep.window.contains(WallTime(time));
    let is_young = |line: &&[u8]| time_of(line).is_some_and(is_wanted);
    let judged = match (keep.window.first, keep.window.last) {
        (WallTime(i64::MIN), WallTime(i64::MAX)) => 0,
        (_, WallTime(i64::MAX)) => lines.iter().position(is_young).unwrap_or(lines.len()),
        _ => lines.len(),
    };
    let mut kept: Vec<&[u8]> = Vec::new();
    for line in &lines[..judged] {
        match time_of(line) {
            Some(time) if !is_wanted(time) => report.by_time += 1,
            None if is_blank(line) => {}
            _ => kept.push(line),
        }
    }
    let is_unreadable = |line: &&&[u8]| time_of(line).is_none();
    let mut unreadable = kept.iter().filter(is_unreadable).count() as u64;
    kept.extend(&lines[judged..]);
    let mut surplus = keep.size.map_or(0, |size| {
        let total = kept.concat().len() as u64;
        if size.matches(total) {
            total.saturating_sub(size.bytes)
        } else {
            0
        }
    });
    while let Some(first) = kept.first()
        && first.len() as u64 <= surplus
    {
        let gone = kept.remove(0);
        surplus -= gone.len() as u64;
        report.by_size += u64::from(!is_blank(gone));
        let is_counted = time_of(gone).is_none();
        unreadable = unreadable.saturating_sub(u64::from(is_counted));
    }
    report.unreadable = unreadable;
    if report.by_time + report.by_size == 0 {
        return (report, file.to_vec());
    }
    kept.push(rest);
    let after = kept.concat();
    report.after = after.len() as u64;
    (report, after)
}

/// The answer to a question.
pub(crate) struct Wanted<'f> {
    pub(crate) lines: Vec<&'f [u8]>,
    /// How many events each hole among them is.
    pub(crate) lost: Vec<u64>,
    /// Lines of all the files that are no events.
    pub(crate) unreadable: u64,
}

/// The lines of these files in `window` that are holes or at or below `path`, by time.
pub(crate) fn wanted<'f>(
    files: impl Iterator<Item = &'f [u8]>,
    window: TimeWindow,
    path: Option<&[u8]>,
) -> Wanted<'f> {
    let (mut all, mut unreadable) = (Vec::new(), 0);
    for line in files.flat_map(|file| whole_lines(file).0) {
        let Some(event) = event_of(line) else {
            unreadable += u64::from(!is_blank(line));
            continue;
        };
        let is_covered = path.is_none_or(|path| {
            let rest = event.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        });
        if window.contains(WallTime(event.time)) && (is_covered || event.lost.is_some()) {
            all.push((event.time, event.lost, line));
        }
    }
    all.sort_by_key(|(time, ..)| *time);
    Wanted {
        lines: all.iter().map(|(.., line)| *line).collect(),
        lost: all.iter().filter_map(|(_, lost, _)| *lost).collect(),
        unreadable,
    }
}

struct Event {
    time: i64,
    /// The exact bytes.
    path: Vec<u8>,
    /// Of a hole.
    lost: Option<u64>,
}

fn event_of(line: &[u8]) -> Option<Event> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let path = match object.get("path_raw") {
        Some(hex) => {
            let hex = hex.as_str()?;
            (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap())
                .collect()
        }
        None => object.get("path")?.as_str()?.as_bytes().to_vec(),
    };
    Some(Event {
        time: time_of(line)?,
        path,
        lost: object.get("lost").and_then(Value::as_u64),
    })
}

/// The time of a line, if it is an object that has one.
pub(crate) fn time_of(line: &[u8]) -> Option<i64> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    DateTime::parse_from_rfc3339(object.get("time")?.as_str()?)
        .ok()?
        .timestamp_nanos_opt()
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}
