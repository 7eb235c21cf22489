//! What the proc-connector crate leaves out: <https://man7.org/linux/man-pages/man7/socket.7.html>

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cvt;

/// Sets a socket's receive buffer beyond the system's limit (`SO_RCVBUFFORCE`, needs
/// `CAP_NET_ADMIN`); the kernel doubles the value for its own bookkeeping.
pub fn force_receive_buffer(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let size = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the option takes an int, which outlives the call, and the length is an int's.
    cvt(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}
