//! What the journal and the logs say of the time since a manifest was made.

use std::collections::BTreeSet;
use std::io;

use crate::event::WallTime;
use crate::log::dir::LogDir;
use crate::log::journal;
use crate::log::line::time_of;
use crate::log::source::Lines;
use crate::log::written::{Written, read_entry};

/// What has become of the record since a manifest was made.
pub(super) struct Past {
    /// When recording ended, or lost something, for the first time.
    pub(super) since: Option<WallTime>,
    /// Whether the logs still hold all that was recorded since then.
    pub(super) is_whole: bool,
    /// Whether something was mounted that was not watched wholly.
    pub(super) is_short: bool,
    /// By how much the clock was set back.
    pub(super) back: i64,
    /// Where something is mounted that is not watched wholly.
    short: BTreeSet<Vec<u8>>,
}

impl Past {
    /// Reads the whole journal: what is mounted stands where it was found, however long ago.
    pub(super) fn read(dir: &LogDir, from: WallTime) -> io::Result<Self> {
        let mut past = Self {
            since: None,
            is_whole: true,
            is_short: false,
            back: 0,
            short: BTreeSet::new(),
        };
        let Some(file) = dir.open_log(journal::FILE_NAME)? else {
            past.is_whole = false;
            return Ok(past);
        };
        let end = file.metadata()?.len();
        let mut lines = Lines::new(file, 0, end, BLOCK);
        while let Some(line) = lines.next_line()? {
            if let Some(entry) = read_entry(line.bytes) {
                past.take(dir, &entry, from)?;
            }
        }
        Ok(past)
    }

    fn take(&mut self, dir: &LogDir, entry: &Written, from: WallTime) -> io::Result<()> {
        match entry.event.as_str() {
            "START" if entry.time <= from => {
                self.short.clear();
                self.is_short = false;
                self.back = 0;
            }
            "SHORT" => {
                self.is_short = true;
                self.short.extend(entry.path.clone());
            }
            "WHOLE" => {
                self.short.retain(|path| Some(path) != entry.path.as_ref());
                self.is_short &= entry.time > from || !self.short.is_empty();
            }
            "CLOCK" => self.back += entry.step_ns.unwrap_or(0).min(0).abs(),
            _ if entry.time < from => {}
            "STOP" => {
                self.since.get_or_insert(entry.time);
            }
            "GAP" => {
                let cause = entry.cause.as_deref().unwrap_or_default();
                if !cause.starts_with("process records lost") {
                    let since = entry.since.unwrap_or(entry.time);
                    self.since = Some(self.since.map_or(since, |first| first.min(since)));
                }
            }
            "LOG" => self.is_whole = false,
            "CLEAN" => {
                let log = entry.log.as_deref().unwrap_or_default();
                self.is_whole &= first_time(dir, log)?.is_none_or(|first| first <= from);
            }
            _ => {}
        }
        Ok(())
    }
}

fn first_time(dir: &LogDir, log: &str) -> io::Result<Option<WallTime>> {
    let Some(file) = dir.open_log(log)? else {
        return Ok(None);
    };
    let end = file.metadata()?.len();
    let mut lines = Lines::new(file, 0, end, BLOCK);
    while let Some(line) = lines.next_line()? {
        if let Some(time) = time_of(line.bytes) {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

const BLOCK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::dir::LogDir;
    use crate::log::journal::{Entry, encode_entry};

    /// Written at 1, 2, 3, ...
    fn past(entries: &[Entry<'_>], from: i64) -> Past {
        let place = tempfile::tempdir().unwrap();
        let mut text = Vec::new();
        for (time, entry) in (1..).zip(entries) {
            encode_entry(WallTime(time), entry, &mut text);
        }
        std::fs::write(place.path().join(journal::FILE_NAME), text).unwrap();
        Past::read(&LogDir::open(place.path()).unwrap(), WallTime(from)).unwrap()
    }

    const START: Entry<'_> = Entry::Start {
        version: "1",
        pid: 1,
        after_crash: false,
    };
    const SHORT: Entry<'_> = Entry::Short {
        path: b"/mnt",
        cause: "FUSE",
        since: None,
    };
    const WHOLE: Entry<'_> = Entry::Whole { path: b"/mnt" };
    const BACK: Entry<'_> = Entry::Clock { step: -5 };

    #[test]
    fn a_mount_counts_from_when_it_cannot_be_watched_until_it_can_be_or_the_run_ends() {
        assert!(past(&[START, SHORT, START], 2).is_short);
        assert!(past(&[START, SHORT], 1_000_000).is_short);
        assert!(past(&[START, SHORT, WHOLE], 2).is_short);
        assert!(!past(&[START, SHORT, WHOLE], 3).is_short);
        assert!(!past(&[START, SHORT, START, BACK], 3).is_short);
        assert!(past(&[START, START, SHORT, WHOLE], 2).is_short);
    }

    #[test]
    fn only_steps_of_the_clock_since_the_run_of_the_manifest_began_count() {
        assert_eq!(past(&[BACK, START, BACK, BACK], 2).back, 10);
        assert_eq!(past(&[BACK, START, START], 2).back, 0);
    }

    #[test]
    fn the_first_end_and_the_first_hole_tell_since_when_something_may_be_unseen() {
        let stop = Entry::Stop {
            reason: "",
            logs: &[],
        };
        let gap = |cause| Entry::Gap {
            lost: 1,
            cause,
            since: WallTime(2),
        };
        assert_eq!(past(&[START, stop], 3).since, None);
        let entries = [START, START, START, gap("process records lost")];
        assert_eq!(past(&entries, 2).since, None);
        let entries = [START, START, START, gap("overflow")];
        assert_eq!(past(&entries, 2).since, Some(WallTime(2)));
    }
}
