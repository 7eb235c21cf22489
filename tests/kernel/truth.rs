//! What the log must say, collected while the operations are done, and the comparison with what it says.
//!
//! The kernel merges unread records of one process on one name or one object, so a type that repeats may
//! be told fewer times than it happened, never more. All else is compared exactly.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::lines::Line;

/// An object from its creation to its end, whatever it is called meanwhile.
pub(crate) type Object = usize;

/// Later than anything else that happens to an object.
pub(crate) const GONE: u32 = u32::MAX;

/// Types that the kernel tells of an object without its name: on a filesystem
/// that takes no filesystem mark they are told only where an inode mark stands.
const OF_ITSELF: [&str; 3] = ["ATTRIB", "DELETE_SELF", "MOVE_SELF"];

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: &'static str,
    path: Vec<u8>,
    other: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    least: u32,
    most: u32,
    /// Objects that can be meant, with the part of their life in which that can be.
    who: Vec<(Object, u32, u32)>,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    slots: HashMap<Key, Slot>,
    /// For each object and type that may be merged: its keys, of which one at least must be told.
    either: HashMap<(Object, &'static str), Vec<Key>>,
    /// What happened where nobody watches: of what kind, and the last name in its path.
    outside: HashSet<(&'static str, Vec<u8>)>,
    /// Of what kind, and of which object: a merged record may have been told there.
    waived: HashSet<(Object, &'static str)>,
    /// The filesystem does not tell what happens to an object itself.
    pub(crate) lacks_self: bool,
    /// The kernel does not join both sides of a rename.
    pub(crate) lacks_pairs: bool,
    /// The same, line by line, for those who judge each operation on its own.
    dues: Option<Vec<Due>>,
}

/// Whether a line has to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Must,
    /// Unless it was merged into another of the same object and type.
    Some,
    /// In the place of another of the same object and type.
    Instead,
    May,
}

/// A line that an operation gives, or may give.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) kind: &'static str,
    pub(crate) path: Vec<u8>,
    pub(crate) other: Option<Vec<u8>>,
    pub(crate) object: Object,
    pub(crate) need: Need,
}

