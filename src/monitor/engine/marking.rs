//! How one filesystem is marked, in the best way that its kernel allows, and how its marks are taken back.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Changes, Engine, Marked};
use crate::fid_parser::bits;
use crate::fid_parser::raw::FsId;
use crate::monitor::ask::open_dir;
use crate::monitor::marks::{self, Dialect, Wanted};
use crate::monitor::ways::{ENODEV, EOPNOTSUPP, EXDEV, Way, note, path, upper_of};
use crate::sys::fanotify::{Group, MarkOn, Reporting};
use crate::sys::mount::{self, Mount};
use crate::sys::statfs;

impl Engine {
    /// Whether an overlay takes a mark of its own.
    pub(super) fn accepts(&self, mount: &Mount) -> bool {
        let is_it =
            |marked: &&Marked| marked.dev == mount.dev && marked.mount_ids.contains(&mount.id);
        if let Some(known) = self.marked.iter().find(is_it) {
            return known.way == Way::Filesystem;
        }
        // Tried in a group that ends with the try: the mark may belong in another one than the main group.
        let tried = self.new_group().and_then(|group| {
            let dir = open_dir(&path(&mount.point))?;
            group.add_mark(MarkOn::Filesystem, bits::CREATE | bits::ONDIR, dir.as_fd())
        });
        tried.is_ok()
    }

    fn new_group(&self) -> io::Result<Group> {
        Group::open(Reporting {
            target_fid: self.dialect == Dialect::Modern,
        })
    }

    pub(in crate::monitor) fn mark(
        &mut self,
        want: &Wanted,
        mounts: &[Mount],
        changes: &mut Changes,
    ) -> io::Result<Marked> {
        let mount_ids: Vec<i32> = mounts
            .iter()
            .filter(|mount| mount.dev == want.dev)
            .map(|mount| mount.id)
            .collect();
        let known = self.marked.iter().position(|marked| {
            marked.dev == want.dev && marked.mount_ids.iter().any(|id| mount_ids.contains(id))
        });
        let known = known.map(|at| self.marked.remove(at));
        if known.is_none() {
            self.forget_before(want.dev);
        }
        let mut marked = match self.try_ways(want, mounts, known.as_ref()) {
            Ok(marked) => marked,
            Err(error) => {
                self.unmark(known.into_iter().collect());
                return Err(error);
            }
        };
        marked.mount_ids = mount_ids;
        let number = match known {
            Some(known) if known.way == marked.way && known.fsid == marked.fsid => {
                self.narrow(&known, want.mask);
                Some(known.fs)
            }
            other => {
                if let Some(other) = other {
                    if other.group != marked.group {
                        self.close_group(other.group);
                    }
                    self.forget(&other);
                }
                changes
                    .notes
                    .push(note(&marked.way, &mounts[want.mounts[0]]));
                None
            }
        };
        if matches!(marked.way, Way::OverlayUpper { .. }) {
            return Ok(marked);
        }
        marked.fs = match number {
            Some(number) => number,
            None => self.new_number()?,
        };
        self.pipeline
            .learn_filesystem(marked.group, marked.fsid, marked.fs);
        if marked.way == Way::Inodes {
            self.pipeline.mark_by_inode(marked.fs);
        }
        Ok(marked)
    }

