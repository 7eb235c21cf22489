//! Files by name below an open directory: [openat(2)](https://man7.org/linux/man-pages/man2/openat.2.html),
//! fstatat(2), renameat(2), unlinkat(2). Links are never followed, nothing blocks on opening.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::cvt;

/// An open directory: its entries stay reachable when it is renamed, and no link that somebody
/// puts in its place later can lead elsewhere.
#[derive(Debug)]
pub struct Dir {
    file: File,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading, and writing at the end only.
    Append,
    /// Reading and writing anywhere.
    Write,
}

/// What fstatat(2) says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Device of the filesystem.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub len: u64,
    /// Whether it is a regular file.
    pub regular: bool,
}

impl Dir {
    /// Opens the directory at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(path)?;
        Ok(Self { file })
    }

    /// The directory itself, for its metadata.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Opens the entry `name`. A symbolic link is refused with ELOOP; a FIFO does not block.
    pub fn open_file(&self, name: &str, access: Access) -> io::Result<File> {
        self.openat(name, access_flags(access), 0)
    }

    /// Makes the entry `name`, which must not be there, with the permission bits `mode` (less
    /// the umask).
    pub fn create_new(&self, name: &str, access: Access, mode: u32) -> io::Result<File> {
        self.openat(
            name,
            access_flags(access) | libc::O_CREAT | libc::O_EXCL,
            mode,
        )
    }

    /// Looks at the entry `name` itself; `None` when there is none.
    pub fn stat(&self, name: &str) -> io::Result<Option<Status>> {
        let name = c_name(name)?;
        let mut stat = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: the descriptor is open as long as `self`; the name is NUL-terminated and
        // outlives the call; `stat` has room for the struct that the kernel writes.
        let ret = unsafe {
            libc::fstatat(
                self.file.as_raw_fd(),
                name.as_ptr(),
                stat.as_mut_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
            )
        };
        match cvt(ret) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        // SAFETY: the call succeeded, so the kernel has filled the struct.
        let stat = unsafe { stat.assume_init() };
        Ok(Some(Status {
            dev: stat.st_dev,
            ino: stat.st_ino,
            len: stat.st_size.try_into().unwrap_or(0),
            regular: stat.st_mode & libc::S_IFMT == libc::S_IFREG,
        }))
    }

    /// Renames an entry to another name in this directory, replacing what is there.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (c_name(from)?, c_name(to)?);
        let fd = self.file.as_raw_fd();
        // SAFETY: the descriptor is open as long as `self`; both names are NUL-terminated and
        // outlive the call.
        let ret = unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) };
        cvt(ret).map(drop)
    }

    /// Removes the entry `name`, which is not a directory.
    pub fn unlink(&self, name: &str) -> io::Result<()> {
        let name = c_name(name)?;
        // SAFETY: the descriptor is open as long as `self`; the name is NUL-terminated and
        // outlives the call.
        let ret = unsafe { libc::unlinkat(self.file.as_raw_fd(), name.as_ptr(), 0) };
        cvt(ret).map(drop)
    }

    fn openat(&self, name: &str, flags: libc::c_int, mode: u32) -> io::Result<File> {
        let name = c_name(name)?;
        let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        // SAFETY: the descriptor is open as long as `self`; the name is NUL-terminated and
        // outlives the call; the mode is there whether or not O_CREAT is.
        let ret = unsafe {
            libc::openat(
                self.file.as_raw_fd(),
                name.as_ptr(),
                flags,
                mode as libc::c_uint,
            )
        };
        let fd = cvt(ret)?;
        // SAFETY: the kernel has just given us this descriptor, so nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(File::from(fd))
    }
}

/// Opens the directory at an absolute path in which no component is a symbolic link: nobody who may
/// rename directories on the way can lead us elsewhere.
pub fn open_without_links(path: &[u8]) -> io::Result<File> {
    let fd = openat2(
        path,
        libc::O_RDONLY | libc::O_DIRECTORY,
        libc::RESOLVE_NO_SYMLINKS,
    )?;
    Ok(File::from(fd))
}

