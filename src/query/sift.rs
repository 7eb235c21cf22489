//! Which lines of a block are wanted, looking at as few of them as possible.
//!
//! Without paths, a block in the recorder's own form is wanted or not as a whole. With paths, only
//! those lines are read that hold the text of one of them, or that could hold it in other letters.

use std::mem;
use std::ops::Range;

use memchr::{memchr_iter, memrchr};

use super::hunt::{Hunt, line_end, text_of};
use super::plan::{Selection, Verdict};
use crate::event::WallTime;
use crate::log::form;
use crate::log::line::{Glance, glance, time_of};

/// Wanted lines that stand one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where in the block.
    pub(super) range: Range<usize>,
    /// How many.
    pub(super) lines: u64,
    /// The time of the first; never lower than that of any line before.
    pub(super) time: WallTime,
    /// For each hole among them, how many events are lost.
    pub(super) lost: Vec<i64>,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// As many lines as stand one behind the other.
    Runs,
    /// One line, whose time is that of a line not before it.
    Lines,
    /// One line.
    Timed,
}

/// What is noticed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    /// Lines that are no events.
    pub(super) unreadable: u64,
    /// A line was older than one before it.
    pub(super) is_unsorted: bool,
    /// What follows is too young, if the log is sorted.
    pub(super) is_past: bool,
}

/// Goes through the blocks of one log.
#[derive(Debug)]
pub(super) struct Sift<'s> {
    selection: &'s Selection,
    /// What a line that is wanted for its path must hold.
    hunt: Hunt,
    /// Whether too young lines end it.
    is_sorted: bool,
    /// What a piece is.
    pieces: Pieces,
    /// Time of the last line looked at.
    time: WallTime,
    pub(super) noticed: Noticed,
}

impl<'s> Sift<'s> {
    pub(super) fn new(selection: &'s Selection, is_sorted: bool, pieces: Pieces) -> Self {
        Self {
            selection,
            hunt: hunt_for(selection),
            is_sorted,
            pieces,
            time: WallTime(i64::MIN),
            noticed: Noticed::default(),
        }
    }

    /// Goes on with a block that does not come behind the one before.
    pub(super) fn restart(&mut self) {
        self.time = WallTime(i64::MIN);
    }

    /// Appends the wanted lines of `block`, which consists of whole lines, to `found`.
    pub(super) fn sift(&mut self, block: &[u8], found: &mut Vec<Piece>) {
        if !self.hunt.is_idle() {
            return self.hunt(block, found);
        }
        match form::own(block) {
            Some(own) if own.is_sorted && self.holds(&own) && self.pieces != Pieces::Timed => {
                self.meet(own.first);
                self.time = self.time.max(own.last);
                if self.pieces == Pieces::Lines {
                    return self.take_all(block, &own, found);
                }
                let lost = own.gaps.iter().map(|at| lost_in(&block[at.clone()]));
                found.push(Piece {
                    range: 0..block.len(),
                    lines: own.lines,
                    time: self.time,
                    lost: lost.collect(),
                });
            }
            own => {
                // Of an own line without paths to compare, the time says it all.
                let is_own = own.is_some_and(|own| own.gaps.is_empty());
                self.judge_all(block, is_own, found);
            }
        }
    }

    /// Takes each line of a block.
    fn take_all(&self, block: &[u8], own: &form::Own, found: &mut Vec<Piece>) {
        let (mut start, mut gaps) = (0, own.gaps.iter().peekable());
        for newline in memchr_iter(b'\n', block) {
            let range = start..newline + 1;
            start = range.end;
            let gap = gaps.next_if(|gap| **gap == range);
            let lost = gap.map(|gap| lost_in(&block[gap.clone()]));
            self.append(range, lost, found);
        }
    }

    /// Whether all lines are of a wanted time.
    fn holds(&self, own: &form::Own) -> bool {
        self.selection.window.contains(own.first) && self.selection.window.contains(own.last)
    }

