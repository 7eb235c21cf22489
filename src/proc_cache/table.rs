//! Every process as it was at any moment that an unread event may still refer to.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::marker::{self, Mark, Moment, Span, Stamp, Stop};
use super::names::{Interner, UserNames};
use super::process::{Dropped, Id, NEVER, Process, Said, Traits, UID_UNKNOWN, Version};
use super::record::{Comm, ProcChange, ProcRecord};
use super::slab::Slab;
use crate::event::Attribution;

/// A line of ancestors longer than this is shortened in its middle: a process that forks and
/// dies for ever would otherwise hold all its past.
const DEEPEST: u32 = 512;

/// Since Linux 6.16 the exit is recorded before the memory and the files of a process are given
/// back, so that files closed by its end come after it; this is how long that may take.
const LINGERS: u64 = 1_000_000_000;

/// An exit of an ordinary process is over by then, and its pid can be another's.
const EXIT_LASTS: u64 = 50_000_000;

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
    /// What else it may have been.
    pub(super) others: SmallVec<[Place; 1]>,
    /// The process stayed like this until the event had been read.
    pub lasts: bool,
    /// From which to which place of the event queue this is the same.
    places: (u64, u64),
}

impl Who {
    /// A number that no other process ever has.
    pub fn life(&self) -> u64 {
        self.at.serial
    }

    /// Whether the answer is the same for another event of that process at the place `place` that
    /// was read together with the one it was asked for.
    pub fn holds_at(&self, place: Option<u64>) -> bool {
        place.is_none_or(|place| (self.places.0..=self.places.1).contains(&place))
    }
}

/// Which version of which life a [`Who`] was made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: Id,
    pub(super) serial: u64,
    pub(super) since: u64,
    /// When the event can have been.
    pub(super) span: Span,
    /// Where it stands in the queue.
    pub(super) place: Option<u64>,
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

/// The opening of a program by `pid`, read by the time `by`.
#[derive(Debug)]
struct Opened {
    pid: u32,
    by: u64,
    mark: Mark,
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

