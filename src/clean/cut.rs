//! Where a log is cut when only its old lines go: what stays lies behind one place, and is not read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::thread;

use super::plan::{Fate, Keep};
use super::progress::Progress;
use super::survey::judge;
use crate::event::WallTime;
use crate::log::form::own_time_text;
use crate::log::line::write_time;
use crate::log::search::first_line_from;
use crate::log::source::{Line, Lines, torn_tail};

/// A place in a log, and what goes and stays before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Where what stays as it is begins: at a line.
    pub(super) at: u64,
    /// Lines before it that stay, because nobody can say how old they are.
    pub(super) saved: Vec<Range<u64>>,
    /// Lines that go because of their time.
    pub(super) by_time: u64,
    /// Lines that go because the log is too big.
    pub(super) by_size: u64,
    /// Lines that are too old by their place, and stay because their time cannot be read.
    pub(super) unreadable: u64,
}

impl Cut {
    /// Looks for the place in the first `end` bytes of a log. `None` when there is none such: when
    /// young lines go, too, when the log is not sorted, or when too much before it stays.
    ///
    /// The log is searched by time, as a query does it. All lines before the place are read; of
    /// those behind it, only what the size takes.
    pub(super) fn find(
        file: &File,
        keep: &Keep,
        end: u64,
        progress: &mut Progress<'_, '_>,
    ) -> io::Result<Option<Self>> {
        if keep.window.last < WallTime(i64::MAX) {
            return Ok(None);
        }
        let Some(torn) = torn_tail(file, end)? else {
            return Ok(None);
        };
        let whole = end - torn.len() as u64;
        let first = keep.window.first;
        let at = if first == WallTime(i64::MIN) {
            0
        } else {
            first_line_from(file, whole, first)?
        };
        let heads = in_parts(file, 0..at, progress, |part, tick| {
            Head::read(file, part, keep, tick)
        })?;
        if !heads.iter().all(|head| head.sorted) {
            return Ok(None);
        }
        let mut cut = Self {
            at,
            saved: heads.iter().flat_map(|head| head.saved.clone()).collect(),
            by_time: heads.iter().map(|head| head.by_time).sum(),
            by_size: 0,
            unreadable: 0,
        };
        if cut.saved_bytes() > MOST_SAVED {
            return Ok(None);
        }
        cut.shrink(file, keep, whole, progress)?;
        cut.unreadable = cut.saved.len() as u64;
        // What stands directly before the place need not be saved.
        while let Some(last) = cut.saved.pop_if(|last| last.end == cut.at) {
            cut.at = last.start;
        }
        Ok(Some(cut))
    }

    /// Whether anything goes.
    pub(super) fn any(&self) -> bool {
        self.by_time + self.by_size > 0
    }

    /// How long the saved lines are together.
    pub(super) fn saved_bytes(&self) -> u64 {
        self.saved.iter().map(|line| line.end - line.start).sum()
    }

    /// The saved lines, one behind the other.
    pub(super) fn saved_lines(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for line in &self.saved {
            let start = bytes.len();
            bytes.resize(start + (line.end - line.start) as usize, 0);
            file.read_exact_at(&mut bytes[start..], line.start)?;
        }
        Ok(bytes)
    }

    /// Moves the place on as far as the size wants it: what was saved goes first.
    fn shrink(
        &mut self,
        file: &File,
        keep: &Keep,
        whole: u64,
        progress: &mut Progress<'_, '_>,
    ) -> io::Result<()> {
        let mut surplus = keep.surplus(whole - self.at + self.saved_bytes());
        let mut gone = 0;
        for line in &self.saved {
            let length = line.end - line.start;
            if length > surplus {
                break;
            }
            surplus -= length;
            gone += 1;
        }
        self.saved.drain(..gone);
        self.by_size = gone as u64;
        if self.saved.is_empty() && surplus > 0 {
            let at = line_start(file, self.at, self.at + surplus)?;
            let counts = in_parts(file, self.at..at, progress, |part, tick| {
                count_lines(file, part, tick)
            })?;
            self.by_size += counts.into_iter().sum::<u64>();
            self.at = at;
        }
        Ok(())
    }
}

