//! What the rename of a directory changes for others: what lies in it comes into reach, and mount
//! points move with it.

use super::select;
use super::window::{At, Rec};
use super::{Outcome, Pipeline};

impl Pipeline {
    /// Has directories asked for again that were out of reach, when something came into reach.
    pub(super) fn look_outside_again(&mut self, rec: &Rec) {
        let is_reached = |at: Option<At>| {
            at.is_some_and(|at| !select::paths_of(&self.tree, &self.mounts, at.dir).is_empty())
        };
        // With every filesystem seen from its root nothing is ever out of reach, and this is all.
        if is_reached(rec.at) || !is_reached(rec.to) {
            return;
        }
        let again = self.tree.forget_outside();
        if !again.is_empty() {
            self.routes.clear();
            self.window.unknown.extend(again);
        }
    }

    /// Says so when mount points lie below a renamed directory: the table of mounts shows them at
    /// their new place, and does not signal it.
    pub(super) fn follow_mount_points(&self, rec: &Rec, sink: &mut dyn FnMut(Outcome<'_>)) {
        let Some(at) = rec.at.filter(|_| self.mounts.len() > 1) else {
            return;
        };
        for dir in select::paths_of(&self.tree, &self.mounts, at.dir) {
            let mut old = select::joined(&dir, self.window.name(at.name));
            old.push(b'/');
            if self
                .mounts
                .values()
                .flatten()
                .any(|point| point.starts_with(&old))
            {
                return sink(Outcome::MountsMoved);
            }
        }
    }
}
