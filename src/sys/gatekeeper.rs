//! Groups that are asked before a file is opened:
//! <https://man7.org/linux/man-pages/man7/fanotify.7.html>, "Permission events".

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::cvt;

/// Somebody wants to open a file, and waits.
pub const OPEN_PERM: u64 = libc::FAN_OPEN_PERM;
/// A file that was open for writing was closed.
pub const CLOSE_WRITE: u64 = libc::FAN_CLOSE_WRITE;
/// On a directory: meant are the files in it.
pub const ON_CHILD: u64 = libc::FAN_EVENT_ON_CHILD;
/// The queue was full, and something is missing.
pub const OVERFLOW: u64 = libc::FAN_Q_OVERFLOW;

/// What a mark is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One file or directory.
    Inode,
    /// What is opened through the mount that it is reached by.
    Mount,
    /// Everything on its filesystem, through whichever mount.
    Filesystem,
}

/// A group whose marks hold up who opens a file until an answer is written.
///
/// When its last descriptor is closed, the kernel lets everybody pass who still waits.
#[derive(Debug)]
pub struct Gatekeeper {
    fd: OwnedFd,
}

impl Gatekeeper {
    /// Opens a non-blocking permission group without limits on queue and marks.
    ///
    /// With each event the kernel opens the file for us. O_NONBLOCK: that must not wait for the other
    /// end of a FIFO while its opener waits for us. Nothing is read through it, so no access time moves.
    pub fn open() -> io::Result<Self> {
        let flags = libc::FAN_CLASS_CONTENT
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_UNLIMITED_QUEUE
            | libc::FAN_UNLIMITED_MARKS;
        let opened = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE | libc::O_NONBLOCK;
        // SAFETY: takes two integers and returns a new descriptor or -1, which cvt checks.
        let fd = cvt(unsafe { libc::fanotify_init(flags, opened as u32) })?;
        // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Adds `mask` to the mark on `name` below the open directory `dir`; a symbolic link is not followed.
    pub fn add_mark(
        &self,
        on: Reach,
        mask: u64,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        self.mark(libc::FAN_MARK_ADD, on, mask, dir, name)
    }

    /// Takes `mask` out of that mark.
    pub fn remove_mark(
        &self,
        on: Reach,
        mask: u64,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        self.mark(libc::FAN_MARK_REMOVE, on, mask, dir, name)
    }

    /// Takes away all marks of a kind.
    pub fn flush(&self, on: Reach) -> io::Result<()> {
        // SAFETY: flushing looks at neither descriptor nor path; a null path is allowed.
        cvt(unsafe {
            libc::fanotify_mark(
                self.fd.as_raw_fd(),
                libc::FAN_MARK_FLUSH | bit_of(on),
                0,
                libc::AT_FDCWD,
                std::ptr::null(),
            )
        })?;
        Ok(())
    }

    fn mark(
        &self,
        action: u32,
        on: Reach,
        mask: u64,
        dir: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        // SAFETY: `name` is a NUL-terminated string that outlives the call; both descriptors are open.
        cvt(unsafe {
            libc::fanotify_mark(
                self.fd.as_raw_fd(),
                action | bit_of(on) | libc::FAN_MARK_DONT_FOLLOW,
                mask,
                dir.as_raw_fd(),
                name.as_ptr(),
            )
        })?;
        Ok(())
    }

    /// The inode numbers that have a mark. The mark of a file goes with the file.
    pub fn marked_inodes(&self) -> io::Result<HashSet<u64>> {
        let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))?;
        let number = |line: &str| {
            let rest = line.strip_prefix("fanotify ino:")?;
            u64::from_str_radix(rest.split(' ').next()?, 16).ok()
        };
        Ok(told.lines().filter_map(number).collect())
    }

    /// Reads at most `most` events; none when the queue is empty.
    ///
    /// Each comes with a descriptor. The kernel refuses an open for which it has none left, and says so only
    /// by an error here, or not at all when others could be told: there must always be so many to spare.
    pub fn read(self: &Arc<Self>, into: &mut Vec<GateEvent>, most: usize) -> io::Result<()> {
        let mut buffer = [0_u8; EVENT * AT_ONCE];
        let buffer = &mut buffer[..EVENT * most.clamp(1, AT_ONCE)];
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
                Ok(len) => {
                    self.decode(&buffer[..len.unsigned_abs().min(buffer.len())], into);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn decode(self: &Arc<Self>, mut rest: &[u8], into: &mut Vec<GateEvent>) {
        while let Some(event) = rest.get(..EVENT) {
            let word = |at: usize| [event[at], event[at + 1], event[at + 2], event[at + 3]];
            let len = u32::from_ne_bytes(word(0)) as usize;
            let mut mask = [0; 8];
            mask.copy_from_slice(&event[8..16]);
            let mask = u64::from_ne_bytes(mask);
            let fd = i32::from_ne_bytes(word(16));
            let fd = (fd >= 0).then(|| {
                // SAFETY: the kernel has opened this descriptor for this event and nobody else owns it.
                unsafe { OwnedFd::from_raw_fd(fd) }
            });
            into.push(GateEvent {
                mask,
                pid: u32::from_ne_bytes(word(20)),
                owed: (mask & OPEN_PERM != 0).then(|| Arc::clone(self)),
                fd,
            });
            // fanotify(7): more may be appended to an event some day; less cannot be.
            rest = rest.get(len.max(EVENT)..).unwrap_or_default();
        }
    }

    fn answer(&self, fd: BorrowedFd<'_>, response: u32) -> io::Result<bool> {
        let mut bytes = [0_u8; 8];
        bytes[..4].copy_from_slice(&fd.as_raw_fd().to_ne_bytes());
        bytes[4..].copy_from_slice(&response.to_ne_bytes());
        loop {
            // SAFETY: the kernel reads the eight bytes of a struct fanotify_response that we own.
            let written = cvt(unsafe {
                libc::write(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len())
            });
            match written {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Gatekeeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a group was told. One that somebody waits for is answered "yes" when it is dropped, whatever the
/// reason: nobody may wait for ever.
#[derive(Debug)]
pub struct GateEvent {
    /// What happens, or is about to.
    pub mask: u64,
    /// The process; 0 when it cannot be seen from this namespace.
    pub pid: u32,
    fd: Option<OwnedFd>,
    owed: Option<Arc<Gatekeeper>>,
}

impl GateEvent {
    /// The file, opened for reading; none comes with an overflow.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Whether somebody waits for an answer.
    pub fn is_waiting(&self) -> bool {
        self.owed.is_some()
    }

    /// Lets the opener pass; returns whether it was still waiting.
    pub fn allow(&mut self) -> io::Result<bool> {
        self.answer(libc::FAN_ALLOW)
    }

    /// Makes the open fail with EPERM; returns whether the opener was still waiting.
    pub fn refuse(&mut self) -> io::Result<bool> {
        self.answer(libc::FAN_DENY)
    }

    fn answer(&mut self, response: u32) -> io::Result<bool> {
        let (Some(group), Some(fd)) = (&self.owed, &self.fd) else {
            return Ok(false);
        };
        let waited = group.answer(fd.as_fd(), response)?;
        self.owed = None;
        Ok(waited)
    }
}

impl Drop for GateEvent {
    fn drop(&mut self) {
        // An answer that cannot be written is for nobody.
        self.allow().ok();
    }
}

fn bit_of(on: Reach) -> u32 {
    match on {
        Reach::Inode => 0,
        Reach::Mount => libc::FAN_MARK_MOUNT,
        Reach::Filesystem => libc::FAN_MARK_FILESYSTEM,
    }
}

/// `struct fanotify_event_metadata`: event_len u32, vers u8, reserved u8, metadata_len u16, mask u64,
/// fd i32, pid i32.
const EVENT: usize = 24;
/// More events are never read at a time.
const AT_ONCE: usize = 64;
