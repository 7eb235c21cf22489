//! How one filesystem is marked, in the best way that its kernel allows, and how its marks are taken back.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Changes, Engine, Marked};
use crate::fid_parser::bits;
use crate::monitor::ask::open_dir;
use crate::monitor::marks::{Dialect, Wanted};
use crate::monitor::ways::{ENODEV, EOPNOTSUPP, EXDEV, Way, note, path, upper_of};
use crate::sys::fanotify::{Group, MarkOn, Reporting};
use crate::sys::mount::{self, Mount};
use crate::sys::statfs;

impl Engine {
    pub(super) fn accepts(&self, mount: &Mount) -> bool {
        open_dir(&path(&mount.point))
            .and_then(|dir| {
                self.main
                    .add_mark(MarkOn::Filesystem, bits::CREATE | bits::ONDIR, dir.as_fd())
            })
            .is_ok()
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
        let mut marked = match self.try_ways(want, mounts, known.as_ref()) {
            Ok(marked) => marked,
            Err(error) => {
                self.unmark(known.into_iter().collect());
                return Err(error);
            }
        };
        marked.mount_ids = mount_ids;
        match known {
            Some(known) if known.way == marked.way && known.fsid == marked.fsid => {
                marked.fs = known.fs;
                self.narrow(&known, want.mask);
            }
            _ => {
                marked.fs = self.next_fs;
                self.next_fs = self.next_fs.wrapping_add(1);
                changes
                    .notes
                    .push(note(&marked.way, &mounts[want.mounts[0]]));
            }
        }
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
                match open_dir(&through).and_then(|dir| self.add_filesystem_mark(&dir, want.mask)) {
                    Ok(fsid) => {
                        return Ok(self.marked_as(want, first, Way::Filesystem, fsid, through));
                    }
                    Err(error) => refused = error,
                }
            }
        }
        if first.fstype == "btrfs"
            && let Ok(fsid) = self.mark_btrfs_top(first, want.mask)
        {
            return Ok(self.marked_as(want, first, Way::BtrfsTop, fsid, path(&first.point)));
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

    pub(in crate::monitor) fn add_filesystem_mark(&self, dir: &File, mask: u64) -> io::Result<u64> {
        let marked = self.main.add_mark(MarkOn::Filesystem, mask, dir.as_fd());
        match marked {
            // FS_ERROR is refused where the filesystem cannot report it.
            Err(error) if mask & bits::FS_ERROR != 0 && error.raw_os_error() != Some(EXDEV) => {
                self.main
                    .add_mark(MarkOn::Filesystem, mask & !bits::FS_ERROR, dir.as_fd())?;
            }
            other => other?,
        }
        statfs::fsid_of(dir.as_fd())
    }

    pub(in crate::monitor) fn mark_btrfs_top(&self, mount: &Mount, mask: u64) -> io::Result<u64> {
        let top = mount::detached_btrfs_top(&mount.source)?;
        self.add_filesystem_mark(&File::from(top), mask)
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
            None => {
                let group = Arc::new(Group::open(Reporting {
                    target_fid: self.dialect == Dialect::Modern,
                })?);
                let number = self.feed.add_group(group.clone())?;
                self.others.insert(number, group);
                number
            }
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
            self.pipeline.forget_filesystem(marked.fs);
        }
    }

    pub(in crate::monitor) fn take_marks(&mut self, marked: &Marked) {
        match &marked.way {
            Way::Filesystem => self.take_bits(marked, marked.mask),
            Way::BtrfsTop => self.take_btrfs_bits(marked, marked.mask),
            Way::Inodes => {
                self.feed.remove_group(marked.group);
                self.others.remove(&marked.group);
            }
            Way::OverlayUpper { .. } => {}
        }
    }

    /// Takes bits out of a filesystem's mark. When the filesystem is gone its mark is gone with it,
    /// and its mount point is a directory of another one, whose mark stays as it is.
    fn take_bits(&self, marked: &Marked, surplus: u64) {
        let Ok(dir) = open_dir(&marked.through) else {
            return;
        };
        if statfs::fsid_of(dir.as_fd()).is_ok_and(|fsid| fsid == marked.fsid) {
            // Too many bits only cost time: what nobody asked for is dropped later on.
            self.main
                .remove_mark(MarkOn::Filesystem, surplus, dir.as_fd())
                .ok();
        }
    }

    fn take_btrfs_bits(&self, marked: &Marked, surplus: u64) {
        let Ok(mounts) = mount::mounts() else { return };
        if let Some(mount) = mounts.iter().find(|mount| mount.dev == marked.dev)
            && let Ok(top) = mount::detached_btrfs_top(&mount.source).map(File::from)
        {
            self.main
                .remove_mark(MarkOn::Filesystem, surplus, top.as_fd())
                .ok();
        }
    }
}
