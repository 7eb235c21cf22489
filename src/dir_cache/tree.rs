//! The tree of directories: every known directory by its handle, with its parent and its name.
//!
//! A rename of a directory is one write, and every path below it is right again. A node is small
//! (a handle, a name and 20 bytes) because a million of them must fit: handle and name lie behind
//! each other in one arena, the index holds node numbers only.
//!
//! A node may be *unknown*: its handle was seen, its place not yet. A node may be *buried*: its
//! directory is gone, but records that were merged into earlier ones may still speak of it, and so
//! may processes that hold files in it open.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::fid_parser::raw::{FsId, HandleKey};

/// Number of a directory in the tree; valid until [`DirTree::trim`] drops the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// Where a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Seen, but nobody has said yet where it is.
    Unknown,
    /// It has no parent that could be seen: the root of a filesystem, or outside every mount.
    Top,
    /// It is `name` in `parent`.
    In {
        /// The directory it is in.
        parent: NodeId,
        /// Its name there.
        name: &'a [u8],
    },
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    /// Where in the arena its handle begins; the name follows the handle.
    at: u32,
    /// Nodes and files that refer to this one; it stays while there are any.
    references: u32,
    fs: FsId,
    used: u16,
    handle_len: u8,
    name_len: u8,
    flags: u8,
}

const NOWHERE: u32 = u32::MAX;
const PLACED: u8 = 1;
const BURIED: u8 = 2;
const PINNED: u8 = 4;
const FREE: u8 = 8;
const RECENT: u8 = 16;
const UNCONFIRMED: u8 = 32;
const GIVEN_UP: u8 = 64;
const OUTSIDE: u8 = 128;

/// The directories of all watched filesystems.
#[derive(Debug)]
pub struct DirTree {
    nodes: Vec<Node>,
    free: Vec<u32>,
    arena: Vec<u8>,
    garbage: usize,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    capacity: usize,
    hand: usize,
    now: u16,
    ttl: u16,
    /// The time was told.
    is_timed: bool,
}

