//! Waiting for an owned descriptor in tokio's reactor.
//!
//! The one file of `sys` that names tokio: registering a descriptor is unsafe there, because
//! nothing in its signature keeps the descriptor open.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor that the result owns.
pub fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays open, and keeps its number, for as long as the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