impl Truth {
    /// One that keeps what each operation gives, to be taken out after it.
    pub(crate) fn of_single_operations() -> Self {
        Self {
            dues: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// What has come together since the last call.
    pub(crate) fn take_dues(&mut self) -> Vec<Due> {
        self.dues.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Says whether it was kept apart.
    fn keep(
        &mut self,
        need: Need,
        kind: &'static str,
        (path, other): (&[u8], Option<&[u8]>),
        object: Object,
    ) -> bool {
        let need = if self.lacks_self && OF_ITSELF.contains(&kind) && need != Need::Instead {
            Need::May
        } else {
            need
        };
        let Some(dues) = &mut self.dues else {
            return false;
        };
        dues.push(Due {
            kind,
            path: path.to_vec(),
            other: other.map(<[u8]>::to_vec),
            object,
            need,
        });
        true
    }

    /// Exactly one more line of this kind.
    pub(crate) fn must(
        &mut self,
        kind: &'static str,
        path: &[u8],
        other: Option<&[u8]>,
        object: Object,
        phase: u32,
    ) {
        let other = other.filter(|_| !self.lacks_pairs);
        if self.keep(Need::Must, kind, (path, other), object) {
            return;
        }
        let key = Key {
            kind,
            path: path.to_vec(),
            other: other.map(<[u8]>::to_vec),
        };
        let slot = self.slots.entry(key).or_default();
        slot.least += 1;
        slot.most += 1;
        slot.who.push((object, phase, phase));
    }

    /// One more line of this kind, unless it was merged into another of the same object.
    pub(crate) fn some(
        &mut self,
        kind: &'static str,
        path: &[u8],
        object: Object,
        from: u32,
        to: u32,
    ) {
        if !self.keep(Need::Some, kind, (path, None), object) {
            self.either(kind, path, object, from, to);
        }
    }

    /// A line that comes in the place of another of the same object, when that was merged.
    pub(crate) fn instead(
        &mut self,
        kind: &'static str,
        path: &[u8],
        object: Object,
        from: u32,
        to: u32,
    ) {
        if !self.keep(Need::Instead, kind, (path, None), object) {
            self.either(kind, path, object, from, to);
        }
    }

    fn either(&mut self, kind: &'static str, path: &[u8], object: Object, from: u32, to: u32) {
        let key = Key {
            kind,
            path: path.to_vec(),
            other: None,
        };
        let slot = self.slots.entry(key.clone()).or_default();
        slot.most += 1;
        slot.who.push((object, from, to));
        self.either.entry((object, kind)).or_default().push(key);
    }

    /// A line that may come or not.
    pub(crate) fn may(
        &mut self,
        kind: &'static str,
        path: &[u8],
        object: Object,
        from: u32,
        to: u32,
    ) {
        if self.keep(Need::May, kind, (path, None), object) {
            return;
        }
        let key = Key {
            kind,
            path: path.to_vec(),
            other: None,
        };
        let slot = self.slots.entry(key).or_default();
        slot.most += 1;
        slot.who.push((object, from, to));
    }

    /// Something happened where nobody watches. When its place is one of two, the log may show the other one.
    pub(crate) fn outside(
        &mut self,
        kind: &'static str,
        (path, other): (&[u8], Option<&[u8]>),
        object: Object,
    ) {
        if self.keep(Need::May, kind, (path, other), object) {
            return;
        }
        self.outside.insert((kind, name_of(path)));
        self.waived.insert((object, kind));
    }

    /// Lets lines of other types come or not.
    #[allow(dead_code, reason = "for what has fewer types than fsmon")]
    pub(crate) fn ask_only(&mut self, kinds: &[&str]) {
        for (key, slot) in &mut self.slots {
            slot.least *= u32::from(kinds.contains(&key.kind));
        }
        self.either.retain(|(_, kind), _| kinds.contains(kind));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        // Objects of different actors are numbered apart by the caller.
        for (key, slot) in other.slots {
            let mine = self.slots.entry(key).or_default();
            mine.least += slot.least;
            mine.most += slot.most;
            mine.who.extend(slot.who);
        }
        self.either.extend(other.either);
        self.outside.extend(other.outside);
        self.waived.extend(other.waived);
    }

    /// Panics with the differences when `lines` are not what happened.
    pub(crate) fn check(&self, lines: &[Line]) {
        self.compare(lines).panic_if_any(lines.len());
    }

    /// The differences between `lines` and what happened.
    pub(crate) fn compare(&self, lines: &[Line]) -> Report {
        let least: usize = self.slots.values().map(|slot| slot.least as usize).sum();
        let mut report = Report {
            due: least + self.either.len(),
            ..Report::default()
        };
        let mut seen: HashMap<Key, u32> = HashMap::with_capacity(self.slots.len());
        let mut reached: HashMap<Object, (u32, usize)> = HashMap::new();
        for (number, line) in lines.iter().enumerate() {
            let other = line.other.clone().filter(|_| !self.lacks_pairs);
            let key = Key {
                kind: line.kind,
                path: line.path.clone(),
                other,
            };
            let Some(slot) = self.slots.get(&key) else {
                let what = (line.kind, name_of(&line.path));
                if !line.is_adrift || !self.outside.contains(&what) {
                    report.add("never happened", line.show());
                }
                continue;
            };
            let count = seen.entry(key).or_default();
            *count += 1;
            if *count > slot.most {
                report.add("told too often", line.show());
            }
            let object = slot.who[0].0;
            if slot.who.iter().any(|(who, ..)| *who != object) {
                continue;
            }
            let (phase, at) = reached.entry(object).or_insert((0, number));
            match slot
                .who
                .iter()
                .filter(|(.., to)| to >= phase)
                .map(|(_, from, _)| *from)
                .min()
            {
                Some(from) if from > *phase => (*phase, *at) = (from, number),
                Some(_) => {}
                None => report.add(
                    "told too late",
                    format!("{}\n      after {}", line.show(), lines[*at].show()),
                ),
            }
        }
        self.missing(&seen, &mut report);
        report
    }

    fn missing(&self, seen: &HashMap<Key, u32>, report: &mut Report) {
        for (key, slot) in &self.slots {
            let optional = self.lacks_self && OF_ITSELF.contains(&key.kind);
            let count = seen.get(key).copied().unwrap_or(0);
            for _ in (count..slot.least).take_while(|_| !optional) {
                report.add(
                    "missing",
                    format!("{} (told {count} of {} times)", key.show(), slot.least),
                );
            }
        }
        for ((object, kind), keys) in &self.either {
            let optional = self.lacks_self && OF_ITSELF.contains(kind)
                || self.waived.contains(&(*object, *kind));
            if !optional && !keys.iter().any(|key| seen.contains_key(key)) {
                report.add("missing", keys[0].show());
            }
        }
    }
}

fn name_of(path: &[u8]) -> Vec<u8> {
    path.rsplit(|byte| *byte == b'/').next().unwrap().to_vec()
}

impl Key {
    fn show(&self) -> String {
        let mut text = format!("{} \"{}\"", self.kind, self.path.escape_ascii());
        if let Some(other) = &self.other {
            write!(text, " <-> \"{}\"", other.escape_ascii()).unwrap();
        }
        text
    }
}

/// Differences by kind: how many, and the first of them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) kinds: Vec<(&'static str, usize, Vec<String>)>,
    /// How many lines there must be at least, where that was counted.
    pub(crate) due: usize,
}

impl Report {
    const SHOWN: usize = 20;

    pub(crate) fn add(&mut self, kind: &'static str, what: String) {
        let at = self
            .kinds
            .iter()
            .position(|(known, ..)| *known == kind)
            .unwrap_or_else(|| {
                self.kinds.push((kind, 0, Vec::new()));
                self.kinds.len() - 1
            });
        self.kinds[at].1 += 1;
        if self.kinds[at].2.len() < Self::SHOWN {
            self.kinds[at].2.push(what);
        }
    }

    /// The differences in words, if there are any.
    pub(crate) fn text(&self, lines: usize) -> Option<String> {
        let due = match self.due {
            0 => String::new(),
            due => format!(" of at least {due}"),
        };
        let mut text = format!("the log ({lines} lines{due}) is not what happened:\n");
        for (kind, count, first) in &self.kinds {
            writeln!(text, "  {kind}: {count}").unwrap();
            for what in first {
                writeln!(text, "    {what}").unwrap();
            }
        }
        (!self.kinds.is_empty()).then_some(text)
    }

    pub(crate) fn panic_if_any(&self, lines: usize) {
        if let Some(text) = self.text(lines) {
            panic!("{text}");
        }
    }
}

/// Checks that no directory of `lines` is told of before its own creation or after its end
/// through what lies in it; for trees that are not renamed.
pub(crate) fn check_tree_order(lines: &[Line]) {
    let mut report = Report::default();
    let mut state: HashMap<&[u8], &'static str> = HashMap::new();
    let made: HashSet<&[u8]> = lines
        .iter()
        .filter(|line| line.kind == "CREATE")
        .map(|line| line.path.as_slice())
        .collect();
    let parents: HashSet<&[u8]> = lines.iter().map(parent).collect();
    for line in lines {
        let is_named = line.kind == "CREATE" || line.kind == "DELETE";
        if is_named && !line.is_dir && parents.contains(line.path.as_slice()) {
            report.add("a directory that is told as a file", line.show());
        }
        let parent = parent(line);
        match state.get(parent) {
            // An object ends with its last user, which may be long after its name and its directory.
            Some(&"DELETE") if line.kind == "DELETE_SELF" => {}
            Some(&"DELETE") => report.add("told after its directory was deleted", line.show()),
            None if made.contains(parent) => {
                report.add("told before its directory was created", line.show())
            }
            _ => {}
        }
        if line.kind == "CREATE" || line.kind == "DELETE" {
            state.insert(&line.path, line.kind);
        }
    }
    report.panic_if_any(lines.len());
}

/// The directory that the path of a line is in.
fn parent(line: &Line) -> &[u8] {
    let slash = line.path.iter().rposition(|byte| *byte == b'/');
    &line.path[..slash.unwrap_or(0)]
}
