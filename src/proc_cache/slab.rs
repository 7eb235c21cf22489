//! Where the lives of processes are kept, found by pid and linked to their parents.

use hashbrown::HashMap;

use super::process::{Id, Process};

/// Places in a chunk.
const CHUNK: usize = 64;

/// Processes by pid, the newest life of each first.
#[derive(Debug, Default)]
pub(super) struct Slab {
    /// In pieces, so that more of them is not a copy of all.
    chunks: Vec<Box<[Option<Process>]>>,
    free: Vec<Id>,
    newest: HashMap<u32, Id>,
    next_serial: u64,
}

impl Slab {
    pub(super) fn len(&self) -> usize {
        self.chunks.len() * CHUNK - self.free.len()
    }

    pub(super) fn get(&self, id: Id) -> Option<&Process> {
        self.place(id)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Process> {
        self.place_mut(id)?.as_mut()
    }

    fn place(&self, id: Id) -> Option<&Option<Process>> {
        let id = id as usize;
        self.chunks.get(id / CHUNK)?.get(id % CHUNK)
    }

    fn place_mut(&mut self, id: Id) -> Option<&mut Option<Process>> {
        let id = id as usize;
        self.chunks.get_mut(id / CHUNK)?.get_mut(id % CHUNK)
    }

    /// The newest life of `pid`.
    pub(super) fn newest(&self, pid: u32) -> Option<Id> {
        self.newest.get(&pid).copied()
    }

    /// The newest life of `pid` that had begun by `when`.
    pub(super) fn born_by(&self, pid: u32, when: u64) -> Option<Id> {
        self.lives(pid)
            .find(|&(_, life)| life.born <= when)
            .map(|(id, _)| id)
    }

    /// All lives of `pid`, the newest first.
    pub(super) fn lives(&self, pid: u32) -> impl Iterator<Item = (Id, &Process)> {
        let mut next = self.newest(pid);
        std::iter::from_fn(move || {
            let id = next?;
            let life = self.get(id)?;
            next = life.older;
            Some((id, life))
        })
    }

    /// All lives of all pids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Process)> {
        let places = self.chunks.iter().flatten().enumerate();
        places.filter_map(|(id, place)| Some((id as Id, place.as_ref()?)))
    }

    /// Adds a life, which becomes the newest of its pid.
    pub(super) fn insert(&mut self, mut process: Process) -> Id {
        process.serial = self.next_serial;
        self.next_serial += 1;
        let id = self.free.pop().unwrap_or_else(|| self.grow());
        process.older = self.newest.insert(process.pid, id);
        let parent = process.parent;
        if let Some(place) = self.place_mut(id) {
            *place = Some(process);
        }
        self.count_child(parent, 1);
        id
    }

    /// Adds a chunk and returns its first place, the others of which are free.
    fn grow(&mut self) -> Id {
        let first = (self.chunks.len() * CHUNK) as Id;
        self.chunks.push((0..CHUNK).map(|_| None).collect());
        self.free.extend((first + 1..first + CHUNK as Id).rev());
        first
    }

    /// Gives `id` another parent.
    pub(super) fn adopt(&mut self, id: Id, parent: Option<Id>) {
        let depth = parent
            .and_then(|id| self.get(id))
            .map_or(0, |parent| parent.depth + 1);
        let Some(process) = self.get_mut(id) else {
            return;
        };
        process.depth = depth;
        let before = std::mem::replace(&mut process.parent, parent);
        self.count_child(parent, 1);
        self.count_child(before, -1);
        self.remove_unneeded(before);
    }

    /// Takes out a life that nothing descends from, and expired ancestors that it was the last to need.
    pub(super) fn remove(&mut self, id: Id) {
        let parent = self.take_out(id);
        self.remove_unneeded(parent);
    }

    fn take_out(&mut self, id: Id) -> Option<Id> {
        let &Process {
            pid, older, parent, ..
        } = self.get(id)?;
        *self.place_mut(id)? = None;
        self.free.push(id);
        self.unlink(id, pid, older);
        self.count_child(parent, -1);
        parent
    }

    fn remove_unneeded(&mut self, mut id: Option<Id>) {
        // A loop, not recursion: the line of ancestors may be long.
        while let Some(process) = id.and_then(|id| self.get(id)) {
            if !process.expired || process.children > 0 {
                return;
            }
            id = id.and_then(|id| self.take_out(id));
        }
    }

    fn unlink(&mut self, id: Id, pid: u32, older: Option<Id>) {
        let Some(mut at) = self.newest(pid) else {
            return;
        };
        if at == id {
            match older {
                Some(older) => self.newest.insert(pid, older),
                None => self.newest.remove(&pid),
            };
            return;
        }
        while let Some(life) = self.get_mut(at) {
            if life.older == Some(id) {
                life.older = older;
                return;
            }
            let Some(older) = life.older else { return };
            at = older;
        }
    }

    fn count_child(&mut self, parent: Option<Id>, change: i32) {
        if let Some(parent) = parent.and_then(|id| self.get_mut(id)) {
            parent.children = parent.children.saturating_add_signed(change);
        }
    }

    /// Gives back memory that a burst of processes has taken.
    pub(super) fn shrink(&mut self) {
        if self.newest.capacity() > 1024 && self.newest.len() < self.newest.capacity() / 4 {
            self.newest.shrink_to_fit();
        }
        let before = self.chunks.len();
        while let Some(last) = self.chunks.last()
            && last.iter().all(Option::is_none)
        {
            self.chunks.pop();
        }
        if self.chunks.len() < before {
            let len = self.chunks.len() * CHUNK;
            self.free.retain(|&id| (id as usize) < len);
        }
    }
}
