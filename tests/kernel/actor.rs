//! Does operations on a tree and remembers what the log must say of each.
//!
//! A worker process and the test run the same plan from the same seed: the worker with its hands, the
//! test with the book. So the order of operations is known without a word between them.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::truth::{GONE, Object, Truth};

/// A file or directory that the actor knows.
#[derive(Clone, Debug)]
struct Node {
    parent: Option<Object>,
    name: Vec<u8>,
    moves: u32,
    /// Its paths right after each of its own renames.
    homes: Vec<Vec<u8>>,
    /// Its path when it was written.
    written_at: Option<Vec<u8>>,
}

pub(crate) struct Actor {
    nodes: Vec<Node>,
    /// Path prefix inside which changes are logged.
    scope: Vec<u8>,
    hands: bool,
    book: Option<Truth>,
    first: Object,
}

impl Actor {
    /// One that only acts.
    pub(crate) fn hands() -> Self {
        Self {
            nodes: Vec::new(),
            scope: Vec::new(),
            hands: true,
            book: None,
            first: 0,
        }
    }

    /// One that only tells what must be in the log of a recursive watch on `scope`.
    pub(crate) fn book(scope: &Path) -> Self {
        Self {
            hands: false,
            book: Some(Truth::default()),
            scope: scope.as_os_str().as_bytes().to_vec(),
            ..Self::hands()
        }
    }

    /// One that does both.
    pub(crate) fn both(scope: &Path) -> Self {
        Self {
            hands: true,
            ..Self::book(scope)
        }
    }

    /// Numbers its objects from here on, apart from those of other actors.
    pub(crate) fn numbered_from(mut self, first: Object) -> Self {
        self.first = first;
        self
    }

    pub(crate) fn truth(self) -> Truth {
        self.book.expect("an actor with a book")
    }

    /// What the kernel cannot tell here: of objects themselves, and of the other side of a rename.
    pub(crate) fn set_weak(&mut self, lacks_self: bool, lacks_pairs: bool) {
        let book = self.book.as_mut().expect("an actor with a book");
        book.lacks_self = lacks_self;
        book.lacks_pairs = lacks_pairs;
    }

    /// Knows all objects that `other` knows, as if it had seen them made before.
    pub(crate) fn take_nodes(&mut self, other: &Self) {
        self.nodes.clone_from(&other.nodes);
        for node in &mut self.nodes {
            node.written_at = None;
        }
    }

    /// A directory that is there already.
    pub(crate) fn known(&mut self, path: &Path) -> Object {
        self.node(None, path.as_os_str().as_bytes())
    }

    pub(crate) fn path(&self, object: Object) -> Vec<u8> {
        let node = &self.nodes[object];
        let Some(parent) = node.parent else {
            return node.name.clone();
        };
        let mut path = self.path(parent);
        path.push(b'/');
        path.extend_from_slice(&node.name);
        path
    }

    pub(crate) fn mkdir(&mut self, parent: Object, name: impl AsRef<[u8]>) -> Object {
        let object = self.node(Some(parent), name.as_ref());
        let path = self.path(object);
        if self.hands {
            fs::create_dir(os(&path)).unwrap_or_else(|error| fail("mkdir", &path, &error));
        }
        self.tell("CREATE", &path, None, object, 0);
        object
    }

    /// Creates a file without opening it for writing.
    pub(crate) fn touch(&mut self, parent: Object, name: impl AsRef<[u8]>) -> Object {
        let object = self.node(Some(parent), name.as_ref());
        let path = self.path(object);
        if self.hands {
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(CWD, os(&path), rustix::fs::FileType::RegularFile, mode, 0)
                .unwrap_or_else(|error| fail("mknod", &path, &error.into()));
        }
        self.tell("CREATE", &path, None, object, 0);
        object
    }

    /// Creates a file, writes to it and closes it.
    pub(crate) fn write(&mut self, parent: Object, name: impl AsRef<[u8]>) -> Object {
        let object = self.node(Some(parent), name.as_ref());
        let path = self.path(object);
        if self.hands {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(os(&path))
                .and_then(|mut file| file.write_all(b"x"))
                .unwrap_or_else(|error| fail("create", &path, &error));
        }
        self.tell("CREATE", &path, None, object, 0);
        self.tell_some("CLOSE_WRITE", &path, object, 2, 2);
        self.nodes[object].written_at = Some(path);
        object
    }

    pub(crate) fn rename(&mut self, object: Object, parent: Object, name: impl AsRef<[u8]>) {
        let old = self.path(object);
        self.place(object, parent, name.as_ref());
        let new = self.path(object);
        if self.hands {
            fs::rename(os(&old), os(&new)).unwrap_or_else(|error| fail("rename to", &new, &error));
        }
        self.moved(object, &old, &new);
    }

