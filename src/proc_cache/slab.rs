//! Where the lives of processes are kept, found by pid and linked to their parents.

use std::collections::HashMap;

use super::process::{Id, Process};

/// Processes by pid, the newest life of each first.
#[derive(Debug, Default)]
pub(super) struct Slab {
    places: Vec<Option<Process>>,
    free: Vec<Id>,
    newest: HashMap<u32, Id>,
    next_serial: u64,
}

impl Slab {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn get(&self, id: Id) -> Option<&Process> {
        self.places.get(id as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Process> {
        self.places.get_mut(id as usize)?.as_mut()
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
        let places = self.places.iter().enumerate();
        places.filter_map(|(id, place)| Some((id as Id, place.as_ref()?)))
    }

    /// Adds a life, which becomes the newest of its pid.
    pub(super) fn insert(&mut self, mut process: Process) -> Id {
        process.serial = self.next_serial;
        self.next_serial += 1;
        let id = self.free.pop().unwrap_or(self.places.len() as Id);
        process.older = self.newest.insert(process.pid, id);
        let parent = process.parent;
        if id as usize == self.places.len() {
            self.places.push(Some(process));
        } else {
            self.places[id as usize] = Some(process);
        }
        self.count_child(parent, 1);
        id
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
        let Some(process) = self.places.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(id);
        self.unlink(id, &process);
        self.count_child(process.parent, -1);
        self.remove_unneeded(process.parent);
    }

    fn remove_unneeded(&mut self, mut id: Option<Id>) {
        // A loop, not recursion: the line of ancestors may be long.
        while let Some(process) = id.and_then(|id| self.get(id)) {
            if !process.expired || process.children > 0 {
                return;
            }
            let parent = process.parent;
            let Some(at) = id else { return };
            let Some(process) = self.places[at as usize].take() else {
                return;
            };
            self.free.push(at);
            self.unlink(at, &process);
            self.count_child(parent, -1);
            id = parent;
        }
    }

    fn unlink(&mut self, id: Id, process: &Process) {
        let Some(mut at) = self.newest(process.pid) else {
            return;
        };
        if at == id {
            match process.older {
                Some(older) => self.newest.insert(process.pid, older),
                None => self.newest.remove(&process.pid),
            };
            return;
        }
        while let Some(life) = self.get_mut(at) {
            if life.older == Some(id) {
                life.older = process.older;
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
        while self.places.last().is_some_and(Option::is_none) {
            self.places.pop();
        }
        let len = self.places.len();
        self.free.retain(|&id| (id as usize) < len);
        if len < self.places.capacity() / 4 {
            self.places.shrink_to_fit();
        }
    }
}
