//! Carrying it out: survey, copy, catch up, and the change of files under the lock.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::plan::{Doomed, Fate, Keep};
use crate::log::dir::{LogDir, Owner, hand_over};
use crate::log::source::{Line, Lines};

/// What is to be done to which log.
#[derive(Clone, Debug)]
pub struct CleanRequest {
    /// The log.
    pub log_path: PathBuf,
    /// What stays.
    pub keep: Keep,
    /// Only say what would go; nothing is written, not even a lock file.
    pub dry_run: bool,
    /// Whom a new lock file belongs to.
    pub owner: Option<Owner>,
}

/// What went and what stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanReport {
    /// Lines that went because of their time.
    pub by_time: u64,
    /// Lines that went because the log was too big.
    pub by_size: u64,
    /// Lines that stayed because their time could not be read.
    pub unreadable: u64,
    /// Size of the log before, in bytes.
    pub before: u64,
    /// Size of the log after, in bytes; on a dry run, what it would be.
    pub after: u64,
}

/// Trims the log, or says what would go. `doomed` is shown, on a dry run only, each line that is
/// outside the wanted time. `None` when there is no such log.
pub fn run(
    request: &CleanRequest,
    doomed: &mut dyn FnMut(&Doomed<'_>) -> io::Result<()>,
) -> Result<Option<CleanReport>> {
    let path = &request.log_path;
    let (Some(parent), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        bail!("'{}' is not the name of a log", path.display());
    };
    let dir = match LogDir::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other
            .with_context(|| format!("cannot open the log directory '{}'", parent.display()))?,
    };
    for _ in 0..ATTEMPTS {
        let cleaning = || format!("cannot clean '{}'", path.display());
        let Some(file) = dir.open_log(name).with_context(cleaning)? else {
            return Ok(None);
        };
        let survey = Survey::take(&file, request, doomed).with_context(cleaning)?;
        if request.dry_run || !survey.any() {
            return Ok(Some(
                survey
                    .forecast(&file, &request.keep)
                    .with_context(cleaning)?,
            ));
        }
        let rewrite = Rewrite {
            dir: &dir,
            name,
            old: &file,
        };
        if let Some(report) = rewrite
            .run(
                Sieve::new(request.keep, survey.surplus),
                survey.end,
                request.owner,
            )
            .with_context(cleaning)?
        {
            return Ok(Some(report));
        }
    }
    bail!(
        "cannot clean '{}': somebody else keeps replacing it",
        path.display()
    )
}

/// What a first reading found.
struct Survey {
    end: u64,
    by_time: u64,
    surplus: u64,
    first_kept: u64,
}

impl Survey {
    fn take(
        file: &File,
        request: &CleanRequest,
        doomed: &mut dyn FnMut(&Doomed<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let mut survey = Self {
            end,
            by_time: 0,
            surplus: 0,
            first_kept: 0,
        };
        let mut kept = 0;
        let mut lines = Lines::new(file, 0, end, BLOCK);
        while let Some(line) = lines.next_line()? {
            match judge(&request.keep, &line) {
                Fate::Outside(time) => {
                    survey.by_time += 1;
                    if request.dry_run {
                        doomed(&Doomed::new(time, line.bytes))?;
                    }
                }
                Fate::Kept | Fate::Unreadable => {
                    if kept == 0 {
                        survey.first_kept = line.end - line.start;
                    }
                    kept += line.end - line.start;
                }
                Fate::Blank => {}
            }
        }
        survey.surplus = request.keep.surplus(kept);
        Ok(survey)
    }

    fn any(&self) -> bool {
        self.by_time > 0 || (self.first_kept > 0 && self.first_kept <= self.surplus)
    }

    /// What a rewrite would report.
    fn forecast(&self, file: &File, keep: &Keep) -> io::Result<CleanReport> {
        let mut sieve = Sieve::new(*keep, self.surplus);
        let mut lines = Lines::new(file, 0, self.end, BLOCK);
        while let Some(line) = lines.next_line()? {
            sieve.passes(&line);
        }
        let torn = self.end - lines.offset();
        let after = if self.any() {
            sieve.report.after + torn
        } else {
            self.end
        };
        Ok(CleanReport {
            before: self.end,
            after,
            ..sieve.report
        })
    }
}

/// Says of one line after the other whether it stays, and counts.
struct Sieve {
    keep: Keep,
    surplus: u64,
    /// Bytes that the time let pass so far.
    passed: u64,
    report: CleanReport,
}

impl Sieve {
    fn new(keep: Keep, surplus: u64) -> Self {
        Self {
            keep,
            surplus,
            passed: 0,
            report: CleanReport::default(),
        }
    }