    fn try_ways(
        &mut self,
        want: &Wanted,
        mounts: &[Mount],
        known: Option<&Marked>,
    ) -> io::Result<Marked> {
        let first = &mounts[want.mounts[0]];
        // A filesystem that was refused once is not tried again while it stays mounted.
        let mut refused = io::Error::from_raw_os_error(EOPNOTSUPP);
        if known.is_none_or(|known| known.way != Way::Inodes) {
            for at in &want.mounts {
                let through = path(&mounts[*at].point);
                let marked =
                    open_dir(&through).and_then(|dir| self.mark_through(&dir, want.mask, known));
                match marked {
                    Ok((group, fsid)) => {
                        let mut marked =
                            self.marked_as(want, first, Way::Filesystem, fsid, through);
                        marked.group = group;
                        return Ok(marked);
                    }
                    Err(error) => refused = error,
                }
            }
        }
        if first.fstype == "btrfs"
            && let Ok(top) = mount::detached_btrfs_top(&first.source).map(File::from)
            && let Ok((group, fsid)) = self.mark_through(&top, want.mask, known)
        {
            let mut marked = self.marked_as(want, first, Way::BtrfsTop, fsid, path(&first.point));
            marked.group = group;
            return Ok(marked);
        }
        if first.fstype == "overlay"
            && let Some((upper, home)) = upper_of(first, mounts)
        {
            let dev = mounts[home].dev;
            let way = Way::OverlayUpper { dev, upper };
            return Ok(self.marked_as(want, first, way, 0, path(&first.point)));
        }
        match refused.raw_os_error() {
            Some(EXDEV | ENODEV | EOPNOTSUPP) => self.open_inode_group(want, first, known),
            _ => Err(refused),
        }
    }

    /// Marks the filesystem of a directory; says in which group, and by which id its records name it.
    ///
    /// An id is that of a filesystem as it was made: a copy or a snapshot of it has the same, and an overlay may have
    /// that of the filesystem it lies on. In one group their records could not be told apart.
    fn mark_through(
        &mut self,
        dir: &File,
        mask: u64,
        known: Option<&Marked>,
    ) -> io::Result<(u16, u64)> {
        let number = match known {
            Some(known) if matches!(known.way, Way::Filesystem | Way::BtrfsTop) => known.group,
            _ if self.has_its_like(dir)? => self.open_group()?,
            _ => self.main_number,
        };
        let marked = add_filesystem_mark(self.group(number), dir, mask);
        if marked.is_err() && known.is_none_or(|known| known.group != number) {
            self.close_group(number);
        }
        Ok((number, marked?))
    }

    /// Whether another filesystem with the id of this one is marked in the main group.
    pub(in crate::monitor) fn has_its_like(&self, dir: &File) -> io::Result<bool> {
        let fsid = statfs::fsid_of(dir.as_fd())?;
        Ok(self.pipeline.knows_filesystem(self.main_number, fsid))
    }

    fn group(&self, number: u16) -> &Group {
        self.others.get(&number).unwrap_or(&self.main)
    }

    /// Opens a group beside the main one.
    fn open_group(&mut self) -> io::Result<u16> {
        let group = Arc::new(self.new_group()?);
        let number = self.feed.add_group(group.clone())?;
        self.others.insert(number, group);
        Ok(number)
    }

    /// Ends a group, unless it is the main one.
    fn close_group(&mut self, number: u16) {
        if number != self.main_number {
            self.feed.remove_group(number);
            self.others.remove(&number);
        }
    }

    /// Forgets what was mounted from a device before. A mark goes with its filesystem; if that is still there, detached,
    /// its mark is the one that is wanted.
    fn forget_before(&mut self, dev: (u32, u32)) {
        let before: Vec<_> = self
            .marked
            .extract_if(.., |marked| marked.dev == dev)
            .collect();
        for marked in before {
            self.close_group(marked.group);
            self.forget(&marked);
        }
    }

    pub(in crate::monitor) fn marked_as(
        &self,
        want: &Wanted,
        mount: &Mount,
        way: Way,
        fsid: u64,
        through: PathBuf,
    ) -> Marked {
        Marked {
            dev: want.dev,
            fstype: mount.fstype.clone(),
            fs: 0,
            group: self.main_number,
            fsid,
            way,
            mask: want.mask,
            mount_ids: Vec::new(),
            through,
        }
    }

    fn open_inode_group(
        &mut self,
        want: &Wanted,
        mount: &Mount,
        known: Option<&Marked>,
    ) -> io::Result<Marked> {
        let through = path(&mount.point);
        let dir = open_dir(&through)?;
        let fsid = statfs::fsid_of(dir.as_fd())?;
        let number = match known.filter(|known| known.way == Way::Inodes) {
            Some(known) => known.group,
            None => self.open_group()?,
        };
        self.others[&number].add_mark(
            MarkOn::Inode,
            want.mask & !bits::FS_ERROR | bits::ON_CHILD,
            dir.as_fd(),
        )?;
        let mut marked = self.marked_as(want, mount, Way::Inodes, fsid, through);
        marked.group = number;
        Ok(marked)
    }

