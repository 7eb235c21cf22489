//! One event through its stages: from a batch of kernel bytes to what is to be logged.
//!
//! No clock, no file, no thread: time comes in with the batches, questions go out through
//! [`Probe`], results through a sink. [`Pipeline::step`] reads as the table of contents.
#![forbid(unsafe_code)]

mod adrift;
mod before_loss;
mod brief;
mod ends;
mod enrich;
mod expand;
mod file_returns;
mod found;
mod keep;
mod legacy;
mod locate;
mod nameless;
mod names_then;
mod overlay;
mod parked;
pub mod probe;
mod reach;
mod resolve;
mod returns;
mod select;
mod tell;
#[cfg(test)]
mod tests;
mod window;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::Path;

use hashbrown::HashMap;

use crate::dir_cache::walk::Walk;
use crate::dir_cache::{DirTree, FileTable, NodeId};
use crate::event::{EventType, FileEvent, WallTime};
use crate::fid_parser::raw::{FsId, HandleKey};
use crate::monitored::{GroupName, WatchSet};
use crate::proc_cache::{ProcChange, ProcRecord, ProcTable};
use before_loss::BeforeLoss;
pub use enrich::Doer;
use probe::Probe;

/// What was read in one go from one group of marks.
#[derive(Debug, Default)]
pub struct Batch {
    /// Which group.
    pub group: u16,
    /// The records as the kernel wrote them.
    pub bytes: Vec<u8>,
    /// When the queue was last seen empty before, on CLOCK_MONOTONIC: no event is older.
    pub from: u64,
    /// When it was read, on CLOCK_MONOTONIC: no event is younger.
    pub mono: u64,
    /// When it was read, on the wall clock.
    pub wall: WallTime,
    /// What the process feeds said up to then.
    pub procs: Vec<ProcRecord>,
    /// Set on a batch without bytes: what was lost at this place of the stream.
    pub lost: Option<Loss>,
}

/// Records that were lost before anybody could read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// How many; `None` when the kernel does not say.
    pub count: Option<u64>,
    /// When the first was lost.
    pub since: WallTime,
    /// When the last was lost.
    pub until: WallTime,
    /// Why, as it stands in a GAP line.
    pub cause: &'static str,
}

/// Where a directory of a filesystem can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// The directory that is mounted.
    pub root: HandleKey,
    /// The path it is mounted at.
    pub path: Vec<u8>,
    /// Whether nothing of the filesystem lies above it, as far as anybody can see.
    pub is_top: bool,
    /// For the upper directory of an overlay: where the overlay prepares what it puts there.
    pub work: Option<HandleKey>,
}

/// What a step found.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// A line for the log of a group.
    Log {
        /// The group.
        group: &'a GroupName,
        /// The line.
        event: &'a mut FileEvent,
    },
    /// An event that a rule has to judge.
    Rule {
        /// Which rule.
        rule: u16,
        /// The event.
        event: &'a FileEvent,
        /// Whose deed it was.
        doer: Doer<'a>,
    },
    /// Something was made, or moved to, where a watched path is or leads through.
    RootMayBeBack {
        /// The watched path.
        root: &'a [u8],
    },
    /// Something was removed or moved away where a watched path was or led through.
    RootMayBeGone {
        /// The watched path.
        root: &'a [u8],
    },
    /// A directory appeared on a filesystem where every directory needs a mark of its own.
    NewDirectory {
        /// The directory.
        dir: HandleKey,
        /// Its path.
        path: Vec<u8>,
    },
    /// A directory above a mount point was renamed, and the mount point with it.
    MountsMoved,
    /// Events were lost.
    Lost(Loss),
    /// What was said of processes was lost: who did something in that time may be unknown.
    ProcessesLost(Loss),
}

/// What the pipeline counted since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Records read.
    pub records: u64,
    /// Lines told.
    pub told: u64,
    /// Events of the daemon itself, left out.
    pub own: u64,
    /// Directories that the kernel was asked for.
    pub asked: u64,
    /// Directories and files whose place nobody could say.
    pub unplaced: u64,
    /// Buffers that could not be parsed.
    pub malformed: u64,
    /// Lines whose process is not certain.
    pub ambiguous: u64,
    /// Lines whose process is not known.
    pub unknown: u64,
    /// What was not told for the filters of the watches.
    pub left_out: LeftOut,
}

/// Events below a watched path that no watch was told, by the filter that left them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Of another type than the watch asks for.
    pub types: u64,
    /// Files of another size.
    pub size: u64,
    /// Excluded names, and what lies below them.
    pub exclude: u64,
    /// Processes that are not in the group.
    pub group: u64,
}

