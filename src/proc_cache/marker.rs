//! Which version of a process caused an event, told from the events themselves.
//!
//! fanotify events have no time, only a place in the queue. All that is known of an event is a
//! [`Moment`]: a span of time, within which the process may have exec'd, and that place.
//! `FAN_OPEN_EXEC` events stand in the same queue: an event before the OPEN_EXEC of `sort` was
//! caused by the shell, one after it by `sort`.
//!
//! One exec opens several files (script, interpreter, dynamic loader), a failed one opens some and
//! changes nothing, and an exec may still be running when its OPEN_EXEC is read. So the names of
//! the opened files are matched, in order, to the execs that are known, by comm and by file name
//! of the program; an exec that found its OPEN_EXEC is stamped with its place. What matches nothing
//! is kept for an exec that is still to come. An exec without a stamp may have been before or after
//! an event of the same span, and that is what is said.

use std::sync::Arc;

use smallvec::SmallVec;

use super::process::{Traits, Version, file_name};
use super::record::Comm;

/// The time within which an event happened, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The queue was seen empty at this time, before the event.
    pub from: u64,
    /// The event had been read by this time.
    pub to: u64,
}

/// What is known of when an event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When it can have happened.
    pub span: Span,
    /// Its place in the queue that the OPEN_EXEC events stand in too; `None` for one from another queue.
    pub place: Option<u64>,
    /// Which part of a record it is.
    pub part: Part,
}

/// An event as a part of a record, to which the kernel may have added later events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// What was there first: it happened at the record's place.
    Whole,
    /// Likely the first of several, but perhaps added later.
    First,
    /// Added later: at any time between the record's place and its reading.
    Later,
}

/// An OPEN_EXEC event that no exec was found for yet.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) name: Arc<str>,
    pub(super) comm: Comm,
    /// The exec that it belongs to came after this.
    pub(super) from: u64,
    pub(super) stamp: Stamp,
}

/// Where the OPEN_EXEC of an exec stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// 0 when it was not found.
    pub(super) place: u64,
    /// It was added to an older record: it happened there or later.
    pub(super) is_merged: bool,
}

/// More marks than this without an exec are those of a process that only fails to exec.
const MOST_PENDING: usize = 32;

/// A program that gives up its rights before it works does so within this time of its start, also
/// when it has to wait for a processor.
const FIRST_STEPS: u64 = 50_000_000;

/// A name read back from /proc may be that of an exec still under way; after this it is settled.
const SETTLED_AFTER: u64 = 100_000_000;

/// The marks of a process that are still to be matched.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pending: SmallVec<[Mark; 2]>,
    /// The program of a script that was opened: its own opening comes next, and must not be taken
    /// for an exec of its own.
    interpreter: Option<Arc<str>>,
}

impl Marks {
    pub(super) fn push(&mut self, mark: Mark) {
        if self.pending.len() == MOST_PENDING {
            self.pending.remove(0);
        }
        self.pending.push(mark);
    }

    /// When the first of them can have been made.
    pub(super) fn since(&self) -> Option<u64> {
        self.pending.first().map(|mark| mark.from)
    }

    /// Finds the exec of each mark among `versions`, which are in the order of time; returns which
    /// got which stamp. What stands before a mark that was matched is needed no longer.
    pub(super) fn matched(&mut self, versions: &[&Version]) -> SmallVec<[(usize, Stamp); 4]> {
        let mut found = SmallVec::new();
        let mut next = versions
            .iter()
            .rposition(|version| version.stamp.place != 0)
            .map_or(0, |at| at + 1);
        let mut used = 0;
        for (number, mark) in self.pending.iter().enumerate() {
            let is_expected = |program: &mut Arc<str>| file_name(program) == &*mark.name;
            if self.interpreter.take_if(is_expected).is_some() {
                used = number + 1;
                continue;
            }
            let at = (next..versions.len()).find(|&at| mark.fits(versions[at]));
            if let Some(at) = at {
                found.push((at, mark.stamp));
                next = at + 1;
                used = number + 1;
                let program = versions[at].exe.clone();
                self.interpreter = program.filter(|program| file_name(program) != &*mark.name);
            }
        }
        self.pending.drain(..used);
        found
    }
}

impl Mark {
    fn fits(&self, version: &Version) -> bool {
        // A name that was read in /proc can be that of the exec after.
        version.traits.has(Traits::EXEC)
            && version.read_at == 0
            && version.since > self.from
            && (version.exe_name() == Some(&*self.name) || *version.comm == *self.comm.text())
    }
}

