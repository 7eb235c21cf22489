//! Who runs this, and whose home is where: <https://man7.org/linux/man-pages/man3/getpwnam.3.html>

use std::ffi::{CStr, CString, OsString};
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
    look_up(|entry, room, found| {
        // SAFETY: the pointers are valid for the call and `room` is as long as we say.
        unsafe { libc::getpwuid_r(uid, entry, room.as_mut_ptr(), room.len(), found) }
    })
    .map(|(_, account)| account)
}

/// The user and group ids of a user that is named, or given by number.
pub fn ids_of(name: &str) -> Option<(u32, u32)> {
    if let Ok(uid) = name.parse() {
        return Some((uid, account(uid).map_or(uid, |account| account.gid)));
    }
    let name = CString::new(name).ok()?;
    look_up(|entry, room, found| {
        // SAFETY: the pointers are valid for the call, `name` ends with NUL, and `room` is as long as
        // we say.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, room.as_mut_ptr(), room.len(), found) }
    })
    .map(|(uid, account)| (uid, account.gid))
}

fn look_up(
    mut ask: impl FnMut(*mut libc::passwd, &mut [libc::c_char], *mut *mut libc::passwd) -> i32,
) -> Option<(u32, Account)> {
    let mut room = vec![0 as libc::c_char; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found: *mut libc::passwd = ptr::null_mut();
        let ret = ask(entry.as_mut_ptr(), &mut room, &raw mut found);
        if ret == libc::ERANGE && room.len() < 1 << 20 {
            room.resize(room.len() * 2, 0);
            continue;
        }
        if ret != 0 || found.is_null() {
            return None;
        }
        // SAFETY: the call returned 0 and a result, so it has filled the entry.
        let entry = unsafe { entry.assume_init() };
        // SAFETY: the entry's strings end with NUL and point into `room`, which lives on.
        let name = unsafe { bytes(entry.pw_name) };
        // SAFETY: as above.
        let home = unsafe { bytes(entry.pw_dir) };
        let account = Account {
            name: OsString::from_vec(name),
            gid: entry.pw_gid,
            home: PathBuf::from(OsString::from_vec(home)),
        };
        return Some((entry.pw_uid, account));
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
        assert_eq!(ids_of("root").map(|(uid, _)| uid), Some(0));
    }

    #[test]
    fn an_unknown_uid_is_nobody() {
        assert_eq!(account(u32::MAX - 7), None);
        assert_eq!(ids_of("nobody-of-this-name"), None);
    }
}
