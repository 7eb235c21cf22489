//! One log as a stream of wanted lines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};

use super::plan::{Selection, Verdict};
use super::run::QueryOutcome;
use crate::event::WallTime;
use crate::log::front::Seal;
use crate::log::line::{glance, time_of};
use crate::log::search::first_line_from;
use crate::log::source::Lines;

/// A log, standing at a wanted line.
pub(super) struct Stream {
    name: String,
    lines: Lines<File>,
    /// Time of the line; never lower than that of the line before, so that a badly sorted log
    /// keeps its own order among others.
    time: WallTime,
    lost: Option<i64>,
    in_order: bool,
    reads: u64,
}

impl Stream {
    /// The lines of `file` from the first that can be wanted.
    pub(super) fn open(
        name: String,
        file: File,
        selection: &Selection,
        scan: bool,
        block: usize,
    ) -> io::Result<Self> {
        let from = if scan {
            WallTime(i64::MIN)
        } else {
            selection.first()
        };
        let (start, end, seal) = stand(&file, from, None)?;
        Ok(Self {
            name,
            lines: Lines::new(file, start, end, block).sealed(seal),
            time: WallTime(i64::MIN),
            lost: None,
            in_order: true,
            reads: 0,
        })
    }

    /// Goes to the next wanted line; false when there is none.
    fn advance(
        &mut self,
        selection: &Selection,
        scan: bool,
        outcome: &mut QueryOutcome,
    ) -> io::Result<bool> {
        loop {
            let Some(line) = self.lines.next_line()? else {
                if self.lines.is_moved() {
                    self.find_again(selection, scan)?;
                    continue;
                }
                break;
            };
            let seen = if line.overlong {
                None
            } else {
                glance(line.bytes)
            };
            let Some(seen) = seen else {
                outcome.unreadable += u64::from(!line.bytes.trim_ascii().is_empty());
                continue;
            };
            if seen.time < self.time {
                self.in_order = false;
            }
            self.time = self.time.max(seen.time);
            self.lost = seen.lost;
            match selection.judge(&seen) {
                Verdict::Wanted => return Ok(true),
                Verdict::Past if !scan => break,
                Verdict::Past | Verdict::Unwanted => {}
            }
        }
        if !self.in_order {
            outcome.out_of_order.push(self.name.clone());
        }
        Ok(false)
    }

    /// Goes on behind the line that was seen last, after `clean` has cut the front of the log off
    /// while it was read.
    fn find_again(&mut self, selection: &Selection, scan: bool) -> io::Result<()> {
        let from = if scan {
            WallTime(i64::MIN)
        } else {
            self.time.max(selection.first())
        };
        let last = Some(self.lines.last()).filter(|last| !last.is_empty());
        let (start, end, seal) = stand(self.lines.file(), from, last)?;
        self.lines.resume(start, end, seal);
        Ok(())
    }

    /// Whether the file was read since the last call: a good moment to hand out what there is.
    fn has_read(&mut self) -> bool {
        let reads = self.lines.reads();
        let more = reads != self.reads;
        self.reads = reads;
        more
    }
}

/// Finds where to begin: at the first line of the time `from`, or behind the line `after` when one
/// like it stands there. With it come the end of the log and the seal under which both are true.
fn stand(file: &File, from: WallTime, after: Option<&[u8]>) -> io::Result<(u64, u64, Seal)> {
    loop {
        let seal = Seal::of(file)?;
        // What is appended from here on is for the next query.
        let end = file.metadata()?.len();
        let mut start = if from == WallTime(i64::MIN) {
            0
        } else {
            first_line_from(file, end, from)?
        };
        if let Some(after) = after {
            start = behind(file, start, end, from, after)?.unwrap_or(start);
        }
        if seal.holds(file)? {
            return Ok((start, end, seal));
        }
    }
}

/// Where the line `after` ends. `None` when it has gone: then everything before it has gone, too,
/// and nothing behind it has been seen.
fn behind(
    file: &File,
    start: u64,
    end: u64,
    from: WallTime,
    after: &[u8],
) -> io::Result<Option<u64>> {
    let mut lines = Lines::new(file, start, end, 64 * 1024);
    while let Some(line) = lines.next_line()? {
        // The first line of a log that was cut in place has blanks in front.
        if line.bytes.trim_ascii_start() == after.trim_ascii_start() {
            return Ok(Some(line.end));
        }
        let sorted = from > WallTime(i64::MIN);
        if sorted && !line.overlong && time_of(line.bytes).is_some_and(|time| time > from) {
            break;
        }
    }
    Ok(None)
}

/// Writes the wanted lines of all streams, by time; those of one time in the order of the streams.
pub(super) fn write_merged(
    mut streams: Vec<Stream>,
    selection: &Selection,
    scan: bool,
    out: &mut dyn Write,
    outcome: &mut QueryOutcome,
) -> io::Result<()> {
    let mut heads = BinaryHeap::new();
    for (index, stream) in streams.iter_mut().enumerate() {
        if stream.advance(selection, scan, outcome)? {
            heads.push(Reverse((stream.time, index)));
        }
    }
    while let Some(Reverse((_, index))) = heads.pop() {
        let stream = &mut streams[index];
        // As long as no other log has an earlier line there is nothing to compare.
        let until = heads.peek().map(|Reverse(head)| *head);
        loop {
            out.write_all(stream.lines.current())?;
            outcome.count(stream.lost);
            let more = stream.advance(selection, scan, outcome)?;
            if stream.has_read() {
                out.flush()?;
            }
            if !more {
                break;
            }
            let head = (stream.time, index);
            if until.is_some_and(|until| until < head) {
                heads.push(Reverse(head));
                break;
            }
        }
    }
    out.flush()
}
