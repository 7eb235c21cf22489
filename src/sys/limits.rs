//! How much this process may use: <https://man7.org/linux/man-pages/man2/getrlimit.2.html>

use std::io;

use super::cvt;

/// Lets this process have as many descriptors as it may allow itself, and returns how many those are.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one struct rlimit, for which there is room.
    cvt(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one struct rlimit.
    cvt(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// A limit of this process: what is in force, and up to where the process may raise that itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In force; `u64::MAX` is no limit.
    pub soft: u64,
    /// The most that can be asked for.
    pub hard: u64,
}

/// How many descriptors may be open.
pub fn open_files() -> io::Result<Limit> {
    limit_of(|limit| {
        // SAFETY: the kernel writes one struct rlimit, for which there is room.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) }
    })
}

/// How many bytes of memory may be locked.
pub fn locked_memory() -> io::Result<Limit> {
    limit_of(|limit| {
        // SAFETY: the kernel writes one struct rlimit, for which there is room.
        unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, limit) }
    })
}

fn limit_of(ask: impl FnOnce(&mut libc::rlimit) -> libc::c_int) -> io::Result<Limit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    cvt(ask(&mut limit))?;
    Ok(Limit {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_not_more_than_what_may_be() {
        for limit in [open_files().unwrap(), locked_memory().unwrap()] {
            assert!(limit.soft <= limit.hard);
        }
        assert!(open_files().unwrap().soft > 2);
    }
}
