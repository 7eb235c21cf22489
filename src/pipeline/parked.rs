//! Records that cannot be placed alone: what waits for its name, and what lost it to a rename.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Counts;
use super::tell::Deed;
use crate::dir_cache::NodeId;
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
    pub(super) places: Vec<(u32, NodeId, Box<[u8]>)>,
}

impl Replaced {
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    pub(super) fn note(&mut self, pid: u32, dir: NodeId, name: &[u8]) {
        self.end(pid);
        if self.places.len() >= 64 {
            self.places.remove(0);
        }
        self.places.push((pid, dir, name.into()));
    }

    pub(super) fn end(&mut self, pid: u32) {
        self.places.retain(|(other, ..)| *other != pid);
    }

    pub(super) fn find(&self, pid: u32) -> Option<(NodeId, Box<[u8]>)> {
        self.places
            .iter()
            .find(|(other, ..)| *other == pid)
            .map(|(_, dir, name)| (*dir, name.clone()))
    }
}
