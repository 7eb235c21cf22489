//! Lines at offsets of a file that may grow, shrink or be replaced while it is read.

use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::{memchr, memrchr};

use super::front::Seal;

/// Reads the whole lines of a part of a file, in constant memory.
#[derive(Debug)]
pub struct Lines<F> {
    file: F,
    /// Where reading stops; what begins before and ends after is not whole.
    end: u64,
    /// Offset in the file of `buffer[0]`.
    base: u64,
    buffer: Vec<u8>,
    /// How much of the buffer has been read from the file.
    filled: usize,
    /// Where the next line begins in the buffer.
    next: usize,
    /// Where the line that was handed out last stands in the buffer.
    current: Range<usize>,
    block: usize,
    reads: u64,
    seal: Option<Seal>,
    moved: bool,
    /// What was handed out last, when the buffer holds it no longer.
    last: Vec<u8>,
}

/// A whole line and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'b> {
    /// Offset of its first byte.
    pub start: u64,
    /// Offset of what follows its newline.
    pub end: u64,
    /// The line with its newline; only the beginning when it is overlong.
    pub bytes: &'b [u8],
    /// Whether the line is longer than any line that the recorder writes.
    pub overlong: bool,
}

impl<F: Borrow<File>> Lines<F> {
    /// The lines from `start`, where one begins, up to `end`, read `block` bytes at a time.
    pub fn new(file: F, start: u64, end: u64, block: usize) -> Self {
        Self {
            file,
            end,
            base: start,
            buffer: Vec::new(),
            filled: 0,
            next: 0,
            current: 0..0,
            reads: 0,
            block: block.max(1),
            seal: None,
            moved: false,
            last: Vec::new(),
        }
    }

    /// Ends when the front of the file was cut off or the file was begun anew, as `seal` tells:
    /// what stands at an offset then is another line, or the middle of one.
    pub fn sealed(mut self, seal: Seal) -> Self {
        self.seal = Some(seal);
        self
    }

    /// Whether reading ended because the seal broke.
    pub fn is_moved(&self) -> bool {
        self.moved
    }

    /// Goes on at `offset`, where a line begins, in the file as it is now.
    pub fn resume(&mut self, offset: u64, end: u64, seal: Seal) {
        self.restart(offset);
        self.end = end;
        self.seal = Some(seal);
        self.moved = false;
    }

    /// Goes on at `offset`; it may lie within a line, of which the rest is then passed over.
    pub fn seek_after(&mut self, offset: u64, end: u64) -> io::Result<()> {
        self.end = end;
        self.restart(offset.saturating_sub(1));
        if offset > 0 {
            // A line begins at `offset` if and only if the byte before it is a newline.
            self.pass_rest()?;
        }
        Ok(())
    }

    /// Offset of the next line, or of the torn rest after the last one.
    pub fn offset(&self) -> u64 {
        self.base + self.next as u64
    }

