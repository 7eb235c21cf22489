use std::collections::BTreeSet;

use proptest::prelude::*;

use super::compare::{Bounds, Found, compare};
use super::expect::{Expected, Touched};
use super::*;
use crate::event::{Attribution, EventType, FileEvent};
use crate::filters::scope::is_at_or_below;

#[test]
fn directories_above_a_path_end_with_the_root() {
    let all = |path: &'static str| above(path.as_bytes()).collect::<Vec<_>>();
    assert_eq!(all("/a/b/c"), [&b"/a/b"[..], b"/a", b"/"]);
    assert_eq!(all("/a"), [b"/"]);
    assert_eq!(all("/"), Vec::<&[u8]>::new());
}

#[test]
fn what_is_below_a_directory_is_not_what_only_begins_like_it() {
    let paths: [&[u8]; 6] = [b"/a", b"/a-b", b"/a/b", b"/a/b/c", b"/a0", b"/ab"];
    let tree: Tree = paths
        .iter()
        .map(|path| ((*path).into(), Object::closed()))
        .collect();
    let found: Vec<&[u8]> = below(&tree, b"/a").map(|path| &path[..]).collect();
    assert_eq!(found, [&b"/a/b"[..], b"/a/b/c"]);
    assert_eq!(below(&tree, b"/").count(), 6);
}

/// A filesystem in memory, which counts the nanoseconds and tells what is done as a log would.
#[derive(Clone)]
struct Model {
    tree: Tree,
    now: i64,
    inodes: u64,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Create,
    MakeDir,
    Write,
    SetMode,
    Remove,
    Rename,
    Replace,
    Exchange,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            tree: Tree::new(),
            now: 0,
            inodes: 1,
        };
        model.make(ROOT, Kind::Dir);
        model
    }

    fn make(&mut self, path: &[u8], kind: Kind) {
        self.inodes += 1;
        let object = Object {
            kind,
            is_closed: false,
            ino: self.inodes,
            birth: self.now,
            size: 0,
            mtime: self.now,
            ctime: self.now,
            touched: i64::MIN,
        };
        self.tree.insert(path.into(), object);
        self.changed_in(path);
    }

    fn changed_in(&mut self, path: &[u8]) {
        let now = self.now;
        if let Some(dir) = above(path).next().and_then(|dir| self.tree.get_mut(dir)) {
            (dir.mtime, dir.ctime) = (now, now);
        }
    }

    /// Takes an object and all that is below it away.
    fn take_all(&mut self, path: &[u8]) -> Vec<(Vec<u8>, Object)> {
        let mut all: Vec<Box<[u8]>> = below(&self.tree, path).cloned().collect();
        all.insert(0, path.into());
        let taken = all.into_iter().map(|old| {
            let object = self.tree.remove(&old).unwrap();
            (old[path.len()..].to_vec(), object)
        });
        taken.collect()
    }

    /// Puts it under another name.
    fn put_all(&mut self, path: &[u8], all: Vec<(Vec<u8>, Object)>) {
        for (rest, mut object) in all {
            if rest.is_empty() {
                object.ctime = self.now;
            }
            self.tree.insert([path, &rest].concat().into(), object);
        }
    }

    /// Does something if that is possible, and returns what a log says of it.
    fn act(&mut self, deed: Deed, path: &[u8], other: &[u8]) -> Vec<FileEvent> {
        self.now += STEP;
        let now = self.now;
        let has_place = |path: &[u8]| {
            let dir = above(path).next().and_then(|dir| self.tree.get(dir));
            !self.tree.contains_key(path) && dir.is_some_and(Object::is_dir)
        };
        let is_dir = self.tree.get(path).map(Object::is_dir);
        match (deed, is_dir) {
            (Deed::Create, None) if has_place(path) => {
                self.make(path, Kind::File);
                vec![event(now, EventType::Create, path, None, false)]
            }
            (Deed::MakeDir, None) if has_place(path) => {
                self.make(path, Kind::Dir);
                vec![event(now, EventType::Create, path, None, true)]
            }
            (Deed::Write | Deed::SetMode, Some(is_dir)) => {
                let object = self.tree.get_mut(path).unwrap();
                object.ctime = now;
                let is_written = matches!(deed, Deed::Write) && !is_dir;
                if is_written {
                    object.mtime = now;
                    object.size += 1;
                }
                let kind = if is_written {
                    EventType::CloseWrite
                } else {
                    EventType::Attrib
                };
                vec![event(now, kind, path, None, is_dir)]
            }
            (Deed::Remove, Some(_)) => {
                let mut gone: Vec<Box<[u8]>> = below(&self.tree, path).cloned().collect();
                gone.insert(0, path.into());
                let mut events = Vec::new();
                for path in gone.iter().rev() {
                    let was = self.tree.remove(path).unwrap();
                    events.push(event(now, EventType::Delete, path, None, was.is_dir()));
                }
                self.changed_in(path);
                events
            }
            (Deed::Rename, Some(is_dir))
                if has_place(other) && !above(other).any(|dir| dir == path) =>
            {
                let all = self.take_all(path);
                self.put_all(other, all);
                self.changed_in(path);
                self.changed_in(other);
                renamed(now, path, other, is_dir)
            }
            (Deed::Replace, Some(is_dir))
                if !is_at_or_below(other, path)
                    && self.tree.get(other).is_some_and(|it| it.is_dir() == is_dir)
                    && below(&self.tree, other).next().is_none() =>
            {
                self.tree.remove(other);
                let all = self.take_all(path);
                self.put_all(other, all);
                self.changed_in(path);
                self.changed_in(other);
                renamed(now, path, other, is_dir)
            }
            (Deed::Exchange, Some(is_dir))
                if self.tree.contains_key(other)
                    && !is_at_or_below(path, other)
                    && !is_at_or_below(other, path) =>
            {
                let is_other_dir = self.tree[other].is_dir();
                let (one, two) = (self.take_all(path), self.take_all(other));
                self.put_all(other, one);
                self.put_all(path, two);
                self.changed_in(path);
                self.changed_in(other);
                let mut events = renamed(now, path, other, is_dir);
                events.extend(renamed(now, other, path, is_other_dir));
                events
            }
            _ => Vec::new(),
        }
    }
}

