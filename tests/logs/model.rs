//! One thread, any order of actions, and after each the files must be as a naive model says.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use fsmon::clean::plan::Keep;
use fsmon::clean::{self, CleanReport, CleanRequest, Notice};
use fsmon::event::WallTime;
use fsmon::filters::Op;
use fsmon::filters::size::SizeFilter;
use fsmon::filters::time::TimeWindow;
use fsmon::log::append::Appender;
use fsmon::log::dir::LogDir;
use fsmon::query::{self, QueryRequest};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

use crate::disk::Mount;
use crate::reference::{Wanted, Writer, cleaned, time_of, wanted, whole_lines};
use crate::{appender, line, scratch};

#[derive(Clone, Debug)]
enum Act {
    Queue {
        log: usize,
        steps: Vec<(i64, u8)>,
    },
    Flush,
    /// A flush while somebody holds the lock.
    FlushInClean,
    Restart,
    /// What was not written is gone.
    Crash,
    /// A crash while a line was written.
    Torn {
        log: usize,
        length: usize,
    },
    /// A write that the disk took in part only, and would not let be cut back.
    ShortWrite {
        log: usize,
        lacks_newline: bool,
    },
    /// Somebody writes into the log by hand.
    Foreign {
        log: usize,
        what: usize,
    },
    MoveAway {
        log: usize,
    },
    /// The same, and an empty file is made in its place.
    Rotate {
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
        /// How long ago what is kept begins.
        since: Option<i64>,
        /// How long ago what is kept ends.
        until: Option<i64>,
        /// In hundredths of what there is.
        size: Option<(Op, u64)>,
        dry: bool,
    },
    Query {
        log: Option<usize>,
        /// How long ago what is wanted begins and ends.
        since: Option<i64>,
        until: Option<i64>,
        path: Option<u8>,
        scan: bool,
    },
}

pub(crate) fn any_history() {
    run(3000, 1, scratch);
}

/// Where the front of a log is cut off in place, which leaves blanks there.
pub(crate) fn any_history_on_ext4() {
    let mount = Mount::of("ext4");
    run(200, 4096, || tempfile::tempdir_in(mount.point()).unwrap());
}

/// Histories in directories that `place` makes, on a filesystem of whose files such blocks can be cut.
fn run(cases: u32, block: usize, place: impl Fn() -> TempDir) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let history = (any_ceiling(), proptest::collection::vec(any_act(), 1..60));
    let result = TestRunner::new(config).run(&history, |(ceiling, acts)| {
        let mut world = World::new(place(), block, ceiling);
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

/// How many bytes may be pending; sometimes only a few lines.
fn any_ceiling() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(1 << 30), 1 => 300_usize..4000, 1 => 4000_usize..40_000]
}

fn any_act() -> impl Strategy<Value = Act> {
    let log = 0..LOGS.len();
    let step = (prop_oneof![Just(0), 1_i64..5, 100_i64..200], any::<u8>());
    // How long ago something begins and ends; now and then it ends before it begins.
    let ago = || prop_oneof![-10_i64..300, 0_i64..2000];
    let since =
        (proptest::option::weighted(0.8, ago()), ago(), 0..9).prop_map(|(since, until, odd)| {
            match since {
                Some(since) if odd > 0 => (Some(since.max(until)), since.min(until)),
                _ => (since, until),
            }
        });
    let since_until = |is_bounded| {
        (since.clone(), proptest::bool::weighted(is_bounded))
            .prop_map(|((since, until), is_bounded)| (since, is_bounded.then_some(until)))
    };
    let ops = vec![
        Op::AtLeast,
        Op::AtLeast,
        Op::Over,
        Op::AtMost,
        Op::Under,
        Op::Exactly,
    ];
    let share = prop_oneof![4 => 0_u64..100, 1 => Just(100), 1 => 100_u64..200];
    let clean = (
        log.clone(),
        since_until(0.25),
        proptest::option::of((select(ops), share)),
        any::<bool>(),
    );
    let query = (
        proptest::option::of(log.clone()),
        since_until(0.8),
        proptest::option::of(0_u8..3),
        proptest::bool::weighted(0.2),
    );
    prop_oneof![
        24 => (log.clone(), proptest::collection::vec(step, 1..12)).prop_map(|(log, steps)| Act::Queue { log, steps }),
        20 => Just(Act::Flush),
        1 => Just(Act::FlushInClean),
        1 => Just(Act::Restart),
        1 => Just(Act::Crash),
        1 => (log.clone(), 0_usize..300).prop_map(|(log, length)| Act::Torn { log, length }),
        2 => (log.clone(), any::<bool>()).prop_map(|(log, lacks_newline)| Act::ShortWrite { log, lacks_newline }),
        1 => (log.clone(), 0..FOREIGN.len()).prop_map(|(log, what)| Act::Foreign { log, what }),
        1 => log.clone().prop_map(|log| Act::MoveAway { log }),
        1 => log.clone().prop_map(|log| Act::Rotate { log }),
        1 => log.clone().prop_map(|log| Act::Delete { log }),
        1 => log.clone().prop_map(|log| Act::Empty { log }),
        1 => (log.clone(), 0_u64..600).prop_map(|(log, bytes)| Act::Cut { log, bytes }),
        1 => (log.clone(), 0_usize..6).prop_map(|(log, lines)| Act::TailAndMove { log, lines }),
        1 => log.prop_map(|log| Act::CopyAndTruncate { log }),
        1 => Just(Act::RemoveDirectory),
        12 => clean.prop_map(|(log, (since, until), size, dry)| Act::Clean { log, since, until, size, dry }),
        16 => query.prop_map(|(log, (since, until), path, scan)| Act::Query { log, since, until, path, scan }),
    ]
}

