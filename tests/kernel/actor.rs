//! Does operations on a tree and remembers what the log must say of each.
//!
//! A worker process and the test run the same plan from the same seed: the worker with its hands, the
//! test with the book. So the order of operations is known without a word between them.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt as _;
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
    /// Its path when it was written, and after how many of its own renames.
    written_at: Option<(Vec<u8>, u32)>,
    /// It had another name once.
    was_linked: bool,
}

pub(crate) struct Actor {
    nodes: Vec<Node>,
    /// Path prefix inside which changes are logged.
    scope: Vec<u8>,
    hands: bool,
    book: Option<Truth>,
    first: Object,
    witness: Option<Box<dyn Witness>>,
}

/// Is told of each operation.
pub(crate) trait Witness {
    /// It is about to be done.
    fn before(&mut self);
    /// It was done, and the book of an actor that has one tells of it.
    fn after(&mut self, book: Option<&mut Truth>);
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
            witness: None,
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

    /// One that acts, or tells of single operations wherever they are, before a witness.
    pub(crate) fn before(witness: impl Witness + 'static, book: Option<Truth>) -> Self {
        Self {
            hands: book.is_none(),
            book,
            witness: Some(Box::new(witness)),
            ..Self::hands()
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
        self.begins();
        let object = self.node(Some(parent), name.as_ref());
        let path = self.path(object);
        if self.hands {
            fs::create_dir(os(&path)).unwrap_or_else(|error| fail("mkdir", &path, &error));
        }
        self.tell("CREATE", &path, None, object, 0);
        self.ended();
        object
    }

    /// Creates a file without opening it for writing.
    pub(crate) fn touch(&mut self, parent: Object, name: impl AsRef<[u8]>) -> Object {
        self.begins();
        let object = self.node(Some(parent), name.as_ref());
        let path = self.path(object);
        if self.hands {
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(CWD, os(&path), rustix::fs::FileType::RegularFile, mode, 0)
                .unwrap_or_else(|error| fail("mknod", &path, &error.into()));
        }
        self.tell("CREATE", &path, None, object, 0);
        self.ended();
        object
    }

    /// Creates a file, writes to it and closes it.
    pub(crate) fn write(&mut self, parent: Object, name: impl AsRef<[u8]>) -> Object {
        self.begins();
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
        self.nodes[object].written_at = Some((path, 0));
        self.ended();
        object
    }

    /// Writes to a file that is there, and closes it.
    pub(crate) fn rewrite(&mut self, object: Object) {
        self.begins();
        let path = self.path(object);
        if self.hands {
            OpenOptions::new()
                .append(true)
                .open(os(&path))
                .and_then(|mut file| file.write_all(b"y"))
                .unwrap_or_else(|error| fail("write", &path, &error));
        }
        self.tell_some("CLOSE_WRITE", &path, object, 2, GONE - 1);
        self.nodes[object].written_at = Some((path, self.nodes[object].moves));
        self.ended();
    }

    /// Changes the mode of a file.
    pub(crate) fn chmod(&mut self, object: Object, mode: u32) {
        self.begins();
        let path = self.path(object);
        if self.hands {
            fs::set_permissions(os(&path), fs::Permissions::from_mode(mode))
                .unwrap_or_else(|error| fail("chmod", &path, &error));
        }
        if let Some(written) = self.tell_same_record(object, &path) {
            self.tell_instead("ATTRIB", &written, object, 1, GONE - 1);
        }
        self.tell_some("ATTRIB", &path, object, 1, GONE - 1);
        self.ended();
    }

    /// Gives a file a second name for a moment.
    pub(crate) fn link_and_unlink(&mut self, object: Object, name: impl AsRef<[u8]>) {
        self.begins();
        let path = self.path(object);
        let parent = self.nodes[object].parent.expect("below the top");
        self.nodes[object].was_linked = true;
        let mut second = self.path(parent);
        second.push(b'/');
        second.extend_from_slice(name.as_ref());
        if self.hands {
            fs::hard_link(os(&path), os(&second))
                .unwrap_or_else(|error| fail("link", &second, &error));
        }
        self.tell("CREATE", &second, None, object, 1);
        self.tell_attrib(object, &path);
        // Of records read together nothing says which of the two names went first.
        for kind in ["ATTRIB", "MOVE_SELF"] {
            self.tell_instead(kind, &second, object, 1, GONE);
        }
        self.ended();
        self.begins();
        if self.hands {
            fs::remove_file(os(&second)).unwrap_or_else(|error| fail("unlink", &second, &error));
        }
        self.tell("DELETE", &second, None, object, GONE - 1);
        self.tell_attrib(object, &path);
        for _ in 0..2 {
            self.tell_instead("ATTRIB", &second, object, 1, GONE - 1);
        }
        // Whoever has seen no more of it than that name's end takes it for the last one.
        self.tell_instead("DELETE_SELF", &second, object, 1, GONE);
        self.ended();
    }

    pub(crate) fn rename(&mut self, object: Object, parent: Object, name: impl AsRef<[u8]>) {
        self.begins();
        let old = self.path(object);
        self.place(object, parent, name.as_ref());
        let new = self.path(object);
        if self.hands {
            fs::rename(os(&old), os(&new)).unwrap_or_else(|error| fail("rename to", &new, &error));
        }
        self.moved(object, &old, &new);
        self.ended();
    }

    /// Renames a directory over an empty one, or a file over a file.
    pub(crate) fn rename_over(&mut self, object: Object, replaced: Object) {
        self.begins();
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
        self.tell_end(replaced, &new);
        if self.watched(&new)
            && let Some(book) = &mut self.book
        {
            // The kernel says nothing of the name that was replaced; a recorder may say it.
            book.may("DELETE", &new, self.first + replaced, GONE, GONE);
        }
        self.ended();
    }

    pub(crate) fn exchange(&mut self, one: Object, two: Object) {
        self.begins();
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
        self.ended();
    }

    pub(crate) fn unlink(&mut self, object: Object) {
        self.begins();
        let path = self.path(object);
        if self.hands {
            fs::remove_file(os(&path)).unwrap_or_else(|error| fail("unlink", &path, &error));
        }
        self.tell_same_record(object, &path);
        self.tell_attrib(object, &path);
        self.tell_end(object, &path);
        self.tell("DELETE", &path, None, object, GONE);
        self.ended();
    }

    pub(crate) fn rmdir(&mut self, object: Object) {
        self.begins();
        let path = self.path(object);
        if self.hands {
            fs::remove_dir(os(&path)).unwrap_or_else(|error| fail("rmdir", &path, &error));
        }
        self.tell("DELETE_SELF", &path, None, object, GONE);
        self.tell("DELETE", &path, None, object, GONE);
        self.ended();
    }

    fn node(&mut self, parent: Option<Object>, name: &[u8]) -> Object {
        self.nodes.push(Node {
            parent,
            name: name.to_vec(),
            moves: 0,
            homes: Vec::new(),
            written_at: None,
            was_linked: false,
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

    /// Something more under the name of an earlier write; its path then, when an ancestor was renamed
    /// meanwhile. All bits of one name are in one record, so nothing tells a close before that rename
    /// from one after it.
    fn tell_same_record(&mut self, object: Object, path: &[u8]) -> Option<Vec<u8>> {
        let node = &self.nodes[object];
        let (written, moves) = node.written_at.clone()?;
        if moves != node.moves || written == path {
            return None;
        }
        self.tell_instead("CLOSE_WRITE", path, object, 2, 2);
        Some(written)
    }

    /// The change of the link count: told of the object alone, so it merges with an earlier MOVE_SELF.
    fn tell_attrib(&mut self, object: Object, path: &[u8]) {
        let homes = self.nodes[object].homes.clone();
        for home in homes.iter().filter(|home| *home != path) {
            self.tell_instead("ATTRIB", home, object, 1, GONE - 1);
        }
        self.tell_some("ATTRIB", path, object, 1, GONE - 1);
    }

    fn tell_end(&mut self, object: Object, path: &[u8]) {
        if self.nodes[object].was_linked {
            self.tell_some("DELETE_SELF", path, object, GONE, GONE);
        } else {
            self.tell("DELETE_SELF", path, None, object, GONE);
        }
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
        let Some(book) = &mut self.book else { return };
        if watched {
            book.must(kind, path, other, self.first + object, phase);
        } else {
            book.outside(kind, (path, other), self.first + object);
        }
    }

    fn tell_some(&mut self, kind: &'static str, path: &[u8], object: Object, from: u32, to: u32) {
        let watched = self.watched(path);
        let Some(book) = &mut self.book else { return };
        if watched {
            book.some(kind, path, self.first + object, from, to);
        } else {
            book.outside(kind, (path, None), self.first + object);
        }
    }

    fn tell_instead(
        &mut self,
        kind: &'static str,
        path: &[u8],
        object: Object,
        from: u32,
        to: u32,
    ) {
        let watched = self.watched(path);
        let Some(book) = &mut self.book else { return };
        if watched {
            book.instead(kind, path, self.first + object, from, to);
        } else {
            book.outside(kind, (path, None), self.first + object);
        }
    }

    fn begins(&mut self) {
        if let Some(witness) = &mut self.witness {
            witness.before();
        }
    }

    fn ended(&mut self) {
        if let Some(witness) = &mut self.witness {
            witness.after(self.book.as_mut());
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