impl DirTree {
    /// Makes an empty tree that keeps about `capacity` directories.
    ///
    /// `ttl` is the number of [`DirTree::set_now`] ticks after which an unused one may go; 0 is never.
    pub fn new(capacity: usize, ttl: u16) -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            arena: Vec::new(),
            garbage: 0,
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            capacity,
            hand: 0,
            now: 0,
            is_timed: false,
            ttl,
        }
    }

    /// Number of directories known or seen.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no directory is known.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether as many directories are known as are to be kept.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// Bytes in use for the directories known.
    pub fn bytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>() + self.arena.len() + self.index.allocation_size()
    }

    /// Tells the coarse time against which disuse is measured. What was learnt before it was told first is as old.
    pub fn set_now(&mut self, tick: u16) {
        if !std::mem::replace(&mut self.is_timed, true) {
            self.nodes.iter_mut().for_each(|node| node.used = tick);
        }
        self.now = tick;
    }

    /// Returns the directory with this handle, if it was seen before.
    pub fn find(&self, key: &HandleKey) -> Option<NodeId> {
        let hash = self.hash(key.fs(), stored_kind(key), key.bytes());
        self.index
            .find(hash, |id| self.is_key(*id, key))
            .map(|id| NodeId(*id))
    }

    /// Returns the directory with this handle; a new one is unknown.
    pub fn intern(&mut self, key: &HandleKey) -> NodeId {
        if let Some(id) = self.find(key) {
            let now = self.now;
            let node = self.node_mut(id);
            node.used = now;
            node.flags |= RECENT;
            return id;
        }
        let at = self.store(stored_kind(key), key.bytes(), b"");
        let node = Node {
            parent: NOWHERE,
            at,
            references: 0,
            fs: key.fs(),
            used: self.now,
            handle_len: key.bytes().len().to_le_bytes()[0],
            name_len: 0,
            flags: RECENT,
        };
        let id = if let Some(id) = self.free.pop() {
            self.nodes[id as usize] = node;
            id
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1)
                .expect("a handle and a name need more than a byte, and the arena ends at 4 GiB")
        };
        let hash = self.hash(key.fs(), stored_kind(key), key.bytes());
        let Self {
            index,
            nodes,
            arena,
            hasher,
            ..
        } = self;
        index.insert_unique(hash, id, |other| {
            let node = &nodes[*other as usize];
            hash_of(
                hasher,
                node.fs,
                &arena[node.at as usize..][..1 + usize::from(node.handle_len)],
            )
        });
        NodeId(id)
    }

    /// The handle of a directory.
    pub fn key(&self, id: NodeId) -> HandleKey {
        let node = self.node(id);
        let stored = &self.arena[node.at as usize..][..1 + usize::from(node.handle_len)];
        HandleKey::new(node.fs, i32::from(stored[0]), &stored[1..])
    }

    /// Where the directory is.
    pub fn place(&self, id: NodeId) -> Place<'_> {
        let node = self.node(id);
        match (node.flags & PLACED != 0, node.parent) {
            (false, _) => Place::Unknown,
            (true, NOWHERE) => Place::Top,
            (true, parent) => {
                let from = node.at as usize + 1 + usize::from(node.handle_len);
                Place::In {
                    parent: NodeId(parent),
                    name: &self.arena[from..from + usize::from(node.name_len)],
                }
            }
        }
    }

    /// Whether nobody has said yet where the directory is.
    pub fn is_unknown(&self, id: NodeId) -> bool {
        self.node(id).flags & PLACED == 0
    }

    /// Puts the directory into `parent` under `name`, as an event said.
    pub fn put(&mut self, id: NodeId, parent: NodeId, name: &[u8]) {
        let (old_parent, at, handle_len, old_len) = {
            let node = self.node(id);
            (
                node.parent,
                node.at as usize,
                usize::from(node.handle_len),
                usize::from(node.name_len),
            )
        };
        let from = at + 1 + handle_len;
        if name.len() == old_len {
            self.arena[from..from + old_len].copy_from_slice(name);
        } else if from + old_len == self.arena.len() {
            // The newest entry, as it always is in a walk, simply grows.
            self.arena.truncate(from);
            self.arena.extend_from_slice(name);
        } else {
            let kind = self.arena[at];
            let handle: smallvec::SmallVec<[u8; 40]> = self.arena[at + 1..from].into();
            self.garbage += 1 + handle_len + old_len;
            let at = self.store(kind, &handle, name);
            self.node_mut(id).at = at;
        }
        if old_parent != parent.0 {
            self.node_mut(parent).references += 1;
            self.release_raw(old_parent);
        }
        let node = self.node_mut(id);
        node.name_len = name.len().to_le_bytes()[0];
        node.parent = parent.0;
        node.flags = (node.flags | PLACED) & !(BURIED | UNCONFIRMED | GIVEN_UP | OUTSIDE);
    }

    /// Says that the directory has no parent that can be seen.
    pub fn put_top(&mut self, id: NodeId) {
        let parent = self.node(id).parent;
        self.release_raw(parent);
        let node = self.node_mut(id);
        node.parent = NOWHERE;
        node.flags = (node.flags | PLACED) & !(BURIED | UNCONFIRMED | GIVEN_UP | OUTSIDE);
    }

    /// Notes whether a directory without parent lies where no watched mount reaches.
    pub fn set_outside(&mut self, id: NodeId, outside: bool) {
        let node = self.node_mut(id);
        node.flags = if outside {
            node.flags | OUTSIDE
        } else {
            node.flags & !OUTSIDE
        };
    }

    /// Forgets the places of all directories that no watched mount reached: one of them, or one above
    /// them, was moved to where it is reached. Returns them, to be asked for again.
    pub fn forget_outside(&mut self) -> Vec<NodeId> {
        let outside = |node: &Node| node.flags & (OUTSIDE | FREE) == OUTSIDE;
        let found: Vec<_> = (0..self.nodes.len() as u32)
            .filter(|at| outside(&self.nodes[*at as usize]))
            .map(NodeId)
            .collect();
        for id in &found {
            self.set_outside(*id, false);
            self.forget_place(*id);
        }
        found
    }

    /// Marks the place as the kernel's answer about *now*, which a record still unread may correct.
    pub fn set_unconfirmed(&mut self, id: NodeId, unconfirmed: bool) {
        let node = self.node_mut(id);
        node.flags = if unconfirmed {
            node.flags | UNCONFIRMED
        } else {
            node.flags & !UNCONFIRMED
        };
    }

    /// Whether the place is only an answer that nothing read since has confirmed.
    pub fn is_unconfirmed(&self, id: NodeId) -> bool {
        self.node(id).flags & UNCONFIRMED != 0
    }

    /// Whether a statement of a later record about the directory's place is news: it has no place, or only an answer.
    pub fn wants_statement(&self, id: NodeId) -> bool {
        let flags = self.node(id).flags;
        flags & PLACED == 0 || flags & UNCONFIRMED != 0
    }

    /// Forgets where the directory is, so that it is asked for again.
    pub fn forget_place(&mut self, id: NodeId) {
        let parent = self.node(id).parent;
        self.release_raw(parent);
        let node = self.node_mut(id);
        node.parent = NOWHERE;
        node.flags &= !(PLACED | UNCONFIRMED | GIVEN_UP);
    }

    /// Notes that the directory is gone; its place stays for records that come late.
    pub fn bury(&mut self, id: NodeId) {
        self.node_mut(id).flags |= BURIED;
    }

    /// Notes that nobody will ever say where the directory is.
    pub fn give_up(&mut self, id: NodeId) {
        self.node_mut(id).flags |= GIVEN_UP;
    }

    /// Whether nobody will ever say where the directory is.
    pub fn is_given_up(&self, id: NodeId) -> bool {
        self.node(id).flags & GIVEN_UP != 0
    }

    /// Keeps the directory whatever the capacity: it could not be asked for again.
    pub fn pin(&mut self, id: NodeId) {
        self.node_mut(id).flags |= PINNED;
    }

    /// Lets a pinned directory go when room is needed.
    pub fn unpin(&mut self, id: NodeId) {
        self.node_mut(id).flags &= !PINNED;
    }

    /// Keeps the directory while something outside the tree refers to it.
    pub fn retain(&mut self, id: NodeId) {
        self.node_mut(id).references += 1;
    }

    /// Takes one [`DirTree::retain`] back.
    pub fn release(&mut self, id: NodeId) {
        self.release_raw(id.0);
    }

    /// Looks for the directory `name` in `parent` by going through all of them.
    ///
    /// Only for kernels before 5.17, whose rename records do not say what was renamed.
    pub fn find_child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        (0..self.nodes.len() as u32).map(NodeId).find(|id| {
            let node = self.node(*id);
            node.flags & (FREE | BURIED) == 0
                && node.parent == parent.0
                && self.place(*id) == Place::In { parent, name }
        })
    }

    /// Drops directories until the capacity holds, buried and long unused ones first; says whether any went.
    ///
    /// To be called between batches only: it ends the validity of [`NodeId`]s.
    pub fn trim(&mut self) -> bool {
        let before = self.len();
        let mut steps = if before > self.capacity {
            self.nodes.len() * 2
        } else {
            self.nodes.len().min(64)
        };
        while steps > 0 && !self.nodes.is_empty() {
            steps -= 1;
            self.hand = (self.hand + 1) % self.nodes.len();
            let node = &mut self.nodes[self.hand];
            let over = self.index.len() > self.capacity;
            if node.flags & (FREE | PINNED) != 0 || node.references > 0 {
                continue;
            }
            let unused = self.now.wrapping_sub(node.used);
            let old = self.ttl > 0 && unused > self.ttl || node.flags & BURIED != 0 && unused > 1;
            if old || over && node.flags & (RECENT | BURIED) != RECENT {
                self.drop_node(self.hand);
            } else {
                node.flags &= !RECENT;
            }
        }
        if self.garbage > 1 << 16 && self.garbage * 2 > self.arena.len() {
            self.compact();
        }
        self.len() < before
    }

    /// Forgets every directory that is not pinned, after events were lost.
    pub fn forget_all(&mut self) {
        // Leaves first, then what they referred to: a round for each level that is left.
        loop {
            let before = self.len();
            for at in 0..self.nodes.len() {
                let node = &self.nodes[at];
                if node.flags & (FREE | PINNED) == 0 && node.references == 0 {
                    self.drop_node(at);
                }
            }
            if self.len() == before {
                break;
            }
        }
        for id in (0..self.nodes.len() as u32).map(NodeId) {
            if self.node(id).flags & (FREE | PINNED) == 0 {
                self.forget_place(id);
            }
        }
    }

    /// Forgets all directories of a filesystem: none of them is found any more, whoever is the next to have its number.
    /// What still refers to one keeps it.
    pub fn forget_filesystem(&mut self, fs: FsId) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].fs == fs && self.nodes[at].flags & FREE == 0 {
                self.hide(at);
                let flags = &mut self.nodes[at].flags;
                *flags = *flags & !(PINNED | RECENT) | BURIED;
            }
        }
    }

    /// Takes a directory out of the index.
    fn hide(&mut self, at: usize) {
        let node = &self.nodes[at];
        let stored = &self.arena[node.at as usize..][..1 + usize::from(node.handle_len)];
        let hash = hash_of(&self.hasher, node.fs, stored);
        if let Ok(entry) = self.index.find_entry(hash, |id| *id as usize == at) {
            entry.remove();
        }
    }

    fn drop_node(&mut self, at: usize) {
        self.hide(at);
        let node = self.nodes[at];
        self.garbage += 1 + usize::from(node.handle_len) + usize::from(node.name_len);
        self.nodes[at].flags = FREE;
        self.free.push(at as u32);
        self.release_raw(node.parent);
    }

    fn release_raw(&mut self, id: u32) {
        if id != NOWHERE {
            let node = &mut self.nodes[id as usize];
            node.references = node.references.saturating_sub(1);
        }
    }

    fn compact(&mut self) {
        let old = std::mem::take(&mut self.arena);
        self.arena.reserve(old.len() - self.garbage);
        for node in self.nodes.iter_mut().filter(|node| node.flags & FREE == 0) {
            let len = 1 + usize::from(node.handle_len) + usize::from(node.name_len);
            let from = node.at as usize;
            node.at = self.arena.len() as u32;
            self.arena.extend_from_slice(&old[from..from + len]);
        }
        self.garbage = 0;
    }

    fn store(&mut self, kind: u8, handle: &[u8], name: &[u8]) -> u32 {
        let at = u32::try_from(self.arena.len()).expect("the arena is compacted long before 4 GiB");
        self.arena.push(kind);
        self.arena.extend_from_slice(handle);
        self.arena.extend_from_slice(name);
        at
    }

    fn is_key(&self, id: u32, key: &HandleKey) -> bool {
        let node = &self.nodes[id as usize];
        node.fs == key.fs()
            && usize::from(node.handle_len) == key.bytes().len()
            && self.arena[node.at as usize] == stored_kind(key)
            && &self.arena[node.at as usize + 1..][..usize::from(node.handle_len)] == key.bytes()
    }

    fn hash(&self, fs: FsId, kind: u8, handle: &[u8]) -> u64 {
        let mut stored = [0; HandleKey::CAPACITY + 1];
        stored[0] = kind;
        stored[1..=handle.len()].copy_from_slice(handle);
        hash_of(&self.hasher, fs, &stored[..=handle.len()])
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }
}

