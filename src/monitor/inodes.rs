//! Filesystems where every directory needs a mark of its own: FUSE, an overlay seen from inside.

use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::ask::open_dir;
use super::engine::{Engine, handle_at};
use super::ways::Way;
use crate::fid_parser::bits;
use crate::fid_parser::raw::FsId;
use crate::monitored::WatchSet;
use crate::sys::fanotify::MarkOn;

impl Engine {
    /// Marks every directory of the filesystems where that is the only way.
    pub(super) fn mark_inode_trees(&mut self, watches: &WatchSet) {
        let inode_marked: Vec<(FsId, PathBuf)> = self
            .marked
            .iter()
            .filter(|marked| marked.way == Way::Inodes)
            .map(|marked| (marked.fs, marked.through.clone()))
            .collect();
        let mut tops: Vec<(PathBuf, FsId, bool)> = Vec::new();
        for (fs, point) in &inode_marked {
            for watch in watches.iter() {
                if point.starts_with(&watch.path) && watch.recursive {
                    tops.push((point.clone(), *fs, true));
                } else if watch.path.starts_with(point) {
                    tops.push((watch.path.clone(), *fs, watch.recursive));
                }
            }
        }
        // A tree is walked once: what appears in it later is marked as it appears.
        for (top, fs, recursive) in tops
            .iter()
            .filter(|top| !self.inode_tops.contains(top))
            .cloned()
            .collect::<Vec<_>>()
        {
            let point = inode_marked
                .iter()
                .find(|(marked, _)| *marked == fs)
                .map(|(_, point)| point.clone());
            self.mark_way_to(fs, &point.unwrap_or_default(), &top);
            if recursive {
                self.mark_tree(fs, &top);
            }
        }
        self.inode_tops = tops;
    }

    /// Marks the directories from a mount point down to a watched path, and learns where they are.
    fn mark_way_to(&mut self, fs: FsId, point: &Path, top: &Path) {
        let way: Vec<PathBuf> = top
            .ancestors()
            .take_while(|dir| dir.starts_with(point))
            .map(Path::to_owned)
            .collect();
        for dir in way.iter().rev() {
            let marked = self.mark_directory(fs, dir);
            let parent = dir
                .parent()
                .filter(|parent| parent.starts_with(point))
                .and_then(|parent| handle_at(fs, parent));
            if let (true, Some(parent), Some(name), Some(key)) =
                (marked, parent, dir.file_name(), handle_at(fs, dir))
            {
                self.pipeline
                    .learn_directory(&parent, name.as_bytes(), &key, true);
            }
        }
    }

    fn mark_directory(&self, fs: FsId, dir: &Path) -> bool {
        let marked = self
            .marked
            .iter()
            .find(|marked| marked.fs == fs && marked.way == Way::Inodes);
        let Some(group) = marked.and_then(|marked| self.others.get(&marked.group)) else {
            return false;
        };
        let mask = marked.map_or(0, |marked| marked.mask) & !bits::FS_ERROR | bits::ON_CHILD;
        open_dir(dir).is_ok_and(|dir| group.add_mark(MarkOn::Inode, mask, dir.as_fd()).is_ok())
    }

    /// Marks a directory and all below it, and learns where they are.
    pub(super) fn mark_tree(&mut self, fs: FsId, top: &Path) {
        let mut left = vec![top.to_owned()];
        while let Some(dir) = left.pop() {
            if !self.mark_directory(fs, &dir) {
                continue;
            }
            let Some(parent) = handle_at(fs, &dir) else {
                continue;
            };
            let Ok(entries) = std::fs::read_dir(&dir) else {
                continue;
            };
            for entry in entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            {
                let below = entry.path();
                if let Some(key) = handle_at(fs, &below) {
                    self.pipeline.learn_directory(
                        &parent,
                        entry.file_name().as_bytes(),
                        &key,
                        true,
                    );
                    left.push(below);
                }
            }
        }
    }
}
