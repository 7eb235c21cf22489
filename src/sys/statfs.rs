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

fn statfs(fd: BorrowedFd<'_>) -> io::Result<libc::statfs> {
    let mut out = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `out` has room for one struct statfs, which the kernel fills when it returns 0.
    cvt(unsafe { libc::fstatfs(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: fstatfs returned 0, so the structure is filled.
    Ok(unsafe { out.assume_init() })
}

/// ext4; ext2 and ext3 have the same number.
pub const EXT4: u64 = 0xEF53;
/// XFS.
pub const XFS: u64 = 0x5846_5342;
/// btrfs.
pub const BTRFS: u64 = 0x9123_683E;
