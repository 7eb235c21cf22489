//! Every process as it was at any moment that an unread event may still refer to.

mod who;

use std::collections::VecDeque;
use std::sync::Arc;

use self::who::Opened;
use super::marker::Stamp;
use super::names::{Interner, UserNames};
use super::process::{Dropped, Id, NEVER, Process, Said, Traits, UID_UNKNOWN, Version};
use super::record::{ProcChange, ProcRecord};
use super::slab::Slab;

pub(super) use self::who::Place;
pub use self::who::Who;

/// A line of ancestors longer than this is shortened in its middle: a process that forks and
/// dies for ever would otherwise hold all its past.
const DEEPEST: u32 = 512;

/// Since Linux 6.16 the exit is recorded before the memory and the files of a process are given
/// back, so that files closed by its end come after it; this is how long that may take.
const LINGERS: u64 = 1_000_000_000;

/// For so long events about a dead process may still come, or be told late.
const NEEDED_FOR: u64 = LINGERS;

/// How much the table may remember.
#[derive(Clone, Copy, Debug)]
pub struct ProcLimits {
    /// How long a dead process is remembered, in nanoseconds.
    pub ttl: u64,
    /// How many dead processes are remembered at most, not counting ancestors of others and those
    /// that died a moment ago.
    pub max_dead: usize,
}

