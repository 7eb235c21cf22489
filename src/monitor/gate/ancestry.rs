//! Who opens: the process, which waits and so cannot vanish, and those of its ancestors that live.

use std::cell::OnceCell;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// A process and its living ancestors, the process first. What costs more is read when it is asked for.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    pid: u32,
    euid: OnceCell<Option<u32>>,
    pub(super) chain: Vec<Relative>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Relative {
    pub(super) pid: u32,
    pub(super) comm: Vec<u8>,
    exe: OnceCell<Option<Vec<u8>>>,
}

impl Lineage {
    /// Reads what /proc says; empty for a process of another namespace.
    pub(super) fn read(pid: u32) -> Self {
        let mut chain = Vec::new();
        let mut next = pid;
        while next != 0 && chain.len() < DEEP {
            let Some((relative, parent)) = relative(next) else {
                break;
            };
            chain.push(relative);
            next = parent;
        }
        Self {
            pid,
            euid: OnceCell::new(),
            chain,
        }
    }

    /// Effective user of the process.
    pub(super) fn euid(&self) -> Option<u32> {
        *self.euid.get_or_init(|| euid(self.pid))
    }
}

impl Relative {
    /// Path of its executable.
    pub(super) fn exe(&self) -> Option<&[u8]> {
        self.exe.get_or_init(|| exe(self.pid)).as_deref()
    }

    /// Whether it is called that: by its comm, which the kernel cuts, or by the name of its executable.
    pub(super) fn is_called(&self, cmd: &str) -> bool {
        let cmd = cmd.as_bytes();
        self.comm == cmd[..cmd.len().min(COMM)]
            || self.exe().and_then(|exe| exe.rsplit(|b| *b == b'/').next()) == Some(cmd)
    }

    #[cfg(test)]
    pub(super) fn named(comm: &str, exe: Option<&str>) -> Self {
        Self {
            pid: 0,
            comm: comm.as_bytes().to_vec(),
            exe: OnceCell::from(exe.map(|exe| exe.as_bytes().to_vec())),
        }
    }
}

#[cfg(test)]
impl Lineage {
    pub(super) fn of(euid: u32, chain: Vec<Relative>) -> Self {
        Self {
            pid: 0,
            euid: OnceCell::from(Some(euid)),
            chain,
        }
    }
}

/// Path of a process's executable.
pub(super) fn exe(pid: u32) -> Option<Vec<u8>> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let mut path = path.into_os_string().into_vec();
    if path.ends_with(DELETED) {
        path.truncate(path.len() - DELETED.len());
    }
    Some(path)
}

/// A process, and its parent. The comm stands raw between the first `(` and the last `)`.
fn relative(pid: u32) -> Option<(Relative, u32)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let comm = stat.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    let parent = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let relative = Relative {
        pid,
        comm,
        exe: OnceCell::new(),
    };
    Some((relative, parent))
}

fn euid(pid: u32) -> Option<u32> {
    let status = fs::read(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    let line = status
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))?;
    let line = std::str::from_utf8(line).ok()?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What the kernel puts behind the name of a file that was removed.
pub(super) const DELETED: &[u8] = b" (deleted)";
/// The kernel keeps so many bytes of a name.
const COMM: usize = 15;
/// More ancestors than this are not looked at.
const DEEP: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_found_with_our_ancestors_by_either_name() {
        let me = Lineage::read(std::process::id());
        assert_eq!(me.euid(), Some(crate::sys::account::effective_uid()));
        assert_eq!(me.chain[0].pid, std::process::id());
        assert!(me.chain.len() > 1);
        let exe = std::env::current_exe().unwrap();
        let name = exe.file_name().unwrap().to_str().unwrap();
        assert!(me.chain[0].is_called(name));
        assert!(!me.chain[0].is_called("no such name"));
    }

    #[test]
    fn a_long_name_is_compared_as_far_as_the_kernel_keeps_it() {
        let relative = Relative::named("fifteen-letters", Some("/usr/bin/python3.12"));
        assert!(relative.is_called("fifteen-letters-and-more"));
        assert!(relative.is_called("python3.12"));
        assert!(!relative.is_called("fifteen"));
        assert!(!relative.is_called("python3"));
    }

    #[test]
    fn nobody_has_no_ancestors() {
        let nobody = Lineage::read(0);
        assert_eq!((nobody.euid(), nobody.chain.len()), (None, 0));
    }
}
