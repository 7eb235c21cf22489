//! Feed, marks and pipeline together: what the daemon records with.
//!
//! Start-up, a live `add`, a `remove`, a new mount and a reload are all [`Engine::reconcile`]: the
//! watches as they shall be go in, the marks are made to fit.

mod marking;

pub(super) use marking::add_filesystem_mark;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use super::ask::{Doors, KernelProbe, key_of, open_dir, open_door};
use super::feed::Feed;
use super::marks::{self, Dialect, Plan, Wanted};
use super::report::Reporter;
use super::ways::{NO_MOUNT, SINGLE_FILE, Way, path, refusal, upper_of, without_files};
use crate::dir_cache::walk::Walk;
use crate::event::{EventType, WallTime};
use crate::fid_parser::bits;
use crate::fid_parser::raw::{FsId, HandleKey};
use crate::monitored::path::quoted;
use crate::monitored::{Watch, WatchSet};
use crate::pipeline::{Batch, MountPoint, Outcome, Pipeline};
use crate::sys::fanotify::{Group, MarkOn, Reporting};
use crate::sys::mount::Mount;
use crate::sys::{clock, handle};

/// So many bytes of records are worked off at a time, or a little more: what is made of them takes
/// more memory than they do.
const ENOUGH: usize = 256 << 10;

/// A filesystem that is watched.
#[derive(Debug)]
pub(super) struct Marked {
    pub(super) dev: (u32, u32),
    pub(super) fstype: String,
    pub(super) fs: FsId,
    pub(super) group: u16,
    pub(super) fsid: u64,
    pub(super) way: Way,
    pub(super) mask: u64,
    pub(super) mount_ids: Vec<i32>,
    /// Through which directory the mark was made and can be changed.
    pub(super) through: PathBuf,
}

/// A filesystem that cannot be watched, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Where it is mounted.
    pub point: Vec<u8>,
    /// What is wrong, as a sentence.
    pub why: String,
}

/// What a reconciliation changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// One line for each filesystem newly watched: how, and what will be missing.
    pub notes: Vec<String>,
    /// What cannot be watched.
    pub shortfalls: Vec<Shortfall>,
    /// What is watched in a way that may miss something.
    pub weak: Vec<Shortfall>,
    /// Mount points that are watched from now on because of what was mounted or unmounted.
    pub appeared: Vec<Vec<u8>>,
    /// After which time the table of mounts changed, if it has.
    pub since: Option<WallTime>,
    /// The table of mounts is what it was.
    pub is_same_table: bool,
}

/// What the last reconciliation went by.
#[derive(Debug)]
struct Before {
    watches: WatchSet,
    mounts: Vec<Mount>,
    /// Places in the table of the mounts that were watched, and of those that a path led to.
    watched: Vec<usize>,
    visible: Vec<usize>,
}

impl Before {
    fn has(&self, places: &[usize], mount: &Mount) -> bool {
        let is_it = |at: &usize| {
            let before = &self.mounts[*at];
            // The kernel gives a number that has become free to the next mount.
            let is_same = before.dev == mount.dev && before.root == mount.root;
            is_same && before.id == mount.id && before.point == mount.point
        };
        places.iter().any(is_it)
    }
}

/// Everything between the kernel and the outcomes.
#[derive(Debug)]
pub struct Engine {
    feed: Arc<Feed>,
    pub(super) pipeline: Pipeline,
    dialect: Dialect,
    pub(super) main: Arc<Group>,
    main_number: u16,
    pub(super) others: HashMap<u16, Arc<Group>>,
    pub(super) marked: Vec<Marked>,
    next_fs: FsId,
    doors: Doors,
    walks: Vec<Walk>,
    passed_over: Vec<Vec<u8>>,
    /// Filesystems that are marked for the openings of programs only.
    pub(super) programs: Vec<Marked>,
    /// What was marked directory by directory: where, and whether with all below.
    pub(super) inode_tops: Vec<(PathBuf, FsId, bool)>,
    /// Where walks were begun.
    walked: Vec<(PathBuf, FsId)>,
    before: Option<Before>,
}

/// Finds out which dialect the kernel speaks, by trying.
pub fn open_group(legacy: bool) -> io::Result<(Group, Dialect)> {
    if !legacy {
        match Group::open(Reporting { target_fid: true }) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            other => return Ok((other?, Dialect::Modern)),
        }
    }
    Ok((
        Group::open(Reporting { target_fid: false })?,
        Dialect::Legacy,
    ))
}

