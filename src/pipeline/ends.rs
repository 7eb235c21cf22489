//! Whose deed the end of an object is.
//!
//! To ask for a size or a place, the daemon holds the object open for some microseconds. If it is
//! removed just then, its last user is the daemon: the kernel reports DELETE_SELF late, as the
//! daemon's, and sometimes twice, once for each of two names in its cache. The end belongs to the
//! process that removed the name.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::Pipeline;
use super::locate::Location;
use super::select;
use super::tell::Deed;
use super::window::{At, Object, Rec};
use crate::dir_cache::NodeId;
use crate::fid_parser::bits;
use crate::fid_parser::raw::HandleKey;

/// The last removals, in the order in which they were told.
#[derive(Debug, Default)]
pub(super) struct Ends {
    removed: VecDeque<Removal>,
    /// The new sides of renames: what was there before has lost its name without a DELETE.
    overwritten: VecDeque<Removal>,
    /// Objects whose DELETE_SELF was told.
    ended: VecDeque<HandleKey>,
    /// Of these, the ones that the kernel reported as the daemon's.
    ended_by_us: VecDeque<HandleKey>,
}

/// How an object lost its name.
#[derive(Debug)]
struct Removal {
    /// Which, if that is known.
    object: Option<HandleKey>,
    dir: NodeId,
    name: SmallVec<[u8; 24]>,
    deed: Deed,
    /// Where that was, once a directory has been renamed since.
    paths: Option<Paths>,
}

/// The ways to one object.
pub(super) type Paths = SmallVec<[Vec<u8>; 1]>;

/// The daemon holds an object open for microseconds, or as long as others keep it from the CPU; so many
/// removals back is far enough.
const AT_MOST: usize = 4096;
/// And so many ends: these are only handles.
const ENDS_AT_MOST: usize = 16 * 1024;

fn push<T>(into: &mut VecDeque<T>, item: T, most: usize) {
    if into.len() >= most {
        into.pop_front();
    }
    into.push_back(item);
}

impl Ends {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the end of an object was told.
    pub(super) fn has_ended(&self, object: &HandleKey) -> bool {
        self.ended.contains(object)
    }

    /// Forgets where things were, as the tree has forgotten directories. What has ended stays ended.
    pub(super) fn forget_places(&mut self) {
        self.removed.clear();
        self.overwritten.clear();
    }
}

impl Pipeline {
    /// Remembers for a while who removed an object.
    pub(super) fn note_removal(&mut self, rec: &Rec, deed: Deed) {
        let object = self.key_of(rec.object);
        if let (Some(at), true) = (rec.at, object.is_some()) {
            let removal = self.removal(object, at, deed);
            push(&mut self.ends.removed, removal, AT_MOST);
        }
    }

    fn removal(&self, object: Option<HandleKey>, at: At, deed: Deed) -> Removal {
        Removal {
            object,
            dir: at.dir,
            name: SmallVec::from_slice(self.window.name(at.name)),
            deed,
            paths: None,
        }
    }

    /// Remembers where the last removals were, as a directory is about to be renamed.
    pub(super) fn keep_places_of_ends(&mut self) {
        let Self {
            ends, tree, mounts, ..
        } = self;
        for removals in [&mut ends.removed, &mut ends.overwritten] {
            let fresh = removals.iter_mut().rev();
            for removal in fresh.take_while(|removal| removal.paths.is_none()) {
                let paths = select::paths_of(tree, mounts, removal.dir);
                let joined = paths.iter().map(|dir| select::joined(dir, &removal.name));
                removal.paths = Some(joined.collect());
            }
        }
    }

    /// Remembers for a while who renamed something over whatever was there.
    pub(super) fn note_overwriting(&mut self, rec: &Rec, deed: Deed) {
        if let Some(to) = rec.to {
            let removal = self.removal(None, to, deed);
            push(&mut self.ends.overwritten, removal, AT_MOST);
        }
    }

    /// Whose deed a record is, and what of `kinds` is left: an end that was told already is not told
    /// again. And where it was, if that is not where the last name of the object would be now.
    pub(super) fn true_deed(
        &mut self,
        rec: &Rec,
        kinds: u64,
        location: Option<&Location>,
        deed: Deed,
    ) -> (Deed, u64, Option<Paths>) {
        if kinds & bits::DELETE_SELF == 0 {
            return (deed, kinds, None);
        }
        let Some(key) = self.key_of(rec.object) else {
            return (deed, kinds, None);
        };
        let rest = kinds & !bits::DELETE_SELF;
        if deed.pid != self.settings.own_pid {
            if self.ends.ended_by_us.contains(&key) {
                return (deed, rest, None);
            }
            push(&mut self.ends.ended, key, ENDS_AT_MOST);
            return (deed, kinds, None);
        }
        if self.ends.has_ended(&key) {
            return (deed, rest, None);
        }
        let whose = self.remover(rec, &key, location);
        push(&mut self.ends.ended, key, ENDS_AT_MOST);
        push(&mut self.ends.ended_by_us, key, AT_MOST);
        // Nobody is blamed where nobody can be named.
        let Some((whose, paths)) = whose else {
            return (Deed { pid: 0, ..deed }, kinds, None);
        };
        let wall = deed.wall;
        (Deed { wall, ..whose }, kinds, paths)
    }

    fn remover(
        &self,
        rec: &Rec,
        key: &HandleKey,
        location: Option<&Location>,
    ) -> Option<(Deed, Option<Paths>)> {
        let told = self
            .ends
            .removed
            .iter()
            .rev()
            .find(|removal| removal.object.as_ref() == Some(key));
        if let Some(removal) = told {
            return Some((removal.deed, removal.paths.clone()));
        }
        let removes = |other: &&Rec| {
            other.object == rec.object && other.mask & bits::DELETE != 0 && other.at.is_some()
        };
        if let Some(other) = self.window.recs[self.window.next..].iter().find(removes) {
            return Some((self.deed_of(other), None));
        }
        let (dir, name) = match location? {
            Location::Itself(itself) => match self.tree.place(*itself) {
                crate::dir_cache::Place::In { parent, name } => (parent, name),
                _ => return None,
            },
            entry => self.entry_of(entry)?,
        };
        let over = self
            .ends
            .overwritten
            .iter()
            .rev()
            .find(|removal| removal.dir == dir && *removal.name == *name);
        over.map(|removal| (removal.deed, removal.paths.clone()))
    }

    fn key_of(&self, object: Object) -> Option<HandleKey> {
        match object {
            Object::File(number) => Some(self.window.files[number as usize].key),
            Object::Dir(dir) => Some(self.tree.key(dir)),
            Object::None => None,
        }
    }
}
