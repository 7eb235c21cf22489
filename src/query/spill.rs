//! The newest line of each of more paths than the memory should hold.
//!
//! Where each line stands is written to a file, in as many parts as there are values of a few bits of
//! its path's digest. All lines of one path are in one part, newest first, and a part is small enough
//! to be sorted out in memory; what is left of the parts is merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::newest::Back;
use super::seen::Seen;
use crate::log::scratch::scratch;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) log: usize,
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// A line as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    /// Its number among all, newest first.
    number: u64,
    digest: u128,
    spot: Spot,
}

/// The lines written down.
#[derive(Debug)]
pub(super) struct Spill {
    file: Records,
    parts: Vec<Part>,
    count: u64,
}

/// Records of a file in chunks of a few.
#[derive(Debug)]
struct Records {
    file: File,
    end: u64,
}

#[derive(Debug, Default)]
struct Part {
    /// What was not written yet.
    bytes: Vec<u8>,
    /// Where its chunks begin, and how long each is.
    chunks: Vec<(u64, usize)>,
}

impl Spill {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            file: Records::new()?,
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            count: 0,
        })
    }

    /// Takes note of a line, to be called with the newest first.
    pub(super) fn note(&mut self, digest: u128, line: &Back<'_>) -> io::Result<()> {
        let record = Record {
            digest,
            number: self.count,
            spot: Spot {
                log: line.log,
                offset: line.offset,
                len: line.bytes.len(),
            },
        };
        self.count += 1;
        let part = &mut self.parts[(digest >> 100) as usize % PARTS];
        record.write(&mut part.bytes);
        if part.bytes.len() >= CHUNK {
            part.write_out(&mut self.file)?;
        }
        Ok(())
    }

    /// Shows the newest line of each path, the newest first.
    pub(super) fn each(self, each: &mut dyn FnMut(u128, Spot) -> io::Result<()>) -> io::Result<()> {
        let Self {
            mut file, parts, ..
        } = self;
        let mut left = Records::new()?;
        let mut runs = Vec::new();
        let mut seen = Seen::new(usize::MAX);
        for mut part in parts {
            part.write_out(&mut file)?;
            let mut run = Part::default();
            let mut records = Reader::new(&file.file, part.chunks);
            while let Some(record) = records.next()? {
                if seen.insert(record.digest) {
                    record.write(&mut run.bytes);
                    if run.bytes.len() >= CHUNK {
                        run.write_out(&mut left)?;
                    }
                }
            }
            seen.clear();
            run.write_out(&mut left)?;
            runs.push(run.chunks);
        }
        drop(file);
        merge(&left.file, runs, each)
    }
}

fn merge(
    file: &File,
    runs: Vec<Vec<(u64, usize)>>,
    each: &mut dyn FnMut(u128, Spot) -> io::Result<()>,
) -> io::Result<()> {
    let mut readers: Vec<Reader<'_>> = runs
        .into_iter()
        .map(|chunks| Reader::new(file, chunks))
        .collect();
    let mut heads = BinaryHeap::new();
    for (index, reader) in readers.iter_mut().enumerate() {
        heads.extend(reader.next()?.map(|record| Reverse((record, index))));
    }
    while let Some(Reverse((record, index))) = heads.pop() {
        each(record.digest, record.spot)?;
        let next = readers[index].next()?;
        heads.extend(next.map(|record| Reverse((record, index))));
    }
    Ok(())
}

impl Records {
    fn new() -> io::Result<Self> {
        Ok(Self {
            file: scratch()?,
            end: 0,
        })
    }
}

impl Part {
    fn write_out(&mut self, records: &mut Records) -> io::Result<()> {
        if !self.bytes.is_empty() {
            records.file.write_all_at(&self.bytes, records.end)?;
            self.chunks.push((records.end, self.bytes.len()));
            records.end += self.bytes.len() as u64;
            self.bytes = Vec::new();
        }
        Ok(())
    }
}

/// The records of one part, in the order in which they were written.
struct Reader<'f> {
    file: &'f File,
    chunks: std::vec::IntoIter<(u64, usize)>,
    bytes: Vec<u8>,
    at: usize,
}

impl<'f> Reader<'f> {
    fn new(file: &'f File, chunks: Vec<(u64, usize)>) -> Self {
        Self {
            file,
            chunks: chunks.into_iter(),
            bytes: Vec::new(),
            at: 0,
        }
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        if self.at == self.bytes.len() {
            let Some((from, len)) = self.chunks.next() else {
                return Ok(None);
            };
            self.bytes.resize(len, 0);
            self.file.read_exact_at(&mut self.bytes, from)?;
            self.at = 0;
        }
        let record = self.bytes[self.at..].first_chunk().map(Record::read);
        self.at += RECORD;
        Ok(record)
    }
}

impl Record {
    fn write(&self, out: &mut Vec<u8>) {
        let Spot { log, offset, len } = self.spot;
        out.extend_from_slice(&self.digest.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&(log as u32).to_le_bytes());
        out.extend_from_slice(&(len as u32).to_le_bytes());
    }

    fn read(bytes: &[u8; RECORD]) -> Self {
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        let mut word = || words.next().unwrap_or_default();
        let digest = u128::from(word()) | u128::from(word()) << 64;
        let (number, offset, last) = (word(), word(), word());
        Self {
            digest,
            number,
            spot: Spot {
                log: last as u32 as usize,
                offset,
                len: (last >> 32) as usize,
            },
        }
    }
}

const PARTS: usize = 256;
const RECORD: usize = 40;
const CHUNK: usize = 64 * RECORD;
