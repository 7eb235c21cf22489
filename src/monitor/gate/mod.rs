//! The gate: refuses opens of protected files, and lets everything else pass at once.
//!
//! A permission group of its own stands beside the groups that record. It holds up whoever opens a file
//! with a mark until this process answers; so marks are put on as little as possible, the answer comes
//! before anything else, and whatever goes wrong here means "yes".
//!
//! One thread runs [`Gate::pump`]; start it before the first [`Gate::guard`]. The owner tells the gate of
//! files and directories that come and go, and decides what only the process table can know. What is told
//! to the owner is told on the pump's thread, where a wait for anything would make all others wait: hand it
//! over and return.
//!
//! fanotify asks before opens. It does not before a file is renamed or removed, nor before the reads of
//! one who has it open already. A protected file that is moved away stays protected until it is removed or
//! the rules are set anew.

mod ancestry;
mod opening;
mod places;
mod pump;
mod rules;
mod walk;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::event::WallTime;
use crate::sys::dirfd::open_without_links;
use crate::sys::epoll::PollSet;
use crate::sys::gatekeeper::{CLOSE_WRITE, Gatekeeper, OPEN_PERM, Reach};
use crate::sys::limits::raise_open_files;

pub use crate::policy::Guarded;
use opening::Undecided;
use places::Places;
use rules::Rules;

/// What of the rules could be put into force.
#[derive(Debug, Default)]
pub struct Guarding {
    /// Directories in which opens are looked at.
    pub directories: usize,
    /// Protected files that are there.
    pub files: usize,
    /// What could not be looked at or marked, and is not protected; the first hundred.
    pub troubles: Vec<Trouble>,
    /// Users of rules that nobody knows; such a rule never applies to them.
    pub unknown_users: Vec<String>,
}

/// A place that could not be protected.
#[derive(Debug)]
pub struct Trouble {
    /// Where.
    pub path: Vec<u8>,
    /// Why.
    pub error: io::Error,
}

/// What the gate tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An open was refused.
    Refused(Refusal),
    /// An open waits, and the owner shall say what becomes of it.
    Asked(Question),
    /// An open was let pass because nobody decided in time.
    Overdue(Overdue),
    /// Something was opened or closed where the gate only observes.
    Seen(Seen),
    /// The kernel could not tell of an event. Where it was an open, it failed.
    Lost(String),
}

/// An open that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// By which rule.
    pub rule: u16,
    /// The process.
    pub pid: u32,
    /// The path that was opened.
    pub path: Vec<u8>,
    /// When the answer went out.
    pub wall: WallTime,
    /// The same on CLOCK_MONOTONIC.
    pub mono: u64,
    /// The kernel's mask.
    pub mask: u64,
    /// Name of the process.
    pub comm: Vec<u8>,
    /// Path of its executable, if that can be told.
    pub exe: Option<Vec<u8>>,
}

/// An open that waits for [`Gate::decide`]: none of the living ancestors settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What to decide by.
    pub id: u64,
    /// The process.
    pub pid: u32,
    /// The path that is to be opened.
    pub path: Vec<u8>,
    /// The rules that may refuse it, each with the commands that matter.
    pub rules: Vec<Asked>,
}

/// A rule that applies if a dead ancestor says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The rule.
    pub rule: u16,
    /// It refuses only descendants of these; anybody when empty.
    pub cmds: Vec<String>,
    /// It refuses no descendants of these.
    pub except_cmds: Vec<String>,
}

/// An open that was let pass undecided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// What was asked.
    pub question: Question,
    /// Nobody was asked: too many waited already.
    pub crowded: bool,
}

/// Something that was opened or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The kernel's mask: OPEN_PERM or CLOSE_WRITE.
    pub mask: u64,
    /// The process.
    pub pid: u32,
    /// The path, or [`UNREADABLE`].
    pub path: Vec<u8>,
    /// Path of its executable; `None` when the process is gone.
    pub exe: Option<Vec<u8>>,
}

/// Stands for a path that the kernel does not tell.
pub const UNREADABLE: &[u8] = b"<unreadable>";

/// How much is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What is opened through one mount.
    Mount,
    /// A whole filesystem, through whichever mount.
    Filesystem,
}

/// What observing came to.
#[derive(Debug)]
pub struct Observed {
    /// What is observed.
    pub scope: Scope,
    /// Why it is not the filesystem that was asked for.
    pub fell_back: Option<io::Error>,
}

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Opens that were looked at.
    pub opens: u64,
    /// Opens that were refused.
    pub refused: u64,
    /// Opens that the owner was asked about.
    pub asked: u64,
    /// Opens that were let pass undecided.
    pub overdue: u64,
    /// Opens that were let pass because looking at them failed.
    pub failed: u64,
}

