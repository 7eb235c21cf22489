//! Which group wants to know of what was found out, and where the logs tell of every name.

use crate::event::{Attribution, EventType, FileEvent, TypeSet, WallTime};
use crate::filters::scope::Scope;
use crate::manifest::Place;
use crate::manifest::compare::Found;
use crate::monitored::{GroupName, Watch};

/// The watches, the deepest first.
pub(super) struct Rules {
    rules: Vec<(Watch, Scope, bool)>,
    groups: Vec<GroupName>,
}

impl Rules {
    pub(super) fn new(watches: &[Watch], places: &[Place]) -> Self {
        let mut rules: Vec<_> = watches
            .iter()
            .map(|watch| {
                let is_known = place_of(watch).is_some_and(|place| places.contains(&place));
                (watch.clone(), watch.scope(), is_known)
            })
            .collect();
        rules.sort_by_key(|(_, scope, _)| std::cmp::Reverse(scope.root.len()));
        let mut groups: Vec<_> = watches.iter().map(|watch| watch.group.clone()).collect();
        groups.sort();
        groups.dedup();
        Self { rules, groups }
    }

    /// The watch of a group that decides about a path, if it was there when the manifest was made.
    fn deepest(&self, group: &GroupName, path: &[u8], is_dir: bool) -> Option<&Watch> {
        let mut rules = self.rules.iter();
        let (watch, _, is_known) =
            rules.find(|(watch, scope, _)| watch.group == *group && scope.covers(path, is_dir))?;
        is_known.then_some(watch)
    }

    /// Whether the logs have each name that comes or goes there, whoever does it.
    pub(super) fn is_exact(&self, path: &[u8], is_dir: bool) -> bool {
        let watch = self.deepest(&GroupName::global(), path, is_dir);
        watch.is_some_and(|watch| {
            let types = watch.types_or_default();
            watch.size.is_none() && NAMES.union(types) == types
        })
    }

    /// The lines of what was found, for each group that wants it.
    pub(super) fn events(
        &self,
        found: &Found,
        time: WallTime,
        out: &mut Vec<(GroupName, FileEvent)>,
    ) {
        for group in &self.groups {
            let sides = match (&found.from, found.kind) {
                (Some(from), _) => vec![
                    (EventType::MovedFrom, from, Some(&found.path)),
                    (EventType::MovedTo, &found.path, Some(from)),
                ],
                (None, kind) => vec![(kind, &found.path, None)],
            };
            for (kind, path, other) in sides {
                let Some(watch) = self.deepest(group, path, found.is_dir) else {
                    continue;
                };
                let types = watch.types_or_default();
                let kind = match kind {
                    EventType::CloseWrite if !types.contains(kind) => EventType::Modify,
                    kind => kind,
                };
                let is_sized = watch.size.is_none_or(|size| size.matches(found.size));
                if types.contains(kind) && is_sized {
                    let event = line(found, (kind, path, other), time);
                    out.push((group.clone(), event));
                }
            }
        }
    }
}

fn line(
    found: &Found,
    (kind, path, other): (EventType, &[u8], Option<&Vec<u8>>),
    time: WallTime,
) -> FileEvent {
    FileEvent {
        time,
        kind,
        path: path.to_vec(),
        pid: 0,
        cmd: "".into(),
        user: "".into(),
        file_size: found.size,
        ppid: 0,
        tgid: 0,
        chain: "".into(),
        exe: None,
        other_path: other.cloned(),
        attribution: Attribution::Unknown,
        is_dir: found.is_dir,
        is_adrift: false,
        job: None,
        inferred: Some(found.since),
    }
}

/// The tree that a watch covers.
pub(super) fn place_of(watch: &Watch) -> Option<Place> {
    Some(Place {
        root: watch.path.to_str()?.to_owned(),
        recursive: watch.recursive,
        max_depth: watch.max_depth,
        exclude: watch.exclude.clone(),
    })
}

/// The types that tell which names there are.
const NAMES: TypeSet = TypeSet::EMPTY
    .with(EventType::Create)
    .with(EventType::Delete)
    .with(EventType::MovedFrom)
    .with(EventType::MovedTo);
