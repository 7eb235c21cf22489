//! When something was mounted: from then until it is marked nobody looks.
//!
//! The kernel says that the table of mounts has changed, not when; so the table is asked often, which costs little.

use std::io;

use super::Core;
use crate::event::WallTime;
use crate::log::journal::Entry;
use crate::monitor::engine::Changes;
use crate::sys::clock;
use crate::sys::mount::{self, Mount, Table};

/// The table of mounts, and until when it is known to have been the one that was read last.
#[derive(Debug)]
pub(super) struct Mounts {
    table: Option<Table>,
    unchanged_at: WallTime,
    has_changed: bool,
}

impl Mounts {
    pub(super) fn begin() -> Self {
        Self {
            // Where it cannot be opened it cannot be read either, and that is told.
            table: Table::open().ok(),
            unchanged_at: now(),
            has_changed: false,
        }
    }

    /// Takes note of the time, if nothing has changed.
    pub(super) fn look(&mut self) {
        let now = now();
        self.has_changed |= self.table.as_ref().is_some_and(Table::has_changed);
        if !self.has_changed {
            self.unchanged_at = now;
        }
    }

    /// The mounts as they are now, and after which time they changed, if they have since they were read.
    pub(super) fn read(&mut self) -> io::Result<(Vec<Mount>, Option<WallTime>)> {
        self.look();
        let since = self.unchanged_at;
        for _ in 0..TRIES {
            let (was_changed, now) = (self.has_changed, now());
            let mounts = mount::mounts()?;
            self.has_changed = false;
            self.look();
            if !self.has_changed {
                self.unchanged_at = now;
                return Ok((mounts, was_changed.then_some(since)));
            }
        }
        // They go on changing; the next look finds that.
        self.unchanged_at = since;
        Ok((mount::mounts()?, Some(since)))
    }
}

fn now() -> WallTime {
    WallTime(clock::realtime())
}

/// So often the table is read again when it changes meanwhile.
const TRIES: usize = 8;

impl Core {
    /// Lets the journal tell where nobody looked between a change of the mounts and the marks that fit it.
    pub(super) fn note_mounts(&mut self, changes: &Changes) {
        let since = changes.since;
        for (path, cause) in unseen(changes) {
            self.writer.journal(&Entry::Short { path, cause, since });
            self.writer.journal(&Entry::Whole { path });
        }
    }
}

/// Where nobody looked, and why.
fn unseen(changes: &Changes) -> impl Iterator<Item = (&[u8], &'static str)> {
    let appeared = changes.appeared.iter();
    let appeared = appeared.map(|point| (&**point, APPEARED));
    // It can have been anywhere.
    let passed = changes.is_same_table.then_some((&b"/"[..], PASSED));
    // Of what is not watched well that is told, and since when; it does not become whole by this.
    let is_short = |point: &[u8]| {
        let mut all = changes.shortfalls.iter().chain(&changes.weak);
        all.any(|short| short.point == *point)
    };
    let all = appeared.chain(passed);
    all.filter(move |(point, _)| changes.since.is_some() && !is_short(point))
}

const APPEARED: &str =
    "something was mounted or unmounted here: what was done before it was marked is not recorded";
const PASSED: &str = "mounts changed and were back as before when they were read: what was done meanwhile on something that was mounted somewhere is not recorded";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::engine::Shortfall;

    #[test]
    fn what_is_not_watched_well_does_not_become_whole_as_mounts_pass() {
        let passed = |weak: &[&str]| Changes {
            appeared: vec![b"/mnt".to_vec()],
            is_same_table: true,
            since: Some(WallTime(1)),
            weak: weak
                .iter()
                .map(|point| Shortfall {
                    point: point.as_bytes().to_vec(),
                    why: "FUSE".to_owned(),
                })
                .collect(),
            ..Changes::default()
        };
        let points = |changes: &Changes| {
            let points =
                unseen(changes).map(|(point, _)| String::from_utf8(point.to_vec()).unwrap());
            points.collect::<Vec<_>>()
        };
        assert_eq!(points(&passed(&[])), ["/mnt", "/"]);
        assert_eq!(points(&passed(&["/"])), ["/mnt"]);
        assert_eq!(points(&passed(&["/mnt"])), ["/"]);
        let quiet = Changes {
            since: None,
            ..passed(&[])
        };
        assert!(points(&quiet).is_empty());
    }
}
