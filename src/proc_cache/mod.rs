//! Which process is who: versions of each process over time.
//!
//! fanotify gives a pid and nothing else, and by the time anybody reads /proc that process may
//! be long gone. So everything that happens to processes is recorded as it happens ([`ProcFeed`]),
//! kept with its time ([`ProcTable`]), and asked for by pid and time.
//!
//! Order of calls: open the feed, take a snapshot of /proc, then for each batch read fanotify
//! until it is empty, drain the feed, apply the records, and only then look processes up.
#![forbid(unsafe_code)]

mod connector;
mod cpus;
mod feed;
mod lineage;
mod marker;
mod names;
mod proc_fs;
mod process;
mod record;
mod slab;
mod snapshot;
mod table;
mod threads;
mod wire;

#[cfg(test)]
mod tests;

pub use connector::{Wanted, read_datagram};
pub use feed::{About, FeedOptions, Knowledge, ProcFeed, Source};
pub use lineage::Membership;
pub use marker::{Moment, Part, Span};
pub use record::{Comm, ProcChange, ProcRecord};
pub use table::{ProcLimits, ProcStats, ProcTable, Who};
pub use wire::SideBand;
