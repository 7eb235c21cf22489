//! What must have happened between what was expected and what was found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::expect::{Expected, Touched};
use super::order::in_order;
use super::{Kind, Object, Tree, above};
use crate::event::{EventType, WallTime};
use crate::filters::scope::{is_at_or_below, trim_slashes};

/// The times that a comparison goes by.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// When the manifest was made.
    pub manifest: WallTime,
    /// Since when it is possible that something happened and was not recorded.
    pub since: WallTime,
    /// From when on everything is recorded again.
    pub until: WallTime,
}

/// Something that must have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What: one of CREATE, DELETE, MOVED_TO, CLOSE_WRITE and ATTRIB. MOVED_TO stands for both sides.
    pub kind: EventType,
    /// To what.
    pub path: Vec<u8>,
    /// Of a rename, the name before.
    pub from: Option<Vec<u8>>,
    /// Its size, of what is gone the last one.
    pub size: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// After which time.
    pub since: WallTime,
}

/// Compares. `is_exact` says whether the logs tell of every name that comes and goes there.
pub fn compare(
    expected: &Expected,
    found: &Tree,
    touched: &Touched,
    bounds: Bounds,
    is_exact: &dyn Fn(&[u8], bool) -> bool,
    is_plain: bool,
) -> Vec<Found> {
    let mut comparison = Comparison {
        expected,
        found,
        touched,
        bounds,
        is_exact,
        is_plain,
        closed: BTreeSet::new(),
        left: inodes_that_left(&expected.tree, found),
        gone: BTreeMap::new(),
        fresh: BTreeMap::new(),
        moves: Vec::new(),
        made: BTreeMap::new(),
        rest: Vec::new(),
        freed: BTreeSet::new(),
    };
    comparison.sort();
    comparison.find_renames();
    comparison.told()
}

struct Comparison<'a> {
    expected: &'a Expected,
    found: &'a Tree,
    touched: &'a Touched,
    bounds: Bounds,
    is_exact: &'a dyn Fn(&[u8], bool) -> bool,
    is_plain: bool,
    /// Directories of which nothing can be said.
    closed: BTreeSet<&'a [u8]>,
    /// What has a name of which only a log tells, and had another one.
    left: HashSet<u64>,
    /// Expected and not found; true where something else has the name now.
    gone: BTreeMap<&'a [u8], (&'a Object, bool)>,
    /// Found and not expected; true where something else had the name.
    fresh: BTreeMap<&'a [u8], (&'a Object, bool)>,
    /// Directories that were renamed, in the order of their old names.
    moves: Vec<(&'a [u8], Vec<u8>)>,
    /// What came to be under a name.
    made: BTreeMap<&'a [u8], Found>,
    /// Changes of what stayed.
    rest: Vec<Found>,
    /// Names that became free: what had them was deleted or has another name now.
    freed: BTreeSet<Vec<u8>>,
}

impl<'a> Comparison<'a> {
    /// Puts each path where it belongs: there as before, gone, or fresh.
    fn sort(&mut self) {
        let (expected, found) = (&self.expected.tree, self.found);
        let closed = expected.iter().chain(found);
        self.closed = closed
            .filter(|(_, object)| object.is_closed)
            .map(|(path, _)| &path[..])
            .collect();
        for (path, was) in expected {
            let is = found.get(path);
            // What is in another directory now is not what nothing was known of.
            let is_forgotten = was.is_closed && self.was_elsewhere(path);
            if is_forgotten && is.is_none_or(|is| !is.is_closed) {
                self.closed.remove(&path[..]);
            }
            match is {
                _ if self.is_in_doubt(path) => {}
                _ if is_forgotten => {
                    self.fresh.extend(is.map(|is| (&path[..], (is, false))));
                }
                None => {
                    self.gone.insert(path, (was, false));
                }
                Some(is) if self.is_another(was, is) || self.was_elsewhere(path) => {
                    self.gone.insert(path, (was, true));
                    self.fresh.insert(path, (is, true));
                }
                Some(is) => self.rest.extend(self.change(path, was, is)),
            }
        }
        for (path, is) in found {
            let is_new = !expected.contains_key(path) && self.expected.covers(path, is.is_dir());
            if is_new && !self.is_in_doubt(path) {
                self.fresh.insert(path, (is, false));
            }
        }
    }

    /// Whether nothing may be said of a path: something was recorded while it was looked at, or it is, or lies
    /// in, what could not be looked at.
    fn is_in_doubt(&self, path: &[u8]) -> bool {
        let is_closed = |path: &[u8]| self.closed.contains(path);
        self.touched.has(path)
            || (!self.closed.is_empty() && (is_closed(path) || above(path).any(is_closed)))
    }

