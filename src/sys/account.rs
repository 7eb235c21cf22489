//! Who runs this, and whose home is where: <https://man7.org/linux/man-pages/man3/getpwnam.3.html>

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;

use super::cvt;

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

/// Gives this process the groups of a user and no others. An id that counts for files leaves root's further groups in
/// force: what these may read and write the user would reach through us. setgroups(2) is about all threads, so it is
/// for a process that has one.
pub fn take_groups(uid: u32, gid: u32) -> io::Result<()> {
    let wanted = groups_of(uid, gid)?;
    // SAFETY: the pointer is valid for as many ids as are given.
    let ret = unsafe { libc::setgroups(wanted.len(), wanted.as_ptr()) };
    match cvt(ret) {
        Ok(_) => Ok(()),
        // In a namespace of an ordinary user nobody may: then it must have been so before.
        Err(_) if present_groups()?.iter().all(|group| wanted.contains(group)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn groups_of(uid: u32, gid: u32) -> io::Result<Vec<libc::gid_t>> {
    let Some(account) = account(uid) else {
        return Ok(vec![gid]);
    };
    let name = CString::new(account.name.into_vec())?;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: `name` ends with NUL, and `groups` has room for as many ids as `count` says.
        let ret =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        if ret >= 0 {
            groups.truncate(count.unsigned_abs() as usize);
            return Ok(groups);
        }
        if groups.len() > MOST_GROUPS {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        groups.resize(groups.len() * 2, 0);
    }
}

fn present_groups() -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; MOST_GROUPS];
    let room = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `groups` has room for as many ids as we say.
    let count = cvt(unsafe { libc::getgroups(room, groups.as_mut_ptr()) })?;
    groups.truncate(count.unsigned_abs() as usize);
    Ok(groups)
}

/// NGROUPS_MAX of the kernel.
const MOST_GROUPS: usize = 65_536;

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
