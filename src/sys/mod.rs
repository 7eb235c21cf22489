//! One file per kernel facility; the only unsafe code of the program.
//!
//! Nothing here knows what fsmon is. Each wrapper owns its descriptors, turns
//! -1 into `io::Error` in one place (`cvt`) and hands out std types.
#![expect(
    unsafe_code,
    reason = "system calls that std does not wrap live here and nowhere else"
)]

pub mod account;
pub mod async_fd;
pub mod caps;
pub mod clock;
pub mod dirents;
pub mod dirfd;
pub mod epoll;
pub mod falloc;
pub mod fanotify;
pub mod files;
pub mod gatekeeper;
pub mod handle;
pub mod limits;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod perf;
pub mod process;
pub mod ring;
pub mod statfs;
pub mod statx;
pub mod terminal;

use std::io;

/// Turns the C convention "-1 and errno" into a `Result`.
pub(crate) fn cvt<T: PartialEq + From<i8>>(ret: T) -> io::Result<T> {
    if ret == T::from(-1) {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}
