//! One log as a stream of wanted lines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};

use super::plan::{Selection, Verdict};
use super::run::QueryOutcome;
use crate::event::WallTime;
use crate::log::line::glance;
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
        // What is appended from here on is for the next query.
        let end = file.metadata()?.len();
        let start = if scan || selection.first() == WallTime(i64::MIN) {
            0
        } else {
            first_line_from(&file, end, selection.first())?
        };
        Ok(Self {
            name,
            lines: Lines::new(file, start, end, block),
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
        while let Some(line) = self.lines.next_line()? {
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

    /// Whether the file was read since the last call: a good moment to hand out what there is.
    fn has_read(&mut self) -> bool {
        let reads = self.lines.reads();
        let more = reads != self.reads;
        self.reads = reads;
        more
    }
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
