//! Which version of a process caused an event, told from the events themselves.
//!
//! fanotify events have no time, only a place in the queue. All that is known of an event is a
//! [`Span`]; within it a process may have exec'd. `FAN_OPEN_EXEC` events stand in the same queue:
//! an event before the OPEN_EXEC of `sort` was caused by the shell, one after it by `sort`.
//!
//! An OPEN_EXEC is read while the exec may still be running, so it is matched lazily, when the
//! next event of the process is looked at: whatever happened before that event is in the table.
//! One exec opens several files (script, interpreter, dynamic loader). Their names are matched
//! in order to the execs' comms and to the file names of their programs; what matches nothing
//! was a loader or a failed exec.

use super::process::{Process, Traits, Version};
use super::record::{Comm, Device};

/// The time within which an event happened, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The queue was seen empty at this time, before the event.
    pub from: u64,
    /// The event had been read by this time.
    pub to: u64,
}

/// On which filesystems execs leave an OPEN_EXEC event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Markers {
    /// On none: a version within the span is a guess.
    #[default]
    Nowhere,
    /// On all that hold programs.
    Everywhere,
    /// On those with these device numbers.
    On(Vec<Device>),
}

impl Markers {
    fn cover(&self, version: &Version) -> bool {
        match self {
            Self::Nowhere => false,
            // A memfd lives on a filesystem that nobody can mark.
            Self::Everywhere => !version
                .exe
                .as_deref()
                .is_some_and(|path| path.starts_with("/memfd:")),
            Self::On(devices) => devices.contains(&version.dev),
        }
    }
}

/// More pending names than this belong to a process that only execs; the oldest are dropped.
const MOST_PENDING: usize = 32;

/// A name read back from /proc may be that of an exec still under way; after this it is settled.
const SETTLED_AFTER: u64 = 100_000_000;

/// How far a process has come in the event queue.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pending: Vec<Box<[u8]>>,
    /// `since` of the last exec that an event has been seen behind.
    entered: u64,
}

impl Marks {
    /// An OPEN_EXEC of `name` was met in the queue.
    pub(super) fn push(&mut self, name: &[u8]) {
        if self.pending.len() == MOST_PENDING {
            self.pending.remove(0);
        }
        self.pending.push(name.into());
    }
}

/// The version that an event belongs to, and whether another is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) index: usize,
    pub(super) doubtful: bool,
}

/// Chooses the version for an event in `span` and takes note that it was reached.
pub(super) fn pick(process: &mut Process, span: Span, markers: &Markers) -> Pick {
    let versions = &process.versions;
    let high = process.index_at(span.to);
    let low = process.index_at(span.from);
    let Some(marks) = process
        .marks
        .as_deref_mut()
        .filter(|_| *markers != Markers::Nowhere)
    else {
        return unmarked(process, span, low, high, markers);
    };
    let entered = versions
        .iter()
        .rposition(|v| v.since <= marks.entered)
        .unwrap_or(0);
    let entered = match_names(versions, entered, high, &marks.pending, markers);
    marks.pending.clear();
    let base = entered.max(low);
    marks.entered = versions[base].since;
    within(versions, span, [low, base, high], markers)
}

/// Without an OPEN_EXEC of this process so far.
fn unmarked(process: &Process, span: Span, low: usize, high: usize, markers: &Markers) -> Pick {
    let versions = &process.versions;
    if *markers != Markers::Nowhere {
        return within(versions, span, [low, low, high], markers);
    }
    let chosen = &versions[high];
    let differs = versions[low..high]
        .iter()
        .any(|version| !version.looks_like(chosen));
    Pick {
        index: high,
        doubtful: differs,
    }
}

/// The last exec up to `high` that the pending names lead to.
fn match_names(
    versions: &[Version],
    entered: usize,
    high: usize,
    pending: &[Box<[u8]>],
    markers: &Markers,
) -> usize {
    let mut at = entered;
    // A script's exec opens the script, whose name is the comm, and then the interpreter,
    // whose name is the program's: the second must not be taken for an exec of its own.
    let mut interpreter: Option<&[u8]> = None;
    for name in pending {
        if interpreter == Some(&**name) {
            interpreter = None;
            continue;
        }
        let found = (at + 1..=high).find(|&next| {
            let version = &versions[next];
            version.traits.has(Traits::EXEC) && markers.cover(version) && is_named(version, name)
        });
        if let Some(next) = found {
            at = next;
            let program = versions[next].exe_name().map(str::as_bytes);
            interpreter = program.filter(|&program| program != &**name);
        }
    }
    at
}

fn is_named(version: &Version, name: &[u8]) -> bool {
    let program = version
        .exe_name()
        .is_some_and(|program| program.as_bytes() == name);
    program || *version.comm == *Comm::new(name).text()
}

/// Goes on from `base`, the last exec known to be behind the event, to the last change before
/// the next exec. `low` is the version at the start of the span, `high` the one at its end.
fn within(
    versions: &[Version],
    span: Span,
    [low, base, high]: [usize; 3],
    markers: &Markers,
) -> Pick {
    let mut index = base;
    let mut doubtful = false;
    for next in base + 1..=high {
        let version = &versions[next];
        if version.traits.has(Traits::EXEC) {
            if markers.cover(version) {
                doubtful |= merged(&versions[low + 1..=base], &versions[next..=high]);
                break;
            }
            // This exec left no event: it may have been before or after.
            doubtful = true;
        }
        index = next;
    }
    doubtful |= changed(&versions[base..=index], span);
    Pick { index, doubtful }
}

/// Whether an exec ahead ran a program that was entered within the span already: the kernel
/// merges its OPEN_EXEC with the earlier one, so its place in the queue is not known.
fn merged(behind: &[Version], ahead: &[Version]) -> bool {
    let same_program = |a: &Version, b: &Version| {
        a.traits.has(Traits::EXEC) && b.traits.has(Traits::EXEC) && a.exe == b.exe
    };
    ahead
        .iter()
        .any(|next| behind.iter().any(|earlier| same_program(earlier, next)))
}

/// Whether changes that leave no event make a difference.
///
/// One change of user just after the birth or the exec is what programs do that give up their
/// rights before they work: then the later user is given without a doubt.
fn changed(versions: &[Version], span: Span) -> bool {
    let pairs = || versions.windows(2).filter(|pair| pair[1].since > span.from);
    let names = pairs().filter(|pair| pair[0].comm != pair[1].comm).count();
    let users = pairs().filter(|pair| pair[0].uid != pair[1].uid).count();
    let fresh = versions
        .first()
        .is_some_and(|first| first.since > span.from);
    names > 0 || users > usize::from(fresh)
}

/// Whether a name that was read in /proc is too fresh to be trusted at `when`.
pub(super) fn unsettled(version: &Version, when: u64) -> bool {
    version.traits.has(Traits::EXEC)
        && version.read_at != 0
        && when <= version.read_at + SETTLED_AFTER
}