    /// Whether a name stands for another object than before.
    fn is_another(&self, was: &Object, is: &Object) -> bool {
        let is_same_kind = match was.kind {
            Kind::NoDir => is.kind != Kind::Dir,
            kind => kind == is.kind,
        };
        if !is_same_kind {
            return true;
        }
        if was.ino == 0 {
            let is_new =
                is.birth > was.touched.max(self.bounds.since.0) && is.birth <= self.bounds.until.0;
            return is_new || self.left.contains(&is.ino);
        }
        was.ino != is.ino || (was.birth != 0 && is.birth != 0 && was.birth != is.birth)
    }

    /// Whether it was in a directory whose name another one has now. What is the same there came back to its name.
    fn was_elsewhere(&self, path: &[u8]) -> bool {
        let dir = above(path).next().and_then(|dir| self.gone.get(dir));
        dir.is_some_and(|(_, has_other)| *has_other)
    }

    /// Whether a time lies where something may have happened unseen.
    fn is_unseen(&self, time: i64) -> bool {
        time > self.bounds.since.0 - TICK && time <= self.bounds.until.0
    }

    /// What must have been done to an object that is still there.
    fn change(&self, path: &[u8], was: &Object, is: &Object) -> Option<Found> {
        let is_known = was.touched == i64::MIN && was.ino != 0;
        let since = self.bounds.since.0;
        let least = if is_known {
            since - TICK
        } else {
            was.touched.max(since)
        };
        let is_late = |time: i64| time > least && time <= self.bounds.until.0;
        // Where the clock was set back, a later time is a smaller one.
        let is_back = is_known && is.ctime < was.ctime;
        if !is_late(is.ctime) && !is_back || (is_known && is.ctime == was.ctime) {
            return None;
        }
        let is_written = if is_known {
            (was.size, was.mtime) != (is.size, is.mtime)
        } else {
            is_late(is.mtime)
        };
        let kind = match (is.is_dir(), is_written) {
            // Its entries tell what changed in it.
            (true, true) => return None,
            (true, false) if is.mtime > least => return None,
            (false, true) => EventType::CloseWrite,
            (_, false) => EventType::Attrib,
        };
        Some(self.of(kind, path, is))
    }

    fn of(&self, kind: EventType, path: &[u8], object: &Object) -> Found {
        Found {
            kind,
            path: path.to_vec(),
            from: None,
            size: if object.is_dir() { 0 } else { object.size },
            is_dir: object.is_dir(),
            since: self.bounds.since,
        }
    }

