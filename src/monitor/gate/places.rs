//! What has a mark: the directories in which opens are looked at, and the protected files by identity.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rules::is_at_or_below;
use crate::sys::handle::FileHandle;

/// Device and inode number.
pub(super) type Inode = (u64, u64);

/// The marked directories and files.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Marked directories, and where they are.
    dirs: HashMap<Inode, Vec<u8>>,
    /// Protected files, under whatever name they are opened.
    files: HashMap<Inode, Known>,
    /// All of them by path.
    by_path: BTreeMap<Vec<u8>, Inode>,
    /// So many files may be known before those that are gone for good are looked for.
    sweep_at: usize,
}

/// A protected file.
#[derive(Debug)]
struct Known {
    /// Tells it from a later file with the same number.
    handle: Option<FileHandle>,
    /// The paths for which it is protected, also when they lead to it no longer.
    names: Vec<Vec<u8>>,
}

impl Places {
    pub(super) fn put_dir(&mut self, inode: Inode, path: Vec<u8>) {
        if let Some(before) = self.dirs.insert(inode, path.clone())
            && before != path
        {
            self.by_path.remove(&before);
        }
        self.by_path.insert(path, inode);
    }

    pub(super) fn put_file(&mut self, inode: Inode, handle: Option<FileHandle>, path: Vec<u8>) {
        self.by_path.insert(path.clone(), inode);
        match self.files.get_mut(&inode) {
            Some(known) if known.handle == handle => {
                if !known.names.contains(&path) {
                    known.names.push(path);
                }
            }
            _ => {
                let names = vec![path];
                self.files.insert(inode, Known { handle, names });
            }
        }
    }

    /// The paths for which the file is protected. Its handle is asked for only if its number is known.
    pub(super) fn names_of(
        &self,
        inode: Inode,
        handle: impl FnOnce() -> Option<FileHandle>,
    ) -> &[Vec<u8>] {
        match self.files.get(&inode) {
            Some(known) if known.handle.is_none() || known.handle == handle() => &known.names,
            _ => &[],
        }
    }

    /// Takes over files that were moved away from paths that are meant still.
    pub(super) fn take_over(&mut self, before: &mut Self, is_meant: impl Fn(&[u8]) -> bool) {
        for (inode, mut known) in before.files.drain() {
            known.names.retain(|name| is_meant(name));
            if !known.names.is_empty() {
                self.files.entry(inode).or_insert(known);
            }
        }
    }

    /// Where the directory was when it was marked.
    pub(super) fn path_of_dir(&self, inode: Inode) -> Option<&[u8]> {
        self.dirs.get(&inode).map(Vec::as_slice)
    }

    /// Forgets a directory whose mark is taken off.
    pub(super) fn forget_dir(&mut self, inode: Inode) {
        if let Some(path) = self.dirs.remove(&inode)
            && self.by_path.get(&path) == Some(&inode)
        {
            self.by_path.remove(&path);
        }
    }

    /// Takes away the names at or below `path`. The files stay protected under whatever name they have now,
    /// and directories known by number until something is opened in them elsewhere.
    pub(super) fn gone(&mut self, path: &[u8]) {
        let at_or_below = |name: &&Vec<u8>| is_at_or_below(name, path);
        // Names with this beginning stand together, though not only those below it.
        let from = self.by_path.range(path.to_vec()..);
        let together = from
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(path));
        let names: Vec<Vec<u8>> = together.filter(at_or_below).cloned().collect();
        for name in names {
            self.by_path.remove(&name);
        }
    }

    /// Whether it is time to look for files that are gone for good.
    pub(super) fn wants_sweep(&self) -> bool {
        self.files.len() > self.sweep_at.max(SWEEP_FROM)
    }

    /// Forgets the files that no longer have a mark: the kernel takes it off when a file is no more.
    pub(super) fn sweep(&mut self, marked: &HashSet<u64>) {
        self.files.retain(|(_, ino), _| marked.contains(ino));
        self.sweep_at = self.files.len() * 2;
    }

    pub(super) fn directories(&self) -> usize {
        self.dirs.len()
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// Paths of what is marked here and not in `kept`, with the number that was marked.
    pub(super) fn left_out(&self, kept: &Self) -> Vec<(Vec<u8>, Inode)> {
        let gone =
            |inode: &Inode| !kept.dirs.contains_key(inode) && !kept.files.contains_key(inode);
        let all = self.by_path.iter().filter(|(_, inode)| gone(inode));
        all.map(|(path, inode)| (path.clone(), *inode)).collect()
    }
}

/// Fewer known files than this are never swept.
const SWEEP_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(byte: u8) -> Option<FileHandle> {
        Some(FileHandle {
            kind: 1,
            bytes: vec![byte],
        })
    }

    #[test]
    fn a_file_is_protected_under_every_name_until_its_number_is_used_anew() {
        let mut places = Places::default();
        places.put_file((1, 5), handle(1), b"/a/x".to_vec());
        places.put_file((1, 5), handle(1), b"/a/y".to_vec());
        let both = [b"/a/x".to_vec(), b"/a/y".to_vec()];
        assert_eq!(places.names_of((1, 5), || handle(1)), both);
        assert!(places.names_of((1, 5), || handle(2)).is_empty());
        assert!(places.names_of((2, 5), || handle(1)).is_empty());
        places.gone(b"/a/x");
        places.gone(b"/a/y");
        let mut later = Places::default();
        later.take_over(&mut places, |name| name == b"/a/y");
        assert_eq!(later.names_of((1, 5), || handle(1)), [b"/a/y".to_vec()]);
        let mut places = later;
        places.put_file((1, 5), handle(2), b"/a/z".to_vec());
        assert_eq!(places.names_of((1, 5), || handle(2)), [b"/a/z".to_vec()]);
        places.sweep(&[6].into());
        assert_eq!(places.files(), 0);
    }

    #[test]
    fn what_is_gone_takes_along_what_is_below_and_nothing_else() {
        let mut places = Places::default();
        for (ino, path) in ["/a", "/a/b", "/a-b", "/ab"].into_iter().enumerate() {
            places.put_dir((1, ino as u64), path.as_bytes().to_vec());
        }
        places.gone(b"/a");
        let left: Vec<_> = places.left_out(&Places::default());
        let left: Vec<_> = left.into_iter().map(|(path, _)| path).collect();
        assert_eq!(left, [b"/a-b".to_vec(), b"/ab".to_vec()]);
    }
}
