mod models;

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::event::{Attribution, EventType, WallTime};
use crate::filters::pattern::PathPattern;
use crate::policy::Touch;

const SECOND: i64 = 1_000_000_000;

/// A process that somebody made up.
#[derive(Clone, Default)]
struct Made {
    life: u64,
    tree: u64,
    groups: Vec<&'static str>,
    ours: bool,
}

impl Acquaintance for Made {
    fn process(&self) -> u64 {
        self.life
    }

    fn tree(&mut self, cmds: &[String]) -> u64 {
        assert!(cmds.iter().any(|cmd| self.groups.contains(&cmd.as_str())));
        self.tree
    }

    fn is_in(&mut self, cmd: &str) -> bool {
        self.groups.contains(&cmd)
    }

    fn is_ours(&mut self) -> bool {
        self.ours
    }
}

fn process(life: u64, groups: &[&'static str]) -> Made {
    Made {
        life,
        groups: groups.to_vec(),
        ..Made::default()
    }
}

fn event(kind: EventType, path: &str, time: i64) -> FileEvent {
    FileEvent {
        time: WallTime(time),
        kind,
        path: path.into(),
        pid: 7,
        cmd: "x".into(),
        user: "alice".into(),
        file_size: 0,
        ppid: 1,
        tgid: 7,
        chain: "".into(),
        exe: None,
        other_path: None,
        attribution: Attribution::Exact,
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}

fn renamed(kind: EventType, path: &str, other: &str) -> FileEvent {
    FileEvent {
        other_path: Some(other.into()),
        ..event(kind, path, 0)
    }
}

fn patterns(texts: &[&str]) -> Vec<PathPattern> {
    let parsed = texts.iter().map(|text| PathPattern::parse(text).unwrap());
    parsed.collect()
}

fn judge_of(rules: impl IntoIterator<Item = Rule>) -> Judge {
    Judge::new(policy_of(rules))
}

fn policy_of(rules: impl IntoIterator<Item = Rule>) -> Policy {
    Policy {
        rules: rules.into_iter().collect(),
        ..Policy::default()
    }
}

fn never_silent(mut rule: Rule) -> Rule {
    rule.cooldown = Duration::ZERO;
    rule
}

/// The reason of an alert by rule 0.
fn reason_of(judge: &mut Judge, event: &FileEvent, who: &Made) -> Option<&'static str> {
    let alert = judge.judge(0, event, &mut who.clone());
    alert.map(|alert| alert.reason)
}

#[test]
fn a_canary_tells_what_was_done_to_it() {
    let mut judge = judge_of([never_silent(Rule::canary(
        "r",
        patterns(&["/srv/**/.canary"]),
    ))]);
    let who = process(1, &[]);
    for kind in EventType::ALL {
        let wanted = match kind {
            EventType::Open | EventType::OpenExec => Some("canary opened"),
            EventType::Modify | EventType::CloseWrite => Some("canary modified"),
            EventType::MovedFrom | EventType::MovedTo | EventType::MoveSelf => {
                Some("canary renamed")
            }
            EventType::Delete | EventType::DeleteSelf => Some("canary deleted"),
            EventType::Access
            | EventType::CloseNowrite
            | EventType::Attrib
            | EventType::Create
            | EventType::FsError => None,
        };
        assert_eq!(
            reason_of(&mut judge, &event(kind, "/srv/a/.canary", 0), &who),
            wanted,
            "{kind}"
        );
        assert_eq!(
            reason_of(&mut judge, &event(kind, "/srv/a/canary", 0), &who),
            None,
            "{kind}"
        );
    }
    for kind in [EventType::MovedFrom, EventType::MovedTo] {
        for (path, other, wanted) in [
            ("/tmp/x", "/srv/.canary", Some("canary renamed")),
            ("/srv/.canary", "/tmp/x", Some("canary renamed")),
            ("/tmp/x", "/tmp/y", None),
        ] {
            assert_eq!(
                reason_of(&mut judge, &renamed(kind, path, other), &who),
                wanted
            );
        }
    }
}

#[test]
fn only_the_chosen_ways_alert() {
    let mut rule = never_silent(Rule::canary("r", patterns(&["/a"])));
    if let Trigger::Canary { on, .. } = &mut rule.trigger {
        *on = vec![Touch::Deleted];
    }
    let mut judge = judge_of([rule]);
    let who = process(1, &[]);
    assert_eq!(
        reason_of(&mut judge, &event(EventType::Open, "/a", 0), &who),
        None
    );
    assert_eq!(
        reason_of(&mut judge, &event(EventType::Delete, "/a", 0), &who),
        Some("canary deleted")
    );
}

#[test]
fn canaries_for_everybody_alert_on_what_nobody_saw() {
    let canary = Rule::canary("r", patterns(&["/a"]));
    let mut of_alice = canary.clone();
    of_alice.whom.users = vec!["alice".into()];
    let mut of_a_group = canary.clone();
    of_a_group.whom.cmds = vec!["x".into()];
    let mut with_exception = canary.clone();
    with_exception.whom.except_cmds = vec!["backup".into()];
    let burst = Rule::burst("b", NonZeroU32::MIN, Duration::from_secs(1));
    let judge = judge_of([of_alice, burst, canary, of_a_group, with_exception]);
    let alerts = |kind, path| -> Vec<(u16, &str)> {
        let event = event(kind, path, 0);
        let alerts = judge.judge_unseen(&event);
        alerts.map(|alert| (alert.rule, alert.reason)).collect()
    };
    let deleted = "canary deleted";
    assert_eq!(
        alerts(EventType::Delete, "/a"),
        [(2, deleted), (4, deleted)]
    );
    // Not only the first time.
    assert_eq!(alerts(EventType::Delete, "/a").len(), 2);
    assert_eq!(alerts(EventType::Delete, "/b"), []);
    assert_eq!(alerts(EventType::Create, "/a"), []);
}

#[test]
fn one_operation_is_one_alert_within_the_cooldown() {
    let mut judge = judge_of([Rule::canary("r", patterns(&["/a"]))]);
    let mut alerts = |kind, life, time| {
        let alert = judge.judge(0, &event(kind, "/a", time), &mut process(life, &[]));
        alert.is_some()
    };
    assert!(alerts(EventType::Modify, 1, 0));
    assert!(!alerts(EventType::CloseWrite, 1, 10));
    assert!(alerts(EventType::Modify, 2, 10));
    assert!(!alerts(EventType::Modify, 1, 5 * SECOND - 1));
    // What was silenced does not make the silence longer.
    assert!(alerts(EventType::Modify, 1, 5 * SECOND));
    assert!(!alerts(EventType::Delete, 1, 5 * SECOND));
    // A clock that was set back by an hour.
    assert!(alerts(EventType::Modify, 1, -3600 * SECOND));
    assert!(!alerts(EventType::Modify, 1, -3600 * SECOND));
}

#[test]
fn rules_look_only_at_whom_they_mean() {
    let mut rule = never_silent(Rule::secret(
        "r",
        patterns(&["/a"]),
        vec!["agent".into(), "bot".into()],
    ));
    rule.whom.except_cmds = vec!["backup".into()];
    let mut judge = judge_of([rule.clone()]);
    let open = event(EventType::Open, "/a", 0);
    for (groups, alerts) in [
        (&["agent"][..], true),
        (&["x", "bot"], true),
        (&["x"], false),
        (&[], false),
        (&["agent", "backup"], false),
    ] {
        let reason = reason_of(&mut judge, &open, &process(1, groups));
        assert_eq!(reason, alerts.then_some("secret opened"), "{groups:?}");
    }
    let agent = process(1, &["agent"]);
    assert_eq!(
        reason_of(&mut judge, &event(EventType::Modify, "/a", 0), &agent),
        None
    );
    for (users, alerts) in [
        (&["bob", "alice"][..], true),
        (&["bob"], false),
        (&["1000"], false),
    ] {
        rule.whom.users = users.iter().map(|user| (*user).to_owned()).collect();
        let mut judge = judge_of([rule.clone()]);
        assert_eq!(
            reason_of(&mut judge, &open, &agent).is_some(),
            alerts,
            "{users:?}"
        );
    }
}

#[test]
fn what_is_our_own_neither_alerts_nor_counts() {
    let count = 3.try_into().unwrap();
    let mut judge = judge_of([
        Rule::burst("b", count, Duration::from_secs(1)),
        Rule::canary("c", patterns(&["/a"])),
    ]);
    let mut own = Made {
        ours: true,
        ..process(1, &[])
    };
    for time in 0..10 {
        assert_eq!(
            judge.judge(0, &event(EventType::Delete, "/a", time), &mut own),
            None
        );
        assert_eq!(
            judge.judge(1, &event(EventType::Delete, "/a", time), &mut own),
            None
        );
    }
    let mut other = process(1, &[]);
    for (time, alerts) in [(10, false), (11, false), (12, true)] {
        let alert = judge.judge(0, &event(EventType::Delete, "/a", time), &mut other);
        assert_eq!(alert.is_some(), alerts);
    }
    assert!(
        judge
            .judge(1, &event(EventType::Delete, "/a", 13), &mut other)
            .is_some()
    );
}

#[test]
fn outside_is_what_is_not_inside_by_whole_components() {
    let agent = process(1, &["agent"]);
    let rule = never_silent(Rule::outside(
        "r",
        vec!["agent".into()],
        vec![b"/w".to_vec(), b"/tmp/w/".to_vec()],
    ));
    let mut judge = judge_of([rule.clone()]);
    for (path, alerts) in [
        ("/w", false),
        ("/w/a/b", false),
        ("/tmp/w/x", false),
        ("/work", true),
        ("/tmp", true),
        ("/", true),
    ] {
        let reason = reason_of(&mut judge, &event(EventType::Create, path, 0), &agent);
        assert_eq!(
            reason,
            alerts.then_some("change outside the allowed directories"),
            "{path}"
        );
        assert_eq!(
            reason_of(&mut judge, &event(EventType::Open, path, 0), &agent),
            None
        );
        assert_eq!(
            reason_of(
                &mut judge,
                &event(EventType::Create, path, 0),
                &process(1, &[])
            ),
            None
        );
    }
    for kind in [EventType::MovedFrom, EventType::MovedTo] {
        for (path, other, alerts) in [
            ("/w/a", "/w/b", false),
            ("/w/a", "/tmp/w/b", false),
            ("/w/a", "/x", true),
            ("/x", "/w/a", true),
            ("/x", "/y", true),
        ] {
            let reason = reason_of(&mut judge, &renamed(kind, path, other), &agent);
            assert_eq!(reason.is_some(), alerts, "{path} {other}");
        }
    }
    let mut narrow = rule;
    if let Trigger::Outside { below, .. } = &mut narrow.trigger {
        *below = vec![b"/w".to_vec(), b"/srv".to_vec()];
    }
    let mut judge = judge_of([narrow]);
    for (path, other, alerts) in [
        ("/etc/a", None, false),
        ("/srv/a", None, true),
        ("/w/a", Some("/etc/a"), true),
        ("/etc/a", Some("/etc/b"), false),
    ] {
        let moved = FileEvent {
            other_path: other.map(Into::into),
            ..event(EventType::MovedFrom, path, 0)
        };
        assert_eq!(
            reason_of(&mut judge, &moved, &agent).is_some(),
            alerts,
            "{path} {other:?}"
        );
    }
}

#[test]
fn a_burst_tells_how_many_within_how_long() {
    let mut rule = Rule::burst("r", 3.try_into().unwrap(), Duration::from_millis(500));
    if let Trigger::Burst { below, .. } = &mut rule.trigger {
        *below = vec![b"/srv".to_vec()];
    }
    let mut judge = judge_of([rule]);
    let mut who = process(1, &[]);
    let mut step = |path, kind, time| judge.judge(0, &event(kind, path, time), &mut who);
    assert_eq!(step("/srv/a", EventType::Create, 0), None);
    assert_eq!(step("/etc/a", EventType::Create, 0), None);
    assert_eq!(step("/srv/a", EventType::Open, 0), None);
    assert_eq!(step("/srv/a", EventType::Modify, 1), None);
    let wanted = Alert {
        rule: 0,
        kind: "burst",
        reason: "mutating-event burst exceeded threshold",
        count: Some(3),
        window_ms: Some(500),
    };
    assert_eq!(step("/srv/a", EventType::CloseWrite, 2), Some(wanted));
    // Counting goes on while repeats are silenced.
    let mut last = None;
    for time in 0..=50 {
        last = step("/srv/a", EventType::Modify, 2 + time * SECOND / 10);
    }
    assert_eq!(last.and_then(|alert| alert.count), Some(6));
}

#[test]
fn a_tree_counts_as_one() {
    let mut rule = Rule::burst("r", 3.try_into().unwrap(), Duration::from_secs(1));
    rule.whom.cmds = vec!["agent".into()];
    if let Trigger::Burst { per, .. } = &mut rule.trigger {
        *per = Per::Tree;
    }
    let mut judge = judge_of([rule]);
    let mut step = |life, tree, groups| {
        let mut who = Made {
            tree,
            ..process(life, groups)
        };
        judge
            .judge(0, &event(EventType::Create, "/a", 0), &mut who)
            .is_some()
    };
    let agent: &[&str] = &["agent"];
    assert!(!step(1, 100, agent));
    assert!(!step(2, 100, agent));
    assert!(!step(3, 200, agent));
    assert!(!step(4, 100, &[]));
    assert!(step(5, 100, agent));
    // The cooldown is the tree's as well.
    assert!(!step(6, 100, agent));
    assert!(!step(7, 200, agent));
    assert!(step(8, 200, agent));
}

#[test]
fn equal_rules_keep_what_they_remember() {
    let burst = |name: &str| Rule::burst(name, 3.try_into().unwrap(), Duration::from_secs(1));
    let canary = Rule::canary("c", patterns(&["/a"]));
    let mut judge = judge_of([burst("a"), canary.clone(), burst("b")]);
    let mut who = process(1, &[]);
    let create = event(EventType::Create, "/a", 0);
    let delete = event(EventType::Delete, "/a", 0);
    for rule in [0, 0, 2, 2] {
        assert_eq!(judge.judge(rule, &create, &mut who), None);
    }
    assert!(judge.judge(1, &delete, &mut who).is_some());
    let mut changed = burst("a");
    changed.cooldown = Duration::ZERO;
    judge.replace(policy_of([canary, burst("b"), changed]));
    assert_eq!(judge.policy().rules[1].name, "b");
    assert_eq!(judge.judge(0, &delete, &mut who), None);
    assert!(judge.judge(1, &create, &mut who).is_some());
    assert_eq!(judge.judge(2, &create, &mut who), None);
    assert_eq!(judge.judge(3, &create, &mut who), None);
}

#[test]
fn a_hook_finds_six_variables() {
    let alert = Alert {
        rule: 0,
        kind: "canary",
        reason: "canary opened",
        count: None,
        window_ms: None,
    };
    let mut opened = event(EventType::Open, "/a\n", 0);
    opened.path.push(0xff);
    let found = hook_environment(&alert, &opened);
    assert_eq!(
        found,
        [
            ("FAN_KIND", b"canary".to_vec()),
            ("FAN_PID", b"7".to_vec()),
            ("FAN_COMM", b"x".to_vec()),
            ("FAN_EXE", Vec::new()),
            ("FAN_PATH", b"/a\n\xff".to_vec()),
            ("FAN_REASON", b"canary opened".to_vec()),
        ]
    );
}
