//! One life of a process: what it was called and who it was, from when on.

use std::sync::Arc;

use smallvec::SmallVec;

use super::marker::{Marks, Stamp};
use super::threads::Thread;

/// Place of a process in the table.
pub(super) type Id = u32;

/// The time of something that has not happened.
pub(super) const NEVER: u64 = u64::MAX;

/// A uid that nobody has told us.
pub(super) const UID_UNKNOWN: u32 = u32::MAX;

/// More versions than this and the older half is dropped, except the first.
const MOST_VERSIONS: usize = 48;

/// The credentials of a new program come this soon after its name, if its first mapping did not say.
const EXEC_LASTS: u64 = 2_000_000;

/// Facts about a [`Version`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits(u16);

impl Traits {
    /// An exec made this version.
    pub(super) const EXEC: Self = Self(1);
    /// It came with a name of its own, not the one before it.
    pub(super) const NAMED: Self = Self(1 << 1);
    /// It came with a uid of its own.
    pub(super) const UID_SET: Self = Self(1 << 2);
    /// The name may be that of an earlier or later time.
    pub(super) const DOUBTFUL: Self = Self(1 << 3);
    /// There is no name.
    pub(super) const NAMELESS: Self = Self(1 << 4);
    /// The uid may be another.
    pub(super) const UID_DOUBTFUL: Self = Self(1 << 5);
    /// Versions that followed this one have been dropped.
    pub(super) const DROPPED: Self = Self(1 << 6);

    /// Threads have other uids than the first one.
    pub(super) const THREADS_DIFFER: Self = Self(1 << 7);
    /// It got its rights by an exec, or its parent did.
    pub(super) const RAISED: Self = Self(1 << 8);
    /// The name was read in /proc after an exec; `read_at` says when.
    pub(super) const READ_BACK: Self = Self(1 << 9);

    /// What a child or a later version inherits.
    const INHERITED: u16 = Self::DOUBTFUL.0
        | Self::NAMELESS.0
        | Self::UID_DOUBTFUL.0
        | Self::THREADS_DIFFER.0
        | Self::RAISED.0
        | Self::READ_BACK.0;

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn set(&mut self, other: Self, on: bool) {
        self.0 = if on {
            self.0 | other.0
        } else {
            self.0 & !other.0
        };
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether something about the name or the uid may be otherwise.
    pub(super) fn doubtful(self) -> bool {
        self.has(
            Self::DOUBTFUL
                .with(Self::UID_DOUBTFUL)
                .with(Self::THREADS_DIFFER)
                .with(Self::DROPPED),
        )
    }
}

/// What a process was from `since` on.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) since: u64,
    /// When the name was read in /proc, 0 when the kernel told it.
    pub(super) read_at: u64,
    /// When the program was mapped, 0 before.
    pub(super) mapped_at: u64,
    pub(super) comm: Arc<str>,
    pub(super) exe: Option<Arc<str>>,
    /// What was mapped next: of most programs the dynamic loader, which their exec opens, too.
    pub(super) loader: Option<Arc<str>>,
    /// When another thread was last there before its exec.
    pub(super) threaded_until: u64,
    /// Where its exec stands in the event queue.
    pub(super) stamp: Stamp,
    pub(super) uid: u32,
    pub(super) traits: Traits,
}

impl Version {
    /// The same process a moment later.
    pub(super) fn heir(&self, since: u64) -> Self {
        Self {
            since,
            stamp: Stamp::default(),
            traits: Traits(self.traits.0 & Traits::INHERITED),
            ..self.clone()
        }
    }

    /// Whether nobody could tell the two apart in a log.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        // The path of a program follows its name by microseconds.
        let half = |version: &Self| version.traits.has(Traits::EXEC) && version.mapped_at == 0;
        let same_exe = self.exe == other.exe || half(self) || half(other);
        self.comm == other.comm && self.uid == other.uid && same_exe
    }

    /// The file name of the program.
    pub(super) fn exe_name(&self) -> Option<&str> {
        self.exe.as_deref().map(file_name)
    }

    pub(super) fn doubtful(&self) -> bool {
        self.traits.doubtful()
    }
}

