//! Marks for the openings of programs: they tell what a process did before an exec from what it
//! did after it, so they have to stand wherever a program may lie, watched or not.

use super::ask::open_dir;
use super::engine::{Engine, Marked};
use super::marks::Wanted;
use super::ways::{Way, path};
use crate::fid_parser::bits;
use crate::sys::mount::Mount;

impl Engine {
    /// Marks the filesystems in `wanted`, and no others than those and the watched ones.
    ///
    /// One that takes no mark is left out without a word: of a process that execs a program there,
    /// what it does within the same read of the queue is told as `ambiguous`.
    pub(super) fn mark_programs(&mut self, wanted: &[Wanted], mounts: &[Mount]) {
        let mut before = std::mem::take(&mut self.programs);
        for want in wanted {
            let mount_ids: Vec<i32> = want.mounts.iter().map(|at| mounts[*at].id).collect();
            let known = before.iter().position(|marked| {
                marked.dev == want.dev && marked.mount_ids.iter().any(|id| mount_ids.contains(id))
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
        before.retain(|old| self.marked.iter().all(|marked| marked.dev != old.dev));
        before.iter().for_each(|old| self.take_marks(old));
    }

    fn try_programs(&self, want: &Wanted, mounts: &[Mount]) -> Option<Marked> {
        let first = &mounts[want.mounts[0]];
        for at in &want.mounts {
            let through = path(&mounts[*at].point);
            let mark = |dir| self.add_filesystem_mark(&dir, bits::OPEN_EXEC);
            if let Ok(fsid) = open_dir(&through).and_then(mark) {
                return Some(self.marked_as(want, first, Way::Filesystem, fsid, through));
            }
        }
        if first.fstype != "btrfs" {
            return None;
        }
        let fsid = self.mark_btrfs_top(first, bits::OPEN_EXEC).ok()?;
        Some(self.marked_as(want, first, Way::BtrfsTop, fsid, path(&first.point)))
    }
}
