//! Every process as it was at any moment that an unread event may still refer to.

use std::collections::VecDeque;
use std::sync::Arc;

use super::marker::{self, Markers, Span};
use super::names::{Interner, UserNames};
use super::process::{Id, NEVER, Process, Said, Traits, UID_UNKNOWN, Version};
use super::record::{ProcChange, ProcRecord};
use super::slab::Slab;
use crate::event::Attribution;

/// A line of ancestors longer than this is shortened in its middle: a process that forks and
/// dies for ever would otherwise hold all its past.
const DEEPEST: u32 = 512;

/// Since Linux 6.16 the exit is recorded before the memory and the files of a process are given
/// back, so that files closed by its end come after it; this is how long that may take.
const LINGERS: u64 = 1_000_000_000;

/// How much the table may remember.
#[derive(Clone, Copy, Debug)]
pub struct ProcLimits {
    /// How long a dead process is remembered, in nanoseconds.
    pub ttl: u64,
    /// How many dead processes are remembered at most, not counting ancestors of others.
    pub max_dead: usize,
}

impl Default for ProcLimits {
    fn default() -> Self {
        Self {
            ttl: 600_000_000_000,
            max_dead: 32_768,
        }
    }
}

/// A process as it was at an event.
#[derive(Clone, Debug)]
pub struct Who {
    /// The process.
    pub pid: u32,
    /// Its thread group, the same: fanotify names processes, not threads.
    pub tgid: u32,
    /// The process that forked it, also when that has died since.
    pub ppid: u32,
    /// Its name, at most 15 bytes.
    pub comm: Arc<str>,
    /// Path of its program, seen from its own root directory.
    pub exe: Option<Arc<str>>,
    /// Name of its effective user, the number when it has none, or `unknown`.
    pub user: Arc<str>,
    /// How sure this is.
    pub attribution: Attribution,
    pub(super) at: Place,
}

/// Which version of which life a [`Who`] was made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: Id,
    pub(super) serial: u64,
    pub(super) since: u64,
    /// Latest time of the event.
    pub(super) when: u64,
}

/// Counts of what the table holds and has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcStats {
    /// Living processes.
    pub alive: usize,
    /// Dead processes that are remembered.
    pub dead: usize,
    /// Records applied.
    pub records: u64,
    /// Times at which the kernel dropped records.
    pub losses: u64,
    /// Records that it says it has dropped; a lower bound.
    pub lost: u64,
}

/// A time in which records are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    from: u64,
    to: u64,
    /// When /proc had been read again, or never.
    pub(super) mended: u64,
}

/// What is known of all processes.
#[derive(Debug)]
pub struct ProcTable {
    limits: ProcLimits,
    pub(super) lives: Slab,
    /// The dead in the order in which they will be forgotten.
    dead: VecDeque<(u64, Id)>,
    pub(super) comms: Interner,
    pub(super) unknown: Arc<str>,
    pub(super) users: UserNames,
    markers: Markers,
    pub(super) holes: Vec<Hole>,
    forgot_nameless: u64,
    stats: ProcStats,
}

impl ProcTable {
    /// An empty table.
    pub fn new(limits: ProcLimits) -> Self {
        Self {
            limits,
            lives: Slab::default(),
            dead: VecDeque::new(),
            comms: Interner::default(),
            unknown: "unknown".into(),
            users: UserNames::default(),
            markers: Markers::Nowhere,
            holes: Vec::new(),
            forgot_nameless: 0,
            stats: ProcStats::default(),
        }
    }

    /// Tells on which filesystems the group has OPEN_EXEC marks.
    pub fn set_markers(&mut self, markers: Markers) {
        self.markers = markers;
    }