/// The last component of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// One life of a pid.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) ppid: u32,
    pub(super) parent: Option<Id>,
    pub(super) born: u64,
    /// When /proc was read for it, 0 when born under our eyes.
    pub(super) read_at: u64,
    /// Ticks after boot, 0 when born under our eyes.
    pub(super) start: u64,
    pub(super) gone: u64,
    pub(super) threads: u32,
    pub(super) first_thread_gone: bool,
    /// When another thread was last there.
    pub(super) threaded_until: u64,
    /// Those beside the first one, as far as they are known.
    pub(super) others: Vec<Thread>,
    /// A thread with a name or a uid of its own made this process.
    pub(super) of_thread: bool,
    /// Whether its birth was seen: then its first version is what its parent was at that time.
    pub(super) birth_seen: bool,
    /// Nobody told us of its birth, now or in /proc.
    pub(super) provisional: bool,
    /// Generations between it and `parent` have been dropped.
    pub(super) cut: bool,
    /// Gone long enough, and kept only for the processes that descend from it.
    pub(super) expired: bool,
    pub(super) depth: u32,
    /// How many in the table have it as parent.
    pub(super) children: u32,
    /// The life before this one of the same pid.
    pub(super) older: Option<Id>,
    /// Tells this life from others that had the same place in the table.
    pub(super) serial: u64,
    /// In time order, never empty. Most lives are a fork and an exec.
    pub(super) versions: SmallVec<[Version; 2]>,
    pub(super) marks: Option<Box<Marks>>,
    pub(super) dropped: Option<Box<Dropped>>,
}

/// What is left of versions, and of generations above, that had to be dropped.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Their comms and the file names of their programs, once each.
    pub(super) names: Vec<Arc<str>>,
    /// The newest of the versions that were this process's own.
    pub(super) until: u64,
}

/// Distinct names kept of dropped versions, the oldest: a process cannot get rid of the name that
/// put it into a group by taking others.
const MOST_NAMES: usize = 256;

impl Dropped {
    fn note(&mut self, version: &Version) {
        self.note_name(&version.comm);
        if let Some(exe) = &version.exe {
            self.note_name(exe);
        }
    }

    /// Adds the names of a life that is dropped whole.
    pub(super) fn note_life(&mut self, life: &Process) {
        for name in life.dropped.iter().flat_map(|dropped| &dropped.names) {
            self.note_name(name);
        }
        for version in &life.versions {
            self.note(version);
        }
    }

    /// Adds what the process itself has dropped.
    pub(super) fn append(&mut self, own: Self) {
        self.until = own.until;
        own.names.iter().for_each(|name| self.note_name(name));
    }

    fn note_name(&mut self, name: &Arc<str>) {
        if self.names.len() < MOST_NAMES && !self.names.contains(name) {
            self.names.push(Arc::clone(name));
        }
    }
}

impl Process {
    /// A process that begins as `first`.
    pub(super) fn new(pid: u32, ppid: u32, born: u64, first: Version) -> Self {
        Self {
            pid,
            ppid,
            parent: None,
            born,
            read_at: 0,
            start: 0,
            gone: NEVER,
            threads: 1,
            first_thread_gone: false,
            threaded_until: 0,
            others: Vec::new(),
            of_thread: false,
            birth_seen: false,
            provisional: false,
            cut: false,
            expired: false,
            depth: 0,
            children: 0,
            older: None,
            serial: 0,
            versions: smallvec::smallvec![first],
            marks: None,
            dropped: None,
        }
    }

    pub(super) fn alive(&self) -> bool {
        self.gone == NEVER
    }

    /// The newest version not younger than `when`, or the first.
    pub(super) fn index_at(&self, when: u64) -> usize {
        let after = self
            .versions
            .iter()
            .rposition(|version| version.since <= when);
        after.unwrap_or(0)
    }

    pub(super) fn last(&self) -> &Version {
        &self.versions[self.versions.len() - 1]
    }

    /// A new name from `time` on.
    pub(super) fn rename(&mut self, time: u64, comm: &Arc<str>, exec: bool) {
        self.doubt_names_read_after(time);
        let at = self.insert(time);
        let version = &mut self.versions[at];
        version.comm = Arc::clone(comm);
        version.read_at = 0;
        version.traits.set(Traits::NAMED, true);
        let unsure = Traits::DOUBTFUL.with(Traits::NAMELESS);
        version.traits.set(unsure.with(Traits::READ_BACK), false);
        if exec {
            version
                .traits
                .set(Traits::THREADS_DIFFER.with(Traits::RAISED), false);
            version.traits.set(Traits::EXEC, true);
            version.exe = None;
            version.loader = None;
            version.mapped_at = 0;
            self.end_threads(at, time);
        }
        self.spread_name(at);
    }

    /// An exec whose name did not come with it.
    pub(super) fn exec_unnamed(&mut self, time: u64, unknown: &Arc<str>) {
        self.rename(time, unknown, true);
        let at = self.index_at(time);
        self.versions[at].traits.set(Traits::NAMELESS, true);
        self.spread_name(at);
    }