    /// Reads up to `end` from now on: the file has grown.
    pub fn extend_to(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// How often the file was read so far.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// The bytes of the line that was handed out last.
    pub fn current(&self) -> &[u8] {
        &self.buffer[self.current.clone()]
    }

    /// The last line of what was handed out before reading ended; kept only with a seal.
    pub fn last(&self) -> &[u8] {
        &self.last
    }

    /// The file that is read.
    pub fn file(&self) -> &File {
        self.file.borrow()
    }

    /// The next whole line; `None` at the end, also when the file has become shorter.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        let length = loop {
            let unseen = &self.buffer[self.next + searched..self.filled];
            if let Some(length) = newline_in(unseen) {
                break searched + length;
            }
            searched += unseen.len();
            if searched > MAX_LINE {
                return self.overlong_line();
            }
            if !self.fill()? {
                return Ok(None);
            }
        };
        let start = self.offset();
        self.current = self.next..self.next + length;
        self.next += length;
        Ok(Some(Line {
            start,
            end: start + length as u64,
            bytes: self.current(),
            overlong: false,
        }))
    }

    /// The whole lines that the next read brings, all of them at once; `None` at the end. Overlong
    /// lines are left out, and counted in `overlong`.
    pub fn next_block(&mut self, overlong: &mut u64) -> io::Result<Option<&[u8]>> {
        Ok(self.advance_block(overlong)?.then(|| self.current()))
    }

    /// The same, for whoever looks at [`Lines::current`] only then; false at the end.
    pub fn advance_block(&mut self, overlong: &mut u64) -> io::Result<bool> {
        let mut searched = 0;
        let length = loop {
            let unseen = &self.buffer[self.next + searched..self.filled];
            if let Some(at) = memrchr(b'\n', unseen) {
                break searched + at + 1;
            }
            searched += unseen.len();
            if searched > MAX_LINE {
                if !self.pass_rest()? {
                    return Ok(false);
                }
                *overlong += 1;
                searched = 0;
            } else if !self.fill()? {
                return Ok(false);
            }
        };
        self.current = self.next..self.next + length;
        self.next += length;
        Ok(true)
    }

    fn overlong_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let start = self.offset();
        let head = self.buffer[self.next..self.next + 1024].to_vec();
        if !self.pass_rest()? {
            self.restart(start);
            return Ok(None);
        }
        let end = self.offset();
        // The buffer now holds what follows; the kept beginning goes where nothing is unread.
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&head);
        self.current = at..self.buffer.len();
        let bytes = self.current();
        Ok(Some(Line {
            start,
            end,
            bytes,
            overlong: true,
        }))
    }

    /// Passes over everything up to and including the next newline; false when there is none.
    fn pass_rest(&mut self) -> io::Result<bool> {
        loop {
            if let Some(length) = newline_in(&self.buffer[self.next..self.filled]) {
                self.next += length;
                return Ok(true);
            }
            let seen = self.base + self.filled as u64;
            self.restart(seen);
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    fn restart(&mut self, offset: u64) {
        self.base = offset;
        self.filled = 0;
        self.next = 0;
    }

    /// Reads one more block behind what is still unread; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.seal.is_some() && !self.current.is_empty() {
            let lines = &self.buffer[self.current.clone()];
            let before = memrchr(b'\n', &lines[..lines.len() - 1]);
            self.last.clear();
            self.last
                .extend_from_slice(&lines[before.map_or(0, |at| at + 1)..]);
            self.current = 0..0;
        }
        self.buffer.copy_within(self.next..self.filled, 0);
        self.base += self.next as u64;
        self.filled -= self.next;
        self.next = 0;
        let from = self.base + self.filled as u64;
        // A long line is read in ever larger blocks, so that it is not copied too often.
        let want = self
            .block
            .max(self.filled)
            .min(usize::try_from(self.end.saturating_sub(from)).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(false);
        }
        self.buffer.resize(self.filled + want, 0);
        let got = loop {
            match self
                .file
                .borrow()
                .read_at(&mut self.buffer[self.filled..], from)
            {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.reads += 1;
        if let Some(seal) = &self.seal
            && !seal.holds(self.file.borrow())?
        {
            self.moved = true;
            return Ok(false);
        }
        self.filled += got;
        Ok(got > 0)
    }
}

/// The last whole line before `end`, without its newline, for which `wanted` gives something.
/// Looks back over a bounded stretch of the file only.
pub fn find_last<T>(
    file: &File,
    end: u64,
    mut wanted: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut stretch = 16 * 1024;
    loop {
        let from = end.saturating_sub(stretch);
        let mut lines = Lines::new(file, from, end, 64 * 1024);
        lines.seek_after(from, end)?;
        let mut found = None;
        while let Some(line) = lines.next_line()? {
            if let Some(value) = wanted(line.bytes) {
                found = Some(value);
            }
        }
        if found.is_some() || from == 0 || stretch > MAX_LINE as u64 {
            return Ok(found);
        }
        stretch *= 8;
    }
}

/// The bytes after the last newline before `end`; `None` when they are too many to be the
/// beginning of a line of ours.
pub fn torn_tail(file: &File, end: u64) -> io::Result<Option<Vec<u8>>> {
    let mut stretch = 4096;
    loop {
        let from = end.saturating_sub(stretch);
        let mut tail = vec![0; (end - from) as usize];
        file.read_exact_at(&mut tail, from)?;
        if let Some(newline) = tail.iter().rposition(|byte| *byte == b'\n') {
            tail.drain(..=newline);
            return Ok(Some(tail));
        }
        if from == 0 {
            return Ok(Some(tail));
        }
        if stretch > MAX_LINE as u64 {
            return Ok(None);
        }
        stretch *= 16;
    }
}

/// Length of the first line with its newline.
fn newline_in(bytes: &[u8]) -> Option<usize> {
    memchr(b'\n', bytes).map(|at| at + 1)
}

/// No line of ours is longer: a path is some kilobytes, a chain some hundred names.
pub(super) const MAX_LINE: usize = 4 * 1024 * 1024;

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    pub(in crate::log) fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn all<F: Borrow<File>>(lines: &mut Lines<F>) -> Vec<(u64, Vec<u8>)> {
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            seen.push((line.start, line.bytes.to_vec()));
        }
        seen
    }

    #[test]
    fn a_torn_rest_is_no_line_until_it_is_ended() {
        let mut file = file_of(b"one\n\ntwo\nthr");
        let reader = file.try_clone().unwrap();
        let mut lines = Lines::new(&reader, 0, 12, 3);
        assert_eq!(
            all(&mut lines),
            [
                (0, b"one\n".to_vec()),
                (4, b"\n".to_vec()),
                (5, b"two\n".to_vec())
            ]
        );
        assert_eq!(lines.offset(), 9);
        file.write_all(b"ee\n").unwrap();
        lines.extend_to(15);
        assert_eq!(all(&mut lines), [(9, b"three\n".to_vec())]);
        assert_eq!(torn_tail(&file, 12).unwrap().unwrap(), b"thr");
        assert_eq!(torn_tail(&file, 15).unwrap().unwrap(), b"");
    }

    #[test]
    fn an_overlong_line_is_told_by_its_place_only() {
        let mut bytes = b"a\n".to_vec();
        bytes.resize(MAX_LINE * 2, b'x');
        bytes.extend_from_slice(b"\nb\nc\n");
        let file = file_of(&bytes);
        let mut lines = Lines::new(&file, 0, bytes.len() as u64, 64 * 1024);
        assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"a\n");
        let line = lines.next_line().unwrap().unwrap();
        assert!(line.overlong && line.bytes.len() == 1024);
        assert_eq!((line.start, line.end), (2, MAX_LINE as u64 * 2 + 1));
        assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"b\n");
        assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"c\n");
        assert_eq!(lines.next_line().unwrap(), None);
        let last = find_last(&file, bytes.len() as u64, |line| {
            (line == b"b\n").then_some(())
        })
        .unwrap();
        assert_eq!(last, Some(()));
    }

    #[test]
    fn a_file_that_shrinks_ends_early() {
        let file = file_of(b"one\ntwo\nthree\n");
        let mut lines = Lines::new(&file, 0, 14, 5);
        assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"one\n");
        file.set_len(6).unwrap();
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn what_moved_under_a_reader_is_not_read_as_lines() {
        let text: String = (10..90)
            .map(|line| format!("line number {line}\n"))
            .collect();
        let file = file_of(text.as_bytes());
        let seal = Seal::of(&file).unwrap();
        let mut lines = Lines::new(&file, 0, text.len() as u64, 100).sealed(seal);
        for _ in 0..3 {
            lines.next_line().unwrap();
        }
        // As if ten lines had gone and as many had come: the size is what it was.
        let moved = text[150..].to_owned() + &text[..150];
        file.write_all_at(moved.as_bytes(), 0).unwrap();
        let mut count = 3;
        while let Some(line) = lines.next_line().unwrap() {
            assert!(text.as_bytes()[line.start as usize..].starts_with(line.bytes));
            count += 1;
        }
        assert!(lines.is_moved());
        assert_eq!(
            lines.last(),
            format!("line number {}\n", 9 + count).as_bytes()
        );
        lines.resume(0, text.len() as u64, Seal::of(&file).unwrap());
        assert_eq!(
            lines.next_line().unwrap().unwrap().bytes,
            b"line number 20\n"
        );
    }

    proptest! {
        #[test]
        fn every_block_size_gives_the_same_lines(text in "([a-z]{0,40}\n?){0,20}", block in 1_usize..64, from in 0_usize..200) {
            let bytes = text.as_bytes();
            let file = file_of(bytes);
            let mut expected = Vec::new();
            let mut start = 0;
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                if line.ends_with(b"\n") {
                    expected.push((start as u64, line.to_vec()));
                }
                start += line.len();
            }
            let mut lines = Lines::new(&file, 0, bytes.len() as u64, block);
            prop_assert_eq!(&all(&mut lines), &expected);
            lines.seek_after(from as u64, bytes.len() as u64).unwrap();
            expected.retain(|(start, _)| *start >= from as u64);
            prop_assert_eq!(all(&mut lines), expected);
        }
    }
}
