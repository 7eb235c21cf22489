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
    /// It had been read by this time.
    pub(super) by: u64,
    pub(super) place: u64,
    /// It may have been added to an older record of the same file: it happened there or later.
    pub(super) is_merged: bool,
}

/// Where the OPEN_EXEC of an exec stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// What stands before this was done before the exec; 0 when nothing is known.
    pub(super) place: u64,
    /// What stands behind this was done after it.
    pub(super) upto: u64,
}

/// More marks than this without an exec are those of a process that only fails to exec.
const MOST_PENDING: usize = 32;

/// A program that gives up its rights before it works does so within this time of its start, also
/// when it has to wait for a processor.
const FIRST_STEPS: u64 = 50_000_000;

/// A name read back from /proc may be that of an exec still under way; after this it is settled.
const SETTLED_AFTER: u64 = 100_000_000;

/// An exec is over so long after its first opening, also from a slow disk.
const EXEC_TAKES: u64 = 10_000_000_000;

/// Scripts that run scripts: so many openings may stand between a script's and its program's.
const NESTED_SCRIPTS: usize = 4;

/// The marks of a process that are still to be matched.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pending: SmallVec<[Mark; 2]>,
    /// The name by which the last exec was found: what else it opened may come later.
    last: Option<Arc<str>>,
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
        let stamped = versions
            .iter()
            .rposition(|version| version.stamp.place != 0);
        let mut used = match (stamped, self.last.take()) {
            (Some(at), Some(name)) => self.rest_of(0, &name, versions[at]),
            _ => 0,
        };
        let first = stamped.map_or(0, |at| at + 1);
        let execs: SmallVec<[usize; 8]> = (first..versions.len())
            .filter(|&at| {
                self.pending
                    .iter()
                    .any(|mark| self.fits(mark, versions[at]))
            })
            .collect();
        let mut rest = &execs[..];
        while let Some(&at) = rest.first() {
            used = self.alive_from(used, &versions[..at]);
            let is_certain = self.has_complete(used, versions[at]);
            let alike = |&&other: &&usize| {
                let (one, other) = (versions[at], versions[other]);
                self.sought(one) == self.sought(other)
                    && !(is_certain && run_other_programs(one, other))
            };
            let (run, after) = rest.split_at(rest.iter().take_while(alike).count().max(1));
            rest = after;
            let next = after.first().map(|&next| versions[next]);
            let candidates = self.candidates(used, versions[at], next);
            let Some(&last) = candidates.last() else {
                continue;
            };
            used = self.rest_of(last + 1, &self.pending[last].name, versions[at]);
            // The same file executed again is added to the record of the first time.
            let same_file = run.iter().all(|&other| {
                versions[other].exe.is_some() && versions[other].exe == versions[at].exe
            });
            let spare = match candidates.len().checked_sub(run.len()) {
                Some(spare) => spare,
                None if same_file => 0,
                // One of them was opened where there is no mark, and nobody knows which.
                None => continue,
            };
            for (number, (&at, &mark)) in run.iter().zip(&candidates).enumerate() {
                let last = candidates[number + spare];
                found.push((at, self.stamp(mark, last, versions[at])));
            }
            self.last = Some(Arc::clone(&self.pending[last].name));
        }
        used = self.alive_from(used, versions);
        self.pending.drain(..used.min(self.pending.len()));
        found
    }

    /// The first mark that can be of an exec after `versions`: what was read before the last of these
    /// was done was of that one, of one before it, or of a try that failed.
    fn alive_from(&self, used: usize, versions: &[&Version]) -> usize {
        let mut execs = versions.iter().rev();
        let done = execs.find(|version| version.traits.has(Traits::EXEC));
        let is_dead = |mark: &Mark| done.is_some_and(|done| mark.by < done.since);
        used.max(self.pending.partition_point(is_dead))
    }

    /// The name of the file by which an exec is found: as it was called, or else, where it was called by
    /// a link, as its program is.
    fn sought(&self, version: &Version) -> Option<Comm> {
        let called = Comm::from(&*version.comm);
        let mut marks = self.pending.iter();
        if marks.any(|mark| mark.is_in_time(version) && mark.comm == called) {
            return Some(called);
        }
        version.exe_name().map(Comm::from)
    }

    fn fits(&self, mark: &Mark, version: &Version) -> bool {
        mark.is_in_time(version) && self.sought(version) == Some(mark.comm)
    }

    /// The marks from `used` on that can be that of an exec, before those of the exec after it. One
    /// that is followed by all else that this exec opened is certainly its.
    fn candidates(
        &self,
        used: usize,
        version: &Version,
        next: Option<&Version>,
    ) -> SmallVec<[usize; 4]> {
        let of_next = |mark: &Mark| {
            !self.fits(mark, version) && next.is_some_and(|next| self.fits(mark, next))
        };
        // A loader without a program before it is of an exec whose program has no mark: this one, too,
        // may be that, and what comes then is of one that is still under way.
        let loader = version.loader.as_deref().map(file_name);
        let is_orphan = |mark: &Mark| {
            Some(&*mark.name) == loader && mark.is_in_time(version) && !self.fits(mark, version)
        };
        let mut from_used = self.pending.iter().skip(used);
        let orphan = from_used
            .position(is_orphan)
            .map_or(usize::MAX, |at| used + at);
        let marks = self.pending.iter().enumerate().skip(used);
        let fitting: SmallVec<[usize; 4]> = marks
            .take_while(|(at, mark)| *at < orphan && !of_next(mark))
            .filter(|(_, mark)| self.fits(mark, version))
            .map(|(at, _)| at)
            .collect();
        let is_complete =
            |&at: &usize| self.rest_of(at + 1, &self.pending[at].name, version) > at + 1;
        let complete: SmallVec<[usize; 4]> = fitting.iter().copied().filter(is_complete).collect();
        if complete.is_empty() {
            fitting
        } else {
            complete
        }
    }

    /// Whether a mark is followed by all else that this exec opened.
    fn has_complete(&self, used: usize, version: &Version) -> bool {
        let mut marks = self.pending.iter().enumerate().skip(used);
        marks.any(|(at, mark)| {
            self.fits(mark, version) && self.rest_of(at + 1, &mark.name, version) > at + 1
        })
    }

    /// Where the openings end that belong to the exec of `version` besides that of the file `name`: the
    /// program of a script, and the loader. All of them come before the exec has its name.
    fn rest_of(&self, from: usize, name: &str, version: &Version) -> usize {
        let is_named = |mark: &Mark, name: &str| &*mark.name == name && mark.from < version.since;
        let mut end = from;
        if let Some(program) = version.exe_name().filter(|program| *program != name) {
            let mut marks = self.pending.iter().skip(from).take(NESTED_SCRIPTS);
            let at = marks.position(|mark| is_named(mark, program));
            end = at.map_or(end, |at| from + at + 1);
        }
        let loader = version.loader.as_deref().map(file_name);
        let next = self.pending.get(end).zip(loader);
        end + usize::from(next.is_some_and(|(mark, loader)| is_named(mark, loader)))
    }

    /// The stamp of an exec whose mark is one of those from `first` to `last`.
    fn stamp(&self, first: usize, last: usize, version: &Version) -> Stamp {
        let rest = self.rest_of(last + 1, &self.pending[last].name, version);
        let upto = if rest > last + 1 {
            self.pending[rest - 1].place
        } else if self.pending[last].is_merged {
            u64::MAX
        } else {
            self.pending[last].place
        };
        Stamp {
            place: self.pending[first].place,
            upto,
        }
    }
}

