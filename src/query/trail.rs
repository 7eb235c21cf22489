//! The names that one file had over time: where it came from, and where it went.
//!
//! A path is asked for, and what was called so at any time is in question. A file that was renamed to
//! it had other names before ([`Origins`], told by the log from its end), and one that was renamed away
//! has others afterwards ([`Trail`], told by the log from its beginning). When a directory above is
//! renamed, the file gets another name like by a rename of its own.
//!
//! The path that was asked for is a place: whatever file is there is in question. A place that moves
//! together with a directory above it stays one. All other names are those of one file, and end with it.
//!
//! The two lines of a rename, and the same lines from other logs, are met one by one; meeting one again
//! changes nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::names::{Interned, Names, moved};
use crate::event::{EventType, FileEvent, WallTime};

/// What matters of an event here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed<'a> {
    pub(super) time: WallTime,
    pub(super) kind: EventType,
    pub(super) path: &'a [u8],
    /// The other side of a rename.
    pub(super) other: Option<&'a [u8]>,
}

impl<'a> Deed<'a> {
    pub(super) fn of(event: &'a FileEvent, time: WallTime) -> Self {
        Self {
            time,
            kind: event.kind,
            path: &event.path,
            other: event.other_path.as_deref(),
        }
    }

    /// From which name to which, if both are known.
    fn rename(&self) -> Option<(&'a [u8], &'a [u8])> {
        match self.kind {
            EventType::MovedFrom => Some((self.path, self.other?)),
            EventType::MovedTo => Some((self.other?, self.path)),
            _ => None,
        }
    }

    fn is_move(&self) -> bool {
        matches!(self.kind, EventType::MovedFrom | EventType::MovedTo)
    }
}

/// Names from one time to another.
#[derive(Debug, Default)]
pub(super) struct Lives {
    names: Interned,
    spans: Vec<Span>,
    /// For each name, which of these is the earliest.
    earliest: Vec<usize>,
    /// There were more than are kept.
    pub(super) is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: WallTime,
    to: WallTime,
    name: u32,
}

impl Lives {
    /// Adds one that ends before those of the same name end, or with the last of them.
    fn push(&mut self, name: &[u8], from: WallTime, to: WallTime) {
        if self.names.size() >= MOST_BYTES {
            self.is_cut = true;
            return;
        }
        let name = self.names.number(name);
        let earliest = self.earliest.get(name as usize);
        // Several logs tell the same, and within one time nobody knows which was first.
        if let Some(known) = earliest.and_then(|at| self.spans.get_mut(*at))
            && known.from <= to
        {
            known.from = known.from.min(from);
            return;
        }
        if self.spans.len() >= MOST_LIVES {
            self.is_cut = true;
            return;
        }
        self.earliest.resize(self.names.len(), usize::MAX);
        self.earliest[name as usize] = self.spans.len();
        self.spans.push(Span { from, to, name });
    }

    /// Puts them in the order of their beginnings.
    fn close(&mut self) {
        self.names.close();
        self.earliest = Vec::new();
        self.spans.sort_unstable();
    }
}

/// Finds the earlier names, from the last event to the first.
#[derive(Debug)]
pub(super) struct Origins {
    roots: Names,
    open: Names<Open>,
    lives: Lives,
}

/// How a name ended whose beginning has not been met yet.
#[derive(Debug)]
struct Open {
    to: WallTime,
    /// From which name to which it was renamed.
    by: (Box<[u8]>, Box<[u8]>),
    /// When the MOVED_FROM of that rename stands in the log, once it was met.
    since: Option<WallTime>,
    /// It is the place that was asked for, moved with a directory above it.
    is_place: bool,
}

impl Open {
    /// Whether it ended by this very event, or by the other line of the rename that it is part of.
    fn ended_by(&self, kind: EventType, time: WallTime, from: &[u8], to: &[u8]) -> bool {
        let is_same = self.to == time
            || self.since == Some(time)
            || self.since.is_none() && kind == EventType::MovedFrom;
        is_same && (&*self.by.0, &*self.by.1) == (from, to)
    }
}

impl Origins {
    pub(super) fn new(roots: &[Vec<u8>]) -> Self {
        Self {
            roots: roots.iter().cloned().collect(),
            open: Names::default(),
            lives: Lives::default(),
        }
    }