    fn judge_all(&mut self, block: &[u8], is_own: bool, found: &mut Vec<Piece>) {
        let mut at = 0;
        while at < block.len() && !self.noticed.is_past {
            let end = line_end(block, at);
            let time = form::own_time(&block[at..end]).filter(|_| is_own);
            match time {
                Some(time) => {
                    let verdict = self.selection.judge_time(time);
                    self.keep(verdict, at..end, time, None, found);
                }
                None => self.judge(block, at..end, found),
            }
            at = end;
        }
    }

    /// Reads one line and says whether it is wanted.
    fn judge(&mut self, block: &[u8], range: Range<usize>, found: &mut Vec<Piece>) {
        let line = &block[range.clone()];
        if let Some((time, path)) = form::own_event(line) {
            let verdict = self.selection.judge_event(time, path);
            self.keep(verdict, range, time, None, found);
            return;
        }
        let Some(seen) = glance(line) else {
            self.noticed.unreadable += u64::from(!line.trim_ascii().is_empty());
            return;
        };
        let Glance { time, lost, .. } = seen;
        let verdict = self.selection.judge(&seen);
        self.keep(verdict, range, time, lost, found);
    }

    fn keep(
        &mut self,
        verdict: Verdict,
        range: Range<usize>,
        time: WallTime,
        lost: Option<i64>,
        found: &mut Vec<Piece>,
    ) {
        self.meet(time);
        match verdict {
            Verdict::Wanted => self.append(range, lost, found),
            Verdict::Past => self.noticed.is_past = self.is_sorted,
            Verdict::Unwanted => {}
        }
    }

    fn append(&self, range: Range<usize>, lost: Option<i64>, found: &mut Vec<Piece>) {
        match found.last_mut() {
            Some(last) if self.pieces == Pieces::Runs && last.range.end == range.start => {
                last.range.end = range.end;
                last.lines += 1;
                last.lost.extend(lost);
            }
            _ => found.push(Piece {
                range,
                lines: 1,
                time: self.time,
                lost: lost.into_iter().collect(),
            }),
        }
    }

    fn meet(&mut self, time: WallTime) {
        self.noticed.is_unsorted |= time < self.time;
        self.time = self.time.max(time);
    }

    /// Reads the lines that hold what is looked for.
    fn hunt(&mut self, block: &[u8], found: &mut Vec<Piece>) {
        let hunt = mem::take(&mut self.hunt);
        hunt.each(block, |line| {
            self.judge(block, line, found);
            !self.noticed.is_past
        });
        self.hunt = hunt;
        self.look_at_last(block);
    }

    /// A block in which nothing was found may be too young all the same.
    fn look_at_last(&mut self, block: &[u8]) {
        let Some(body) = block.strip_suffix(b"\n").filter(|_| self.is_sorted) else {
            return;
        };
        let start = memrchr(b'\n', body).map_or(0, |at| at + 1);
        if let Some(time) = time_of(&block[start..]) {
            self.meet(time);
            self.noticed.is_past |= self.selection.judge_time(time) == Verdict::Past;
        }
    }
}

/// What any line holds that is wanted for one of the paths, and any hole. Nothing when all paths are
/// wanted.
fn hunt_for(selection: &Selection) -> Hunt {
    let prefixes = &selection.prefixes;
    if prefixes.is_empty() || prefixes.iter().any(Vec::is_empty) {
        return Hunt::default();
    }
    let texts = prefixes.iter().map(|prefix| text_of(prefix));
    Hunt::of(texts.chain([b"\"GAP\"".to_vec()]))
}

