//! What has to be seen so that a rule can be judged.

use super::rule::{Rule, Trigger};
use crate::event::TypeSet;
use crate::filters::glob::GlobSet;
use crate::filters::pattern::PathPattern;
use crate::filters::scope::Scope;

/// A part of the tree that is watched anyway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The watched path, absolute and clean.
    pub path: Vec<u8>,
    /// Whether everything below is watched.
    pub recursive: bool,
    /// How deep below the path.
    pub max_depth: Option<u32>,
    /// Exclude patterns.
    pub exclude: Vec<String>,
}

/// A part of the tree that a rule has to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The place of the rule in the list.
    pub rule: u16,
    /// Absolute and clean.
    pub path: Vec<u8>,
    /// Whether everything below is needed.
    pub recursive: bool,
    /// How deep below the path; 0 is the path alone.
    pub max_depth: Option<u32>,
    /// Exclude patterns.
    pub exclude: Vec<String>,
    /// The types of events.
    pub types: TypeSet,
    /// Only of processes in one of these command groups; empty is all.
    pub cmds: Vec<String>,
}

/// What the rule has to see; nothing of it twice.
pub(super) fn of(number: u16, rule: &Rule, watched: &[Ground]) -> Vec<Need> {
    let grounds: Vec<Ground> = match &rule.trigger {
        Trigger::Canary { patterns, .. } | Trigger::Secret { patterns, .. } => {
            patterns.iter().map(ground_of).collect()
        }
        Trigger::Burst { below, .. } if below.is_empty() => watched.to_vec(),
        Trigger::Burst { below, .. } | Trigger::Outside { below, .. } => below
            .iter()
            .map(|path| Ground {
                path: path.clone(),
                recursive: true,
                max_depth: None,
                exclude: Vec::new(),
            })
            .collect(),
    };
    let mut kept: Vec<Ground> = Vec::new();
    for ground in grounds {
        if !kept.iter().any(|other| covers(other, &ground)) {
            kept.retain(|other| !covers(&ground, other));
            kept.push(ground);
        }
    }
    kept.into_iter()
        .map(|ground| Need {
            rule: number,
            path: ground.path,
            recursive: ground.recursive,
            max_depth: ground.max_depth,
            exclude: ground.exclude,
            types: rule.types(),
            cmds: rule.whom.cmds.clone(),
        })
        .collect()
}

/// Where something that the pattern means can be.
fn ground_of(pattern: &PathPattern) -> Ground {
    let ground = |path, recursive, max_depth| Ground {
        path,
        recursive,
        max_depth,
        exclude: Vec::new(),
    };
    if let Some(path) = pattern.literal() {
        return ground(path, false, Some(0));
    }
    let base = pattern.base();
    let above = base.split(|byte| *byte == b'/');
    let above = above.filter(|name| !name.is_empty()).count();
    match pattern.depth().map(|depth| depth.saturating_sub(above)) {
        Some(1) => ground(base, false, None),
        Some(depth) => ground(base, true, u32::try_from(depth).ok()),
        None => ground(base, true, None),
    }
}

/// Whether everything in `narrow` is in `wide` as well.
fn covers(wide: &Ground, narrow: &Ground) -> bool {
    // What is left out depends on the path that patterns are relative to, so other patterns are not compared.
    let leaves_out_more =
        !wide.exclude.is_empty() && (wide.path != narrow.path || wide.exclude != narrow.exclude);
    let scope = bare_scope(wide);
    !leaves_out_more
        && scope
            .depth_of(&narrow.path)
            .is_some_and(|depth| depth.saturating_add(bare_scope(narrow).limit()) <= scope.limit())
}

fn bare_scope(ground: &Ground) -> Scope {
    Scope {
        root: ground.path.clone(),
        recursive: ground.recursive,
        max_depth: ground.max_depth,
        exclude: GlobSet::default(),
    }
}
