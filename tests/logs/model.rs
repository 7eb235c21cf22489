//! One thread, any order of actions, and after each the files must be as a naive model says.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use chrono::DateTime;
use fsmon::clean::plan::Keep;
use fsmon::clean::{self, CleanReport, CleanRequest, Notice};
use fsmon::event::WallTime;
use fsmon::filters::time::TimeWindow;
use fsmon::log::append::Appender;
use fsmon::query::{self, QueryRequest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::{appender, content, line, scratch};

#[derive(Clone, Debug)]
enum Act {
    Queue {
        log: usize,
        steps: Vec<(i64, u8)>,
    },
    Flush,
    Restart,
    /// A crash while a line was written.
    Torn {
        log: usize,
        length: usize,
    },
    /// Somebody writes into the log by hand.
    Foreign {
        log: usize,
        what: usize,
    },
    MoveAway {
        log: usize,
    },
    Delete {
        log: usize,
    },
    Empty {
        log: usize,
    },
    Cut {
        log: usize,
        bytes: u64,
    },
    TailAndMove {
        log: usize,
        lines: usize,
    },
    CopyAndTruncate {
        log: usize,
    },
    RemoveDirectory,
    Clean {
        log: usize,
        back: i64,
        size: Option<u64>,
        dry: bool,
    },
    Query {
        log: Option<usize>,
        first: i64,
        length: i64,
        path: Option<u8>,
    },
}

pub(crate) fn any_history() {
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let result =
        TestRunner::new(config).run(&proptest::collection::vec(any_act(), 1..40), |acts| {
            let mut world = World::new();
            for act in &acts {
                world.perform(act);
                world.check();
            }
            Ok(())
        });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    let log = 0..LOGS.len();
    let step = (prop_oneof![Just(0), 1_i64..5, 100_i64..200], any::<u8>());
    prop_oneof![
        6 => (log.clone(), proptest::collection::vec(step, 1..12)).prop_map(|(log, steps)| Act::Queue { log, steps }),
        5 => Just(Act::Flush),
        1 => Just(Act::Restart),
        1 => (log.clone(), 0_usize..300).prop_map(|(log, length)| Act::Torn { log, length }),
        1 => (log.clone(), 0..FOREIGN.len()).prop_map(|(log, what)| Act::Foreign { log, what }),
        1 => log.clone().prop_map(|log| Act::MoveAway { log }),
        1 => log.clone().prop_map(|log| Act::Delete { log }),
        1 => log.clone().prop_map(|log| Act::Empty { log }),
        1 => (log.clone(), 0_u64..600).prop_map(|(log, bytes)| Act::Cut { log, bytes }),
        1 => (log.clone(), 0_usize..6).prop_map(|(log, lines)| Act::TailAndMove { log, lines }),
        1 => log.clone().prop_map(|log| Act::CopyAndTruncate { log }),
        1 => Just(Act::RemoveDirectory),
        3 => (log.clone(), 0_i64..300, proptest::option::of(0_u64..4000), any::<bool>())
            .prop_map(|(log, back, size, dry)| Act::Clean { log, back, size, dry }),
        5 => (proptest::option::of(log), -10_i64..1000, -5_i64..500, proptest::option::of(0_u8..6))
            .prop_map(|(log, first, length, path)| Act::Query { log, first, length, path }),
    ]
}

struct World {
    place: TempDir,
    appender: Appender,
    files: [Option<Vec<u8>>; 2],
    pending: [Vec<u8>; 2],
    moved_away: usize,
    now: i64,
}

impl World {
    fn new() -> Self {
        let place = scratch();
        let appender = appender(&place.path().join("logs"), 1 << 30);
        Self {
            place,
            appender,
            files: [None, None],
            pending: [Vec::new(), Vec::new()],
            moved_away: 0,
            now: 0,
        }
    }

    fn dir(&self) -> PathBuf {
        self.place.path().join("logs")
    }

    fn path(&self, log: usize) -> PathBuf {
        self.dir().join(LOGS[log])
    }

    fn check(&self) {
        for (log, expected) in self.files.iter().enumerate() {
            let found = content(&self.path(log));
            assert!(
                found == *expected,
                "{}:\n{}\n-- and not\n{}",
                LOGS[log],
                shown(&found),
                shown(expected)
            );
        }
    }

    fn perform(&mut self, act: &Act) {
        match act {
            Act::Queue { log, steps } => self.queue(*log, steps),
            Act::Flush => self.flush(),
            Act::Restart => {
                self.flush();
                self.appender = appender(&self.dir(), 1 << 30);
            }
            Act::Torn { log, length } => {
                // Never so long that it counts as a whole line: it is younger than what is pending.
                let half = line(self.now, b"/torn/by/a/crash");
                self.write_by_hand(*log, &half[..length % (half.len() - 1)]);
            }
            Act::Foreign { log, what } => {
                self.write_by_hand(*log, FOREIGN[*what]);
            }
            Act::MoveAway { log } if self.files[*log].is_some() => {
                self.moved_away += 1;
                fs::rename(
                    self.path(*log),
                    self.place.path().join(format!("old{}", self.moved_away)),
                )
                .unwrap();
                self.files[*log] = None;
            }
            Act::Delete { log } if self.files[*log].take().is_some() => {
                fs::remove_file(self.path(*log)).unwrap()
            }
            Act::Empty { log } if self.files[*log].is_some() => self.cut(*log, 0),
            Act::Cut { log, bytes } if self.files[*log].is_some() => {
                let length = self.files[*log].as_ref().map_or(0, Vec::len) as u64;
                self.cut(*log, length.saturating_sub(*bytes));
            }
            Act::TailAndMove { log, lines } => self.tail_and_move(*log, *lines),
            Act::CopyAndTruncate { log } if self.files[*log].is_some() => {
                fs::copy(self.path(*log), self.place.path().join("copy")).unwrap();
                self.cut(*log, 0);
            }
            Act::RemoveDirectory => {
                fs::remove_dir_all(self.dir()).ok();
                self.files = [None, None];
            }
            Act::Clean {
                log,
                back,
                size,
                dry,
            } => self.clean(*log, *back, *size, *dry),
            Act::Query {
                log,
                first,
                length,
                path,
            } => self.query(*log, *first, *first + *length, *path),
            _ => {}
        }
    }

    fn queue(&mut self, log: usize, steps: &[(i64, u8)]) {
        for (step, kind) in steps {
            self.now += step;
            let bytes = line(self.now, &path_of(*kind));
            self.appender
                .queue(LOGS[log], |out| out.extend_from_slice(&bytes));
            self.pending[log].extend(bytes);
        }
    }

    fn flush(&mut self) {
        let report = self.appender.flush();
        assert!(
            report.errors.is_empty() && !report.busy && report.pending_bytes == 0,
            "{report:?}"
        );
        for (file, pending) in self.files.iter_mut().zip(&mut self.pending) {
            if !pending.is_empty() {
                let file = file.get_or_insert_default();
                mend(file);
                file.append(pending);
            }
        }
    }

    fn write_by_hand(&mut self, log: usize, bytes: &[u8]) {
        if let Some(file) = &mut self.files[log] {
            file.extend(bytes);
            OpenOptions::new()
                .append(true)
                .open(self.path(log))
                .unwrap()
                .write_all(bytes)
                .unwrap();
        }
    }

    fn cut(&mut self, log: usize, length: u64) {
        OpenOptions::new()
            .write(true)
            .open(self.path(log))
            .unwrap()
            .set_len(length)
            .unwrap();
        if let Some(file) = &mut self.files[log] {
            file.truncate(length as usize);
        }
    }

    fn tail_and_move(&mut self, log: usize, lines: usize) {
        let Some(file) = &mut self.files[log] else {
            return;
        };
        let all: Vec<_> = file.split_inclusive(|byte| *byte == b'\n').collect();
        *file = all[all.len().saturating_sub(lines)..].concat();
        let temp = self.place.path().join("temp");
        fs::write(&temp, file).unwrap();
        fs::rename(temp, self.path(log)).unwrap();
    }

    fn clean(&mut self, log: usize, back: i64, size: Option<u64>, dry_run: bool) {
        let from = self.now - back;
        let request = CleanRequest {
            log_path: self.path(log),
            keep: Keep {
                window: TimeWindow {
                    first: WallTime(from),
                    ..TimeWindow::ALL
                },
                size: size.map(|size| format!(">={size}B").parse().unwrap()),
            },
            dry_run,
            owner: None,
        };
        let mut shown = 0;
        let report = clean::run(&request, &mut |notice| {
            shown += u64::from(matches!(notice, Notice::Doomed(_)));
            Ok(())
        });
        let file = &mut self.files[log];
        let expected = file.as_mut().map(|file| {
            let (report, after) = cleaned(file, from, size);
            if !dry_run {
                *file = after;
            }
            report
        });
        assert_eq!(
            shown,
            if dry_run {
                expected.map_or(0, |report| report.by_time)
            } else {
                0
            }
        );
        assert_eq!(report.unwrap(), expected);
    }

    fn query(&self, log: Option<usize>, first: i64, last: i64, path: Option<u8>) {
        let path = path.map(path_of);
        let request = QueryRequest {
            log_dir: self.dir(),
            logs: log.map(|log| vec![LOGS[log].to_owned()]),
            paths: path.iter().cloned().collect(),
            window: TimeWindow {
                first: WallTime(first),
                last: WallTime(last),
            },
            scan: false,
        };
        let mut out = Vec::new();
        let outcome = query::run(&request, &mut out).unwrap();
        let mut expected = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            if log.is_none_or(|log| log == index) {
                let file = file.as_deref().unwrap_or_default();
                expected.extend(
                    whole_lines(file)
                        .0
                        .filter_map(|line| Some((event_of(line)?, line))),
                );
            }
        }
        expected.retain(|((time, shown), _)| {
            (first..=last).contains(time)
                && path.as_ref().is_none_or(|path| {
                    shown
                        .strip_prefix(&path[..])
                        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
                })
        });
        expected.sort_by_key(|((time, _), _)| *time);
        let lines: Vec<_> = expected.iter().map(|(_, line)| *line).collect();
        assert!(
            out == lines.concat(),
            "{}\n-- and not\n{}",
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&lines.concat())
        );
        assert_eq!(outcome.lines, lines.len() as u64);
        assert!(outcome.out_of_order.is_empty() && outcome.refused.is_empty());
    }
}