impl Engine {
    /// Makes an engine that watches nothing yet.
    pub fn new(
        feed: Arc<Feed>,
        mut pipeline: Pipeline,
        main: Group,
        dialect: Dialect,
    ) -> io::Result<Self> {
        let main = Arc::new(main);
        let main_number = feed.add_group(main.clone())?;
        pipeline.expect_execs_in(main_number);
        Ok(Self {
            feed,
            pipeline,
            dialect,
            main,
            main_number,
            others: HashMap::new(),
            marked: Vec::new(),
            next_fs: 0,
            doors: Doors::default(),
            walks: Vec::new(),
            passed_over: Vec::new(),
            programs: Vec::new(),
            inode_tops: Vec::new(),
            walked: Vec::new(),
            before: None,
        })
    }

    /// The pipeline, for its numbers.
    pub fn pipeline(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }

    /// Reads what is there and tells everything that is certain. With `all`, nothing is waited for.
    pub fn step(
        &mut self,
        all: bool,
        reporter: &Reporter,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) -> io::Result<()> {
        if all {
            let mut batches = Vec::new();
            self.feed.drain()?;
            self.feed.take(&mut batches);
            self.process(batches, all, reporter, sink);
            return Ok(());
        }
        // What is read meanwhile wakes again.
        let mut rounds = self.feed.rounds();
        loop {
            let mut batches = Vec::new();
            let taken = self.feed.take_rounds(ENOUGH, &mut batches);
            self.process(batches, all, reporter, sink);
            rounds = rounds.saturating_sub(taken);
            if taken == 0 || rounds == 0 {
                return Ok(());
            }
        }
    }

    fn process(
        &mut self,
        batches: Vec<Batch>,
        all: bool,
        reporter: &Reporter,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let now = if all { u64::MAX } else { clock::monotonic() };
        let mut probe = KernelProbe::new(&self.doors, &self.feed, reporter);
        let mut fresh = Vec::new();
        self.pipeline
            .step(batches, now, &mut probe, &mut |outcome| {
                if let Outcome::NewDirectory { dir, path } = outcome {
                    fresh.push((dir, path));
                } else {
                    sink(outcome);
                }
            });
        if !self.pipeline.is_waiting() {
            self.feed.release();
        }
        for (dir, path) in fresh {
            self.mark_tree(dir.fs(), &PathBuf::from(std::ffi::OsString::from_vec(path)));
        }
    }

    /// Whether directories are still to be looked at.
    pub fn is_walking(&self) -> bool {
        !self.walks.is_empty()
    }

    /// Looks at some more directories below recursive watches.
    pub fn walk_on(&mut self, reporter: &Reporter) {
        let Some(mut walk) = self.walks.pop() else {
            return;
        };
        let door = self
            .doors
            .points
            .get(&walk.fs())
            .and_then(|points| points.first());
        let opened = door.and_then(|point| open_door(point).ok());
        let mut probe = KernelProbe::new(&self.doors, &self.feed, reporter);
        let more = opened.is_some_and(|door| {
            self.pipeline
                .walk_on(&mut walk, door.fd.as_fd(), door.mount_id, &mut probe)
        });
        if more {
            self.walks.push(walk);
        } else {
            self.pipeline.end_walk(walk);
            let (known, bytes) = self.pipeline.directories();
            reporter
                .debug(|| format!("a walk has ended: {known} directories known in {bytes} bytes"));
        }
    }

    /// Begins to look at the directories of recursive watches that were not looked at before.
    ///
    /// Recording does not wait for it: what an event needs sooner is asked for.
    fn begin_walks(&mut self, watches: &WatchSet, mounts: &[Mount]) {
        let mut roots: Vec<(PathBuf, FsId)> = Vec::new();
        for watch in watches.iter().filter(|watch| watch.recursive) {
            for marked in self
                .marked
                .iter()
                .filter(|marked| matches!(marked.way, Way::Filesystem | Way::BtrfsTop))
            {
                let below = mounts
                    .iter()
                    .filter(|mount| mount.dev == marked.dev)
                    .map(|mount| path(&mount.point));
                let home = marks::mount_of(watch.path.as_os_str().as_bytes(), mounts);
                let at_home = home
                    .filter(|home| mounts[*home].dev == marked.dev)
                    .map(|_| watch.path.clone());
                let inside = below.filter(|point| point.starts_with(&watch.path));
                roots.extend(inside.chain(at_home).map(|root| (root, marked.fs)));
            }
        }
        roots.sort();
        roots.dedup();
        let covered = |root: &(PathBuf, FsId)| {
            roots
                .iter()
                .any(|other| other.1 == root.1 && other.0 != root.0 && root.0.starts_with(&other.0))
        };
        let new: Vec<_> = roots
            .iter()
            .filter(|root| !self.walked.contains(root) && !covered(root))
            .cloned()
            .collect();
        for (root, fs) in new {
            let start = handle_at(fs, &root);
            self.walks
                .extend(start.and_then(|start| self.pipeline.walk_from(&start)));
        }
        self.walked = roots;
    }

