//! Walks through all logs by time, backwards or forwards, looking at few lines only.
//!
//! What is looked for grows on the way: one name leads to another. So a log is never searched further
//! than the others have come, and when there is a new name, what is left of the blocks at hand is searched
//! again. Where that happens often, each line of a block is looked at instead.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::ops::Range;

use memchr::memchr_iter;

use super::hunt::Hunt;
use crate::event::WallTime;
use crate::filters::time::TimeWindow;
use crate::log::backwards::Backwards;
use crate::log::form::own_event;
use crate::log::line::{LogLine, decode, glance, time_of};
use crate::log::onward::Onward;

/// Whoever is shown the lines.
pub(super) trait Follow {
    /// What lines hold that matter between these times; `None` when that is too much to search for.
    fn texts(&mut self, first: WallTime, last: WallTime) -> Option<Vec<Vec<u8>>>;

    /// Whether a line is worth to be read.
    fn is_worth(&mut self, time: WallTime, line: &[u8]) -> bool;

    /// Takes a line; says whether there is more to look for from now on.
    fn meet(&mut self, met: Met<'_>) -> io::Result<bool>;
}

/// A line that was read.
pub(super) struct Met<'a> {
    /// Which of the logs.
    pub(super) log: usize,
    /// Its time, put straight where the log is not sorted.
    pub(super) time: WallTime,
    pub(super) bytes: &'a [u8],
    pub(super) line: LogLine,
}

/// A log.
pub(super) struct Log {
    pub(super) name: String,
    pub(super) file: File,
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the last line to the first; of one time the last log first.
    Back,
    /// From the first line to the last; of one time the first log first.
    Forth,
}

impl Way {
    /// Which of two places comes first.
    fn compare(self, one: (WallTime, usize), other: (WallTime, usize)) -> Ordering {
        match self {
            Self::Back => other.cmp(&one),
            Self::Forth => one.cmp(&other),
        }
    }
}

/// What is noticed on the way.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Lines that are no events.
    pub(super) unreadable: u64,
    /// Which logs are not sorted.
    pub(super) unsorted: Vec<usize>,
}

/// Shows the lines of `logs` that matter within `window` to `follow`.
pub(super) fn walk(
    logs: &[Log],
    window: TimeWindow,
    way: Way,
    block: usize,
    follow: &mut impl Follow,
) -> io::Result<Seen> {
    let mut streams: Vec<Stream<'_>> = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        let mut stream = Stream::new(index, &log.file, (window, way), block)?;
        stream.turn(follow)?;
        streams.push(stream);
    }
    let heads = |streams: &[Stream<'_>]| {
        let heads = streams.iter().filter_map(Stream::head);
        heads.min_by(|one, other| way.compare(*one, *other))
    };
    while let Some(now) = heads(&streams) {
        let stream = &mut streams[now.1];
        let Some(range) = stream.next() else {
            stream.turn(follow)?;
            continue;
        };
        let bytes = &stream.pages.current()[range];
        if !window.contains(now.0) || !follow.is_worth(now.0, bytes) {
            continue;
        }
        let Some(line) = decode(bytes) else {
            let is_strange = !bytes.trim_ascii().is_empty() && glance(bytes).is_none();
            stream.unreadable += u64::from(is_strange);
            continue;
        };
        let is_more = follow.meet(Met {
            log: now.1,
            time: now.0,
            bytes,
            line,
        })?;
        if is_more {
            for stream in &mut streams {
                stream.search_again(follow, now);
            }
        }
    }
    let unsorted = streams.iter().filter(|stream| stream.is_unsorted);
    Ok(Seen {
        unsorted: unsorted.map(|stream| stream.log).collect(),
        unreadable: streams.iter().map(|stream| stream.unreadable).sum(),
    })
}

/// Blocks of lines, in either direction.
enum Pages<'f> {
    Back(Backwards<&'f File>),
    Forth(Onward<&'f File>),
}

impl Pages<'_> {
    fn turn(&mut self, overlong: &mut u64) -> io::Result<bool> {
        let block = match self {
            Self::Back(lines) => lines.next_block(overlong)?,
            Self::Forth(lines) => lines.next_block(overlong)?,
        };
        Ok(block.is_some())
    }

    fn current(&self) -> &[u8] {
        match self {
            Self::Back(lines) => lines.current(),
            Self::Forth(lines) => lines.current(),
        }
    }
}

/// A log on its way.
struct Stream<'f> {
    log: usize,
    way: Way,
    pages: Pages<'f>,
    /// Of a sorted log nothing before this time is read, and whether anything was.
    since: WallTime,
    has_begun: bool,
    /// Lines of the block at hand to be looked at, the next one last.
    ahead: Vec<Range<usize>>,
    /// The part of the block that was not come to yet.
    rest: Range<usize>,
    /// How often the block was searched again.
    searches: u32,
    /// Each line of the block is looked at.
    is_whole: bool,
    /// The times at which the block begins and ends.
    first: WallTime,
    last: WallTime,
    /// The time of the line that was passed last.
    passed: WallTime,
    /// The time of the next line, or of the end of the block.
    head: Option<WallTime>,
    texts: Vec<Vec<u8>>,
    hunt: Hunt,
    is_unsorted: bool,
    unreadable: u64,
}