    /// The process that caused an event of `pid`, told by the OPEN_EXEC events that stand before and
    /// behind it; all that was read together has to be known by [`ProcTable::exec_seen`] first.
    pub fn at_event(&mut self, pid: u32, moment: Moment) -> Option<Who> {
        let span = moment.span;
        let Some(newest) = self.lives.born_by(pid, span.to) else {
            return self.at(pid, span.to);
        };
        if self.reused_unseen(self.lives.get(newest)?, span.to) {
            return None;
        }
        if !self.fresh.is_empty() {
            self.deliver(false);
        }
        self.stamp(newest);
        let lives = self.candidates(newest, span.from);
        let mut line: SmallVec<[Stop<'_>; 4]> = SmallVec::new();
        let mut places: SmallVec<[(Id, usize); 4]> = SmallVec::new();
        for &id in &lives {
            let life = self.lives.get(id)?;
            let (low, high) = (life.index_at(span.from), life.index_at(span.to));
            for (index, version) in life.versions.iter().enumerate().take(high + 1).skip(low) {
                let is_birth = index == low && !line.is_empty();
                line.push(Stop {
                    version,
                    ppid: life.ppid,
                    is_birth,
                });
                places.push((id, index));
            }
        }
        let pick = marker::pick(&line, moment);
        let (id, index) = places[pick.index];
        let life = self.lives.get(id)?;
        let early = life.versions[index].since > span.to;
        let torn = life.dropped.as_ref();
        let doubtful = pick.is_doubtful || early || torn.is_some_and(|torn| torn.until > span.from);
        let who = self.who(id, life, index, doubtful, span);
        let of = |at: usize| {
            let (id, index) = places[at];
            let life = self.lives.get(id)?;
            let place = Place {
                id,
                serial: life.serial,
                since: life.versions[index].since,
                span,
                place: moment.place,
            };
            Some(place)
        };
        let (first, last) = pick.possible;
        let possible = (first..=last).filter(|_| pick.is_doubtful);
        let others = possible.filter(|at| *at != pick.index).filter_map(of);
        Some(Who {
            others: others.collect(),
            at: of(pick.index)?,
            places: pick.places,
            lasts: pick.lasts,
            ..who
        })
    }

    /// The lives of a pid that an event after `from` can belong to, the oldest first: the newest one,
    /// and those before it, if it was born so late.
    fn candidates(&self, newest: Id, from: u64) -> SmallVec<[Id; 2]> {
        let mut lives: SmallVec<[Id; 2]> = smallvec![newest];
        let mut life = self.lives.get(newest);
        while let Some(older) = life
            .filter(|life| life.born > from)
            .and_then(|life| life.older)
        {
            life = self.lives.get(older);
            if life.is_none_or(|life| life.gone.saturating_add(EXIT_LASTS) < from) {
                break;
            }
            lives.insert(0, older);
        }
        lives
    }

    /// Whether the pid may have got a life that we know nothing of, its birth being lost.
    fn reused_unseen(&self, life: &Process, when: u64) -> bool {
        !life.alive()
            && self
                .holes
                .iter()
                .any(|hole| hole.to >= life.gone && hole.from <= when)
    }

    /// An OPEN_EXEC event of `pid` stands at `place` of the queue and opened a file of this name.
    ///
    /// Places begin at 1. `is_merged` when the kernel added it to an older record of the same file.
    pub fn exec_seen(&mut self, pid: u32, name: &[u8], span: Span, place: u64, is_merged: bool) {
        let mark = Mark {
            name: self.comms.share(name),
            comm: Comm::new(name),
            from: span.from,
            by: span.to,
            place,
            is_merged,
        };
        self.fresh.push(Opened {
            pid,
            by: span.to,
            mark,
        });
    }

    /// Hands the OPEN_EXEC events to the lives that they belong to: all of them before anything is
    /// asked, and to those that go on when nothing was.
    fn deliver(&mut self, only_living: bool) {
        for opened in self.fresh.drain(..) {
            let id = self.lives.born_by(opened.pid, opened.by);
            let Some(life) = id.and_then(|id| self.lives.get_mut(id)) else {
                continue;
            };
            if life.alive() || !only_living {
                life.marks.get_or_insert_default().push(opened.mark);
            }
        }
    }

    /// Everything that was read is told: OPEN_EXEC events of processes that have ended since are of
    /// no use any more.
    pub fn all_told(&mut self) {
        self.deliver(true);
    }

    /// Finds the execs of the OPEN_EXEC events that are known of a life.
    pub(super) fn stamp(&mut self, id: Id) {
        let life = self.lives.get_mut(id);
        let Some(mut marks) = life.and_then(|life| life.marks.take()) else {
            return;
        };
        let lives = self.candidates(id, marks.since().unwrap_or(0));
        let versions: SmallVec<[&Version; 8]> = lives
            .iter()
            .filter_map(|&id| self.lives.get(id))
            .flat_map(|life| &life.versions)
            .collect();
        let found = marks.matched(&versions);
        drop(versions);
        let mut found = found.into_iter().peekable();
        let mut at = 0;
        for id in lives {
            let Some(life) = self.lives.get_mut(id) else {
                continue;
            };
            for version in &mut life.versions {
                if let Some((_, stamp)) = found.next_if(|(index, _)| *index == at) {
                    version.stamp = stamp;
                }
                at += 1;
            }
        }
        if let Some(life) = self.lives.get_mut(id) {
            life.marks = Some(marks);
        }
    }

    fn who(&self, id: Id, life: &Process, index: usize, doubtful: bool, span: Span) -> Who {
        let version = &life.versions[index];
        let nameless = version.traits.has(Traits::NAMELESS);
        let doubtful = doubtful
            || life.provisional
            || version.uid == UID_UNKNOWN
            || version.doubtful()
            || marker::unsettled(version, span.from)
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
                span,
                place: None,
            },
            others: SmallVec::new(),
            places: (0, u64::MAX),
            lasts: true,
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
