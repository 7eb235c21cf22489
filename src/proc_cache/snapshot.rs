//! What /proc adds: the processes older than the feed, and the truth after a loss.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::marker::Stamp;
use super::proc_fs::{self, ProcEntry};
use super::process::{Id, NEVER, Process, Traits, Version};
use super::record::Comm;
use super::table::{ProcTable, Who};
use super::threads::Thread;
use crate::event::Attribution;
use crate::sys::clock;

/// /proc tells start times in ticks of 10 ms; two clocks are read to convert them.
pub(super) const START_ERROR: u64 = 50_000_000;

/// How /proc's start times are turned into `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    nanos: u64,
    asleep: u64,
}

impl Ticks {
    fn now() -> Self {
        let monotonic = clock::monotonic();
        Self {
            nanos: 1_000_000_000 / clock::ticks_per_second(),
            asleep: clock::boottime().saturating_sub(monotonic),
        }
    }

    fn monotonic(self, ticks: u64) -> u64 {
        ticks.saturating_mul(self.nanos).saturating_sub(self.asleep)
    }
}

impl ProcTable {
    /// Reads all of /proc: at the start, after the feed was opened, and again after a loss.
    ///
    /// `now` is a time before the reading begins. Returns how many processes were read.
    pub fn snapshot(&mut self, proc_root: &Path, now: u64) -> io::Result<usize> {
        self.snapshot_at(proc_root, now, &clock::monotonic)
    }

    pub(super) fn snapshot_at(
        &mut self,
        proc_root: &Path,
        now: u64,
        clock: &dyn Fn() -> u64,
    ) -> io::Result<usize> {
        let ticks = Ticks::now();
        let listed = proc_fs::list(proc_root)?;
        let mut found = HashSet::with_capacity(listed.len());
        for pid in listed {
            if let Some(entry) = proc_fs::read(proc_root, pid) {
                self.learn(&entry, now, clock(), ticks);
                found.insert(pid);
            }
        }
        self.link_parents();
        self.end_missing(&found, now);
        let mended = clock();
        for hole in self.holes.iter_mut().filter(|hole| hole.mended == NEVER) {
            hole.mended = mended;
        }
        Ok(found.len())
    }

    /// Reads one process that no record has told of, and says who it is.
    ///
    /// Ambiguous unless it was born before `when`: otherwise the pid may have been another's.
    pub fn probe_proc(&mut self, proc_root: &Path, pid: u32, when: u64) -> Option<Who> {
        let entry = proc_fs::read(proc_root, pid)?;
        let ticks = Ticks::now();
        let born = ticks.monotonic(entry.start);
        self.learn(&entry, when, clock::monotonic(), ticks);
        self.link_parents();
        let mut who = self.at(pid, when)?;
        if born >= when && who.attribution == Attribution::Exact {
            who.attribution = Attribution::Ambiguous;
        }
        Some(who)
    }

    fn learn(&mut self, entry: &ProcEntry, now: u64, read_at: u64, ticks: Ticks) {
        let start = ticks.monotonic(entry.start);
        let known = self.lives.newest(entry.pid);
        let same = known
            .and_then(|id| self.lives.get(id))
            .is_some_and(|life| match life.start {
                0 => life.alive() && start <= life.born.saturating_add(START_ERROR),
                ticks => ticks == entry.start,
            });
        match known.filter(|_| same) {
            Some(id) => self.confirm(id, entry, now, read_at),
            None => self.add(entry, start, now, read_at),
        }
    }

    fn add(&mut self, entry: &ProcEntry, start: u64, now: u64, read_at: u64) {
        let before = self.lives.newest(entry.pid);
        if let Some(id) = before
            && let Some(life) = self.lives.get_mut(id).filter(|life| life.alive())
        {
            life.gone = now;
            self.bury(id, now);
        }
        let first = self.version(entry, now, read_at);
        let mut life = Process::new(entry.pid, entry.ppid, start.min(now), first);
        life.start = entry.start;
        life.read_at = read_at;
        self.learn_threads(&mut life, entry);
        let dead = entry.zombie && entry.threads <= 1;
        if dead {
            life.gone = read_at;
        }
        let id = self.lives.insert(life);
        if dead {
            self.bury(id, read_at);
        }
    }

    /// A process that is known already: /proc may know better only what a loss has hidden.
    fn confirm(&mut self, id: Id, entry: &ProcEntry, now: u64, read_at: u64) {
        let said = self.version(entry, now, read_at);
        let resync = self.needs_resync();
        let threads = self.threads_of(entry);
        let Some(life) = self.lives.get_mut(id) else {
            return;
        };
        life.start = entry.start;
        if life.provisional {
            life.provisional = false;
            life.ppid = entry.ppid;
        }
        let last = life.last();
        let differs = !last.looks_like(&said) && last.since < now;
        if resync && differs {
            life.threads = entry.threads.max(1);
            life.others = threads;
            life.read_at = read_at;
            life.versions.push(said);
            life.compare_threads(now);
        }
    }

    fn learn_threads(&mut self, life: &mut Process, entry: &ProcEntry) {
        life.threads = entry.threads.max(1);
        life.others = self.threads_of(entry);
        life.compare_threads(life.versions[0].since);
    }

    fn threads_of(&mut self, entry: &ProcEntry) -> Vec<Thread> {
        let thread = |&(tid, comm, uid): &(u32, Comm, u32)| Thread {
            tid,
            comm: Some(self.comms.share(comm.as_bytes())),
            uid,
        };
        entry.others.iter().map(thread).collect()
    }

    fn version(&mut self, entry: &ProcEntry, since: u64, read_at: u64) -> Version {
        let exe = entry.exe.as_deref().map(|path| self.comms.share(path));
        Version {
            since,
            read_at,
            mapped_at: since,
            comm: self.comms.share(entry.comm.as_bytes()),
            exe,
            loader: None,
            threaded_until: 0,
            stamp: Stamp::default(),
            uid: entry.euid,
            traits: Traits::default(),
        }
    }

    /// /proc lists children before parents, too.
    fn link_parents(&mut self) {
        let orphans: Vec<(Id, u32, u64)> = self
            .lives
            .iter()
            .filter(|(_, life)| life.parent.is_none() && life.ppid != 0)
            .map(|(id, life)| (id, life.ppid, life.born))
            .collect();
        for (id, ppid, born) in orphans {
            // Start times are coarse, so a parent may seem a little younger than its child.
            let parent = self.lives.born_by(ppid, born.saturating_add(START_ERROR));
            if parent.is_some_and(|parent| !self.descends(parent, id)) {
                self.lives.adopt(id, parent);
            }
        }
    }

    /// Whether `id` is `ancestor` or one of its descendants.
    fn descends(&self, id: Id, ancestor: Id) -> bool {
        let mut at = Some(id);
        while let Some(here) = at {
            if here == ancestor {
                return true;
            }
            at = self.lives.get(here).and_then(|life| life.parent);
        }
        false
    }

    /// The exits of these were lost, at any time since the records are missing.
    fn end_missing(&mut self, found: &HashSet<u32>, now: u64) {
        let open = self.holes.iter().filter(|hole| hole.mended == NEVER);
        let since = open.map(|hole| hole.from).min().unwrap_or(now);
        let missing: Vec<Id> = self
            .lives
            .iter()
            .filter(|(_, life)| life.alive() && life.born < now && !found.contains(&life.pid))
            .map(|(id, _)| id)
            .collect();
        for id in missing {
            if let Some(life) = self.lives.get_mut(id) {
                life.gone = since.max(life.born);
            }
            self.bury(id, now);
        }
    }
}
