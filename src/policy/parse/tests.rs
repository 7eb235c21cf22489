use std::time::Duration;

use proptest::prelude::*;

use crate::event::{EventType, TypeSet};
use crate::filters::pattern::PathPattern;
use crate::policy::{HookCommand, MUTATING, Per, Policy, Role, Rule, Touch, Trigger};

/// The lines on which something is wrong.
fn lines(text: &str) -> Vec<usize> {
    let mistakes = Policy::parse(text).expect_err(text);
    mistakes.iter().map(|mistake| mistake.line).collect()
}

/// The only mistake in a text.
fn mistake(text: &str) -> String {
    let mistakes = Policy::parse(text).expect_err(text);
    assert_eq!(mistakes.len(), 1, "{text}\n{mistakes:?}");
    mistakes[0].to_string()
}

fn rule(body: &str) -> Rule {
    let policy = Policy::parse(&format!("[[rule]]\nname = \"r\"\n{body}"));
    policy.expect(body).rules.remove(0)
}

#[test]
fn every_key_is_read() {
    let canary = rule(
        r#"
        kind = "canary"
        paths = ["/srv/**/.canary", "/a"]
        on = ["modified", "opened", "opened"]
        cmd = "agent"
        except_cmd = ["backup", "sync"]
        user = ["alice", 1000]
        cooldown = "0"
        hook = ["/usr/bin/x", ""]
        hook_user = 65534
        hook_timeout = "250ms"
        deny = true
        "#,
    );
    let Trigger::Canary { patterns, on, deny } = &canary.trigger else {
        panic!("{canary:?}");
    };
    assert_eq!(patterns[0].to_string(), "/srv/**/.canary");
    assert_eq!(
        (on.as_slice(), *deny),
        (&[Touch::Opened, Touch::Modified][..], true)
    );
    assert_eq!(canary.whom.cmds, ["agent"]);
    assert_eq!(canary.whom.except_cmds, ["backup", "sync"]);
    assert_eq!(canary.whom.users, ["alice", "1000"]);
    assert_eq!(canary.cooldown, Duration::ZERO);
    let hook = canary.hook.unwrap();
    assert_eq!(
        hook.run,
        HookCommand::Argv(vec!["/usr/bin/x".into(), String::new()])
    );
    assert_eq!(hook.user.as_deref(), Some("65534"));
    assert_eq!(hook.timeout, Duration::from_millis(250));

    let burst = rule(
        r#"
        kind = "burst"
        below = "/srv/"
        count = 0x10
        window = "1s"
        per = "tree"
        cmd = ["agent"]
        types = ["create", "DELETE"]
        hook = "logger $FAN_PATH"
        "#,
    );
    let Trigger::Burst {
        count,
        window,
        per,
        below,
        types,
    } = &burst.trigger
    else {
        panic!("{burst:?}");
    };
    assert_eq!(
        (count.get(), *window, *per),
        (16, Duration::from_secs(1), Per::Tree)
    );
    assert_eq!(below, &[b"/srv".to_vec()]);
    assert_eq!(
        *types,
        TypeSet::EMPTY
            .with(EventType::Create)
            .with(EventType::Delete)
    );
    let hook = burst.hook.unwrap();
    assert_eq!(hook.run, HookCommand::Shell("logger $FAN_PATH".into()));
    assert_eq!((hook.user, hook.timeout), (None, Duration::from_secs(10)));
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = "kind = \"canary\"\npaths = \"/a\"";
    let patterns = || vec![PathPattern::parse("/a").unwrap()];
    assert_eq!(rule(text), Rule::canary("r", patterns()));
    let text = "kind = \"burst\"\ncount = 100\nwindow = \"1s\"";
    let count = 100.try_into().unwrap();
    assert_eq!(rule(text), Rule::burst("r", count, Duration::from_secs(1)));
    let text = "kind = \"outside\"\ninside = \"/w\"\ncmd = \"agent\"";
    assert_eq!(
        rule(text),
        Rule::outside("r", vec!["agent".into()], vec![b"/w".to_vec()])
    );
    let text = "kind = \"secret\"\npaths = \"/a\"\ncmd = \"agent\"";
    assert_eq!(
        rule(text),
        Rule::secret("r", patterns(), vec!["agent".into()])
    );
    assert_eq!(MUTATING.iter().count(), 8);
    assert_eq!(Policy::parse(""), Ok(Policy::default()));
}