fn stored_kind(key: &HandleKey) -> u8 {
    key.kind().to_le_bytes()[0]
}

fn hash_of(hasher: &DefaultHashBuilder, fs: FsId, stored: &[u8]) -> u64 {
    hasher.hash_one((fs, stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(n: u32) -> HandleKey {
        HandleKey::new(1, 1, &n.to_le_bytes())
    }

    fn path(tree: &DirTree, mut id: NodeId) -> String {
        let mut names = Vec::new();
        while let Place::In { parent, name } = tree.place(id) {
            names.push(String::from_utf8(name.to_vec()).unwrap());
            id = parent;
        }
        names.reverse();
        names.join("/")
    }

    #[test]
    fn rename_of_a_parent_moves_every_known_child() {
        let mut tree = DirTree::new(100, 0);
        let ids: Vec<_> = (0..4).map(|n| tree.intern(&key(n))).collect();
        tree.put_top(ids[0]);
        tree.put(ids[1], ids[0], b"a");
        tree.put(ids[2], ids[1], b"b");
        tree.put(ids[3], ids[2], b"c");
        assert_eq!(path(&tree, ids[3]), "a/b/c");
        tree.put(ids[1], ids[0], b"renamed");
        assert_eq!(path(&tree, ids[3]), "renamed/b/c");
        assert_eq!(tree.key(ids[3]), key(3));
    }

    #[test]
    fn parents_of_kept_directories_outlive_the_capacity() {
        let mut tree = DirTree::new(10, 0);
        let top = tree.intern(&key(0));
        tree.put_top(top);
        let mut parent = top;
        for n in 1..=50 {
            let id = tree.intern(&key(n));
            tree.put(id, parent, b"d");
            if n <= 20 {
                parent = id;
            }
        }
        tree.retain(parent);
        while tree.trim() {}
        assert_eq!(tree.len(), 21);
        assert_eq!(path(&tree, parent).split('/').count(), 20);
    }

    #[test]
    fn the_unused_go_after_their_time() {
        let mut tree = DirTree::new(100, 5);
        let id = tree.intern(&key(1));
        tree.put_top(id);
        // The machine has run for long when the first directories are learnt.
        for (now, kept) in [(1000, 1), (1005, 1), (1006, 0)] {
            tree.set_now(now);
            tree.trim();
            assert_eq!(tree.len(), kept, "{now}");
        }
    }

    #[test]
    fn nothing_is_left_of_a_filesystem_that_is_gone() {
        let mut tree = DirTree::new(2, 0);
        let other = |n: u32| HandleKey::new(2, 1, &n.to_le_bytes());
        let (top, kept) = (tree.intern(&key(0)), tree.intern(&other(0)));
        tree.put_top(top);
        tree.put_top(kept);
        for n in 1..=50 {
            let id = tree.intern(&key(n));
            tree.put(id, top, b"marked");
            tree.pin(id);
        }
        let held = tree.find(&key(7)).unwrap();
        tree.retain(held);
        tree.forget_filesystem(1);
        assert_eq!(tree.len(), 1);
        assert_eq!(tree.find(&other(0)), Some(kept));
        assert_eq!(path(&tree, held), "marked");
        // Another one has the number.
        let next = tree.intern(&key(7));
        assert!(next != held && tree.is_unknown(next));
        for now in 1..=9 {
            tree.set_now(now);
            tree.trim();
        }
        let left = tree.nodes.iter().filter(|node| node.flags & FREE == 0);
        assert_eq!(
            left.count(),
            4,
            "two that are known, one that is held, and its parent"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_map(steps in proptest::collection::vec((0_u32..12, 0_u32..12, "[a-z]{1,9}", 0_u8..8), 1..200)) {
            let mut tree = DirTree::new(1000, 0);
            let mut model: HashMap<u32, Option<(u32, String)>> = HashMap::new();
            for (child, parent, name, what) in steps {
                let id = tree.intern(&key(child));
                model.entry(child).or_default();
                match what {
                    0 => { tree.forget_place(id); model.insert(child, None); }
                    1 => { tree.compact(); }
                    _ => {
                        let parent_id = tree.intern(&key(parent));
                        model.entry(parent).or_default();
                        tree.put(id, parent_id, name.as_bytes());
                        model.insert(child, Some((parent, name)));
                    }
                }
            }
            prop_assert_eq!(tree.len(), model.len());
            for (child, place) in &model {
                let id = tree.find(&key(*child)).unwrap();
                match (tree.place(id), place) {
                    (Place::Unknown, None) => {}
                    (Place::In { parent, name }, Some((p, n))) => {
                        prop_assert_eq!(tree.key(parent), key(*p));
                        prop_assert_eq!(name, n.as_bytes());
                    }
                    (is, should) => prop_assert!(false, "{:?} instead of {:?}", is, should),
                }
            }
        }
    }
}
