//! Which paths were met already, in a few bytes for each.

use std::hash::{BuildHasher, RandomState};

use hashbrown::{DefaultHashBuilder, HashTable};

/// A path as 128 bits that nobody can foresee: two keys drawn anew for each question, so that two
/// paths with the same bits do not come about, by chance or by intent.
#[derive(Debug, Default)]
pub(super) struct Digests {
    one: RandomState,
    other: DefaultHashBuilder,
}

impl Digests {
    /// The bits for `path`.
    pub(super) fn of(&self, path: &[u8]) -> u128 {
        u128::from(self.one.hash_one(path)) << 64 | u128::from(self.other.hash_one(path))
    }
}

/// Those that were met, up to a number.
#[derive(Debug)]
pub(super) struct Seen {
    digests: HashTable<u128>,
    most: usize,
}

impl Seen {
    /// Holds at most `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            digests: HashTable::new(),
            most,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.digests.len() >= self.most
    }

    pub(super) fn contains(&self, digest: u128) -> bool {
        self.digests
            .find(digest as u64, |known| *known == digest)
            .is_some()
    }

    /// Takes note of one; says whether it is new.
    pub(super) fn insert(&mut self, digest: u128) -> bool {
        let is_new = !self.contains(digest);
        if is_new {
            self.digests
                .insert_unique(digest as u64, digest, |known| *known as u64);
        }
        is_new
    }

    pub(super) fn clear(&mut self) {
        self.digests.clear();
    }
}