#[test]
fn job_directories_keep_the_order_of_the_file() {
    let policy = Policy::parse(
        "[[job]]\nid = \"b\"\nworkspace = [\"/w\", \"/v/\"]\nrootfs = \"/\"\n[[job]]\nid = \"c\"\ncache = \"/k\"",
    )
    .unwrap();
    let [first, second] = policy.jobs.list() else {
        panic!("{policy:?}");
    };
    let roots: Vec<_> = first
        .roots
        .iter()
        .map(|root| (root.role, root.path.as_slice()))
        .collect();
    assert_eq!(
        roots,
        [
            (Role::Workspace, &b"/w"[..]),
            (Role::Workspace, b"/v"),
            (Role::Rootfs, b"/")
        ]
    );
    assert_eq!(
        (second.id.as_str(), second.roots[0].role),
        ("c", Role::Cache)
    );
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = r#"# 1
[[rule]] # 2: no paths
name = "one"
kind = "canary"
on = ["opened",
      "touched"] # 6
colour = "red" # 7

[[rule]]
name = "one" # 10
kind = "burst"
count = 0 # 12
window = "soon" # 13
deny = true # 14

[[rule]] # 16: no inside, no cmd
name = "three"
kind = "outside"
types = ["CREATE", "MADE"] # 19
cooldown = 5 # 20

[[rule]] # 22: no name
kind = "trap" # 23
inside = "/w"

[[job]] # 26: no id
cache = "rel" # 27
size = 1 # 28
[[job]] # 29: no directory
id = "x"

[other] # 32
"#;
    let wanted = [
        2, 6, 7, 10, 12, 13, 14, 16, 16, 19, 20, 22, 23, 26, 27, 28, 29, 32,
    ];
    assert_eq!(lines(text), wanted, "{:#?}", Policy::parse(text));
}

#[test]
fn each_mistake_is_a_sentence() {
    for (head, body, said) in SENTENCES {
        assert_eq!(mistake(&format!("{head}{body}")), said);
    }
    let long = "x".repeat(65);
    for name in ["", " ", "a\\nb", &long] {
        let text = format!("[[rule]]\nname = \"{name}\"\nkind = \"canary\"\npaths = \"/a\"");
        assert_eq!(
            mistake(&text),
            "line 2: 'name' has to have 1 to 64 printable characters"
        );
    }
    assert!(
        mistake(&CANARY.replace("\"/a\"", "\"rel\""))
            .starts_with("line 4: 'rel' is not a path pattern")
    );
}

#[test]
fn broken_toml_is_told_with_its_line() {
    for (text, line) in [
        ("[[rule]]\nname = \"a\nkind = \"canary\"", 2),
        ("[[rule]]\nname = \"a\"\nname = \"b\"", 3),
        ("\n\n[[rule]", 3),
        ("= 1", 1),
    ] {
        assert_eq!(lines(text), [line], "{text} {:?}", Policy::parse(text));
    }
}

