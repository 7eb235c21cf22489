//! The one writer of logs: lines are gathered in memory and go to each file in one write.
//!
//! A log may be replaced, cut, deleted or moved away by anybody at any time, so before each
//! write the name is looked up again. What cannot be written (a full disk, `clean` at work) stays
//! in memory up to a ceiling; beyond it, lines are given up and a GAP line says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use super::dir::{DirLock, LogDir, Owner, changed_since, hand_over};
use super::journal::{self, Change, Changed};
use super::line::{Gap, encode_gap, time_of};
use super::recent::Recent;
use super::{scan, source};
use crate::event::WallTime;
use crate::sys::dirfd::Status;
use crate::sys::files;

/// Where and how to append.
#[derive(Clone, Debug)]
pub struct AppenderConfig {
    /// The log directory; made when it is missing.
    pub dir: PathBuf,
    /// Whom new files are handed to.
    pub owner: Option<Owner>,
    /// How many bytes of lines may be held while they cannot be written, all logs together.
    pub ceiling_bytes: usize,
}

/// Appends lines to the logs of one directory.
#[derive(Debug)]
pub struct Appender {
    config: AppenderConfig,
    place: Option<Place>,
    logs: Recent<String, Log>,
    pending_bytes: usize,
    dropped: u64,
    dropped_since: Option<WallTime>,
    leftovers: Leftovers,
    is_held_said: bool,
}

/// What a flush did and left undone.
#[derive(Debug, Default)]
pub struct FlushReport {
    /// Lines now in their files, GAP lines included.
    pub written_lines: u64,
    /// Bytes now in their files.
    pub written_bytes: u64,
    /// Bytes still in memory.
    pub pending_bytes: usize,
    /// The lock is held by `clean`; flush again soon.
    pub busy: bool,
    /// Lines given up since the flush before, for want of room. Each log gets its GAP line.
    pub dropped: u64,
    /// The time of the first of them, if there are any.
    pub dropped_since: WallTime,
    /// The time of the first line of an event that waits for its disk, if one does.
    pub held_since: Option<WallTime>,
    /// What failed: the name of a log (or the directory) and why. The lines stay pending.
    pub errors: Vec<(String, io::Error)>,
    /// Files that could not be given to their owner; nothing is lost by it.
    pub not_handed_over: Vec<(String, io::Error)>,
    /// Logs that were not as they had been left.
    pub changed: Vec<Changed>,
}

#[derive(Debug)]
struct Place {
    dir: LogDir,
    lock: DirLock,
}

#[derive(Debug, Default)]
struct Log {
    pending: Vec<u8>,
    open: Option<OpenLog>,
    lost: Option<Lost>,
    /// Why the last write failed, for the GAP line.
    trouble: Option<String>,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    id: (u64, u64),
    /// Size before the next write, as far as we know.
    len: u64,
    unsynced: bool,
}

/// Lines given up in one go.
#[derive(Debug)]
struct Lost {
    lines: u64,
    since: WallTime,
    until: WallTime,
}

/// What comes up while writing and is dealt with later.
#[derive(Debug, Default)]
struct Leftovers {
    /// Files that were written to and have since been replaced, not yet synced.
    unsynced: Vec<(String, File)>,
    not_handed_over: Vec<(String, io::Error)>,
    changed: Vec<Changed>,
}

impl Appender {
    /// An appender with nothing pending; files are opened by the first flush.
    pub fn new(config: AppenderConfig) -> Self {
        Self {
            config,
            place: None,
            logs: Recent::default(),
            pending_bytes: 0,
            dropped: 0,
            dropped_since: None,
            leftovers: Leftovers::default(),
            is_held_said: false,
        }
    }

