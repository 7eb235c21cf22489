//! Records that cannot be placed alone: what waits for its name, and what lost it to a rename.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Counts;
use super::tell::Deed;
use crate::dir_cache::NodeId;
use crate::fid_parser::bits;
use crate::fid_parser::raw::HandleKey;

/// Records that name only a file of which nothing is known yet; its DELETE or CREATE comes next.
#[derive(Debug, Default)]
pub(super) struct Parked {
    pub(super) records: HashMap<HandleKey, SmallVec<[ParkedRecord; 2]>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ParkedRecord {
    pub(super) bits: u64,
    pub(super) deed: Deed,
}

/// More than these are never waiting for a good reason.
pub(super) const PARKED_AT_MOST: usize = 4096;
/// After this many nanoseconds nothing comes any more.
const PARKED_FOR: u64 = 1_000_000_000;

impl Parked {
    pub(super) fn clear(&mut self) {
        self.records.clear();
    }

    pub(super) fn expire(&mut self, counts: &mut Counts, now: u64) {
        let before = self.records.len();
        self.records.retain(|_, parked| {
            parked
                .iter()
                .any(|record| now.saturating_sub(record.deed.span.to) < PARKED_FOR)
        });
        counts.unplaced += (before - self.records.len()) as u64;
    }
}

/// The new side of the last rename of each process: a file that was there before has been replaced,
/// and the records about its end carry its handle only.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    pub(super) places: Vec<ReplacedPlace>,
}

#[derive(Debug)]
pub(super) struct ReplacedPlace {
    pid: u32,
    dir: NodeId,
    name: Box<[u8]>,
    moved: HandleKey,
    /// Whose records came next: what was replaced is told of first, so no other object was.
    object: Option<HandleKey>,
}

impl Replaced {
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    pub(super) fn note(&mut self, pid: u32, (dir, name): (NodeId, &[u8]), moved: HandleKey) {
        self.end(pid);
        if self.places.len() >= 64 {
            self.places.remove(0);
        }
        self.places.push(ReplacedPlace {
            pid,
            dir,
            name: name.into(),
            moved,
            object: None,
        });
    }

    pub(super) fn end(&mut self, pid: u32) {
        self.places.retain(|place| place.pid != pid);
    }

    /// Takes note of an object whose link count changed, or that ended, by that process; says which name a rename
    /// has taken from it, if that is news.
    pub(super) fn bind(&mut self, pid: u32, object: HandleKey) -> Option<(NodeId, &[u8])> {
        let place = self.places.iter_mut().find(|place| place.pid == pid)?;
        if place.moved == object || place.object.is_some() {
            return None;
        }
        place.object = Some(object);
        Some((place.dir, &place.name))
    }

    /// An object was renamed by that process, and nothing was told of one that it replaced: that would have come before.
    pub(super) fn moved(&mut self, pid: u32, object: HandleKey) {
        let is_over = |place: &ReplacedPlace| {
            place.pid == pid && place.moved == object && place.object.is_none()
        };
        self.places.retain(|place| !is_over(place));
    }

    /// Where an object was that a rename of that process replaced, when a record with this mask tells of it.
    ///
    /// What was replaced is told of by the change of its link count first; an end alone is that of something else.
    pub(super) fn find(&self, pid: u32, object: &HandleKey, mask: u64) -> Option<(NodeId, &[u8])> {
        let place = self.places.iter().find(|place| place.pid == pid)?;
        let is_it = match &place.object {
            Some(bound) => bound == object,
            None => mask & bits::ATTRIB != 0,
        };
        is_it.then_some((place.dir, &place.name))
    }
}
