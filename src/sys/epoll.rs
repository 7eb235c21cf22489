//! Many descriptors waited for as one: <https://man7.org/linux/man-pages/man7/epoll.7.html>

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::cvt;

/// A set of descriptors; the set itself becomes readable when one of them does.
#[derive(Debug)]
pub struct PollSet {
    fd: OwnedFd,
}

impl PollSet {
    /// Makes an empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes a flag and returns a new descriptor or -1, which cvt checks.
        let fd = cvt(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Adds `fd`, woken for input.
    pub fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN)
    }

    /// Adds `fd`, woken for exceptional conditions only (as /proc/self/mountinfo signals a change).
    pub fn add_exceptional(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLPRI)
    }

    /// Waits until one of them is readable.
    pub fn wait(&self) -> io::Result<()> {
        self.wait_at_most(None)
    }

    /// Waits until one of them is readable or the time is over, to the millisecond above.
    pub fn wait_at_most(&self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.map_or(-1, |limit| {
            i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        loop {
            // SAFETY: room for the one event that is asked for; the descriptor is open.
            let ready =
                cvt(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), &raw mut event, 1, limit) });
            match ready {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    fn control(&self, op: libc::c_int, fd: BorrowedFd<'_>, events: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: fd.as_raw_fd() as u64,
        };
        // SAFETY: `event` outlives the call; both descriptors are open.
        cvt(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }
}

impl AsFd for PollSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PollSet {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
