//! What the pipeline has to ask of the machine, and nothing more.

use super::Batch;
use crate::fid_parser::raw::HandleKey;

/// Where the kernel says a directory is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It is `name` in `parent`.
    In {
        /// The directory it is in.
        parent: HandleKey,
        /// Its name there.
        name: Vec<u8>,
    },
    /// It is the root of its filesystem.
    Top,
    /// It cannot be reached from any mount that is watched.
    Outside,
    /// It has been removed.
    Gone,
}

/// The questions. A test answers them from a table, the daemon from the kernel.
pub trait Probe {
    /// Asks where a directory is now; `None` when the filesystem cannot open handles.
    fn place_of(&mut self, dir: &HandleKey) -> Option<Whereabouts>;

    /// Asks for the handle of the directory `path`, where records do not carry it.
    fn handle_at(&mut self, like: &HandleKey, path: &[u8]) -> Option<HandleKey>;

    /// Asks for the size of an object; `None` when it is gone.
    fn size_of(&mut self, object: Option<&HandleKey>, path: &[u8]) -> Option<u64>;

    /// Asks whether an object is a whiteout, by which an overlay hides a name of a lower layer;
    /// `None` when it is gone.
    fn is_whiteout(&mut self, object: &HandleKey) -> Option<bool>;

    /// Waits for whoever renames something in a directory right now, until the queue tells of it.
    ///
    /// The kernel shows a rename at once, and tells of it some microseconds later; the directory is locked until
    /// then. An answer is true for what was read behind it only if nobody was in between.
    fn wait_for_renames(&mut self, dir: &HandleKey);

    /// Reads what has come since, until the queue is empty; appends to `into`.
    fn read_on(&mut self, into: &mut Vec<Batch>);
}
