//! A new file beside the log that takes its place, while the recorder goes on writing.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::apply::CleanReport;
use super::progress::Progress;
use super::survey::Sieve;
use super::temp::{Temp, names};
use crate::log::dir::{LogDir, Owner, hand_over};
use crate::log::source::Lines;

/// One log on its way from the old file to a new one.
pub(super) struct Rewrite<'a> {
    pub(super) dir: &'a LogDir,
    pub(super) name: &'a str,
    pub(super) old: &'a File,
    pub(super) temp: Temp<'a>,
}

/// What of the old file comes into the new one.
pub(super) enum Content {
    /// The lines that pass.
    Sifted(Sieve),
    /// Everything from a place on, the first bytes of it replaced.
    Behind {
        from: u64,
        front: Vec<u8>,
        report: CleanReport,
    },
}

impl Rewrite<'_> {
    /// Makes the new file of the first `end` bytes and all that follows them. `None` when the log
    /// was replaced meanwhile and nothing has been done.
    pub(super) fn run(
        mut self,
        content: Content,
        end: u64,
        owner: Option<Owner>,
        progress: &mut Progress<'_, '_>,
    ) -> io::Result<Option<CleanReport>> {
        let lock = self.dir.lock_file(owner)?;
        let mut copy = Copy {
            old: self.old,
            report: CleanReport::default(),
            out: BufWriter::with_capacity(BLOCK, &self.temp.file),
            at: 0,
            proof: None,
        };
        match content {
            Content::Sifted(sieve) => copy.lines_to(end, sieve, progress)?,
            Content::Behind {
                from,
                front,
                report,
            } => {
                copy.report = report;
                copy.behind(from, end, &front, progress)?;
            }
        }
        // The recorder goes on writing. Its new lines are kept in any case, so they are copied as
        // they are, until what is left takes no time under the lock.
        let mut left = u64::MAX;
        loop {
            copy.out.flush()?;
            self.temp.file.sync_data()?;
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
            ..copy.report
        };
        drop(copy);
        let temp = &mut self.temp;
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
        Ok(names(self.dir, self.name, self.old)?
            && self.old.metadata()?.len() >= copy.at
            && copy.proof.is_some()
            && read_before(self.old, copy.at)? == copy.proof)
    }
}

struct Copy<'a> {
    old: &'a File,
    report: CleanReport,
    out: BufWriter<&'a File>,
    /// How far the old file has been read.
    at: u64,
    /// The bytes before that: they must still stand there at the end.
    proof: Option<Vec<u8>>,
}

impl Copy<'_> {
    fn lines_to(
        &mut self,
        end: u64,
        mut sieve: Sieve,
        progress: &mut Progress<'_, '_>,
    ) -> io::Result<()> {
        let mut lines = Lines::new(self.old, self.at, end, BLOCK);
        let mut told = self.at;
        while let Some(line) = lines.next_line()? {
            if sieve.passes(&line) {
                if line.overlong {
                    copy_bytes(self.old, line.start, line.end, &mut self.out)?;
                } else {
                    self.out.write_all(line.bytes)?;
                }
            }
            if line.end - told >= STEP {
                progress.advance(line.end - told)?;
                told = line.end;
            }
        }
        self.report = sieve.report;
        self.at = lines.offset();
        self.proof = read_before(self.old, self.at)?;
        Ok(())
    }

    /// Copies what lies between `from` and `end`, and writes `front` over the beginning of it. The
    /// kernel copies from file to file, or lets the new one share the blocks of the old.
    fn behind(
        &mut self,
        from: u64,
        end: u64,
        front: &[u8],
        progress: &mut Progress<'_, '_>,
    ) -> io::Result<()> {
        let mut old = self.old;
        let mut new: &File = self.out.get_ref();
        old.seek(SeekFrom::Start(from))?;
        self.at = from;
        while self.at < end {
            let step = (end - self.at).min(LEAP);
            if io::copy(&mut old.take(step), &mut new)? < step {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.at += step;
            progress.advance(step)?;
        }
        new.write_all_at(front, 0)?;
        self.report.after = end - from;
        self.proof = read_before(self.old, end)?;
        Ok(())
    }

    /// Copies everything up to `end` as it is.
    fn bytes_to(&mut self, end: u64) -> io::Result<()> {
        copy_bytes(self.old, self.at, end, &mut self.out)?;
        self.report.after += end.saturating_sub(self.at);
        self.at = end.max(self.at);
        self.proof = read_before(self.old, self.at)?;
        Ok(())
    }
}

/// Some bytes before `end`; `None` when the file has become shorter than that.
pub(super) fn read_before(file: &File, end: u64) -> io::Result<Option<Vec<u8>>> {
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
const STEP: u64 = 1 << 20;
/// How much the kernel is asked to copy at once, whole blocks.
const LEAP: u64 = 64 << 20;
const PROOF: u64 = 4096;
