//! The last known place and size of files in watched directories.
//!
//! Some records name only an object (a link count that changed, the end of a file that was open
//! when its name went), and a deleted file can no longer be asked for its size. Bounded by two
//! generations: when the young one is full it becomes the old one, and what was not used since goes.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::tree::{DirTree, NodeId};
use crate::fid_parser::raw::{FsId, HandleKey};

/// What is known of one file.
#[derive(Clone, Debug)]
pub struct KnownFile {
    /// The directory it was last seen in.
    pub dir: NodeId,
    /// Its name there.
    pub name: Box<[u8]>,
    /// Its last size, if it was ever asked for.
    pub size: Option<u64>,
    /// The number of the step in which the size was asked for.
    pub sized_in: u64,
    /// What the answer was; 0 when the file was gone.
    pub now: u64,
    /// The name is gone and no other one is known: the file has ended, or is called as nobody has seen yet.
    pub is_lost: bool,
    /// Until when its last removal may have happened; 0 if that was no later than other things of which is told.
    pub unnamed_until: u64,
    /// Where it was last seen before, if it is not known to have lost that name.
    also: Option<Box<Name>>,
    /// The name that it has lost last, where it had another one. Who opened it by that goes on naming it so.
    left: Option<Box<Name>>,
}

type Name = (NodeId, Box<[u8]>);

/// Files by their handle.
#[derive(Debug)]
pub struct FileTable {
    young: HashMap<HandleKey, KnownFile>,
    old: HashMap<HandleKey, KnownFile>,
    capacity: usize,
}

impl FileTable {
    /// Makes a table for at most `capacity` files.
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            capacity,
        }
    }

    /// Number of files known.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether no file is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what is known of a file.
    pub fn find(&self, key: &HandleKey) -> Option<&KnownFile> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Returns what is known of a file, to be changed.
    pub fn find_mut(&mut self, key: &HandleKey) -> Option<&mut KnownFile> {
        match self.young.get_mut(key) {
            Some(file) => Some(file),
            None => self.old.get_mut(key),
        }
    }

    /// Notes that the file was seen as `name` in `dir`, and returns what is known of it.
    ///
    /// A name that it has lost comes back only when it `is_stated`: as it is made, renamed or removed.
    pub fn see(
        &mut self,
        tree: &mut DirTree,
        key: &HandleKey,
        dir: NodeId,
        name: &[u8],
        is_stated: bool,
    ) -> &mut KnownFile {
        let mut kept = None;
        if self.is_young_full() && !self.young.contains_key(key) {
            kept = self.old.remove(key);
            self.make_room(tree);
        }
        let file = match self.young.entry(*key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(room) => {
                let known = kept.or_else(|| self.old.remove(key));
                room.insert(known.unwrap_or_else(|| {
                    tree.retain(dir);
                    KnownFile {
                        dir,
                        name: name.into(),
                        size: None,
                        sized_in: 0,
                        now: 0,
                        is_lost: false,
                        unnamed_until: 0,
                        also: None,
                        left: None,
                    }
                }))
            }
        };
        if file.has_left(dir, name) {
            if !is_stated {
                return file;
            }
            let left = file.left.take();
            forget(tree, left);
        }
        let is_lost = std::mem::take(&mut file.is_lost);
        file.unnamed_until = 0;
        if file.dir != dir || *file.name != *name {
            tree.retain(dir);
            let before = std::mem::replace(&mut file.name, name.into());
            let before = Box::new((std::mem::replace(&mut file.dir, dir), before));
            let older = if is_lost {
                file.left.replace(before)
            } else {
                file.also.replace(before)
            };
            forget(tree, older);
        }
        file
    }

    /// Notes that the file is called `name` in `dir` no longer. Its last name stays known.
    pub fn lose(&mut self, tree: &mut DirTree, key: &HandleKey, dir: NodeId, name: &[u8]) {
        let Some(file) = self.find_mut(key) else {
            return;
        };
        let is_lost = |of: NodeId, called: &[u8]| of == dir && called == name;
        let Some(mut also) = file.also.take() else {
            file.is_lost |= is_lost(file.dir, &file.name);
            return;
        };
        if is_lost(file.dir, &file.name) {
            std::mem::swap(&mut file.dir, &mut also.0);
            std::mem::swap(&mut file.name, &mut also.1);
        } else if !is_lost(also.0, &also.1) {
            file.also = Some(also);
            return;
        }
        let older = file.left.replace(also);
        forget(tree, older);
    }

    /// Forgets all files.
    pub fn clear(&mut self, tree: &mut DirTree) {
        for (_, file) in self.young.drain().chain(self.old.drain()) {
            file.release(tree);
        }
    }

    /// Forgets the files of a filesystem.
    pub fn forget_filesystem(&mut self, tree: &mut DirTree, fs: FsId) {
        for files in [&mut self.young, &mut self.old] {
            for (_, file) in files.extract_if(|key, _| key.fs() == fs) {
                file.release(tree);
            }
        }
    }

    fn is_young_full(&self) -> bool {
        self.young.len() * 2 >= self.capacity
    }

    fn make_room(&mut self, tree: &mut DirTree) {
        for (_, file) in self.old.drain() {
            file.release(tree);
        }
        std::mem::swap(&mut self.young, &mut self.old);
    }
}