/// Where the line begins in which `at` lies, at `floor` or behind it; `at` itself when one begins
/// there.
pub(super) fn line_start(file: &File, floor: u64, at: u64) -> io::Result<u64> {
    let mut to = at;
    let mut block = vec![0; 4096];
    while to > floor {
        let from = to.saturating_sub(block.len() as u64).max(floor);
        let part = &mut block[..(to - from) as usize];
        file.read_exact_at(part, from)?;
        if let Some(newline) = memchr::memrchr(b'\n', part) {
            return Ok(from + newline as u64 + 1);
        }
        to = from;
    }
    Ok(floor)
}

/// What stands before the place in a part of a log.
struct Head {
    by_time: u64,
    saved: Vec<Range<u64>>,
    /// Nothing there is as young as what stays.
    sorted: bool,
}

impl Head {
    fn read(file: &File, part: Range<u64>, keep: &Keep, tick: Tick<'_>) -> io::Result<Self> {
        let mut head = Self {
            by_time: 0,
            saved: Vec::new(),
            sorted: true,
        };
        let mut bound = Vec::new();
        write_time(keep.window.first, &mut bound);
        let mut second = Vec::new();
        let mut saved = 0;
        each_line(file, part, tick, |line| {
            // A line of the recorder's own shape is not looked into: its time is compared as text.
            let own = own_time_text(line.bytes, &mut second).filter(|_| !line.overlong);
            let fate = match own {
                Some(time) if time[..] < bound[..] => {
                    head.by_time += 1;
                    return true;
                }
                Some(_) => Fate::Kept,
                None => judge(keep, line),
            };
            match fate {
                Fate::Outside(_) => head.by_time += 1,
                Fate::Blank => {}
                Fate::Unreadable => {
                    saved += line.end - line.start;
                    head.saved.push(line.start..line.end);
                }
                Fate::Kept => head.sorted = false,
            }
            head.sorted && saved <= MOST_SAVED
        })?;
        Ok(head)
    }
}

fn count_lines(file: &File, part: Range<u64>, tick: Tick<'_>) -> io::Result<u64> {
    let mut count = 0;
    each_line(file, part, tick, |line| {
        count += u64::from(line.bytes[0] == b'{' || !line.bytes.trim_ascii().is_empty());
        true
    })?;
    Ok(count)
}

/// Hands out the lines of a part until `each` has seen enough.
fn each_line(
    file: &File,
    part: Range<u64>,
    tick: Tick<'_>,
    mut each: impl FnMut(&Line<'_>) -> bool,
) -> io::Result<()> {
    let mut told = part.start;
    let mut lines = Lines::new(file, part.start, part.end, BLOCK);
    while let Some(line) = lines.next_line()? {
        if !each(&line) {
            break;
        }
        if line.end - told >= STEP {
            tick(line.end - told)?;
            told = line.end;
        }
    }
    Ok(())
}

/// Works on a part of a log, a large one by two threads; the results are in the order of the log.
fn in_parts<T: Send>(
    file: &File,
    part: Range<u64>,
    progress: &mut Progress<'_, '_>,
    work: impl Fn(Range<u64>, Tick<'_>) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let middle = part.start + (part.end - part.start) / 2;
    let mut lines = Lines::new(file, middle, part.end, BLOCK);
    lines.seek_after(middle, part.end)?;
    let middle = lines.offset();
    if part.end - part.start < WORTH_A_THREAD || middle >= part.end {
        return Ok(vec![work(part, &mut |bytes| progress.advance(bytes))?]);
    }
    thread::scope(|scope| {
        let second = scope.spawn(|| work(middle..part.end, &mut |_| Ok(())));
        // Both halves take about as long.
        let first = work(part.start..middle, &mut |bytes| progress.advance(2 * bytes));
        let second = second
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(vec![first?, second?])
    })
}

type Tick<'t> = &'t mut dyn FnMut(u64) -> io::Result<()>;

/// More than this is not written anew in front of what stays.
const MOST_SAVED: u64 = 1 << 20;
const WORTH_A_THREAD: u64 = 8 << 20;
const STEP: u64 = 1 << 20;
const BLOCK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_start_of_a_line_is_found_from_anywhere_in_it() {
        let mut file = tempfile::tempfile().unwrap();
        let long = "x".repeat(10_000);
        file.write_all(format!("one\n{long}\nthree\n").as_bytes())
            .unwrap();
        for (floor, at, start) in [
            (0, 0, 0),
            (0, 3, 0),
            (0, 4, 4),
            (0, 9_000, 4),
            (4, 10_004, 4),
            (4, 10_005, 10_005),
            (0, 10_011, 10_011),
        ] {
            assert_eq!(line_start(&file, floor, at).unwrap(), start, "{at}");
        }
    }
}
