//! Which filesystem an object is on: <https://man7.org/linux/man-pages/man2/statfs.2.html>

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::cvt;

/// What kind of filesystem a file is on, and in what units that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The magic number of its kind, such as [`EXT4`].
    pub kind: u64,
    /// Bytes of a block.
    pub block: u64,
}

/// Returns the filesystem id in the byte order that fanotify's records use.
pub fn fsid_of(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let out = statfs(fd)?;
    // SAFETY: fsid_t is two plain ints without padding or invalid values; only its fields are private.
    Ok(unsafe { std::mem::transmute::<libc::fsid_t, u64>(out.f_fsid) })
}

/// Returns the kind of filesystem that an open file is on. The block is that of the filesystem:
/// st_blksize only says what is good for reading.
pub fn room_of(file: &impl AsFd) -> io::Result<Room> {
    let out = statfs(file.as_fd())?;
    // The fields are signed in one libc and unsigned in another.
    Ok(Room {
        kind: out.f_type as u64,
        block: (out.f_bsize as u64).max(1),
    })
}

/// How much room a filesystem has and how much of it is left, for users who are not root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// How many files there may be; 0 where that is not limited.
    pub files: u64,
    /// How many more files there may be.
    pub free_files: u64,
}

/// Returns how much room there is where an open file is.
pub fn space_of(file: &impl AsFd) -> io::Result<Space> {
    let out = statfs(file.as_fd())?;
    let block = (out.f_bsize as u64).max(1);
    Ok(Space {
        bytes: out.f_blocks.saturating_mul(block),
        free_bytes: out.f_bavail.saturating_mul(block),
        files: out.f_files,
        free_files: out.f_ffree,
    })
}

fn statfs(fd: BorrowedFd<'_>) -> io::Result<libc::statfs> {
    let mut out = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `out` has room for one struct statfs, which the kernel fills when it returns 0.
    cvt(unsafe { libc::fstatfs(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: fstatfs returned 0, so the structure is filled.
    Ok(unsafe { out.assume_init() })
}

/// What the table of mounts calls a kind of filesystem, or its number where that is not known here.
pub fn name_of(kind: u64) -> String {
    const NAMES: [(u64, &str); 6] = [
        (EXT4, "ext4"),
        (XFS, "xfs"),
        (BTRFS, "btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlay"),
        (0x6969, "nfs"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("{kind:#x}"), |(_, name)| (*name).to_owned())
}

/// ext4; ext2 and ext3 have the same number.
pub const EXT4: u64 = 0xEF53;
/// XFS.
pub const XFS: u64 = 0x5846_5342;
/// btrfs.
pub const BTRFS: u64 = 0x9123_683E;
