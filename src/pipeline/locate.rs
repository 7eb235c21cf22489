//! Where the thing of a record was: by its entry, or by the name of a file of which it carries the handle only.

use smallvec::SmallVec;

use super::Pipeline;
use super::ends::Paths;
use super::expand;
use super::nameless;
use super::window::{At, Object, Rec};
use crate::dir_cache::NodeId;
use crate::fid_parser::bits;

/// Where something happened.
pub(super) enum Location {
    /// An entry of a directory, as a record of the window shows it.
    Seen(At),
    /// The entry `name` of a directory.
    Entry {
        dir: NodeId,
        name: SmallVec<[u8; 24]>,
    },
    /// A directory itself.
    Itself(NodeId),
    /// Where it was once.
    Paths(Paths),
}

impl Location {
    /// The directory in which it happened, or to which.
    pub(super) fn dir(&self) -> Option<NodeId> {
        match self {
            Self::Seen(At { dir, .. }) | Self::Entry { dir, .. } | Self::Itself(dir) => Some(*dir),
            Self::Paths(_) => None,
        }
    }
}

impl Pipeline {
    pub(super) fn location(&self, rec: &Rec) -> Option<Location> {
        match (rec.at, rec.object) {
            (Some(at), _) => Some(Location::Seen(at)),
            (None, Object::Dir(dir)) => Some(Location::Itself(dir)),
            _ => None,
        }
    }

    /// The directory and the name in it, unless it is a directory itself or a whole path.
    pub(super) fn entry_of<'a>(&'a self, location: &'a Location) -> Option<(NodeId, &'a [u8])> {
        match location {
            Location::Seen(at) => Some((at.dir, self.window.name(at.name))),
            Location::Entry { dir, name } => Some((*dir, name)),
            Location::Itself(_) | Location::Paths(_) => None,
        }
    }

    /// The name in a directory; empty for what is no entry of one.
    pub(super) fn name_in<'a>(&'a self, location: &'a Location) -> &'a [u8] {
        self.entry_of(location).map_or(b"", |(_, name)| name)
    }

    pub(super) fn location_of_file(&self, rec: &Rec) -> Option<Location> {
        match rec.object {
            Object::File(number) => self.locate_file(number, rec),
            Object::Dir(_) | Object::None => None,
        }
    }

    /// The name whose removal, later in the window, ends an object that may have several.
    pub(super) fn last_name(&self, rec: &Rec) -> Option<Location> {
        let later = self.window.later_of_same(rec);
        let removals = later.filter(|(_, later)| later.mask & bits::DELETE != 0);
        let last = removals.filter_map(|(_, removal)| removal.at).last();
        last.map(Location::Seen)
    }

    /// Finds a file of which a record carries the handle only.
    pub(super) fn locate_file(&self, number: u32, rec: &Rec) -> Option<Location> {
        let seen = self.last_seen(number);
        let unnamed_until = seen.as_ref().map_or(0, |seen| seen.unnamed_until);
        let lost = match seen {
            Some(seen) if !seen.is_lost => return Some(seen.location),
            Some(seen) => Some(seen.location),
            None => None,
        };
        let file = &self.window.files[number as usize];
        if let Some(told) = file.told.filter(|_| lost.is_none()) {
            return Some(Location::Seen(told));
        }
        let mut later = self.window.later_of_same(rec).map(|(_, later)| later);
        let honest = later.find(|rec| rec.at.is_some() && !nameless::is_suspect(&self.window, rec));
        if let Some(at) = honest.and_then(|rec| rec.at) {
            return Some(Location::Seen(at));
        }
        // A link count changes as a name comes or goes, whose record stands behind this one, or was merged into
        // one in front of it; what else is told of a file without a name is told of one that is open still.
        let by = file.unnamed_by.map(|by| &self.window.recs[by as usize]);
        let own = by.filter(|by| !expand::is_over_before(&self.window, by, rec));
        let is_own_of_old = by.is_none() && self.window.span(rec).from < unnamed_until;
        if is_own_of_old || own.is_some_and(expand::is_merged) {
            return lost;
        }
        if let Some((dir, name)) = self.replaced.find(rec.pid, &file.key, rec.mask) {
            return Some(Location::Entry {
                dir,
                name: name.into(),
            });
        }
        let waits =
            rec.mask & bits::ATTRIB != 0 && own.is_none() && !self.ends.has_ended(&file.key);
        lost.filter(|_| !waits)
    }
}