impl KnownFile {
    /// The names that it is not known to have lost, and the last one, lost or not.
    pub fn names(&self) -> impl Iterator<Item = (NodeId, &[u8])> {
        let also = self.also.as_deref().map(|(dir, name)| (*dir, &**name));
        std::iter::once((self.dir, &*self.name)).chain(also)
    }

    fn has_left(&self, dir: NodeId, name: &[u8]) -> bool {
        let left = self.left.as_deref();
        left.is_some_and(|left| left.0 == dir && *left.1 == *name)
    }

    fn release(self, tree: &mut DirTree) {
        tree.release(self.dir);
        forget(tree, self.also);
        forget(tree, self.left);
    }
}

fn forget(tree: &mut DirTree, name: Option<Box<Name>>) {
    if let Some(name) = name {
        tree.release(name.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lost_when_it_was_the_only_one_known() {
        let mut tree = DirTree::new(10, 0);
        let dir = tree.intern(&HandleKey::new(0, 1, b"dir"));
        let key = HandleKey::new(0, 1, b"file");
        let mut files = FileTable::new(100);
        let known = |files: &FileTable| {
            let file = files.find(&key).unwrap();
            (file.name.to_vec(), file.is_lost)
        };
        files.see(&mut tree, &key, dir, b"one", true);
        files.see(&mut tree, &key, dir, b"two", true);
        files.lose(&mut tree, &key, dir, b"two");
        assert_eq!(known(&files), (b"one".to_vec(), false));
        files.lose(&mut tree, &key, dir, b"other");
        assert_eq!(known(&files), (b"one".to_vec(), false));
        files.lose(&mut tree, &key, dir, b"one");
        assert_eq!(known(&files), (b"one".to_vec(), true));
        // What is seen then is not one of two: the other is gone.
        files.see(&mut tree, &key, dir, b"three", true);
        files.lose(&mut tree, &key, dir, b"three");
        assert_eq!(known(&files), (b"three".to_vec(), true));
    }

    #[test]
    fn a_name_that_was_lost_beside_another_comes_back_when_that_is_stated() {
        let mut tree = DirTree::new(10, 0);
        let dir = tree.intern(&HandleKey::new(0, 1, b"dir"));
        let key = HandleKey::new(0, 1, b"file");
        let mut files = FileTable::new(100);
        let names = |file: &KnownFile| {
            let names = file.names().map(|(_, name)| name.to_vec());
            names.collect::<Vec<_>>()
        };
        files.see(&mut tree, &key, dir, b"one", true);
        files.see(&mut tree, &key, dir, b"two", true);
        files.lose(&mut tree, &key, dir, b"one");
        let used = files.see(&mut tree, &key, dir, b"one", false);
        assert_eq!(names(used), [b"two"]);
        let linked = files.see(&mut tree, &key, dir, b"one", true);
        assert_eq!(names(linked), [b"one", b"two"]);
        let used = files.see(&mut tree, &key, dir, b"two", false);
        assert_eq!(names(used), [b"two", b"one"]);
        files.clear(&mut tree);
    }

    #[test]
    fn the_recently_used_stay_and_the_table_stays_small() {
        let mut tree = DirTree::new(10, 0);
        let dir = tree.intern(&HandleKey::new(0, 1, b"dir"));
        let mut files = FileTable::new(100);
        let key = |n: u32| HandleKey::new(0, 1, &n.to_le_bytes());
        for n in 0..1000 {
            files.see(&mut tree, &key(n), dir, b"x", true).size = Some(u64::from(n));
            files.see(&mut tree, &key(0), dir, b"kept", true);
        }
        assert!(files.len() <= 101);
        assert_eq!(files.find(&key(0)).unwrap().size, Some(0));
        assert_eq!(&*files.find(&key(0)).unwrap().name, b"kept");
        assert!(files.find(&key(1)).is_none());
        files.see(&mut tree, &HandleKey::new(1, 1, b"other"), dir, b"x", true);
        files.forget_filesystem(&mut tree, 0);
        assert_eq!(files.len(), 1);
        files.clear(&mut tree);
        assert!(files.is_empty());
    }
}
