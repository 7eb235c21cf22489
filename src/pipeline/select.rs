//! Which watches an event concerns, decided on the directory before any path is built.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::resolve::{Climb, is_placed_for_good};
use crate::dir_cache::{DirTree, NodeId, Place};
use crate::event::TypeSet;
use crate::filters::scope::Scope;
use crate::filters::size::SizeFilter;
use crate::monitored::{Audience, GroupName, Watch, WatchSet};

/// A watch in the form in which events are compared with it.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) scope: Scope,
    pub(super) types: TypeSet,
    pub(super) size: Option<SizeFilter>,
    pub(super) files_only: bool,
    pub(super) group: u16,
}

/// All watches, the deepest roots first.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) groups: Vec<Group>,
}

/// Who is told of events, and of whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Whose log; what a rule is told of goes into none.
    pub(super) name: GroupName,
    /// Which rule.
    pub(super) rule: Option<u16>,
    /// Only of processes in one of these groups; of all when there is none.
    pub(super) members: Vec<String>,
}

impl Group {
    fn of(watch: &Watch) -> Self {
        let name = watch.group.clone();
        match &watch.audience {
            Audience::Log if name.is_global() => Self {
                name,
                rule: None,
                members: Vec::new(),
            },
            Audience::Log => Self {
                members: vec![name.as_str().to_owned()],
                name,
                rule: None,
            },
            Audience::Rule { number, cmds } => Self {
                name,
                rule: Some(*number),
                members: cmds.clone(),
            },
        }
    }
}

impl Rules {
    pub(super) fn new(watches: &WatchSet) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut rules: Vec<Rule> = Vec::new();
        for watch in watches.iter() {
            let group = Group::of(watch);
            let known = groups.iter().position(|known| *known == group);
            let group = known.unwrap_or_else(|| {
                groups.push(group);
                groups.len() - 1
            });
            rules.push(Rule {
                scope: watch.scope(),
                types: watch.types_or_default(),
                size: watch.size,
                files_only: watch.files_only,
                group: group as u16,
            });
        }
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.scope.root.len()));
        Self { rules, groups }
    }
}

/// One way to reach a directory, and what is watched there.
#[derive(Debug)]
pub(super) struct Route {
    /// The directory's path; empty for the root.
    pub(super) path: Box<[u8]>,
    /// Rules whose root is this directory or above it.
    pub(super) above: SmallVec<[u16; 2]>,
    /// Rules whose root is below this directory.
    pub(super) below: SmallVec<[Ahead; 1]>,
}

/// A watched path that leads on from a directory.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) rule: u16,
    /// The next component of the path.
    pub(super) next: Box<[u8]>,
    /// Whether the path ends with it.
    pub(super) last: bool,
}

/// The ways to reach a directory that lead into a watch. Most directories of a filesystem have none.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) ways: SmallVec<[Route; 1]>,
    /// Whether a watch would lead there, but for what it excludes.
    pub(super) is_excluded: bool,
}

impl Routes {
    /// Whether nothing is watched there.
    pub(super) fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// Whether all that is in the directory would be watched, but for what is excluded.
    pub(super) fn leads_on_from(&self) -> bool {
        self.ways.iter().any(|way| !way.above.is_empty())
    }
}

/// Remembers the routes of directories until a directory is renamed or the watches change.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    routes: HashMap<NodeId, Arc<Routes>>,
}

impl RouteCache {
    /// Forgets everything: paths or watches have changed.
    pub(super) fn clear(&mut self) {
        if self.routes.capacity() > 1 << 12 {
            self.routes = HashMap::new();
        } else {
            self.routes.clear();
        }
    }

    pub(super) fn routes(
        &mut self,
        tree: &DirTree,
        mounts: &MountPoints,
        rules: &Rules,
        dir: NodeId,
    ) -> Arc<Routes> {
        if let Some(routes) = self.routes.get(&dir) {
            return routes.clone();
        }
        if self.routes.len() >= 1 << 14 {
            self.clear();
        }
        let mut found = Routes::default();
        for path in paths_of(tree, mounts, dir) {
            found.is_excluded |= is_excluded(rules, &path);
            found.ways.extend(route(rules, path));
        }
        let routes = Arc::new(found);
        // A place that nobody knew, of this directory or one above, may be stated later.
        if is_placed_for_good(tree, dir) {
            self.routes.insert(dir, routes.clone());
        }
        routes
    }
}

/// Where directories are mounted: the path of the mount point, empty for the root of everything.
pub(super) type MountPoints = HashMap<NodeId, SmallVec<[Box<[u8]>; 1]>>;

