//! Directories that came back to a place they had left.
//!
//! The kernel adds a rename to an unread one of the same process, the same object and the same two
//! places. Of `a -> b`, `b -> a`, `a -> b` it leaves two records, which end at `a`: the last
//! rename is in none. So wherever a directory came back within one window, it is looked up, and
//! what is missing is told as inferred.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::expand;
use super::locate::Location;
use super::probe::{Probe, Whereabouts};
use super::tell::Deed;
use super::window::{At, Object, Rec};
use super::{Outcome, Pipeline};
use crate::dir_cache::{NodeId, Place};
use crate::event::EventType;

/// The renames of directories in the window, as far as a return has to be noticed.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// The places that each directory left, and by which record it did last.
    left: HashMap<(NodeId, Spot), Rec>,
    /// From where to where each went, and whose deed that was.
    went: HashMap<(NodeId, Spot), Ways>,
    /// Directories that came back to a place they had left, and the deed, in their order.
    returned: Vec<(NodeId, Deed)>,
    /// The same, to be looked up.
    known: HashSet<NodeId>,
    /// Files that came back.
    pub(super) files: Vec<u32>,
}

/// Places, and whose rename went there last.
type Ways = SmallVec<[(Spot, Deed); 1]>;

/// A directory and a name in it.
pub(super) type Spot = (NodeId, SmallVec<[u8; 32]>);

impl Moved {
    /// Whose rename from `was` to `is` can have been added to a record of the window: to one of the same two
    /// places. Where a directory is found elsewhere after several, nobody knows which way it went.
    fn hidden(&self, dir: NodeId, was: &Spot, is: &Spot) -> Option<Deed> {
        let mut ways = self.went.get(&(dir, was.clone()))?.iter();
        ways.find(|(to, _)| to == is).map(|(_, deed)| *deed)
    }
}

impl Pipeline {
    /// Remembers a rename of the window.
    pub(super) fn note_move(&mut self, dir: NodeId, rec: &Rec, deed: Deed) {
        let (Some(at), Some(to)) = (rec.at, rec.to) else {
            return;
        };
        let (from, to) = (self.spot_of(at), self.spot_of(to));
        let Moved {
            left,
            went,
            returned,
            known,
            files: _,
        } = &mut self.moved;
        // The kernel adds nothing to a record that has been read.
        let before = left.get(&(dir, to.clone()));
        let is_back =
            before.is_some_and(|before| !expand::is_over_before(&self.window, before, rec));
        left.insert((dir, from.clone()), *rec);
        let ways = went.entry((dir, from)).or_default();
        ways.retain(|(other, _)| *other != to);
        ways.push((to, deed));
        self.adrift.set(dir, is_back);
        if is_back && known.insert(dir) {
            returned.push((dir, deed));
        }
    }

    /// Where a directory went from where it is now, in records of the window: it may have gone there once more.
    pub(super) fn hidden_ways(&self, dir: NodeId) -> impl Iterator<Item = &Spot> {
        let spot = self.spot(dir);
        let ways = spot.and_then(|spot| self.moved.went.get(&(dir, spot)));
        ways.into_iter().flatten().map(|(to, _)| to)
    }

    /// Tells a rename of a directory that stands nowhere: its next one, or its removal, finds it elsewhere.
    pub(super) fn tell_unseen_move(
        &mut self,
        rec: &Rec,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let (Object::Dir(dir), Some(at)) = (rec.object, rec.at) else {
            return;
        };
        if self.adrift.is_itself(dir) {
            self.tell_hidden_move(dir, self.spot_of(at), deed, sink);
        }
    }

    /// Tells a rename that stands nowhere of a directory in whose place something else was made.
    pub(super) fn tell_unseen_leave(
        &mut self,
        rec: &Rec,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let Some(at) = rec.at.filter(|_| !self.moved.returned.is_empty()) else {
            return;
        };
        let taken = Place::In {
            parent: at.dir,
            name: self.window.name(at.name),
        };
        let is_there =
            |dir: &NodeId| rec.object != Object::Dir(*dir) && self.tree.place(*dir) == taken;
        let Some(dir) = self.adrift.dirs().find(is_there) else {
            return;
        };
        let ways: SmallVec<[Spot; 1]> = self.hidden_ways(dir).cloned().collect();
        if let [is] = &ways[..] {
            self.tell_hidden_move(dir, is.clone(), deed, sink);
            self.adrift.set(dir, false);
        }
    }