/// A version in the line of what a pid was, in order, during a span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop<'a> {
    pub(super) version: &'a Version,
    /// The parent of that life.
    pub(super) ppid: u32,
    /// The first version of another life of the pid than that of the stop before.
    pub(super) is_birth: bool,
    /// A life, or a program in it, begins with this version.
    pub(super) is_start: bool,
}

impl Stop<'_> {
    /// Whether nobody could tell the two apart in a log.
    fn looks_like(&self, other: &Self) -> bool {
        self.ppid == other.ppid && self.version.looks_like(other.version)
    }
}

/// The version that an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) index: usize,
    /// Another is possible.
    pub(super) is_doubtful: bool,
    /// At which places of the queue the answer would be the same.
    pub(super) places: (u64, u64),
    /// The process stayed like this up to the end of the span.
    pub(super) lasts: bool,
}

/// Chooses among `line`, whose first stop is what the process was when the span began.
pub(super) fn pick(line: &[Stop<'_>], moment: Moment) -> Pick {
    let bounds = bounds(line, moment.place);
    let whole = within(line, bounds);
    let last = line.len() - 1;
    let differs = |chosen: usize, from: usize| {
        let others = &line[from..];
        !others.iter().all(|stop| stop.looks_like(&line[chosen]))
    };
    let changes = differs(whole.index, whole.index);
    match moment.part {
        Part::Whole => Pick {
            lasts: !changes,
            ..whole
        },
        Part::First => Pick {
            is_doubtful: whole.is_doubtful || changes,
            ..whole
        },
        Part::Later => Pick {
            index: last,
            is_doubtful: whole.is_doubtful || differs(last, whole.index),
            ..whole
        },
    }
}

/// What the stamps say of a place in the queue.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// The last stop that is certainly behind.
    base: usize,
    /// The last stop that can be behind.
    end: usize,
    places: (u64, u64),
}

fn bounds(line: &[Stop<'_>], place: Option<u64>) -> Bounds {
    let mut bounds = Bounds {
        base: 0,
        end: line.len() - 1,
        places: (0, u64::MAX),
    };
    let Some(place) = place else { return bounds };
    for (at, stop) in line.iter().enumerate().skip(1) {
        let stamp = stop.version.stamp;
        if stamp.place == 0 {
            continue;
        }
        if stamp.place >= place {
            bounds.end = at - 1;
            bounds.places.1 = stamp.place;
            break;
        }
        bounds.places.0 = stamp.place + 1;
        if !stamp.is_merged {
            bounds.base = at;
        }
    }
    bounds
}

/// Goes on from the last exec known to be behind the event to the last change before the next one.
fn within(line: &[Stop<'_>], bounds: Bounds) -> Pick {
    let Bounds { base, end, places } = bounds;
    let was_entered = line[base].version.stamp.place != 0;
    let mut index = base;
    let mut unmarked = false;
    for (at, stop) in line.iter().enumerate().take(end + 1).skip(base + 1) {
        let is_exec = stop.version.traits.has(Traits::EXEC);
        unmarked |= is_exec || stop.is_birth;
        if stop.is_birth && was_entered {
            // What was seen to run is likelier than what was born behind it.
            break;
        }
        index = at;
    }
    let is_doubtful = if unmarked {
        let others = &line[base..=end];
        !others.iter().all(|stop| stop.looks_like(&line[index]))
    } else {
        changed(&line[base..=index])
    };
    let is_half = line[index].version.exe.is_none();
    Pick {
        // Of two that look the same, one whose program is known.
        index: if is_half && !is_doubtful { base } else { index },
        is_doubtful,
        places,
        lasts: false,
    }
}

/// Whether changes that leave no event make a difference.
///
/// One change of user soon after the birth or the exec is what programs do that give up their
/// rights before they work: then the later user is given without a doubt. A program that got
/// rights by its exec is no such program: it works first.
fn changed(line: &[Stop<'_>]) -> bool {
    let pairs = || {
        line.windows(2)
            .map(|pair| (pair[0].version, pair[1].version))
    };
    let names = pairs().filter(|(old, new)| old.comm != new.comm).count();
    let mut users = pairs().filter(|(old, new)| old.uid != new.uid);
    let first = line[0].version;
    let was_raised = first.traits.has(Traits::EXEC) && first.traits.has(Traits::UID_SET);
    let is_start = line[0].is_start && !was_raised;
    let gave_up = |(_, new): (_, &Version)| is_start && new.since <= first.since + FIRST_STEPS;
    names > 0 || users.next().is_some_and(|change| !gave_up(change)) || users.next().is_some()
}

/// Whether a name that was read in /proc is too fresh to be trusted at `when`.
pub(super) fn unsettled(version: &Version, when: u64) -> bool {
    version.traits.has(Traits::EXEC)
        && version.read_at != 0
        && when <= version.read_at + SETTLED_AFTER
}
