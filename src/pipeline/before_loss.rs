//! What was added to records in front of a loss by what was lost.
//!
//! The kernel adds an event to an unread record of the same process and object, and the record keeps its place. So
//! what happened behind a loss may be told in front of it, without the rename that says under which name. It is left
//! out, as that rename is: the GAP stands for both.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::Pipeline;
use super::expand;
use super::locate::Location;
use super::returns::Spot;
use super::window::{Object, Rec, Window};
use crate::fid_parser::bits;

/// Which names the records in front of a loss take away.
#[derive(Debug, Default)]
pub(super) struct BeforeLoss {
    /// Objects of which a name is removed.
    removed: HashSet<Object>,
    /// Names that objects get by a rename.
    taken: HashMap<Spot, SmallVec<[Object; 1]>>,
}

impl BeforeLoss {
    /// To be asked when all in front of the loss was read, and none of it told.
    pub(super) fn of(window: &Window) -> Self {
        let mut names = Self::default();
        for rec in &window.recs {
            if rec.mask & bits::DELETE != 0 && rec.at.is_some() {
                names.removed.insert(rec.object);
            }
            if let (Some(to), true) = (rec.to, rec.mask & bits::RENAME != 0) {
                let spot = (to.dir, window.name(to.name).into());
                names.taken.entry(spot).or_default().push(rec.object);
            }
        }
        names
    }
}

impl Pipeline {
    /// The bits of a record that may belong behind the loss.
    pub(super) fn bits_behind_loss(&self, rec: &Rec, location: Option<&Location>) -> u64 {
        let late = rec.mask & (bits::MOVE_SELF | bits::DELETE_SELF);
        if self.behind_loss.is_empty() || late == 0 || rec.at.is_some() || !expand::is_merged(rec) {
            return 0;
        }
        let mut lost = 0;
        if late & bits::MOVE_SELF != 0 && !self.is_renamed(rec.object) {
            lost |= bits::MOVE_SELF;
        }
        if late & bits::DELETE_SELF != 0 && !self.says_how_it_ended(rec.object, location) {
            // The link count changes as the last name goes.
            lost |= bits::DELETE_SELF | bits::ATTRIB;
        }
        lost
    }

    fn is_renamed(&self, object: Object) -> bool {
        match object {
            Object::File(file) => self.window.files[file as usize].is_renamed,
            Object::Dir(dir) => self.window.dir_moves.contains_key(&dir),
            Object::None => true,
        }
    }

    /// Whether what was read says by which name an object ended: it was removed, or something took its place.
    fn says_how_it_ended(&self, object: Object, location: Option<&Location>) -> bool {
        let had_lost_its_name = match object {
            Object::File(file) => self.last_seen(file).is_some_and(|seen| seen.is_lost),
            Object::Dir(_) | Object::None => false,
        };
        if had_lost_its_name || self.before_loss.removed.contains(&object) {
            return true;
        }
        let spot = match location {
            Some(Location::Itself(dir)) => self.spot(*dir),
            Some(location) => self
                .entry_of(location)
                .map(|(dir, name)| (dir, name.into())),
            None => None,
        };
        let takers = spot.and_then(|spot| self.before_loss.taken.get(&spot));
        takers.is_some_and(|takers| takers.iter().any(|taker| *taker != object))
    }
}
