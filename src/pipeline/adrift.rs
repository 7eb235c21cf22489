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
use super::returns::Spot;
use super::window::{Rec, Window};
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
        location.dir().is_some_and(|dir| self.is_adrift(dir))
    }

    /// Which bits of a record may have happened behind a rename above that place which is told later.
    pub(super) fn bits_adrift(&self, rec: &Rec, step: Step, location: &Location) -> u64 {
        if self.window.dir_moves.is_empty() && self.behind_loss.is_empty() {
            return 0;
        }
        let Some(dir) = location.dir() else {
            return 0;
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

    /// The places where a directory may have been when something happened in it, those by its own renames first.
    ///
    /// It itself and each directory above may have gone on already: by a rename that stands nowhere, or by one behind
    /// `merged`, a record to which something was added.
    pub(super) fn other_places(&self, dir: NodeId, merged: Option<&Rec>) -> Paths {
        let mut search = Search {
            merged,
            places: Paths::new(),
            steps: 0,
        };
        for renames in 1..=RENAMES_AT_MOST {
            search.steps = 0;
            self.search(dir, renames, &mut Vec::new(), &mut search);
        }
        search.places
    }

    /// Looks for the places of a directory after up to so many renames, and what is `below` it, the deepest first.
    fn search(&self, dir: NodeId, renames: usize, below: &mut Vec<Spot>, search: &mut Search<'_>) {
        search.steps += 1;
        if search.steps > STEPS_AT_MOST {
            return;
        }
        for point in self.mounts.get(&dir).into_iter().flatten() {
            let mut path = point.to_vec();
            for (_, name) in below.iter().rev() {
                path.push(b'/');
                path.extend_from_slice(name);
            }
            search.places.push(path);
        }
        let mut others: SmallVec<[Spot; 2]> = SmallVec::new();
        if renames > 0 {
            let later = search.merged.into_iter();
            let later = later.flat_map(|rec| self.window.renames_behind(dir, rec));
            others.extend(later.filter_map(|rename| Some(self.spot_of(rename.to?))));
            if self.adrift.is_itself(dir) {
                others.extend(self.hidden_ways(dir).cloned());
            }
        }
        let now = self.spot(dir).map(|spot| (spot, renames));
        let others = others.into_iter().map(|spot| (spot, renames - 1));
        for (spot, renames) in others.chain(now) {
            let parent = spot.0;
            below.push(spot);
            self.search(parent, renames, below, search);
            below.pop();
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

/// What is found of the places where a directory may have been.
struct Search<'a> {
    merged: Option<&'a Rec>,
    places: Paths,
    steps: usize,
}

/// So many renames that may have happened or not are thought of at a time, and so many directories looked at.
const RENAMES_AT_MOST: usize = 3;
const STEPS_AT_MOST: usize = 512;
