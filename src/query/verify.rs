//! Over which times, and for which paths, the logs are complete: what the journal says, and what the logs still hold.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::account::{Account, Comparison, End, Item, LogChange, Piece, State, Story, account};
use crate::event::WallTime;
use crate::filters::time::TimeWindow;
use crate::log::chain::{Hash, Link};
use crate::log::dir::{LogDir, changed_since};
use crate::log::journal::FILE_NAME;
use crate::log::line::time_of;
use crate::log::source::{Lines, find_last};
use crate::log::written::read_entry;

/// What is asked.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// Where journal and logs are.
    pub log_dir: PathBuf,
    /// Another journal than the one there: its pieces, the oldest first.
    pub journal: Vec<PathBuf>,
    /// Whose log; `None` means all.
    pub group: Option<String>,
    /// Which times; without a bound, from the beginning of the record to its end.
    pub window: TimeWindow,
    /// The daemon that records: its process, and the last line of the journal that it wrote.
    pub daemon: Option<(u32, Option<Link>)>,
    /// Lines that must stand in the journal as they once did.
    pub expected: Vec<Link>,
    /// The present.
    pub now: WallTime,
}

/// The answer.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Whether everything asked for is there.
    pub is_complete: bool,
    /// There is no journal.
    pub no_journal: bool,
    /// Lines of the journal.
    pub lines: u64,
    /// Its last line.
    pub head: Option<Link>,
    /// Where it is broken.
    pub breaks: Vec<Breach>,
    /// Each watch in the times asked for.
    pub stories: Vec<Story>,
    /// When the clock was set, and by how many nanoseconds.
    pub clock: Vec<(WallTime, i64)>,
    /// What was compared afterwards where nothing, or not everything, was recorded.
    pub compared: Vec<Comparison>,
    /// What speaks against a log, or should be known of it.
    pub notes: Vec<Note>,
}

impl Verdict {
    /// What was found out afterwards about a time in which nothing, or not everything, was recorded.
    pub fn comparison_of(&self, story: &Story, piece: &Piece) -> Option<&Comparison> {
        let mut compared = self.compared.iter().rev();
        compared.find(|compared| compared.path == story.path && compared.is_about(piece))
    }
}

/// A place where the journal is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The line in the file, 0 when it is not about one.
    pub line: u64,
    /// What is wrong.
    pub why: String,
    /// Between which times.
    pub between: (WallTime, WallTime),
}

/// Something about a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its file name.
    pub log: String,
    /// What.
    pub what: String,
    /// Whether the log cannot be called complete with it.
    pub is_grave: bool,
}

/// Answers.
pub fn verify(request: &VerifyRequest) -> io::Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut reading = Reading::default();
    for file in journals(request)? {
        reading.read(&file)?;
    }
    if reading.lines == 0 {
        verdict.no_journal = true;
        return Ok(verdict);
    }
    reading.compare(request);
    let logs = ends_of_logs(&request.log_dir)?;
    let end = reading.end(request, &logs);
    let mut told = account(&reading.items, end);
    told.logs.extend(since_the_stop(&reading, request)?);
    // Where the clock went back, a log that began after it may have times before those of the journal.
    let back: i64 = told.clock.iter().map(|(_, step)| step.min(&0)).sum();
    verdict.lines = reading.lines;
    verdict.head = reading.last;
    let Reading { breaks, span, .. } = reading;
    let begin = span.map_or(WallTime(i64::MIN), |(first, _)| first);
    let begin = WallTime(begin.0.saturating_add(back));
    let within =
        |from: WallTime, to: WallTime| from <= request.window.last && to >= request.window.first;
    let touched = breaks.into_iter();
    verdict.breaks = touched
        .filter(|breach| within(breach.between.0, breach.between.1))
        .collect();
    verdict.clock = told.clock.clone();
    verdict.clock.retain(|(time, _)| within(*time, *time));
    verdict.compared.clone_from(&told.compared);
    verdict.notes = notes(request, &logs, begin, end);
    verdict.stories = stories(request, told, &logs);
    let is_whole = |story: &Story| {
        story
            .pieces
            .iter()
            .all(|piece| piece.state == State::Complete)
    };
    verdict.is_complete = !verdict.stories.is_empty()
        && verdict.breaks.is_empty()
        && verdict.stories.iter().all(is_whole)
        && !verdict.notes.iter().any(|note| note.is_grave);
    Ok(verdict)
}