/// The gate. See the module.
#[derive(Debug)]
pub struct Gate {
    own_pid: u32,
    deadline: Duration,
    /// `None` once it is closed: nobody waits any more.
    group: RwLock<Option<Arc<Gatekeeper>>>,
    poll: PollSet,
    _stopped: PipeReader,
    stop: Mutex<Option<PipeWriter>>,
    rules: RwLock<Arc<Rules>>,
    places: Mutex<Places>,
    /// Held while marks are put on or taken off.
    marking: Mutex<()>,
    undecided: Mutex<BTreeMap<u64, Undecided>>,
    /// Each that waits takes a descriptor; without one the kernel refuses opens instead of telling of them.
    most_undecided: usize,
    most_at_once: usize,
    next: AtomicU64,
    exempt: RwLock<HashSet<u32>>,
    observes: AtomicBool,
    tally: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    opens: AtomicU64,
    refused: AtomicU64,
    asked: AtomicU64,
    overdue: AtomicU64,
    failed: AtomicU64,
}

impl Gate {
    /// Opens a gate that guards nothing yet. Opens by the process `own_pid` and its descendants always pass;
    /// an open that nobody decides about within `deadline` passes too. Raises the number of files that this
    /// process may have open to what it may allow itself.
    pub fn open(own_pid: u32, deadline: Duration) -> io::Result<Self> {
        let files = usize::try_from(raise_open_files()?).unwrap_or(usize::MAX);
        let group = Arc::new(Gatekeeper::open()?);
        let (stopped, stop) = io::pipe()?;
        let poll = PollSet::new()?;
        poll.add(group.as_fd())?;
        poll.add(stopped.as_fd())?;
        Ok(Self {
            own_pid,
            deadline,
            group: RwLock::new(Some(group)),
            poll,
            _stopped: stopped,
            stop: Mutex::new(Some(stop)),
            rules: RwLock::default(),
            places: Mutex::default(),
            marking: Mutex::default(),
            undecided: Mutex::default(),
            most_undecided: (files / 4).min(MOST_UNDECIDED),
            most_at_once: files / 8,
            next: AtomicU64::new(1),
            exempt: RwLock::default(),
            observes: AtomicBool::new(false),
            tally: Counters::default(),
        })
    }

    /// Opens by this process and its descendants pass from now on.
    pub fn exempt(&self, pid: u32) {
        let mut exempt = self.exempt.write().unwrap_or_else(PoisonError::into_inner);
        exempt.insert(pid);
    }

    /// Takes back [`Gate::exempt`].
    pub fn exempt_no_longer(&self, pid: u32) {
        let mut exempt = self.exempt.write().unwrap_or_else(PoisonError::into_inner);
        exempt.remove(&pid);
    }

    /// Answers a [`Question`]: the open is refused by that rule, or passes. Returns the refusal if it is one;
    /// `None` also when the open has passed meanwhile.
    pub fn decide(&self, id: u64, refused_by: Option<u16>) -> Option<Refusal> {
        // Whoever takes it out of the map answers.
        let undecided = locked(&self.undecided).remove(&id)?;
        let rule = refused_by?;
        let refusal = undecided.refuse(rule)?;
        self.tally.refused.fetch_add(1, Ordering::Relaxed);
        Some(refusal)
    }

    /// Observes every open, and every close of a written file, on the mount or filesystem of `dir`.
    pub fn observe(&self, dir: &Path, scope: Scope) -> io::Result<Observed> {
        let dir = open_without_links(std::fs::canonicalize(dir)?.as_os_str().as_encoded_bytes())?;
        let group = self.group()?;
        self.observes.store(true, Ordering::Relaxed);
        let mark = |on| group.add_mark(on, OPEN_PERM | CLOSE_WRITE, dir.as_fd(), c".");
        let fell_back = match scope {
            Scope::Mount => None,
            Scope::Filesystem => match mark(Reach::Filesystem) {
                Ok(()) => {
                    return Ok(Observed {
                        scope,
                        fell_back: None,
                    });
                }
                Err(error) => Some(error),
            },
        };
        mark(Reach::Mount)?;
        Ok(Observed {
            scope: Scope::Mount,
            fell_back,
        })
    }

    /// Ends the pump; everybody who waits passes.
    pub fn stop(&self) {
        drop(locked(&self.stop).take());
    }

    /// What has happened since the gate was opened.
    pub fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            opens: read(&self.tally.opens),
            refused: read(&self.tally.refused),
            asked: read(&self.tally.asked),
            overdue: read(&self.tally.overdue),
            failed: read(&self.tally.failed),
        }
    }

    fn group(&self) -> io::Result<Arc<Gatekeeper>> {
        let group = self.group.read().unwrap_or_else(PoisonError::into_inner);
        group
            .clone()
            .ok_or_else(|| io::Error::other("the gate is closed"))
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }
}

/// Takes a lock. What the locks of the gate protect is valid between any two statements that could panic.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many opens wait for decisions at most.
const MOST_UNDECIDED: usize = 256;