    /// Whether records wait for something that has not been read yet.
    pub fn is_waiting(&self) -> bool {
        self.pipeline.is_waiting()
    }

    /// Makes the marks fit the watches and takes the watches into force.
    ///
    /// Events from before are to be told first, with the old watches; that is the caller's step.
    pub fn reconcile(&mut self, watches: &WatchSet, mounts: Vec<Mount>) -> io::Result<Changes> {
        let Plan {
            filesystems,
            passed_over,
            programs,
            single_mounts,
            unreached,
        } = marks::plan(watches, &mounts, self.dialect);
        let mut changes = Changes::default();
        let mut points = Vec::new();
        self.doors.points.clear();
        changes
            .shortfalls
            .extend(unreached.into_iter().map(|point| Shortfall {
                point,
                why: NO_MOUNT.to_owned(),
            }));
        let (filesystems, files) = without_files(filesystems, &mounts);
        changes.shortfalls.extend(files.iter().map(|at| Shortfall {
            point: mounts[*at].point.clone(),
            why: SINGLE_FILE.to_owned(),
        }));
        let (programs, _) = without_files(programs, &mounts);
        let wanted = self.with_upper_filesystems(filesystems, &mounts);
        let kept = self.mark_all(&wanted, &mounts, &mut changes);
        for marked in &kept {
            self.add_points(marked, &wanted, &kept, &mounts, &mut points);
        }
        let mut old = std::mem::replace(&mut self.marked, kept);
        for left in &mut old {
            // Watched no longer, but programs may lie there.
            if programs.iter().any(|wanted| wanted.dev == left.dev) {
                left.mask &= !bits::OPEN_EXEC;
            }
        }
        self.unmark(old);
        self.mark_mounts(&single_mounts, &mounts, &mut changes);
        self.mark_programs(&programs, &mounts);
        self.pipeline.set_mounts(points);
        self.pipeline.set_watches(watches);
        let told = |watch: &Watch| watch.types_or_default().contains(EventType::OpenExec);
        self.feed.tell_execs(watches.iter().any(told));
        for point in passed_over
            .iter()
            .filter(|point| !self.passed_over.contains(point))
        {
            changes.notes.push(format!(
                "{} holds nothing to record and is passed over",
                quoted(Path::new(std::ffi::OsStr::from_bytes(point)))
            ));
        }
        self.passed_over = passed_over;
        self.mark_inode_trees(watches);
        self.begin_walks(watches, &mounts);
        self.compare(watches, mounts, &wanted, &mut changes);
        Ok(changes)
    }

    /// Tells which mount points the last reconciliation did not know, though the same was asked for.
    fn compare(
        &mut self,
        watches: &WatchSet,
        mounts: Vec<Mount>,
        wanted: &[Wanted],
        changes: &mut Changes,
    ) {
        let is_marked = |want: &&Wanted| self.marked.iter().any(|marked| marked.dev == want.dev);
        let marked = wanted.iter().filter(is_marked);
        let watched: Vec<usize> = marked.flat_map(|want| want.mounts.clone()).collect();
        if let Some(before) = &self.before {
            changes.is_same_table = before.mounts == mounts;
            let is_asked_anew = before.watches != *watches;
            let is_new = |at: &&usize| {
                let mount = &mounts[**at];
                let is_known = before.has(&before.watched, mount);
                !(is_known || is_asked_anew && before.has(&before.visible, mount))
            };
            let new = watched.iter().filter(is_new);
            changes.appeared = new.map(|at| mounts[*at].point.clone()).collect();
        }
        self.before = Some(Before {
            watches: watches.clone(),
            visible: marks::visible(&mounts),
            mounts,
            watched,
        });
    }

