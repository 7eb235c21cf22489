//! Which CPUs there are, and when to look again.
//!
//! The side band of a CPU is switched off as it goes offline, and stays off when it comes back: after a suspend
//! that is every CPU but the first. Nothing says so on the descriptor. The kernel tells of a CPU that is taken away
//! by hand or by a hypervisor, before it can come back; of a suspend the clocks tell; and where neither is to be
//! heard, the rings themselves are asked now and then.

use std::fs;
use std::io;
use std::path::Path;

use crate::sys::clock;
use crate::sys::netlink::Uevents;

/// The CPUs as they were when they were last looked at.
#[derive(Debug)]
pub(super) struct Cpus {
    list: String,
    /// The most that were ever online: while it is fewer, one may come back at any time.
    most: usize,
    uevents: Option<Uevents>,
    /// How long the machine has been suspended.
    slept: u64,
    /// When it was last looked, before anything was found.
    looked_at: u64,
}

impl Cpus {
    pub(super) fn new(online: &Path) -> io::Result<Self> {
        // Before the list is read, so that nothing falls in between.
        let uevents = Uevents::open().ok();
        let looked_at = clock::monotonic();
        let list = fs::read_to_string(online)?;
        Ok(Self {
            most: numbers(&list).len(),
            list,
            uevents,
            slept: slept(),
            looked_at,
        })
    }

    /// The numbers of those online.
    pub(super) fn online(&self) -> Vec<u32> {
        numbers(&self.list)
    }

    /// When it was last looked: those online then were there until then.
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Whether any may have gone or come since the last time, or it is time to look in any case.
    pub(super) fn is_suspicious(&mut self, online: &Path) -> bool {
        let is_cpu = |text: &[u8]| {
            let path = text.split(|byte| *byte == b'@').nth(1);
            path.is_some_and(|path| path.starts_with(b"/devices/system/cpu/cpu"))
        };
        let told = self
            .uevents
            .as_ref()
            .is_some_and(|heard| heard.have(is_cpu));
        let slept = slept();
        let has_slept = slept.abs_diff(self.slept) > LONGER_THAN_READING_CLOCKS;
        self.slept = slept;
        let is_due = clock::monotonic() - self.looked_at > EVERY;
        // The list alone: to ask the rings is work for every CPU, and one may stay away for good.
        let is_changed = || fs::read_to_string(online).is_ok_and(|list| list != self.list);
        let is_back = || numbers(&self.list).len() < self.most && is_changed();
        told || has_slept || is_due || is_back()
    }

    /// Looks who is online.
    pub(super) fn look(&mut self, online: &Path) -> io::Result<Vec<u32>> {
        let looked_at = clock::monotonic();
        self.list = fs::read_to_string(online)?;
        self.looked_at = looked_at;
        let online = self.online();
        self.most = self.most.max(online.len());
        Ok(online)
    }
}

fn slept() -> u64 {
    clock::boottime().saturating_sub(clock::monotonic())
}

/// Reads the kernel's list form, `0-3,8`.
fn numbers(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

/// The two clocks are read one after the other, with whatever comes between.
const LONGER_THAN_READING_CLOCKS: u64 = 20_000_000;
/// How often the rings are asked, in nanoseconds, while there is something to read.
const EVERY: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(numbers("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(numbers("0"), [0]);
        assert!(numbers("\n").is_empty());
    }

    #[test]
    fn one_that_is_away_is_looked_for_until_it_is_back() {
        let place = tempfile::tempdir().unwrap();
        let list = place.path().join("online");
        fs::write(&list, "0-1\n").unwrap();
        let mut cpus = Cpus::new(&list).unwrap();
        assert_eq!(cpus.look(&list).unwrap(), [0, 1]);
        assert!(!cpus.is_suspicious(&list));
        fs::write(&list, "0\n").unwrap();
        assert_eq!(cpus.look(&list).unwrap(), [0]);
        assert!(!cpus.is_suspicious(&list));
        fs::write(&list, "0-1\n").unwrap();
        assert!(cpus.is_suspicious(&list));
        assert_eq!(cpus.look(&list).unwrap(), [0, 1]);
        assert!(!cpus.is_suspicious(&list));
    }
}