    /// Appends one line (newline included) to the log `name`, in memory. Above the ceiling the
    /// line is given up and counted; says whether it was taken.
    pub fn queue(&mut self, name: &str, line: impl FnOnce(&mut Vec<u8>)) -> bool {
        let new = || (name.to_owned(), Log::default());
        let log = self.logs.get_or_insert_with(name, new);
        let before = log.pending.len();
        // A hole is closed only with room to spare, or holes and lines would alternate.
        if log.lost.is_some() && self.pending_bytes < self.config.ceiling_bytes / 2 {
            log.close_gap(name);
        }
        let start = log.pending.len();
        line(&mut log.pending);
        let grown = log.pending.len() - before;
        let taken = log.lost.is_none() && self.pending_bytes + grown <= self.config.ceiling_bytes;
        if !taken {
            let time = log.give_up(start);
            self.dropped += 1;
            self.dropped_since = self.dropped_since.or(time);
        }
        self.pending_bytes += log.pending.len() - before;
        taken
    }

    /// Appends a line that is never given up. Only for lines of which there are few.
    pub fn queue_always(&mut self, name: &str, line: &[u8]) {
        let new = || (name.to_owned(), Log::default());
        let log = self.logs.get_or_insert_with(name, new);
        log.pending.extend_from_slice(line);
        self.pending_bytes += line.len();
    }

    /// Bytes of lines in memory.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether lines for the log `name` are in memory.
    pub fn is_pending(&self, name: &str) -> bool {
        self.logs.get(name).is_some_and(|log| !log.is_idle())
    }