impl<'f> Stream<'f> {
    fn new(
        log: usize,
        file: &'f File,
        (window, way): (TimeWindow, Way),
        block: usize,
    ) -> io::Result<Self> {
        let passed = match way {
            Way::Back => WallTime(i64::MAX),
            Way::Forth => WallTime(i64::MIN),
        };
        Ok(Self {
            log,
            way,
            pages: match way {
                Way::Back => Pages::Back(Backwards::from_time(file, window.last, block)?),
                Way::Forth => Pages::Forth(Onward::new(file, window, block)?),
            },
            since: window.first,
            has_begun: false,
            ahead: Vec::new(),
            rest: 0..0,
            searches: 0,
            is_whole: false,
            first: WallTime(i64::MIN),
            last: WallTime(i64::MIN),
            passed,
            head: Some(passed),
            texts: Vec::new(),
            hunt: Hunt::default(),
            is_unsorted: false,
            unreadable: 0,
        })
    }

    /// What comes next and in which log, as places in the walk.
    fn head(&self) -> Option<(WallTime, usize)> {
        self.head.map(|time| (time, self.log))
    }

    /// Goes past the next line; `None` at the end of the block.
    fn next(&mut self) -> Option<Range<usize>> {
        let range = self.ahead.pop()?;
        self.passed = self.head.unwrap_or(self.passed);
        match self.way {
            Way::Back => self.rest.end = range.start,
            Way::Forth => self.rest.start = range.end,
        }
        self.look_ahead();
        Some(range)
    }

    /// Goes on to the next block.
    fn turn(&mut self, follow: &mut impl Follow) -> io::Result<()> {
        let is_done = self.way == Way::Back && self.has_begun && self.first < self.since;
        self.has_begun = true;
        if is_done || !self.pages.turn(&mut self.unreadable)? {
            self.head = None;
            return Ok(());
        }
        let block = self.pages.current();
        self.rest = 0..block.len();
        let mut lines = block.split_inclusive(|byte| *byte == b'\n');
        let first = lines.find_map(time_in);
        let last = lines.rev().find_map(time_in).or(first);
        self.passed = self.head.unwrap_or(self.passed);
        let near = self.passed;
        (self.first, self.last) = (first.unwrap_or(near), last.unwrap_or(near));
        self.is_unsorted |= self.first > self.last;
        self.is_whole = false;
        self.searches = 0;
        self.search(follow);
        self.look_ahead();
        Ok(())
    }

    /// Looks for what matters in the rest of the block.
    fn search(&mut self, follow: &mut impl Follow) {
        let texts = if self.searches > MOST_SEARCHES {
            None
        } else {
            follow.texts(self.first, self.last)
        };
        self.ahead.clear();
        let (block, rest) = (self.pages.current(), self.rest.clone());
        match texts {
            Some(texts) => {
                if texts != self.texts {
                    self.hunt = Hunt::of(texts.iter().cloned());
                    self.texts = texts;
                }
                self.hunt.each(&block[rest.clone()], |line| {
                    let (start, end) = (rest.start + line.start, rest.start + line.end);
                    self.ahead.push(start..end);
                    true
                });
            }
            None => {
                self.is_whole = true;
                let mut start = rest.start;
                for newline in memchr_iter(b'\n', &block[rest.clone()]) {
                    let end = rest.start + newline + 1;
                    self.ahead.push(start..end);
                    start = end;
                }
            }
        }
        if self.way == Way::Forth {
            self.ahead.reverse();
        }
    }

    /// There is more to look for, from `now` on.
    fn search_again(&mut self, follow: &mut impl Follow, now: (WallTime, usize)) {
        if self.is_whole || self.head.is_none() {
            return;
        }
        self.searches += 1;
        self.search(follow);
        self.look_ahead();
        // What was passed over before, when nobody looked for it, stays behind.
        while self.log != now.1
            && let (Some(head), false) = (self.head(), self.ahead.is_empty())
            && self.way.compare(head, now) == Ordering::Less
        {
            self.next();
        }
    }

    fn look_ahead(&mut self) {
        let end = match self.way {
            Way::Back => self.first,
            Way::Forth => self.last,
        };
        let time = match self.ahead.last() {
            Some(next) => self.time_of_line(next),
            None => end,
        };
        let head = match self.way {
            Way::Back => time.min(self.passed),
            Way::Forth => time.max(self.passed),
        };
        self.is_unsorted |= head != time;
        self.head = Some(head);
    }

    /// The time of a line in the rest of the block. Garbage has that of the line that was come past
    /// before it: another would take along lines for which nobody has looked yet.
    fn time_of_line(&self, line: &Range<usize>) -> WallTime {
        let (block, rest) = (self.pages.current(), &self.rest);
        let lines = |range: Range<usize>| block[range].split_inclusive(|byte| *byte == b'\n');
        let time = time_in(&block[line.clone()]).or_else(|| match self.way {
            Way::Back => lines(line.end..rest.end).find_map(time_in),
            Way::Forth => lines(rest.start..line.start).rev().find_map(time_in),
        });
        time.unwrap_or(self.passed)
    }
}

fn time_in(line: &[u8]) -> Option<WallTime> {
    own_event(line).map_or_else(|| time_of(line), |(time, _)| Some(time))
}

/// So often a block is searched again before each of its lines is looked at.
const MOST_SEARCHES: u32 = 4;