    /// What /proc said about the exec at `time`.
    pub(super) fn read_back(&mut self, time: u64, said: &Said) {
        let at = self.index_at(time);
        let overtaken = self.versions[at + 1..]
            .iter()
            .any(|later| later.since <= said.read_at && later.traits.has(Traits::NAMED));
        let version = &mut self.versions[at];
        if version.since != time || !version.traits.has(Traits::NAMELESS) || overtaken {
            return;
        }
        version.comm = Arc::clone(&said.comm);
        version.exe.clone_from(&said.exe);
        version.read_at = said.read_at;
        version.traits.set(Traits::NAMELESS, false);
        version.traits.set(Traits::READ_BACK, true);
        self.spread_name(at);
    }

    /// The first executable mapping after an exec is the program itself; without a path, when that was
    /// too long for a record.
    pub(super) fn map(&mut self, time: u64, path: Option<&Arc<str>>) {
        let at = self.index_at(time);
        let exec = self.versions[..=at]
            .iter()
            .rposition(|v| v.traits.has(Traits::EXEC));
        let Some(exec) = exec else { return };
        if self.versions[exec].mapped_at != 0 {
            let loader = &mut self.versions[exec].loader;
            *loader = loader.take().or_else(|| path.cloned());
            return;
        }
        for (n, version) in self.versions[exec..].iter_mut().enumerate() {
            if n > 0 && version.traits.has(Traits::EXEC) {
                break;
            }
            version.exe = path.cloned();
            version.mapped_at = time;
        }
    }

    /// A new effective uid of the first thread from `time` on.
    pub(super) fn become_user(&mut self, time: u64, uid: u32) {
        let at = self.index_at(time);
        let before = &self.versions[at];
        let settled = match before.mapped_at {
            0 => before.since.saturating_add(EXEC_LASTS),
            mapped => mapped,
        };
        // A set-user-id program gets its uid within its exec, before its first instruction.
        let in_exec = before.traits.has(Traits::EXEC) && (before.since..=settled).contains(&time);
        if !in_exec {
            self.doubt_uids_read_after(time);
        }
        let was = self.versions[at].uid;
        let at = if in_exec { at } else { self.insert(time) };
        self.set_uid(at, uid, false);
        if in_exec && was != uid {
            self.versions[at].traits.set(Traits::RAISED, true);
        }
        self.compare_threads(time);
    }

    pub(super) fn set_uid(&mut self, at: usize, uid: u32, doubtful: bool) {
        self.versions[at].traits.set(Traits::UID_SET, true);
        for (n, version) in self.versions[at..].iter_mut().enumerate() {
            if n > 0 && version.traits.has(Traits::UID_SET) {
                break;
            }
            version.uid = uid;
            version.traits.set(Traits::UID_DOUBTFUL, doubtful);
        }
    }

    /// Records may come late: what follows and has no name of its own takes this one's.
    fn spread_name(&mut self, at: usize) {
        let from = self.versions[at].clone();
        for later in &mut self.versions[at + 1..] {
            if later.traits.has(Traits::NAMED) {
                break;
            }
            later.comm = Arc::clone(&from.comm);
            later.exe.clone_from(&from.exe);
            later.read_at = from.read_at;
            later.mapped_at = from.mapped_at;
            for of_name in [Traits::NAMELESS, Traits::DOUBTFUL, Traits::READ_BACK] {
                later.traits.set(of_name, from.traits.has(of_name));
            }
        }
    }

    /// A name that was read after it had changed at `time` may be the new one.
    fn doubt_names_read_after(&mut self, time: u64) {
        for earlier in self
            .versions
            .iter_mut()
            .rev()
            .skip_while(|v| v.since >= time)
        {
            if earlier.read_at < time {
                break;
            }
            earlier.traits.set(Traits::DOUBTFUL, true);
        }
    }

    /// The same for the uid.
    fn doubt_uids_read_after(&mut self, time: u64) {
        if self.read_at < time {
            return;
        }
        for earlier in self
            .versions
            .iter_mut()
            .rev()
            .skip_while(|v| v.since >= time)
        {
            if earlier.traits.has(Traits::UID_SET) {
                break;
            }
            earlier.traits.set(Traits::UID_DOUBTFUL, true);
        }
    }

    /// Makes room for a version at `time`, a copy of the one before it.
    pub(super) fn insert(&mut self, time: u64) -> usize {
        if self.versions.len() >= MOST_VERSIONS {
            let dropped = self.dropped.get_or_insert_default();
            for version in self.versions.drain(1..MOST_VERSIONS / 2) {
                dropped.note(&version);
                dropped.until = version.since;
            }
            self.versions[0].traits.set(Traits::DROPPED, true);
        }
        let at = self
            .versions
            .partition_point(|version| version.since <= time);
        if at > 0 && self.versions[at - 1].since == time {
            return at - 1;
        }
        let mut heir = self.versions[at.saturating_sub(1)].heir(time);
        if at == 0 {
            // Older than all we know: what came after is the nearest there is.
            heir.traits.set(Traits::DOUBTFUL, true);
        }
        self.versions.insert(at, heir);
        at
    }
}

