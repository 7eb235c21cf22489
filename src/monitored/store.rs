//! The store: one JSON line a group, replaced as a whole.
//!
//! Writers take an exclusive lock on a file beside the store, so edits follow one another; readers need
//! no lock, for a rename shows them the old store or the new one. A line that cannot be read is reported,
//! kept as it is and stands in nobody's way.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::path::quoted;
use super::{GroupName, Watch, WatchOptions, WatchSet};
use crate::sys::files::{self, Owner};

/// A line of the store that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub number: usize,
    /// What stands there.
    pub text: String,
    /// Why it cannot be read.
    pub why: String,
}

/// The store file.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    owner: Option<Owner>,
}

impl Store {
    /// The store at `path`; files made there are handed to `owner`. Nothing is touched yet.
    pub fn open(path: impl Into<PathBuf>, owner: Option<Owner>) -> Self {
        Self {
            path: path.into(),
            owner,
        }
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all watches, and which lines are bad. A missing store is empty.
    pub fn load(&self) -> anyhow::Result<(WatchSet, Vec<BadLine>)> {
        let (contents, bad) = Contents::parse(&files::as_user(self.owner, || self.read())?);
        Ok((contents.watches, bad))
    }

    /// Changes the watches under the lock. When `change` fails, or changes nothing, the file is not touched.
    pub fn edit<T>(
        &self,
        change: impl FnOnce(&mut WatchSet) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Vec<BadLine>)> {
        files::as_user(self.owner, || self.edit_as_user(change))
    }

    fn edit_as_user<T>(
        &self,
        change: impl FnOnce(&mut WatchSet) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Vec<BadLine>)> {
        let _lock = self
            .lock()
            .with_context(|| format!("cannot lock the store {}", quoted(&self.path)))?;
        let old = self.read()?;
        let (mut contents, bad) = Contents::parse(&old);
        let before = contents.watches.clone();
        let answer = change(&mut contents.watches)?;
        if contents.watches != before {
            let new = contents.to_bytes()?;
            self.replace(&new)
                .with_context(|| format!("cannot write the store {}", quoted(&self.path)))?;
        }
        Ok((answer, bad))
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        match files::read_regular(&self.path, MOST_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.with_context(|| format!("cannot read the store {}", quoted(&self.path))),
        }
    }

    fn lock(&self) -> io::Result<File> {
        files::create_dirs(self.dir(), self.owner)?;
        let path = self.beside(".lock");
        let lock = files::open_nofollow(
            OpenOptions::new().write(true).create(true).mode(0o600),
            &path,
        )?;
        // Whoever may edit the store has to be able to lock it, whoever locked it first.
        let owner = self.owner.or_else(|| self.present_owner());
        if let Some(owner) =
            owner.filter(|owner| lock.metadata().is_ok_and(|lock| lock.uid() != owner.uid))
        {
            owner.take(&lock)?;
        }
        lock.lock()?;
        Ok(lock)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let temp = self.beside(".new");
        // We hold the lock, so a file of this name is left from a crash.
        match fs::remove_file(&temp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = files::open_nofollow(
            OpenOptions::new().write(true).create_new(true).mode(0o644),
            &temp,
        )?;
        let written = self
            .fill(&mut file, bytes)
            .and_then(|()| fs::rename(&temp, &self.path));
        if written.is_err() {
            fs::remove_file(&temp).ok(); // The first error is the one to report.
        }
        written?;
        File::open(self.dir())?.sync_all()
    }

    fn fill(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Ok(old) = fs::symlink_metadata(&self.path)
            && old.is_file()
        {
            files::set_mode(file, old.mode() & 0o777)?;
        }
        let made = file.metadata()?;
        if let Some(owner) = self.owner.or_else(|| self.present_owner())
            && (owner.uid, owner.gid) != (made.uid(), made.gid())
        {
            owner.take(file)?;
        }
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn present_owner(&self) -> Option<Owner> {
        let old = fs::symlink_metadata(&self.path)
            .ok()
            .filter(fs::Metadata::is_file)?;
        Some(Owner {
            uid: old.uid(),
            gid: old.gid(),
        })
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("/"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }
}

/// One line as it is written.
#[derive(Serialize, Deserialize)]
struct GroupLine {
    cmd: String,
    paths: BTreeMap<String, WatchOptions>,
}

/// The lines of the watches, one for each group, in order; what `monitored` shows.
pub fn lines(watches: &WatchSet) -> anyhow::Result<Vec<String>> {
    let mut seen = HashSet::new();
    let groups = watches
        .iter()
        .map(|watch| &watch.group)
        .filter(|group| seen.insert(*group));
    groups.map(|group| line_of(group, watches)).collect()
}

fn line_of(group: &GroupName, watches: &WatchSet) -> anyhow::Result<String> {
    let own = watches.iter().filter(|watch| watch.group == *group);
    let paths = own
        .map(|watch| Ok((text_of(&watch.path)?, watch.options())))
        .collect::<anyhow::Result<_>>()?;
    Ok(serde_json::to_string(&GroupLine {
        cmd: group.to_string(),
        paths,
    })?)
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is not UTF-8", quoted(path)))
}

/// What was read, with the order of the lines, so that it can be written back around the bad ones.
struct Contents {
    order: Vec<Line>,
    watches: WatchSet,
}

enum Line {
    Group(GroupName),
    Bad(Vec<u8>),
}

impl Contents {
    fn parse(bytes: &[u8]) -> (Self, Vec<BadLine>) {
        let mut contents = Self {
            order: Vec::new(),
            watches: WatchSet::default(),
        };
        let mut bad = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match watches_of(line) {
                Ok((group, watches)) => {
                    contents.order.push(Line::Group(group));
                    for watch in watches {
                        contents.watches.add_or_replace(watch);
                    }
                }
                Err(error) => {
                    contents.order.push(Line::Bad(line.to_vec()));
                    let text = String::from_utf8_lossy(line).into_owned();
                    bad.push(BadLine {
                        number: index + 1,
                        text,
                        why: format!("{error:#}"),
                    });
                }
            }
        }
        (contents, bad)
    }

    fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut left = self.watches.clone();
        for line in &self.order {
            match line {
                Line::Bad(text) => bytes.extend_from_slice(text),
                Line::Group(group) => {
                    let own = WatchSet {
                        watches: left.remove(group, None),
                    };
                    if own.watches.is_empty() {
                        continue;
                    }
                    bytes.extend_from_slice(line_of(group, &own)?.as_bytes());
                }
            }
            bytes.push(b'\n');
        }
        for line in lines(&left)? {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        Ok(bytes)
    }
}

fn watches_of(line: &[u8]) -> anyhow::Result<(GroupName, Vec<Watch>)> {
    // From bytes, what stands under unknown keys would not be looked at, and be lost when it is written.
    let read: GroupLine = serde_json::from_str(str::from_utf8(line)?)?;
    let group: GroupName = read.cmd.parse()?;
    let watches = read
        .paths
        .iter()
        .map(|(path, options)| Watch::new(group.clone(), Path::new(path), options));
    let watches = watches.collect::<Result<_, _>>()?;
    Ok((group, watches))
}

/// No store is so long.
const MOST_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(group: &str, path: &str) -> Watch {
        Watch::new(
            group.parse().unwrap(),
            Path::new(path),
            &WatchOptions::default(),
        )
        .unwrap()
    }

    fn store_with(text: &[u8]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("deep/er/monitored.jsonl"), None);
        if !text.is_empty() {
            fs::create_dir_all(store.dir()).unwrap();
            fs::write(store.path(), text).unwrap();
        }
        (dir, store)
    }

    fn text(store: &Store) -> String {
        fs::read_to_string(store.path()).unwrap()
    }

    #[test]
    fn groups_keep_their_order_and_paths_are_sorted() {
        let (_dir, store) = store_with(b"");
        for (group, path) in [("nginx", "/c"), ("_global", "/b"), ("nginx", "/a")] {
            store
                .edit(|set| Ok(set.add_or_replace(watch(group, path))))
                .unwrap();
        }
        let expected = concat!(
            r#"{"cmd":"nginx","paths":{"/a":{"recursive":false},"/c":{"recursive":false}}}"#,
            "\n",
            r#"{"cmd":"_global","paths":{"/b":{"recursive":false}}}"#,
            "\n"
        );
        assert_eq!(text(&store), expected);
        let names = fs::read_dir(store.dir()).unwrap().count();
        assert_eq!(names, 2, "the store and its lock, no temporary file");
    }

    #[test]
    fn what_0_3_wrote_is_read() {
        let line = br#"{"cmd":"_global","paths":{"/c":{"recursive":null,"types":["MODIFY","create"],"size":">=1MB"}},"x":1}

"#;
        let (_dir, store) = store_with(line);
        let (set, bad) = store.load().unwrap();
        assert_eq!(bad, []);
        assert_eq!(
            lines(&set).unwrap(),
            [
                r#"{"cmd":"_global","paths":{"/c":{"recursive":false,"types":["MODIFY","create"],"size":">=1MB"}}}"#
            ]
        );
    }

    #[test]
    fn a_bad_line_is_reported_by_number_and_kept_in_its_place() {
        let poison =
            "{\"cmd\":\"x\",\"paths\":{\"/a\":{\"recursive\":true,\"types\":[\"BOGUS\"]}}}\n";
        let good = "{\"cmd\":\"a\",\"paths\":{\"/a\":{\"recursive\":true}}}\n";
        let mut all = b"garbage \xff\n".to_vec();
        all.extend_from_slice(good.as_bytes());
        all.extend_from_slice(poison.as_bytes());
        let (_dir, store) = store_with(&all);
        let (_, bad) = store.load().unwrap();
        assert_eq!(
            bad.iter().map(|line| line.number).collect::<Vec<_>>(),
            [1, 3]
        );
        store
            .edit(|set| {
                set.remove(&"a".parse().unwrap(), None);
                Ok(set.add_or_replace(watch("b", "/b")))
            })
            .unwrap();
        let mut expected = b"garbage \xff\n".to_vec();
        expected.extend_from_slice(poison.as_bytes());
        expected.extend_from_slice(b"{\"cmd\":\"b\",\"paths\":{\"/b\":{\"recursive\":false}}}\n");
        assert_eq!(fs::read(store.path()).unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_bad_wherever_that_stands() {
        let odd = b"{\"cmd\":\"a\",\"paths\":{\"/1\":{\"later\":\"\xff\"}}}\n";
        let (_dir, store) = store_with(odd);
        let (set, bad) = store.load().unwrap();
        assert_eq!((set.watches.len(), bad.len()), (0, 1));
        store
            .edit(|set| Ok(set.add_or_replace(watch("b", "/2"))))
            .unwrap();
        assert!(fs::read(store.path()).unwrap().starts_with(odd));
    }

    #[test]
    fn two_lines_of_one_group_become_one() {
        let (_dir, store) = store_with(
            b"{\"cmd\":\"a\",\"paths\":{\"/1\":{}}}\n{\"cmd\":\"b\",\"paths\":{\"/2\":{}}}\n{\"cmd\":\"a\",\"paths\":{\"/3\":{}}}",
        );
        store
            .edit(|set| Ok(set.add_or_replace(watch("b", "/4"))))
            .unwrap();
        let (set, _) = store.load().unwrap();
        assert_eq!(set.watches.len(), 4);
        assert_eq!(text(&store).lines().count(), 2);
    }

    #[test]
    fn an_edit_that_fails_or_changes_nothing_leaves_the_file_alone() {
        let odd = "  {\"cmd\":\"a\",  \"paths\":{\"/1\":{}}}";
        let (_dir, store) = store_with(odd.as_bytes());
        assert!(
            store
                .edit(|set| {
                    set.watches.clear();
                    anyhow::bail!("no")
                } as anyhow::Result<()>)
                .is_err()
        );
        store.edit(|_| Ok(())).unwrap();
        assert_eq!(text(&store), odd);
    }

    #[test]
    fn an_emptied_store_has_no_bytes() {
        let (_dir, store) = store_with(b"{\"cmd\":\"a\",\"paths\":{\"/1\":{}}}\n");
        store.edit(|set| Ok(std::mem::take(set))).unwrap();
        assert_eq!(text(&store), "");
    }

    #[test]
    fn edits_from_many_threads_follow_one_another() {
        let (_dir, store) = store_with(b"");
        std::thread::scope(|scope| {
            for n in 0..16 {
                let store = &store;
                scope.spawn(move || {
                    store
                        .edit(|set| Ok(set.add_or_replace(watch("a", &format!("/{n}")))))
                        .unwrap()
                });
            }
        });
        assert_eq!(store.load().unwrap().0.watches.len(), 16);
    }
}
