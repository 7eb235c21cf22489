//! The records read and not yet told, with handles turned into numbers.
//!
//! Interning runs ahead of telling: while the tree still shows the state before the first untold
//! record, the whole window is already known. So a directory without a place takes it from the
//! first later record that states it: the old side of its rename, or its own removal. What was
//! read later than an answer of the kernel corrects that answer in the same way.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Batch;
use super::adrift::DirMoves;
use super::brief::Brief;
use super::legacy::PendingMove;
use crate::dir_cache::{DirTree, NodeId};
use crate::event::WallTime;
use crate::fid_parser::bits;
use crate::fid_parser::raw::{Entry, Fid, FsId, HandleKey, RawEvent};
use crate::fid_parser::wire;
use crate::proc_cache::Span;

/// A name, as a piece of a batch's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameAt {
    batch: u32,
    from: u32,
    len: u16,
}

/// A directory and a name in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) dir: NodeId,
    pub(super) name: NameAt,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Object {
    None,
    Dir(NodeId),
    File(u32),
}

/// One record of the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rec {
    pub(super) mask: u64,
    pub(super) pid: u32,
    pub(super) batch: u32,
    pub(super) fs: FsId,
    pub(super) object: Object,
    /// Where it happened; the old side of a rename.
    pub(super) at: Option<At>,
    /// The new side of a rename.
    pub(super) to: Option<At>,
    /// A part of its bits was made a record of its own.
    pub(super) was_split: bool,
    /// The next record about the same file, 0 when there is none.
    pub(super) next_same: u32,
    /// Its number in the order of the queue.
    pub(super) place: u32,
}

/// The opening of a program by an exec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exec {
    pub(super) pid: u32,
    pub(super) name: NameAt,
    pub(super) place: u64,
    /// It was added to an older record of the same file.
    pub(super) is_merged: bool,
}

/// A file that records of the window speak of.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowFile {
    pub(super) key: HandleKey,
    pub(super) first: u32,
    pub(super) last: u32,
    /// Its DELETE_SELF is in the window: it cannot be asked for anything any more.
    pub(super) is_gone: bool,
    /// The recorder held it open at its end: more can be told of it in the next window.
    pub(super) is_held: bool,
    /// Where it was last seen, if it needs no place in the table of files.
    pub(super) brief: Option<Brief>,
    /// The name in what was told last, for when the table of files had no room to keep it.
    pub(super) told: Option<At>,
    /// A record of the window has renamed it.
    pub(super) is_renamed: bool,
    /// The record by which it came back to a name that it had left, and may have left once more.
    pub(super) came_back_by: Option<u32>,
    /// The record of the window that took a name from it last.
    pub(super) unnamed_by: Option<u32>,
}

/// Which filesystem number belongs to the fsid of a record, for each group of marks.
pub(super) type Filesystems = HashMap<(u16, u64), FsId>;

