//! A log from its end to its beginning, in blocks of whole lines.

use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::{memchr, memrchr};

use super::source::MAX_LINE;

/// Reads the whole lines before a place in a file, the last ones first.
#[derive(Debug)]
pub struct Backwards<F> {
    file: F,
    /// What lies behind has been handed out, or is a torn rest.
    end: u64,
    buffer: Vec<u8>,
    current: Range<usize>,
    block: usize,
    at_newline: bool,
}

impl<F: Borrow<File>> Backwards<F> {
    /// The whole lines that end before `end` or there, read `block` bytes at a time.
    pub fn new(file: F, end: u64, block: usize) -> Self {
        Self {
            file,
            end,
            buffer: Vec::new(),
            current: 0..0,
            block: block.max(1),
            at_newline: false,
        }
    }

    /// The lines before those handed out last; `None` at the beginning, and when the file has become
    /// shorter. Overlong lines are left out, and counted in `overlong`.
    pub fn next_block(&mut self, overlong: &mut u64) -> io::Result<Option<&[u8]>> {
        let mut want = self.block as u64;
        while self.end > 0 {
            let start = self.end.saturating_sub(want);
            if !self.read(start)? {
                return Ok(None);
            }
            let lines = whole_lines(&self.buffer, start == 0, self.at_newline);
            if !lines.is_empty() {
                self.end = start + lines.start as u64;
                self.at_newline = true;
                self.current = lines;
                return Ok(Some(self.current()));
            }
            if !self.at_newline {
                // Nothing but the torn rest of a line yet.
                match memrchr(b'\n', &self.buffer) {
                    Some(at) => (self.end, self.at_newline) = (start + at as u64 + 1, true),
                    None => self.end = start,
                }
            } else if want > MAX_LINE as u64 {
                *overlong += 1;
                self.pass_line()?;
                want = self.block as u64;
            } else {
                want *= 2;
            }
        }
        Ok(None)
    }

    /// The lines that were handed out last.
    pub fn current(&self) -> &[u8] {
        &self.buffer[self.current.clone()]
    }

    /// Where they stand in the file.
    pub fn offset(&self) -> u64 {
        self.end
    }

    /// The file that is read.
    pub fn file(&self) -> &File {
        self.file.borrow()
    }

    fn read(&mut self, start: u64) -> io::Result<bool> {
        self.buffer.resize((self.end - start) as usize, 0);
        match self.file.borrow().read_exact_at(&mut self.buffer, start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Goes to the beginning of a line that is too long to be one of the recorder's.
    fn pass_line(&mut self) -> io::Result<()> {
        // Its own newline is behind the place from which is looked.
        let mut end = self.end.saturating_sub(1);
        self.end = 0;
        while end > 0 {
            let start = end.saturating_sub(self.block as u64);
            self.buffer.resize((end - start) as usize, 0);
            self.file.borrow().read_exact_at(&mut self.buffer, start)?;
            if let Some(at) = memrchr(b'\n', &self.buffer) {
                self.end = start + at as u64 + 1;
                return Ok(());
            }
            end = start;
        }
        Ok(())
    }
}

/// The whole lines in a piece of a file; it begins with one if `at_line`, and ends with one if
/// `at_newline`.
fn whole_lines(bytes: &[u8], at_line: bool, at_newline: bool) -> Range<usize> {
    let end = if at_newline {
        bytes.len()
    } else {
        memrchr(b'\n', bytes).map_or(0, |at| at + 1)
    };
    let start = if at_line {
        0
    } else {
        memchr(b'\n', &bytes[..end]).map_or(end, |at| at + 1)
    };
    start..end
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::log::source::Lines;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn all(file: &File, end: u64, block: usize) -> (Vec<u8>, u64) {
        let mut lines = Backwards::new(file, end, block);
        let (mut blocks, mut overlong) = (Vec::new(), 0);
        while let Some(block) = lines.next_block(&mut overlong).unwrap() {
            assert!(block.ends_with(b"\n"));
            let block = block.to_vec();
            let mut there = vec![0; block.len()];
            file.read_exact_at(&mut there, lines.offset()).unwrap();
            assert_eq!(there, block);
            blocks.push(block);
        }
        blocks.reverse();
        (blocks.concat(), overlong)
    }

    #[test]
    fn overlong_lines_are_passed_over() {
        let mut bytes = b"a\n".to_vec();
        bytes.resize(MAX_LINE * 3, b'x');
        bytes.extend_from_slice(b"\nb\nc\ntorn");
        let file = file_of(&bytes);
        for block in [64 * 1024, 1 << 20] {
            let (told, overlong) = all(&file, bytes.len() as u64, block);
            assert!(told == b"a\nb\nc\n" && overlong == 1);
        }
    }

    proptest! {
        #[test]
        fn what_comes_is_what_stands_before(text in "([a-z]{0,40}\n?){0,20}", block in 1_usize..64, end in 0_usize..300) {
            let bytes = text.as_bytes();
            let end = end.min(bytes.len());
            let file = file_of(bytes);
            let whole = bytes[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            prop_assert_eq!(all(&file, end as u64, block), (bytes[..whole].to_vec(), 0));
            let mut forwards = Lines::new(&file, 0, end as u64, block);
            let (mut told, mut overlong) = (Vec::new(), 0);
            while let Some(block) = forwards.next_block(&mut overlong).unwrap() {
                told.extend_from_slice(block);
            }
            prop_assert_eq!((told, overlong), (bytes[..whole].to_vec(), 0));
        }
    }
}
