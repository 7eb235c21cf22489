//! What goes and what stays.

use crate::event::WallTime;
use crate::filters::size::SizeFilter;
use crate::filters::time::TimeWindow;
use crate::log::line::{Glance, glance, time_of};

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Lines of this time; those without a time always.
    pub window: TimeWindow,
    /// When this holds for what the window keeps, the oldest lines go until about so many bytes
    /// remain.
    pub size: Option<SizeFilter>,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Kept,
    /// It stays because nobody can say how old it is.
    Unreadable,
    /// It is too old (or too young).
    Outside(WallTime),
    /// It is empty.
    Blank,
}

/// A line that goes because of its time.
#[derive(Clone, Copy, Debug)]
pub struct Doomed<'a> {
    /// Its time.
    pub time: WallTime,
    /// The rest of it, unless it is no event.
    pub line: Option<Glance<'a>>,
}

impl Keep {
    /// Judges a line by its time.
    pub fn judge(&self, line: &[u8]) -> Fate {
        match time_of(line) {
            Some(time) if self.window.contains(time) => Fate::Kept,
            Some(time) => Fate::Outside(time),
            None if line.trim_ascii().is_empty() => Fate::Blank,
            None => Fate::Unreadable,
        }
    }

    /// How many of `bytes` kept bytes must go from the head. The line in which the cut would lie
    /// stays whole.
    pub fn surplus(&self, bytes: u64) -> u64 {
        match self.size {
            Some(size) if size.matches(bytes) => bytes.saturating_sub(size.bytes),
            _ => 0,
        }
    }
}

impl<'a> Doomed<'a> {
    pub(super) fn new(time: WallTime, line: &'a [u8]) -> Self {
        Self {
            time,
            line: glance(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_a_time_can_be_too_old() {
        let keep = Keep {
            window: TimeWindow {
                first: WallTime(1_000_000_000),
                ..TimeWindow::ALL
            },
            size: None,
        };
        assert_eq!(
            keep.judge(b"{\"time\":\"1970-01-01T00:00:00Z\"}\n"),
            Fate::Outside(WallTime(0))
        );
        assert_eq!(
            keep.judge(b"{\"time\":\"1970-01-01T00:00:01Z\"}\n"),
            Fate::Kept
        );
        assert_eq!(
            keep.judge(b"{\"time\":\"1970-01-01T00:00:00Z\"\n"),
            Fate::Unreadable
        );
        assert_eq!(keep.judge(b"garbage\n"), Fate::Unreadable);
        assert_eq!(keep.judge(b"\xff\n"), Fate::Unreadable);
        assert_eq!(keep.judge(b" \r\n"), Fate::Blank);
    }

    #[test]
    fn a_size_rule_cuts_only_when_it_holds() {
        let surplus = |size: &str, bytes| {
            let keep = Keep {
                window: TimeWindow::ALL,
                size: Some(size.parse().unwrap()),
            };
            keep.surplus(bytes)
        };
        assert_eq!(surplus(">=100B", 99), 0);
        assert_eq!(surplus(">=100B", 100), 0);
        assert_eq!(surplus(">=100B", 150), 50);
        assert_eq!(surplus(">0B", 7), 7);
        assert_eq!(surplus("<100B", 50), 0);
        assert_eq!(surplus("=100B", 150), 0);
    }
}
