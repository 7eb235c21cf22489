//! The entries of an open directory: <https://man7.org/linux/man-pages/man2/getdents.2.html>

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cvt;

/// Reads one buffer of entries and calls `found` with the name of each that is, or may be, a directory.
///
/// `.` and `..` are left out. Returns whether there may be more.
pub fn read_subdirectories(
    dir: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut found: impl FnMut(&CStr),
) -> io::Result<bool> {
    read_entries(dir, buffer, |name, kind| {
        if matches!(kind, libc::DT_DIR | libc::DT_UNKNOWN) {
            found(name);
        }
    })
}

/// Reads one buffer of entries and calls `found` with the name of each.
///
/// `.` and `..` are left out. Returns whether there may be more.
pub fn read_names(
    dir: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut found: impl FnMut(&CStr),
) -> io::Result<bool> {
    read_entries(dir, buffer, |name, _| found(name))
}

fn read_entries(
    dir: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut found: impl FnMut(&CStr, u8),
) -> io::Result<bool> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into memory that we own.
    let len = cvt(unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            dir.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    })?;
    let mut rest = &buffer[..usize::try_from(len).unwrap_or(0)];
    while let Some(entry) = rest.get(..HEADER) {
        let size = usize::from(u16::from_ne_bytes([entry[16], entry[17]]));
        let kind = entry[18];
        let Some(name) = rest
            .get(HEADER..size)
            .and_then(|name| CStr::from_bytes_until_nul(name).ok())
        else {
            break;
        };
        let itself = matches!(name.to_bytes(), b"." | b"..");
        if !itself {
            found(name, kind);
        }
        rest = &rest[size..];
    }
    Ok(len > 0)
}

/// `struct linux_dirent64` up to the name: d_ino u64, d_off i64, d_reclen u16, d_type u8.
const HEADER: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;

    #[test]
    fn finds_directories_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..300 {
            std::fs::create_dir(dir.path().join(format!("d{n}"))).unwrap();
            std::fs::write(dir.path().join(format!("f{n}")), "").unwrap();
        }
        let open = File::open(dir.path()).unwrap();
        let mut names = Vec::new();
        let mut buffer = [0; 1024];
        while read_subdirectories(open.as_fd(), &mut buffer, |name| {
            names.push(name.to_owned())
        })
        .unwrap()
        {}
        assert_eq!(names.len(), 300);
        let open = File::open(dir.path()).unwrap();
        let mut all = 0;
        while read_names(open.as_fd(), &mut buffer, |_| all += 1).unwrap() {}
        assert_eq!(all, 600);
        assert!(names.iter().all(|name| name.to_bytes().starts_with(b"d")));
    }
}