impl Default for ProcLimits {
    fn default() -> Self {
        Self {
            ttl: 600_000_000_000,
            max_dead: 8192,
        }
    }
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
    pub(super) from: u64,
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
    pub(super) holes: Vec<Hole>,
    /// OPEN_EXEC events of this read of the queue, in its order.
    fresh: Vec<Opened>,
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
            holes: Vec::new(),
            fresh: Vec::new(),
            forgot_nameless: 0,
            stats: ProcStats::default(),
        }
    }

    /// Takes note of one record.
    pub fn apply(&mut self, record: &ProcRecord) {
        self.stats.records += 1;
        let time = record.time;
        let first_thread = record.pid == record.tid;
        match &record.what {
            ProcChange::Fork { ppid, thread } if first_thread => {
                self.fork(record.pid, *ppid, *thread, time);
            }
            ProcChange::Fork { thread, .. } => self.change(record, |life| {
                // /proc had counted it already when it was read later than this.
                if time > life.read_at {
                    life.threads += 1;
                    life.begin_thread(record.tid, *thread);
                }
            }),
            ProcChange::Exit => self.exit(record),
            ProcChange::Comm { comm, exec } if first_thread => {
                let comm = self.comms.share(comm.as_bytes());
                self.meet(record, |life| life.rename(time, &comm, *exec));
            }
            // A thread's own name: the process is called as its first thread.
            ProcChange::Comm { comm, .. } => {
                let comm = self.comms.share(comm.as_bytes());
                self.change(record, |life| life.name_thread(record.tid, &comm));
            }
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
            ProcChange::Exe { path } => {
                let path = Some(path).filter(|path| !path.is_empty());
                self.change(record, |life| life.map(time, path));
            }
            ProcChange::Euid { uid } if first_thread => {
                self.meet(record, |life| life.become_user(time, *uid));
            }
            ProcChange::Euid { uid } => {
                self.change(record, |life| {
                    life.thread_becomes_user(time, record.tid, *uid)
                });
            }
            ProcChange::Doubt { since } => self.doubt(*since, time),
            ProcChange::Lost { count, since } => {
                self.stats.losses += 1;
                self.stats.lost = self.stats.lost.saturating_add((*count).max(1));
                self.doubt(*since, time);
            }
        }
    }

    /// Records of this time may be missing.
    fn doubt(&mut self, from: u64, to: u64) {
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

    /// Makes a life that tests have begun without a birth as good as one met in /proc.
    #[cfg(test)]
    pub(super) fn assume_seen(&mut self, pid: u32) {
        let life = self.lives.newest(pid).and_then(|id| self.lives.get_mut(id));
        life.unwrap().provisional = false;
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
            loader: None,
            threaded_until: 0,
            stamp: Stamp::default(),
            uid: UID_UNKNOWN,
            traits: Traits::NAMELESS,
        }
    }

    fn fork(&mut self, pid: u32, ppid: u32, thread: u32, time: u64) {
        let newest = self.lives.newest(pid).and_then(|id| self.lives.get(id));
        if newest.is_some_and(|life| life.born > time.saturating_add(super::snapshot::START_ERROR))
        {
            // So late that the pid has had another life since.
            return;
        }
        let parent = self.lives.born_by(ppid, time);
        let mut of_thread = false;
        let first = match parent.and_then(|id| self.lives.get(id)) {
            Some(parent) => {
                let version = &parent.versions[parent.index_at(time)];
                let mut first = version.heir(time);
                first.read_at = 0;
                // What /proc said after this moment need not hold for it, and what threads differ in is
                // no doubt: this is the child of one of them.
                let mut traits = version.traits;
                traits.set(Traits::THREADS_DIFFER, false);
                first.traits.set(
                    Traits::DOUBTFUL,
                    traits.doubtful() || time <= version.read_at,
                );
                first.traits.set(Traits::THREADS_DIFFER, false);
                if thread != ppid {
                    let maker = parent.thread(thread);
                    of_thread = maker.comm.as_ref().is_some_and(|comm| *comm != first.comm)
                        || maker.uid != first.uid;
                    first.comm = maker.comm.unwrap_or(first.comm);
                    first.uid = maker.uid;
                }
                first
            }
            None => self.blank(time),
        };
        let serial_of = |table: &Self, id| table.lives.get(id).map(|life| life.serial);
        let serial = parent.and_then(|id| serial_of(self, id));
        self.retire_before(pid, time);
        let mut life = Process::new(pid, ppid, time, first);
        // The life that has ended may have been the parent's own, or the last that needed it: then its
        // place is free, and the next to take it would pass for the parent. It may be this one.
        life.parent = parent.filter(|id| serial_of(self, *id) == serial);
        life.of_thread = of_thread;
        life.birth_seen = true;
        life.depth = life
            .parent
            .and_then(|id| self.lives.get(id))
            .map_or(0, |parent| parent.depth + 1);
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
        before.expired = before.read_at >= time
            && before.born.saturating_add(super::snapshot::START_ERROR) >= time;
        before.gone = time;
        if before.expired && before.children == 0 {
            self.lives.remove(id);
        } else if !before.expired {
            self.bury(id, time);
        }
    }

    fn exit(&mut self, record: &ProcRecord) {
        let ProcRecord { time, pid, tid, .. } = *record;
        let first_thread = pid == tid;
        let Some(id) = self.lives.born_by(pid, time) else {
            return;
        };
        let Some(life) = self.lives.get_mut(id).filter(|life| life.alive()) else {
            return;
        };
        life.first_thread_gone |= first_thread;
        let counted = first_thread || time > life.read_at;
        life.threads = life.threads.saturating_sub(u32::from(counted));
        if life.threads > 0 {
            life.threaded_until = time;
        }
        if !first_thread {
            life.end_thread(time, tid);
        }
        if life.threads == 0 && life.first_thread_gone {
            life.gone = time;
            self.bury(id, time);
        }
    }

    /// Puts a dead process in the queue of those to forget.
    pub(super) fn bury(&mut self, id: Id, time: u64) {
        self.dead.push_back((time, id));
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

    /// Forgets the dead whose time has come, and the oldest of too many; to be called now and then
    /// with the time of the oldest event that may still be unread.
    pub fn forget(&mut self, now: u64) {
        let horizon = now.saturating_sub(self.limits.ttl);
        let needed = now.saturating_sub(NEEDED_FOR);
        let Self { dead, limits, .. } = self;
        let many = dead.len().saturating_sub(limits.max_dead);
        let old = dead.partition_point(|&(gone, _)| gone < horizon);
        let count = dead.partition_point(|&(gone, _)| gone < needed).min(many);
        for _ in 0..old.max(count) {
            self.forget_oldest();
        }
        self.holes.retain(|hole| hole.mended >= horizon);
        if now.saturating_sub(self.forgot_nameless) > self.limits.ttl {
            self.forgot_nameless = now;
            self.users.forget_nameless();
        }
        self.users.refresh(now);
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
            // Whoever descends from what is cut out stays in the groups of those.
            let mut names = Dropped::default();
            for life in line[kept + 1..].iter().rev() {
                self.lives.get(*life).inspect(|life| names.note_life(life));
            }
            self.lives.adopt(middle, Some(root));
            if let Some(life) = self.lives.get_mut(middle) {
                life.cut = true;
                if let Some(own) = life.dropped.take() {
                    names.append(*own);
                }
                life.dropped = Some(Box::new(names));
            }
        }
        for (depth, &id) in line[..kept.min(line.len())].iter().rev().enumerate() {
            if let Some(life) = self.lives.get_mut(id) {
                life.depth = depth as u32 + 2;
            }
        }
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