fn renamed(now: i64, from: &[u8], to: &[u8], is_dir: bool) -> Vec<FileEvent> {
    vec![
        event(now, EventType::MovedFrom, from, Some(to), is_dir),
        event(now, EventType::MovedTo, to, Some(from), is_dir),
    ]
}

fn event(time: i64, kind: EventType, path: &[u8], other: Option<&[u8]>, is_dir: bool) -> FileEvent {
    FileEvent {
        time: WallTime(time),
        kind,
        path: path.to_vec(),
        pid: 1,
        cmd: "".into(),
        user: "".into(),
        file_size: 0,
        ppid: 0,
        tgid: 1,
        chain: "".into(),
        exe: None,
        other_path: other.map(<[u8]>::to_vec),
        attribution: Attribution::Exact,
        is_dir,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}

fn lines(found: &Found, time: i64) -> Vec<FileEvent> {
    match &found.from {
        None => vec![event(time, found.kind, &found.path, None, found.is_dir)],
        Some(from) => renamed(time, from, &found.path, found.is_dir),
    }
}

fn expected(manifest: &Model) -> Expected {
    let place = Place {
        root: "/w".into(),
        recursive: true,
        max_depth: None,
        exclude: Vec::new(),
    };
    let manifest = Manifest {
        from: WallTime(manifest.now),
        until: WallTime(manifest.now),
        told: WallTime(manifest.now),
        surveys: Vec::new(),
        tree: manifest.tree.clone(),
    };
    Expected::new(manifest, vec![place.scope().unwrap()], true)
}

/// The names that are not in doubt.
fn names(tree: &Tree, expected: &Expected) -> BTreeSet<(Vec<u8>, bool)> {
    let sure = tree
        .iter()
        .filter(|(path, _)| !is_doubtful(path, &expected.tree));
    sure.map(|(path, object)| (path.to_vec(), object.is_dir()))
        .collect()
}

fn is_doubtful(path: &[u8], tree: &Tree) -> bool {
    let mut closed = tree.iter().filter(|(_, object)| object.is_closed);
    closed.any(|(dir, _)| is_at_or_below(path, dir))
}

fn any_deeds(most: usize) -> impl Strategy<Value = Vec<(Deed, Vec<u8>, Vec<u8>)>> {
    let deed = prop_oneof![
        3 => Just(Deed::Create),
        3 => Just(Deed::MakeDir),
        2 => Just(Deed::Write),
        1 => Just(Deed::SetMode),
        2 => Just(Deed::Remove),
        3 => Just(Deed::Rename),
        2 => Just(Deed::Replace),
        2 => Just(Deed::Exchange),
    ];
    let path = "/w(/[abc]){1,3}".prop_map(String::into_bytes);
    proptest::collection::vec((deed, path.clone(), path), 0..most)
}

const ROOT: &[u8] = b"/w";
/// Far more than a clock of a filesystem stands still.
const STEP: i64 = 1_000_000_000;

type Deeds = [(Deed, Vec<u8>, Vec<u8>)];

/// What is found out after `unseen`, told as a log would, leads from what was known to what is there.
fn leads_to_what_is_there(
    before: &Deeds,
    recorded: &Deeds,
    unseen: &Deeds,
    sure: bool,
) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    for (deed, path, other) in before {
        model.act(*deed, path, other);
    }
    let mut expected = expected(&model);
    let bounds_manifest = WallTime(model.now);
    for (deed, path, other) in recorded {
        for event in model.act(*deed, path, other) {
            expected.take(&event);
        }
    }
    prop_assert_eq!(
        names(&expected.tree, &expected),
        names(&model.tree, &expected)
    );
    let known = model.clone();
    model.now += STEP / 2;
    let since = model.now;
    for (deed, path, other) in unseen {
        model.act(*deed, path, other);
    }
    let until = model.now + STEP / 2;
    let bounds = Bounds {
        manifest: bounds_manifest,
        since: WallTime(since),
        until: WallTime(until),
    };
    let found = compare(
        &expected,
        &model.tree,
        &Touched::default(),
        bounds,
        &|_, _| sure,
        true,
    );
    for found in &found {
        let object = model.tree.get(&found.path[..]);
        // What is the same object under the same name as before, and was not changed, is not told of.
        let before = known.tree.get(&found.path[..]);
        let is_same = before.is_some_and(|was| object.is_some_and(|is| *was == *is));
        prop_assert!(!is_same, "{:?}", found);
        prop_assert!(found.since <= WallTime(since));
    }
    let changed = model
        .tree
        .iter()
        .filter(|(_, is)| !is.is_dir() && is.mtime > since);
    for (path, is) in changed.filter(|(path, _)| !is_doubtful(path, &expected.tree)) {
        let told = |kind| {
            found
                .iter()
                .any(|found| found.kind == kind && found.path == path[..])
        };
        let was_there = known.tree.get(path).is_some_and(|was| was.ino == is.ino);
        if was_there {
            prop_assert!(told(EventType::CloseWrite), "{:?}: {:?}", path, found);
        } else if is.birth > since {
            prop_assert!(told(EventType::Create), "{:?}: {:?}", path, found);
        }
    }
    // A directory that was moved into one that took its name cannot have been moved there in one go.
    let is_knotted = found.iter().any(|one| {
        let is_above =
            |other: &&Found| other.from.is_some() && above(&one.path).any(|dir| dir == other.path);
        one.from.is_some() && one.is_dir && found.iter().any(|other| is_above(&other))
    });
    if sure && !is_knotted {
        for found in &found {
            for line in lines(found, until) {
                expected.take(&line);
            }
        }
        prop_assert_eq!(
            names(&expected.tree, &expected),
            names(&model.tree, &expected),
            "{:?}",
            found
        );
    }
    Ok(())
}

