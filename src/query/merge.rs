//! Each log as a stream of wanted lines, and all of them by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};

use super::plan::Selection;
use super::run::QueryOutcome;
use super::sift::{Noticed, Piece, Pieces, Sift};
use crate::event::WallTime;
use crate::filters::time::TimeWindow;
use crate::log::onward::Onward;

/// A log, standing at a piece of wanted lines.
pub(super) struct Stream<'s> {
    name: String,
    lines: Onward<File>,
    sift: Sift<'s>,
    /// The wanted lines of the block at hand, and which of them comes next.
    found: Vec<Piece>,
    next: usize,
}

impl<'s> Stream<'s> {
    /// The lines of `file` from the first that can be wanted; each apart where logs are merged.
    pub(super) fn open(
        name: String,
        file: File,
        selection: &'s Selection,
        how: &Reading,
    ) -> io::Result<Self> {
        let window = if how.scan {
            TimeWindow::ALL
        } else {
            selection.window
        };
        Ok(Self {
            name,
            lines: Onward::new(file, window, how.block)?,
            sift: Sift::new(
                selection,
                !how.scan,
                if how.apart {
                    Pieces::Timed
                } else {
                    Pieces::Runs
                },
            ),
            found: Vec::new(),
            next: 0,
        })
    }

    /// Goes on to the next wanted lines; `None` when there are none. What was found before goes out
    /// before the file is read again.
    fn advance(&mut self, out: &mut dyn Write) -> io::Result<Option<WallTime>> {
        loop {
            if let Some(piece) = self.found.get(self.next) {
                return Ok(Some(piece.time));
            }
            out.flush()?;
            self.found.clear();
            self.next = 0;
            if self.sift.noticed.is_past {
                return Ok(None);
            }
            let Some(block) = self.lines.next_block(&mut self.sift.noticed.unreadable)? else {
                return Ok(None);
            };
            self.sift.sift(block, &mut self.found);
        }
    }

    /// Hands out the lines it stands at.
    fn hand_out(&mut self, out: &mut dyn Write, outcome: &mut QueryOutcome) -> io::Result<()> {
        if let Some(piece) = self.found.get(self.next) {
            out.write_all(&self.lines.current()[piece.range.clone()])?;
            outcome.count(piece.lines, &piece.lost);
            self.next += 1;
        }
        Ok(())
    }

    fn end(&self, outcome: &mut QueryOutcome) {
        let Noticed {
            unreadable,
            is_unsorted,
            ..
        } = self.sift.noticed;
        outcome.unreadable += unreadable;
        if is_unsorted {
            outcome.note_unsorted(&self.name);
        }
    }
}

/// How logs are read.
pub(super) struct Reading {
    /// From beginning to end, in case that a log is not sorted.
    pub(super) scan: bool,
    /// Several logs are merged.
    pub(super) apart: bool,
    /// How many bytes at a time.
    pub(super) block: usize,
}

/// Writes the wanted lines of all streams, by time; those of one time in the order of the streams.
pub(super) fn write_merged(
    mut streams: Vec<Stream<'_>>,
    out: &mut dyn Write,
    outcome: &mut QueryOutcome,
) -> io::Result<()> {
    let mut heads = BinaryHeap::new();
    for (index, stream) in streams.iter_mut().enumerate() {
        if let Some(time) = stream.advance(out)? {
            heads.push(Reverse((time, index)));
        }
    }
    while let Some(Reverse((_, index))) = heads.pop() {
        let stream = &mut streams[index];
        // As long as no other log has an earlier line there is nothing to compare.
        let until = heads.peek().map(|Reverse(head)| *head);
        loop {
            stream.hand_out(out, outcome)?;
            let Some(time) = stream.advance(out)? else {
                break;
            };
            let head = (time, index);
            if until.is_some_and(|until| until < head) {
                heads.push(Reverse(head));
                break;
            }
        }
    }
    streams.iter().for_each(|stream| stream.end(outcome));
    out.flush()
}