/// What /proc said about a process, in shared names.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) comm: Arc<str>,
    pub(super) exe: Option<Arc<str>>,
    pub(super) read_at: u64,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::proc_cache) fn process() -> Process {
        let first = Version {
            since: 10,
            read_at: 0,
            mapped_at: 0,
            comm: "sh".into(),
            exe: None,
            loader: None,
            threaded_until: 0,
            stamp: Stamp::default(),
            uid: 0,
            traits: Traits::default(),
        };
        Process::new(5, 1, 10, first)
    }

    fn faces(process: &Process) -> Vec<(u64, String, u32)> {
        let faces = process.versions.iter();
        faces
            .map(|v| (v.since, v.comm.to_string(), v.uid))
            .collect()
    }

    #[test]
    fn records_may_come_in_any_order() {
        type Step = fn(&mut Process);
        let steps: [Step; 3] = [
            |p| p.rename(20, &"touch".into(), true),
            |p| p.become_user(15, 7),
            |p| p.rename(30, &"other".into(), false),
        ];
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        for order in orders {
            let mut process = process();
            for step in order {
                steps[step](&mut process);
            }
            let expected = [
                (10, "sh".to_owned(), 0),
                (15, "sh".to_owned(), 7),
                (20, "touch".to_owned(), 7),
                (30, "other".to_owned(), 7),
            ];
            assert_eq!(faces(&process), expected, "{order:?}");
        }
    }

    #[test]
    fn a_set_user_id_program_has_its_uid_from_its_first_moment() {
        let mut process = process();
        process.rename(20, &"su".into(), true);
        process.map(40, Some(&"/bin/su".into()));
        process.become_user(30, 0);
        process.become_user(50, 9);
        let uids: Vec<_> = process.versions.iter().map(|v| (v.since, v.uid)).collect();
        assert_eq!(uids, [(10, 0), (20, 0), (50, 9)]);
        assert_eq!(process.last().exe_name(), Some("su"));
    }

    #[test]
    fn only_the_first_mapping_is_the_program() {
        let mut process = process();
        process.map(15, Some(&"/lib/x.so".into()));
        assert_eq!(process.last().exe, None);
        process.rename(20, &"touch".into(), true);
        process.map(21, Some(&"/bin/touch".into()));
        process.map(22, Some(&"/lib/ld.so".into()));
        process.map(23, Some(&"/lib/libc.so".into()));
        assert_eq!(process.last().exe.as_deref(), Some("/bin/touch"));
        assert_eq!(process.last().loader.as_deref(), Some("/lib/ld.so"));
        process.rename(30, &"deep".into(), true);
        process.map(31, None);
        process.map(32, Some(&"/lib/ld.so".into()));
        assert_eq!(process.last().exe, None);
    }

    #[test]
    fn versions_are_bounded_and_the_hole_is_marked() {
        let mut process = process();
        for n in 0..1000 {
            process.become_user(20 + n, n as u32);
        }
        assert!(process.versions.len() <= MOST_VERSIONS);
        assert_eq!(process.last().uid, 999);
        assert!(process.versions[process.index_at(500)].doubtful());
        assert!(!process.last().doubtful());
    }

    #[test]
    fn a_name_read_too_late_is_doubtful_before_its_change() {
        let mut process = process();
        process.versions[0].read_at = 100;
        process.rename(50, &"new".into(), true);
        assert!(process.versions[0].doubtful());
        assert!(!process.versions[1].doubtful());
        process.rename(150, &"newer".into(), true);
        assert!(!process.versions[1].doubtful());
    }

    #[test]
    fn an_exec_without_a_name_is_nameless_until_proc_was_read() {
        let said = |read_at| Said {
            comm: "touch".into(),
            exe: None,
            read_at,
        };
        let mut process = process();
        process.exec_unnamed(20, &"unknown".into());
        assert!(process.last().traits.has(Traits::NAMELESS));
        process.read_back(20, &said(25));
        assert!(!process.last().traits.has(Traits::NAMELESS));
        // Another exec before the reading: whose name was read?
        process.exec_unnamed(24, &"unknown".into());
        assert!(process.versions[1].doubtful());
        process.exec_unnamed(30, &"unknown".into());
        process.read_back(24, &said(35));
        assert!(process.versions[2].traits.has(Traits::NAMELESS));
    }
}
