//! Marks for the openings of programs: they tell what a process did before an exec from what it
//! did after it, so they have to stand wherever a program may lie, watched or not.

use std::fs::File;
use std::io;

use super::ask::open_dir;
use super::engine::{Engine, Marked, add_filesystem_mark};
use super::marks::Wanted;
use super::ways::{Way, path};
use crate::fid_parser::bits;
use crate::sys::mount::{self, Mount};

impl Engine {
    /// Marks the filesystems in `wanted`, and no others than those and the watched ones.
    ///
    /// One that takes no mark is left out without a word: of a process that execs a program there,
    /// what it does within the same read of the queue is told as `ambiguous`.
    pub(super) fn mark_programs(&mut self, wanted: &[Wanted], mounts: &[Mount]) {
        let mut before = std::mem::take(&mut self.programs);
        for want in wanted {
            let mount_ids: Vec<i32> = want.mounts.iter().map(|at| mounts[*at].id).collect();
            let is_like_watched =
                |marked: &Marked| self.pipeline.knows_filesystem(marked.group, marked.fsid);
            let known = before.iter().position(|marked| {
                marked.dev == want.dev
                    && marked.mount_ids.iter().any(|id| mount_ids.contains(id))
                    && !is_like_watched(marked)
            });
            let marked = match known {
                Some(at) => Some(before.swap_remove(at)),
                None => self.try_programs(want, mounts),
            };
            if let Some(mut marked) = marked {
                marked.mount_ids = mount_ids;
                self.programs.push(marked);
            }
        }
        // What was mounted from the same device meanwhile keeps its mark.
        let kept: Vec<_> = self
            .marked
            .iter()
            .chain(&self.programs)
            .map(|marked| marked.dev)
            .collect();
        before.retain(|old| !kept.contains(&old.dev));
        before.iter().for_each(|old| self.take_marks(old));
    }

    fn try_programs(&self, want: &Wanted, mounts: &[Mount]) -> Option<Marked> {
        let first = &mounts[want.mounts[0]];
        for at in &want.mounts {
            let through = path(&mounts[*at].point);
            let mark = |dir: File| self.mark_programs_of(&dir);
            if let Ok(fsid) = open_dir(&through).and_then(mark) {
                return Some(self.marked_as(want, first, Way::Filesystem, fsid, through));
            }
        }
        if first.fstype != "btrfs" {
            return None;
        }
        let top = mount::detached_btrfs_top(&first.source).map(File::from);
        let fsid = top.and_then(|top| self.mark_programs_of(&top)).ok()?;
        Some(self.marked_as(want, first, Way::BtrfsTop, fsid, path(&first.point)))
    }

    fn mark_programs_of(&self, dir: &File) -> io::Result<u64> {
        // Its openings would be told as those of another filesystem, which is watched.
        if self.has_its_like(dir)? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        add_filesystem_mark(&self.main, dir, bits::OPEN_EXEC)
    }
}
