//! Which names a file had at a record of the window that is not told yet.

use std::cell::OnceCell;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::nameless;
use super::returns::Spot;
use super::window::{At, Object, Rec, Window};
use crate::fid_parser::bits;

/// The names that are known of a file from what was told; `None` when it has lost all that were.
pub(super) type KnownNames<'a> = dyn Fn(u32) -> Option<SmallVec<[Spot; 2]>> + 'a;

/// The names of files while the records up to `end` happened.
pub(super) struct NamesThen<'a> {
    window: &'a Window,
    end: usize,
    known: &'a KnownNames<'a>,
    /// The records that give each name to something.
    givers: OnceCell<HashMap<Spot, SmallVec<[u32; 2]>>>,
}

impl<'a> NamesThen<'a> {
    pub(super) fn new(window: &'a Window, end: usize, known: &'a KnownNames<'a>) -> Self {
        Self {
            window,
            end,
            known,
            givers: OnceCell::new(),
        }
    }

    /// Whether a file is known to have had another name when a record about `place` was made.
    pub(super) fn has_another(&self, rec: &Rec, place: At) -> bool {
        let Object::File(number) = rec.object else {
            return false;
        };
        let before = |other: &&Rec| other.place < rec.place;
        let earlier = || self.window.records_of(number).take_while(before);
        // Its link count has changed before it had this name.
        if rec.mask & bits::CREATE != 0
            && earlier().any(|other| other.at.is_none())
            && !earlier().any(|other| nameless::is_suspect(self.window, other))
        {
            return true;
        }
        let place = self.spot(place);
        let names = self.names_behind(number, earlier());
        names.iter().any(|(name, _)| *name != place)
    }

    /// Whether a file is known by the name that a record has.
    pub(super) fn is_called_so(&self, rec: &Rec) -> bool {
        let (Object::File(number), Some(at)) = (rec.object, rec.at) else {
            return false;
        };
        let known = (self.known)(number).unwrap_or_default();
        known.contains(&self.spot(at))
    }

    /// The first record behind one and up to another that gives a name to something else than `object`.
    pub(super) fn given_to_another(
        &self,
        object: Object,
        name: At,
        behind: u32,
        until: u32,
    ) -> Option<u32> {
        let is_other = |index: &u32| !self.is_about(*index, object);
        if until.saturating_sub(behind) <= NEAR as u32 {
            let gives = |index: &u32| {
                given(&self.window.recs[*index as usize])
                    .is_some_and(|at| self.window.is_same(at, name))
            };
            return (behind + 1..=until).find(|index| gives(index) && is_other(index));
        }
        let givers = self.givers.get_or_init(|| self.all_givers());
        let mut givers = givers.get(&self.spot(name))?.iter().copied();
        givers.find(|index| (behind + 1..=until).contains(index) && is_other(index))
    }

    /// The rename behind the record of an end which took the only name that no record of the file takes.
    ///
    /// The record is an older one, to which the end was added.
    pub(super) fn rename_over(&self, end: &Rec) -> Option<u32> {
        let Object::File(number) = end.object else {
            return None;
        };
        if self.is_told_of_first(end) {
            return None;
        }
        let names = self.names_behind(number, self.window.records_of(number));
        let [(name, since)] = names.as_slice() else {
            return None;
        };
        let givers = self.givers.get_or_init(|| self.all_givers());
        let mut later = givers.get(name)?.iter().copied();
        let first = later.find(|index| index >= since && !self.is_about(*index, end.object))?;
        let is_rename = self.window.recs[first as usize].mask & bits::RENAME != 0;
        (is_rename && first > end.place).then_some(first)
    }

    /// Whether a record comes right behind the rename that is its reason, as it mostly does.
    fn is_told_of_first(&self, end: &Rec) -> bool {
        let before = &self.window.recs[self.window.next..end.place as usize];
        let mut before = before.iter().rev().take(NEAR);
        let last = before.find(|before| before.pid == end.pid);
        last.is_some_and(|last| last.mask & bits::RENAME != 0 && last.object != end.object)
    }

    /// The names that a file has behind those of its records, and since when.
    fn names_behind<'b>(
        &self,
        number: u32,
        records: impl Iterator<Item = &'b Rec>,
    ) -> SmallVec<[(Spot, u32); 2]> {
        let next = self.window.next as u32;
        let known = (self.known)(number).unwrap_or_default();
        let mut names: SmallVec<[_; 2]> = known.into_iter().map(|name| (name, next)).collect();
        for rec in records.filter(|rec| rec.place >= next && rec.mask & STATES_NAME != 0) {
            let leaves = rec.mask & (bits::DELETE | bits::RENAME) != 0;
            if let Some(at) = rec.at.map(|at| self.spot(at)) {
                names.retain(|(name, _)| *name != at);
                names.extend(Some((at, rec.place)).filter(|_| !leaves));
            }
            names.extend(rec.to.map(|to| (self.spot(to), rec.place)));
        }
        names
    }

    fn all_givers(&self) -> HashMap<Spot, SmallVec<[u32; 2]>> {
        let mut givers: HashMap<Spot, SmallVec<[u32; 2]>> = HashMap::new();
        for index in self.window.next..self.end {
            if let Some(at) = given(&self.window.recs[index]) {
                givers.entry(self.spot(at)).or_default().push(index as u32);
            }
        }
        givers
    }

    fn is_about(&self, index: u32, object: Object) -> bool {
        self.window.recs[index as usize].object == object
    }

    fn spot(&self, at: At) -> Spot {
        (at.dir, SmallVec::from_slice(self.window.name(at.name)))
    }
}

/// The name that a record gives to its object.
fn given(rec: &Rec) -> Option<At> {
    let made = rec.at.filter(|_| rec.mask & bits::CREATE != 0);
    rec.to.or(made)
}

/// So many records of other processes are looked over.
const NEAR: usize = 16;
/// What is said of a name itself, and not of the file that somebody opened by it once.
pub(super) const STATES_NAME: u64 = bits::CREATE | bits::RENAME | bits::DELETE;
