//! Records of the process feeds.

/// One change of a process.
#[derive(Clone, Copy, Debug)]
pub struct ProcRecord {
    /// When.
    pub time: u64,
}