/// What does not change while the daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Own process, whose events are left out.
    pub own_pid: u32,
    /// Directories kept.
    pub dir_capacity: usize,
    /// Seconds after which an unused directory may be forgotten.
    pub dir_ttl: u64,
    /// Files whose place and size are kept.
    pub file_capacity: usize,
    /// Whether `_global` gets chains too.
    pub chain_always: bool,
    /// Whether records come without handles of children and without RENAME.
    pub legacy: bool,
}

/// The stages and what they remember.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    left_out: Vec<u32>,
    window: window::Window,
    behind_loss: VecDeque<Batch>,
    before_loss: BeforeLoss,
    tree: DirTree,
    files: FileTable,
    filesystems: window::Filesystems,
    mounts: select::MountPoints,
    marked_by_inode: Vec<FsId>,
    overlay_work: Vec<NodeId>,
    rules: select::Rules,
    routes: select::RouteCache,
    awaited: Vec<resolve::Awaited>,
    /// Directories given up in this step: what happened in them cannot be told.
    given_up: Vec<NodeId>,
    parked: parked::Parked,
    replaced: parked::Replaced,
    moved: returns::Moved,
    adrift: adrift::Adrift,
    ends: ends::Ends,
    procs: ProcTable,
    /// Process records that are missing, and were not told of yet.
    procs_lost: Option<Loss>,
    people: enrich::People,
    /// Where the path of the next line is put together.
    path: Vec<u8>,
    counts: Counts,
    /// When dead processes were last forgotten.
    forgot_at: u64,
    /// Number of the step, against which sizes are remembered.
    stamp: u64,
}

impl Pipeline {
    /// Makes a pipeline that watches nothing.
    pub fn new(settings: Settings, procs: ProcTable) -> Self {
        let ttl = u16::from(settings.dir_ttl > 0) * TICKS_OF_TTL;
        let mut window = window::Window::default();
        window.legacy = settings.legacy;
        window.own_pid = settings.own_pid;
        Self {
            settings,
            left_out: Vec::new(),
            window,
            behind_loss: VecDeque::new(),
            before_loss: BeforeLoss::default(),
            tree: DirTree::new(settings.dir_capacity, ttl),
            files: FileTable::new(settings.file_capacity),
            filesystems: HashMap::new(),
            mounts: HashMap::new(),
            marked_by_inode: Vec::new(),
            overlay_work: Vec::new(),
            rules: select::Rules::default(),
            routes: select::RouteCache::default(),
            awaited: Vec::new(),
            given_up: Vec::new(),
            parked: parked::Parked::default(),
            replaced: parked::Replaced::default(),
            moved: returns::Moved::default(),
            adrift: adrift::Adrift::default(),
            ends: ends::Ends::default(),
            procs,
            procs_lost: None,
            people: enrich::People::default(),
            path: Vec::new(),
            counts: Counts::default(),
            forgot_at: 0,
            stamp: 0,
        }
    }

    /// Takes batches in and tells everything that is certain by now.
    ///
    /// `now` is CLOCK_MONOTONIC; `u64::MAX` means that nothing will be waited for any longer.
    pub fn step(
        &mut self,
        batches: Vec<Batch>,
        now: u64,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        self.tick(now);
        self.take_in(batches);
        loop {
            self.stamp += 1;
            // Nothing behind a loss can complete what stands before it.
            let now = if self.behind_loss.is_empty() {
                now
            } else {
                u64::MAX
            };
            let end = self.settle(now, probe);
            self.tell_given_up(end, sink);
            self.tell_until(end, probe, sink);
            if !self.window.is_empty() {
                return;
            }
            if self.verify_returns(probe, sink) {
                continue;
            }
            if !self.behind_loss.is_empty() {
                self.keep_moves_before_loss();
            }
            self.end_window(now, sink);
            let Some(loss) = self.behind_loss.pop_front().and_then(|batch| batch.lost) else {
                return;
            };
            self.lose(loss, sink);
            let rest = Vec::from(std::mem::take(&mut self.behind_loss));
            self.set_adrift_behind_loss(&rest);
            self.take_in(rest);
        }
    }

    /// Whether records wait for a neighbour that has not been read yet.
    pub fn is_waiting(&self) -> bool {
        !self.window.is_empty()
    }

    /// Changes what is watched.
    pub fn set_watches(&mut self, watches: &WatchSet) {
        self.rules = select::Rules::new(watches);
        let told = |rule: &select::Rule| rule.types.contains(EventType::OpenExec);
        self.window.tells_execs = self.rules.rules.iter().any(told);
        self.routes.clear();
        self.people.forget();
    }

    /// Says in the records of which group the openings of programs stand.
    pub fn expect_execs_in(&mut self, group: u16) {
        self.window.exec_group = Some(group);
    }

    /// Tells which number a filesystem has in the records of a group.
    pub fn learn_filesystem(&mut self, group: u16, fsid: u64, fs: FsId) {
        self.filesystems.insert((group, fsid), fs);
    }