    /// Finds what has another name now. The children of a renamed directory are compared under its new name.
    fn find_renames(&mut self) {
        let mut by_inode: HashMap<u64, Vec<&'a [u8]>> = HashMap::new();
        for (path, (object, _)) in self.fresh.iter().rev() {
            by_inode.entry(object.ino).or_default().push(path);
        }
        let gone: Vec<(&'a [u8], &'a Object)> = self
            .gone
            .iter()
            .map(|(path, (was, _))| (*path, *was))
            .collect();
        for (path, was) in gone {
            let name = self.name_now(path);
            if name != path
                && let Some((at, is)) = self.found.get_key_value(&name[..])
                && !self.is_another(was, is)
                && self.fresh.remove(&at[..]).is_some()
            {
                self.gone.remove(path);
                self.freed.insert(path.to_vec());
                let change = self.change(&name, was, is);
                self.rest.extend(change);
                continue;
            }
            // One of which only a log tells has no number to be found by.
            let is_told_apart = was.ino != 0 && !self.was_overtaken(path, &name);
            let Some(paths) = by_inode.get_mut(&was.ino).filter(|_| is_told_apart) else {
                continue;
            };
            let is_it = |to: &&'a [u8]| {
                **to != name[..]
                    && self
                        .fresh
                        .get(to)
                        .is_some_and(|(is, _)| is_same(was, is) && self.may_be_made(to, is, true))
            };
            let Some(at) = paths.iter().rposition(is_it) else {
                continue;
            };
            let to = paths.remove(at);
            let Some((is, _)) = self.fresh.remove(to) else {
                continue;
            };
            self.gone.remove(path);
            self.freed.insert(path.to_vec());
            self.freed.insert(name.clone());
            let mut rename = self.of(EventType::MovedTo, to, is);
            rename.from = Some(name);
            self.made.insert(to, rename);
            if was.is_dir() {
                self.moves.push((path, to.to_vec()));
            } else if (was.size, was.mtime) != (is.size, is.mtime)
                && let Some(change) = self.change(to, was, is)
                && change.kind == EventType::CloseWrite
            {
                self.rest.push(change);
            }
        }
    }

    /// Whether its directory ended, and another one has the names of both: what left that name is not what a reader
    /// would find there.
    fn was_overtaken(&self, path: &[u8], name: &[u8]) -> bool {
        name == path && self.found.contains_key(path) && self.was_elsewhere(path)
    }

    /// What an expected path is called by now, as far as directories above it were renamed.
    fn name_now(&self, path: &[u8]) -> Vec<u8> {
        let mut moves = self.moves.iter().rev();
        match moves.find(|(from, _)| is_at_or_below(path, trim_slashes(from))) {
            Some((from, to)) => [to, &path[from.len()..]].concat(),
            None => path.to_vec(),
        }
    }

    /// Whether it can be said that something came to be here unseen.
    fn may_be_made(&self, path: &[u8], is: &Object, is_rename: bool) -> bool {
        let is_known = (self.is_exact)(path, is.is_dir()) && (is_rename || !self.is_moved_in(path));
        is_known || self.is_unseen(is.ctime)
    }

    /// Whether it lies in a renamed directory that may have held it before, without belonging to what is watched.
    fn is_moved_in(&self, path: &[u8]) -> bool {
        !self.is_plain && self.moves.iter().any(|(_, to)| is_at_or_below(path, to))
    }

    fn told(mut self) -> Vec<Found> {
        let mut replaced = Vec::new();
        let mut ended = Vec::new();
        for (path, (was, has_other)) in std::mem::take(&mut self.gone) {
            // In a renamed directory something else may have its name by now: it ended before that.
            let is_replaced = has_other || self.found.contains_key(&self.name_now(path)[..]);
            if let Some(deletion) = self.deletion(path, was, is_replaced) {
                self.freed.insert(deletion.path.clone());
                self.freed.insert(self.name_now(path));
                match is_replaced {
                    true => replaced.push(deletion),
                    false => ended.push((deletion, self.name_now(path) == path)),
                }
            }
        }
        for (path, (is, is_replacing)) in std::mem::take(&mut self.fresh) {
            let is_freed = !is_replacing || self.freed.contains(path);
            let is_below_new = above(path).next().is_some_and(|dir| {
                let made = self.made.get(dir);
                made.is_some_and(|made| made.kind == EventType::Create)
            });
            if is_freed && (is_below_new || self.may_be_made(path, is, false)) {
                let creation = self.of(EventType::Create, path, is);
                self.made.insert(path, creation);
            }
        }
        // What ended within something that was replaced has to end before it.
        let (before, after): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(gone, was_there)| {
            let is_above = |dir: &Found| is_at_or_below(&gone.path, &dir.path);
            *was_there && replaced.iter().any(is_above)
        });
        let before = before.into_iter().map(|(gone, _)| gone);
        replaced.extend(before);
        replaced.sort_by(|one, other| other.path.cmp(&one.path));
        let mut told = replaced;
        told.extend(in_order(self.made));
        self.rest.sort_by(|one, other| one.path.cmp(&other.path));
        told.extend(self.rest);
        let mut after: Vec<Found> = after.into_iter().map(|(gone, _)| gone).collect();
        after.sort_by(|one, other| other.path.cmp(&one.path));
        told.extend(after);
        told
    }

    fn deletion(&self, path: &[u8], was: &Object, is_replaced: bool) -> Option<Found> {
        let name = self.name_now(path);
        let is_watched =
            self.expected.covers(path, was.is_dir()) && self.expected.covers(&name, was.is_dir());
        if !is_watched {
            return None;
        }
        let told = if is_replaced { path } else { &name };
        let mut deletion = self.of(EventType::Delete, told, was);
        if !(self.is_exact)(path, was.is_dir()) {
            // That something went shows in the directory that it was in, if that is still there.
            let parent = above(&name).next();
            let parent_is = parent.and_then(|parent| self.found.get(parent));
            let is_unseen = match (parent_is, self.found.get(&name[..])) {
                (_, Some(other)) if is_replaced => self.is_unseen(other.ctime),
                (Some(parent), _) => self.is_unseen(parent.mtime),
                (None, _) => parent.is_some_and(|parent| {
                    self.freed.contains(parent) || !self.expected.tree.contains_key(parent)
                }),
            };
            if !is_unseen {
                return None;
            }
            deletion.since = self.bounds.manifest.min(self.bounds.since);
        }
        Some(deletion)
    }
}

/// The inode numbers of what is found where something is expected that has no number, and is not any more where it is
/// expected itself.
fn inodes_that_left(expected: &Tree, found: &Tree) -> HashSet<u64> {
    let unnumbered = expected.iter().filter(|(_, was)| was.ino == 0);
    let there = unnumbered.filter_map(|(path, _)| found.get(path));
    let there: HashSet<u64> = there.map(|is| is.ino).collect();
    let is_there = |path| found.get(path).map(|is| is.ino);
    let known = expected.iter().filter(|(_, was)| there.contains(&was.ino));
    let left = known.filter(|(path, was)| was.ino != 0 && is_there(*path) != Some(was.ino));
    left.map(|(_, was)| was.ino).collect()
}

/// Whether these are one object under two names. Inode numbers are used again.
fn is_same(was: &Object, is: &Object) -> bool {
    let is_kind = was.kind == is.kind || (was.kind == Kind::NoDir && !is.is_dir());
    let is_birth = if was.birth != 0 && is.birth != 0 {
        was.birth == is.birth
    } else {
        was.mtime == is.mtime
    };
    is_kind && was.ino == is.ino && is_birth
}

/// Filesystems take their times from a clock that stands still for so many nanoseconds.
const TICK: i64 = 10_000_000;
