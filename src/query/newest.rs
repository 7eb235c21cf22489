//! Each log from its end, and all of them by time: the newest line first.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io;

use super::plan::Selection;
use super::run::QueryOutcome;
use super::sift::{Piece, Pieces, Sift};
use crate::event::WallTime;
use crate::log::backwards::Backwards;
use crate::log::line::time_of;

/// A log on its way back.
struct Stream<'s> {
    name: String,
    lines: Backwards<File>,
    sift: Sift<'s>,
    first: WallTime,
    /// The wanted lines of the block at hand that have not been handed out.
    found: Vec<Piece>,
    /// What stands before the block at hand is too old.
    is_done: bool,
    unreadable: u64,
}

/// A wanted line.
pub(super) struct Back<'a> {
    /// Which of the logs.
    pub(super) log: usize,
    /// Where it stands there.
    pub(super) offset: u64,
    /// For a hole, how many events were lost.
    pub(super) lost: Option<i64>,
    pub(super) bytes: &'a [u8],
}

impl<'s> Stream<'s> {
    fn open(
        name: String,
        file: File,
        selection: &'s Selection,
        (block, pieces): (usize, Pieces),
    ) -> io::Result<Self> {
        Ok(Self {
            name,
            lines: Backwards::from_time(file, selection.window.last, block)?,
            sift: Sift::new(selection, false, pieces),
            first: selection.first(),
            found: Vec::new(),
            is_done: false,
            unreadable: 0,
        })
    }

    /// The time of the line that comes next.
    fn head(&mut self) -> io::Result<Option<WallTime>> {
        loop {
            if let Some(piece) = self.found.last() {
                return Ok(Some(piece.time));
            }
            if self.is_done {
                return Ok(None);
            }
            let Some(block) = self.lines.next_block(&mut self.unreadable)? else {
                return Ok(None);
            };
            self.is_done = begins_before(block, self.first);
            self.sift.restart();
            self.sift.sift(block, &mut self.found);
        }
    }
}

/// Whether the first line that has a time is older than `first`.
fn begins_before(block: &[u8], first: WallTime) -> bool {
    let mut lines = block.split_inclusive(|byte| *byte == b'\n');
    let time = lines.find_map(time_of);
    time.is_some_and(|time| time < first)
}

/// Shows every wanted line of `files`, some at a time, the newest first; of one time those of the last
/// log first.
pub(super) fn each_back(
    files: Vec<(String, File)>,
    selection: &Selection,
    block: usize,
    outcome: &mut QueryOutcome,
    each: &mut dyn FnMut(&[Back<'_>]) -> io::Result<()>,
) -> io::Result<()> {
    let pieces = if files.len() > 1 {
        Pieces::Timed
    } else {
        Pieces::Lines
    };
    let mut streams = Vec::new();
    for (name, file) in files {
        streams.push(Stream::open(name, file, selection, (block, pieces))?);
    }
    let mut heads = BinaryHeap::new();
    for (index, stream) in streams.iter_mut().enumerate() {
        heads.extend(stream.head()?.map(|time| (time, index)));
    }
    while let Some((_, index)) = heads.pop() {
        let stream = &mut streams[index];
        let until = heads.peek().copied();
        let is_later = |time| until.is_some_and(|until| until > (time, index));
        while let Some(time) = stream.head()? {
            if is_later(time) {
                heads.push((time, index));
                break;
            }
            // The lines of the block that come before any of another log.
            let older = stream.found.iter().rposition(|piece| is_later(piece.time));
            let from = older.map_or(0, |at| at + 1);
            let (offset, block) = (stream.lines.offset(), stream.lines.current());
            let lines = stream.found.drain(from..).rev().map(|piece| Back {
                log: index,
                offset: offset + piece.range.start as u64,
                lost: piece.lost.first().copied(),
                bytes: &block[piece.range],
            });
            each(&lines.collect::<Vec<_>>())?;
        }
    }
    for stream in streams {
        outcome.unreadable += stream.unreadable + stream.sift.noticed.unreadable;
        if stream.sift.noticed.is_unsorted {
            outcome.note_unsorted(&stream.name);
        }
    }
    Ok(())
}