    /// Whether records of a group name a filesystem by this id.
    pub fn knows_filesystem(&self, group: u16, fsid: u64) -> bool {
        self.filesystems.contains_key(&(group, fsid))
    }

    /// Whether no filesystem has this number.
    pub fn is_free(&self, fs: FsId) -> bool {
        self.filesystems.values().all(|known| *known != fs)
    }

    /// Forgets a filesystem that is no longer marked; its records are passed over.
    pub fn forget_filesystem(&mut self, fs: FsId) {
        self.filesystems.retain(|_, known| *known != fs);
        self.marked_by_inode.retain(|known| *known != fs);
        self.files.forget_filesystem(&mut self.tree, fs);
        self.tree.forget_filesystem(fs);
    }

    /// Says that each directory of a filesystem needs a mark of its own and cannot be asked for.
    pub fn mark_by_inode(&mut self, fs: FsId) {
        if !self.marked_by_inode.contains(&fs) {
            self.marked_by_inode.push(fs);
        }
    }

    /// Sets all mount points anew.
    pub fn set_mounts(&mut self, mounts: impl IntoIterator<Item = MountPoint>) {
        let old = std::mem::take(&mut self.mounts);
        let old_work = std::mem::take(&mut self.overlay_work);
        for MountPoint {
            root,
            path,
            is_top,
            work,
        } in mounts
        {
            let dir = self.tree.intern(&root);
            self.tree.pin(dir);
            if is_top && self.tree.is_unknown(dir) {
                self.tree.put_top(dir);
            }
            if let Some(work) = work {
                let work = self.tree.intern(&work);
                self.tree.retain(work);
                self.overlay_work.push(work);
            }
            let path = if path == b"/" { Vec::new() } else { path };
            self.mounts
                .entry(dir)
                .or_default()
                .push(path.into_boxed_slice());
        }
        for dir in old.into_keys().filter(|dir| !self.mounts.contains_key(dir)) {
            self.tree.unpin(dir);
        }
        for dir in old_work {
            self.tree.release(dir);
        }
        self.routes.clear();
    }

    /// Notes a directory that a walk found; an event that said more is never overruled.
    ///
    /// For filesystems whose handles cannot be opened: a walk is all there is.
    pub fn learn_directory(
        &mut self,
        parent: &HandleKey,
        name: &[u8],
        dir: &HandleKey,
        pinned: bool,
    ) -> bool {
        let known = self.tree.find(dir);
        let dir = self.tree.intern(dir);
        if pinned {
            self.tree.pin(dir);
        }
        if self.tree.is_unknown(dir) {
            let parent = self.tree.intern(parent);
            self.tree.put(dir, parent, name);
            self.want_place(parent);
        }
        known.is_none()
    }

    /// Has a directory asked for in the next step, when nobody has said yet where it is.
    ///
    /// Records bring up the directories they name; what is above those has to be known already.
    fn want_place(&mut self, dir: NodeId) {
        if self.tree.is_unknown(dir) && !self.tree.is_given_up(dir) {
            self.window.unknown.push(dir);
        }
    }

    /// Begins to look at the directories below one, if there is room for more.
    pub fn walk_from(&mut self, start: &HandleKey) -> Option<Walk> {
        if self.tree.is_full() {
            return None;
        }
        let top = self.tree.intern(start);
        self.want_place(top);
        Some(Walk::new(&mut self.tree, start))
    }

    /// Looks at some more directories; says whether there are more. To be called when nothing waits.
    pub fn walk_on(
        &mut self,
        walk: &mut Walk,
        door: BorrowedFd<'_>,
        mount_id: i32,
        probe: &mut dyn Probe,
    ) -> bool {
        let mut found = Vec::new();
        let Self {
            tree,
            mounts,
            rules,
            ..
        } = self;
        let choosy = rules
            .rules
            .iter()
            .any(|rule| rule.scope.max_depth.is_some() || !rule.scope.exclude.is_empty());
        let mut enters = |tree: &DirTree, dir: NodeId| {
            !choosy
                || select::paths_of(tree, mounts, dir).iter().any(|path| {
                    rules
                        .rules
                        .iter()
                        .any(|rule| rule.scope.descends_into(path))
                })
        };
        let more = walk.advance(tree, door, mount_id, &mut enters, &mut found);
        let mut read = Vec::new();
        probe.read_on(&mut read);
        self.take_in(read);
        let certain = self.behind_loss.is_empty();
        for dir in found {
            if certain || !self.tree.is_unconfirmed(dir) {
                self.tree.set_unconfirmed(dir, false);
            } else {
                self.tree.forget_place(dir);
            }
        }
        more
    }