fn lost_in(line: &[u8]) -> i64 {
    glance(line).and_then(|seen| seen.lost).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::filters::time::TimeWindow;

    /// What a reading of each line gives: the reference.
    fn plainly(block: &[u8], selection: &Selection, is_sorted: bool) -> (Vec<u8>, u64) {
        let (mut out, mut gaps) = (Vec::new(), 0);
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            let Some(seen) = glance(line) else { continue };
            match selection.judge(&seen) {
                Verdict::Wanted => {
                    gaps += u64::from(seen.is_gap());
                    out.extend_from_slice(line);
                }
                Verdict::Past if is_sorted => break,
                Verdict::Past | Verdict::Unwanted => {}
            }
        }
        (out, gaps)
    }

    fn any_line() -> impl Strategy<Value = Vec<u8>> {
        let path = prop_oneof![
            Just("/a"),
            Just("/a/b"),
            Just("/ab"),
            Just("/b/a"),
            Just(r"/\u0061/b"),
            Just(r"\/a"),
            Just(r"/a\n/c"),
            Just("/"),
        ];
        let whole = (0_u8..60, path, any::<bool>()).prop_map(|(second, path, spaced)| {
            let line = format!(
                "{{\"time\":\"1970-01-01T00:00:{second:02}.000000000Z\",\"event_type\":\"CREATE\",\"path\":\"{path}\",\"pid\":1,\"chain\":\"\"}}\n"
            );
            if spaced { line.replace("\":", "\" : ") } else { line }.into_bytes()
        });
        let gap = (0_u8..60).prop_map(|second| {
            format!("{{\"time\":\"1970-01-01T00:00:{second:02}.000000000Z\",\"event_type\":\"GAP\",\"path\":\"\",\"lost\":2,\"cause\":\"\"}}\n").into_bytes()
        });
        let raw = (0_u8..60, any::<bool>()).prop_map(|(second, upper)| {
            let hex = if upper { "2FFF2F78" } else { "2fff2f78" };
            format!("{{\"time\":\"1970-01-01T00:00:{second:02}.000000000Z\",\"event_type\":\"DELETE\",\"path\":\"/\u{fffd}/x\",\"path_raw\":\"{hex}\"}}\n").into_bytes()
        });
        let strange = select(vec![
            &b"\n"[..],
            b"garbage /a\n",
            b"{\"time\":\"1970-01-01T00:00:03.000000000Z\",\"event_type\":\"CREATE\"\n",
            b"\xff/a\n",
            b"  \n",
        ]);
        prop_oneof![8 => whole, 1 => gap, 1 => raw, 1 => strange.prop_map(<[u8]>::to_vec)]
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_reading_every_line(
            mut lines in proptest::collection::vec(any_line(), 0..20),
            in_order in any::<bool>(),
            first in 0_i64..60,
            length in 0_i64..60,
            prefixes in proptest::collection::vec(select(vec![&b"/a"[..], b"/a/b", b"/", b"/\xff", b"/\xef\xbf\xbd"]), 0..3),
            pieces in select(vec![Pieces::Runs, Pieces::Lines, Pieces::Timed]),
            is_sorted in any::<bool>(),
        ) {
            if in_order {
                lines.sort_by_key(|line| time_of(line));
            }
            let block = lines.concat();
            let window = TimeWindow { first: WallTime(first * 1_000_000_000), last: WallTime((first + length) * 1_000_000_000) };
            let selection = Selection::new(window, &prefixes);
            let mut sift = Sift::new(&selection, is_sorted, pieces);
            let mut found = Vec::new();
            sift.sift(&block, &mut found);
            let told: Vec<u8> = found.iter().flat_map(|piece| block[piece.range.clone()].to_vec()).collect();
            let count: u64 = found.iter().map(|piece| piece.lines).sum();
            let gaps: usize = found.iter().map(|piece| piece.lost.len()).sum();
            let (expected, holes) = plainly(&block, &selection, is_sorted && prefixes.is_empty());
            if in_order || !is_sorted || prefixes.is_empty() {
                prop_assert_eq!(String::from_utf8_lossy(&told), String::from_utf8_lossy(&expected));
                prop_assert_eq!(gaps as u64, holes);
            }
            let newlines = told.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(count, newlines as u64);
            if pieces != Pieces::Runs {
                prop_assert!(found.iter().all(|piece| piece.lines == 1));
            }
        }
    }
}
