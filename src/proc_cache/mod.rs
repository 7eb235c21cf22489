//! Which process is who: versions of each process over time.
#![forbid(unsafe_code)]

pub mod record;
pub mod table;

pub use table::{ProcTable, Who};

/// stub
#[derive(Debug, Default)]
pub struct FeedOptions {
    /// p
    pub perf: bool,
}
/// stub
#[derive(Debug, Default)]
pub struct ProcLimits {
    /// p
    pub ttl: std::time::Duration,
}
/// stub
#[derive(Debug)]
pub struct ProcFeed;
#[expect(missing_docs, reason = "stub")]
impl ProcFeed {
    pub fn open(_: FeedOptions) -> std::io::Result<Self> {
        Ok(Self)
    }
    pub fn ways(&self) -> Vec<String> {
        vec![]
    }
    pub fn poll_fds(&self) -> Vec<std::os::fd::BorrowedFd<'_>> {
        vec![]
    }
    pub fn drain(&mut self, _: &mut Vec<record::ProcRecord>) {}
}
impl ProcTable {
    /// n
    pub fn new(_: ProcLimits) -> Self {
        Self {}
    }
    /// n
    pub fn snapshot(&mut self, _: &std::path::Path, _: u64) {}
}
