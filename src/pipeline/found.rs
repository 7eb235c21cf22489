//! The ways to a place, who is told of it, and of the other place where it may have been.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::Pipeline;
use super::ends::Paths;
use super::locate::Location;
use super::select::{self, Hit, Routes};
use super::window::{At, Rec};

/// A place, the ways to it, and who wants to know.
pub(super) struct Found {
    pub(super) routes: Option<Arc<Routes>>,
    /// Without routes: the whole paths.
    paths: Paths,
    pub(super) hits: SmallVec<[Hit; 2]>,
}

impl Found {
    /// The path by which it is told, of that name if it is an entry of a directory.
    pub(super) fn path(&self, hit: Hit, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::new();
        self.write_path(hit, name, &mut path);
        path
    }

    /// The path of another name in the same directory.
    pub(super) fn beside(&self, hit: Hit, name: &[u8]) -> Option<Vec<u8>> {
        let routes = self.routes.as_ref()?;
        let way = &routes.ways[usize::from(hit.route)];
        Some(select::joined(&way.path, name))
    }

    /// Puts the path into a buffer, instead of what is there.
    pub(super) fn write_path(&self, hit: Hit, name: &[u8], into: &mut Vec<u8>) {
        into.clear();
        match &self.routes {
            Some(routes) => {
                select::join(&routes.ways[usize::from(hit.route)].path, name, into);
            }
            None if self.paths[usize::from(hit.route)].is_empty() => into.push(b'/'),
            None => into.extend_from_slice(&self.paths[usize::from(hit.route)]),
        }
    }
}

impl Pipeline {
    pub(super) fn mount_points_of(&self, fs: u16) -> Option<Found> {
        let mut paths = Paths::new();
        for (dir, points) in &self.mounts {
            if self.tree.key(*dir).fs() == fs {
                paths.extend(points.iter().map(|point| point.to_vec()));
            }
        }
        self.found_at(paths, true)
    }

    /// The ways to a place that lead into a watch; `None` when nobody watches there.
    pub(super) fn found(&mut self, location: &Location, is_dir: bool) -> Option<Found> {
        let dir = match location {
            Location::Seen(At { dir, .. }) | Location::Entry { dir, .. } => *dir,
            Location::Itself(dir) => {
                let paths = select::paths_of(&self.tree, &self.mounts, *dir);
                return self.found_at(paths, true);
            }
            Location::Paths(paths) => return self.found_at(paths.clone(), is_dir),
        };
        let Self {
            routes,
            tree,
            mounts,
            rules,
            ..
        } = self;
        let routes = routes.routes(tree, mounts, rules, dir);
        if routes.is_empty() {
            self.counts.left_out.exclude += u64::from(routes.is_excluded);
            return None;
        }
        let (_, name) = self.entry_of(location)?;
        let hits = select::hits(&self.rules, &routes, name, is_dir);
        self.counts.left_out.exclude += u64::from(hits.is_empty() && routes.leads_on_from());
        Some(Found {
            routes: Some(routes),
            paths: smallvec![],
            hits,
        })
    }

    fn found_at(&self, paths: Paths, is_dir: bool) -> Option<Found> {
        let hits = select::hits_of_path(&self.rules, &paths, is_dir);
        (!hits.is_empty()).then_some(Found {
            routes: None,
            paths,
            hits,
        })
    }

    /// Who is told of the other places where something may have happened, and not of that one.
    pub(super) fn found_elsewhere(
        &self,
        location: &Location,
        merged: Option<&Rec>,
        is_dir: bool,
        found: Option<&Found>,
    ) -> Option<Found> {
        if found.is_some_and(|found| found.hits.len() == self.rules.groups.len()) {
            return None;
        }
        let mut places = self.other_places(location.dir()?, merged);
        if let Some((_, name)) = self.entry_of(location) {
            for path in &mut places {
                path.push(b'/');
                path.extend_from_slice(name);
            }
        }
        let group = |hit: &Hit| self.rules.rules[usize::from(hit.rule)].group;
        let told = |hit: &Hit| {
            let hits = found.iter().flat_map(|found| &found.hits);
            hits.map(group).any(|told| told == group(hit))
        };
        let mut elsewhere = self.found_at(places, is_dir)?;
        elsewhere.hits.retain(|hit| !told(hit));
        (!elsewhere.hits.is_empty()).then_some(elsewhere)
    }

    /// The path of the other side of a rename, through the mount that `path` was seen through.
    pub(super) fn other_side(&self, at: At, path: &[u8], is_elsewhere: bool) -> Option<Vec<u8>> {
        let name = self.window.name(at.name);
        let mut dirs = select::paths_of(&self.tree, &self.mounts, at.dir);
        if is_elsewhere {
            dirs.extend(self.other_places(at.dir, None));
        }
        dirs.into_iter()
            .map(|dir| select::joined(&dir, name))
            .max_by_key(|other| other.iter().zip(path).take_while(|(a, b)| a == b).count())
    }
}
