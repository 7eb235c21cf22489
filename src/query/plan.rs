//! Which lines are wanted.

use crate::event::WallTime;
use crate::filters::scope::{is_at_or_below, trim_slashes};
use crate::filters::time::TimeWindow;
use crate::log::line::Glance;

/// A window of time and prefixes of paths.
#[derive(Clone, Debug)]
pub struct Selection {
    pub(super) window: TimeWindow,
    /// Without trailing slashes; the root is empty. No prefix at all lets every path pass.
    pub(super) prefixes: Vec<Vec<u8>>,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it out.
    Wanted,
    /// Not this one.
    Unwanted,
    /// Not this one, and in a sorted log none of those that follow.
    Past,
}

impl Selection {
    /// Lines in `window` whose path is one of `paths` or below it.
    pub fn new<P: AsRef<[u8]>>(window: TimeWindow, paths: &[P]) -> Self {
        let prefixes = paths
            .iter()
            .map(|path| trim_slashes(path.as_ref()).to_vec())
            .collect();
        Self { window, prefixes }
    }

    /// The earliest time that is wanted.
    pub fn first(&self) -> WallTime {
        self.window.first
    }

    /// Judges a line. A hole is wanted whatever the paths: nobody knows what was lost in it.
    pub fn judge(&self, line: &Glance<'_>) -> Verdict {
        if line.is_gap() {
            self.judge_time(line.time)
        } else {
            self.judge_event(line.time, &line.path())
        }
    }

    /// Judges a line of which only the time matters.
    pub fn judge_time(&self, time: WallTime) -> Verdict {
        if time > self.window.last {
            Verdict::Past
        } else if time < self.window.first {
            Verdict::Unwanted
        } else {
            Verdict::Wanted
        }
    }

    /// Judges an event.
    pub fn judge_event(&self, time: WallTime, path: &[u8]) -> Verdict {
        match self.judge_time(time) {
            Verdict::Wanted if !self.covers(path) => Verdict::Unwanted,
            verdict => verdict,
        }
    }

    fn covers(&self, path: &[u8]) -> bool {
        self.prefixes.is_empty()
            || self
                .prefixes
                .iter()
                .any(|prefix| is_at_or_below(path, prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::glance;

    fn wanted(path: &str, prefixes: &[&str]) -> bool {
        let line =
            format!(r#"{{"time":"1970-01-01T00:00:01Z","event_type":"CREATE","path":"{path}"}}"#);
        let selection = Selection::new(TimeWindow::ALL, prefixes);
        selection.judge(&glance(line.as_bytes()).unwrap()) == Verdict::Wanted
    }

    #[test]
    fn prefixes_are_whole_components() {
        for (path, prefixes, expected) in [
            ("/mnt/a", &["/mnt/a"][..], true),
            ("/mnt/a/b", &["/mnt/a/"], true),
            ("/mnt/ab", &["/mnt/a"], false),
            ("/mnt/ab", &["/mnt/a", "/mnt/ab//"], true),
            ("/mnt", &["/mnt/a"], false),
            ("/x", &["/"], true),
            ("/", &["/"], true),
            ("/x", &[], true),
            (r"/a\u0062/c", &["/ab"], true),
        ] {
            assert_eq!(wanted(path, prefixes), expected, "{path} {prefixes:?}");
        }
    }

    #[test]
    fn paths_that_are_not_utf8_are_compared_by_their_exact_bytes() {
        let line = br#"{"time":"1970-01-01T00:00:01Z","event_type":"CREATE","path":"/\ufffd/x","path_raw":"2fff2f78"}"#;
        let line = glance(line).unwrap();
        let judge = |prefix: &[u8]| Selection::new(TimeWindow::ALL, &[prefix]).judge(&line);
        assert_eq!(judge(b"/\xff"), Verdict::Wanted);
        assert_eq!(judge("/\u{fffd}".as_bytes()), Verdict::Unwanted);
    }

    #[test]
    fn a_hole_in_the_window_is_wanted_under_any_path() {
        let line = br#"{"time":"1970-01-01T00:00:01Z","event_type":"GAP","path":"","lost":3}"#;
        let selection = Selection::new(TimeWindow::ALL, &["/nowhere"]);
        assert_eq!(selection.judge(&glance(line).unwrap()), Verdict::Wanted);
        let before = TimeWindow {
            first: WallTime(0),
            last: WallTime(5),
        };
        assert_eq!(
            Selection::new(before, &["/"]).judge(&glance(line).unwrap()),
            Verdict::Past
        );
    }
}
