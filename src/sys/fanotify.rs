//! Notification groups: <https://man7.org/linux/man-pages/man7/fanotify.7.html>

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::cvt;

/// How a group reports what it saw; see fanotify_init(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reporting {
    /// FAN_REPORT_TARGET_FID (5.17): entries of directories carry the child's own handle.
    pub target_fid: bool,
}

/// What a mark is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkOn {
    /// One file or directory.
    Inode,
    /// Everything on its filesystem, through whichever mount.
    Filesystem,
    /// Everything that is done through its mount.
    Mount,
}

/// FAN_RENAME (5.17), absent from older headers.
pub const FAN_RENAME: u64 = 0x1000_0000;
/// FAN_REPORT_TARGET_FID (5.17).
const FAN_REPORT_TARGET_FID: u32 = 0x1000;

/// A fanotify group: a queue of events and the marks that fill it.
#[derive(Debug)]
pub struct Group {
    fd: OwnedFd,
}

impl Group {
    /// Opens a non-blocking notification group without limits on queue and marks.
    pub fn open(reporting: Reporting) -> io::Result<Self> {
        Self::init(
            reporting,
            libc::FAN_UNLIMITED_QUEUE | libc::FAN_UNLIMITED_MARKS,
        )
    }

    /// Opens one whose queue and marks are limited by the system: any user may, from 5.13 on.
    pub fn open_limited(reporting: Reporting) -> io::Result<Self> {
        Self::init(reporting, 0)
    }

    fn init(reporting: Reporting, limits: u32) -> io::Result<Self> {
        let mut flags = limits
            | libc::FAN_CLASS_NOTIF
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_REPORT_FID
            | libc::FAN_REPORT_DIR_FID
            | libc::FAN_REPORT_NAME;
        if reporting.target_fid {
            flags |= FAN_REPORT_TARGET_FID;
        }
        // SAFETY: takes two integers and returns a new descriptor or -1, which cvt checks.
        let fd = cvt(unsafe {
            libc::fanotify_init(
                flags,
                (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE) as u32,
            )
        })?;
        // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Adds `mask` to the mark on the directory `dir` or on its filesystem.
    pub fn add_mark(&self, on: MarkOn, mask: u64, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_ADD, on, mask, dir, c".")
    }

    /// Takes `mask` out of the mark on the directory `dir` or on its filesystem.
    pub fn remove_mark(&self, on: MarkOn, mask: u64, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.mark(libc::FAN_MARK_REMOVE, on, mask, dir, c".")
    }

    fn mark(
        &self,
        action: u32,
        on: MarkOn,
        mask: u64,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        let flags = action
            | match on {
                MarkOn::Inode => 0,
                MarkOn::Filesystem => libc::FAN_MARK_FILESYSTEM,
                MarkOn::Mount => libc::FAN_MARK_MOUNT,
            };
        // SAFETY: `name` is a NUL-terminated string that outlives the call; both descriptors are open.
        cvt(unsafe {
            libc::fanotify_mark(
                self.fd.as_raw_fd(),
                flags,
                mask,
                dir.as_raw_fd(),
                name.as_ptr(),
            )
        })?;
        Ok(())
    }

    /// Reads as many whole events as fit; `None` when the queue is empty.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            // SAFETY: the kernel writes at most `buffer.len()` bytes into memory that we own.
            let got = cvt(unsafe {
                libc::read(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                )
            });
            match got {
                Ok(n) => return Ok(Some(n.unsigned_abs())),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