    /// Gives a walk up.
    pub fn end_walk(&mut self, mut walk: Walk) {
        walk.end(&mut self.tree);
    }

    /// Leaves out what these processes do, as what the recorder itself does: they only pass on what it says.
    pub fn leave_out(&mut self, pids: Vec<u32>) {
        self.left_out = pids;
    }

    fn is_left_out(&self, pid: u32, when: u64) -> bool {
        if pid == self.settings.own_pid {
            return true;
        }
        let is_one = |other: &u32| {
            *other == pid
                || self
                    .procs
                    .at(pid, when)
                    .is_some_and(|who| self.procs.descends_from(&who, *other))
        };
        self.left_out.iter().any(is_one)
    }

    /// Says whether `_global` gets chains too.
    pub fn set_chain_always(&mut self, always: bool) {
        self.settings.chain_always = always;
    }

    /// The processes known.
    pub fn processes(&mut self) -> &mut ProcTable {
        &mut self.procs
    }

    /// Directories known, and the bytes they take.
    pub fn directories(&self) -> (usize, usize) {
        (self.tree.len(), self.tree.bytes())
    }

    /// Whether no further directory should be learnt ahead of need.
    pub fn is_full(&self) -> bool {
        self.tree.is_full()
    }

    /// Files known.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        Counts {
            malformed: self.window.malformed,
            ..self.counts
        }
    }

    fn apply_processes(&mut self, batch: &Batch) {
        for record in &batch.procs {
            self.procs.apply(record);
            if let ProcChange::Lost { count, since } = record.what {
                let ago = i64::try_from(batch.mono.saturating_sub(since)).unwrap_or(0);
                let count = Some(count).filter(|count| *count > 0);
                let loss = self.procs_lost.get_or_insert(Loss {
                    count: Some(0),
                    since: WallTime(batch.wall.0 - ago),
                    until: batch.wall,
                    cause: PROCESSES_LOST,
                });
                loss.count = loss.count.zip(count).map(|(all, more)| all + more);
                loss.until = batch.wall;
            }
        }
        if self.procs.needs_resync() {
            // Without /proc what was lost stays unknown, and is told as unknown.
            self.procs.snapshot(Path::new("/proc"), batch.mono).ok();
        }
    }

    /// Tells the tree what time it is, in the coarse unit of disuse.
    fn tick(&mut self, now: u64) {
        if now != u64::MAX && self.settings.dir_ttl > 0 {
            let unit = (self.settings.dir_ttl / u64::from(TICKS_OF_TTL)).max(1);
            let tick = now / 1_000_000_000 / unit;
            self.tree.set_now((tick & u64::from(u16::MAX)) as u16);
        }
    }

    /// The queue was seen empty: what only unread records could refer to may go.
    fn end_window(&mut self, now: u64, sink: &mut dyn FnMut(Outcome<'_>)) {
        if let Some(loss) = self.procs_lost.take() {
            sink(Outcome::ProcessesLost(loss));
        }
        if self.window.overflowed {
            self.window.overflowed = false;
            let until = self
                .window
                .batches
                .last()
                .map_or(WallTime(0), |batch| batch.wall);
            let loss = Loss {
                count: None,
                since: until,
                until,
                cause: "kernel queue overflow",
            };
            self.lose(loss, sink);
        }
        // What is still queued was read later than this.
        let told = self.window.batches.last().map_or(now, |batch| batch.mono);
        self.window.reset();
        self.adrift.clear();
        self.procs.all_told();
        if told != u64::MAX && told.saturating_sub(self.forgot_at) > FORGET_EVERY {
            self.forgot_at = told;
            self.procs.forget(told);
        }
        if self.tree.trim() {
            self.routes.clear();
            self.replaced.clear();
            self.ends.forget_places();
            self.parked.expire(&mut self.counts, now);
        }
    }

    fn lose(&mut self, loss: Loss, sink: &mut dyn FnMut(Outcome<'_>)) {
        self.before_loss = BeforeLoss::default();
        self.files.clear(&mut self.tree);
        self.parked.clear();
        self.replaced.clear();
        self.ends.clear();
        self.awaited.clear();
        self.routes.clear();
        self.tree.forget_all();
        sink(Outcome::Lost(loss));
    }

    fn is_marked_by_inode(&self, dir: NodeId) -> bool {
        !self.marked_by_inode.is_empty() && self.marked_by_inode.contains(&self.tree.key(dir).fs())
    }
}

/// How often, in nanoseconds, dead processes whose time has come are forgotten.
const FORGET_EVERY: u64 = 200_000_000;
/// As it stands in a GAP line.
const PROCESSES_LOST: &str = "process records lost: who did something may be unknown";
/// Into how many ticks the life time of an unused directory is divided.
const TICKS_OF_TTL: u16 = 16;
