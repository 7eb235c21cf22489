//! How the daemon is: what it says in a reply to `health`.

use serde::{Deserialize, Serialize};

/// Numbers are since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Version of the program.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// When it began to record, RFC 3339.
    pub since: String,
    /// The same as seconds ago.
    pub up_secs: u64,
    /// Its resident memory, in KiB.
    pub memory_kib: u64,
    /// The most that it ever was.
    pub memory_peak_kib: u64,
    /// The last line of the journal: its number and its hash. Absent while lines of it wait for a disk.
    pub journal: Option<String>,
    /// What was seen.
    pub events: Events,
    /// What was lost, of each kind.
    pub losses: Losses,
    /// How full everything is.
    pub queues: Queues,
    /// What is known.
    pub known: Known,
    /// Rules and what they did.
    pub policy: PolicyHealth,
    /// Each filesystem that is watched.
    pub filesystems: Vec<Filesystem>,
    /// Each watch.
    pub watches: Vec<Watched>,
}

/// A watch and how it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// Which group.
    pub group: String,
    /// Its path.
    pub path: String,
    /// Whether that was there when last heard of.
    pub there: bool,
    /// As for a filesystem; empty when the one that it is on is not watched.
    pub way: String,
}

/// Events, and how sure their processes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Records of the kernel that were read.
    pub records: u64,
    /// Lines that were told.
    pub lines: u64,
    /// Events of the daemon itself, left out.
    pub own: u64,
    /// Lines whose process is certain.
    pub exact: u64,
    /// Lines for which two answers were possible.
    pub ambiguous: u64,
    /// Lines whose process nobody knows.
    pub unknown: u64,
    /// Events below watched paths that became no line.
    pub left_out: LeftOut,
}

/// Events below watched paths that became no line, by the filter that left them out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOut {
    /// Of another type than the watch asks for; some of these keep the recorder's own knowledge right.
    pub types: u64,
    /// Files of another size.
    pub size: u64,
    /// Excluded names, and what lies below them.
    pub exclude: u64,
    /// Processes that are not in the group.
    pub group: u64,
}

/// Counters of what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Losses {
    /// Events lost before they could be read; a lower bound.
    pub events: u64,
    /// Lines given up because a disk was full for too long.
    pub lines: u64,
    /// Records about processes that the kernel dropped.
    pub process_records: u64,
    /// Directories and files whose place nobody could say.
    pub unplaced: u64,
    /// Buffers that could not be parsed.
    pub malformed: u64,
}

/// What waits, and how much ever waited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queues {
    /// Bytes of events that are not told yet.
    pub held_bytes: u64,
    /// The most that there ever were.
    pub held_most_bytes: u64,
    /// As many as may be.
    pub held_ceiling_bytes: u64,
    /// Age of the oldest event that is not told yet, in milliseconds.
    pub oldest_ms: u64,
    /// Bytes of lines that are not written yet.
    pub pending_bytes: u64,
    /// As many as may be.
    pub pending_ceiling_bytes: u64,
    /// Who listens to live lines.
    pub readers: u64,
    /// The most bytes that ever waited in the ring of one CPU.
    pub ring_most_bytes: u64,
    /// As many as such a ring holds; 0 without rings.
    pub ring_bytes: u64,
}

/// What the daemon knows, and what that takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// Paths that are watched.
    pub watches: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes that they take.
    pub directory_bytes: u64,
    /// Files whose size is remembered.
    pub files: u64,
    /// Living processes.
    pub processes: u64,
    /// Dead ones that are remembered.
    pub dead_processes: u64,
    /// Directories that the kernel had to be asked for.
    pub asked: u64,
}

/// Rules, and what the gate did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyHealth {
    /// Rules in force.
    pub rules: u64,
    /// Jobs in force.
    pub jobs: u64,
    /// Alerts that were told.
    pub alerts: u64,
    /// Openings that were looked at.
    pub opens: u64,
    /// Openings that were refused.
    pub refused: u64,
    /// Openings that passed because nobody decided in time.
    pub overdue: u64,
}

/// A filesystem and how it is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filesystem {
    /// Where it is mounted.
    pub point: String,
    /// Its type.
    pub fstype: String,
    /// How it is watched: `filesystem`, `btrfs top`, `overlay upper` or `directories`.
    pub way: String,
}
