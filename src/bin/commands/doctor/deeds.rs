//! What the self-test does, each deed by a program of its own, and what must be told of it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use fsmon::event::EventType;

use crate::commands::Outcome;

/// Does a part of the self-test in the current directory.
#[derive(clap::Args)]
pub(crate) struct Args {
    deed: Deed,
}

/// A part of the self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Deed {
    Make,
    Rename,
    Remove,
    Bytes,
}

/// An event that must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) kind: EventType,
    /// From the directory of the test on.
    pub(crate) path: Vec<u8>,
    /// The other side of a rename.
    pub(crate) other: Option<Vec<u8>>,
}

/// The file that is made by the process that lives shortest.
pub(crate) const SHORT: &std::ffi::CStr = c"short";

const TREE: &str = "fsmon-tree";
const DEEP: &str = "fsmon-tree/a/b";
const FILE: &str = "fsmon-tree/a/b/file";
const OLD: &str = "fsmon-tree/a";
const NEW: &str = "fsmon-tree/renamed";
const LATER: &str = "fsmon-tree/renamed/b/later";
/// Valid in no UTF-8: a byte that begins nothing, and one that ends too soon.
const BYTES: &[u8] = b"fsmon-\xff-\xc3";

pub(crate) fn run(args: &Args) -> Outcome {
    args.deed.act()?;
    Ok(ExitCode::SUCCESS)
}

impl Deed {
    pub(crate) const ALL: [Self; 4] = [Self::Make, Self::Rename, Self::Remove, Self::Bytes];

    /// The word that asks the program for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Bytes => "bytes",
        }
    }

    /// The name that the program has while it does it; the kernel keeps 15 bytes.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Make => "fsmon-mkdir",
            Self::Rename => "fsmon-mv",
            Self::Remove => "fsmon-rm",
            Self::Bytes => "fsmon-bytes",
        }
    }

    /// What it is, for people.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Make => "mkdir -p, write",
            Self::Rename => "rename, write",
            Self::Remove => "rm -rf",
            Self::Bytes => "non-UTF-8 name",
        }
    }

    fn act(self) -> io::Result<()> {
        match self {
            Self::Make => {
                fs::create_dir_all(DEEP)?;
                fs::write(FILE, "x")
            }
            Self::Rename => {
                fs::rename(OLD, NEW)?;
                fs::write(LATER, "x")
            }
            Self::Remove => fs::remove_dir_all(TREE),
            Self::Bytes => {
                let name = Path::new(OsStr::from_bytes(BYTES));
                fs::write(name, "x")?;
                fs::remove_file(name)
            }
        }
    }

    /// What must be told of it, in the order in which it is done where there is one.
    pub(crate) fn truth(self) -> Vec<Expected> {
        use EventType::{CloseWrite, Create, Delete, MovedFrom, MovedTo};
        let moved = |kind, path: &str, other: &str| Expected {
            other: Some(other.into()),
            ..expected(kind, path)
        };
        match self {
            Self::Make => vec![
                expected(Create, TREE),
                expected(Create, OLD),
                expected(Create, DEEP),
                expected(Create, FILE),
                expected(CloseWrite, FILE),
            ],
            Self::Rename => vec![
                moved(MovedFrom, OLD, NEW),
                moved(MovedTo, NEW, OLD),
                expected(Create, LATER),
                expected(CloseWrite, LATER),
            ],
            Self::Remove => vec![
                expected(Delete, "fsmon-tree/renamed/b/file"),
                expected(Delete, LATER),
                expected(Delete, "fsmon-tree/renamed/b"),
                expected(Delete, NEW),
                expected(Delete, TREE),
            ],
            Self::Bytes => vec![
                expected(Create, BYTES),
                expected(CloseWrite, BYTES),
                expected(Delete, BYTES),
            ],
        }
    }
}

/// What must be told of the process that lives shortest.
pub(crate) fn truth_of_short() -> Vec<Expected> {
    vec![
        expected(EventType::Create, SHORT.to_bytes()),
        expected(EventType::CloseWrite, SHORT.to_bytes()),
    ]
}

fn expected(kind: EventType, path: impl AsRef<[u8]>) -> Expected {
    Expected {
        kind,
        path: path.as_ref().to_owned(),
        other: None,
    }
}