    /// The names to look for.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().chain(self.open.iter())
    }

    /// How many these are.
    pub(super) fn count(&self) -> usize {
        self.roots.len() + self.open.len()
    }

    /// Whether an event at `path` can say something about the names.
    pub(super) fn concerns(&self, path: &[u8]) -> bool {
        self.roots.contains(path) || self.open.contains(path)
    }

    /// Whether a rename from or to `path` can.
    pub(super) fn concerns_moved(&self, path: &[u8]) -> bool {
        self.roots.has_at_or_below(path) || self.open.has_at_or_below(path)
    }

    /// Takes note of an event older than those before; says whether there is a new name.
    pub(super) fn meet(&mut self, deed: &Deed<'_>) -> bool {
        if let Some((from, to)) = deed.rename() {
            return self.meet_rename(deed.kind, from, to, deed.time);
        }
        // Whatever had the name before was another file.
        match deed.kind {
            EventType::Create | EventType::Delete => self.close_file(deed.path, deed.time),
            EventType::MovedFrom | EventType::MovedTo => {
                for name in owned(self.open.at_or_below(deed.path)) {
                    self.close_file_at(&name, deed.path, deed.time);
                }
            }
            _ => {}
        }
        false
    }

    fn meet_rename(&mut self, kind: EventType, from: &[u8], to: &[u8], time: WallTime) -> bool {
        let mut earlier = Vec::new();
        for name in self.roots.at_or_below(to) {
            earlier.extend(moved(name, to, from).map(|before| (before, name != to)));
        }
        for name in owned(self.open.at_or_below(to)) {
            let is_place = self.open.get(&name).is_some_and(|open| open.is_place);
            earlier.extend(moved(&name, to, from).map(|before| (before, is_place && name != to)));
            self.close_file_at(&name, to, time);
        }
        for name in owned(self.open.at_or_below(from)) {
            match self.open.get_mut(&name) {
                Some(open) if open.ended_by(kind, time, from, to) => {
                    if kind == EventType::MovedFrom && open.since.is_none() {
                        open.since = Some(time);
                    }
                }
                _ => self.close_file_at(&name, from, time),
            }
        }
        let before = self.open.len();
        for (name, is_place) in earlier {
            if self.concerns(&name) {
                continue;
            }
            if self.open.len() >= MOST_NAMES {
                self.lives.is_cut = true;
                continue;
            }
            let open = Open {
                to: time,
                by: (from.into(), to.into()),
                since: (kind == EventType::MovedFrom).then_some(time),
                is_place,
            };
            self.open.insert(name, open);
        }
        self.open.len() > before
    }

    /// Another file was renamed from or to `top`, at which `name` is or below it.
    fn close_file_at(&mut self, name: &[u8], top: &[u8], from: WallTime) {
        if name == top {
            self.close_file(name, from);
        } else {
            self.close(name, from);
        }
    }

    /// Another file has the name; a place does not mind.
    fn close_file(&mut self, name: &[u8], from: WallTime) {
        if self.open.get(name).is_some_and(|open| !open.is_place) {
            self.close(name, from);
        }
    }

    fn close(&mut self, name: &[u8], from: WallTime) {
        if let Some(open) = self.open.remove(name) {
            self.lives.push(name, from, open.to);
        }
    }

    /// All earlier names, when the beginning of the logs was reached.
    pub(super) fn end(mut self) -> Lives {
        for name in self.open.iter() {
            if let Some(open) = self.open.get(name) {
                self.lives.push(name, WallTime(i64::MIN), open.to);
            }
        }
        self.lives.close();
        self.lives
    }
}

/// Follows the names, from the first event to the last.
#[derive(Debug)]
pub(super) struct Trail {
    roots: Names,
    /// Whether what lies below a name is in question, too.
    below: bool,
    /// Earlier names, in the order of their beginnings.
    lives: Lives,
    /// How many of these have begun.
    begun: usize,
    /// Those that have begun and not ended, the first end on top.
    ends: BinaryHeap<Reverse<(WallTime, u32)>>,
    living: Names<u32>,
    /// Names of what was renamed away, and whether that was a directory above the place asked for.
    away: Names<bool>,
    /// Names of what was away until just now: other logs may still tell of it.
    late: Names,
    now: WallTime,
    /// There were more than are followed.
    pub(super) is_cut: bool,
}

impl Trail {
    pub(super) fn new(roots: &[Vec<u8>], below: bool, lives: Lives) -> Self {
        Self {
            roots: roots.iter().cloned().collect(),
            below,
            is_cut: lives.is_cut,
            lives,
            begun: 0,
            ends: BinaryHeap::new(),
            living: Names::default(),
            away: Names::default(),
            late: Names::default(),
            now: WallTime(i64::MIN),
        }
    }

