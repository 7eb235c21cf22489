//! What was done to the recorder and around it, with exact times of the monotonic clock in nanoseconds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use fsmon::sys::clock;
use serde_json::Value;

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn meets(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// What can make the recorder lose something, or wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// SIGSTOP to SIGCONT.
    Stopped,
    /// SIGKILL, or an end on a full disk, to the next start.
    Down,
    DiskFull,
    Clean,
    ClockSet,
    CpuOffline,
    /// Only waits: nothing may be lost because of these.
    Ended,
    Rotated,
    Deaf,
    Reloaded,
    Mounted,
    WorkerKilled,
}

/// One run of the recorder.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) pid: u32,
    pub(crate) spawned: u64,
    pub(crate) ready: u64,
    /// From here on nothing need be recorded: it was told to end, or had ended.
    pub(crate) asked: u64,
    pub(crate) ended: u64,
    /// It did not end in good order.
    pub(crate) crashed: bool,
}

/// A watch was asked for, or to be removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) asked: u64,
    pub(crate) done: u64,
    pub(crate) on: bool,
}

/// Whether an operation must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Must,
    /// It fell into a change of what is watched.
    Unsure,
    Never,
}

#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    pub(crate) runs: Vec<Run>,
    pub(crate) faults: Vec<(Fault, Span)>,
    /// By group and watched path.
    pub(crate) watches: HashMap<(String, PathBuf), Vec<Change>>,
    /// Below a path it cannot be known when a mount was noticed.
    pub(crate) unsure: Vec<(PathBuf, Span)>,
    /// Wall clock minus monotonic clock, from when on.
    pub(crate) offsets: Vec<(u64, i64)>,
    /// No other log of a group is written since then: the clock was set.
    pub(crate) clock_set: Option<u64>,
}

/// More than a clock that is steered is moved between two looks, in nanoseconds.
const SET: i64 = 10_000_000;
/// How long a recorder on a busy machine may take to read what happened.
const LAG: u64 = 2_500_000_000;

impl Chronicle {
    pub(crate) fn new() -> Self {
        let mut chronicle = Self::default();
        chronicle.note_offset();
        chronicle
    }

    pub(crate) fn note_offset(&mut self) {
        let now = clock::monotonic();
        let offset = clock::realtime() - now.cast_signed();
        self.offsets.push((now, offset));
    }

    /// Finds out that somebody else has set the clock, since a look that was at `looked`.
    pub(crate) fn look_at_the_clock(&mut self, looked: u64) {
        let known = self.offsets.last().map(|(_, offset)| *offset);
        let now = clock::realtime() - clock::monotonic().cast_signed();
        if known.is_some_and(|known| (now - known).abs() > SET) {
            self.clock_set.get_or_insert(looked);
            self.note_offset();
        }
    }

    /// Takes the recorder at its word about when it began and ended to record.
    pub(crate) fn sharpen(&mut self, journal: &[Value]) {
        for at in 1..self.runs.len() {
            if self.runs[at - 1].crashed {
                // What is not told of its first moments is in the same hole as what came before.
                self.runs[at].ready = self.runs[at].spawned;
            }
        }
        let mut pid = None;
        let mut begins = false;
        for entry in journal {
            let at = self.monotonic_of(nanos(entry["time"].as_str().unwrap()));
            let is_sane = self.is_clock_sane(at);
            let run = self.runs.iter_mut().find(|run| Some(run.pid) == pid);
            match entry["event"].as_str().unwrap() {
                "START" => {
                    pid = entry["pid"].as_u64().map(|pid| pid as u32);
                    begins = true;
                }
                // The watches of the store are in force.
                "ADD" if begins && is_sane => {
                    begins = false;
                    if let Some(run) = run.filter(|run| run.spawned <= at && at <= run.ready) {
                        run.ready = at;
                    }
                }
                "STOP" if is_sane => {
                    if let Some(run) = run.filter(|run| run.asked <= at && at <= run.ended) {
                        run.asked = at;
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn note(&mut self, fault: Fault, from: u64) {
        let to = clock::monotonic();
        self.faults.push((fault, Span { from, to }));
    }

    pub(crate) fn change(&mut self, group: &str, root: &Path, change: Change) {
        let key = (group.to_owned(), root.to_owned());
        self.watches.entry(key).or_default().push(change);
    }

    /// The monotonic time of a time in a log, as long as the clock was not set.
    pub(crate) fn monotonic_of(&self, wall: i64) -> u64 {
        u64::try_from(wall - self.offsets[0].1).unwrap_or(0)
    }

    /// Whether times in a log around that time mean what they say.
    pub(crate) fn is_clock_sane(&self, at: u64) -> bool {
        self.clock_set.is_none_or(|set| at + LAG < set)
    }

    /// By when something that had happened at `at` has been read.
    pub(crate) fn caught_by(&self, at: u64) -> u64 {
        let mut until = at.saturating_add(LAG);
        let mut waits: Vec<Span> = self.waits().collect();
        waits.sort_by_key(|span| span.from);
        for span in waits {
            if span.from <= until && span.to >= at {
                until = until.saturating_add(span.to - span.from.max(at));
            }
        }
        until
    }

    fn waits(&self) -> impl Iterator<Item = Span> + '_ {
        let stopped = |fault: &Fault| matches!(fault, Fault::Stopped | Fault::Clean);
        self.faults
            .iter()
            .filter(move |(fault, _)| stopped(fault))
            .map(|(_, span)| *span)
    }

    /// Whether something that was done at `path` in `span` must be in the log of `group`.
    pub(crate) fn told(&self, group: &str, path: &Path, span: Span) -> Told {
        let recorder = self.recorder_told(span);
        if recorder == Told::Never {
            return Told::Never;
        }
        let unsure = self.unsure.iter();
        let mount = unsure
            .filter(|(below, when)| path.starts_with(below) && when.meets(span))
            .map(|_| Told::Unsure)
            .max()
            .unwrap_or(Told::Must);
        let watch = self
            .watches
            .iter()
            .filter(|((name, root), _)| name == group && path.starts_with(root))
            .map(|(_, changes)| watch_told(changes, span))
            .min()
            .unwrap_or(Told::Never);
        recorder.max(watch).max(mount)
    }

    fn recorder_told(&self, span: Span) -> Told {
        let mut told = Told::Never;
        for run in &self.runs {
            let whole = Span {
                from: run.spawned,
                to: run.ended,
            };
            if run.ready <= span.from && span.to <= run.asked {
                return Told::Must;
            }
            if whole.meets(span) {
                told = Told::Unsure;
            }
        }
        told
    }
}

/// A time of a log in nanoseconds since 1970.
pub(crate) fn nanos(time: &str) -> i64 {
    let time = DateTime::parse_from_rfc3339(time).unwrap();
    time.timestamp_nanos_opt().unwrap()
}

fn watch_told(changes: &[Change], span: Span) -> Told {
    let mut told = Told::Never;
    for change in changes {
        let asked = Span {
            from: change.asked,
            to: change.done,
        };
        if asked.meets(span) {
            return Told::Unsure;
        }
        if change.done < span.from {
            told = if change.on { Told::Must } else { Told::Never };
        }
    }
    told
}