    /// Takes note of one record.
    pub fn apply(&mut self, record: &ProcRecord) {
        self.stats.records += 1;
        let time = record.time;
        let first_thread = record.pid == record.tid;
        match &record.what {
            ProcChange::Fork { ppid } if first_thread => self.fork(record.pid, *ppid, time),
            ProcChange::Fork { .. } => self.change(record, |life| {
                // /proc had counted it already when it was read later than this.
                life.threads += u32::from(time > life.read_at);
            }),
            ProcChange::Exit => self.exit(record.pid, first_thread, time),
            ProcChange::Comm { comm, exec } if first_thread => {
                let comm = self.comms.share(comm.as_bytes());
                self.meet(record, |life| life.rename(time, &comm, *exec));
            }
            // A thread's own name: the process is called as its first thread.
            ProcChange::Comm { .. } => {}
            ProcChange::Exec => {
                let unknown = Arc::clone(&self.unknown);
                self.meet(record, |life| life.exec_unnamed(time, &unknown));
            }
            ProcChange::ReadBack { comm, exe, read_at } => {
                let said = Said {
                    comm: self.comms.share(comm.as_bytes()),
                    exe: exe.clone(),
                    read_at: *read_at,
                };
                self.change(record, |life| life.read_back(time, &said));
            }
            ProcChange::Exe { path, dev, .. } => {
                self.change(record, |life| life.map(time, path, *dev));
            }
            ProcChange::Euid { uid } if first_thread => {
                self.meet(record, |life| life.become_user(time, *uid));
            }
            ProcChange::Euid { uid } => {
                self.change(record, |life| life.thread_becomes_user(time, *uid));
            }
            ProcChange::Lost { count, since } => self.lose(*count, *since, time),
        }
    }

    fn lose(&mut self, count: u64, from: u64, to: u64) {
        self.stats.losses += 1;
        self.stats.lost += count.max(1);
        match self.holes.last_mut().filter(|hole| hole.mended == NEVER) {
            Some(hole) => {
                hole.from = hole.from.min(from);
                hole.to = hole.to.max(to);
            }
            None => self.holes.push(Hole {
                from,
                to,
                mended: NEVER,
            }),
        }
    }

    /// Whether records have been lost since /proc was last read: time for [`ProcTable::snapshot`].
    pub fn needs_resync(&self) -> bool {
        self.holes.last().is_some_and(|hole| hole.mended == NEVER)
    }

    fn change(&mut self, record: &ProcRecord, change: impl FnOnce(&mut Process)) {
        let life = self.lives.born_by(record.pid, record.time);
        if let Some(life) = life.and_then(|id| self.lives.get_mut(id)) {
            change(life);
        }
    }

    /// Like `change`, but a life whose birth was missed is made.
    fn meet(&mut self, record: &ProcRecord, change: impl FnOnce(&mut Process)) {
        let (pid, time) = (record.pid, record.time);
        let newest = self.lives.newest(pid).and_then(|id| self.lives.get(id));
        // A record of an earlier life that has been forgotten makes no new one.
        if newest.is_none_or(|life| life.gone < time) {
            let mut life = Process::new(pid, 0, time, self.blank(time));
            life.provisional = true;
            self.lives.insert(life);
        }
        self.change(record, change);
    }

    /// A version of which nothing is known.
    fn blank(&self, since: u64) -> Version {
        Version {
            since,
            read_at: 0,
            mapped_at: 0,
            comm: Arc::clone(&self.unknown),
            exe: None,
            dev: (0, 0),
            uid: UID_UNKNOWN,
            traits: Traits::NAMELESS,
        }
    }

    fn fork(&mut self, pid: u32, ppid: u32, time: u64) {
        let newest = self.lives.newest(pid).and_then(|id| self.lives.get(id));
        if newest.is_some_and(|life| life.born > time + super::snapshot::START_ERROR) {
            // So late that the pid has had another life since.
            return;
        }
        let parent = self.lives.born_by(ppid, time);
        let first = match parent.and_then(|id| self.lives.get(id)) {
            Some(parent) => {
                let version = &parent.versions[parent.index_at(time)];
                let mut first = version.heir(time);
                first.read_at = 0;
                // What /proc said after this moment need not hold for it.
                first.traits.set(
                    Traits::DOUBTFUL,
                    version.doubtful() || time <= version.read_at,
                );
                first
            }
            None => self.blank(time),
        };
        let mut life = Process::new(pid, ppid, time, first);
        life.parent = parent;
        life.birth_seen = true;
        life.depth = parent
            .and_then(|id| self.lives.get(id))
            .map_or(0, |life| life.depth + 1);
        self.retire_before(pid, time);
        let id = self.lives.insert(life);
        if self.lives.get(id).is_some_and(|life| life.depth > DEEPEST) {
            self.shorten(id);
        }
    }

