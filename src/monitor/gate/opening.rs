//! One open that waits: which rules mean its file, and how it is refused or kept waiting.

use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::time::Instant;

use super::ancestry::{DELETED, Lineage};
use super::places::Inode;
use super::rules::Rules;
use super::walk::split;
use super::{Gate, Question, Refusal, locked};
use crate::event::WallTime;
use crate::sys::clock;
use crate::sys::dirfd::inode_in_cache;
use crate::sys::gatekeeper::GateEvent;
use crate::sys::handle::{handle_of, stat};

/// The file that is to be opened.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) path: Vec<u8>,
    /// The rules that mean it, as places in the list.
    pub(super) rules: Vec<usize>,
    /// Set when the mark that brought it here is one left over.
    pub(super) stray: Option<Stray>,
}

/// A file whose directory is not, or no longer, one that is looked at.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) file: Inode,
    pub(super) dir: Inode,
}

/// An open that the owner decides about.
#[derive(Debug)]
pub(super) struct Undecided {
    pub(super) event: GateEvent,
    pub(super) question: Question,
    pub(super) who: Lineage,
    pub(super) until: Instant,
}

impl Undecided {
    /// Refuses it; `None` when nobody waits any more.
    pub(super) fn refuse(mut self, rule: u16) -> Option<Refusal> {
        refuse(&mut self.event, rule, self.question.path, &self.who)
    }
}

/// Refuses an open; `None` when nobody waits any more.
pub(super) fn refuse(
    event: &mut GateEvent,
    rule: u16,
    path: Vec<u8>,
    who: &Lineage,
) -> Option<Refusal> {
    let opener = who.chain.first();
    // While it waits: it may be gone as soon as it is answered.
    let exe = opener.and_then(|opener| opener.exe().map(<[u8]>::to_vec));
    let waited = event.refuse().unwrap_or(false);
    let (wall, mono) = (WallTime(clock::realtime()), clock::monotonic());
    waited.then(|| Refusal {
        rule,
        pid: event.pid,
        path,
        wall,
        mono,
        mask: event.mask,
        comm: opener.map_or_else(Vec::new, |opener| opener.comm.clone()),
        exe,
    })
}

impl Gate {
    /// Which rules mean the file: by the path that it is opened by, by its identity, or by the place of its
    /// directory, which may be opened by another path than that which was marked (a bind mount).
    pub(super) fn subject(&self, rules: &Rules, file: BorrowedFd<'_>) -> Subject {
        let path = path_of(file).unwrap_or_default();
        let mut meant = rules.that_mean(&path);
        let mut stray = None;
        let Ok(there) = stat(file) else {
            return Subject {
                path,
                rules: meant,
                stray,
            };
        };
        let handle = || handle_of(Some(file), c"").ok().map(|(handle, _)| handle);
        let names = locked(&self.places)
            .names_of((there.dev, there.ino), handle)
            .to_vec();
        for name in names.iter().filter(|name| **name != path) {
            let more = rules.that_mean(name);
            meant.extend(
                more.into_iter()
                    .filter(|rule| !meant.contains(rule))
                    .collect::<Vec<_>>(),
            );
        }
        if meant.is_empty() {
            let (above, name) = split(&path);
            let above_there = inode_in_cache(above);
            let marked = above_there.and_then(|inode| {
                let marked = locked(&self.places).path_of_dir(inode).map(<[u8]>::to_vec);
                marked.filter(|marked| inode_in_cache(marked) == Some(inode))
            });
            match (marked, above_there) {
                (Some(marked), _) if marked != above => {
                    let slash: &[u8] = if marked.ends_with(b"/") { b"" } else { b"/" };
                    meant = rules.that_mean(&[&marked[..], slash, name].concat());
                }
                (None, Some(dir)) => {
                    let file = (there.dev, there.ino);
                    stray = Some(Stray { file, dir });
                }
                _ => {}
            }
        }
        Subject {
            path,
            rules: meant,
            stray,
        }
    }
}

/// The path that a file was opened by, without the kernel's remark that it was removed meanwhile.
pub(super) fn path_of(file: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let mut path = link.into_os_string().into_vec();
    if path.ends_with(DELETED) {
        // A name can end like that by itself.
        let open = stat(file).ok().map(|open| (open.dev, open.ino));
        if open.is_none() || inode_in_cache(&path) != open {
            path.truncate(path.len() - DELETED.len());
        }
    }
    Some(path)
}