    /// Renames a directory over an empty one, or a file over a file.
    pub(crate) fn rename_over(&mut self, object: Object, replaced: Object) {
        let old = self.path(object);
        let new = self.path(replaced);
        let Node { parent, name, .. } = self.nodes[replaced].clone();
        self.place(object, parent.expect("below the top"), &name);
        if self.hands {
            fs::rename(os(&old), os(&new))
                .unwrap_or_else(|error| fail("rename over", &new, &error));
        }
        self.moved(object, &old, &new);
        self.tell_attrib(replaced, &new);
        self.tell("DELETE_SELF", &new, None, replaced, GONE);
        if self.watched(&new)
            && let Some(book) = &mut self.book
        {
            // The kernel says nothing of the name that was replaced; a recorder may say it.
            book.may("DELETE", &new, self.first + replaced, GONE, GONE);
        }
    }

    pub(crate) fn exchange(&mut self, one: Object, two: Object) {
        let (first, second) = (self.path(one), self.path(two));
        if self.hands {
            renameat_with(CWD, os(&first), CWD, os(&second), RenameFlags::EXCHANGE)
                .unwrap_or_else(|error| fail("exchange with", &second, &error.into()));
        }
        let Node {
            parent: parent_one,
            name: name_one,
            ..
        } = self.nodes[one].clone();
        let Node {
            parent: parent_two,
            name: name_two,
            ..
        } = self.nodes[two].clone();
        self.place(one, parent_two.expect("below the top"), &name_two);
        self.place(two, parent_one.expect("below the top"), &name_one);
        self.moved(one, &first, &second);
        self.moved(two, &second, &first);
    }

    pub(crate) fn unlink(&mut self, object: Object) {
        let path = self.path(object);
        if self.hands {
            fs::remove_file(os(&path)).unwrap_or_else(|error| fail("unlink", &path, &error));
        }
        let Node {
            written_at, moves, ..
        } = self.nodes[object].clone();
        if let Some(written) = written_at
            && moves == 0
            && written != path
        {
            // An ancestor was renamed meanwhile. All bits of this name are in one record, so nothing
            // tells a close before that rename from one after it.
            self.tell_some("CLOSE_WRITE", &path, object, 2, 2);
        }
        self.tell_attrib(object, &path);
        self.tell("DELETE_SELF", &path, None, object, GONE);
        self.tell("DELETE", &path, None, object, GONE);
    }

    pub(crate) fn rmdir(&mut self, object: Object) {
        let path = self.path(object);
        if self.hands {
            fs::remove_dir(os(&path)).unwrap_or_else(|error| fail("rmdir", &path, &error));
        }
        self.tell("DELETE_SELF", &path, None, object, GONE);
        self.tell("DELETE", &path, None, object, GONE);
    }

    fn node(&mut self, parent: Option<Object>, name: &[u8]) -> Object {
        self.nodes.push(Node {
            parent,
            name: name.to_vec(),
            moves: 0,
            homes: Vec::new(),
            written_at: None,
        });
        self.nodes.len() - 1
    }

    fn place(&mut self, object: Object, parent: Object, name: &[u8]) {
        self.nodes[object].parent = Some(parent);
        self.nodes[object].name = name.to_vec();
    }

    fn moved(&mut self, object: Object, old: &[u8], new: &[u8]) {
        let before = self.nodes[object].moves * 8;
        self.nodes[object].moves += 1;
        self.nodes[object].homes.push(new.to_vec());
        self.tell("MOVED_FROM", old, Some(new), object, before + 7);
        self.tell("MOVED_TO", new, Some(old), object, before + 9);
        // The records of MOVE_SELF name only the object and merge with those of its next renames.
        self.tell_some("MOVE_SELF", new, object, before + 9, GONE - 1);
    }

    /// The change of the link count: told of the object alone, so it merges with an earlier MOVE_SELF.
    fn tell_attrib(&mut self, object: Object, path: &[u8]) {
        let homes = self.nodes[object].homes.clone();
        for home in homes.iter().filter(|home| *home != path) {
            self.tell_some("ATTRIB", home, object, 1, GONE - 1);
        }
        self.tell_some("ATTRIB", path, object, 1, GONE - 1);
    }

    fn tell(
        &mut self,
        kind: &'static str,
        path: &[u8],
        other: Option<&[u8]>,
        object: Object,
        phase: u32,
    ) {
        let watched = self.watched(path);
        if let Some(book) = &mut self.book
            && watched
        {
            book.must(kind, path, other, self.first + object, phase);
        }
    }

    fn tell_some(&mut self, kind: &'static str, path: &[u8], object: Object, from: u32, to: u32) {
        let watched = self.watched(path);
        let Some(book) = &mut self.book else { return };
        if watched {
            book.some(kind, path, self.first + object, from, to);
        } else {
            book.waive(self.first + object, kind);
        }
    }

    fn watched(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.scope.as_slice())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

pub(crate) fn os(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn fail(what: &str, path: &[u8], error: &std::io::Error) -> ! {
    panic!("{what} \"{}\": {error}", path.escape_ascii())
}

/// Numbers that look random and are the same in each run.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn roll(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}
