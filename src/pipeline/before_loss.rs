//! What was added to records in front of a loss by what was lost.
//!
//! The kernel adds an event to an unread record of the same process and object, and the record keeps its place. So
//! what happened behind a loss may be told in front of it, without the rename that says under which name. It is left
//! out, as that rename is: the GAP stands for both.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Pipeline;
use super::expand;
use super::locate::Location;
use super::returns::Spot;
use super::window::{At, Object, Rec, Window};
use crate::fid_parser::bits;

/// Which names the records in front of a loss take away.
#[derive(Debug, Default)]
pub(super) struct BeforeLoss {
    /// Objects of which a name is removed, and which.
    removed: HashMap<Object, SmallVec<[Spot; 1]>>,
    /// What each name is given to last.
    given: HashMap<Spot, Object>,
}

impl BeforeLoss {
    /// To be asked when all in front of the loss was read, and none of it told.
    pub(super) fn of(window: &Window) -> Self {
        let mut names = Self::default();
        let spot = |at: At| (at.dir, window.name(at.name).into());
        for rec in &window.recs {
            let given = if rec.mask & bits::RENAME != 0 {
                rec.to
            } else {
                rec.at.filter(|_| rec.mask & bits::CREATE != 0)
            };
            if let Some(at) = given {
                names.given.insert(spot(at), rec.object);
            }
            if let Some(at) = rec.at.filter(|_| rec.mask & bits::DELETE != 0) {
                names.removed.entry(rec.object).or_default().push(spot(at));
            }
        }
        names
    }

    /// Whether an object is known to have lost a name.
    fn has_lost(&self, object: Object, name: &Spot) -> bool {
        let removed = self.removed.get(&object);
        removed.is_some_and(|removed| removed.contains(name))
            || self.given.get(name).is_some_and(|other| *other != object)
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
        if late & bits::MOVE_SELF != 0 && !self.is_renamed_by(rec) {
            lost |= bits::MOVE_SELF;
        }
        if late & bits::DELETE_SELF != 0 && !self.says_how_it_ended(rec.object, location) {
            // The link count changes as the last name goes.
            lost |= bits::DELETE_SELF | bits::ATTRIB;
        }
        lost
    }

    /// Whether the rename of a MOVE_SELF was read, too.
    fn is_renamed_by(&self, rec: &Rec) -> bool {
        let is_it = |rename: &Rec| {
            rename.mask & bits::RENAME != 0
                && rename.pid == rec.pid
                && !expand::is_over_before(&self.window, rename, rec)
        };
        match rec.object {
            Object::File(file) => self.window.records_of(file).any(is_it),
            Object::Dir(dir) => {
                let renames = self.window.dir_moves.get(&dir).into_iter().flatten();
                renames.map(|at| &self.window.recs[*at as usize]).any(is_it)
            }
            Object::None => true,
        }
    }

    /// Whether what was read says how an object ended: each name that is known of it was removed, or given to another.
    fn says_how_it_ended(&self, object: Object, location: Option<&Location>) -> bool {
        let names = match object {
            Object::File(file) => self.names_of(file),
            Object::Dir(dir) => Some(self.spot(dir).into_iter().collect()),
            Object::None => return true,
        };
        let Some(names) = names else {
            // It had lost them before.
            return true;
        };
        if names.is_empty() {
            let entry = location.and_then(|location| self.entry_of(location));
            let spot = entry.map(|(dir, name)| (dir, name.into()));
            return spot.is_some_and(|spot| self.before_loss.has_lost(object, &spot));
        }
        names
            .iter()
            .all(|name| self.before_loss.has_lost(object, name))
    }
}