/// What the writer makes of a torn end.
fn mend(file: &mut Vec<u8>) {
    let torn = file.len()
        - file
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
    if torn == 0 {
        return;
    }
    let start = file.len() - torn;
    if serde_json::from_slice::<Map<String, Value>>(&file[start..]).is_ok() {
        file.push(b'\n');
    } else {
        file.truncate(start);
    }
}

fn whole_lines(file: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let end = file
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    (
        file[..end].split_inclusive(|byte| *byte == b'\n'),
        &file[end..],
    )
}

/// Before the first young line stays only what has no time; from it on everything stays as it is,
/// and the size takes lines from the head.
fn cleaned(file: &[u8], from: i64, size: Option<u64>) -> (CleanReport, Vec<u8>) {
    let (lines, rest) = whole_lines(file);
    let lines: Vec<_> = lines.collect();
    let mut report = CleanReport {
        before: file.len() as u64,
        ..CleanReport::default()
    };
    let young = |line: &&[u8]| time_of(line).is_some_and(|time| time >= from);
    let (old, young) = lines.split_at(lines.iter().position(young).unwrap_or(lines.len()));
    let is_blank = |line: &[u8]| line.trim_ascii().is_empty();
    let mut kept: Vec<&[u8]> = Vec::new();
    for line in old {
        match time_of(line) {
            Some(_) => report.by_time += 1,
            None if is_blank(line) => {}
            None => kept.push(line),
        }
    }
    report.unreadable = kept.len() as u64;
    kept.extend(young);
    let mut total: usize = kept.iter().map(|line| line.len()).sum();
    if let Some(size) = size.filter(|size| total as u64 >= *size) {
        while kept
            .first()
            .is_some_and(|first| (total - first.len()) as u64 >= size)
        {
            let gone = kept.remove(0);
            total -= gone.len();
            report.by_size += u64::from(!is_blank(gone));
            report.unreadable = report.unreadable.saturating_sub(1);
        }
    }
    if report.by_time + report.by_size == 0 {
        report.after = report.before;
        return (report, file.to_vec());
    }
    kept.push(rest);
    let after = kept.concat();
    report.after = after.len() as u64;
    (report, after)
}