    /// Goes on to a time that is not before the last one.
    pub(super) fn advance(&mut self, time: WallTime) {
        if time > self.now {
            self.now = time;
            self.late = Names::default();
        }
        let spans = self.lives.spans[self.begun..].iter();
        for span in spans.take_while(|span| span.from <= time) {
            self.begun += 1;
            self.ends.push(Reverse((span.to, span.name)));
            let name = self.lives.names.name(span.name);
            match self.living.get_mut(name) {
                Some(count) => *count += 1,
                None => self.living.insert(name.to_vec(), 1),
            }
        }
        while let Some(Reverse((to, name))) = self.ends.peek().copied()
            && to < time
        {
            self.ends.pop();
            let name = self.lives.names.name(name);
            match self.living.get_mut(name) {
                Some(count @ 2..) => *count -= 1,
                _ => drop(self.living.remove(name)),
            }
        }
    }

    /// The names that count from now to `last`, if they are no more than `most`.
    pub(super) fn names(&self, last: WallTime, most: usize) -> Option<Vec<&[u8]>> {
        let now = self.roots.len() + self.living.len() + self.away.len() + self.late.len();
        if now > most {
            return None;
        }
        let mut names: Vec<&[u8]> = self.roots.iter().chain(self.away.iter()).collect();
        names.extend(self.living.iter().chain(self.late.iter()));
        let spans = self.lives.spans[self.begun..].iter();
        for (count, span) in spans.take_while(|span| span.from <= last).enumerate() {
            let name = self.lives.names.name(span.name);
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > most || count > most {
                return None;
            }
        }
        Some(names)
    }

    /// Whether an event at `path` belongs to the story.
    pub(super) fn concerns(&self, path: &[u8]) -> bool {
        let (roots, away, living, late) = (&self.roots, &self.away, &self.living, &self.late);
        if self.below {
            return roots.covers(path)
                || away.covers(path)
                || living.covers(path)
                || late.covers(path);
        }
        roots.contains(path) || away.contains(path) || living.contains(path) || late.contains(path)
    }

    /// Whether a rename from or to `path` does.
    pub(super) fn concerns_moved(&self, path: &[u8]) -> bool {
        self.concerns(path)
            || self.roots.has_at_or_below(path)
            || self.away.has_at_or_below(path)
            || self.living.has_at_or_below(path)
            || self.late.has_at_or_below(path)
    }

    /// Whether an event belongs to the story.
    pub(super) fn tells(&mut self, deed: &Deed<'_>) -> bool {
        self.advance(deed.time);
        if !deed.is_move() {
            return self.concerns(deed.path);
        }
        self.concerns_moved(deed.path) || deed.other.is_some_and(|other| self.concerns_moved(other))
    }

    /// Takes note of an event younger than those before; says whether there is a new name.
    pub(super) fn meet(&mut self, deed: &Deed<'_>) -> bool {
        if let Some((from, to)) = deed.rename() {
            return self.meet_rename(from, to);
        }
        match deed.kind {
            EventType::Delete => self.forget_file(deed.path),
            EventType::MovedFrom | EventType::MovedTo => self.forget_below(deed.path),
            _ => {}
        }
        false
    }

    fn meet_rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        let mut left = Vec::new();
        for name in self.roots.at_or_below(from) {
            left.extend(moved(name, from, to).map(|after| (after, name != from)));
        }
        for name in self.away.at_or_below(from) {
            let is_place = self.away.get(name).is_some_and(|is_place| *is_place);
            left.extend(moved(name, from, to).map(|after| (after, is_place && name != from)));
        }
        self.forget_below(from);
        // What had the new name is replaced.
        self.forget_file(to);
        let before = self.away.len();
        for (name, is_place) in left {
            if self.roots.contains(&name) || self.away.contains(&name) {
                continue;
            }
            if self.away.len() >= MOST_NAMES {
                self.is_cut = true;
                continue;
            }
            self.away.insert(name, is_place);
        }
        self.away.len() > before
    }

    /// What lies below `top` has moved with it, and the file itself if it is one.
    fn forget_below(&mut self, top: &[u8]) {
        for name in owned(self.away.at_or_below(top)) {
            if name == top {
                self.forget_file(&name);
            } else {
                self.forget(&name);
            }
        }
    }

    /// The file of that name is gone; a place stays.
    fn forget_file(&mut self, name: &[u8]) {
        if self.away.get(name) == Some(&false) {
            self.forget(name);
        }
    }

    fn forget(&mut self, name: &[u8]) {
        self.away.remove(name);
        self.late.insert(name.to_vec(), ());
    }
}

fn owned<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    names.map(<[u8]>::to_vec).collect()
}

/// So many names at a time are looked for.
const MOST_NAMES: usize = 1 << 16;
/// So many earlier names are kept, and so many bytes of different ones.
const MOST_LIVES: usize = 1 << 20;
const MOST_BYTES: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests;