    /// A birth says that the pid's earlier life has ended, and replaces what /proc said of this one.
    fn retire_before(&mut self, pid: u32, time: u64) {
        let Some(id) = self.lives.newest(pid) else {
            return;
        };
        let Some(before) = self.lives.get_mut(id) else {
            return;
        };
        if !before.alive() {
            return;
        }
        // The same life, met in /proc or in a record before its birth was heard of: all that has
        // happened to it since will be heard of, too.
        before.expired =
            before.read_at >= time && before.born + super::snapshot::START_ERROR >= time;
        before.gone = time;
        if before.expired && before.children == 0 {
            self.lives.remove(id);
        } else if !before.expired {
            self.bury(id, time);
        }
    }

    fn exit(&mut self, pid: u32, first_thread: bool, time: u64) {
        let Some(id) = self.lives.born_by(pid, time) else {
            return;
        };
        let Some(life) = self.lives.get_mut(id).filter(|life| life.alive()) else {
            return;
        };
        life.first_thread_gone |= first_thread;
        let counted = first_thread || time > life.read_at;
        life.threads = life.threads.saturating_sub(u32::from(counted));
        if life.threads == 0 && life.first_thread_gone {
            life.gone = time;
            self.bury(id, time);
        }
    }

    /// Puts a dead process in the queue of those to forget.
    pub(super) fn bury(&mut self, id: Id, time: u64) {
        self.dead.push_back((time, id));
        while self.dead.len() > self.limits.max_dead {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, id)) = self.dead.pop_front() else {
            return;
        };
        let Some(life) = self.lives.get_mut(id) else {
            return;
        };
        life.expired = true;
        if life.children == 0 {
            self.lives.remove(id);
        }
    }

    /// Forgets the dead whose time has come; to be called now and then with the time of the
    /// oldest event that may still be unread.
    pub fn forget(&mut self, now: u64) {
        let horizon = now.saturating_sub(self.limits.ttl);
        while self.dead.front().is_some_and(|&(gone, _)| gone < horizon) {
            self.forget_oldest();
        }
        self.holes.retain(|hole| hole.mended >= horizon);
        if now.saturating_sub(self.forgot_nameless) > self.limits.ttl {
            self.forgot_nameless = now;
            self.users.forget_nameless();
        }
        self.lives.shrink();
    }

    /// Drops generations from the middle of a line of ancestors.
    fn shorten(&mut self, id: Id) {
        let mut line = vec![id];
        while let Some(parent) = line.last().and_then(|&id| self.lives.get(id)?.parent) {
            line.push(parent);
        }
        let kept = (DEEPEST / 2) as usize;
        if let (Some(&middle), Some(&root)) = (line.get(kept), line.last())
            && line.len() > kept + 2
        {
            self.lives.adopt(middle, Some(root));
            if let Some(life) = self.lives.get_mut(middle) {
                life.cut = true;
            }
        }
        for (depth, &id) in line[..kept.min(line.len())].iter().rev().enumerate() {
            if let Some(life) = self.lives.get_mut(id) {
                life.depth = depth as u32 + 2;
            }
        }
    }

    /// The process `pid` as it was at `when`: the newest of what was known by then.
    ///
    /// Right where the time is known; for an event read in a batch see [`ProcTable::at_event`].
    pub fn at(&self, pid: u32, when: u64) -> Option<Who> {
        let (id, early) = match self.lives.born_by(pid, when) {
            Some(id) => (id, false),
            // Nothing is known so early: the first that is known is the likeliest.
            None => (self.lives.lives(pid).last()?.0, true),
        };
        let life = self.lives.get(id)?;
        if self.reused_unseen(life, when) {
            return None;
        }
        let index = life.index_at(when);
        let early = early || life.versions[index].since > when;
        Some(self.who(
            id,
            life,
            index,
            early,
            Span {
                from: when,
                to: when,
            },
        ))
    }

    /// The process that caused an event of `pid` in `span`, told by the OPEN_EXEC events seen
    /// before it; see [`ProcTable::exec_seen`]. To be asked in queue order.
    pub fn at_event(&mut self, pid: u32, span: Span) -> Option<Who> {
        let Some(id) = self.lives.born_by(pid, span.to) else {
            return self.at(pid, span.to);
        };
        if self.reused_unseen(self.lives.get(id)?, span.to) {
            return None;
        }
        let life = self.lives.get_mut(id)?;
        let pick = marker::pick(life, span, &self.markers);
        let life = self.lives.get(id)?;
        let early = life.versions[pick.index].since > span.to;
        let doubtful = pick.doubtful || early || self.could_be_predecessor(life, pick.index, span);
        Some(self.who(id, life, pick.index, doubtful, span))
    }

    /// Whether the pid may have got a life that we know nothing of, its birth being lost.
    fn reused_unseen(&self, life: &Process, when: u64) -> bool {
        !life.alive()
            && self
                .holes
                .iter()
                .any(|hole| hole.to >= life.gone && hole.from <= when)
    }

    /// Whether the pid was reused within the span by somebody who looks different.
    fn could_be_predecessor(&self, life: &Process, index: usize, span: Span) -> bool {
        if life.born <= span.from {
            return false;
        }
        let older = life.older.and_then(|id| self.lives.get(id));
        older.is_some_and(|older| {
            older.gone.saturating_add(LINGERS) >= span.from
                && (older.ppid != life.ppid || !older.last().looks_like(&life.versions[index]))
        })
    }

    /// An OPEN_EXEC event of `pid` with this file name was met in the queue.
    ///
    /// Events of the pid before it keep the old name, those after it get the new one.
    pub fn exec_seen(&mut self, pid: u32, name: &[u8], span: Span) {
        let Some(id) = self.lives.born_by(pid, span.to) else {
            return;
        };
        if let Some(life) = self.lives.get_mut(id) {
            life.marks.get_or_insert_default().push(name);
        }
    }

    fn who(&self, id: Id, life: &Process, index: usize, doubtful: bool, span: Span) -> Who {
        let version = &life.versions[index];
        let nameless = version.traits.has(Traits::NAMELESS);
        let doubtful = doubtful
            || life.provisional
            || version.uid == UID_UNKNOWN
            || version.doubtful()
            || marker::unsettled(version, span.to)
            || self.in_hole(version.since, span);
        Who {
            pid: life.pid,
            tgid: life.pid,
            ppid: life.ppid,
            comm: Arc::clone(&version.comm),
            exe: version.exe.clone(),
            user: self.user_of(version.uid),
            attribution: match (nameless, doubtful) {
                (true, _) => Attribution::Unknown,
                (false, true) => Attribution::Ambiguous,
                (false, false) => Attribution::Exact,
            },
            at: Place {
                id,
                serial: life.serial,
                since: version.since,
                when: span.to,
            },
        }
    }

    pub(super) fn user_of(&self, uid: u32) -> Arc<str> {
        if uid == UID_UNKNOWN {
            return Arc::clone(&self.unknown);
        }
        self.users.of(uid)
    }

    /// Whether records are missing that might have changed a version before the event.
    fn in_hole(&self, since: u64, span: Span) -> bool {
        let hole =
            |hole: &Hole| span.to >= hole.from && span.from < hole.mended && since <= hole.to;
        self.holes.iter().any(hole)
    }

    /// What the table holds.
    pub fn stats(&self) -> ProcStats {
        let alive = self.lives.iter().filter(|(_, life)| life.alive()).count();
        ProcStats {
            alive,
            dead: self.lives.len() - alive,
            ..self.stats
        }
    }
}
