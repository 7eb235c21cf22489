//! What an overlay does in its upper directory, in the words of who sees the merged tree.
//!
//! The overlay prepares things in a work directory of its own and renames them into place: a
//! whiteout to remove what a lower layer holds, a copy of a directory that is about to change. Only
//! the first is an event of the merged tree.

use super::locate::Location;
use super::probe::Probe;
use super::tell::Deed;
use super::window::{At, Object, Rec};
use super::{Outcome, Pipeline};
use crate::fid_parser::bits;

impl Pipeline {
    /// Tells a rename from or to the work directory of an overlay; says whether it was one.
    pub(super) fn tell_overlay(
        &mut self,
        rec: &Rec,
        deed: Deed,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) -> bool {
        let is_work = |at: Option<At>| at.is_some_and(|at| self.overlay_work.contains(&at.dir));
        let (from_work, to_work) = (is_work(rec.at), is_work(rec.to));
        if !from_work && !to_work {
            return false;
        }
        if let (true, Some(to), Object::File(number)) = (from_work && !to_work, rec.to, rec.object)
        {
            let key = self.window.files[number as usize].key;
            // What is gone already was most likely the whiteout: a copy stays.
            if probe.is_whiteout(&key).unwrap_or(true) {
                let removal = Rec {
                    mask: bits::DELETE,
                    object: Object::None,
                    at: Some(to),
                    to: None,
                    ..*rec
                };
                let location = Location::Seen(to);
                self.tell_at(&removal, bits::DELETE, &location, deed, probe, sink);
            }
        }
        if let (true, Some(from), Object::File(number)) =
            (to_work && !from_work, rec.at, rec.object)
        {
            // A whiteout makes way: the name is there again.
            let key = self.window.files[number as usize].key;
            if probe.is_whiteout(&key).unwrap_or(true) {
                let made = Rec {
                    mask: bits::CREATE,
                    object: Object::None,
                    at: Some(from),
                    to: None,
                    ..*rec
                };
                let location = Location::Seen(from);
                self.tell_at(&made, bits::CREATE, &location, deed, probe, sink);
            }
        }
        true
    }
}
