//! Which filesystem an object is on: <https://man7.org/linux/man-pages/man2/statfs.2.html>

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cvt;

/// Returns the filesystem id in the byte order that fanotify's records use.
pub fn fsid_of(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut out = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `out` has room for one struct statfs, which the kernel fills when it returns 0.
    cvt(unsafe { libc::fstatfs(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: fstatfs returned 0, so the structure is filled.
    let out = unsafe { out.assume_init() };
    // SAFETY: fsid_t is two plain ints without padding or invalid values; only its fields are private.
    Ok(unsafe { std::mem::transmute::<libc::fsid_t, u64>(out.f_fsid) })
}
