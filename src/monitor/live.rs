//! Live events for whoever subscribed: kept for a while, and handed out as fast as each reader takes them.
//!
//! Lines are gathered in chunks that all readers share. Recording only ever appends: a reader that is too
//! slow finds that chunks have gone, and is told how many lines of those that it asked for it missed.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::event::{EventType, FileEvent, TypeSet, WallTime};
use crate::filters::scope::is_at_or_below;
use crate::monitored::GroupName;

/// What a reader wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whose logs; `None` means those of all events, without the alerts.
    pub groups: Option<Vec<GroupName>>,
    /// Only at or below these; empty means everywhere.
    pub paths: Vec<Vec<u8>>,
    /// Only these types.
    pub types: TypeSet,
}

/// Where live events go through.
#[derive(Debug)]
pub struct Hub {
    inner: Mutex<Inner>,
    /// Changes whenever there is something new, and closes with the hub.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Arc<Chunk>>,
    /// Number of the first chunk that is kept.
    first: u64,
    bytes: usize,
    /// Not handed out yet.
    open: Chunk,
    readers: HashMap<u64, Reader>,
    next_reader: u64,
    is_closed: bool,
}

/// Some lines, in the order in which they were written.
#[derive(Debug, Default)]
pub struct Chunk {
    lines: Vec<u8>,
    paths: Vec<u8>,
    /// The groups that entries name by their places here.
    groups: Vec<GroupName>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    group: usize,
    /// `None` for a hole.
    kind: Option<EventType>,
    time: WallTime,
    path: Range<usize>,
    line: Range<usize>,
}

#[derive(Debug)]
struct Reader {
    interest: Interest,
    next: u64,
    missed: Option<Missed>,
}

/// Lines that a reader asked for and was too slow to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// How many.
    pub count: u64,
    /// The time of the first.
    pub since: WallTime,
    /// The time of the last.
    pub until: WallTime,
}

/// What there is for a reader.
#[derive(Debug)]
pub enum Next {
    /// These lines.
    Lines(Arc<Chunk>),
    /// A hole before the next lines.
    Missed(Missed),
    /// Nothing yet.
    Nothing,
    /// There will be nothing more.
    End,
}

/// A reader's place; gives it up when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    reader: u64,
    changed: watch::Receiver<u64>,
    interest: Interest,
}

impl Interest {
    fn wants(&self, chunk: &Chunk, entry: &Entry) -> bool {
        let group = &chunk.groups[entry.group];
        let is_of_group = match &self.groups {
            Some(groups) => groups.contains(group),
            None => !group.is_alerts(),
        };
        let Some(kind) = entry.kind else {
            // Nobody knows what was lost in a hole.
            return is_of_group;
        };
        let path = &chunk.paths[entry.path.clone()];
        let is_below = |prefix: &Vec<u8>| is_at_or_below(path, prefix);
        is_of_group
            && self.types.contains(kind)
            && (self.paths.is_empty() || self.paths.iter().any(is_below))
    }
}