#[test]
fn more_rules_than_numbers_are_refused() {
    let mut text = String::new();
    for at in 0..=65_536 {
        text += &format!("[[rule]]\nname = \"{at}\"\nkind = \"canary\"\npaths = \"/a\"\n");
    }
    assert_eq!(
        mistake(&text),
        format!(
            "line {}: there are too many rules: at most 65536",
            65_536 * 4 + 1
        )
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(lines in proptest::collection::vec(line(), 0..30)) {
        let text = lines.join("\n");
        if let Err(mistakes) = Policy::parse(&text) {
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.is_sorted());
            prop_assert!(mistakes.iter().all(|mistake| (1..=lines.len().max(1)).contains(&mistake.line)));
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    let keys = [
        "name",
        "kind",
        "paths",
        "on",
        "cmd",
        "user",
        "below",
        "inside",
        "count",
        "window",
        "per",
        "types",
        "cooldown",
        "hook",
        "hook_user",
        "hook_timeout",
        "deny",
        "id",
        "rootfs",
        "cache",
        "zz",
    ];
    let values = [
        "\"canary\"",
        "\"burst\"",
        "\"outside\"",
        "\"secret\"",
        "\"/a/**\"",
        "[\"/a\", 1]",
        "[]",
        "5",
        "-5",
        "1.5",
        "true",
        "\"1s\"",
        "\"tree\"",
        "{ a = 1 }",
        "2020-01-01",
        "\"\"",
        "\"é\\u0000\"",
        "\"opened\"",
    ];
    prop_oneof![
        Just("[[rule]]".to_owned()),
        Just("[[job]]".to_owned()),
        (
            proptest::sample::select(keys.to_vec()),
            proptest::sample::select(values.to_vec())
        )
            .prop_map(|(key, value)| format!("{key} = {value}")),
        "[ -~é]{0,12}",
    ]
}

const CANARY: &str = "[[rule]]\nname = \"r\"\nkind = \"canary\"\npaths = \"/a\"\n";
const BURST: &str = "[[rule]]\nname = \"r\"\nkind = \"burst\"\ncount = 2\nwindow = \"1s\"\n";
const SECRET: &str = "[[rule]]\nname = \"r\"\nkind = \"secret\"\npaths = \"/a\"\n";
const OUTSIDE: &str = "[[rule]]\nname = \"r\"\nkind = \"outside\"\ninside = \"/a\"\ncmd = \"x\"\n";

/// The head of a rule, what is wrong below it, and what is said.
const SENTENCES: [(&str, &str, &str); 24] = [
    (
        CANARY,
        "on = [\"deleted\"]\ndeny = true",
        "line 6: 'deny' refuses opens, so 'on' has to have \"opened\"",
    ),
    (
        CANARY,
        "on = []",
        "line 5: 'on' is an empty list: name at least one, or leave 'on' out",
    ),
    (
        CANARY,
        "count = 5",
        "line 5: 'count' means nothing in the kind 'canary'; it belongs to burst",
    ),
    (
        CANARY,
        "deny = 1",
        "line 5: 'deny' has to be true or false, not a number",
    ),
    (
        CANARY,
        "cmd = \"a/b\"",
        "line 5: 'a/b' is not a command group: it is the name of a program, without '/' and control characters",
    ),
    (
        CANARY,
        "cmd = [\"ok\",\n3]",
        "line 6: 'cmd' has to be text or a list of texts, not a number",
    ),
    (
        CANARY,
        "user = -1",
        "line 5: 'user' has to be a name, a number or a list of them, not a number",
    ),
    (
        CANARY,
        "user = \"a:b\"",
        "line 5: 'a:b' is not the name or number of a user",
    ),
    (
        CANARY,
        "hook_user = \"u\"",
        "line 5: 'hook_user' without a 'hook' means nothing",
    ),
    (CANARY, "hook = \"  \"", "line 5: 'hook' names no program"),
    (
        CANARY,
        "hook = \"x\"\nhook_timeout = \"0\"",
        "line 6: 'hook_timeout' has to be longer than nothing",
    ),
    (
        CANARY,
        "cooldown = \"1x\"",
        "line 5: cooldown: '1x' is not a span of time: use numbers with ms, s, m, h, such as 250ms or 1m30s",
    ),
    (
        CANARY,
        "\"a\\u001b\" = 1",
        "line 5: 'a\\u{1b}' is not known; a rule can have cmd, cooldown, deny, except_cmd, hook, hook_timeout, hook_user, kind, name, on, paths, user",
    ),
    (
        BURST,
        "deny = true",
        "line 6: 'deny' cannot be part of the kind 'burst': fanotify can refuse opens and reads only, not create, unlink and rename",
    ),
    (
        OUTSIDE,
        "deny = true",
        "line 6: 'deny' cannot be part of the kind 'outside': fanotify can refuse opens and reads only, not create, unlink and rename",
    ),
    (
        BURST,
        "per = \"tree\"",
        "line 6: per = \"tree\" needs 'cmd': whose descent counts as one",
    ),
    (
        BURST,
        "per = \"user\"",
        "line 6: 'user' cannot be counted by: process or tree",
    ),
    (
        BURST,
        "below = \"/a/../b\"",
        "line 6: '/a/../b' is not a directory for 'below': it has to be absolute, without '.', '..' and empty components",
    ),
    (
        SECRET,
        "",
        "line 1: a secret rule needs 'cmd' or 'user': whose opens are meant",
    ),
    (
        SECRET,
        "user = 0\non = [\"opened\", \"deleted\"]",
        "line 6: a secret rule alerts on \"opened\" alone, not on 'deleted'; a canary rule can",
    ),
    (
        OUTSIDE,
        "below = []",
        "line 6: 'below' is an empty list: name at least one, or leave 'below' out",
    ),
    (
        "[rule]\n",
        "name = \"x\"",
        "line 1: write [[rule]], with two brackets on each side",
    ),
    (
        "job = [1,\n",
        "{ id = \"x\", cache = \"/c\" }]",
        "line 1: 'job' has to be a table, not a number",
    ),
    (
        "[[job]]\nid = \"a\"\ncache = \"/c\"\n",
        "[[job]]\nid = \"a\"\ncache = \"/d\"",
        "line 5: 'a' is the id of a job already, on line 2",
    ),
];