    /// Takes bits back that nobody asks for any more.
    pub(super) fn narrow(&self, known: &Marked, mask: u64) {
        let surplus = known.mask & !mask;
        if surplus == 0 {
            return;
        }
        match known.way {
            // Too much is only dropped later on; too little would be missing. A mark on each of
            // many directories stays as it is.
            Way::Inodes | Way::OverlayUpper { .. } => {}
            Way::Filesystem => self.take_bits(known, surplus),
            Way::BtrfsTop => self.take_btrfs_bits(known, surplus),
        }
    }

    pub(super) fn unmark(&mut self, old: Vec<Marked>) {
        for marked in old {
            self.take_marks(&marked);
            self.forget(&marked);
        }
    }

    /// A number that no filesystem has.
    fn new_number(&mut self) -> io::Result<FsId> {
        for _ in 0..=FsId::MAX {
            let number = self.next_fs;
            self.next_fs = number.wrapping_add(1);
            if self.pipeline.is_free(number) {
                return Ok(number);
            }
        }
        Err(io::Error::other("too many filesystems are watched"))
    }

    fn forget(&mut self, marked: &Marked) {
        // An overlay that is seen through another filesystem has no records, and so no number, of its own.
        if !matches!(marked.way, Way::OverlayUpper { .. }) {
            self.pipeline.forget_filesystem(marked.fs);
        }
    }

    pub(in crate::monitor) fn take_marks(&mut self, marked: &Marked) {
        if marked.group != self.main_number {
            self.close_group(marked.group);
            return;
        }
        match &marked.way {
            Way::Filesystem => self.take_bits(marked, marked.mask),
            Way::BtrfsTop => self.take_btrfs_bits(marked, marked.mask),
            Way::Inodes | Way::OverlayUpper { .. } => {}
        }
    }

    /// Takes bits out of a filesystem's mark. When the filesystem is gone its mark is gone with it,
    /// and its mount point is a directory of another one, whose mark stays as it is.
    fn take_bits(&self, marked: &Marked, surplus: u64) {
        let (Ok(dir), Ok(mounts)) = (open_dir(&marked.through), mount::mounts()) else {
            return;
        };
        // Its id does not say which filesystem it is.
        let is_there = |at: usize| mounts[at].dev == marked.dev;
        if marks::mount_of(marked.through.as_os_str().as_bytes(), &mounts).is_some_and(is_there) {
            // Too many bits only cost time: what nobody asked for is dropped later on.
            self.group(marked.group)
                .remove_mark(MarkOn::Filesystem, surplus, dir.as_fd())
                .ok();
        }
    }

    fn take_btrfs_bits(&self, marked: &Marked, surplus: u64) {
        let Ok(mounts) = mount::mounts() else { return };
        if let Some(mount) = mounts.iter().find(|mount| mount.dev == marked.dev)
            && let Ok(top) = mount::detached_btrfs_top(&mount.source).map(File::from)
        {
            self.group(marked.group)
                .remove_mark(MarkOn::Filesystem, surplus, top.as_fd())
                .ok();
        }
    }
}

/// Marks the filesystem of a directory, and says by which id records name it.
pub(in crate::monitor) fn add_filesystem_mark(
    group: &Group,
    dir: &File,
    mask: u64,
) -> io::Result<u64> {
    match group.add_mark(MarkOn::Filesystem, mask, dir.as_fd()) {
        // FS_ERROR is refused where the filesystem cannot report it.
        Err(error) if mask & bits::FS_ERROR != 0 && error.raw_os_error() != Some(EXDEV) => {
            group.add_mark(MarkOn::Filesystem, mask & !bits::FS_ERROR, dir.as_fd())?;
        }
        other => other?,
    }
    statfs::fsid_of(dir.as_fd())
}
