//! What the recorder itself did: starts, stops, watches, holes and clock steps.
//!
//! `{"time":..,"event":"START",..}`, one a line, in `journal.jsonl` beside the logs. The lines go
//! through the same [`Appender`](super::append::Appender) as events do.

use std::fs::File;
use std::io;
use std::path::Path;

use super::dir::LogDir;
use super::escape::{push_escaped, push_hex, push_number, unescape};
use super::line::{Gap, parse_time, write_time};
use super::scan::{self, Value};
use super::source;
use crate::event::WallTime;

/// One thing that the recorder did or noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Recording begins.
    Start {
        /// Version of the program.
        version: &'a str,
        /// Process id of the daemon.
        pid: u32,
        /// Whether the run before ended without a STOP.
        after_crash: bool,
    },
    /// Recording ends in good order.
    Stop {
        /// Why: a signal's name, or an error.
        reason: &'a str,
    },
    /// A watch is in force from here on.
    Add(Subject<'a>),
    /// A watch is no longer in force.
    Remove(Subject<'a>),
    /// Something was lost.
    Gap {
        /// How many events, or -1 when nobody can know.
        lost: i64,
        /// Why, in words.
        cause: &'a str,
        /// When the hole began.
        since: WallTime,
    },
    /// The wall clock was set.
    Clock {
        /// By how many nanoseconds; negative when it went back.
        step: i64,
    },
    /// The recorder trimmed a log.
    Clean {
        /// The file name of the log.
        log: &'a str,
        /// Lines that went.
        deleted: u64,
        /// Its size before, in bytes.
        before: u64,
        /// Its size after.
        after: u64,
    },
    /// These rules and jobs are in force from here on.
    Policy {
        /// How many rules.
        rules: u64,
        /// How many jobs.
        jobs: u64,
    },
    /// A program that a rule called has ended.
    Hook {
        /// The name of the rule.
        rule: &'a str,
        /// How it ended, in words.
        ended: &'a str,
        /// The beginning of what it printed.
        output: &'a [u8],
    },
    /// A watched path was deleted or moved away.
    RootGone(Subject<'a>),
    /// A watched path is there again.
    RootBack(Subject<'a>),
}

/// What an entry about a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The command group, `_global` for all processes.
    pub group: &'a str,
    /// The watched path, exact bytes.
    pub path: &'a [u8],
}

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// When it was written.
    pub time: WallTime,
    /// `START`, `STOP`, ...
    pub event: String,
}

/// Appends `entry` as one line, newline included.
pub fn encode_entry(time: WallTime, entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    write_time(time, out);
    out.extend_from_slice(b"\",\"event\":\"");
    out.extend_from_slice(entry.name().as_bytes());
    out.push(b'"');
    match entry {
        Entry::Start {
            version,
            pid,
            after_crash,
        } => {
            push_text("version", version.as_bytes(), out);
            push_key("pid", out);
            push_number(u64::from(*pid), out);
            push_key("after_crash", out);
            out.extend_from_slice(if *after_crash { b"true" } else { b"false" });
        }
        Entry::Stop { reason } => push_text("reason", reason.as_bytes(), out),
        Entry::Add(subject)
        | Entry::Remove(subject)
        | Entry::RootGone(subject)
        | Entry::RootBack(subject) => {
            push_text("cmd", subject.group.as_bytes(), out);
            push_text("path", subject.path, out);
            if str::from_utf8(subject.path).is_err() {
                push_key("path_raw", out);
                out.push(b'"');
                push_hex(subject.path, out);
                out.push(b'"');
            }
        }
        Entry::Gap { lost, cause, since } => {
            push_key("lost", out);
            out.extend_from_slice(lost.to_string().as_bytes());
            push_text("cause", cause.as_bytes(), out);
            push_key("since", out);
            out.push(b'"');
            write_time(*since, out);
            out.push(b'"');
        }
        Entry::Policy { rules, jobs } => {
            for (key, number) in [("rules", rules), ("jobs", jobs)] {
                push_key(key, out);
                push_number(*number, out);
            }
        }
        Entry::Hook {
            rule,
            ended,
            output,
        } => {
            push_text("rule", rule.as_bytes(), out);
            push_text("ended", ended.as_bytes(), out);
            push_text("output", output, out);
        }
        Entry::Clean {
            log,
            deleted,
            before,
            after,
        } => {
            push_text("log", log.as_bytes(), out);
            for (key, number) in [("deleted", deleted), ("before", before), ("after", after)] {
                push_key(key, out);
                push_number(*number, out);
            }
        }
        Entry::Clock { step } => {
            push_key("step_ns", out);
            out.extend_from_slice(step.to_string().as_bytes());
        }
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the journal's form of a hole.
pub fn encode_gap(gap: &Gap<'_>, out: &mut Vec<u8>) {
    let Gap {
        time,
        lost,
        cause,
        since,
    } = gap;
    encode_entry(
        *time,
        &Entry::Gap {
            lost: *lost,
            cause,
            since: *since,
        },
        out,
    );
}

/// Reads time and kind of a journal line.
pub fn decode_entry(line: &[u8]) -> Option<Written> {
    let (mut time, mut event) = (None, None);
    let whole = scan::members(line, |key, value| match (key, value) {
        (b"time", Value::Text(raw)) => time = parse_time(raw),
        (b"event", Value::Text(raw)) => event = Some(raw),
        _ => {}
    });
    if !whole {
        return None;
    }
    let event = String::from_utf8(unescape(event?).into_owned()).ok()?;
    Some(Written { time: time?, event })
}

/// The last entry of the journal in `dir`, to learn how the run before ended; `None` when there
/// is no journal or nothing in it.
pub fn last_entry(dir: &Path) -> io::Result<Option<Written>> {
    let dir = match LogDir::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Some(file) = dir.open_log(FILE_NAME)? else {
        return Ok(None);
    };
    last_in(&file)
}

fn last_in(file: &File) -> io::Result<Option<Written>> {
    let end = file.metadata()?.len();
    source::find_last(file, end, decode_entry)
}

impl Entry<'_> {
    /// The word that stands in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "START",
            Self::Stop { .. } => "STOP",
            Self::Add(_) => "ADD",
            Self::Remove(_) => "REMOVE",
            Self::Gap { .. } => "GAP",
            Self::Clock { .. } => "CLOCK",
            Self::Clean { .. } => "CLEAN",
            Self::Policy { .. } => "POLICY",
            Self::Hook { .. } => "HOOK",
            Self::RootGone(_) => "ROOT_GONE",
            Self::RootBack(_) => "ROOT_BACK",
        }
    }
}

