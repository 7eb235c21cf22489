//! Where directories cannot be placed for certain, and what is told below them.
//!
//! The kernel adds an event to an unread record of the same process, object and name, and the record keeps its
//! place. So a directory that came back to a place it had left may have left it once more, in a rename that stands
//! nowhere ([`returns`](super::returns)); and what was added to the record of a file may have happened before or
//! behind the rename of a directory above it. Such lines say that their path is one of two.

use hashbrown::{HashMap, HashSet};

use super::expand::{self, Step};
use super::resolve::Climb;
use super::tell::Location;
use super::window::Rec;
use super::{Batch, Pipeline};
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

    /// Which bits of a record may have happened behind a rename above it that is told later.
    pub(super) fn bits_adrift(&self, rec: &Rec, step: Step) -> u64 {
        let moves = &self.window.dir_moves;
        if moves.is_empty() && self.behind_loss.is_empty() {
            return 0;
        }
        let is_open = expand::is_merged(rec) && rec.mask & bits::RENAME == 0;
        let Some(at) = rec.at.filter(|_| is_open) else {
            return 0;
        };
        let mut order = bits::POSSIBLE_ORDER.into_iter().map(bits::bit_of);
        let first = order.find(|bit| rec.mask & bit != 0).unwrap_or(0);
        let late = step.bits & !first & !step.placed;
        if late == 0 {
            return 0;
        }
        let moves_later = |dir: NodeId| {
            moves.get(&dir).is_some_and(|index| {
                let rename = &self.window.recs[*index as usize];
                *index > rec.place && !expand::is_over_before(&self.window, rec, rename)
            })
        };
        if self.is_any_above(at.dir, moves_later) {
            return late;
        }
        // The end of the object, which stands where it happened, was lost: so the removal is behind the loss.
        if self.behind_loss.is_empty() {
            0
        } else {
            late & bits::DELETE
        }
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

/// The last record of the window that renames each directory.
pub(super) type DirMoves = HashMap<NodeId, u32>;
