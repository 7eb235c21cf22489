//! Carrying it out: look, choose a way, go it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::cut::{Cut, line_start};
use super::in_place::InPlace;
use super::layout::{Layout, Way};
use super::plan::{Doomed, Fate, Keep};
use super::progress::{Listener, Progress};
use super::rewrite::{Content, Rewrite, read_before};
use super::survey::{Sieve, Survey, judge};
use super::temp::{Temp, names};
use crate::log::dir::{LogDir, Owner};
use crate::log::front::{Ground, Seal};
use crate::log::source::Lines;

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
    /// Lines among those that went, by their place, which stayed because their time could not be
    /// read; in a log that is judged line by line, all such lines.
    pub unreadable: u64,
    /// Size of the log before, in bytes.
    pub before: u64,
    /// Size of the log after, in bytes; on a dry run, what it would be.
    pub after: u64,
}

/// Trims the log, or says what would go. `listener` is shown, on a dry run only, each line that is
/// outside the wanted time, and always how far the work is. `None` when there is no such log.
pub fn run(request: &CleanRequest, listener: &mut Listener<'_>) -> Result<Option<CleanReport>> {
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
    let cleaning = || format!("cannot clean '{}'", path.display());
    for _ in 0..ATTEMPTS {
        let Some(file) = dir.open_log(name).with_context(cleaning)? else {
            return Ok(None);
        };
        let attempt = Attempt {
            request,
            dir: &dir,
            name,
            file: &file,
            ground: Ground::of(&file).with_context(cleaning)?,
            seal: Seal::of(&file).with_context(cleaning)?,
            end: file.metadata().with_context(cleaning)?.len(),
        };
        if let Some(report) = attempt.run(listener).with_context(cleaning)? {
            return Ok(Some(report));
        }
    }
    bail!(
        "cannot clean '{}': somebody else keeps replacing it",
        path.display()
    )
}

/// One look at a log, and what follows from it if the log stays the same.
struct Attempt<'a> {
    request: &'a CleanRequest,
    dir: &'a LogDir,
    name: &'a str,
    file: &'a File,
    ground: Ground,
    /// Its front at the time of the look.
    seal: Seal,
    /// Its size then.
    end: u64,
}

/// How an attempt to cut in place ended.
enum Tried {
    Done(CleanReport),
    /// This file or this user cannot; what stays is untouched.
    Refused,
    /// The log is not what it was.
    Changed,
}

