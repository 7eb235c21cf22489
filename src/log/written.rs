//! Lines of the journal, read back.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::escape::parse_hex;
use super::line::parse_time;
use crate::event::WallTime;

/// A line of the journal. What an entry of its kind does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// When it was written.
    pub time: WallTime,
    /// `START`, `STOP`, ...
    pub event: String,
    /// Its running number.
    pub number: Option<u64>,
    /// The hash of the line before, empty in the first.
    pub prev: Option<String>,
    /// The command group.
    pub cmd: Option<String>,
    /// The path, exact bytes.
    pub path: Option<Vec<u8>>,
    /// The settings of a watch, a JSON object.
    pub watch: Option<String>,
    /// How many events were lost, -1 when nobody can know.
    pub lost: Option<i64>,
    /// How many changes were found out.
    pub count: Option<u64>,
    /// Until when something was so.
    pub until: Option<WallTime>,
    /// Whether a comparison had all that it goes by.
    pub whole: Option<bool>,
    /// Why something is as it is.
    pub cause: Option<String>,
    /// Why the daemon stopped.
    pub reason: Option<String>,
    /// Since when something is so.
    pub since: Option<WallTime>,
    /// By how many nanoseconds the clock was set.
    pub step_ns: Option<i64>,
    /// The file name of a log.
    pub log: Option<String>,
    /// What was done to it.
    pub how: Option<String>,
    /// How large it was.
    pub before: Option<u64>,
    /// How large it is.
    pub after: Option<u64>,
    /// The inode of the file that it was.
    pub inode: Option<u64>,
    /// How large each log was.
    pub logs: BTreeMap<String, u64>,
    /// The process of the daemon.
    pub pid: Option<u32>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    time: String,
    event: String,
    number: Option<u64>,
    prev: Option<String>,
    cmd: Option<String>,
    path: Option<String>,
    path_raw: Option<String>,
    #[serde(borrow)]
    watch: Option<&'a RawValue>,
    lost: Option<i64>,
    count: Option<u64>,
    until: Option<String>,
    whole: Option<bool>,
    cause: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    step_ns: Option<i64>,
    log: Option<String>,
    how: Option<String>,
    before: Option<u64>,
    after: Option<u64>,
    inode: Option<u64>,
    #[serde(default)]
    logs: BTreeMap<String, u64>,
    pid: Option<u32>,
}

/// Reads a line of the journal; `None` when it is none.
pub fn read_entry(line: &[u8]) -> Option<Written> {
    let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
    let path = match raw.path_raw {
        Some(hex) => Some(parse_hex(hex.as_bytes())?),
        None => raw.path.map(String::into_bytes),
    };
    let moment = |text: Option<String>| match text {
        Some(text) => parse_time(text.as_bytes()).map(Some),
        None => Some(None),
    };
    let since = moment(raw.since)?;
    let until = moment(raw.until)?;
    Some(Written {
        time: parse_time(raw.time.as_bytes())?,
        event: raw.event,
        number: raw.number,
        prev: raw.prev,
        cmd: raw.cmd,
        path,
        watch: raw.watch.map(|watch| watch.get().to_owned()),
        lost: raw.lost,
        count: raw.count,
        until,
        whole: raw.whole,
        cause: raw.cause,
        reason: raw.reason,
        since,
        step_ns: raw.step_ns,
        log: raw.log,
        how: raw.how,
        before: raw.before,
        after: raw.after,
        inode: raw.inode,
        logs: raw.logs,
        pid: raw.pid,
    })
}

impl Written {
    /// Whether the recorder stopped in good order after it.
    pub fn is_stop(&self) -> bool {
        self.event == "STOP"
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::{Change, Changed, Compared, Entry, Subject, encode_entry};
    use super::*;

    const SUBJECT: Subject<'_> = Subject {
        group: "nginx",
        path: b"/srv/\xff",
    };

    /// Gives each kind of entry to `look`.
    fn each_kind(look: impl Fn(Entry<'_>)) {
        let sizes = [
            ("a_log.jsonl".to_owned(), 7),
            ("\"_log.jsonl".to_owned(), 0),
        ];
        let cut = Changed {
            log: "a_log.jsonl".to_owned(),
            how: Change::Cut,
            before: 9000,
            after: 10,
            inode: 12,
        };
        let entries = [
            Entry::Start {
                version: "0.4.0",
                pid: 7,
                after_crash: true,
            },
            Entry::Stop {
                reason: "SIGTERM",
                logs: &sizes,
            },
            Entry::Stop {
                reason: "SIGINT",
                logs: &[],
            },
            Entry::Log(&cut),
            Entry::Add {
                subject: SUBJECT,
                settings: r#"{"recursive":true,"types":["CREATE"]}"#,
            },
            Entry::Remove(SUBJECT),
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
            Entry::Short {
                path: b"/mnt/\"a\"",
                cause: "it is a FUSE filesystem",
                since: Some(WallTime(7)),
            },
            Entry::Whole { path: b"/mnt/\xfe" },
            Entry::Inferred(&Compared {
                path: b"/srv/\xff",
                count: 5,
                since: WallTime(7),
                until: WallTime(9),
                is_whole: true,
            }),
            Entry::RootGone(SUBJECT),
            Entry::RootBack(SUBJECT),
        ];
        entries.into_iter().for_each(look);
    }

    #[test]
    fn every_entry_is_one_json_line_that_reads_back() {
        let time = WallTime(1_778_148_001_000_000_000);
        each_kind(|entry| {
            let mut line = Vec::new();
            encode_entry(time, &entry, &mut line);
            let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(json["event"], entry.name());
            let read = read_entry(&line).unwrap();
            assert_eq!((read.time, read.event.as_str()), (time, entry.name()));
            match entry {
                Entry::Add { subject, settings } => {
                    assert_eq!(read.watch.as_deref(), Some(settings));
                    assert_eq!(read.path.as_deref(), Some(subject.path));
                }
                Entry::Gap { lost, cause, since } => {
                    assert_eq!(read.lost, Some(lost));
                    assert_eq!(read.cause.as_deref(), Some(cause));
                    assert_eq!(read.since, Some(since));
                }
                Entry::Inferred(compared) => {
                    assert_eq!(read.path.as_deref(), Some(compared.path));
                    assert_eq!(read.count, Some(compared.count));
                    assert_eq!(read.since, Some(compared.since));
                    assert_eq!(read.until, Some(compared.until));
                    assert_eq!(read.whole, Some(compared.is_whole));
                }
                Entry::Clock { step } => assert_eq!(read.step_ns, Some(step)),
                Entry::Whole { path } => assert_eq!(read.path.as_deref(), Some(path)),
                Entry::Stop { reason, logs } => {
                    assert_eq!(read.reason.as_deref(), Some(reason));
                    assert_eq!(read.logs, logs.iter().cloned().collect());
                }
                Entry::Log(changed) => {
                    assert_eq!(read.how.as_deref(), Some(changed.how.name()));
                    assert_eq!((read.before, read.after), (Some(9000), Some(10)));
                    assert_eq!(read.inode, Some(12));
                }
                _ => {}
            }
        });
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for line in [
            "",
            "{}",
            "[]",
            r#"{"time":"2026-05-07T10:00:00.000000000Z"}"#,
            r#"{"time":"yesterday","event":"STOP"}"#,
            r#"{"time":"2026-05-07T10:00:00.000000000Z","event":"GAP","since":"?"}"#,
            r#"{"time":"2026-05-07T10:00:00.000000000Z","event":"ADD","path_raw":"zz"}"#,
        ] {
            assert_eq!(read_entry(line.as_bytes()), None, "{line}");
        }
    }
}
