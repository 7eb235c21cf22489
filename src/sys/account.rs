//! Who runs this, and whose home is where: <https://man7.org/linux/man-pages/man3/getpwnam.3.html>

use std::ffi::{CStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;

/// An entry of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: OsString,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// The effective user id of this process.
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// Looks up a user id; `None` when the database does not know it or cannot be asked.
pub fn account(uid: u32) -> Option<Account> {
    let mut room = vec![0 as libc::c_char; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found: *mut libc::passwd = ptr::null_mut();
        // SAFETY: the pointers are valid for the call and `room` is as long as we say.
        let ret = unsafe {
            libc::getpwuid_r(
                uid,
                entry.as_mut_ptr(),
                room.as_mut_ptr(),
                room.len(),
                &raw mut found,
            )
        };
        if ret == libc::ERANGE && room.len() < 1 << 20 {
            room.resize(room.len() * 2, 0);
            continue;
        }
        if ret != 0 || found.is_null() {
            return None;
        }
        // SAFETY: getpwuid_r returned 0 and a result, so it has filled the entry.
        let entry = unsafe { entry.assume_init() };
        // SAFETY: the entry's strings end with NUL and point into `room`, which lives on.
        let name = unsafe { bytes(entry.pw_name) };
        // SAFETY: as above.
        let home = unsafe { bytes(entry.pw_dir) };
        return Some(Account {
            name: OsString::from_vec(name),
            gid: entry.pw_gid,
            home: PathBuf::from(OsString::from_vec(home)),
        });
    }
}

/// Copies a C string; empty for a null pointer.
///
/// # Safety
/// `text` must be null or point to a string that ends with NUL.
unsafe fn bytes(text: *const libc::c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller promises a string that ends with NUL.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_home() {
        let root = account(0).unwrap();
        assert_eq!(root.name, "root");
        assert!(root.home.is_absolute());
    }

    #[test]
    fn an_unknown_uid_is_nobody() {
        assert_eq!(account(u32::MAX - 7), None);
    }
}
