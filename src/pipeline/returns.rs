//! Directories that came back to a place they had left.
//!
//! The kernel adds a rename to an unread one of the same process, the same object and the same two
//! places. Of `a -> b`, `b -> a`, `a -> b` it leaves two records, which end at `a`: the last
//! rename is in none. So wherever a directory came back within one window, it is looked up, and
//! what is missing is told as inferred.

use smallvec::SmallVec;

use super::probe::{Probe, Whereabouts};
use super::tell::{Deed, Location};
use super::window::Rec;
use super::{Outcome, Pipeline};
use crate::dir_cache::{NodeId, Place};
use crate::event::EventType;

/// The renames of directories in the window, as far as a return has to be noticed.
#[derive(Debug, Default)]
pub(super) struct Moved {
    moves: Vec<Move>,
}

#[derive(Debug)]
struct Move {
    dir: NodeId,
    from: Spot,
    to: Spot,
    deed: Deed,
}

/// A directory and a name in it.
type Spot = (NodeId, SmallVec<[u8; 32]>);

impl Pipeline {
    /// Remembers a rename of the window.
    pub(super) fn note_move(&mut self, dir: NodeId, rec: &Rec, deed: Deed) {
        let (Some(at), Some(to)) = (rec.at, rec.to) else {
            return;
        };
        let from = (at.dir, SmallVec::from_slice(self.window.name(at.name)));
        let to = (to.dir, SmallVec::from_slice(self.window.name(to.name)));
        self.moved.moves.push(Move {
            dir,
            from,
            to,
            deed,
        });
    }

    /// Looks up the directories that came back; says whether there are new records to be told.
    ///
    /// To be called when everything read was told.
    pub(super) fn verify_returns(
        &mut self,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) -> bool {
        let moves = std::mem::take(&mut self.moved.moves);
        // Nothing can be verified across a loss.
        if moves.len() < 2 || !self.behind_loss.is_empty() {
            return false;
        }
        let mut left: hashbrown::HashSet<(NodeId, &Spot)> = hashbrown::HashSet::new();
        let mut suspects: Vec<&Move> = Vec::new();
        for step in &moves {
            if left.contains(&(step.dir, &step.to))
                && !suspects.iter().any(|other| other.dir == step.dir)
            {
                suspects.push(step);
            }
            left.insert((step.dir, &step.from));
        }
        if suspects.is_empty() {
            return false;
        }
        let mut asked = Vec::new();
        for suspect in suspects {
            let Some(was) = self.spot(suspect.dir) else {
                continue;
            };
            let Some(Whereabouts::In { parent, name }) =
                probe.place_of(&self.tree.key(suspect.dir))
            else {
                continue;
            };
            let parent = self.tree.intern(&parent);
            self.tree.put(suspect.dir, parent, &name);
            self.tree.set_unconfirmed(suspect.dir, true);
            asked.push((suspect.dir, was, suspect.deed));
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
                continue;
            }
            self.tell_inferred_move(was, is, deed, sink);
        }
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
        let deed = Deed {
            is_inferred: true,
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
