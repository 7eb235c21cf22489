//! Whose deed the end of an object is.
//!
//! To ask for a size or a place, the daemon holds the object open for some microseconds. If it is
//! removed just then, its last user is the daemon: the kernel reports DELETE_SELF late, as the
//! daemon's, and sometimes twice, once for each of two names in its cache. The end belongs to the
//! process that removed the name.

use std::collections::VecDeque;

use super::Pipeline;
use super::tell::{Deed, Location};
use super::window::{Object, Rec};
use crate::dir_cache::NodeId;
use crate::fid_parser::bits;
use crate::fid_parser::raw::HandleKey;

/// The last removals, in the order in which they were told.
#[derive(Debug, Default)]
pub(super) struct Ends {
    removed: VecDeque<(HandleKey, Deed)>,
    /// The new sides of renames: what was there before has lost its name without a DELETE.
    overwritten: VecDeque<(NodeId, Box<[u8]>, Deed)>,
    /// Objects whose DELETE_SELF was told.
    ended: VecDeque<HandleKey>,
    /// Of these, the ones that the kernel reported as the daemon's.
    ended_by_us: VecDeque<HandleKey>,
}

/// The daemon holds an object open for microseconds; so many removals back is far enough.
const AT_MOST: usize = 1024;

fn push<T>(into: &mut VecDeque<T>, item: T) {
    if into.len() >= AT_MOST {
        into.pop_front();
    }
    into.push_back(item);
}

impl Ends {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Pipeline {
    /// Remembers for a while who removed an object.
    pub(super) fn note_removal(&mut self, rec: &Rec, deed: Deed) {
        if let Some(key) = self.key_of(rec.object) {
            push(&mut self.ends.removed, (key, deed));
        }
    }

    /// Remembers for a while who renamed something over whatever was there.
    pub(super) fn note_overwriting(&mut self, rec: &Rec, deed: Deed) {
        if let Some(to) = rec.to {
            let name = self.window.name(to.name).into();
            push(&mut self.ends.overwritten, (to.dir, name, deed));
        }
    }

    /// Whose deed a record is, and what of `kinds` is left: an end that was told already is not told again.
    pub(super) fn true_deed(
        &mut self,
        rec: &Rec,
        kinds: u64,
        location: Option<&Location>,
        deed: Deed,
    ) -> (Deed, u64) {
        if kinds & bits::DELETE_SELF == 0 {
            return (deed, kinds);
        }
        let Some(key) = self.key_of(rec.object) else {
            return (deed, kinds);
        };
        let rest = kinds & !bits::DELETE_SELF;
        if deed.pid != self.settings.own_pid {
            if self.ends.ended_by_us.contains(&key) {
                return (deed, rest);
            }
            push(&mut self.ends.ended, key);
            return (deed, kinds);
        }
        if self.ends.ended.contains(&key) {
            return (deed, rest);
        }
        let whose = self.remover(rec, &key, location);
        push(&mut self.ends.ended, key);
        push(&mut self.ends.ended_by_us, key);
        // Nobody is blamed where nobody can be named.
        let deed = whose.map_or(Deed { pid: 0, ..deed }, |whose| Deed {
            wall: deed.wall,
            ..whose
        });
        (deed, kinds)
    }

    fn remover(&self, rec: &Rec, key: &HandleKey, location: Option<&Location>) -> Option<Deed> {
        let removes = |other: &&Rec| {
            other.object == rec.object && other.mask & bits::DELETE != 0 && other.at.is_some()
        };
        if let Some(other) = self.window.recs[self.window.next..].iter().find(removes) {
            return Some(self.deed_of(other));
        }
        let told = self
            .ends
            .removed
            .iter()
            .rev()
            .find(|(removed, _)| removed == key);
        if let Some((_, deed)) = told {
            return Some(*deed);
        }
        let (dir, name) = match location? {
            Location::Entry { dir, name, .. } => (*dir, name.as_slice()),
            Location::Itself(itself) => match self.tree.place(*itself) {
                crate::dir_cache::Place::In { parent, name } => (parent, name),
                _ => return None,
            },
        };
        let over = self
            .ends
            .overwritten
            .iter()
            .rev()
            .find(|(at, what, _)| *at == dir && **what == *name);
        over.map(|(.., deed)| *deed)
    }

    fn key_of(&self, object: Object) -> Option<HandleKey> {
        match object {
            Object::File(number) => Some(self.window.files[number as usize].key),
            Object::Dir(dir) => Some(self.tree.key(dir)),
            Object::None => None,
        }
    }
}