    /// Marks filesystems; what cannot be, or not well, is so at each place where it is mounted.
    fn mark_all(
        &mut self,
        wanted: &[Wanted],
        mounts: &[Mount],
        changes: &mut Changes,
    ) -> Vec<Marked> {
        let everywhere = |want: &Wanted, why: &str| {
            let at = |at: &usize| Shortfall {
                point: mounts[*at].point.clone(),
                why: why.to_owned(),
            };
            want.mounts.iter().map(at).collect::<Vec<_>>()
        };
        let mut kept = Vec::new();
        for want in wanted {
            let first = &mounts[want.mounts[0]];
            match self.mark(want, mounts, changes) {
                Ok(marked) => {
                    let weakness = marked.way.weakness(first);
                    let weak = weakness.map(|why| everywhere(want, why));
                    changes.weak.extend(weak.into_iter().flatten());
                    kept.push(marked);
                }
                Err(error) => {
                    let why = refusal(&error, &first.fstype);
                    changes.shortfalls.extend(everywhere(want, &why));
                }
            }
        }
        // What an overlay is seen through has to be seen itself.
        for (marked, upper, home) in kept.iter().filter_map(|marked| match &marked.way {
            Way::OverlayUpper { dev, upper } => Some((marked, upper, *dev)),
            _ => None,
        }) {
            let Some(want) = wanted.iter().find(|want| want.dev == marked.dev) else {
                continue;
            };
            let on = wanted.iter().find(|want| want.dev == home);
            match kept.iter().find(|other| other.dev == home) {
                Some(other) => {
                    let weakness = on.and_then(|on| other.way.weakness(&mounts[on.mounts[0]]));
                    let weak = weakness.map(|why| everywhere(want, why));
                    changes.weak.extend(weak.into_iter().flatten());
                }
                None => {
                    let why = format!("its upper directory {} cannot be watched", quoted(upper));
                    changes.shortfalls.extend(everywhere(want, &why));
                }
            }
        }
        kept
    }

    /// Marks single mounts. They stay marked: only `watch` asks for this, and it never takes it back.
    fn mark_mounts(&self, wanted: &[(usize, u64)], mounts: &[Mount], changes: &mut Changes) {
        for (at, mask) in wanted {
            let through = path(&mounts[*at].point);
            let mark = |dir: File| self.main.add_mark(MarkOn::Mount, *mask, dir.as_fd());
            if let Err(error) = open_dir(&through).and_then(mark) {
                changes.shortfalls.push(Shortfall {
                    point: mounts[*at].point.clone(),
                    why: refusal(&error, &mounts[*at].fstype),
                });
            }
        }
    }

    /// Adds the filesystems on which overlays that cannot be marked keep their changes.
    pub(super) fn with_upper_filesystems(
        &mut self,
        mut wanted: Vec<Wanted>,
        mounts: &[Mount],
    ) -> Vec<Wanted> {
        for at in 0..wanted.len() {
            let first = &mounts[wanted[at].mounts[0]];
            if first.fstype != "overlay" || self.accepts(first) {
                continue;
            }
            let Some((_, home)) = upper_of(first, mounts) else {
                continue;
            };
            let (dev, mask) = (mounts[home].dev, wanted[at].mask);
            match wanted.iter_mut().find(|other| other.dev == dev) {
                Some(other) => {
                    other.mask |= mask;
                    if !other.mounts.contains(&home) {
                        other.mounts.push(home);
                    }
                }
                None => wanted.push(Wanted {
                    dev,
                    mask,
                    mounts: vec![home],
                }),
            }
        }
        wanted
    }

    /// Collects where a filesystem can be seen, and through which mounts its handles are opened.
    fn add_points(
        &mut self,
        marked: &Marked,
        wanted: &[Wanted],
        kept: &[Marked],
        mounts: &[Mount],
        points: &mut Vec<MountPoint>,
    ) {
        let Some(want) = wanted.iter().find(|want| want.dev == marked.dev) else {
            return;
        };
        if let Way::OverlayUpper { dev, upper } = &marked.way {
            let Some(home) = kept.iter().find(|other| other.dev == *dev) else {
                return;
            };
            let Some(root) = handle_at(home.fs, upper) else {
                return;
            };
            for at in &want.mounts {
                points.push(MountPoint {
                    root,
                    path: mounts[*at].point.clone(),
                    is_top: false,
                    work: mounts[*at]
                        .option("workdir")
                        .and_then(|work| handle_at(home.fs, &path(&work).join("work"))),
                });
            }
            return;
        }
        let mut doors: Vec<(usize, PathBuf)> = Vec::new();
        for at in &want.mounts {
            let mount = &mounts[*at];
            let through = path(&mount.point);
            let Some(root) = handle_at(marked.fs, &through) else {
                continue;
            };
            let is_top = mount.root == b"/" || marked.way == Way::Inodes;
            points.push(MountPoint {
                root,
                path: mount.point.clone(),
                is_top,
                work: None,
            });
            doors.push((mount.root.len(), through));
        }
        doors.sort();
        if marked.way != Way::Inodes || marked.fstype != "overlay" {
            self.doors.points.insert(
                marked.fs,
                doors.into_iter().map(|(_, point)| point).collect(),
            );
        }
    }
}

pub(super) fn handle_at(fs: FsId, path: &Path) -> Option<HandleKey> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    handle::handle_of(None, &path)
        .ok()
        .map(|(handle, _)| key_of(fs, &handle))
}