fn time_of(line: &[u8]) -> Option<i64> {
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    DateTime::parse_from_rfc3339(object.get("time")?.as_str()?)
        .ok()?
        .timestamp_nanos_opt()
}

/// Time and exact path of an event.
fn event_of(line: &[u8]) -> Option<(i64, Vec<u8>)> {
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
    Some((time_of(line)?, path))
}

fn path_of(kind: u8) -> Vec<u8> {
    match kind % 8 {
        0 => b"/srv".to_vec(),
        1 => b"/srv/a".to_vec(),
        2 => b"/srv/ab".to_vec(),
        3 => b"/srv/a/\xff\xfe".to_vec(),
        4 => "/srv/a/\u{fffd}".into(),
        5 => b"/srv/a/\"quoted\"\n\\".to_vec(),
        6 => [&b"/srv/long/"[..], &[b'x'; 9000]].concat(),
        _ => b"/elsewhere/file".to_vec(),
    }
}

fn shown(file: &Option<Vec<u8>>) -> String {
    file.as_ref().map_or_else(
        || "no file".to_owned(),
        |file| String::from_utf8_lossy(file).into_owned(),
    )
}

const LOGS: [&str; 2] = ["a_log.jsonl", "b_log.jsonl"];
const FOREIGN: [&[u8]; 6] = [
    b"garbage\n",
    b"\n",
    b"{}\n",
    b"\xff\xfe\n",
    b"{\"time\":\"1970-01-01T00:00:00Z\"",
    b"text without an end",
];