/// The same for reading its entries, without touching the time of its last access where that is allowed.
pub fn open_to_list(path: &[u8]) -> io::Result<File> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    // open(2): EPERM for O_NOATIME on what belongs to somebody else.
    let fd = match openat2(path, flags | libc::O_NOATIME, libc::RESOLVE_NO_SYMLINKS) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            openat2(path, flags, libc::RESOLVE_NO_SYMLINKS)?
        }
        other => other?,
    };
    Ok(File::from(fd))
}

/// Opens an absolute path, resolved as `resolve` says: <https://man7.org/linux/man-pages/man2/openat2.2.html>
fn openat2(path: &[u8], flags: libc::c_int, resolve: u64) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    let mut how = MaybeUninit::<libc::open_how>::zeroed();
    // SAFETY: three integers, for which all-zero is a valid value.
    let how = unsafe { how.assume_init_mut() };
    how.flags = (flags | libc::O_CLOEXEC).unsigned_abs().into();
    how.resolve = resolve;
    // SAFETY: openat2(2) reads a NUL-terminated path and a struct of the size that is given.
    let fd = cvt(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw const *how,
            size_of::<libc::open_how>(),
        )
    })?;
    // SAFETY: the kernel has just given us this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Device and inode of what an absolute path leads to, links not followed, as far as the kernel knows that
/// without asking anybody: never waits for a disk or another machine.
pub fn inode_in_cache(path: &[u8]) -> Option<(u64, u64)> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let fd = openat2(path, flags, libc::RESOLVE_CACHED).ok()?;
    let mut told = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: an empty path means the descriptor, and statx(2) writes one struct statx.
    cvt(unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
            libc::STATX_INO,
            told.as_mut_ptr(),
        )
    })
    .ok()?;
    // SAFETY: statx is plain numbers, for which all-zero is valid, too.
    let told = unsafe { told.assume_init() };
    let dev = libc::makedev(told.stx_dev_major, told.stx_dev_minor);
    Some((dev, told.stx_ino))
}

fn access_flags(access: Access) -> libc::c_int {
    match access {
        Access::Read => libc::O_RDONLY,
        Access::Append => libc::O_RDWR | libc::O_APPEND,
        Access::Write => libc::O_RDWR,
    }
}

/// One name, not a path: a slash in it would lead out of the directory.
fn c_name(name: &str) -> io::Result<CString> {
    if name.contains('/') || matches!(name, "" | "." | "..") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not the name of a file in a directory",
        ));
    }
    Ok(CString::new(name)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn entries_are_made_opened_renamed_and_removed() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open(place.path()).unwrap();
        assert_eq!(dir.stat("a").unwrap(), None);
        let mut file = dir.create_new("a", Access::Append, 0o600).unwrap();
        file.write_all(b"hello").unwrap();
        assert_eq!(
            dir.create_new("a", Access::Append, 0o600)
                .unwrap_err()
                .kind(),
            io::ErrorKind::AlreadyExists
        );
        let status = dir.stat("a").unwrap().unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(
            (status.dev, status.ino, status.len, status.regular),
            (meta.dev(), meta.ino(), 5, true)
        );
        dir.rename("a", "b").unwrap();
        let mut text = String::new();
        dir.open_file("b", Access::Read)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello");
        dir.unlink("b").unwrap();
        assert_eq!(dir.stat("b").unwrap(), None);
    }

    #[test]
    fn links_and_paths_are_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("real"), "x").unwrap();
        symlink("real", place.path().join("link")).unwrap();
        let dir = Dir::open(place.path()).unwrap();
        assert!(dir.open_file("link", Access::Append).is_err());
        assert!(!dir.stat("link").unwrap().unwrap().regular);
        for name in ["../x", "a/b", "", ".", ".."] {
            assert_eq!(
                dir.open_file(name, Access::Read).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }
}
