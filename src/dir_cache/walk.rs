//! Seeds the tree by looking at the directories themselves.
//!
//! Directories are opened by handle, so depth does not matter; those still to be read are node
//! numbers, so breadth hardly does. A walk goes on in small pieces between batches, and what it
//! finds is an answer about now: the caller reads the queue on before it is believed.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::tree::{DirTree, NodeId};
use crate::fid_parser::raw::{FsId, HandleKey};
use crate::sys::{dirents, handle};

/// A walk that is under way on one filesystem.
#[derive(Debug)]
pub struct Walk {
    fs: FsId,
    left: Vec<NodeId>,
    reading: Option<(NodeId, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Walk {
    /// Begins a walk at a directory.
    pub fn new(tree: &mut DirTree, start: &HandleKey) -> Self {
        let top = tree.intern(start);
        tree.retain(top);
        Self {
            fs: start.fs(),
            left: vec![top],
            reading: None,
            buffer: vec![0; BUFFER],
        }
    }

    /// The filesystem that is walked.
    pub fn fs(&self) -> FsId {
        self.fs
    }

    /// Reads some more directories through the mount `door` and puts what is new into `found`.
    ///
    /// `enters` says whether a directory is to be entered. Returns whether there is more to do. Ends
    /// early when the tree is full: the rest is asked for when it is needed.
    pub fn advance(
        &mut self,
        tree: &mut DirTree,
        door: BorrowedFd<'_>,
        mount_id: i32,
        enters: &mut dyn FnMut(&DirTree, NodeId) -> bool,
        found: &mut Vec<NodeId>,
    ) -> bool {
        for _ in 0..PIECE {
            if tree.is_full() {
                self.end(tree);
                return false;
            }
            let Some((dir, open)) = self
                .reading
                .take()
                .or_else(|| self.open_next(tree, door, enters))
            else {
                return false;
            };
            match self.read(tree, dir, &open, mount_id, found) {
                Ok(true) => self.reading = Some((dir, open)),
                // A directory that cannot be read is asked for when an event speaks of it.
                Ok(false) | Err(_) => tree.release(dir),
            }
        }
        true
    }

    /// Gives up what is left.
    pub fn end(&mut self, tree: &mut DirTree) {
        let reading = self.reading.take().map(|(dir, _)| dir);
        self.left
            .drain(..)
            .chain(reading)
            .for_each(|dir| tree.release(dir));
    }

    fn open_next(
        &mut self,
        tree: &mut DirTree,
        door: BorrowedFd<'_>,
        enters: &mut dyn FnMut(&DirTree, NodeId) -> bool,
    ) -> Option<(NodeId, OwnedFd)> {
        while let Some(dir) = self.left.pop() {
            let key = tree.key(dir);
            if enters(tree, dir)
                && let Ok(open) = handle::open_directory(door, key.kind(), key.bytes())
            {
                return Some((dir, open));
            }
            tree.release(dir);
        }
        None
    }

    fn read(
        &mut self,
        tree: &mut DirTree,
        dir: NodeId,
        open: &OwnedFd,
        mount_id: i32,
        found: &mut Vec<NodeId>,
    ) -> io::Result<bool> {
        let Self {
            fs, left, buffer, ..
        } = self;
        dirents::read_subdirectories(open.as_fd(), buffer, |name| {
            let Ok((handle, mount)) = handle::handle_of(Some(open.as_fd()), name) else {
                return;
            };
            if mount != mount_id {
                // Another filesystem is mounted there, and walked by itself if it is watched.
                return;
            }
            let child = tree.intern(&HandleKey::new(*fs, handle.kind, &handle.bytes));
            if tree.is_unknown(child) {
                tree.put(child, dir, name.to_bytes());
                tree.set_unconfirmed(child, true);
                found.push(child);
            }
            tree.retain(child);
            left.push(child);
        })
    }
}

/// Directories, or parts of large ones, that are read before events get their turn.
const PIECE: usize = 256;
/// A whole directory nearly always fits.
const BUFFER: usize = 32 * 1024;