impl Chunk {
    fn size(&self) -> usize {
        self.lines.len() + self.paths.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Gives back what was reserved and is not used: a chunk is kept as long as anybody is behind.
    fn shrink(&mut self) {
        self.lines.shrink_to_fit();
        self.paths.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    fn group(&mut self, group: &GroupName) -> usize {
        let known = self.groups.iter().position(|known| known == group);
        known.unwrap_or_else(|| {
            self.groups.push(group.clone());
            self.groups.len() - 1
        })
    }

    /// The lines that are wanted; copied into `selected` unless all of them are.
    pub fn select<'a>(&'a self, interest: &Interest, selected: &'a mut Vec<u8>) -> &'a [u8] {
        let is_wanted = |entry: &&Entry| interest.wants(self, entry);
        if self.entries.iter().all(|entry| is_wanted(&entry)) {
            return &self.lines;
        }
        selected.clear();
        for entry in self.entries.iter().filter(is_wanted) {
            selected.extend_from_slice(&self.lines[entry.line.clone()]);
        }
        selected
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Hub {
    /// Takes a reader in: it gets everything that is told from here on. `None` when there are too many.
    pub fn subscribe(self: &Arc<Self>, interest: Interest) -> Option<Subscription> {
        let mut inner = self.lock();
        // What was told before is not for the new one.
        inner.close_chunk();
        if inner.readers.len() >= READERS || inner.is_closed {
            return None;
        }
        let reader = inner.next_reader;
        inner.next_reader += 1;
        let next = inner.end();
        inner.readers.insert(
            reader,
            Reader {
                interest: interest.clone(),
                next,
                missed: None,
            },
        );
        Some(Subscription {
            hub: self.clone(),
            reader,
            changed: self.changed.subscribe(),
            interest,
        })
    }

    /// Whether anybody listens; nothing need be told else.
    pub fn is_heard(&self) -> bool {
        !self.lock().readers.is_empty()
    }

    /// Tells a line: that of an event, or of a hole in a log.
    pub fn tell(&self, group: &GroupName, event: Option<&FileEvent>, time: WallTime, line: &[u8]) {
        let mut inner = self.lock();
        let open = &mut inner.open;
        let (line_at, path_at) = (open.lines.len(), open.paths.len());
        open.lines.extend_from_slice(line);
        if let Some(event) = event {
            open.paths.extend_from_slice(&event.path);
        }
        let entry = Entry {
            group: open.group(group),
            kind: event.map(|event| event.kind),
            time,
            path: path_at..open.paths.len(),
            line: line_at..open.lines.len(),
        };
        open.entries.push(entry);
        if open.lines.len() >= CHUNK {
            inner.close_chunk();
            self.announce(&inner);
        }
    }

    /// Lets readers see what was told.
    pub fn flush(&self) {
        let mut inner = self.lock();
        if !inner.open.entries.is_empty() {
            inner.close_chunk();
            self.announce(&inner);
        }
    }

    /// Says that nothing more will be told.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.close_chunk();
        inner.is_closed = true;
        self.announce(&inner);
    }

    /// How many listen.
    pub fn readers(&self) -> usize {
        self.lock().readers.len()
    }

    fn announce(&self, inner: &Inner) {
        let end = inner.end() + u64::from(inner.is_closed);
        self.changed.send_replace(end);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every field is valid between any two statements that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The number of the next chunk.
    fn end(&self) -> u64 {
        self.first + self.chunks.len() as u64
    }

    fn close_chunk(&mut self) {
        if self.readers.is_empty() {
            self.open = Chunk::default();
            self.forget_all();
            return;
        }
        if self.open.entries.is_empty() {
            return;
        }
        let mut chunk = std::mem::take(&mut self.open);
        chunk.shrink();
        self.bytes += chunk.size();
        self.chunks.push_back(Arc::new(chunk));
        while self.bytes > KEPT {
            self.drop_first();
        }
    }

    /// Gives up the oldest chunk, and notes for each reader that has not seen it what it misses.
    fn drop_first(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else {
            return;
        };
        self.bytes -= chunk.size();
        let gone = self.first;
        self.first += 1;
        for reader in self
            .readers
            .values_mut()
            .filter(|reader| reader.next == gone)
        {
            reader.next += 1;
            for entry in &chunk.entries {
                if reader.interest.wants(&chunk, entry) {
                    let missed = reader.missed.get_or_insert(Missed {
                        count: 0,
                        since: entry.time,
                        until: entry.time,
                    });
                    missed.count += 1;
                    missed.until = entry.time;
                }
            }
        }
    }

    /// Forgets what all readers have seen.
    fn forget_seen(&mut self) {
        let Some(slowest) = self.readers.values().map(|reader| reader.next).min() else {
            return self.forget_all();
        };
        while self.first < slowest
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.bytes -= chunk.size();
            self.first += 1;
        }
    }

    fn forget_all(&mut self) {
        self.first = self.end();
        self.chunks = VecDeque::new();
        self.bytes = 0;
    }
}

impl Subscription {
    /// What comes next; never waits.
    pub fn take_next(&mut self) -> Next {
        self.changed.mark_unchanged();
        let mut inner = self.hub.lock();
        let (first, is_closed) = (inner.first, inner.is_closed);
        let Some(reader) = inner.readers.get_mut(&self.reader) else {
            return Next::End;
        };
        if let Some(missed) = reader.missed.take() {
            return Next::Missed(missed);
        }
        let at = reader.next;
        let Some(chunk) = inner.chunks.get((at - first) as usize).cloned() else {
            return if is_closed { Next::End } else { Next::Nothing };
        };
        if let Some(reader) = inner.readers.get_mut(&self.reader) {
            reader.next = at + 1;
        }
        inner.forget_seen();
        Next::Lines(chunk)
    }

    /// Waits until [`Subscription::take_next`] may have something.
    pub async fn changed(&mut self) {
        // The hub lives as long as this.
        self.changed.changed().await.ok();
    }

    /// What was asked for.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        inner.readers.remove(&self.reader);
        inner.forget_seen();
    }
}

/// So many may listen at once.
const READERS: usize = 32;
/// Lines are handed out in pieces of about this size.
const CHUNK: usize = 64 * 1024;
/// So many bytes are kept for readers that are behind, all together.
const KEPT: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
