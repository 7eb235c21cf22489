//! A new file beside the log that takes its place, while the recorder goes on writing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::apply::CleanReport;
use super::survey::Sieve;
use super::temp::Temp;
use crate::log::dir::{LogDir, Owner, hand_over};
use crate::log::source::Lines;

/// One log on its way from the old file to a new one.
pub(super) struct Rewrite<'a> {
    pub(super) dir: &'a LogDir,
    pub(super) name: &'a str,
    pub(super) old: &'a File,
}

impl Rewrite<'_> {
    /// `None` when the log was replaced meanwhile and nothing has been done.
    pub(super) fn run(
        &self,
        sieve: Sieve,
        end: u64,
        owner: Option<Owner>,
    ) -> io::Result<Option<CleanReport>> {
        let mut temp = Temp::make(self.dir, format!(".{}.clean", self.name))?;
        let lock = self.dir.lock_file(owner)?;
        let mut copy = Copy {
            old: self.old,
            sieve,
            out: BufWriter::with_capacity(BLOCK, &temp.file),
            at: 0,
            proof: None,
        };
        copy.lines_to(end)?;
        // The recorder goes on writing. Its new lines are kept in any case, so they are copied as
        // they are, until what is left takes no time under the lock.
        let mut left = u64::MAX;
        loop {
            copy.out.flush()?;
            temp.file.sync_data()?;
            let grown = self.old.metadata()?.len();
            let before = mem::replace(&mut left, grown.saturating_sub(copy.at));
            if left < LITTLE {
                break;
            }
            if left > before / 4 * 3 && left > MUCH {
                return Err(io::Error::other(
                    "the log grows faster than it can be copied; nothing was changed",
                ));
            }
            copy.bytes_to(grown)?;
        }
        let held = lock.take()?;
        if !lock.is_current(self.dir) || !self.is_still(&copy)? {
            return Ok(None);
        }
        let meta = self.old.metadata()?;
        copy.bytes_to(meta.len())?;
        copy.out.flush()?;
        let report = CleanReport {
            before: meta.len(),
            ..copy.sieve.report
        };
        drop(copy);
        hand_over(
            &temp.file,
            Owner {
                uid: meta.uid(),
                gid: meta.gid(),
            },
        )?;
        temp.file.set_permissions(meta.permissions())?;
        temp.file.sync_all()?;
        self.dir.rename(&temp.name, self.name)?;
        temp.renamed = true;
        self.dir.sync()?;
        drop(held);
        Ok(Some(report))
    }

    /// Whether the name still means the file that was copied, and that only grew.
    fn is_still(&self, copy: &Copy<'_>) -> io::Result<bool> {
        let meta = self.old.metadata()?;
        let found = self.dir.stat(self.name)?;
        if found.is_none_or(|found| (found.dev, found.ino) != (meta.dev(), meta.ino()))
            || meta.len() < copy.at
        {
            return Ok(false);
        }
        Ok(copy.proof.is_some() && read_before(self.old, copy.at)? == copy.proof)
    }
}

struct Copy<'a> {
    old: &'a File,
    sieve: Sieve,
    out: BufWriter<&'a File>,
    /// How far the old file has been read.
    at: u64,
    /// The bytes before that: they must still stand there at the end.
    proof: Option<Vec<u8>>,
}

impl Copy<'_> {
    fn lines_to(&mut self, end: u64) -> io::Result<()> {
        let mut lines = Lines::new(self.old, self.at, end, BLOCK);
        while let Some(line) = lines.next_line()? {
            if self.sieve.passes(&line) {
                if line.overlong {
                    copy_bytes(self.old, line.start, line.end, &mut self.out)?;
                } else {
                    self.out.write_all(line.bytes)?;
                }
            }
        }
        self.at = lines.offset();
        self.proof = read_before(self.old, self.at)?;
        Ok(())
    }

    /// Copies everything up to `end` as it is.
    fn bytes_to(&mut self, end: u64) -> io::Result<()> {
        copy_bytes(self.old, self.at, end, &mut self.out)?;
        self.sieve.report.after += end.saturating_sub(self.at);
        self.at = end.max(self.at);
        self.proof = read_before(self.old, self.at)?;
        Ok(())
    }
}

/// Some bytes before `end`; `None` when the file has become shorter than that.
fn read_before(file: &File, end: u64) -> io::Result<Option<Vec<u8>>> {
    let length = end.min(PROOF);
    let mut bytes = vec![0; length as usize];
    match file.read_exact_at(&mut bytes, end - length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => other.map(|()| Some(bytes)),
    }
}

fn copy_bytes(file: &File, mut from: u64, to: u64, out: &mut impl Write) -> io::Result<()> {
    let mut block = vec![0; to.saturating_sub(from).min(BLOCK as u64) as usize];
    while from < to {
        let part = &mut block[..(to - from).min(BLOCK as u64) as usize];
        file.read_exact_at(part, from)?;
        out.write_all(part)?;
        from += part.len() as u64;
    }
    Ok(())
}

/// What may be left to copy under the lock.
const LITTLE: u64 = 256 * 1024;
/// What the recorder can surely hold in memory while so much is copied under the lock.
const MUCH: u64 = 4 * 1024 * 1024;
const BLOCK: usize = 256 * 1024;
const PROOF: u64 = 4096;