struct World {
    place: TempDir,
    block: usize,
    appender: Appender,
    writer: Writer,
    /// What was rotated stays as it was.
    rotated: BTreeMap<String, Vec<u8>>,
    now: i64,
}

impl World {
    fn new(place: TempDir, block: usize, ceiling: usize) -> Self {
        let appender = appender(&place.path().join("logs"), ceiling);
        Self {
            place,
            block,
            appender,
            writer: Writer::new(ceiling),
            rotated: BTreeMap::new(),
            now: 0,
        }
    }

    fn dir(&self) -> PathBuf {
        self.place.path().join("logs")
    }

    fn path(&self, log: usize) -> PathBuf {
        self.dir().join(LOGS[log])
    }

    fn window(&self, since: Option<i64>, until: Option<i64>) -> TimeWindow {
        TimeWindow {
            first: WallTime(since.map_or(i64::MIN, |since| self.now - since)),
            last: WallTime(until.map_or(i64::MAX, |until| self.now - until)),
        }
    }

    fn file(&mut self, log: usize) -> Option<&mut Vec<u8>> {
        self.writer.logs[log].file.as_mut()
    }

    /// The files are those of the model, and nothing was left beside them.
    fn check(&self) {
        let mut expected = self.rotated.clone();
        for (log, name) in self.writer.logs.iter().zip(LOGS) {
            expected.extend(log.file.clone().map(|file| (name.to_owned(), file)));
        }
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(self.dir()).into_iter().flatten() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let bytes = fs::read(self.dir().join(&name)).unwrap();
            if name != ".lock" {
                found.insert(name, bytes);
            }
        }
        if found != expected {
            panic!("{}\n-- and not\n{}", shown(&found), shown(&expected));
        }
        assert_eq!(self.appender.pending_bytes(), self.writer.pending_bytes());
        assert_eq!(self.appender.is_idle(), self.writer.is_idle());
    }

    fn perform(&mut self, act: &Act) {
        match act {
            Act::Queue { log, steps } => self.queue(*log, steps),
            Act::Flush => self.flush(),
            Act::FlushInClean => self.flush_in_clean(),
            Act::Restart => {
                self.flush();
                self.start();
            }
            Act::Crash => {
                self.writer.crash();
                self.start();
            }
            Act::Torn { log, length } => {
                // Never so long that it counts as a whole line: it is younger than what is pending.
                let half = line(self.now, b"/torn/by/a/crash");
                self.write_by_hand(*log, &half[..length % (half.len() - 1)]);
            }
            Act::ShortWrite { log, lacks_newline } => {
                let next = self.writer.logs[*log].next_line().to_vec();
                let written = next.len() / if *lacks_newline { 1 } else { 2 };
                self.write_by_hand(*log, &next[..written.saturating_sub(1)]);
            }
            Act::Foreign { log, what } => self.write_by_hand(*log, FOREIGN[*what]),
            Act::RemoveDirectory => {
                fs::remove_dir_all(self.dir()).ok();
                self.rotated.clear();
                for log in &mut self.writer.logs {
                    log.file = None;
                }
            }
            Act::Clean {
                log,
                since,
                until,
                size,
                dry,
            } => {
                let there = self.file(*log).map_or(0, |file| file.len()) as u64;
                let keep = Keep {
                    window: self.window(*since, *until),
                    size: size.map(|(op, share)| SizeFilter {
                        op,
                        bytes: there * share / 100,
                    }),
                };
                self.clean(*log, keep, *dry);
            }
            Act::Query { .. } => self.query(act),
            _ => self.rotate(act),
        }
    }

    /// What others do to a log, if it is there.
    fn rotate(&mut self, act: &Act) {
        match *act {
            Act::MoveAway { log } if self.file(log).is_some() => self.move_away(log),
            Act::Rotate { log } if self.file(log).is_some() => {
                self.move_away(log);
                File::create_new(self.path(log)).unwrap();
                self.writer.logs[log].file = Some(Vec::new());
            }
            Act::Delete { log } if self.writer.logs[log].file.take().is_some() => {
                fs::remove_file(self.path(log)).unwrap()
            }
            Act::Empty { log } => self.cut(log, 0),
            Act::Cut { log, bytes } => {
                let length = self.file(log).map_or(0, |file| file.len()) as u64;
                self.cut(log, length.saturating_sub(bytes));
            }
            Act::TailAndMove { log, lines } => self.tail_and_move(log, lines),
            Act::CopyAndTruncate { log } if self.file(log).is_some() => {
                fs::copy(self.path(log), self.place.path().join("copy")).unwrap();
                self.cut(log, 0);
            }
            _ => {}
        }
    }

    /// Starts the recorder anew. From where its time goes on is what stands in the logs.
    fn start(&mut self) {
        self.appender = appender(&self.dir(), self.writer.ceiling);
        for (log, name) in self.writer.logs.iter().zip(LOGS) {
            let (lines, rest) = whole_lines(log.file.as_deref().unwrap_or_default());
            // A line without its newline will get it.
            let last = lines.chain([rest]).filter_map(time_of).last();
            assert_eq!(
                self.appender.last_time(name).unwrap(),
                last.map(WallTime),
                "{name}"
            );
        }
    }

    fn queue(&mut self, log: usize, steps: &[(i64, u8)]) {
        for (step, kind) in steps {
            self.now += step;
            let bytes = line(self.now, &path_of(*kind));
            self.appender
                .queue(LOGS[log], |out| out.extend_from_slice(&bytes));
            self.writer.queue(log, self.now, &bytes);
        }
    }

    fn flush(&mut self) {
        let report = self.appender.flush();
        assert!(
            report.errors.is_empty() && !report.busy && report.pending_bytes == 0,
            "{report:?}"
        );
        assert_eq!(report.dropped, self.writer.take_dropped());
        let written = self.writer.flush();
        assert_eq!(report.written_bytes, written.len() as u64);
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(report.written_lines, lines as u64);
    }

    fn flush_in_clean(&mut self) {
        let dir = LogDir::open_or_make(&self.dir(), None).unwrap();
        let lock = dir.lock_file(None).unwrap();
        let held = lock.take().unwrap();
        let report = self.appender.flush();
        drop(held);
        assert!(
            report.errors.is_empty() && report.written_bytes == 0,
            "{report:?}"
        );
        assert_eq!(report.busy, !self.writer.is_idle());
        assert_eq!(report.dropped, self.writer.take_dropped());
        self.writer.explain("the log was being cleaned");
    }

    fn write_by_hand(&mut self, log: usize, bytes: &[u8]) {
        if let Some(file) = self.file(log) {
            file.extend(bytes);
            OpenOptions::new()
                .append(true)
                .open(self.path(log))
                .unwrap()
                .write_all(bytes)
                .unwrap();
        }
    }

    fn move_away(&mut self, log: usize) {
        let name = format!("{}.{}", LOGS[log], self.rotated.len());
        fs::rename(self.path(log), self.dir().join(&name)).unwrap();
        let file = self.writer.logs[log].file.take();
        self.rotated.extend(file.map(|file| (name, file)));
    }

    fn cut(&mut self, log: usize, length: u64) {
        let Some(file) = self.file(log) else { return };
        file.truncate(length as usize);
        let file = OpenOptions::new().write(true).open(self.path(log)).unwrap();
        file.set_len(length).unwrap();
    }

    fn tail_and_move(&mut self, log: usize, lines: usize) {
        let temp = self.place.path().join("temp");
        let Some(file) = self.file(log) else { return };
        let all: Vec<_> = file.split_inclusive(|byte| *byte == b'\n').collect();
        *file = all[all.len().saturating_sub(lines)..].concat();
        fs::write(&temp, file).unwrap();
        fs::rename(temp, self.path(log)).unwrap();
    }

    fn clean(&mut self, log: usize, keep: Keep, dry_run: bool) {
        let before = self.writer.logs[log].file.clone();
        let expected = before.as_ref().map(|file| cleaned(file, &keep));
        let (forecast, told) = self.run_clean(log, keep, true);
        let Some((report, after)) = expected else {
            assert_eq!((forecast, told), (None, 0));
            return;
        };
        let forecast = forecast.unwrap();
        assert_eq!(told, report.by_time);
        // What fills no block of the filesystem can be left there as blanks.
        let lead = (forecast.after - report.after) as usize;
        assert!(lead < self.block, "{lead} blanks");
        let all = CleanReport {
            after: forecast.after,
            ..report
        };
        assert_eq!(forecast, all);
        if dry_run {
            return;
        }
        assert_eq!(self.run_clean(log, keep, false), (Some(forecast), 0));
        let mut file = vec![b' '; lead];
        file.extend(after);
        self.writer.logs[log].file = Some(file);
    }

    /// What it says, and how many lines it shows.
    fn run_clean(&self, log: usize, keep: Keep, dry_run: bool) -> (Option<CleanReport>, u64) {
        let request = CleanRequest {
            log_path: self.path(log),
            keep,
            dry_run,
            owner: None,
        };
        let mut told = 0;
        let report = clean::run(&request, &mut |notice| {
            told += u64::from(matches!(notice, Notice::Doomed(_)));
            Ok(())
        });
        (report.unwrap(), told)
    }

    fn query(&self, act: &Act) {
        let Act::Query {
            log,
            since,
            until,
            path,
            scan,
        } = act
        else {
            return;
        };
        let path = path.map(path_of);
        let window = self.window(*since, *until);
        let request = QueryRequest {
            log_dir: self.dir(),
            logs: log.map(|log| vec![LOGS[log].to_owned()]),
            paths: path.iter().cloned().collect(),
            window,
            scan: *scan,
        };
        let mut out = Vec::new();
        let outcome = query::run(&request, &mut out).unwrap();
        let asked = |index: &usize| log.is_none_or(|log| log == *index);
        let files = (0..LOGS.len()).filter(asked);
        let files = files.filter_map(|index| self.writer.logs[index].file.as_deref());
        let Wanted {
            lines,
            lost,
            unreadable,
        } = wanted(files, window, path.as_deref());
        assert!(
            out == lines.concat(),
            "{}\n-- and not\n{}",
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&lines.concat())
        );
        assert_eq!(outcome.lines, lines.len() as u64);
        assert_eq!(outcome.gaps, lost.len() as u64);
        assert_eq!(outcome.lost, lost.iter().sum::<u64>());
        assert!(outcome.out_of_order.is_empty() && outcome.refused.is_empty());
        assert!(outcome.unreadable <= unreadable);
        if *scan && path.is_none() && !window.is_empty() {
            assert_eq!(outcome.unreadable, unreadable);
        }
    }
}

fn path_of(kind: u8) -> Vec<u8> {
    // Longer than what a query reads at a time.
    if kind == u8::MAX {
        return [&b"/srv/very/long/"[..], &[b'x'; 150_000]].concat();
    }
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

fn shown(files: &BTreeMap<String, Vec<u8>>) -> String {
    let each = files.iter();
    each.map(|(name, bytes)| format!("{name}:\n{}\n", String::from_utf8_lossy(bytes)))
        .collect()
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
