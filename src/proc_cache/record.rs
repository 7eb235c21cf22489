//! One thing that happened to a process, as a value.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A process name as the kernel keeps it: at most 15 bytes, any but NUL.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Comm([u8; 16]);

impl Comm {
    /// Takes the bytes up to the first NUL, at most 15.
    pub fn new(bytes: &[u8]) -> Self {
        let mut comm = [0; 16];
        for (to, &from) in comm[..15]
            .iter_mut()
            .zip(bytes.iter().take_while(|&&b| b != 0))
        {
            *to = from;
        }
        Self(comm)
    }

    /// The bytes without the padding.
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(15);
        &self.0[..len]
    }

    /// The name as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl From<&str> for Comm {
    fn from(name: &str) -> Self {
        Self::new(name.as_bytes())
    }
}

/// One change of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcRecord {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub time: u64,
    /// The process (thread group).
    pub pid: u32,
    /// The thread that did it; equal to `pid` for the first thread.
    pub tid: u32,
    /// What happened.
    pub what: ProcChange,
}

/// What a [`ProcRecord`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcChange {
    /// `tid` was born. A new process unless `ppid` is the process itself.
    Fork {
        /// The process that forked, also where the child was told another parent (`CLONE_PARENT`).
        ppid: u32,
        /// Which of its threads did.
        thread: u32,
    },
    /// A new name, by exec or by prctl.
    Comm {
        /// The name.
        comm: Comm,
        /// Whether an exec gave it.
        exec: bool,
    },
    /// Something executable was mapped; the first after an exec is the program.
    Exe {
        /// Its path, seen from the process's own root; empty when it was too long for a record.
        path: Arc<str>,
    },
    /// An exec that brings no name with it (proc connector).
    Exec,
    /// What /proc said at `read_at` about the process that had its [`ProcChange::Exec`] at `time`.
    ReadBack {
        /// The name then.
        comm: Comm,
        /// The program then.
        exe: Option<Arc<str>>,
        /// When it was read.
        read_at: u64,
    },
    /// `tid` ended; the process ends with its last thread.
    Exit,
    /// A new effective uid.
    Euid {
        /// The uid.
        uid: u32,
    },
    /// Records may be missing, but nobody says that any are.
    Doubt {
        /// Nothing is missing before this time.
        since: u64,
    },
    /// Records are missing.
    Lost {
        /// How many, 0 when the kernel does not say.
        count: u64,
        /// Nothing is missing before this time.
        since: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comm_is_cut_at_fifteen_bytes_and_at_nul() {
        assert_eq!(
            Comm::from("a-rather-long-name").as_bytes(),
            b"a-rather-long-n"
        );
        assert_eq!(Comm::new(b"ab\0cd").as_bytes(), b"ab");
        assert_eq!(Comm::new(b"").as_bytes(), b"");
        assert_eq!(Comm::new(b"x\xff").text(), "x\u{fffd}");
    }
}