impl Attempt<'_> {
    /// `None` when the log was changed by somebody else meanwhile.
    fn run(&self, listener: &mut Listener<'_>) -> io::Result<Option<CleanReport>> {
        let mut progress = Progress::new(listener, self.end);
        match Cut::find(self.file, &self.request.keep, self.end, &mut progress)? {
            Some(cut) if self.request.dry_run || !cut.any() => {
                self.show(&cut, &mut progress)?;
                Ok(Some(self.report(&cut)))
            }
            Some(cut) => self.make(&cut, &mut progress),
            None => {
                progress.expect_more(2 * self.end);
                self.sift(&mut progress)
            }
        }
    }

    /// Judges each line, and copies those that stay.
    fn sift(&self, progress: &mut Progress<'_, '_>) -> io::Result<Option<CleanReport>> {
        let keep = self.request.keep;
        let survey = Survey::take(self.file, self.end, self.request, progress)?;
        if self.request.dry_run || !survey.any() {
            return survey.forecast(self.file, &keep).map(Some);
        }
        let Some(temp) = self.begin()? else {
            return Ok(None);
        };
        let content = Content::Sifted(Sieve::new(keep, survey.surplus));
        self.rewrite(temp, content, progress)
    }

    fn make(&self, cut: &Cut, progress: &mut Progress<'_, '_>) -> io::Result<Option<CleanReport>> {
        let proof = read_before(self.file, self.end)?;
        let saved = cut.saved_lines(self.file)?;
        let Some(temp) = self.begin()? else {
            return Ok(None);
        };
        let layout = self.layout(cut, self.end);
        if layout.way != Way::Copy {
            match self.cut_in_place(cut, &saved, proof)? {
                Tried::Done(report) => return Ok(Some(report)),
                Tried::Refused => {}
                Tried::Changed => return Ok(None),
            }
        }
        let layout = self.layout(cut, self.end);
        let content = Content::Behind {
            from: layout.from,
            front: layout.front(&saved),
            report: self.report(cut),
        };
        self.rewrite(temp, content, progress)
    }

    /// Keeps every other `clean` of this log away, and makes sure that none has been at it since
    /// the look.
    fn begin(&self) -> io::Result<Option<Temp<'_>>> {
        let temp = Temp::make(self.dir, format!(".{}.clean", self.name))?;
        Ok(self.seal.holds(self.file)?.then_some(temp))
    }

    fn rewrite(
        &self,
        temp: Temp<'_>,
        content: Content,
        progress: &mut Progress<'_, '_>,
    ) -> io::Result<Option<CleanReport>> {
        let rewrite = Rewrite {
            dir: self.dir,
            name: self.name,
            old: self.file,
            temp,
        };
        rewrite.run(content, self.end, self.request.owner, progress)
    }

    fn cut_in_place(&self, cut: &Cut, saved: &[u8], proof: Option<Vec<u8>>) -> io::Result<Tried> {
        // Whoever may not write into the log may still be allowed to replace it.
        let Ok(file) = self.dir.open_write(self.name) else {
            return Ok(Tried::Refused);
        };
        // A cut writes out what the disk does not have yet. Most of that is done before the
        // recorder has to wait.
        file.sync_data()?;
        let lock = self.dir.lock_file(self.request.owner)?;
        let held = lock.take()?;
        let len = file.metadata()?.len();
        if !lock.is_current(self.dir)
            || !names(self.dir, self.name, &file)?
            || !names(self.dir, self.name, self.file)?
            || len < self.end
            || read_before(&file, self.end)? != proof
            || !self.seal.holds(&file)?
        {
            return Ok(Tried::Changed);
        }
        let layout = self.layout(cut, len);
        let line = line_start(&file, 0, layout.from)?;
        if layout.way == Way::Copy || cut.saved.iter().any(|saved| saved.end > line) {
            // What is to be saved must not be written over before it stands elsewhere.
            return Ok(Tried::Refused);
        }
        let steps = InPlace {
            file: &file,
            layout,
            line,
            saved,
        };
        if !steps.run()? {
            return Ok(Tried::Refused);
        }
        let report = CleanReport {
            before: len,
            after: file.metadata()?.len(),
            ..self.report(cut)
        };
        drop(held);
        file.sync_data()?;
        Ok(Tried::Done(report))
    }

    fn layout(&self, cut: &Cut, len: u64) -> Layout {
        Layout::of(self.ground, cut.at, cut.saved_bytes(), len)
    }

    /// What a cut of the log as it was would report.
    fn report(&self, cut: &Cut) -> CleanReport {
        CleanReport {
            by_time: cut.by_time,
            by_size: cut.by_size,
            unreadable: cut.unreadable,
            before: self.end,
            after: if cut.any() {
                self.layout(cut, self.end).size(self.end)
            } else {
                self.end
            },
        }
    }

    /// Shows what is outside the wanted time, on a dry run.
    fn show(&self, cut: &Cut, progress: &mut Progress<'_, '_>) -> io::Result<()> {
        if !self.request.dry_run {
            return Ok(());
        }
        let mut left = cut.by_time;
        let mut lines = Lines::new(self.file, 0, self.end, BLOCK);
        while left > 0
            && let Some(line) = lines.next_line()?
        {
            if let Fate::Outside(time) = judge(&self.request.keep, &line) {
                progress.show(Doomed::new(time, line.bytes))?;
                left -= 1;
            }
        }
        Ok(())
    }
}

const BLOCK: usize = 256 * 1024;
/// How often a log may be replaced under our hands before we give up.
const ATTEMPTS: u32 = 5;

#[cfg(test)]
mod tests;
