//! The ways in which a filesystem can be watched, and what they are worth.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::ask::open_dir;
use super::marks::{self, Wanted, has_nothing_to_record};
use crate::monitored::path::quoted;
use crate::sys::mount::Mount;

/// How a filesystem is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a mark on the filesystem.
    Filesystem,
    /// By a mark on the top level of its btrfs, which sees all subvolumes.
    BtrfsTop,
    /// Through the filesystem that an overlay keeps its changes on.
    OverlayUpper {
        /// The device of that filesystem.
        dev: (u32, u32),
        /// The directory with the changes.
        upper: PathBuf,
    },
    /// By a mark on each directory, in a group of its own.
    Inodes,
}

impl Way {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::BtrfsTop => "btrfs top",
            Self::OverlayUpper { .. } => "overlay upper",
            Self::Inodes => "directories",
        }
    }

    /// What it is, as the end of a sentence about a filesystem.
    pub fn told(&self) -> String {
        match self {
            Self::Filesystem => "is watched by a filesystem mark".to_owned(),
            Self::BtrfsTop => {
                "is a subvolume, watched by a mark on the top level of its filesystem".to_owned()
            }
            Self::OverlayUpper { upper, .. } => {
                format!("is watched through its upper directory {}", quoted(upper))
            }
            Self::Inodes => "is watched by a mark on each directory".to_owned(),
        }
    }

    /// What changes it can miss. That an overlay shows a change as its CREATE is no such thing.
    pub(super) fn weakness(&self, mount: &Mount) -> Option<&'static str> {
        lack_of(self, mount).filter(|_| *self == Self::Inodes)
    }

    /// What will be missing, if anything.
    pub fn lack(&self) -> Option<&'static str> {
        match self {
            Self::Filesystem | Self::BtrfsTop => None,
            Self::OverlayUpper { .. } => Some(
                "the first change of a file from a lower layer shows as its CREATE, and its openings before that are not seen (`fsmon watch --opens --gate` sees them)",
            ),
            Self::Inodes => Some(
                "what happens in a new directory in its first moments may be missing, and changes made on another host are",
            ),
        }
    }
}

/// What of a filesystem will be missing, if anything.
pub(super) fn lack_of(way: &Way, mount: &Mount) -> Option<&'static str> {
    if has_nothing_to_record(&mount.fstype) {
        return Some(
            "what programs write there is recorded, not what the kernel shows or changes by itself",
        );
    }
    way.lack()
}

/// One line: which way is in force, and what will be missing.
pub(super) fn note(way: &Way, mount: &Mount) -> String {
    let at = path(&mount.point);
    let (point, fstype) = (quoted(&at), &mount.fstype);
    let lack = lack_of(way, mount).unwrap_or("nothing is missing");
    format!("{point} ({fstype}) {}; {lack}", way.told())
}

/// Why the kernel refuses, with a way out if there is one.
pub(super) fn refusal(error: &io::Error, fstype: &str) -> String {
    let hint = match error.raw_os_error() {
        Some(EPERM) => "; CAP_SYS_ADMIN is needed",
        _ => "",
    };
    format!("the kernel refused a mark on this {fstype}: {error}{hint}")
}

/// Takes out the mounts of single files, and what is mounted as nothing else; also these mounts. A container has some.
pub(super) fn without_files(wanted: Vec<Wanted>, mounts: &[Mount]) -> (Vec<Wanted>, Vec<usize>) {
    let mut files = Vec::new();
    let directories = wanted.into_iter().filter_map(|mut want| {
        let (alone, rest) = want
            .mounts
            .iter()
            .partition(|at| is_single_file(&mounts[**at]));
        files.extend::<Vec<usize>>(alone);
        want.mounts = rest;
        (!want.mounts.is_empty()).then_some(want)
    });
    (directories.collect(), files)
}

fn is_single_file(mount: &Mount) -> bool {
    let is_file = || fs::metadata(path(&mount.point)).is_ok_and(|found| !found.is_dir());
    mount.root != b"/" && is_file()
}

/// The directory an overlay keeps its changes in, and the mount that is on, if both can be seen from here.
pub(super) fn upper_of(overlay: &Mount, mounts: &[Mount]) -> Option<(PathBuf, usize)> {
    let upper = overlay.option("upperdir")?;
    let home = marks::mount_of(&upper, mounts)?;
    let upper = path(&upper);
    // Inside a container the name leads nowhere, or worse, somewhere else: no way to know.
    upper.is_absolute().then_some(())?;
    open_dir(&upper).ok()?;
    (mounts[home].fstype != "overlay").then_some((upper, home))
}

/// The bytes of a mount point as a path.
pub(super) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// Why a mount of one file is not watched.
pub(super) const SINGLE_FILE: &str = "it is a single file mounted there, and files are watched through their directory: watch the one it comes from";
/// Why a path that is on no mount is not watched.
pub(super) const NO_MOUNT: &str = "no mount leads to it";
pub(super) const EPERM: i32 = 1;
pub(super) const EXDEV: i32 = 18;
pub(super) const ENODEV: i32 = 19;
pub(super) const EOPNOTSUPP: i32 = 95;