/// Every path that leads to a directory through the known mounts; the shortest way up first.
pub(super) fn paths_of(
    tree: &DirTree,
    mounts: &MountPoints,
    dir: NodeId,
) -> SmallVec<[Vec<u8>; 1]> {
    let mut paths = SmallVec::new();
    // Names from the directory upwards, each with its slash, the whole turned round at the end.
    let mut names: SmallVec<[NodeId; 16]> = SmallVec::new();
    let mut at = dir;
    let mut climb = Climb::from(dir);
    loop {
        let points = mounts.get(&at);
        // In a ring each lap would add a path, and each longer than the one before.
        if points.is_some() && names.contains(&at) {
            break;
        }
        for point in points.into_iter().flatten() {
            let mut path = point.to_vec();
            for node in names.iter().rev() {
                if let Place::In { name, .. } = tree.place(*node) {
                    path.push(b'/');
                    path.extend_from_slice(name);
                }
            }
            paths.push(path);
        }
        let Place::In { parent, .. } = tree.place(at) else {
            break;
        };
        names.push(at);
        at = parent;
        if climb.goes_round(at) {
            break;
        }
    }
    paths
}

fn is_excluded(rules: &Rules, path: &[u8]) -> bool {
    let path = if path.is_empty() { b"/" } else { path };
    let excludes = |rule: &&Rule| !rule.scope.exclude.is_empty();
    rules.rules.iter().filter(excludes).any(|rule| {
        let depth = rule.scope.depth_of(path);
        depth.is_some_and(|depth| depth < rule.scope.limit()) && !rule.scope.descends_into(path)
    })
}

fn route(rules: &Rules, path: Vec<u8>) -> Option<Route> {
    let mut route = Route {
        path: path.into_boxed_slice(),
        above: SmallVec::new(),
        below: SmallVec::new(),
    };
    let shown: &[u8] = if route.path.is_empty() {
        b"/"
    } else {
        &route.path
    };
    for (number, rule) in rules.rules.iter().enumerate() {
        if rule.scope.depth_of(shown).is_some() {
            if rule.scope.descends_into(shown) {
                route.above.push(number as u16);
            }
        } else if let Some(rest) = rest_below(&route.path, &rule.scope.root) {
            let next: Box<[u8]> = rest
                .split(|byte| *byte == b'/')
                .next()
                .unwrap_or_default()
                .into();
            let last = next.len() == rest.len();
            route.below.push(Ahead {
                rule: number as u16,
                next,
                last,
            });
        }
    }
    (!route.above.is_empty() || !route.below.is_empty()).then_some(route)
}

/// What is left of `root` below the directory `path` (empty for the root).
fn rest_below<'a>(path: &[u8], root: &'a [u8]) -> Option<&'a [u8]> {
    root.strip_prefix(path)?
        .strip_prefix(b"/")
        .filter(|rest| !rest.is_empty())
}

/// What an event at a path is logged for: the rule that decides for each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) rule: u16,
    pub(super) route: u16,
}

/// Chooses for the entry `name` of a directory the deepest rule of each group.
pub(super) fn hits(
    rules: &Rules,
    routes: &Routes,
    name: &[u8],
    is_dir: bool,
) -> SmallVec<[Hit; 2]> {
    let mut hits: SmallVec<[Hit; 2]> = SmallVec::new();
    for (at, route) in routes.ways.iter().enumerate() {
        let roots = route
            .below
            .iter()
            .filter(|ahead| ahead.last && *ahead.next == *name)
            .map(|ahead| ahead.rule);
        for rule in roots.chain(route.above.iter().copied()) {
            let decides = &rules.rules[rule as usize];
            if !decides.scope.exclude.is_empty()
                && !decides.scope.covers(&joined(&route.path, name), is_dir)
            {
                continue;
            }
            take_deepest(
                rules,
                &mut hits,
                Hit {
                    rule,
                    route: at as u16,
                },
            );
        }
    }
    hits
}

/// Chooses for a whole path; slower, for the few events that concern a directory itself.
pub(super) fn hits_of_path(rules: &Rules, paths: &[Vec<u8>], is_dir: bool) -> SmallVec<[Hit; 2]> {
    let mut hits = SmallVec::new();
    for (at, path) in paths.iter().enumerate() {
        let shown: &[u8] = if path.is_empty() { b"/" } else { path };
        for (rule, decides) in rules.rules.iter().enumerate() {
            if decides.scope.covers(shown, is_dir) {
                take_deepest(
                    rules,
                    &mut hits,
                    Hit {
                        rule: rule as u16,
                        route: at as u16,
                    },
                );
            }
        }
    }
    hits
}

fn take_deepest(rules: &Rules, hits: &mut SmallVec<[Hit; 2]>, hit: Hit) {
    let rule = &rules.rules[hit.rule as usize];
    match hits
        .iter_mut()
        .find(|other| rules.rules[other.rule as usize].group == rule.group)
    {
        Some(other)
            if rules.rules[other.rule as usize].scope.root.len() < rule.scope.root.len() =>
        {
            *other = hit
        }
        Some(_) => {}
        None => hits.push(hit),
    }
}

/// A directory's path (empty for the root) and a name below it.
pub(super) fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    join(dir, name, &mut path);
    path
}

/// The same behind what `into` holds.
pub(super) fn join(dir: &[u8], name: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(dir);
    into.push(b'/');
    into.extend_from_slice(name);
}
