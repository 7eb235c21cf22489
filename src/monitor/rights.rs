//! Which capabilities the recorder uses, for what, and what it is without them.

use crate::sys::caps::Cap;

/// A capability and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// Which one.
    pub cap: Cap,
    /// Its name.
    pub name: &'static str,
    /// What it is used for.
    pub purpose: &'static str,
    /// What happens without it, as the end of a sentence.
    pub without: &'static str,
    /// How much that is.
    pub weight: Weight,
    /// Whether it is kept once everything has begun.
    is_kept: bool,
}

/// How much it matters that a capability is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The recorder would not do what is expected of it.
    Needed,
    /// Something is worse than it could be.
    Useful,
    /// Only a recorder that runs as root has a use for it.
    ForRoot,
}

/// All that is used. Marks on new filesystems and rings on new CPUs are wanted as long as it runs; so are files
/// by their handles, programs of other users' processes when /proc has to be read again, a user's rights in that
/// user's directories, root's own reach into directories of others, and the end of other users' hooks.
pub const RIGHTS: [Right; 8] = [
    Right {
        cap: Cap::SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        purpose: "marks on filesystems, pids of other processes, perf rings",
        without: "the daemon does not start",
        weight: Weight::Needed,
        is_kept: true,
    },
    Right {
        cap: Cap::DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        purpose: "files by their handles, any directory",
        without: "files cannot be opened by their handles: paths of directories that were not seen to be made may be missing, and sizes are 0",
        weight: Weight::Needed,
        is_kept: true,
    },
    Right {
        cap: Cap::NET_ADMIN,
        name: "CAP_NET_ADMIN",
        purpose: "a receive buffer of 16 MiB for changes of user, at start",
        without: "a burst of changes of user may be lost, and is a GAP then",
        weight: Weight::Useful,
        is_kept: false,
    },
    Right {
        cap: Cap::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        purpose: "programs of other users' processes that are older than the daemon",
        without: "programs of other users' processes that are older than the daemon are not known",
        weight: Weight::Useful,
        is_kept: true,
    },
    Right {
        cap: Cap::SETUID,
        name: "CAP_SETUID",
        purpose: "a user's own rights in that user's directories",
        without: "files of the user behind sudo are made and read as root",
        weight: Weight::ForRoot,
        is_kept: true,
    },
    Right {
        cap: Cap::SETGID,
        name: "CAP_SETGID",
        purpose: "that user's group there",
        without: "files of the user behind sudo get root's group",
        weight: Weight::ForRoot,
        is_kept: true,
    },
    Right {
        cap: Cap::DAC_OVERRIDE,
        name: "CAP_DAC_OVERRIDE",
        purpose: "writing in directories of others",
        without: "a log directory of another user cannot be written",
        weight: Weight::ForRoot,
        is_kept: true,
    },
    Right {
        cap: Cap::KILL,
        name: "CAP_KILL",
        purpose: "ending hooks that run as other users",
        without: "hooks of other users that take too long go on",
        weight: Weight::ForRoot,
        is_kept: true,
    },
];

/// Those that are needed as long as the recorder runs.
pub(super) fn kept() -> Vec<Cap> {
    let kept = RIGHTS.iter().filter(|right| right.is_kept);
    kept.map(|right| right.cap).collect()
}

impl Right {
    /// What is wrong without it, as a sentence.
    pub fn lack(&self) -> String {
        format!("without {} {}", self.name, self.without)
    }
}

/// What is said of a capability that is missing; nothing of one that is not used.
pub(super) fn lack_of(cap: Cap) -> Option<String> {
    RIGHTS
        .iter()
        .find(|right| right.cap == cap)
        .map(Right::lack)
}