    /// Whether a flush has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.pending_bytes == 0 && self.logs.values().all(Log::is_idle)
    }

    /// Writes all that is pending, one write for each log. Never waits for the lock.
    pub fn flush(&mut self) -> FlushReport {
        files::as_user(self.config.owner, || self.flush_as_user())
    }

    /// Takes note that the journal says, or will as soon as it can be written, that lines wait for a disk.
    ///
    /// Before that no log is written behind one whose disk is full: whoever comes after a crash takes the last
    /// line there is for the moment up to which all was written.
    pub fn set_held(&mut self, is_said: bool) {
        self.is_held_said = is_said;
    }

    fn flush_as_user(&mut self) -> FlushReport {
        let mut report = FlushReport {
            dropped: mem::take(&mut self.dropped),
            dropped_since: self.dropped_since.take().unwrap_or_default(),
            ..FlushReport::default()
        };
        if !self.is_idle()
            && let Err(error) = self
                .find_place()
                .and_then(|()| self.write_logs(&mut report))
        {
            self.explain(&error.to_string());
            report
                .errors
                .push((self.config.dir.display().to_string(), error));
        }
        report.pending_bytes = self.pending_bytes;
        if !report.errors.is_empty() {
            report.held_since = self.first_pending();
        }
        report.not_handed_over = mem::take(&mut self.leftovers.not_handed_over);
        report.changed = mem::take(&mut self.leftovers.changed);
        report
    }

    /// How large each of these logs is now, and which of those that were written to are not as they were left.
    pub fn survey(&mut self, names: &[&str]) -> (Vec<(String, u64)>, Vec<Changed>) {
        files::as_user(self.config.owner, || self.survey_as_user(names))
    }

    fn survey_as_user(&self, names: &[&str]) -> (Vec<(String, u64)>, Vec<Changed>) {
        let (mut sizes, mut changed) = (Vec::new(), Vec::new());
        let Ok(dir) = LogDir::open(&self.config.dir) else {
            return (sizes, changed);
        };
        for name in names {
            // What cannot be looked at now cannot be called changed.
            let Ok(found) = dir.stat(name) else { continue };
            if let Some(open) = self.logs.get(*name).and_then(|log| log.open.as_ref()) {
                changed.extend(open.changed(name, found));
            }
            sizes.extend(found.map(|found| ((*name).to_owned(), found.len)));
        }
        (sizes, changed)
    }

    /// Which of these logs have lost something since they had the given sizes.
    pub fn changed_since(&self, sizes: &BTreeMap<String, u64>) -> Vec<Changed> {
        files::as_user(self.config.owner, || changed_since(&self.config.dir, sizes))
            .unwrap_or_default()
    }

    /// Notices what was done to the logs that are open, as a flush does before it writes. Waits for nobody: while
    /// `clean` has them it sees nothing.
    pub fn look(&mut self) -> Vec<Changed> {
        files::as_user(self.config.owner, || self.look_as_user());
        mem::take(&mut self.leftovers.changed)
    }

    fn look_as_user(&mut self) {
        // What hinders the look hinders the next flush as well, and is said then.
        if self.place.is_none() || self.find_place().is_err() {
            return;
        }
        let Some(Place { dir, lock }) = &self.place else {
            return;
        };
        let Ok(Some(_held)) = lock.try_take() else {
            return;
        };
        let logs = self.logs.iter_mut();
        for (name, log) in logs.filter(|(name, _)| *name != journal::FILE_NAME) {
            let Ok(found) = dir.stat(name) else { continue };
            let Some(changed) = log.open.as_mut().and_then(|open| open.changed(name, found)) else {
                continue;
            };
            match &mut log.open {
                Some(open) if changed.how == Change::Cut => open.len = changed.after,
                _ => log.retire(name, &mut self.leftovers),
            }
            self.leftovers.changed.push(changed);
        }
    }

    /// Brings everything written so far to the disk; says which logs could not be synced.
    pub fn sync(&mut self) -> Vec<(String, io::Error)> {
        let mut errors = Vec::new();
        for (name, file) in self.leftovers.unsynced.drain(..) {
            errors.extend(file.sync_data().err().map(|error| (name, error)));
        }
        for (name, log) in self.logs.iter_mut() {
            if let Some(open) = log.open.as_mut().filter(|open| open.unsynced) {
                open.unsynced = false;
                errors.extend(
                    open.file
                        .sync_data()
                        .err()
                        .map(|error| (name.clone(), error)),
                );
            }
        }
        errors
    }

    /// The time of the last line in the file of the log `name`; `None` when it has none. Time
    /// must not go back over a restart.
    pub fn last_time(&mut self, name: &str) -> io::Result<Option<WallTime>> {
        files::as_user(self.config.owner, || self.last_time_as_user(name))
    }

    fn last_time_as_user(&self, name: &str) -> io::Result<Option<WallTime>> {
        let dir = match LogDir::open(&self.config.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let Some(file) = dir.open_log(name)? else {
            return Ok(None);
        };
        let end = file.metadata()?.len();
        // A line of which only the newline is missing will be ended, and then it is the last one.
        // Whatever hinders a look at it shows again when the others are read.
        let torn = source::torn_tail(&file, end).ok().flatten();
        match torn.and_then(|torn| time_of(&torn)) {
            Some(time) => Ok(Some(time)),
            None => source::find_last(&file, end, time_of),
        }
    }

    /// Forgets the log `name`, unless lines are still pending for it.
    pub fn close(&mut self, name: &str) {
        if self.logs.get(name).is_some_and(Log::is_idle)
            && let Some(mut log) = self.logs.remove(name)
        {
            log.retire(name, &mut self.leftovers);
        }
    }

    /// Makes sure that the directory and the lock file are those that the path leads to now.
    fn find_place(&mut self) -> io::Result<()> {
        if let Some(place) = &mut self.place
            && place.dir.is_current()
        {
            if !place.lock.is_current(&place.dir) {
                place.lock = place.dir.lock_file(self.config.owner)?;
            }
            return Ok(());
        }
        self.place = None;
        for (name, log) in self.logs.iter_mut() {
            if let Some(open) = log.open.as_ref().filter(|_| name != journal::FILE_NAME) {
                self.leftovers.changed.extend(open.changed(name, None));
            }
            log.retire(name, &mut self.leftovers);
        }
        let dir = LogDir::open_or_make(&self.config.dir, self.config.owner)?;
        let lock = dir.lock_file(self.config.owner)?;
        self.place = Some(Place { dir, lock });
        Ok(())
    }

    /// The time of the first line in memory that is one of a log.
    fn first_pending(&self) -> Option<WallTime> {
        let logs = self.logs.iter();
        let logs = logs.filter(|(name, _)| *name != journal::FILE_NAME);
        let first = |log: &Log| {
            let end = memchr::memchr(b'\n', &log.pending)?;
            time_of(&log.pending[..end])
        };
        let lost = |log: &Log| log.lost.as_ref().map(|lost| lost.since);
        logs.filter_map(|(_, log)| first(log).or_else(|| lost(log)))
            .min()
    }

    fn write_logs(&mut self, report: &mut FlushReport) -> io::Result<()> {
        let Some(Place { dir, lock }) = &self.place else {
            return Ok(());
        };
        let Some(held) = lock.try_take()? else {
            report.busy = true;
            self.explain("the log was being cleaned");
            return Ok(());
        };
        // The journal first, for what it says of the others.
        'all: for is_journal in [true, false] {
            let logs = self.logs.iter_mut();
            let due = logs.filter(|(name, log)| {
                (name.as_str() == journal::FILE_NAME) == is_journal && !log.is_idle()
            });
            for (name, log) in due {
                let before = log.pending.len();
                let done = log.write(name, dir, self.config.owner, &mut self.leftovers, report);
                self.pending_bytes = self.pending_bytes + log.pending.len() - before;
                if let Err(error) = done {
                    let is_end = is_full(&error) && (is_journal || !self.is_held_said);
                    log.trouble = Some(error.to_string());
                    report.errors.push((name.clone(), error));
                    if is_end {
                        break 'all;
                    }
                }
            }
        }
        drop(held);
        Ok(())
    }

    fn explain(&mut self, trouble: &str) {
        for (_, log) in self.logs.iter_mut().filter(|(_, log)| !log.is_idle()) {
            log.trouble = Some(trouble.to_owned());
        }
    }
}

