//! What has to be seen so that a rule can be judged.

use super::rule::{Rule, Touch, Trigger};
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
    let mut types = rule.types();
    if rule.refused().is_some() {
        // The gate sees these openings itself. To be told of every opening on the filesystem as well would
        // cost all others a microsecond each.
        let gated = Touch::Opened.types();
        types = types.iter().filter(|kind| !gated.contains(*kind)).collect();
    }
    if types.is_empty() {
        return Vec::new();
    }
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
            types,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Policy, Touch};

    fn patterns(texts: &[&str]) -> Vec<PathPattern> {
        let parsed = texts.iter().map(|text| PathPattern::parse(text).unwrap());
        parsed.collect()
    }

    fn places(rule: Rule, watched: &[Ground]) -> Vec<(String, bool, Option<u32>)> {
        let policy = Policy {
            rules: vec![rule],
            ..Policy::default()
        };
        let needs = policy.needs(watched).into_iter();
        needs
            .map(|need| {
                (
                    String::from_utf8(need.path).unwrap(),
                    need.recursive,
                    need.max_depth,
                )
            })
            .collect()
    }

    fn place(path: &str, recursive: bool, max_depth: Option<u32>) -> (String, bool, Option<u32>) {
        (path.to_owned(), recursive, max_depth)
    }

    fn watched(path: &str, exclude: &[&str]) -> Ground {
        Ground {
            path: path.into(),
            recursive: true,
            max_depth: None,
            exclude: exclude.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn a_pattern_needs_no_more_than_where_it_can_match() {
        for (text, wanted) in [
            ("/etc/passwd", place("/etc/passwd", false, Some(0))),
            ("/etc/*.conf", place("/etc", false, None)),
            ("/*", place("/", false, None)),
            ("/home/*/.ssh/id_*", place("/home", true, Some(3))),
            ("/*/a", place("/", true, Some(2))),
            ("/srv/**/.canary", place("/srv", true, None)),
            ("/**", place("/", true, None)),
        ] {
            let rule = Rule::canary("r", patterns(&[text]));
            assert_eq!(places(rule, &[]), [wanted], "{text}");
        }
    }

    #[test]
    fn what_another_need_of_the_rule_covers_is_left_out() {
        let texts = [
            "/srv/a/key",
            "/srv/*",
            "/srv/**",
            "/srv",
            "/srv2/x",
            "/srv2/*",
        ];
        let rule = Rule::canary("r", patterns(&texts));
        // "/srv" itself is in the root of "/srv/**".
        assert_eq!(
            places(rule, &[]),
            [place("/srv", true, None), place("/srv2", false, None)]
        );
        let rule = Rule::canary("r", patterns(&["/a/*/b", "/a/x/y/z", "/a/*", "/a/x"]));
        assert_eq!(
            places(rule, &[]),
            [
                place("/a", true, Some(2)),
                place("/a/x/y/z", false, Some(0))
            ]
        );
    }

    #[test]
    fn a_burst_without_a_place_needs_what_is_watched() {
        let burst = || {
            Rule::burst(
                "r",
                5.try_into().unwrap(),
                std::time::Duration::from_secs(1),
            )
        };
        assert_eq!(places(burst(), &[]), []);
        let grounds = [
            watched("/a", &["*.o"]),
            watched("/a/b", &[]),
            watched("/a", &["*.o"]),
            watched("/c", &[]),
            watched("/c/d", &["x"]),
        ];
        assert_eq!(
            places(burst(), &grounds),
            [
                place("/a", true, None),
                place("/a/b", true, None),
                place("/c", true, None)
            ]
        );
        let mut rule = burst();
        let Trigger::Burst { below, .. } = &mut rule.trigger else {
            panic!("{rule:?}");
        };
        *below = vec![b"/x/y".to_vec(), b"/x".to_vec()];
        assert_eq!(places(rule, &grounds), [place("/x", true, None)]);
    }

    #[test]
    fn each_way_to_touch_has_its_types() {
        let names = |on: Touch| {
            let mut rule = Rule::canary("r", patterns(&["/a"]));
            if let Trigger::Canary { on: ways, .. } = &mut rule.trigger {
                *ways = vec![on];
            }
            let need = of(3, &rule, &[]).remove(0);
            assert_eq!(need.rule, 3);
            need.types
                .iter()
                .map(|kind| kind.name())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            Touch::ALL.map(names),
            [
                "OPEN OPEN_EXEC",
                "MODIFY CLOSE_WRITE",
                "MOVED_FROM MOVED_TO MOVE_SELF",
                "DELETE DELETE_SELF"
            ]
        );
        let secret = Rule::secret("r", patterns(&["/a"]), vec!["x".into()]);
        let need = of(0, &secret, &[]).remove(0);
        assert_eq!(need.types.iter().count(), 2);
        assert_eq!(need.cmds, ["x"]);
    }

    fn pattern() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            3 => "[ab]",
            1 => Just("*".to_owned()),
            1 => Just("**".to_owned()),
            1 => Just("[ab]".to_owned()),
            1 => Just("\\a".to_owned()),
            1 => Just("a?".to_owned()),
        ];
        proptest::collection::vec(name, 1..5).prop_map(|names| format!("/{}", names.join("/")))
    }

    proptest! {
        #[test]
        fn whatever_matches_is_covered(
            texts in proptest::collection::vec(pattern(), 1..5),
            paths in proptest::collection::vec("(/[ab]{1,2}){1,5}", 1..60),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let patterns = patterns(&texts);
            let needs = of(0, &Rule::canary("r", patterns.clone()), &[]);
            for path in paths {
                let path = path.as_bytes();
                let covered = needs.iter().any(|need| {
                    let scope = Scope {
                        root: need.path.clone(),
                        recursive: need.recursive,
                        max_depth: need.max_depth,
                        exclude: GlobSet::parse(&need.exclude).unwrap(),
                    };
                    scope.covers(path, false)
                });
                prop_assert!(covered || !patterns.iter().any(|pattern| pattern.matches(path)));
            }
        }
    }
}
