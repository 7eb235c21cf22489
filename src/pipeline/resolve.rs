//! Handles to places: asks for what no record states, and only answers that hold *at the event*.
//!
//! An answer of the kernel is about now. It is taken as unconfirmed, the queue is read until it is
//! empty, and only what no record read since contradicts is believed: whatever happened between
//! the event and the answer is in the queue by then.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::probe::{Probe, Whereabouts};
use super::window::{Object, Rec, Window};
use super::{Batch, Loss, Outcome, Pipeline};
use crate::dir_cache::{DirTree, NodeId, Place};
use crate::fid_parser::bits;

/// A directory that is gone, and whose removal has not been read yet.
///
/// The kernel unhashes a directory some microseconds before it queues the DELETE.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    dir: NodeId,
    until: u64,
}

/// How long the removal of a directory that is already gone is waited for, in nanoseconds.
const PATIENCE: u64 = 100_000_000;
/// What is said of a directory itself that a rename replaced; one that was removed keeps its link count.
const OVERWRITTEN: u64 = bits::ATTRIB | bits::DELETE_SELF;
/// How often the queue is read again before the rest is left to the next step.
const ROUNDS: usize = 16;

impl Pipeline {
    /// Finds a place for every directory of the window that has none; returns how many records can be told.
    pub(super) fn settle(&mut self, now: u64, probe: &mut dyn Probe) -> usize {
        for _ in 0..ROUNDS {
            if !self.behind_loss.is_empty() {
                break;
            }
            let asked = std::mem::take(&mut self.window.unknown);
            if asked.is_empty() {
                break;
            }
            let answered = self.ask(asked, now, probe);
            let mut more = Vec::new();
            probe.read_on(&mut more);
            self.take_in(more);
            if self.behind_loss.is_empty() {
                answered
                    .iter()
                    .for_each(|dir| self.tree.set_unconfirmed(*dir, false));
            } else {
                let doubtful = answered
                    .into_iter()
                    .filter(|dir| self.tree.is_unconfirmed(*dir));
                let doubtful: Vec<_> = doubtful.collect();
                for dir in doubtful {
                    self.tree.forget_place(dir);
                    self.window.unknown.push(dir);
                }
            }
        }
        if !self.behind_loss.is_empty() {
            // What was lost might contradict every answer.
            self.disbelieve();
        }
        self.give_up_awaiting(now);
        let end = if self.awaited.is_empty() && self.window.unknown.is_empty() {
            self.window.recs.len()
        } else {
            first_unplaced(&self.window, &self.tree)
        };
        self.window
            .first_half(now)
            .map_or(end, |half| half.min(end))
    }

    fn ask(&mut self, mut asked: Vec<NodeId>, now: u64, probe: &mut dyn Probe) -> Vec<NodeId> {
        let mut answered = Vec::new();
        let mut parents = HashSet::new();
        while let Some(dir) = asked.pop() {
            if !self.tree.is_unknown(dir) || self.tree.is_given_up(dir) {
                continue;
            }
            self.counts.asked += 1;
            match probe.place_of(&self.tree.key(dir)) {
                Some(Whereabouts::In { parent, name }) => {
                    let parent = self.tree.intern(&parent);
                    self.tree.put(dir, parent, &name);
                    self.tree.set_unconfirmed(dir, true);
                    answered.push(dir);
                    asked.push(parent);
                    parents.insert(parent);
                }
                Some(top @ (Whereabouts::Top | Whereabouts::Outside)) => {
                    self.tree.put_top(dir);
                    self.tree.set_outside(dir, top == Whereabouts::Outside);
                    self.tree.set_unconfirmed(dir, true);
                    answered.push(dir);
                }
                Some(Whereabouts::Gone) | None => {
                    if !self.awaited.iter().any(|awaited| awaited.dir == dir) {
                        self.awaited.push(Awaited {
                            dir,
                            until: now.saturating_add(PATIENCE),
                        });
                    }
                }
            }
        }
        for parent in parents {
            probe.wait_for_renames(&self.tree.key(parent));
        }
        answered
    }

    /// Gives up every directory that only an answer could place.
    fn disbelieve(&mut self) {
        for dir in std::mem::take(&mut self.window.unknown) {
            if self.tree.is_unknown(dir) && !self.tree.is_given_up(dir) {
                self.awaited.push(Awaited { dir, until: 0 });
            }
        }
    }

    fn give_up_awaiting(&mut self, now: u64) {
        self.place_overwritten(now);
        let tree = &mut self.tree;
        let given_up = &mut self.given_up;
        self.awaited.retain(|awaited| {
            if tree.is_unknown(awaited.dir) && now >= awaited.until {
                tree.give_up(awaited.dir);
                given_up.push(awaited.dir);
                return false;
            }
            tree.is_unknown(awaited.dir)
        });
    }

