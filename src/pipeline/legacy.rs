//! Kernels from 5.9 to 5.16: records of entries do not carry the handle of the child, and a rename
//! comes as MOVED_FROM, MOVED_TO and MOVE_SELF. Here they are put into the later form.
//!
//! Bits of one name merge even more there: `CREATE|MOVED_FROM a` is one record, and so is
//! `MOVED_TO|DELETE b`.

use hashbrown::HashMap;

use super::window::{At, Object, Rec, Window};
use crate::dir_cache::{DirTree, NodeId};
use crate::fid_parser::bits;
use crate::fid_parser::raw::HandleKey;

/// The halves of a rename on their way to become one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingMove {
    pid: u32,
    rec: u32,
    /// Both halves are there; only what was renamed is missing.
    whole: bool,
}

/// So long, in nanoseconds, the rest of a rename is waited for; it comes at once or, from a directory that has no
/// mark, never.
const HELD: u64 = 5_000_000;

impl Window {
    /// Takes a record in, as one RENAME record if it is the second half of a rename.
    pub(super) fn push_legacy(&mut self, mut rec: Rec) {
        let slot = self.moves.iter().position(|half| half.pid == rec.pid);
        if rec.mask & bits::MOVED_TO != 0
            && let Some(slot) = slot.filter(|slot| !self.moves[*slot].whole)
        {
            let half = &mut self.recs[self.moves[slot].rec as usize];
            half.mask &= !bits::MOVED_FROM;
            half.was_split = true;
            let from = half.at;
            self.moves[slot] = PendingMove {
                pid: rec.pid,
                rec: self.recs.len() as u32,
                whole: true,
            };
            let on_dir = rec.mask & bits::ONDIR;
            self.recs.push(Rec {
                mask: bits::RENAME | on_dir,
                at: from,
                to: rec.at,
                object: Object::None,
                ..rec
            });
            rec.mask &= !bits::MOVED_TO;
            rec.was_split = true;
        }
        if rec.mask & bits::MOVED_FROM != 0 {
            self.moves.retain(|half| half.pid != rec.pid);
            self.moves.push(PendingMove {
                pid: rec.pid,
                rec: self.recs.len() as u32,
                whole: false,
            });
        }
        if rec.mask & !bits::ONDIR != 0 {
            self.recs.push(rec);
        }
    }

    /// The first untold record of a rename of which a part has not been read yet: the kernel queues its three
    /// records one by one, and a read can fall between them.
    pub(super) fn first_half(&self, now: u64) -> Option<usize> {
        let is_fresh = |rec: &usize| {
            let read = self.batches[self.recs[*rec].batch as usize].mono;
            now.saturating_sub(read) < HELD && *rec >= self.next
        };
        let halves = self.moves.iter().map(|half| half.rec as usize);
        halves.filter(is_fresh).min()
    }

    /// A MOVE_SELF says what the rename before it has renamed.
    pub(super) fn complete_move(&mut self, pid: u32, dir: Option<NodeId>, file: Option<HandleKey>) {
        let Some(slot) = self
            .moves
            .iter()
            .position(|half| half.pid == pid && half.whole)
        else {
            return;
        };
        let index = self.moves.remove(slot).rec;
        if let Some(dir) = dir {
            // Its old place is stated when the batch, which holds the names, is in the window.
            self.recs[index as usize].object = Object::Dir(dir);
        } else if let Some(key) = file {
            let object = self.file(index, key);
            self.recs[index as usize].object = object;
        }
    }

    /// Finds what the records of one batch state about directories whose handle stands in a neighbour.
    ///
    /// A removal names the directory, and the DELETE_SELF before it has its handle.
    pub(super) fn state_removals(&mut self, tree: &mut DirTree, batch: u32) {
        let first = self
            .recs
            .iter()
            .rposition(|rec| rec.batch != batch)
            .map_or(0, |at| at + 1);
        for index in first..self.recs.len() {
            let rec = self.recs[index];
            if rec.mask & bits::ONDIR == 0 {
                continue;
            }
            match (rec.object, rec.at) {
                (Object::Dir(dir), None) if rec.mask & bits::DELETE_SELF != 0 => {
                    self.removing.push((rec.pid, dir))
                }
                (Object::None, Some(at)) if rec.mask & bits::DELETE != 0 => {
                    if let Some(slot) = self.removing.iter().rposition(|(pid, _)| *pid == rec.pid) {
                        let (_, dir) = self.removing.remove(slot);
                        self.recs[index].object = Object::Dir(dir);
                        self.put_if_wanted(tree, dir, at);
                    }
                }
                (Object::Dir(dir), Some(at)) if rec.mask & bits::RENAME != 0 => {
                    self.put_if_wanted(tree, dir, at)
                }
                _ => {}
            }
        }
    }

    /// Gives entries of files the handle that other records of the same name carry, so that all
    /// records of one file are known to belong together.
    pub(super) fn attach_files(&mut self) {
        let mut by_name: HashMap<(NodeId, Vec<u8>), u32> = HashMap::new();
        for rec in &self.recs[self.next..] {
            let Object::File(file) = rec.object else {
                continue;
            };
            for at in rec.at.iter().chain(&rec.to) {
                by_name.insert((at.dir, self.name(at.name).to_vec()), file);
            }
        }
        // Of each process, the record just before: an unlink gives ATTRIB|DELETE_SELF of the file,
        // then DELETE of the name.
        let mut before: HashMap<u32, Object> = HashMap::new();
        for index in self.next..self.recs.len() {
            let rec = self.recs[index];
            let nameless = if rec.at.is_none() {
                rec.object
            } else {
                Object::None
            };
            let neighbour = before.insert(rec.pid, nameless);
            let (Object::None, Some(at), 0) =
                (rec.object, rec.to.or(rec.at), rec.mask & bits::ONDIR)
            else {
                continue;
            };
            let named = by_name
                .get(&(at.dir, self.name(at.name).to_vec()))
                .map(|file| Object::File(*file));
            let removed = neighbour.filter(|_| rec.mask & bits::DELETE != 0);
            self.recs[index].object = named.or(removed).unwrap_or(Object::None);
        }
        self.link_again();
    }

    fn link_again(&mut self) {
        let mut last: HashMap<u32, u32> = HashMap::new();
        for index in self.next..self.recs.len() {
            let rec = &mut self.recs[index];
            rec.next_same = 0;
            let Object::File(file) = rec.object else {
                continue;
            };
            if let Some(before) = last.insert(file, index as u32) {
                self.recs[before as usize].next_same = index as u32;
            }
            self.files[file as usize].last = index as u32;
        }
    }

    fn put_if_wanted(&self, tree: &mut DirTree, dir: NodeId, at: At) {
        if tree.wants_statement(dir) {
            tree.put(dir, at.dir, self.name(at.name));
        }
    }
}