    /// Puts a directory where it is found, and tells how it came there; `deed` is what shows it.
    fn tell_hidden_move(
        &mut self,
        dir: NodeId,
        is: Spot,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let Some(was) = self.spot(dir).filter(|was| *was != is) else {
            return;
        };
        self.tree.put(dir, is.0, &is.1);
        self.routes.clear();
        if let Some(whose) = self.moved.hidden(dir, &was, &is) {
            let wall = deed.wall;
            self.tell_inferred_move(was, is, 0, Deed { wall, ..whose }, sink);
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
        if moved.returned.is_empty() && moved.files.is_empty() || !self.behind_loss.is_empty() {
            return false;
        }
        let files = self.look_for_files(&moved.files, probe);
        let read = self.window.recs.len();
        let mut asked = Vec::new();
        for (dir, deed) in moved.returned.iter().copied() {
            let Some(was) = self.spot(dir) else {
                continue;
            };
            match probe.place_of(&self.tree.key(dir)) {
                Some(Whereabouts::In { parent, name }) => {
                    probe.wait_for_renames(&parent);
                    let parent = self.tree.intern(&parent);
                    self.tree.put(dir, parent, &name);
                }
                // Its removal says where that was.
                Some(Whereabouts::Gone) => {}
                Some(Whereabouts::Top | Whereabouts::Outside) | None => continue,
            }
            self.tree.set_unconfirmed(dir, true);
            asked.push((dir, was, deed));
        }
        // A rename since then explains another place; its old side is taken instead of the answer.
        let mut more = Vec::new();
        probe.read_on(&mut more);
        self.take_in(more);
        let certain = self.behind_loss.is_empty();
        for (dir, was, deed) in asked {
            if !certain && self.tree.is_unconfirmed(dir) {
                // It may have gone there in what was lost.
                self.tree.put(dir, was.0, &was.1);
            }
            self.tree.set_unconfirmed(dir, false);
            let Some(is) = self.spot(dir).filter(|is| *is != was) else {
                continue;
            };
            self.routes.clear();
            if let Some(whose) = moved.hidden(dir, &was, &is) {
                let wall = deed.wall;
                self.tell_inferred_move(was, is, 0, Deed { wall, ..whose }, sink);
            }
        }
        self.tell_found_files(files, read, sink);
        // All that a rename can have been added to was read before they were looked up.
        if certain {
            self.adrift.clear();
        }
        !self.window.is_empty() || !self.window.unknown.is_empty()
    }

    pub(super) fn spot_of(&self, at: At) -> Spot {
        (at.dir, SmallVec::from_slice(self.window.name(at.name)))
    }

    pub(super) fn spot(&self, dir: NodeId) -> Option<Spot> {
        match self.tree.place(dir) {
            Place::In { parent, name } => Some((parent, SmallVec::from_slice(name))),
            Place::Unknown | Place::Top => None,
        }
    }

    pub(super) fn tell_inferred_move(
        &mut self,
        was: Spot,
        is: Spot,
        size: u64,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        if self.is_left_out(deed.pid, deed.span.to) {
            self.counts.own += 1;
            return;
        }
        let is_sure = !self.is_adrift(was.0) && !self.is_adrift(is.0);
        let deed = Deed {
            is_inferred: true,
            adrift: if is_sure { 0 } else { u64::MAX },
            ..deed
        };
        let entry = |(dir, name): &Spot| Location::Entry {
            dir: *dir,
            name: name.as_slice().into(),
        };
        let old = self.found(&entry(&was), deed.is_dir);
        let new = self.found(&entry(&is), deed.is_dir);
        let (old, new) = ((old, &was.1), (new, &is.1));
        for (kind, (here, name), (there, other_name)) in [
            (EventType::MovedFrom, &old, &new),
            (EventType::MovedTo, &new, &old),
        ] {
            let Some(here) = here else { continue };
            for hit in here.hits.iter().copied() {
                let rule = &self.rules.rules[usize::from(hit.rule)];
                let is_meant = !rule.files_only || !deed.is_dir;
                let is_meant = is_meant && rule.size.is_none_or(|filter| filter.matches(size));
                let (wanted, group) = (rule.types.contains(kind) && is_meant, rule.group);
                if wanted && self.is_in_group(kind, deed, group) {
                    let other = there
                        .as_ref()
                        .and_then(|there| Some(there.path(*there.hits.first()?, other_name)));
                    let path = here.path(hit, name);
                    self.write(kind, hit, &path, other, size, deed, sink);
                }
            }
        }
    }
}
