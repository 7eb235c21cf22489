//! Names kept once: comms, paths of programs, names of users.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use dashmap::DashMap;
use hashbrown::HashMap;

use crate::sys::account;

/// More distinct names than this and those that nobody holds any more are dropped.
const SWEEP_AT: usize = 4096;

/// Gives equal names the same allocation.
#[derive(Debug)]
pub(super) struct Interner {
    names: HashMap<Box<[u8]>, Arc<str>>,
    sweep_at: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            names: HashMap::new(),
            sweep_at: SWEEP_AT,
        }
    }
}

impl Interner {
    /// The name as shared text; bytes that are not UTF-8 become U+FFFD.
    pub(super) fn share(&mut self, name: &[u8]) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        if self.names.len() >= self.sweep_at {
            self.names.retain(|_, text| Arc::strong_count(text) > 1);
            self.sweep_at = SWEEP_AT.max(self.names.len() * 2);
        }
        let text: Arc<str> = String::from_utf8_lossy(name).into();
        self.names.insert(name.into(), Arc::clone(&text));
        text
    }
}

/// Names of users, asked from the user database once each.
///
/// The database may be LDAP behind NSS and take seconds: one question for a uid is the price
/// of a name, a second one is not paid.
#[derive(Debug, Default)]
pub(super) struct UserNames {
    names: DashMap<u32, Name>,
    /// What the file of users looked like, and when that was seen.
    file: Option<FileState>,
    looked_at: u64,
}

/// Size, inode and times of a file: another one or another content has others.
type FileState = (u64, u64, i64, i64);

const USERS: &str = "/etc/passwd";
/// How often, in nanoseconds, the file of users is looked at.
const LOOK_EVERY: u64 = 1_000_000_000;

#[derive(Debug)]
struct Name {
    text: Arc<str>,
    known: bool,
}

impl UserNames {
    /// The user's name, or the number when it has none.
    pub(super) fn of(&self, uid: u32) -> Arc<str> {
        if let Some(name) = self.names.get(&uid) {
            return Arc::clone(&name.text);
        }
        let name = match account::account(uid) {
            Some(account) => Name {
                text: account.name.to_string_lossy().into(),
                known: true,
            },
            None => Name {
                text: uid.to_string().into(),
                known: false,
            },
        };
        let text = Arc::clone(&name.text);
        self.names.insert(uid, name);
        text
    }

    /// Forgets all names when users have been added, removed or renamed.
    pub(super) fn refresh(&mut self, now: u64) {
        if now.saturating_sub(self.looked_at) < LOOK_EVERY {
            return;
        }
        self.looked_at = now;
        let state = std::fs::metadata(USERS).ok();
        let state = state.map(|meta| (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec()));
        if self.file.is_some() && self.file != state {
            self.names.clear();
        }
        self.file = state;
    }

    /// Forgets the numbers, so that a user made since then gets its name.
    pub(super) fn forget_nameless(&self) {
        self.names.retain(|_, name| name.known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one() {
        let mut names = Interner::default();
        let first = names.share(b"touch");
        assert!(Arc::ptr_eq(&first, &names.share(b"touch")));
        assert_eq!(&*names.share(b"a\xff"), "a\u{fffd}");
    }

    #[test]
    fn names_that_nobody_holds_are_dropped() {
        let mut names = Interner::default();
        let kept = names.share(b"kept");
        for n in 0..3 * SWEEP_AT {
            names.share(n.to_string().as_bytes());
        }
        assert!(names.names.len() <= SWEEP_AT);
        assert!(Arc::ptr_eq(&kept, &names.share(b"kept")));
    }

    #[test]
    fn a_uid_without_a_name_is_its_number() {
        let users = UserNames::default();
        assert_eq!(&*users.of(0), "root");
        assert_eq!(&*users.of(4_000_000_001), "4000000001");
        users.forget_nameless();
        assert_eq!(users.names.len(), 1);
    }
}