#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) batches: Vec<Batch>,
    pub(super) recs: Vec<Rec>,
    /// The first record that is not told yet.
    pub(super) next: usize,
    pub(super) files: Vec<WindowFile>,
    file_index: HashMap<HandleKey, u32>,
    /// Renames of directories.
    pub(super) dir_moves: DirMoves,
    /// Directories that were met without a place.
    pub(super) unknown: Vec<NodeId>,
    /// The kernel's own queue ran over.
    pub(super) overflowed: bool,
    /// Bytes that the parser could not read.
    pub(super) malformed: u64,
    /// The records come from a kernel before 5.17, without handles of children and without RENAME.
    pub(super) legacy: bool,
    /// The recorder itself.
    pub(super) own_pid: u32,
    pub(super) moves: SmallVec<[PendingMove; 4]>,
    /// The openings of programs that were met last.
    pub(super) execs: Vec<Exec>,
    /// The group in whose queue they stand.
    pub(super) exec_group: Option<u16>,
    /// Whether anybody wants to be told of them.
    pub(super) tells_execs: bool,
    /// Records met before those of this window.
    base: u64,
    /// Directories whose DELETE has not come yet, and who removes them.
    pub(super) removing: SmallVec<[(u32, NodeId); 4]>,
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.recs.len()
    }

    pub(super) fn name(&self, name: NameAt) -> &[u8] {
        &self.batches[name.batch as usize].bytes[name.from as usize..][..usize::from(name.len)]
    }

    /// Whether two places are the same entry of one directory.
    pub(super) fn is_same(&self, one: At, other: At) -> bool {
        one.dir == other.dir
            && (one.name == other.name || self.name(one.name) == self.name(other.name))
    }

    /// The records about the same file behind that one, with their places; not all where there are many.
    pub(super) fn later_of_same<'a>(&'a self, rec: &Rec) -> impl Iterator<Item = (u32, &'a Rec)> {
        let mut next = rec.next_same;
        std::iter::from_fn(move || {
            let index = Some(next).filter(|next| *next != 0)?;
            let rec = &self.recs[index as usize];
            next = rec.next_same;
            Some((index, rec))
        })
        .take(CHAIN)
    }

    /// The records about a file; not all where there are many.
    pub(super) fn records_of(&self, file: u32) -> impl Iterator<Item = &Rec> {
        let first = &self.recs[self.files[file as usize].first as usize];
        let later = self.later_of_same(first).map(|(_, later)| later);
        std::iter::once(first).chain(later)
    }

    /// Whether a record of an object alone says when its name went.
    ///
    /// A file may have been open for longer, so that tells only the change of its link count, as long as no other
    /// name can have caused that; a directory ends with its name, if nothing was added to the record.
    pub(super) fn says_when_unnamed(&self, end: &Rec) -> bool {
        end.at.is_none()
            && match end.object {
                Object::File(file) => {
                    end.mask == bits::ATTRIB | bits::DELETE_SELF && self.has_one_name(file)
                }
                Object::Dir(_) => end.mask & !bits::ONDIR == bits::DELETE_SELF,
                Object::None => false,
            }
    }

    /// Whether no record of the window shows a file under two names at a time.
    fn has_one_name(&self, file: u32) -> bool {
        let mut name = None;
        let mut count = 0;
        for rec in self.records_of(file) {
            count += 1;
            let is_other = |(at, name)| !self.is_same(at, name);
            if rec.at.zip(name).is_some_and(is_other) {
                return false;
            }
            name = rec.to.or(rec.at).or(name);
        }
        count <= CHAIN
    }

    pub(super) fn wall(&self, rec: &Rec) -> WallTime {
        self.batches[rec.batch as usize].wall
    }

    pub(super) fn span(&self, rec: &Rec) -> Span {
        self.span_of_batch(rec.batch)
    }

    pub(super) fn span_of(&self, name: NameAt) -> Span {
        self.span_of_batch(name.batch)
    }

    fn span_of_batch(&self, batch: u32) -> Span {
        let batch = &self.batches[batch as usize];
        Span {
            from: batch.from,
            to: batch.mono,
        }
    }

    /// The place of a record in the queue that also shows the openings of programs.
    ///
    /// Records have odd places, so that there is one before each of them; 0 is no place.
    pub(super) fn place(&self, rec: &Rec) -> Option<u64> {
        let group = self.batches[rec.batch as usize].group;
        (self.exec_group == Some(group)).then(|| self.place_of(rec.place))
    }

    fn place_of(&self, number: u32) -> u64 {
        2 * (self.base + u64::from(number)) + 3
    }

    /// Ends the window when all of it was told, and gives its memory back.
    pub(super) fn reset(&mut self) {
        self.base += self.recs.len() as u64 + 1;
        if self.recs.capacity() > 1 << 12 {
            *self = Self {
                legacy: self.legacy,
                own_pid: self.own_pid,
                malformed: self.malformed,
                exec_group: self.exec_group,
                tells_execs: self.tells_execs,
                base: self.base,
                ..Self::default()
            };
            return;
        }
        self.batches.clear();
        self.recs.clear();
        self.files.clear();
        self.file_index.clear();
        self.dir_moves.clear();
        self.moves.clear();
        self.removing.clear();
        self.execs.clear();
        self.next = 0;
    }

    /// Takes a batch in.
    pub(super) fn intern(&mut self, tree: &mut DirTree, filesystems: &Filesystems, batch: Batch) {
        let number = self.batches.len() as u32;
        let pieces = Pieces {
            number,
            base: batch.bytes.as_ptr().addr(),
            group: batch.group,
            filesystems,
        };
        for record in wire::records(&batch.bytes) {
            match record {
                Ok(event) if event.mask & bits::OVERFLOW != 0 => self.overflowed = true,
                Ok(event) => self.intern_event(tree, &pieces, &event),
                Err(_) => self.malformed += 1,
            }
        }
        self.batches.push(batch);
        if self.legacy {
            self.state_removals(tree, number);
        }
    }

    fn intern_event(&mut self, tree: &mut DirTree, pieces: &Pieces<'_>, event: &RawEvent<'_>) {
        let Some(fsid) = event
            .entry
            .or(event.old)
            .or(event.new)
            .map(|entry| entry.dir)
            .or(event.object)
            .map(|fid| fid.fsid)
        else {
            return;
        };
        let known = pieces.filesystem(fsid);
        let mut mask = event.mask & !bits::ON_CHILD;
        if mask & bits::OPEN_EXEC != 0 {
            if !self.tells_execs {
                mask &= !bits::OPEN_EXEC;
            }
            self.note_exec(pieces, event, known.is_some() && mask != 0);
        }
        let Some(fs) = known.filter(|_| mask != 0) else {
            return;
        };
        let on_dir = mask & bits::ONDIR != 0;
        let itself = event.entry.filter(|entry| entry.name == b".");
        let rename = mask & bits::RENAME != 0;
        let (mut at, mut to) = (None, None);
        if rename {
            at = event.old.map(|entry| self.at(tree, pieces, fs, &entry));
            to = event.new.map(|entry| self.at(tree, pieces, fs, &entry));
        } else if itself.is_none() {
            at = event.entry.map(|entry| self.at(tree, pieces, fs, &entry));
        }
        if self.legacy && mask & bits::MOVE_SELF != 0 {
            let dir = itself.map(|entry| self.directory(tree, fs, &entry.dir));
            self.complete_move(event.pid, dir, event.object.map(|fid| key(fs, &fid)));
        }
        let index = self.recs.len() as u32;
        let object = match (itself, event.object) {
            (Some(entry), _) => Object::Dir(self.directory(tree, fs, &entry.dir)),
            (None, Some(fid)) if on_dir => Object::Dir(tree.intern(&key(fs, &fid))),
            (None, Some(fid)) => self.file(index, key(fs, &fid)),
            (None, None) => Object::None,
        };
        let rec = Rec {
            mask,
            pid: event.pid,
            batch: pieces.number,
            fs,
            object,
            at,
            to,
            was_split: false,
            next_same: 0,
            place: index,
        };
        if let (Object::Dir(dir), true) = (object, rename) {
            self.dir_moves.entry(dir).or_default().push(index);
        }
        if let (Object::File(file), true) = (object, rec.mask & bits::DELETE_SELF != 0) {
            let file = &mut self.files[file as usize];
            file.is_gone = true;
            file.is_held |= rec.pid == self.own_pid;
        }
        if self.legacy {
            self.push_legacy(rec);
        } else {
            self.recs.push(rec);
        }
        if let (Object::Dir(dir), true) = (object, itself.is_none()) {
            let name = event
                .old
                .or(event.entry)
                .map_or(&b""[..], |entry| entry.name);
            self.note_statement(tree, dir, &rec, name);
        }
    }

    /// Takes note of the opening of a program: it stands at the place of its record or, if that is
    /// not kept, before the next one.
    fn note_exec(&mut self, pieces: &Pieces<'_>, event: &RawEvent<'_>, is_kept: bool) {
        let Some(entry) = event
            .entry
            .filter(|_| self.exec_group == Some(pieces.group))
        else {
            return;
        };
        // An exec opens and reads its program, too; but so did whoever looked at it before, and where
        // that is asked for nothing tells the two apart.
        let rest = event.mask & !(bits::OPEN_EXEC | bits::ON_CHILD);
        let next = self.place_of(self.recs.len() as u32);
        self.execs.push(Exec {
            pid: event.pid,
            name: pieces.name(&entry),
            place: if is_kept { next } else { next - 1 },
            is_merged: rest != 0,
        });
    }

    /// Remembers where a record puts a directory, when that is news.
    ///
    /// Every record before this one saw the directory where this one finds it.
    fn note_statement(&mut self, tree: &mut DirTree, dir: NodeId, rec: &Rec, name: &[u8]) {
        let states = rec.mask
            & (bits::RENAME | bits::CREATE | bits::DELETE | bits::MOVED_FROM | bits::MOVED_TO)
            != 0;
        match rec.at.filter(|_| states) {
            Some(at) if tree.wants_statement(dir) => tree.put(dir, at.dir, name),
            _ if tree.is_unknown(dir) && !tree.is_given_up(dir) => self.unknown.push(dir),
            _ => {}
        }
    }

    fn at(&mut self, tree: &mut DirTree, pieces: &Pieces<'_>, fs: FsId, entry: &Entry<'_>) -> At {
        let dir = self.directory(tree, fs, &entry.dir);
        let name = pieces.name(entry);
        At { dir, name }
    }

    fn directory(&mut self, tree: &mut DirTree, fs: FsId, fid: &Fid<'_>) -> NodeId {
        let dir = tree.intern(&key(fs, fid));
        if tree.is_unknown(dir) && !tree.is_given_up(dir) {
            self.unknown.push(dir);
        }
        dir
    }

    pub(super) fn file(&mut self, index: u32, key: HandleKey) -> Object {
        let Self {
            file_index,
            files,
            recs,
            ..
        } = self;
        let number = *file_index.entry(key).or_insert_with(|| {
            files.push(WindowFile {
                key,
                first: index,
                last: index,
                is_gone: false,
                is_held: false,
                brief: None,
                told: None,
                is_renamed: false,
                came_back_by: None,
                unnamed_by: None,
            });
            files.len() as u32 - 1
        });
        let file = &mut files[number as usize];
        if file.last != index {
            recs[file.last as usize].next_same = index;
            file.last = index;
        }
        Object::File(number)
    }
}

/// How far the chain of one file's records is followed: enough for any real file, and a file that
/// thousands of processes share does not make the whole window quadratic.
const CHAIN: usize = 64;

/// What is the same for all records of one batch.
struct Pieces<'a> {
    number: u32,
    base: usize,
    group: u16,
    filesystems: &'a Filesystems,
}

impl Pieces<'_> {
    fn filesystem(&self, fsid: u64) -> Option<FsId> {
        self.filesystems.get(&(self.group, fsid)).copied()
    }

    fn name(&self, entry: &Entry<'_>) -> NameAt {
        let from = (entry.name.as_ptr().addr() - self.base) as u32;
        let len = u16::try_from(entry.name.len()).unwrap_or(u16::MAX);
        NameAt {
            batch: self.number,
            from,
            len,
        }
    }
}

fn key(fs: FsId, fid: &Fid<'_>) -> HandleKey {
    HandleKey::new(fs, fid.kind, fid.handle)
}
