//! Bytes of a perf ring -> values. No I/O; anything malformed is `None`.

use std::sync::Arc;

use super::names::Interner;
use super::record::{Comm, ProcChange, ProcRecord};
use crate::sys::perf::{self, RawRecord};

/// Reads the records of perf rings, and keeps the paths of programs once.
#[derive(Debug, Default)]
pub struct SideBand {
    paths: Interner,
}

impl SideBand {
    /// Reads a record of a ring in which nothing is missing before `since`; `None` for one that says
    /// nothing of a process.
    pub fn read(&mut self, raw: RawRecord<'_>, since: u64) -> Option<ProcRecord> {
        let side = parse(raw)?;
        let what = match side.what {
            SideWhat::Fork { ppid, thread } => ProcChange::Fork { ppid, thread },
            SideWhat::Exit => ProcChange::Exit,
            SideWhat::Comm { comm, exec } => ProcChange::Comm { comm, exec },
            SideWhat::Map { path } => ProcChange::Exe {
                path: self.paths.share(path),
            },
            SideWhat::Lost { count } => ProcChange::Lost { count, since },
        };
        Some(ProcRecord {
            time: side.time,
            pid: side.pid,
            tid: side.tid,
            what,
        })
    }

    /// The path as shared text.
    pub(super) fn share(&mut self, path: &[u8]) -> Arc<str> {
        self.paths.share(path)
    }
}

/// A side-band record, still borrowing its path from the ring.
#[derive(Debug, PartialEq, Eq)]
struct Side<'a> {
    time: u64,
    pid: u32,
    tid: u32,
    what: SideWhat<'a>,
}

/// What a side-band record says.
#[derive(Debug, PartialEq, Eq)]
enum SideWhat<'a> {
    Fork { ppid: u32, thread: u32 },
    Exit,
    Comm { comm: Comm, exec: bool },
    Map { path: &'a [u8] },
    Lost { count: u64 },
}

/// Reads one record; `None` for kinds that are not wanted and for executable memory without a file.
fn parse(raw: RawRecord<'_>) -> Option<Side<'_>> {
    // With sample_id_all and a sample type of TIME alone, each record ends in its time.
    let split = raw.body.len().checked_sub(8)?;
    let (body, time) = raw.body.split_at(split);
    let time = u64::from_ne_bytes(time.try_into().ok()?);
    let what = match raw.kind {
        perf::RECORD_FORK => SideWhat::Fork {
            ppid: word(body, 4)?,
            thread: word(body, 12)?,
        },
        perf::RECORD_EXIT => SideWhat::Exit,
        perf::RECORD_COMM => SideWhat::Comm {
            comm: Comm::new(body.get(8..)?),
            exec: raw.misc & perf::MISC_COMM_EXEC != 0,
        },
        perf::RECORD_MMAP2 => SideWhat::Map {
            path: file_path(body.get(64..)?)?,
        },
        perf::RECORD_LOST => {
            let what = SideWhat::Lost {
                count: long(body, 8)?,
            };
            return Some(Side {
                time,
                pid: 0,
                tid: 0,
                what,
            });
        }
        _ => return None,
    };
    let forked = matches!(what, SideWhat::Fork { .. } | SideWhat::Exit);
    let pid = word(body, 0)?;
    // FORK and EXIT hold pid, ppid, tid, ptid; the others pid, tid.
    let tid = word(body, if forked { 8 } else { 4 })?;
    // 0 and -1: a task of a pid namespace that we cannot see into.
    (pid != 0 && pid != u32::MAX).then_some(Side {
        time,
        pid,
        tid,
        what,
    })
}

/// The path of a mapped file, empty if it did not fit; memory without a file is `[vdso]`, `//anon` and
/// the like.
fn file_path(name: &[u8]) -> Option<&[u8]> {
    let name = name.split(|&b| b == 0).next()?;
    if name == b"//toolong" || name == b"//enomem" {
        return Some(b"");
    }
    if !name.starts_with(b"/") || name.starts_with(b"//") {
        return None;
    }
    // d_path adds this to a file without a name, such as a memfd.
    Some(name.strip_suffix(b" (deleted)").unwrap_or(name))
}

fn word(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?))
}

fn long(body: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(body.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(words: &[u32], tail: &[u8], time: u64) -> Vec<u8> {
        let mut out: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        out.extend_from_slice(tail);
        out.extend_from_slice(&time.to_ne_bytes());
        out
    }

    #[test]
    fn fork_comm_and_map_are_read() {
        let fork = body(&[20, 10, 21, 11, 5, 0], b"", 77);
        let side = parse(RawRecord {
            kind: perf::RECORD_FORK,
            misc: 0,
            body: &fork,
        })
        .unwrap();
        assert_eq!((side.time, side.pid, side.tid), (77, 20, 21));
        let what = SideWhat::Fork {
            ppid: 10,
            thread: 11,
        };
        assert_eq!(side.what, what);

        let comm = body(&[20, 21], b"touch\0\0\0", 78);
        let raw = RawRecord {
            kind: perf::RECORD_COMM,
            misc: perf::MISC_COMM_EXEC,
            body: &comm,
        };
        let side = parse(raw).unwrap();
        assert_eq!(
            side.what,
            SideWhat::Comm {
                comm: "touch".into(),
                exec: true
            }
        );

        let mut words = vec![20, 21];
        words.extend([0; 6]);
        words.extend([8, 1, 99, 0, 5, 0, 5, 2]);
        let map = body(&words, b"/usr/bin/touch\0\0", 79);
        let side = parse(RawRecord {
            kind: perf::RECORD_MMAP2,
            misc: 0,
            body: &map,
        })
        .unwrap();
        let path: &[u8] = b"/usr/bin/touch";
        assert_eq!(side.what, SideWhat::Map { path });
    }

    #[test]
    fn short_bodies_and_foreign_kinds_are_nothing() {
        for kind in 0..20 {
            for len in 0..80 {
                let bytes = vec![0; len];
                if let Some(side) = parse(RawRecord {
                    kind,
                    misc: 0,
                    body: &bytes,
                }) {
                    assert_eq!(side.what, SideWhat::Lost { count: 0 });
                }
            }
        }
    }

    #[test]
    fn memory_without_a_file_is_not_a_program() {
        for name in [b"[vdso]".as_slice(), b"//anon", b"anon_inode:x", b""] {
            assert_eq!(file_path(name), None);
        }
        assert_eq!(file_path(b"//toolong\0"), Some(b"".as_slice()));
        assert_eq!(
            file_path(b"/memfd:x (deleted)\0"),
            Some(b"/memfd:x".as_slice())
        );
    }
}