fn journals(request: &VerifyRequest) -> io::Result<Vec<File>> {
    if !request.journal.is_empty() {
        return request.journal.iter().map(File::open).collect();
    }
    let dir = match LogDir::open(&request.log_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    Ok(dir.open_log(FILE_NAME)?.into_iter().collect())
}

/// The journal as far as it has been read.
#[derive(Default)]
struct Reading {
    items: Vec<Item>,
    breaks: Vec<Breach>,
    lines: u64,
    last: Option<Link>,
    /// The times of its first and its last line.
    span: Option<(WallTime, WallTime)>,
    links: BTreeMap<u64, Hash>,
    is_stopped: bool,
    pid: Option<u32>,
}

impl Reading {
    fn read(&mut self, file: &File) -> io::Result<()> {
        let end = file.metadata()?.len();
        let mut lines = Lines::new(file, 0, end, BLOCK);
        // `clean` and a crash of the machine may leave blanks, but nobody cleans a journal: every line counts.
        while let Some(line) = lines.next_line()? {
            let bytes = line.bytes.to_vec();
            self.take(&bytes);
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.lines += 1;
        let (known, entry) = (self.known(), read_entry(bytes));
        let entry = entry.and_then(|entry| Some((entry.number?, entry)));
        let Some((number, entry)) = entry else {
            let why = "it is not a line of the recorder's".to_owned();
            return self.broken(why, (known, known));
        };
        let next = self.last.map_or(1, |last| last.number + 1);
        let named = entry.prev.as_deref().unwrap_or_default();
        let follows = match self.last {
            None => named.is_empty(),
            Some(last) => Hash::parse(named) == Some(last.hash),
        };
        if number != next {
            let why = match self.last {
                None => format!("it is number {number}: the lines before it are missing"),
                Some(_) if number > next => {
                    format!("lines {next} to {} are missing before it", number - 1)
                }
                Some(last) => format!("its number is {number}, after {}", last.number),
            };
            let since = self.last.map_or(WallTime(i64::MIN), |_| known);
            self.broken(why, (since, entry.time.max(since)));
        } else if !follows {
            let why = "the line before it is not the one that was written".to_owned();
            // What was changed is the line before: what it says counts no more.
            if let Some(Item::Line(_)) = self.items.last() {
                self.items.pop();
            }
            let since = self.known();
            self.broken(why, (since, entry.time.max(since)));
        }
        let hash = Hash::of(bytes);
        self.last = Some(Link { number, hash });
        self.links.insert(number, hash);
        let first = self.span.map_or(entry.time, |(first, _)| first);
        self.span = Some((first, entry.time.max(known)));
        self.is_stopped = entry.is_stop();
        if entry.event == "START" {
            self.pid = entry.pid;
        }
        self.items.push(Item::Line(Box::new(entry)));
    }

    fn broken(&mut self, why: String, between: (WallTime, WallTime)) {
        self.items.push(Item::Break);
        self.breaks.push(Breach {
            line: self.lines,
            why,
            between,
        });
    }

    /// The time of the last line that counts.
    fn known(&self) -> WallTime {
        let lines = self.items.iter().rev();
        lines
            .filter_map(|item| match item {
                Item::Line(line) => Some(line.time),
                Item::Break => None,
            })
            .next()
            .unwrap_or(WallTime(i64::MIN))
    }

    /// Holds the journal against what others know of it.
    fn compare(&mut self, request: &VerifyRequest) {
        for expected in &request.expected {
            let number = expected.number;
            let why = match self.links.get(&number) {
                Some(hash) if *hash == expected.hash => continue,
                Some(_) => format!("line {number} is not the one that is expected"),
                None => format!("line {number}, which is expected, is not there"),
            };
            self.breaks.push(Breach {
                line: 0,
                why,
                between: (WallTime(i64::MIN), WallTime(i64::MAX)),
            });
        }
        let Some((_, Some(head))) = request.daemon else {
            return;
        };
        // The daemon may have written on since it was asked, but it never takes a line back.
        let why = match self.links.get(&head.number) {
            Some(hash) if *hash == head.hash => return,
            Some(_) => "the line that the daemon wrote last has been changed".to_owned(),
            None => "the line that the daemon wrote last is not there".to_owned(),
        };
        let known = self.known();
        self.items.push(Item::Break);
        self.breaks.push(Breach {
            line: 0,
            why,
            between: (known, WallTime(i64::MAX)),
        });
    }

    fn end(&self, request: &VerifyRequest, logs: &BTreeMap<String, Ends>) -> End {
        match request.daemon {
            Some((pid, _)) if !self.is_stopped && self.pid == Some(pid) => {
                End::Running(request.now)
            }
            _ => {
                let known = self.span.map_or(WallTime(i64::MIN), |(_, last)| last);
                let lines = logs.values().map(|ends| ends.last);
                End::Silent(if self.is_stopped {
                    known
                } else {
                    lines.max().unwrap_or(known).max(known)
                })
            }
        }
    }
}

/// What happened to the logs since recording stopped: the next run will notice it, but there may be none.
fn since_the_stop(reading: &Reading, request: &VerifyRequest) -> io::Result<Vec<LogChange>> {
    let Some(Item::Line(stop)) = reading.items.last() else {
        return Ok(Vec::new());
    };
    // Pieces of another journal may end at any stop, long ago.
    if !stop.is_stop() || !request.journal.is_empty() {
        return Ok(Vec::new());
    }
    let changed = changed_since(&request.log_dir, &stop.logs)?;
    let changes = changed.into_iter();
    Ok(changes
        .map(|changed| LogChange::noticed(stop.time, changed))
        .collect())
}

/// The first and the last time in a log, and which file it is.
#[derive(Clone, Copy)]
struct Ends {
    first: WallTime,
    last: WallTime,
}

fn ends_of_logs(dir: &Path) -> io::Result<BTreeMap<String, Ends>> {
    let dir = match LogDir::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut logs = BTreeMap::new();
    for name in dir.log_names()? {
        let Some(file) = dir.open_log(&name)? else {
            continue;
        };
        let end = file.metadata()?.len();
        let mut lines = Lines::new(&file, 0, end, BLOCK);
        let mut first = None;
        while let Some(line) = lines.next_line()? {
            first = time_of(line.bytes);
            if first.is_some() {
                break;
            }
        }
        let last = find_last(&file, end, time_of)?;
        if let (Some(first), Some(last)) = (first, last) {
            logs.insert(name, Ends { first, last });
        }
    }
    Ok(logs)
}

/// Which logs hold what no run in the journal can have written; it begins at `begin`.
fn notes(
    request: &VerifyRequest,
    logs: &BTreeMap<String, Ends>,
    begin: WallTime,
    end: End,
) -> Vec<Note> {
    let window = request.window;
    let mut notes = Vec::new();
    for (log, ends) in logs.iter().filter(|(log, _)| is_asked(request, log)) {
        let mut note = |what: &str, from: WallTime, to: WallTime| {
            if from <= window.last && to >= window.first {
                notes.push(Note {
                    log: log.clone(),
                    what: what.to_owned(),
                    is_grave: true,
                });
            }
        };
        if ends.first < begin {
            note(
                "begins before the journal does: nothing vouches for what stands there before",
                ends.first,
                begin,
            );
        }
        if let End::Silent(known) = end
            && ends.last > known
        {
            note(
                "goes on after the journal says that recording has stopped: the end of the journal is missing",
                known,
                ends.last,
            );
        }
    }
    notes
}

fn is_asked(request: &VerifyRequest, log: &str) -> bool {
    let asked = |group: &String| log == log_of(group);
    request.group.as_ref().is_none_or(asked)
}

fn log_of(group: &str) -> String {
    format!("{group}_log.jsonl")
}

fn stories(request: &VerifyRequest, told: Account, logs: &BTreeMap<String, Ends>) -> Vec<Story> {
    let files = files_in(&request.log_dir);
    let Account {
        stories,
        logs: changes,
        ..
    } = told;
    let asked = |story: &Story| {
        request
            .group
            .as_ref()
            .is_none_or(|group| story.group == *group)
    };
    let mut wanted = Vec::new();
    for mut story in stories.into_iter().filter(asked) {
        let log = log_of(&story.group);
        let changes = changes.iter().filter(|change| change.log == log);
        // A log that was renamed is still there; its inode may belong to another file if it was not.
        let is_there = |change: &LogChange| {
            change.is_elsewhere()
                && files.iter().any(|(name, inode, len)| {
                    *name != log && *inode == change.inode && *len >= change.before()
                })
        };
        let lost = changes.filter(|change| !is_there(change));
        let first = logs.get(&log).map(|ends| ends.first);
        for change in lost {
            forget(&mut story, change, first, request.window.first);
        }
        if let Some(story) = clipped(story, request.window, request.now) {
            wanted.push(story);
        }
    }
    wanted
}

/// The files in the log directory: name, inode and size.
fn files_in(dir: &Path) -> Vec<(String, u64, u64)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let regular = entries.filter_map(|entry| {
        let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Some((name, meta.ino(), meta.len()))
    });
    regular.collect()
}

/// Takes from a story what its log does not hold any more. What `clean` took is nothing to complain of, unless
/// somebody asks for those times: then the story begins later.
fn forget(story: &mut Story, change: &LogChange, first: Option<WallTime>, asked_from: WallTime) {
    let (until, state) = match &change.how {
        None => {
            let until = first
                .filter(|first| *first <= change.time)
                .unwrap_or(change.time);
            (until, State::Gone("cleaned".to_owned()))
        }
        Some(how) => (change.time, State::Gone(how.clone())),
    };
    let is_clean = change.how.is_none() && asked_from.0 == i64::MIN;
    let mut kept: Vec<Piece> = Vec::new();
    for piece in story.pieces.drain(..) {
        if piece.state != State::Complete || piece.from >= until {
            if !(is_clean && piece.to <= until) {
                kept.push(piece);
            }
            continue;
        }
        if !is_clean {
            kept.push(Piece {
                from: piece.from,
                to: piece.to.min(until),
                state: state.clone(),
            });
        }
        if piece.to > until {
            kept.push(Piece {
                from: until,
                to: piece.to,
                state: State::Complete,
            });
        }
    }
    story.pieces = kept;
}

/// The story within a window; `None` when it has nothing to do with it.
fn clipped(mut story: Story, window: TimeWindow, now: WallTime) -> Option<Story> {
    let is_bounded = window != TimeWindow::ALL;
    let (first, last) = (story.pieces.first()?.from, story.pieces.last()?.to);
    if story.after == Some(State::Unasked) && last < window.first {
        return None;
    }
    let is_missed = match story.after {
        None => false,
        // Whoever asks for no time means what was recorded, up to the orderly end of it.
        Some(State::Stopped(_) | State::Unasked) => is_bounded,
        Some(_) => true,
    };
    if let Some(state) = story.after.clone().filter(|_| is_missed && now > last) {
        story.pieces.push(Piece {
            from: last,
            to: now,
            state,
        });
    }
    if window.first.0 > i64::MIN && first > window.first {
        let before = Piece {
            from: window.first,
            to: first,
            state: State::Unasked,
        };
        story.pieces.insert(0, before);
    }
    story.pieces.retain(|piece| {
        let is_moment = piece.from == piece.to;
        piece.from <= window.last
            && (piece.to > window.first || (is_moment && piece.to == window.first))
    });
    for piece in &mut story.pieces {
        piece.from = piece.from.max(window.first);
        piece.to = piece.to.min(window.last);
    }
    (!story.pieces.is_empty()).then_some(story)
}

const BLOCK: usize = 64 * 1024;