impl Mark {
    fn is_in_time(&self, version: &Version) -> bool {
        is_told_exec(version)
            && (self.from + 1..=self.by.saturating_add(EXEC_TAKES)).contains(&version.since)
    }
}

/// An exec with its name; one that was read in /proc can be that of the exec after.
fn is_told_exec(version: &Version) -> bool {
    version.traits.has(Traits::EXEC) && version.read_at == 0
}

/// Whether what the two opened besides their own files tells them apart: a script and a program.
fn run_other_programs(one: &Version, other: &Version) -> bool {
    let names = one.exe_name().zip(other.exe_name());
    names.is_some_and(|(one, other)| one != other)
}

/// A version in the line of what a pid was, in order, during a span.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop<'a> {
    pub(super) version: &'a Version,
    /// The parent of that life.
    pub(super) ppid: u32,
    /// The first version of another life of the pid than that of the stop before.
    pub(super) is_birth: bool,
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
    /// The first and the last that is.
    pub(super) possible: (usize, usize),
    /// At which places of the queue the answer would be the same.
    pub(super) places: (u64, u64),
    /// The process stayed like this up to the end of the span.
    pub(super) lasts: bool,
}

/// Chooses among `line`, whose first stop is what the process was when the span began.
pub(super) fn pick(line: &[Stop<'_>], moment: Moment) -> Pick {
    let bounds = bounds(line, moment);
    let whole = within(line, bounds);
    let last = line.len() - 1;
    let differs = |chosen: usize, from: usize| {
        let others = &line[from..];
        !others.iter().all(|stop| stop.looks_like(&line[chosen])) || are_torn(others)
    };
    let changes = differs(whole.index, whole.index);
    match moment.part {
        Part::Whole => Pick {
            lasts: !changes,
            ..whole
        },
        Part::First => Pick {
            is_doubtful: whole.is_doubtful || changes,
            possible: (whole.possible.0, last),
            ..whole
        },
        Part::Later => Pick {
            index: last,
            is_doubtful: whole.is_doubtful || differs(last, whole.index),
            possible: (whole.possible.0, last),
            ..whole
        },
    }
}

/// Whether there was a moment in which threads were different users.
fn are_torn(line: &[Stop<'_>]) -> bool {
    line.iter()
        .any(|stop| stop.version.traits.has(Traits::THREADS_DIFFER))
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

fn bounds(line: &[Stop<'_>], moment: Moment) -> Bounds {
    let mut bounds = Bounds {
        base: 0,
        end: line.len() - 1,
        places: (0, u64::MAX),
    };
    let Some(place) = moment.place else {
        return bounds;
    };
    for (at, stop) in line.iter().enumerate().skip(1) {
        let Stamp { place: from, upto } = stop.version.stamp;
        if from == 0 {
            continue;
        }
        if from >= place {
            bounds.end = at - 1;
            bounds.places.1 = bounds.places.1.min(from);
            break;
        }
        // Until an exec is done other threads of the old program go on.
        let was_alone = stop.version.threaded_until <= moment.span.from;
        let upto = if was_alone { upto } else { u64::MAX };
        if upto < place {
            bounds.base = at;
            bounds.places.0 = upto + 1;
        } else {
            bounds.places.0 = bounds.places.0.max(from + 1);
            bounds.places.1 = bounds.places.1.min(upto);
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
    } || are_torn(&line[base..=end]);
    let is_half = line[index].version.exe.is_none();
    Pick {
        // Of two that look the same, one whose program is known.
        index: if is_half && !is_doubtful { base } else { index },
        is_doubtful,
        possible: (base, end),
        places,
        lasts: false,
    }
}

/// Whether changes that leave no event make a difference.
///
/// One change of user soon after the exec is what programs do that give up their rights before they
/// work: then the later user is given without a doubt. A program that got rights by its exec is no
/// such program: it works first; and nobody knows what a child does that was only forked.
fn changed(line: &[Stop<'_>]) -> bool {
    let pairs = || {
        line.windows(2)
            .map(|pair| (pair[0].version, pair[1].version))
    };
    let names = pairs().filter(|(old, new)| old.comm != new.comm).count();
    let mut users = pairs().filter(|(old, new)| old.uid != new.uid);
    let first = line[0].version;
    let is_start = first.traits.has(Traits::EXEC) && !first.traits.has(Traits::RAISED);
    let gave_up =
        |(_, new): (_, &Version)| is_start && new.since <= first.since.saturating_add(FIRST_STEPS);
    names > 0 || users.next().is_some_and(|change| !gave_up(change)) || users.next().is_some()
}

/// Whether a name that was read in /proc is too fresh to be trusted at `when`.
pub(super) fn unsettled(version: &Version, when: u64) -> bool {
    version.traits.has(Traits::READ_BACK) && when <= version.read_at.saturating_add(SETTLED_AFTER)
}