type Act<'a> = (Deed, &'a str, &'a str);

fn check(before: &[Act<'_>], recorded: &[Act<'_>], unseen: &[Act<'_>]) {
    let owned = |deeds: &[Act<'_>]| -> Vec<(Deed, Vec<u8>, Vec<u8>)> {
        let each = deeds.iter();
        each.map(|(deed, path, other)| (*deed, path.as_bytes().into(), other.as_bytes().into()))
            .collect()
    };
    leads_to_what_is_there(&owned(before), &owned(recorded), &owned(unseen), true).unwrap();
}

#[test]
fn what_was_done_to_names_in_a_ring_can_be_told() {
    use Deed::{Create, Exchange, MakeDir, Rename, Replace};
    // Three names go round, and one of them is that of a directory with something in it.
    check(
        &[
            (Create, "/w/a", ""),
            (MakeDir, "/w/c", ""),
            (Create, "/w/b", ""),
            (Create, "/w/c/c", ""),
        ],
        &[],
        &[(Exchange, "/w/a", "/w/c"), (Exchange, "/w/a", "/w/b")],
    );
    // Out of a directory that has another name afterwards.
    check(
        &[(MakeDir, "/w/b", ""), (Create, "/w/b/b", "")],
        &[],
        &[
            (MakeDir, "/w/a", ""),
            (Rename, "/w/b/b", "/w/a/a"),
            (Rename, "/w/b", "/w/c"),
        ],
    );
    // A file is under its name again, which is in another directory now.
    check(
        &[
            (MakeDir, "/w/c", ""),
            (MakeDir, "/w/b", ""),
            (Create, "/w/c/b", ""),
            (Create, "/w/b/b", ""),
        ],
        &[],
        &[(Exchange, "/w/b", "/w/c"), (Replace, "/w/c/b", "/w/b/b")],
    );
    // A file in a directory that had the name of the file.
    check(
        &[(Create, "/w/c", ""), (MakeDir, "/w/b", "")],
        &[],
        &[
            (Create, "/w/b/b", ""),
            (Exchange, "/w/b", "/w/c"),
            (Replace, "/w/b", "/w/c/b"),
        ],
    );
}

#[test]
fn what_only_a_log_knows_of_is_not_taken_for_another() {
    use Deed::{Create, Exchange, MakeDir, Remove, Rename};
    // Only a log knows of what was in the one directory, and something in the other has its name.
    check(
        &[
            (MakeDir, "/w/b", ""),
            (MakeDir, "/w/a", ""),
            (Create, "/w/b/a", ""),
        ],
        &[(Create, "/w/a/a", "")],
        &[(Exchange, "/w/a", "/w/b"), (Remove, "/w/b", "")],
    );
    // A file is in a directory of which only a log knows, and which has the name of another that has the file's.
    check(
        &[(Create, "/w/a", ""), (Create, "/w/c", "")],
        &[(MakeDir, "/w/b", "")],
        &[
            (Rename, "/w/a", "/w/b/a"),
            (Rename, "/w/b", "/w/a"),
            (Exchange, "/w/c", "/w/a"),
        ],
    );
    // A directory that was known has the name of one of which only a log knows.
    check(
        &[
            (MakeDir, "/w/c", ""),
            (MakeDir, "/w/b", ""),
            (Create, "/w/c/b", ""),
            (MakeDir, "/w/b/b", ""),
        ],
        &[(MakeDir, "/w/a", "")],
        &[(Exchange, "/w/b", "/w/c"), (Exchange, "/w/a", "/w/b")],
    );
    // What has a number lay in what has none, and a directory with something of the same name took that place.
    check(
        &[
            (MakeDir, "/w/a", ""),
            (Create, "/w/a/b", ""),
            (Create, "/w/b", ""),
        ],
        &[(MakeDir, "/w/c", ""), (Rename, "/w/b", "/w/c/b")],
        &[(Exchange, "/w/a", "/w/c")],
    );
    // Nothing was known of what has that name in the other directory.
    check(
        &[(MakeDir, "/w/b", "")],
        &[
            (Create, "/w/c", ""),
            (MakeDir, "/w/b/c", ""),
            (Exchange, "/w/c", "/w/b/c"),
        ],
        &[(Create, "/w/c/c", ""), (Exchange, "/w/c", "/w/b")],
    );
    // Something new has the name of what left with the directory that it was in.
    check(
        &[(MakeDir, "/w/c", ""), (MakeDir, "/w/c/a", "")],
        &[(MakeDir, "/w/a", "")],
        &[
            (Rename, "/w/c", "/w/a/b"),
            (Rename, "/w/a/b/a", "/w/c"),
            (Create, "/w/c/a", ""),
        ],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_told_leads_to_what_is_there(
        before in any_deeds(25), recorded in any_deeds(15), unseen in any_deeds(10), sure in any::<bool>(),
    ) {
        leads_to_what_is_there(&before, &recorded, &unseen, sure)?;
    }

    #[test]
    fn a_manifest_reads_back(before in any_deeds(25), raw in proptest::collection::vec(any::<u8>(), 1..9), cut in 0_usize..2000) {
        let mut model = Model::new();
        for (deed, path, other) in &before {
            model.act(*deed, path, other);
        }
        model.make(&[b"/w/", &raw[..]].concat(), Kind::Link);
        model.tree.insert(b"/w/mount".as_slice().into(), Object::closed());
        let manifest = Manifest {
            from: WallTime(5),
            until: WallTime(7),
            told: WallTime(9),
            surveys: vec![Survey {
                place: Place { root: "/w \"x\"".into(), recursive: true, max_depth: Some(3), exclude: vec!["*.tmp".into()] },
                fsid: u64::MAX,
            }],
            tree: model.tree,
        };
        let mut bytes = Vec::new();
        file::write(&manifest, &mut bytes).unwrap();
        prop_assert_eq!(file::read(&bytes[..], 100).unwrap(), Some(manifest));
        bytes.truncate(cut % (bytes.len() - 2));
        prop_assert_eq!(file::read(&bytes[..], 100).unwrap(), None);
    }
}