/// Whether a disk is full, or what somebody may use of it.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

impl Log {
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.lost.is_none()
    }

    /// Takes the line from `start` on out of the pending ones again, and counts it; returns its time.
    fn give_up(&mut self, start: usize) -> Option<WallTime> {
        let time = time_of(&self.pending[start..]);
        self.pending.truncate(start);
        let lost = self.lost.get_or_insert_with(|| {
            let since = time.unwrap_or_default();
            Lost {
                lines: 0,
                since,
                until: since,
            }
        });
        lost.lines += 1;
        lost.until = time.unwrap_or(lost.until);
        time
    }

    fn close_gap(&mut self, name: &str) {
        let Some(lost) = self.lost.take() else { return };
        if name == journal::FILE_NAME {
            // Its lines are numbered by whoever queues them, who is told of the loss in the report.
            return;
        }
        let why = self
            .trouble
            .as_deref()
            .unwrap_or("the log could not be written fast enough");
        let gap = Gap {
            time: lost.until,
            lost: i64::try_from(lost.lines).unwrap_or(-1),
            cause: why.into(),
            since: lost.since,
        };
        encode_gap(&gap, &mut self.pending);
    }

    /// Writes everything pending, then the GAP line if one is due.
    fn write(
        &mut self,
        name: &str,
        dir: &LogDir,
        owner: Option<Owner>,
        leftovers: &mut Leftovers,
        report: &mut FlushReport,
    ) -> io::Result<()> {
        self.open_current(name, dir, owner, leftovers)?;
        self.write_pending(report)?;
        if self.lost.is_some() {
            self.close_gap(name);
            self.write_pending(report)?;
        }
        self.trouble = None;
        self.pending.shrink_to(KEPT_CAPACITY);
        Ok(())
    }

    /// Makes sure that the open file is the one of that name, and that it ends with a newline.
    fn open_current(
        &mut self,
        name: &str,
        dir: &LogDir,
        owner: Option<Owner>,
        leftovers: &mut Leftovers,
    ) -> io::Result<()> {
        let found = dir.stat(name)?;
        let same = |open: &OpenLog| found.is_some_and(|found| (found.dev, found.ino) == open.id);
        if let Some(open) = self.open.as_ref().filter(|_| name != journal::FILE_NAME) {
            leftovers.changed.extend(open.changed(name, found));
        }
        if !self.open.as_ref().is_some_and(same) {
            self.retire(name, leftovers);
            let (file, made) = dir.open_append(name)?;
            if made && let Some(owner) = owner {
                let refused = hand_over(&file, owner).err();
                leftovers
                    .not_handed_over
                    .extend(refused.map(|error| (name.to_owned(), error)));
            }
            let meta = file.metadata()?;
            self.open = Some(OpenLog {
                file,
                id: (meta.dev(), meta.ino()),
                len: 0,
                unsynced: false,
            });
        }
        if let Some(open) = &mut self.open {
            open.len = mend_tail(&open.file, &self.pending)?;
        }
        Ok(())
    }

    fn write_pending(&mut self, report: &mut FlushReport) -> io::Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let (written, result) = write_counted(&open.file, &self.pending);
        if written == 0 {
            return result;
        }
        open.unsynced = true;
        let whole = self.pending[..written]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let (start, end) = (open.len, open.len + written as u64);
        open.len = end;
        if whole < written {
            // When it fails, the next flush does it before it writes.
            if cut_back(&open.file, end, start + whole as u64).is_ok() {
                open.len = start + whole as u64;
            }
        }
        report.written_lines += memchr::memchr_iter(b'\n', &self.pending[..whole]).count() as u64;
        report.written_bytes += whole as u64;
        self.pending.drain(..whole);
        result
    }

    fn retire(&mut self, name: &str, leftovers: &mut Leftovers) {
        if let Some(open) = self.open.take().filter(|open| open.unsynced) {
            leftovers.unsynced.push((name.to_owned(), open.file));
        }
    }
}

