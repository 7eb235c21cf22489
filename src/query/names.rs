//! Names of files, with what is known of each, and whether a path has to do with them.

use std::collections::BTreeMap;
use std::mem;

use crate::filters::scope;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Names in the order of their bytes.
#[derive(Debug)]
pub(super) struct Names<V = ()>(BTreeMap<Vec<u8>, V>);

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl FromIterator<Vec<u8>> for Names {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(names: I) -> Self {
        Self(names.into_iter().map(|name| (name, ())).collect())
    }
}

impl<V> Names<V> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(Vec::as_slice)
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&V> {
        self.0.get(name)
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.0.get_mut(name)
    }

    pub(super) fn insert(&mut self, name: Vec<u8>, value: V) {
        self.0.insert(name, value);
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<V> {
        self.0.remove(name)
    }

    /// Those that are `top` or lie below it.
    pub(super) fn at_or_below(&self, top: &[u8]) -> impl Iterator<Item = &[u8]> {
        let below = within(top);
        let first = self.0.get_key_value(top).map(|(name, _)| name.as_slice());
        let others = self.0.range(below.clone()..);
        first.into_iter().chain(
            others
                .map(|(name, _)| name.as_slice())
                .take_while(move |name| name.starts_with(&below))
                .filter(move |name| *name != top),
        )
    }

    /// Whether one of them is `top` or lies below it.
    pub(super) fn has_at_or_below(&self, top: &[u8]) -> bool {
        if self.len() > FEW {
            return self.at_or_below(top).next().is_some();
        }
        self.iter().any(|name| is_at_or_below(name, top))
    }

    /// Whether `path` is one of them or lies below one.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        if self.len() > FEW {
            let mut tops = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            return self.contains(path) || tops.any(|(at, _)| self.contains(&path[..at.max(1)]));
        }
        self.iter().any(|name| is_at_or_below(path, name))
    }
}

/// Whether `path` is `top` or lies below it.
pub(super) fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    scope::is_at_or_below(path, if top == b"/" { b"" } else { top })
}

/// What `name` is called after the rename of `from` to `to`, if that concerns it.
pub(super) fn moved(name: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    is_at_or_below(name, from).then(|| [to, &name[from.len()..]].concat())
}

/// How the names of all below `top` begin.
fn within(top: &[u8]) -> Vec<u8> {
    let mut beginning = top.to_vec();
    if top != b"/" {
        beginning.push(b'/');
    }
    beginning
}

/// Names told once and referred to by number.
#[derive(Debug, Default)]
pub(super) struct Interned {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Interned {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes they are.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn name(&self, number: u32) -> &[u8] {
        name_in(&self.bytes, &self.ends, number)
    }

    /// The number of `name`.
    pub(super) fn number(&mut self, name: &[u8]) -> u32 {
        let Self {
            bytes,
            ends,
            numbers,
            hasher,
        } = self;
        let hash = hasher.hash_one(name);
        if let Some(number) = numbers.find(hash, |known| name_in(bytes, ends, *known) == name) {
            return *number;
        }
        let number = ends.len() as u32;
        bytes.extend_from_slice(name);
        ends.push(bytes.len());
        let again = |known: &u32| hasher.hash_one(name_in(bytes, ends, *known));
        numbers.insert_unique(hash, number, again);
        number
    }

    /// Gives back the memory that is only needed while names are added.
    pub(super) fn close(&mut self) {
        mem::take(&mut self.numbers);
    }
}

fn name_in<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[number]]
}

/// So many are compared one by one.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn trees_of_names_are_asked_as_each_name_is(
            names in proptest::collection::vec("(/[ab!]{1,2}){1,3}|/", 0..20), path in "(/[ab!]{1,2}){1,3}|/",
        ) {
            let bytes: Vec<Vec<u8>> = names.iter().map(|name| name.clone().into_bytes()).collect();
            let set: Names = bytes.iter().cloned().collect();
            let path = path.as_bytes();
            let mut below: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).filter(|name| is_at_or_below(name, path)).collect();
            below.sort_unstable();
            below.dedup();
            let mut told: Vec<&[u8]> = set.at_or_below(path).collect();
            told.sort_unstable();
            prop_assert_eq!(&told, &below);
            prop_assert_eq!(set.has_at_or_below(path), !below.is_empty());
            prop_assert_eq!(set.covers(path), bytes.iter().any(|name| is_at_or_below(path, name)));
        }

        #[test]
        fn a_number_leads_back_to_its_name(names in proptest::collection::vec("[ab]{0,2}", 0..20)) {
            let mut interned = Interned::default();
            let numbers: Vec<u32> = names.iter().map(|name| interned.number(name.as_bytes())).collect();
            interned.close();
            for (name, number) in names.iter().zip(numbers) {
                prop_assert_eq!(interned.name(number), name.as_bytes());
            }
        }
    }
}
