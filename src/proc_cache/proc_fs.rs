//! One process as /proc tells it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::record::Comm;

/// What /proc/PID says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcEntry {
    pub(super) pid: u32,
    pub(super) ppid: u32,
    pub(super) comm: Comm,
    pub(super) exe: Option<Vec<u8>>,
    pub(super) euid: u32,
    /// Ticks after boot at which it was born.
    pub(super) start: u64,
    pub(super) threads: u32,
    pub(super) zombie: bool,
    /// Its threads but the first: which, called what, with which effective uid.
    pub(super) others: Vec<(u32, Comm, u32)>,
}

/// Every process listed under `root`; those that vanish while being read are left out.
pub(super) fn list(root: &Path) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Reads one process; `None` when it is gone.
pub(super) fn read(root: &Path, pid: u32) -> Option<ProcEntry> {
    let dir = root.join(pid.to_string());
    let stat = fs::read(dir.join("stat")).ok()?;
    let status = fs::read(dir.join("status")).ok()?;
    let exe = fs::read_link(dir.join("exe")).ok();
    let exe = exe.map(|path| without_deleted(path.into_os_string().into_vec()));
    let mut entry = parse_stat(&stat)?;
    entry.euid = euid(&status)?;
    entry.exe = exe.filter(|path| path.starts_with(b"/"));
    if entry.threads > 1 {
        entry.others = other_threads(&dir.join("task"), pid);
    }
    (entry.pid == pid).then_some(entry)
}

fn other_threads(tasks: &Path, pid: u32) -> Vec<(u32, Comm, u32)> {
    let Ok(listed) = list(tasks) else {
        return Vec::new();
    };
    let thread = |tid: u32| {
        let dir = tasks.join(tid.to_string());
        let comm = fs::read(dir.join("comm")).ok()?;
        let comm = Comm::new(comm.strip_suffix(b"\n").unwrap_or(&comm));
        Some((tid, comm, euid(&fs::read(dir.join("status")).ok()?)?))
    };
    let others = listed.into_iter().filter(|tid| *tid != pid);
    others.filter_map(thread).collect()
}

fn without_deleted(mut path: Vec<u8>) -> Vec<u8> {
    if let Some(name) = path.strip_suffix(b" (deleted)") {
        path.truncate(name.len());
    }
    path
}

/// The comm stands raw between the first `(` and the last `)`, whatever it holds itself.
fn parse_stat(stat: &[u8]) -> Option<ProcEntry> {
    let open = stat.iter().position(|&b| b == b'(')?;
    let close = stat.iter().rposition(|&b| b == b')')?;
    let pid = std::str::from_utf8(&stat[..open])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let comm = Comm::new(stat.get(open + 1..close)?);
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc_pid_stat(5) counts from 1; `state` is field 3 and the first one here.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(ProcEntry {
        pid,
        comm,
        ppid: field(4)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        start: field(22)?.parse().ok()?,
        zombie: matches!(field(3)?, "Z" | "X"),
        exe: None,
        euid: 0,
        others: Vec::new(),
    })
}

/// The effective uid. The comm in this file is escaped by the kernel, so it forges no line.
fn euid(status: &[u8]) -> Option<u32> {
    let line = status
        .split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:"))?;
    let line = std::str::from_utf8(line).ok()?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(comm: &str) -> Vec<u8> {
        format!("42 ({comm}) S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 9001 0 0\n").into_bytes()
    }

    #[test]
    fn a_forged_comm_moves_no_field() {
        for comm in ["sleep", "a b) R 1 (c", "x\n1 (y", ") S 1 (", "", "a;b|c"] {
            let entry = parse_stat(&stat(comm)).unwrap();
            assert_eq!(entry.comm, Comm::from(comm));
            assert_eq!(
                (entry.pid, entry.ppid, entry.threads, entry.start),
                (42, 7, 3, 9001)
            );
        }
    }

    #[test]
    fn the_effective_uid_is_the_second() {
        assert_eq!(
            euid(b"Name:\ta\\nUid:\t0\nUid:\t1000\t1001\t1002\t1003\n"),
            Some(1001)
        );
        assert_eq!(euid(b"Name:\tx\n"), None);
    }

    #[test]
    fn broken_stat_is_nothing() {
        for text in ["", "42", "42 (x", "42 (x)", "42 (x) S 1", "x (y) S 1"] {
            assert_eq!(parse_stat(text.as_bytes()), None);
        }
    }

    #[test]
    fn threads_are_read_with_their_own_names() {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (end, is_end) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("a thread) S".into());
        let thread = thread
            .spawn(move || {
                ready.send(()).unwrap();
                is_end.recv().ok();
            })
            .unwrap();
        is_ready.recv().unwrap();
        let me = read(Path::new("/proc"), std::process::id()).unwrap();
        drop(end);
        thread.join().unwrap();
        let found = me.others.iter().any(|(tid, comm, uid)| {
            *tid != me.pid && *comm == Comm::from("a thread) S") && *uid == me.euid
        });
        assert!(found, "{:?}", me.others);
    }

    #[test]
    fn our_own_entry_is_right() {
        let me = read(Path::new("/proc"), std::process::id()).unwrap();
        assert_eq!(
            me.exe.unwrap(),
            std::env::current_exe().unwrap().into_os_string().into_vec()
        );
        assert!(me.threads >= 1 && !me.zombie);
    }
}