    fn passes(&mut self, line: &Line<'_>) -> bool {
        let fate = judge(&self.keep, line);
        match fate {
            Fate::Outside(_) => self.report.by_time += 1,
            Fate::Blank => {}
            Fate::Kept | Fate::Unreadable => {
                self.passed += line.end - line.start;
                if self.passed > self.surplus {
                    self.report.after += line.end - line.start;
                    self.report.unreadable += u64::from(fate == Fate::Unreadable);
                    return true;
                }
                self.report.by_size += 1;
            }
        }
        false
    }
}

fn judge(keep: &Keep, line: &Line<'_>) -> Fate {
    if line.overlong {
        Fate::Unreadable
    } else {
        keep.judge(line.bytes)
    }
}

/// One log on its way from the old file to a new one.
struct Rewrite<'a> {
    dir: &'a LogDir,
    name: &'a str,
    old: &'a File,
}

impl Rewrite<'_> {
    /// `None` when the log was replaced meanwhile and nothing has been done.
    fn run(&self, sieve: Sieve, end: u64, owner: Option<Owner>) -> io::Result<Option<CleanReport>> {
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

/// The new file beside the log; it goes away again unless it was renamed.
struct Temp<'a> {
    dir: &'a LogDir,
    name: String,
    file: File,
    renamed: bool,
}

impl<'a> Temp<'a> {
    /// Makes the file and locks it. One that a killed `clean` left behind is not locked and is
    /// removed; a locked one means that another `clean` is at work.
    fn make(dir: &'a LogDir, name: String) -> io::Result<Self> {
        loop {
            match dir.create_private(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    remove_stale(dir, &name)?
                }
                made => {
                    let temp = Self {
                        dir,
                        name: name.clone(),
                        file: made?,
                        renamed: false,
                    };
                    if lock_free(&temp.file)? && names(dir, &name, &temp.file)? {
                        return Ok(temp);
                    }
                }
            }
        }
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.renamed && names(self.dir, &self.name, &self.file).unwrap_or(false) {
            // Nothing more can be done about a file that will not go; the next clean tries again.
            self.dir.unlink(&self.name).ok();
        }
    }
}

fn remove_stale(dir: &LogDir, name: &str) -> io::Result<()> {
    let file = match dir.open_write(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !lock_free(&file)? {
        return Err(io::Error::other("another clean of this log is at work"));
    }
    if names(dir, name, &file)? {
        dir.unlink(name)
    } else {
        Ok(())
    }
}

fn lock_free(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether `name` means this very file.
fn names(dir: &LogDir, name: &str, file: &File) -> io::Result<bool> {
    let meta = file.metadata()?;
    Ok(dir
        .stat(name)?
        .is_some_and(|found| (found.dev, found.ino) == (meta.dev(), meta.ino())))
}

/// How often a log may be replaced under our hands before we give up.
const ATTEMPTS: u32 = 5;
/// What may be left to copy under the lock.
const LITTLE: u64 = 256 * 1024;
/// What the recorder can surely hold in memory while so much is copied under the lock.
const MUCH: u64 = 4 * 1024 * 1024;
const BLOCK: usize = 256 * 1024;
const PROOF: u64 = 4096;

#[cfg(test)]
mod tests;