impl OpenLog {
    /// What was done to the log, when a look at its name shows this.
    fn changed(&self, name: &str, found: Option<Status>) -> Option<Changed> {
        let how = match found {
            None => Change::Moved,
            Some(found) if (found.dev, found.ino) != self.id => Change::Replaced,
            Some(found) if found.len < self.len => Change::Cut,
            Some(_) => return None,
        };
        Some(Changed {
            log: name.to_owned(),
            how,
            before: self.len,
            after: found.map_or(0, |found| found.len),
            inode: self.id.1,
        })
    }
}

/// Writes as much as the kernel takes and says how much that was.
#[expect(
    clippy::disallowed_methods,
    reason = "the place where a short write is dealt with: what was not taken stays pending"
)]
fn write_counted(mut file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Takes half a line off the end again, if nobody has written behind it.
fn cut_back(file: &File, end: u64, whole: u64) -> io::Result<()> {
    if file.metadata()?.len() != end {
        return Err(io::Error::other("somebody else writes to the log"));
    }
    file.set_len(whole)
}

/// Makes the file end with a newline and says its size: what a crash or a full disk left of a line
/// is cut off, anything else is ended. `pending` is what will be written next.
fn mend_tail(file: &File, pending: &[u8]) -> io::Result<u64> {
    loop {
        match try_mend_tail(file, pending) {
            // Somebody cut the file while we looked at its end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            other => return other,
        }
    }
}

fn try_mend_tail(file: &File, pending: &[u8]) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1)?;
    }
    if last == [b'\n'] {
        return Ok(len);
    }
    match source::torn_tail(file, len)? {
        // A line of which only the newline is missing is whole, unless it will be written again.
        Some(tail) if pending.starts_with(&tail) || !scan::members(&tail, |_, _| ()) => {
            let whole = len - tail.len() as u64;
            file.set_len(whole)?;
            Ok(whole)
        }
        _ => write_counted(file, b"\n").1.map(|()| len + 1),
    }
}

/// So many pending bytes are worth a write: what it looks up first is then a hundredth of its cost,
/// and the memory for them is used again and again, not given back and taken anew.
pub const WORTH_A_WRITE: usize = 192 * 1024;
/// Memory for pending lines that a log keeps when they have been written.
const KEPT_CAPACITY: usize = 256 * 1024;

#[cfg(test)]
mod tests;
