//! Files that root makes for somebody else: <https://man7.org/linux/man-pages/man2/open.2.html>

use std::ffi::CStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown,
};
use std::path::Path;

use super::cvt;

/// The user that files are handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// Hands over an open file.
    pub fn take(self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))
    }
}

/// Does something with the rights of `owner` on files, where that is another user than this process.
///
/// What root opens below a user's directories may be swapped for a link by that user at any moment.
/// With the user's own rights no swap reaches further than the user could have gone alone, and what is
/// made belongs to the user from the start. setfsuid(2): for this thread only; the kernel takes the
/// capabilities over files away with the id and gives them back with it.
pub fn as_user<T>(owner: Option<Owner>, act: impl FnOnce() -> T) -> T {
    let Some(owner) = owner else { return act() };
    let _back = BackToSelf {
        uid: set_fsuid(owner.uid),
        gid: set_fsgid(owner.gid),
        owner,
    };
    act()
}

struct BackToSelf {
    uid: u32,
    gid: u32,
    owner: Owner,
}

impl Drop for BackToSelf {
    fn drop(&mut self) {
        // The user first: it brings back the right to change the group.
        if self.uid != self.owner.uid {
            set_fsuid(self.uid);
        }
        if self.gid != self.owner.gid {
            set_fsgid(self.gid);
        }
    }
}

/// Sets the id that counts for files, and returns the one before.
fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: takes and returns a number and touches no memory of ours.
    unsafe { libc::setfsuid(uid) }.cast_unsigned()
}

fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: takes and returns a number and touches no memory of ours.
    unsafe { libc::setfsgid(gid) }.cast_unsigned()
}

/// Opens a file as `options` say, never through a symbolic link in the last component.
pub fn open_nofollow(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Opens a file for reading without waiting for anybody: a FIFO is open at once, and is none.
pub fn open_unwaiting(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path)
}

/// Reads a regular file of at most `most` bytes. Whoever may choose what stands at a path could else put a FIFO
/// there, and whoever reads it waits for ever, or a device without an end.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_unwaiting(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Makes a file without a name in the filesystem of `dir`: it goes when it is closed.
pub fn nameless(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.custom_flags(libc::O_TMPFILE).open(dir) {
        // open(2): not every filesystem can, and kernels differ in how they say it.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)
            ) =>
        {
            let name = dir.join(format!(".fsmon.{}", std::process::id()));
            let file = options
                .custom_flags(libc::O_NOFOLLOW)
                .create_new(true)
                .open(&name)?;
            std::fs::remove_file(&name)?;
            Ok(file)
        }
        other => other,
    }
}

/// Makes a directory and those above it, as `owner`.
pub fn create_dirs(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    as_user(owner, || {
        DirBuilder::new().recursive(true).mode(0o755).create(path)
    })
}

/// Gives a socket's name in the file system to `owner`, unless the name is no longer a socket of ours.
///
/// fchown on the socket itself changes an inode that nobody sees. An O_PATH descriptor holds the name's
/// own inode, and chown through /proc/self/fd reaches exactly that one.
pub fn give_socket(path: &Path, ours: u32, owner: Owner) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;

    let name = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)?;
    let found = name.metadata()?;
    if !found.file_type().is_socket() || found.uid() != ours || found.nlink() != 1 {
        return Err(io::Error::other("somebody replaced the socket"));
    }
    chown(
        format!("/proc/self/fd/{}", name.as_raw_fd()),
        Some(owner.uid),
        Some(owner.gid),
    )
}

/// Lets a pipe hold so much before its writer must wait, so that both sides run longer at a time. Anything
/// that is no pipe, and a pipe that may not grow, stays as it is.
pub fn widen_pipe(pipe: BorrowedFd<'_>, bytes: i32) {
    // SAFETY: takes two numbers and touches no memory of ours.
    let _held = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
}

/// Whether the other side of a connection has gone altogether, and has not only ended its sending.
pub fn is_hung_up(connection: BorrowedFd<'_>) -> bool {
    let mut look = libc::pollfd {
        fd: connection.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one pollfd that lives for the call, which does not wait.
    let looked = unsafe { libc::poll(&raw mut look, 1, 0) };
    looked > 0 && look.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Waits until nobody reads any more what is written to `pipe`; an error when it cannot be waited for.
pub fn wait_unread(pipe: BorrowedFd<'_>) -> io::Result<()> {
    let mut look = libc::pollfd {
        fd: pipe.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    loop {
        // SAFETY: one pollfd that lives for the call.
        match cvt(unsafe { libc::poll(&raw mut look, 1, -1) }) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes a file that is nowhere but in memory. `name` is for whoever looks at /proc.
pub fn in_memory(name: &CStr) -> io::Result<File> {
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let fd = cvt(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Sets the permission bits of an open file.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dirs(&deep, None).unwrap();
        create_dirs(&deep, None).unwrap();
        assert!(deep.is_dir());
    }

    #[test]
    fn a_nameless_file_leaves_nothing_behind() {
        use std::io::{Seek, Write};

        let dir = tempfile::tempdir().unwrap();
        let mut file = nameless(dir.path()).unwrap();
        file.write_all(b"kept").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn only_a_regular_file_that_is_not_too_long_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_regular(&file, 5).unwrap(), b"12345");
        assert!(read_regular(&file, 4).is_err());
        for other in ["/dev/zero", "/dev", dir.path().to_str().unwrap()] {
            assert!(read_regular(Path::new(other), 5).is_err(), "{other}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(open_nofollow(OpenOptions::new().read(true), &dir.path().join("link")).is_err());
    }
}
