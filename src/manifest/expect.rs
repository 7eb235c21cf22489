//! What must be there: a manifest, brought forward by what the logs tell.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use super::{Manifest, Object, Tree, above, below};
use crate::event::{EventType, FileEvent, WallTime};
use crate::filters::scope::{Scope, is_at_or_below, trim_slashes};
use crate::log::alert::LOG_NAME as ALERTS;
use crate::log::dir::LogDir;
use crate::log::line::{LogLine, decode};
use crate::log::search::first_line_from;
use crate::log::source::Lines;

/// A state that follows the logs.
#[derive(Debug)]
pub struct Expected {
    /// What must be there.
    pub tree: Tree,
    scopes: Vec<Scope>,
    /// Whether a directory takes all that is below it along when it is renamed.
    is_plain: bool,
    /// Until then the manifest may know of it already, or in halves.
    blurred_until: WallTime,
    /// Until then the manifest knows of what was found out.
    told_until: WallTime,
    /// The last rename to a name that something else had: from where, to where, and when.
    replaced: Option<(Vec<u8>, Vec<u8>, WallTime)>,
}

impl Expected {
    /// Begins with a manifest, as far as it is about `scopes`.
    pub fn new(manifest: Manifest, scopes: Vec<Scope>, is_plain: bool) -> Self {
        let mut tree = manifest.tree;
        let covers = |path: &[u8], is_dir| scopes.iter().any(|scope| scope.covers(path, is_dir));
        tree.retain(|path, object| covers(path, object.is_dir()));
        Self {
            tree,
            scopes,
            is_plain,
            blurred_until: manifest.until,
            told_until: manifest.told,
            replaced: None,
        }
    }

    /// Goes on by an event.
    pub fn take(&mut self, event: &FileEvent) {
        let at = event.time;
        if event.inferred.is_some() && at <= self.told_until {
            return;
        }
        match event.kind {
            EventType::Create if self.covers(&event.path, event.is_dir) => {
                let object = Object::told(event.is_dir, at);
                self.tree.insert(event.path.as_slice().into(), object);
            }
            EventType::MovedFrom | EventType::MovedTo => {
                let (from, to) = match event.kind {
                    EventType::MovedFrom => (Some(&event.path), event.other_path.as_ref()),
                    _ => (event.other_path.as_ref(), Some(&event.path)),
                };
                self.rename(from, to, event.is_dir, at);
            }
            EventType::Delete => self.remove(&event.path),
            // A file that was replaced by a rename ends under a name that belongs to another one by then, so a
            // DELETE_SELF takes no name away.
            EventType::CloseWrite
            | EventType::Modify
            | EventType::Attrib
            | EventType::DeleteSelf
            | EventType::MoveSelf => self.touch(&event.path, at),
            _ => {}
        }
    }

    fn rename(&mut self, from: Option<&Vec<u8>>, to: Option<&Vec<u8>>, is_dir: bool, at: WallTime) {
        if let (Some(from), Some(to)) = (from, to) {
            if self.may_be_exchange(from, to, at) {
                return self.close_both(from, to);
            }
            let is_taken = self.tree.contains_key(&to[..]);
            let is_doubtful = is_taken && self.is_doubtful(from);
            if is_taken && (is_doubtful || self.tree.contains_key(&from[..])) {
                self.replaced = Some((from.clone(), to.clone(), at));
            }
            if is_doubtful {
                return self.close(to);
            }
        }
        let moved = from.and_then(|from| self.tree.remove(&from[..]));
        let mut taken = Vec::new();
        if let Some(from) = from {
            let children: Vec<Box<[u8]>> = below(&self.tree, from).cloned().collect();
            for child in children {
                if let Some(object) = self.tree.remove(&child) {
                    taken.push((child[from.len()..].to_vec(), object));
                }
            }
        }
        let Some(to) = to.filter(|to| self.covers(to, is_dir)) else {
            return;
        };
        let Some(mut object) = moved else {
            // Both sides of a rename have a line; this one may be the second.
            if self.tree.contains_key(&to[..]) {
                return self.touch(to, at);
            }
            let mut object = Object::told(is_dir, at);
            object.is_closed = is_dir;
            self.tree.insert(to.as_slice().into(), object);
            return;
        };
        self.remove(to);
        object.touched = at.0;
        let is_clear = self.is_plain && at > self.blurred_until;
        if is_dir && !is_clear {
            object.is_closed = true;
            taken.clear();
            if let Some(from) = from.filter(|_| at <= self.blurred_until) {
                self.tree.insert(from.as_slice().into(), Object::closed());
            }
        }
        self.tree.insert(to.as_slice().into(), object);
        for (rest, object) in taken {
            self.tree.insert([&to[..], &rest].concat().into(), object);
        }
    }

