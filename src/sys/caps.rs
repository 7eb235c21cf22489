//! What a thread may do beyond other processes of its user: <https://man7.org/linux/man-pages/man7/capabilities.7.html>

use std::io;

use super::cvt;

/// A capability, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap(u8);

impl Cap {
    /// Write where the mode of a file or directory forbids it.
    pub const DAC_OVERRIDE: Self = Self(1);
    /// Look into any directory, and open files by handle.
    pub const DAC_READ_SEARCH: Self = Self(2);
    /// Send signals to other users' processes.
    pub const KILL: Self = Self(5);
    /// Change the group that counts for files.
    pub const SETGID: Self = Self(6);
    /// Change the user that counts for files.
    pub const SETUID: Self = Self(7);
    /// Take capabilities out of the bounding set.
    pub const SETPCAP: Self = Self(8);
    /// Force the size of a socket's buffer.
    pub const NET_ADMIN: Self = Self(12);
    /// Look at other users' processes.
    pub const SYS_PTRACE: Self = Self(19);
    /// Mark filesystems, see all processes, open perf rings.
    pub const SYS_ADMIN: Self = Self(21);
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// One word of each of the three sets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether this thread has a capability in force.
pub fn has(cap: Cap) -> bool {
    let (word, bit) = place(cap);
    get().is_ok_and(|words| words[word].effective & bit != 0)
}

/// Gives up all capabilities but `kept`, for this thread and the threads and programs that it starts.
pub fn keep_only(kept: &[Cap]) -> io::Result<()> {
    let mut words = get()?;
    if has(Cap::SETPCAP) {
        limit_programs(kept);
    }
    let mut wanted = [0_u32; 2];
    for cap in kept {
        let (word, bit) = place(*cap);
        wanted[word] |= bit;
    }
    for (word, wanted) in words.iter_mut().zip(wanted) {
        word.permitted &= wanted;
        word.effective &= wanted;
        word.inheritable = 0;
    }
    set(&words)
}

fn place(cap: Cap) -> (usize, u32) {
    (usize::from(cap.0 / 32), 1 << (cap.0 % 32))
}

/// Takes all but `kept` out of the bounding set: no program that is started gets more.
fn limit_programs(kept: &[Cap]) {
    for cap in (0..64).filter(|cap| !kept.contains(&Cap(*cap))) {
        // SAFETY: takes numbers and touches no memory of ours.
        let dropped =
            cvt(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(cap), 0, 0, 0) });
        if dropped.is_err() {
            // EINVAL: beyond the last one that this kernel knows.
            return;
        }
    }
}

fn get() -> io::Result<[Word; 2]> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut words = [Word::default(); 2];
    // SAFETY: version 3 has two words, which is what `words` has room for.
    cvt(unsafe { libc::syscall(libc::SYS_capget, &raw const header, words.as_mut_ptr()) })?;
    Ok(words)
}

fn set(words: &[Word; 2]) -> io::Result<()> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    // SAFETY: version 3 reads two words, which `words` has; pid 0 is this thread.
    cvt(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_up_what_it_has_and_others_keep_theirs() {
        let before = get().unwrap().map(|word| word.effective);
        let after = std::thread::spawn(|| {
            keep_only(&[Cap::DAC_READ_SEARCH]).unwrap();
            get().unwrap().map(|word| word.effective | word.permitted)
        });
        let [low, high] = after.join().unwrap();
        assert_eq!((low & !(1 << 2), high), (0, 0));
        assert_eq!(get().unwrap().map(|word| word.effective), before);
    }
}
