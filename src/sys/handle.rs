//! File handles: <https://man7.org/linux/man-pages/man2/open_by_handle_at.2.html>

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use super::cvt;

/// The longest handle a filesystem may hand out (MAX_HANDLE_SZ).
const MAX_HANDLE: usize = 128;
/// AT_HANDLE_FID (6.5): a handle that identifies but need not be openable; the bytes that events carry.
const AT_HANDLE_FID: libc::c_int = 0x200;

/// `struct file_handle` with room for the longest handle.
#[repr(C)]
struct RawHandle {
    handle_bytes: u32,
    handle_type: i32,
    f_handle: [u8; MAX_HANDLE],
}

/// A handle as the kernel gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHandle {
    /// The filesystem's own type number.
    pub kind: i32,
    /// The opaque bytes.
    pub bytes: Vec<u8>,
}

/// Returns the handle of `name` below `dir`, and the id of the mount it was reached through.
///
/// Never follows a symbolic link in the last component; an empty `name` means `dir` itself.
pub fn handle_of(dir: Option<BorrowedFd<'_>>, name: &CStr) -> io::Result<(FileHandle, i32)> {
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    let empty = if name.is_empty() {
        libc::AT_EMPTY_PATH
    } else {
        0
    };
    match ask_handle(dir, name, empty | AT_HANDLE_FID) {
        // Kernels before 6.5 do not know the flag; their plain handles are the same bytes.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => ask_handle(dir, name, empty),
        other => other,
    }
}

fn ask_handle(dir: libc::c_int, name: &CStr, flags: libc::c_int) -> io::Result<(FileHandle, i32)> {
    let mut raw = RawHandle {
        handle_bytes: MAX_HANDLE as u32,
        handle_type: 0,
        f_handle: [0; MAX_HANDLE],
    };
    let mut mount_id = 0;
    // SAFETY: `raw` is laid out as struct file_handle and announces its true capacity; `name` is
    // NUL-terminated; both out-pointers are valid for the whole call.
    cvt(unsafe {
        libc::name_to_handle_at(
            dir,
            name.as_ptr(),
            (&raw mut raw).cast(),
            &raw mut mount_id,
            flags,
        )
    })?;
    let used = (raw.handle_bytes as usize).min(MAX_HANDLE);
    Ok((
        FileHandle {
            kind: raw.handle_type,
            bytes: raw.f_handle[..used].to_vec(),
        },
        mount_id,
    ))
}

/// Opens the object of a handle with O_PATH: nothing is read, nothing is reported, nothing blocks.
pub fn open_handle(mount: BorrowedFd<'_>, kind: i32, bytes: &[u8]) -> io::Result<OwnedFd> {
    open_with(mount, kind, bytes, libc::O_PATH)
}

/// Opens the directory of a handle to read its entries, without touching its access time.
pub fn open_directory(mount: BorrowedFd<'_>, kind: i32, bytes: &[u8]) -> io::Result<OwnedFd> {
    open_with(
        mount,
        kind,
        bytes,
        libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOATIME,
    )
}

fn open_with(
    mount: BorrowedFd<'_>,
    kind: i32,
    bytes: &[u8],
    flags: libc::c_int,
) -> io::Result<OwnedFd> {
    let Some(len) = Some(bytes.len()).filter(|len| *len <= MAX_HANDLE) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut raw = RawHandle {
        handle_bytes: len as u32,
        handle_type: kind,
        f_handle: [0; MAX_HANDLE],
    };
    raw.f_handle[..len].copy_from_slice(bytes);
    // SAFETY: `raw` is laid out as struct file_handle and holds `handle_bytes` valid bytes.
    let fd = cvt(unsafe {
        libc::open_by_handle_at(
            mount.as_raw_fd(),
            (&raw mut raw).cast(),
            flags | libc::O_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Which object is open (also with O_PATH), its size and link count.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// Device of its filesystem.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// `st_size`.
    pub size: u64,
    /// `st_nlink`; 0 means that it was removed.
    pub links: u64,
    /// Whether it is a character device with number 0:0, an overlayfs whiteout.
    pub whiteout: bool,
}

/// Asks for number, size and link count of an open object.
pub fn stat(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    let mut out = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `out` has room for one struct stat, which the kernel fills when it returns 0.
    cvt(unsafe { libc::fstat(fd.as_raw_fd(), out.as_mut_ptr()) })?;
    // SAFETY: fstat returned 0, so the structure is filled.
    let out = unsafe { out.assume_init() };
    Ok(Stat {
        dev: out.st_dev,
        ino: out.st_ino,
        size: out.st_size.unsigned_abs(),
        links: out.st_nlink,
        whiteout: out.st_mode & libc::S_IFMT == libc::S_IFCHR && out.st_rdev == 0,
    })
}

/// The path under which an open object is reached, as /proc/self/fd tells it.
pub fn path_of_fd(fd: impl AsFd) -> io::Result<Vec<u8>> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))?;
    Ok(link.into_os_string().into_vec())
}
