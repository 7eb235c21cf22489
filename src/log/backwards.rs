//! A log from its end to its beginning, in blocks of whole lines.

use std::borrow::Borrow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::{memchr, memrchr};

use super::front::Seal;
use super::line::time_of;
use super::onward::is_same;
use super::search::{first_line_behind, first_line_from};
use super::source::{Lines, MAX_LINE};
use crate::event::WallTime;

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
    /// No line that is younger is wanted.
    last: WallTime,
    seal: Option<Seal>,
    /// The first of the lines that were handed out last; kept only with a seal.
    first: Vec<u8>,
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
            last: WallTime(i64::MAX),
            seal: None,
            first: Vec::new(),
        }
    }

    /// The lines of a sorted log up to the time `last`, also when its front is cut off meanwhile.
    pub fn from_time(file: F, last: WallTime, block: usize) -> io::Result<Self> {
        let mut backwards = Self::new(file, 0, block);
        backwards.last = last;
        backwards.find_again()?;
        Ok(backwards)
    }

    /// Goes to before the lines that were handed out last, wherever they stand now.
    fn find_again(&mut self) -> io::Result<()> {
        loop {
            let file = self.file.borrow();
            let seal = Seal::of(file)?;
            let len = file.metadata()?.len();
            self.end = match time_of(&self.first) {
                Some(time) => start_of(file, len, time, &self.first)?,
                None => first_line_behind(file, len, self.last)?,
            };
            let holds = seal.holds(file)?;
            self.seal = Some(seal);
            if holds {
                return Ok(());
            }
        }
    }

    /// The lines before those handed out last; `None` at the beginning, and when the file has become
    /// shorter. Overlong lines are left out, and counted in `overlong`.
    pub fn next_block(&mut self, overlong: &mut u64) -> io::Result<Option<&[u8]>> {
        let mut want = self.block as u64;
        while self.end > 0 {
            let start = self.end.saturating_sub(want);
            let is_read = self.read(start)?;
            if let Some(seal) = &self.seal
                && !seal.holds(self.file.borrow())?
            {
                self.find_again()?;
                continue;
            }
            if !is_read {
                return Ok(None);
            }
            let lines = whole_lines(&self.buffer, start == 0, self.at_newline);
            if !lines.is_empty() {
                self.end = start + lines.start as u64;
                self.at_newline = true;
                self.current = lines;
                if self.seal.is_some() {
                    let lines = &self.buffer[self.current.clone()];
                    let length = memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
                    self.first.clear();
                    self.first.extend_from_slice(&lines[..length]);
                }
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

/// Where the line `wanted` of the time `time` begins; 0 when it has gone, and so has all before it.
fn start_of(file: &File, len: u64, time: WallTime, wanted: &[u8]) -> io::Result<u64> {
    let start = first_line_from(file, len, time)?;
    let mut lines = Lines::new(file, start, len, 64 * 1024);
    while let Some(line) = lines.next_line()? {
        if is_same(line.bytes, wanted) {
            return Ok(line.start);
        }
        if !line.overlong && time_of(line.bytes).is_some_and(|found| found > time) {
            break;
        }
    }
    Ok(0)
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
    use proptest::prelude::*;

    use super::*;
    use crate::log::source::Lines;
    use crate::log::source::tests::file_of;

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

    #[test]
    fn what_is_cut_off_at_the_front_moves_nothing_for_a_reader() {
        let line = |number: i64| {
            format!(
                "{{\"time\":\"1970-01-01T00:00:{:02}Z\",\"n\":{number}}}\n",
                number / 4
            )
            .into_bytes()
        };
        let numbered = |from| -> Vec<u8> { (from..200).flat_map(line).collect() };
        let all = numbered(0);
        for cut in [1, 50, 120, 199] {
            let file = file_of(&all);
            let mut lines = Backwards::from_time(&file, WallTime(49_000_000_000), 1000).unwrap();
            let (mut told, mut overlong) = (Vec::new(), 0);
            for step in 0.. {
                let Some(block) = lines.next_block(&mut overlong).unwrap() else {
                    break;
                };
                told.push(block.to_vec());
                if step == 2 {
                    // As a cut in place leaves it: blanks, and what stays.
                    let kept = [b"   ".to_vec(), numbered(cut)].concat();
                    file.set_len(0).unwrap();
                    file.write_all_at(&kept, 0).unwrap();
                }
            }
            told.reverse();
            let told = String::from_utf8(told.concat())
                .unwrap()
                .replace("   {", "{");
            let told = told.into_bytes();
            // Nothing twice, nothing in halves, and all that stayed.
            let kept = numbered(cut);
            assert!(told.ends_with(&kept) || kept.ends_with(&told), "{cut}");
            assert!(all.ends_with(&told), "{cut}");
            assert!(told.len() >= kept.len().min(3 * 900), "{cut}");
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
