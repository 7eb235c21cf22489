//! Directories that came back to a place they had left.
//!
//! The kernel adds a rename to an unread one of the same process, the same object and the same two
//! places. Of `a -> b`, `b -> a`, `a -> b` it leaves two records, which end at `a`: the last
//! rename is in none. So wherever a directory came back within one window, it is looked up, and
//! what is missing is told as inferred.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::expand;
use super::probe::{Probe, Whereabouts};
use super::tell::{Deed, Location};
use super::window::{At, Object, Rec};
use super::{Outcome, Pipeline};
use crate::dir_cache::{NodeId, Place};
use crate::event::EventType;

/// The renames of directories in the window, as far as a return has to be noticed.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// The places that each directory left, and by which record it did last.
    left: HashMap<(NodeId, Spot), Rec>,
    /// From where to where each went.
    went: HashSet<(NodeId, Spot, Spot)>,
    /// Directories that came back to a place they had left, and the deed, in their order.
    returned: Vec<(NodeId, Deed)>,
    /// The same, to be looked up.
    known: HashSet<NodeId>,
}

/// A directory and a name in it.
type Spot = (NodeId, SmallVec<[u8; 32]>);

impl Moved {
    /// Whether a rename from `was` to `is` can have been added to a record of the window: to one of the same two
    /// places. Where a directory is found elsewhere after several, nobody knows which way it went.
    fn can_hide(&self, dir: NodeId, was: &Spot, is: &Spot) -> bool {
        self.went.contains(&(dir, was.clone(), is.clone()))
    }
}

impl Pipeline {
    /// Remembers a rename of the window.
    pub(super) fn note_move(&mut self, dir: NodeId, rec: &Rec, deed: Deed) {
        let (Some(at), Some(to)) = (rec.at, rec.to) else {
            return;
        };
        let spot = |at: At| -> Spot { (at.dir, SmallVec::from_slice(self.window.name(at.name))) };
        let (from, to) = (spot(at), spot(to));
        let Moved {
            left,
            went,
            returned,
            known,
        } = &mut self.moved;
        // The kernel adds nothing to a record that has been read.
        let before = left.get(&(dir, to.clone()));
        let is_back =
            before.is_some_and(|before| !expand::is_over_before(&self.window, before, rec));
        left.insert((dir, from.clone()), *rec);
        went.insert((dir, from, to));
        self.adrift.set(dir, is_back);
        if is_back && known.insert(dir) {
            returned.push((dir, deed));
        }
    }

    /// Tells a rename of a directory that stands nowhere: the next one finds it elsewhere.
    pub(super) fn tell_unseen_move(
        &mut self,
        rec: &Rec,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let (Object::Dir(dir), Some(at)) = (rec.object, rec.at) else {
            return;
        };
        let Some(was) = self.spot(dir).filter(|_| self.adrift.is_itself(dir)) else {
            return;
        };
        let is: Spot = (at.dir, SmallVec::from_slice(self.window.name(at.name)));
        if is == was {
            return;
        }
        self.tree.put(dir, is.0, &is.1);
        self.routes.clear();
        if self.moved.can_hide(dir, &was, &is) && !self.is_left_out(deed.pid, deed.span.to) {
            self.tell_inferred_move(was, is, deed, sink);
        }
    }

    /// Looks up the directories that came back; says whether there are new records to be told.
    ///
    /// To be called when everything read was told.
    pub(super) fn verify_returns(
        &mut self,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) -> bool {
        let moved = std::mem::take(&mut self.moved);
        // Nothing can be verified across a loss.
        if moved.returned.is_empty() || !self.behind_loss.is_empty() {
            return false;
        }
        let mut asked = Vec::new();
        for (dir, deed) in moved.returned.iter().copied() {
            let Some(was) = self.spot(dir) else {
                continue;
            };
            let Some(Whereabouts::In { parent, name }) = probe.place_of(&self.tree.key(dir)) else {
                continue;
            };
            let parent = self.tree.intern(&parent);
            self.tree.put(dir, parent, &name);
            self.tree.set_unconfirmed(dir, true);
            asked.push((dir, was, deed));
        }
        // A rename since then explains another place; its old side is taken instead of the answer.
        let mut more = Vec::new();
        probe.read_on(&mut more);
        self.take_in(more);
        for (dir, was, deed) in asked {
            self.tree.set_unconfirmed(dir, false);
            let Some(is) = self.spot(dir).filter(|is| *is != was) else {
                continue;
            };
            self.routes.clear();
            if self.is_left_out(deed.pid, deed.span.to) {
                self.counts.own += 1;
            } else if moved.can_hide(dir, &was, &is) {
                self.tell_inferred_move(was, is, deed, sink);
            }
        }
        // All that a rename can have been added to was read before they were looked up.
        self.adrift.clear();
        !self.window.is_empty() || !self.window.unknown.is_empty()
    }

    fn spot(&self, dir: NodeId) -> Option<Spot> {
        match self.tree.place(dir) {
            Place::In { parent, name } => Some((parent, SmallVec::from_slice(name))),
            Place::Unknown | Place::Top => None,
        }
    }

    fn tell_inferred_move(
        &mut self,
        was: Spot,
        is: Spot,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let is_sure = !self.is_adrift(was.0) && !self.is_adrift(is.0);
        let deed = Deed {
            is_inferred: true,
            adrift: if is_sure { 0 } else { u64::MAX },
            ..deed
        };
        let entry = |(dir, name): &Spot| Location::Entry {
            dir: *dir,
            name: name.as_slice().into(),
            seen: None,
        };
        let (old, new) = (
            self.found(&entry(&was), true),
            self.found(&entry(&is), true),
        );
        for (kind, here, there) in [
            (EventType::MovedFrom, &old, &new),
            (EventType::MovedTo, &new, &old),
        ] {
            for hit in here
                .iter()
                .flat_map(|here| here.hits.iter().map(move |hit| (here, *hit)))
            {
                let (here, hit) = hit;
                let rule = &self.rules.rules[usize::from(hit.rule)];
                let (wanted, group) = (rule.types.contains(kind), rule.group);
                if wanted && self.is_in_group(kind, deed, group) {
                    let other = there
                        .as_ref()
                        .and_then(|there| Some(there.path(*there.hits.first()?)));
                    self.write(kind, hit, &here.path(hit), other, 0, deed, sink);
                }
            }
        }
    }
}
