//! What the proc-connector crate leaves out: <https://man7.org/linux/man-pages/man7/socket.7.html>

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// What the kernel says of devices that come and go: <https://docs.kernel.org/driver-api/infrastructure.html>
#[derive(Debug)]
pub struct Uevents {
    fd: OwnedFd,
}

impl Uevents {
    /// Listens from now on. In a container it may be that nothing is ever heard.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the call takes numbers only.
        let fd =
            cvt(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT) })?;
        // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros are a value of this plain structure.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = FROM_THE_KERNEL;
        // SAFETY: the address outlives the call and has the length that is named.
        cvt(unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        })?;
        Ok(Self { fd })
    }

    /// Takes all that waits, and says whether something of it begins as `is_one` wants; also when some was lost.
    pub fn have(&self, is_one: impl Fn(&[u8]) -> bool) -> bool {
        let mut found = false;
        let mut room = [0_u8; 256];
        loop {
            // SAFETY: the buffer is ours, as long as named, and outlives the call.
            let len = cvt(unsafe {
                libc::recv(self.fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), 0)
            });
            match len {
                Ok(len) => found |= is_one(&room[..usize::try_from(len).unwrap_or(0)]),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => found = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return found,
            }
        }
    }
}

/// The multicast group to which the kernel itself sends.
const FROM_THE_KERNEL: u32 = 1;