impl Written {
    /// Whether the recorder stopped in good order after it.
    pub fn is_stop(&self) -> bool {
        self.event == "STOP"
    }
}

fn push_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_text(key: &str, value: &[u8], out: &mut Vec<u8>) {
    push_key(key, out);
    out.push(b'"');
    push_escaped(value, out);
    out.push(b'"');
}

/// Name of the journal in the log directory.
pub const FILE_NAME: &str = "journal.jsonl";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_entry_is_one_json_line_that_reads_back() {
        let subject = Subject {
            group: "nginx",
            path: b"/srv/\xff",
        };
        let time = WallTime(1_778_148_001_000_000_000);
        for entry in [
            Entry::Start {
                version: "0.4.0",
                pid: 7,
                after_crash: true,
            },
            Entry::Stop { reason: "SIGTERM" },
            Entry::Add(subject),
            Entry::Remove(subject),
            Entry::Gap {
                lost: -1,
                cause: "kernel queue full",
                since: WallTime(0),
            },
            Entry::Clock {
                step: -3_600_000_000_000,
            },
            Entry::Clean {
                log: "nginx_log.jsonl",
                deleted: 12,
                before: 9000,
                after: 4096,
            },
            Entry::RootGone(subject),
            Entry::RootBack(subject),
        ] {
            let mut line = Vec::new();
            encode_entry(time, &entry, &mut line);
            let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(json["event"], entry.name());
            assert_eq!(
                decode_entry(&line),
                Some(Written {
                    time,
                    event: entry.name().to_owned()
                })
            );
        }
    }

    #[test]
    fn the_last_whole_entry_counts() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(last_entry(&place.path().join("none")).unwrap(), None);
        assert_eq!(last_entry(place.path()).unwrap(), None);
        let mut bytes = Vec::new();
        encode_entry(
            WallTime(1),
            &Entry::Start {
                version: "0",
                pid: 1,
                after_crash: false,
            },
            &mut bytes,
        );
        encode_entry(WallTime(2), &Entry::Stop { reason: "SIGINT" }, &mut bytes);
        let whole = bytes.len();
        encode_entry(
            WallTime(3),
            &Entry::Start {
                version: "0",
                pid: 2,
                after_crash: false,
            },
            &mut bytes,
        );
        fs::write(place.path().join(FILE_NAME), &bytes[..whole + 30]).unwrap();
        assert!(last_entry(place.path()).unwrap().unwrap().is_stop());
        fs::write(place.path().join(FILE_NAME), &bytes).unwrap();
        assert!(!last_entry(place.path()).unwrap().unwrap().is_stop());
    }
}