    /// An exchange of two names is told as a rename there and one back, which may as well be just that: it is not
    /// known what has the names then, nor whether both are taken.
    fn may_be_exchange(&self, from: &[u8], to: &[u8], at: WallTime) -> bool {
        self.replaced.as_ref().is_some_and(|(before, name, when)| {
            before == to && name == from && at.0 - when.0 < AT_ONCE
        })
    }

    fn close_both(&mut self, one: &[u8], other: &[u8]) {
        self.close(one);
        self.close(other);
    }

    fn close(&mut self, path: &[u8]) {
        self.remove(path);
        self.tree.insert(path.into(), Object::closed());
    }

    /// Whether nothing is known of a directory above.
    fn is_doubtful(&self, path: &[u8]) -> bool {
        above(path).any(|dir| self.tree.get(dir).is_some_and(|object| object.is_closed))
    }

    fn remove(&mut self, path: &[u8]) {
        self.tree.remove(path);
        let children: Vec<Box<[u8]>> = below(&self.tree, path).cloned().collect();
        for child in children {
            self.tree.remove(&child);
        }
    }

    fn touch(&mut self, path: &[u8], at: WallTime) {
        if let Some(object) = self.tree.get_mut(path) {
            object.touched = object.touched.max(at.0);
        }
    }

    /// Whether a path belongs to what is compared.
    pub fn covers(&self, path: &[u8], is_dir: bool) -> bool {
        self.scopes.iter().any(|scope| scope.covers(path, is_dir))
    }
}

/// Paths of which the logs tell from some moment on.
#[derive(Debug, Default)]
pub struct Touched {
    paths: BTreeSet<Vec<u8>>,
    dirs: Vec<Vec<u8>>,
}

impl Touched {
    /// Adds what an event is about.
    pub fn take(&mut self, event: &FileEvent) {
        for path in [Some(&event.path), event.other_path.as_ref()]
            .into_iter()
            .flatten()
        {
            if event.is_dir && event.other_path.is_some() {
                self.dirs.push(path.clone());
            } else {
                self.paths.insert(path.clone());
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.paths.len() + self.dirs.len()
    }

    /// Whether something was told of a path.
    pub fn has(&self, path: &[u8]) -> bool {
        self.paths.contains(path)
            || self
                .dirs
                .iter()
                .any(|dir| is_at_or_below(path, trim_slashes(dir)))
    }
}

/// Gives the events of all logs from a time on to `each`, in their order, for as long as it wants more. The log of
/// every process comes last where times are the same: it has them all.
pub fn events_from(
    dir: &LogDir,
    from: WallTime,
    mut each: impl FnMut(&FileEvent) -> bool,
) -> io::Result<()> {
    let mut names = dir.log_names()?;
    names.retain(|name| name != ALERTS);
    names.sort_by_key(|name| (name == GLOBAL, Reverse(name.clone())));
    let mut logs = Vec::new();
    for name in names {
        if let Some(file) = dir.open_log(&name)? {
            let end = file.metadata()?.len();
            let start = first_line_from(&file, end, from)?;
            let mut log = Log {
                lines: Lines::new(file, start, end, BLOCK),
                next: None,
            };
            log.advance()?;
            logs.push(log);
        }
    }
    loop {
        let waiting = logs.iter_mut().filter(|log| log.next.is_some());
        let Some(first) = waiting.min_by_key(|log| log.next.as_ref().map(|event| event.time))
        else {
            return Ok(());
        };
        if let Some(event) = first.next.take()
            && !each(&event)
        {
            return Ok(());
        }
        first.advance()?;
    }
}

struct Log {
    lines: Lines<File>,
    next: Option<FileEvent>,
}

impl Log {
    fn advance(&mut self) -> io::Result<()> {
        while let Some(line) = self.lines.next_line()? {
            if let Some(LogLine::Event(event)) = decode(line.bytes) {
                self.next = Some(event);
                break;
            }
        }
        Ok(())
    }
}

/// The two halves of an exchange lie within so many nanoseconds.
const AT_ONCE: i64 = 100_000_000;
const GLOBAL: &str = "_global_log.jsonl";
const BLOCK: usize = 64 * 1024;
