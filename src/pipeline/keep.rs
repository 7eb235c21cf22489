//! Keeps the tree of directories as the records say.

use smallvec::SmallVec;

use super::probe::Probe;
use super::tell::Deed;
use super::window::{At, Object, Rec};
use super::{Outcome, Pipeline, select};
use crate::dir_cache::NodeId;
use crate::fid_parser::bits;

impl Pipeline {
    /// Applies what the record says about directories; the tree then shows the state behind it.
    pub(super) fn keep_tree(
        &mut self,
        rec: &Rec,
        told: u64,
        deed: Deed,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        if rec.mask & bits::ONDIR == 0 {
            return;
        }
        let moved_or_made = told & (bits::CREATE | bits::RENAME | bits::MOVED_TO) != 0;
        let place = if told & bits::RENAME != 0 {
            rec.to
        } else {
            rec.at
        };
        match (rec.object, place) {
            (Object::Dir(dir), Some(at)) if moved_or_made => {
                if told & bits::RENAME != 0 {
                    self.keep_places_of_ends();
                    self.note_move(dir, rec, deed);
                    self.look_outside_again(rec);
                    self.follow_mount_points(rec, sink);
                }
                let Self { tree, window, .. } = self;
                tree.put(dir, at.dir, window.name(at.name));
                self.directory_appeared(dir, told & bits::CREATE == 0, sink);
            }
            (Object::None, Some(at)) if moved_or_made => {
                self.place_without_handle(rec, at, told, probe, sink)
            }
            (Object::Dir(dir), _) if told & (bits::DELETE | bits::DELETE_SELF) != 0 => {
                self.tree.bury(dir)
            }
            _ => {}
        }
    }

    fn directory_appeared(
        &mut self,
        dir: NodeId,
        was_moved: bool,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        if was_moved {
            self.routes.clear();
        }
        if self.is_marked_by_inode(dir) {
            let key = self.tree.key(dir);
            for path in select::paths_of(&self.tree, &self.mounts, dir) {
                sink(Outcome::NewDirectory { dir: key, path });
            }
        }
    }

    /// Finds out which directory was made or renamed on a kernel that does not say.
    fn place_without_handle(
        &mut self,
        rec: &Rec,
        at: At,
        told: u64,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let name: SmallVec<[u8; 64]> = self.window.name(at.name).into();
        let was = rec.at.filter(|_| told & bits::RENAME != 0);
        let moved = was.and_then(|was| self.tree.find_child(was.dir, self.window.name(was.name)));
        let known = moved.or_else(|| {
            let like = self.tree.key(at.dir);
            let path = select::paths_of(&self.tree, &self.mounts, at.dir)
                .into_iter()
                .next()?;
            let key = probe.handle_at(&like, &select::joined(&path, &name))?;
            let dir = self.tree.intern(&key);
            // A directory that has a place was put there by a record that knew.
            self.tree.is_unknown(dir).then_some(dir)
        });
        if let Some(dir) = known {
            self.tree.put(dir, at.dir, &name);
            self.directory_appeared(dir, was.is_some(), sink);
        }
    }
}