    /// Places directories that ended without a removal: a rename over an empty one is in front of its end.
    fn place_overwritten(&mut self, now: u64) {
        let is_late =
            |awaited: &&Awaited| now >= awaited.until && self.tree.is_unknown(awaited.dir);
        let late = self.awaited.iter().filter(is_late);
        let late: HashSet<NodeId> = late.map(|awaited| awaited.dir).collect();
        // A removal behind a loss may be lost itself.
        if !self.behind_loss.is_empty() || late.is_empty() {
            return;
        }
        let mut last: HashMap<u32, &Rec> = HashMap::new();
        for rec in &self.window.recs {
            if let (Object::Dir(dir), None, true) =
                (rec.object, rec.at, rec.mask & OVERWRITTEN == OVERWRITTEN)
                && late.contains(&dir)
                && self.tree.is_unknown(dir)
                && let Some(to) = last.get(&rec.pid).and_then(|before| before.to)
            {
                self.tree.put(dir, to.dir, self.window.name(to.name));
            }
            last.insert(rec.pid, rec);
        }
    }

    /// Says how many records are lost because nobody can say where they happened.
    ///
    /// Once for each directory: a process that goes on writing in a directory that was removed long
    /// ago writes where no path leads.
    pub(super) fn tell_given_up(&mut self, end: usize, sink: &mut dyn FnMut(Outcome<'_>)) {
        let given_up = std::mem::take(&mut self.given_up);
        if given_up.is_empty() {
            return;
        }
        let told = &self.window.recs[self.window.next..end];
        let lost: Vec<_> = told
            .iter()
            .filter(|rec| {
                rec.at
                    .is_some_and(|at| !is_placed_for_good(&self.tree, at.dir))
            })
            .collect();
        self.counts.unplaced += lost.len() as u64;
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            let (since, until) = (self.window.wall(first), self.window.wall(last));
            let count = Some(lost.len() as u64);
            sink(Outcome::Lost(Loss {
                count,
                since,
                until,
                cause: "the directory was gone before it could be placed",
            }));
        }
    }

    /// Lets batches into the window, up to the first loss; what comes behind that waits.
    pub(super) fn take_in(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            if batch.lost.is_some() || !self.behind_loss.is_empty() {
                self.behind_loss.push_back(batch);
                continue;
            }
            self.apply_processes(&batch);
            self.window.intern(&mut self.tree, &self.filesystems, batch);
            self.note_execs();
        }
    }

    /// Tells the table of processes where programs were opened.
    fn note_execs(&mut self) {
        for exec in std::mem::take(&mut self.window.execs) {
            let name = self.window.name(exec.name);
            let span = self.window.span_of(exec.name);
            self.procs
                .exec_seen(exec.pid, name, span, exec.place, exec.is_merged);
        }
    }
}

/// The first record that speaks of a directory whose path is not known yet, or the number of records.
fn first_unplaced(window: &Window, tree: &DirTree) -> usize {
    let untold = &window.recs[window.next..];
    let waits = |dir: NodeId| !is_placed(tree, dir);
    let at = untold.iter().position(|rec| {
        let itself = match (rec.object, rec.at) {
            (Object::Dir(dir), None) => Some(dir),
            _ => None,
        };
        let dirs: SmallVec<[NodeId; 3]> = rec
            .at
            .iter()
            .chain(&rec.to)
            .map(|at| at.dir)
            .chain(itself)
            .collect();
        dirs.into_iter().any(waits)
    });
    window.next + at.unwrap_or(untold.len())
}

/// Whether every directory above has a place.
pub(super) fn is_placed_for_good(tree: &DirTree, mut dir: NodeId) -> bool {
    let mut climb = Climb::from(dir);
    loop {
        match tree.place(dir) {
            Place::Unknown => return false,
            Place::Top => return true,
            Place::In { parent, .. } => dir = parent,
        }
        if climb.goes_round(dir) {
            return false;
        }
    }
}

/// Whether the path can be told: every directory above has a place, or never will have one.
fn is_placed(tree: &DirTree, mut dir: NodeId) -> bool {
    let mut climb = Climb::from(dir);
    loop {
        match tree.place(dir) {
            Place::Unknown => return tree.is_given_up(dir),
            Place::Top => return true,
            Place::In { parent, .. } => dir = parent,
        }
        if climb.goes_round(dir) {
            return true;
        }
    }
}

/// Ends a walk upwards through a tree that has a ring in it: what was said at different times need not
/// fit together.
///
/// Brent's way: one directory is remembered, and after twice as many steps as before another one, so
/// that a ring is noticed after a few times its length and what leads to it.
pub(super) struct Climb {
    remembered: NodeId,
    steps: usize,
    until: usize,
}

impl Climb {
    pub(super) fn from(dir: NodeId) -> Self {
        Self {
            remembered: dir,
            steps: 0,
            until: 1,
        }
    }

    /// Whether the walk has come here before; to be asked at each step.
    pub(super) fn goes_round(&mut self, dir: NodeId) -> bool {
        if dir == self.remembered {
            return true;
        }
        self.steps += 1;
        if self.steps == self.until {
            self.remembered = dir;
            self.steps = 0;
            self.until *= 2;
        }
        false
    }
}
