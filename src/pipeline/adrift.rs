//! Where directories cannot be placed for certain, and what is told below them.
//!
//! The kernel adds an event to an unread record of the same process, object and name, and the record keeps its
//! place. So a directory that came back to a place it had left may have left it once more, in a rename that stands
//! nowhere ([`returns`](super::returns)); and what was added to the record of a file may have happened before or
//! behind the rename of a directory above it. Such lines say that their path is one of two.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::ends::Paths;
use super::expand::{self, Step};
use super::locate::Location;
use super::resolve::Climb;
use super::window::{Rec, Window};
use super::{Batch, Pipeline, select};
use crate::dir_cache::{NodeId, Place};
use crate::fid_parser::bits;
use crate::fid_parser::raw::HandleKey;

/// Directories that may be at another place than the records say.
#[derive(Debug, Default)]
pub(super) struct Adrift {
    dirs: HashSet<NodeId>,
    /// Renamed by records in front of a loss: a rename behind it may have been added to one of those.
    before_loss: Vec<HandleKey>,
    /// When the last of these records was read.
    read_until: u64,
}

impl Adrift {
    pub(super) fn set(&mut self, dir: NodeId, is_adrift: bool) {
        if is_adrift {
            self.dirs.insert(dir);
        } else {
            self.dirs.remove(&dir);
        }
    }

    pub(super) fn is_itself(&self, dir: NodeId) -> bool {
        self.dirs.contains(&dir)
    }

    /// All of them.
    pub(super) fn dirs(&self) -> impl Iterator<Item = NodeId> {
        self.dirs.iter().copied()
    }

    /// To be called when all that was read was told, and where it ended up was asked for.
    pub(super) fn clear(&mut self) {
        self.dirs.clear();
    }
}

impl Pipeline {
    /// Whether a directory above may be elsewhere.
    pub(super) fn is_adrift(&self, dir: NodeId) -> bool {
        !self.adrift.dirs.is_empty() && self.is_any_above(dir, |dir| self.adrift.is_itself(dir))
    }

    pub(super) fn is_location_adrift(&self, location: &Location) -> bool {
        match location {
            Location::Entry { dir, .. } | Location::Itself(dir) => self.is_adrift(*dir),
            Location::Paths(_) => false,
        }
    }

    /// Which bits of a record may have happened behind a rename above that place which is told later.
    pub(super) fn bits_adrift(&self, rec: &Rec, step: Step, location: &Location) -> u64 {
        if self.window.dir_moves.is_empty() && self.behind_loss.is_empty() {
            return 0;
        }
        let dir = match location {
            Location::Entry { dir, .. } | Location::Itself(dir) => *dir,
            Location::Paths(_) => return 0,
        };
        if !expand::is_merged(rec) || rec.mask & bits::RENAME != 0 {
            return 0;
        }
        // Nothing happens to an entry before it is made; of other bits any may have been the first.
        let mut sure = bits::CREATE | step.placed;
        if self.window.says_when_unnamed(rec) {
            sure |= bits::ATTRIB;
        }
        let late = step.bits & !sure;
        if late == 0 {
            return 0;
        }
        if self.is_any_above(dir, |dir| {
            self.window.renames_behind(dir, rec).next().is_some()
        }) {
            return late;
        }
        // The end of the object, which stands where it happened, was lost: so the removal is behind the loss.
        if self.behind_loss.is_empty() {
            0
        } else {
            late & bits::DELETE
        }
    }

    /// The other places where a directory may have been when something happened in it.
    ///
    /// As if one of the directories above, or it itself, had gone on already: by a rename that stands nowhere, or
    /// by one behind `merged`, a record to which something was added.
    pub(super) fn other_places(&self, dir: NodeId, merged: Option<&Rec>) -> Paths {
        let mut places = Paths::new();
        let mut below: SmallVec<[NodeId; 16]> = SmallVec::new();
        let mut at = dir;
        let mut climb = Climb::from(dir);
        while places.len() < PLACES_AT_MOST {
            let mut add = |parent: NodeId, name: &[u8]| {
                for path in select::paths_of(&self.tree, &self.mounts, parent) {
                    let mut path = select::joined(&path, name);
                    for node in below.iter().rev() {
                        if let Place::In { name, .. } = self.tree.place(*node) {
                            path.push(b'/');
                            path.extend_from_slice(name);
                        }
                    }
                    places.push(path);
                }
            };
            let renames = merged.into_iter();
            let renames = renames.flat_map(|rec| self.window.renames_behind(at, rec));
            for to in renames.filter_map(|rename| rename.to) {
                add(to.dir, self.window.name(to.name));
            }
            if self.adrift.is_itself(at) {
                for (parent, name) in self.hidden_ways(at) {
                    add(*parent, name);
                }
            }
            let Place::In { parent, .. } = self.tree.place(at) else {
                break;
            };
            below.push(at);
            at = parent;
            if climb.goes_round(at) {
                break;
            }
        }
        places
    }

    fn is_any_above(&self, mut dir: NodeId, is_one: impl Fn(NodeId) -> bool) -> bool {
        let mut climb = Climb::from(dir);
        loop {
            if is_one(dir) {
                return true;
            }
            match self.tree.place(dir) {
                Place::In { parent, .. } if !climb.goes_round(parent) => dir = parent,
                _ => return false,
            }
        }
    }

    /// Remembers, in front of a loss, what records told so far have renamed.
    pub(super) fn keep_moves_before_loss(&mut self) {
        let tree = &self.tree;
        let moved = self.window.dir_moves.keys();
        self.adrift.before_loss = moved.map(|dir| tree.key(*dir)).collect();
        let last = self.window.batches.last();
        self.adrift.read_until = last.map_or(0, |batch| batch.mono);
    }

    /// Takes that up behind the loss, if the queue was not empty in between.
    pub(super) fn set_adrift_behind_loss(&mut self, behind: &[Batch]) {
        let moved = std::mem::take(&mut self.adrift.before_loss);
        let next = behind.iter().find(|batch| batch.lost.is_none());
        if next.is_some_and(|next| next.from < self.adrift.read_until) {
            for key in moved {
                let dir = self.tree.intern(&key);
                self.adrift.set(dir, true);
            }
        }
    }
}

/// The records of the window that rename each directory.
pub(super) type DirMoves = HashMap<NodeId, SmallVec<[u32; 2]>>;

impl Window {
    /// The renames of a directory behind a record to which something may have been added in front of them.
    pub(super) fn renames_behind<'a>(
        &'a self,
        dir: NodeId,
        rec: &'a Rec,
    ) -> impl Iterator<Item = &'a Rec> {
        let renames = self.dir_moves.get(&dir).map_or(&[][..], |all| all);
        let first = renames.partition_point(|index| *index <= rec.place);
        let later = renames[first..].iter();
        later
            .map(|index| &self.recs[*index as usize])
            .take_while(|rename| !expand::is_over_before(self, rec, rename))
    }
}

/// More places than these are never thought of.
const PLACES_AT_MOST: usize = 16;
