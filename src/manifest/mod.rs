//! What lay in the watched trees at a moment, and what must have happened when something else lies there later.
//!
//! A manifest is the state at one moment. The logs bring it forward ([`expect`]) to what must be there if
//! nothing happened that was not recorded, a walk tells what is there ([`walk`]), and the difference is what
//! nobody saw ([`compare`]). Wherever the two cannot be compared for certain, nothing is said.
#![forbid(unsafe_code)]

pub mod compare;
pub mod expect;
pub mod file;
mod order;
pub mod walk;

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::event::WallTime;
use crate::filters::ParseError;
use crate::filters::glob::GlobSet;
use crate::filters::scope::Scope;

/// A watched tree, as far as it decides what lies in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The watched path.
    pub root: String,
    /// Whether everything below belongs to it.
    pub recursive: bool,
    /// How deep below.
    pub max_depth: Option<u32>,
    /// Exclude patterns.
    pub exclude: Vec<String>,
}

impl Place {
    /// The part of the tree that it is.
    pub fn scope(&self) -> Result<Scope, ParseError> {
        Ok(Scope {
            root: self.root.clone().into_bytes(),
            recursive: self.recursive,
            max_depth: self.max_depth,
            exclude: GlobSet::parse(&self.exclude)?,
        })
    }

    /// Whether all that is below its root belongs to it.
    pub fn is_plain(&self) -> bool {
        self.recursive && self.max_depth.is_none() && self.exclude.is_empty()
    }
}

/// The kinds of objects that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A device, a FIFO, a socket.
    Other,
    /// Anything but a directory: a log does not say more.
    NoDir,
}

/// What is known of an object. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Nothing is known of what it is and holds: something else is mounted there, or it could not be read.
    pub is_closed: bool,
    /// Its inode number, 0 when unknown.
    pub ino: u64,
    /// When it was made, 0 when unknown.
    pub birth: i64,
    /// Its size.
    pub size: u64,
    /// When its content changed last.
    pub mtime: i64,
    /// When anything about it changed last.
    pub ctime: i64,
    /// When a log tells of it for the last time; what stands above is older then. `i64::MIN` if none does.
    pub touched: i64,
}

impl Object {
    /// One of which only a log tells.
    pub fn told(is_dir: bool, at: WallTime) -> Self {
        Self {
            kind: if is_dir { Kind::Dir } else { Kind::NoDir },
            is_closed: false,
            ino: 0,
            birth: 0,
            size: 0,
            mtime: 0,
            ctime: 0,
            touched: at.0,
        }
    }

    /// A directory of which nothing is known.
    pub fn closed() -> Self {
        Self {
            is_closed: true,
            ..Self::told(true, WallTime(i64::MIN))
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }
}

/// Objects by their paths.
pub type Tree = BTreeMap<Box<[u8]>, Object>;

/// A watched tree of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Which.
    pub place: Place,
    /// The filesystem it is on.
    pub fsid: u64,
}

/// The state of the watched trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// When the walk began; what is in the logs from then on may be in the walk or not.
    pub from: WallTime,
    /// When it ended.
    pub until: WallTime,
    /// What was found out until then, and stands in the logs as such, is in the walk.
    pub told: WallTime,
    /// The trees that were walked.
    pub surveys: Vec<Survey>,
    /// What lay there.
    pub tree: Tree,
}

/// The paths of all that is below a directory.
pub fn below<'t>(tree: &'t Tree, dir: &[u8]) -> impl Iterator<Item = &'t Box<[u8]>> + use<'t> {
    let (first, end) = bounds_below(dir);
    let range = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
    tree.range::<[u8], _>(range).map(|(path, _)| path)
}

/// Between which paths all lies that is below a directory.
fn bounds_below(dir: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let dir = crate::filters::scope::trim_slashes(dir);
    // In the order of bytes nothing stands between `/` and `0`.
    ([dir, b"/"].concat(), [dir, b"0"].concat())
}

/// The directories above a path, the nearest first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let at = rest.iter().rposition(|byte| *byte == b'/')?;
        let is_root = at == 0 && rest.len() > 1;
        rest = &rest[..at];
        if rest.is_empty() {
            return is_root.then_some(&b"/"[..]);
        }
        Some(rest)
    })
}

#[cfg(test)]
mod tests;
