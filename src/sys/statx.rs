//! What a name in an open directory stands for: <https://man7.org/linux/man-pages/man2/statx.2.html>

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cvt;

/// What is known of an object without opening it. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Device of its filesystem.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// The type bits of its mode.
    pub kind: u32,
    /// Size in bytes.
    pub size: u64,
    /// When its content changed last.
    pub mtime: i64,
    /// When anything about it changed last.
    pub ctime: i64,
    /// When it was made; 0 where the filesystem does not keep that.
    pub birth: i64,
}

/// Looks at the entry `name` of `dir`, links not followed; an empty name means `dir` itself.
pub fn look(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Look> {
    let mut told = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the descriptor and the NUL-terminated name outlive the call, and statx(2) writes one struct statx.
    cvt(unsafe {
        libc::statx(
            dir.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT,
            libc::STATX_BASIC_STATS | libc::STATX_BTIME,
            told.as_mut_ptr(),
        )
    })?;
    // SAFETY: statx is plain numbers, for which all-zero is valid, too.
    let told = unsafe { told.assume_init() };
    let time = |time: libc::statx_timestamp| {
        let seconds = time.tv_sec.saturating_mul(1_000_000_000);
        seconds.saturating_add(i64::from(time.tv_nsec))
    };
    let has_birth = told.stx_mask & libc::STATX_BTIME != 0;
    Ok(Look {
        dev: libc::makedev(told.stx_dev_major, told.stx_dev_minor),
        ino: told.stx_ino,
        kind: u32::from(told.stx_mode) & libc::S_IFMT,
        size: told.stx_size,
        mtime: time(told.stx_mtime),
        ctime: time(told.stx_ctime),
        birth: if has_birth { time(told.stx_btime) } else { 0 },
    })
}

/// The kind of directories.
pub const DIRECTORY: u32 = libc::S_IFDIR;
/// The kind of regular files.
pub const REGULAR: u32 = libc::S_IFREG;
/// The kind of symbolic links.
pub const LINK: u32 = libc::S_IFLNK;

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_it_says_is_what_metadata_says() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("f"), "hello").unwrap();
        std::os::unix::fs::symlink("f", place.path().join("l")).unwrap();
        let dir = File::open(place.path()).unwrap();
        let meta = fs::metadata(place.path().join("f")).unwrap();
        let file = look(dir.as_fd(), c"f").unwrap();
        assert_eq!((file.dev, file.ino, file.size), (meta.dev(), meta.ino(), 5));
        assert_eq!(file.mtime, meta.mtime() * 1_000_000_000 + meta.mtime_nsec());
        assert_eq!(file.ctime, meta.ctime() * 1_000_000_000 + meta.ctime_nsec());
        assert_eq!(file.kind, REGULAR);
        assert_eq!(look(dir.as_fd(), c"l").unwrap().kind, LINK);
        assert_eq!(look(dir.as_fd(), c"").unwrap().kind, DIRECTORY);
        assert!(look(dir.as_fd(), c"none").is_err());
    }
}
