//! How far a long piece of work is, on a terminal.

use std::io::{IsTerminal as _, Stderr, Write, stderr};
use std::time::{Duration, Instant};

/// A line that says how far the work is, once it has taken a while; it goes away in the end.
pub(crate) struct ProgressLine<W: Write> {
    out: W,
    /// What stands before the percentage and behind it.
    around: [String; 2],
    began: Instant,
    shown: Option<u64>,
}

impl ProgressLine<Stderr> {
    /// A line on stderr; `None` when that is not a terminal.
    pub(crate) fn on_terminal(around: [String; 2]) -> Option<Self> {
        let out = stderr();
        out.is_terminal().then(|| Self::new(out, around))
    }
}

impl<W: Write> ProgressLine<W> {
    fn new(out: W, around: [String; 2]) -> Self {
        Self {
            out,
            around,
            began: Instant::now(),
            shown: None,
        }
    }

    /// Shows that `done` of `total` is done.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        self.show_after(self.began.elapsed(), done, total);
    }

    fn show_after(&mut self, elapsed: Duration, done: u64, total: u64) {
        let percent = done.saturating_mul(100) / total.max(1);
        if elapsed < PATIENCE || self.shown == Some(percent) {
            return;
        }
        self.shown = Some(percent);
        let [before, behind] = &self.around;
        // A terminal that has gone does not stop the work.
        write!(self.out, "\r{before}{percent} % {behind}{CLEAR_REST}").ok();
        self.out.flush().ok();
    }
}

impl<W: Write> Drop for ProgressLine<W> {
    fn drop(&mut self) {
        if self.shown.is_some() {
            write!(self.out, "\r{CLEAR_REST}").ok();
            self.out.flush().ok();
        }
    }
}

/// What is done sooner is not worth a word.
const PATIENCE: Duration = Duration::from_secs(1);
/// ECMA-48: erase to the end of the line.
const CLEAR_REST: &str = "\x1b[K";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_in_the_first_second_and_nothing_is_left() {
        let mut out = Vec::new();
        let mut line = ProgressLine::new(&mut out, ["working: ", "of it"].map(str::to_owned));
        line.show_after(Duration::from_millis(999), 1, 10);
        line.show_after(Duration::from_millis(1000), 2, 10);
        line.show_after(Duration::from_millis(1001), 2, 10);
        line.show_after(Duration::from_millis(1002), 0, 0);
        drop(line);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\rworking: 20 % of it\x1b[K\rworking: 0 % of it\x1b[K\r\x1b[K"
        );
        let mut quick = Vec::new();
        ProgressLine::new(&mut quick, Default::default()).show_after(Duration::ZERO, 1, 1);
        assert!(quick.is_empty());
    }
}
