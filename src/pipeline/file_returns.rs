//! Files that came back to a name they had left: as with directories ([`returns`](super::returns)), the kernel may
//! have added one more rename to a record of the window. Nobody lives below a file, so it is only looked up, and
//! each of its records says where it was.

use super::expand;
use super::probe::Probe;
use super::select;
use super::tell::Deed;
use super::window::{At, Object, Rec};
use super::{Outcome, Pipeline};
use crate::event::WallTime;
use crate::fid_parser::bits;
use crate::fid_parser::raw::HandleKey;

/// Records that say which name a file had, because it has lost it.
const SAYS_WHERE: u64 = bits::RENAME | bits::DELETE;

impl Pipeline {
    /// Remembers a rename of a file, when it came back by it.
    pub(super) fn note_file_move(&mut self, rec: &Rec) {
        let (Object::File(number), Some(to)) = (rec.object, rec.to) else {
            return;
        };
        let file = &mut self.window.files[number as usize];
        if !std::mem::replace(&mut file.is_renamed, true) {
            return;
        }
        // The kernel adds nothing to a record that has been read.
        let is_back = |before: &Rec| {
            before.mask & bits::RENAME != 0
                && before.place < rec.place
                && before.at.is_some_and(|at| self.window.is_same(at, to))
                && !expand::is_over_before(&self.window, before, rec)
        };
        let is_adrift = self.window.records_of(number).any(is_back);
        self.window.files[number as usize].came_back_by = is_adrift.then_some(rec.place);
        if is_adrift {
            self.moved.files.push(number);
        }
    }

    /// Tells a rename of a file that stands nowhere, where this record or the next one shows it.
    pub(super) fn tell_unseen_file_move(
        &mut self,
        rec: &Rec,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let Object::File(number) = rec.object else {
            return;
        };
        let Some(back) = self.window.files[number as usize].came_back_by else {
            return;
        };
        if rec.at.is_some() && rec.mask & bits::CREATE != 0 {
            // From here on it has several names, and none of them says where another is.
            self.window.files[number as usize].came_back_by = None;
            return;
        }
        let shown = if rec.at.is_some() {
            Some(rec).filter(|rec| rec.mask & SAYS_WHERE != 0)
        } else {
            // This one may be told behind its place; what shows more has not been told yet.
            let later = self.window.later_of_same(rec).map(|(_, later)| later);
            let later = later.filter(|later| later.place > back);
            // What is made under another name is one more, and its removal shows nothing.
            let mut later = later.take_while(|later| later.mask & bits::CREATE == 0);
            later.find(|later| later.mask & SAYS_WHERE != 0)
        };
        if let Some(is) = shown.and_then(|rec| rec.at) {
            self.tell_hidden_file_move(number, is, deed.wall, sink);
        }
    }

    /// Looks up the files that came back; to be followed by [`Pipeline::tell_found_files`], when all was read.
    pub(super) fn look_for_files(
        &self,
        files: &[u32],
        probe: &mut dyn Probe,
    ) -> Vec<(u32, Option<At>)> {
        let mut found = Vec::new();
        for number in files.iter().copied() {
            let file = &self.window.files[number as usize];
            let Some(was) = file.told.filter(|_| file.came_back_by.is_some()) else {
                continue;
            };
            if self.is_file_at(&file.key, was, probe) {
                found.push((number, None));
                continue;
            }
            let mut ways = self.window.records_of(number).filter_map(|rec| {
                let leaves = rec.at.is_some_and(|at| self.window.is_same(at, was));
                rec.to.filter(|_| leaves)
            });
            let is = ways.find(|to| self.is_file_at(&file.key, *to, probe));
            if let Some(is) = is {
                probe.wait_for_renames(&self.tree.key(is.dir));
            }
            found.push((number, is));
        }
        found
    }

    /// Tells the renames by which files went where they were found, unless a record behind `read` says better.
    pub(super) fn tell_found_files(
        &mut self,
        found: Vec<(u32, Option<At>)>,
        read: usize,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        for (number, is) in found {
            let is_newer = |rec: &&Rec| rec.place as usize >= read && rec.mask & SAYS_WHERE != 0;
            let newer = self.window.records_of(number).find(is_newer);
            let newer = newer.and_then(|rec| rec.at);
            let wall = self.window.batches.last().map(|batch| batch.wall);
            let is = is.filter(|_| self.behind_loss.is_empty());
            if let (Some(is), Some(wall)) = (newer.or(is), wall) {
                self.tell_hidden_file_move(number, is, wall, sink);
            }
            self.window.files[number as usize].came_back_by = None;
        }
    }

    fn is_file_at(&self, key: &HandleKey, at: At, probe: &mut dyn Probe) -> bool {
        let dirs = select::paths_of(&self.tree, &self.mounts, at.dir);
        dirs.first().is_some_and(|dir| {
            let path = select::joined(dir, self.window.name(at.name));
            probe.handle_at(key, &path).as_ref() == Some(key)
        })
    }

    fn tell_hidden_file_move(
        &mut self,
        number: u32,
        is: At,
        wall: WallTime,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let file = &self.window.files[number as usize];
        let Some(was) = file.told.filter(|was| !self.window.is_same(*was, is)) else {
            return;
        };
        let is_it = |rec: &&Rec| {
            let same = |at: Option<At>, place| at.is_some_and(|at| self.window.is_same(at, place));
            rec.mask & bits::RENAME != 0 && same(rec.at, was) && same(rec.to, is)
        };
        let Some(hidden) = self.window.records_of(number).find(is_it).copied() else {
            return;
        };
        let deed = Deed {
            wall,
            ..self.deed_of(&hidden)
        };
        let known = self.known_file(number).and_then(|known| known.size);
        let (from, to) = (self.spot_of(was), self.spot_of(is));
        self.tell_inferred_move(from, to, known.unwrap_or(0), deed, sink);
        self.see_file(number, is, bits::RENAME);
        self.leave_name(number, was);
        let file = &mut self.window.files[number as usize];
        file.told = Some(is);
        file.came_back_by = None;
    }
}
