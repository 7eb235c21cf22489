//! The lines of some time in a sorted log, in blocks, also when its front is cut off meanwhile.

use std::borrow::Borrow;
use std::fs::File;
use std::io;

use super::front::Seal;
use super::line::time_of;
use super::search::{first_line_behind, first_line_from};
use super::source::Lines;
use crate::event::WallTime;
use crate::filters::time::TimeWindow;

/// Goes through a log from its first line in a window of time to the last that was there when it began.
#[derive(Debug)]
pub struct Onward<F> {
    lines: Lines<F>,
    window: TimeWindow,
}

/// Where reading begins and ends, and the seal under which that is true.
struct Stand {
    start: u64,
    end: u64,
    seal: Seal,
}

impl<F: Borrow<File>> Onward<F> {
    /// The lines of a time in `window`, as far as halving the file finds them, read `block` bytes at a
    /// time. What is appended from here on is for the next question.
    pub fn new(file: F, window: TimeWindow, block: usize) -> io::Result<Self> {
        let Stand { start, end, seal } = Stand::find(file.borrow(), window, None)?;
        Ok(Self {
            lines: Lines::new(file, start, end, block).sealed(seal),
            window,
        })
    }

    /// The next whole lines; `None` at the end. Overlong lines are left out, and counted in `overlong`.
    pub fn next_block(&mut self, overlong: &mut u64) -> io::Result<Option<&[u8]>> {
        while !self.lines.advance_block(overlong)? {
            if !self.lines.is_moved() {
                return Ok(None);
            }
            self.find_again()?;
        }
        Ok(Some(self.lines.current()))
    }

    /// The lines that were handed out last.
    pub fn current(&self) -> &[u8] {
        self.lines.current()
    }

    /// Goes on behind the line that was handed out last, after the front of the log was cut off.
    fn find_again(&mut self) -> io::Result<()> {
        let last = Some(self.lines.last()).filter(|last| !last.is_empty());
        let Stand { start, end, seal } = Stand::find(self.lines.file(), self.window, last)?;
        self.lines.resume(start, end, seal);
        Ok(())
    }
}

impl Stand {
    /// The lines of a time in `window`, but only those behind `after` when a line like it is there.
    fn find(file: &File, window: TimeWindow, after: Option<&[u8]>) -> io::Result<Self> {
        loop {
            let seal = Seal::of(file)?;
            let end = first_line_behind(file, file.metadata()?.len(), window.last)?;
            let is_bounded = window.first > WallTime(i64::MIN);
            let time = after.and_then(time_of).filter(|_| is_bounded);
            let from = time.unwrap_or(window.first).max(window.first);
            let mut start = if is_bounded {
                first_line_from(file, end, from)?
            } else {
                0
            };
            if let Some(after) = after {
                start = behind(file, start, end, after, time)?.unwrap_or(start);
            }
            if seal.holds(file)? {
                return Ok(Self { start, end, seal });
            }
        }
    }
}

/// Where the line `after`, whose time is known in a sorted log, ends. `None` when it has gone: then
/// everything before it has gone, too, and nothing behind it has been seen.
fn behind(
    file: &File,
    start: u64,
    end: u64,
    after: &[u8],
    time: Option<WallTime>,
) -> io::Result<Option<u64>> {
    let mut lines = Lines::new(file, start, end, 64 * 1024);
    while let Some(line) = lines.next_line()? {
        if is_same(line.bytes, after) {
            return Ok(Some(line.end));
        }
        let is_past = |time| time_of(line.bytes).is_some_and(|found| found > time);
        if !line.overlong && time.is_some_and(is_past) {
            break;
        }
    }
    Ok(None)
}

/// The first line of a log that was cut in place has blanks in front.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.trim_ascii_start() == other.trim_ascii_start()
}
