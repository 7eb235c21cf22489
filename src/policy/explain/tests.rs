use crate::policy::Policy;

fn explained(text: &str) -> String {
    Policy::parse(text).unwrap().explain()
}

#[test]
fn each_rule_is_told_in_sentences() {
    let text = explained(
        r#"
        [[rule]]
        name = "canaries"
        kind = "canary"
        paths = ["/srv/**/.canary", "/a"]
        cmd = "agent"
        except_cmd = ["backup", "sync"]
        user = "alice"
        hook = ["/usr/bin/x", "arg"]
        hook_user = "nobody"
        deny = true

        [[rule]]
        name = "flood"
        kind = "burst"
        count = 100
        window = "250ms"
        cooldown = "0"

        [[rule]]
        name = "stray"
        kind = "outside"
        inside = "/home/u/work"
        cmd = "agent"
        types = "CREATE,DELETE"
        cooldown = "90s"
        hook = "logger x"

        [[job]]
        id = "build-17"
        rootfs = "/var/17"
        cache = "/c"
        "#,
    );
    let wanted = "\
Rule 1, 'canaries', canary. Alerts when a process of 'agent' or its descent run by the user 'alice', except those of \
'backup' or 'sync' and their descent, opens, modifies, renames or deletes '/srv/**/.canary' or '/a'. Repeats by the same \
process are silenced for 5s after an alert. The alert is recorded, and the hook '/usr/bin/x' 'arg' is run as 'nobody'; it \
is ended after 10s. What the hook does itself never alerts. Opens of '/srv/**/.canary' or '/a' by a process of 'agent' or \
its descent run by the user 'alice', except those of 'backup' or 'sync' and their descent, are refused, every time: the \
cooldown silences the alert only. fsmon's own opens and those of its hooks are let pass. NOTE: renaming and deleting \
cannot be refused, for fanotify can refuse opens and reads only; this is only told. NOTE: to rename a directory above \
such a path is not to rename the path; it does not alert.

Rule 2, 'flood', burst. Alerts when any process causes 100 or more events within 250ms, anywhere in what is watched. Each \
process is counted alone. What counts: MODIFY, CLOSE_WRITE, ATTRIB, CREATE, DELETE, DELETE_SELF, MOVED_FROM and MOVED_TO. \
There is no cooldown: every event that fits is an alert. The alert is recorded; no hook is run.

Rule 3, 'stray', outside. Looks at what happens at or below '/'. Alerts when a process of 'agent' or its descent changes \
something that is not at or below '/home/u/work'; a rename across the border counts in either direction. What counts: \
CREATE and DELETE. Repeats by the same process are silenced for 90s after an alert. The alert is recorded, and the hook \
'logger x' is run by /bin/sh as the user that fsmon runs as; it is ended after 10s. What the hook does itself never \
alerts. NOTE: every filesystem has to be watched for this; 'below' makes it less.

Jobs. Events at or below these directories carry the job and the role; of several the longest counts.
  'build-17': rootfs '/var/17', cache '/c'
";
    assert_eq!(text, wanted);
}

#[test]
fn what_cannot_be_refused_is_said_only_where_it_is_expected() {
    let told = |on: &str, deny: bool| {
        let text = format!(
            "[[rule]]\nname = \"r\"\nkind = \"canary\"\npaths = \"/a\"\non = {on}\ndeny = {deny}"
        );
        explained(&text).contains("cannot be refused")
    };
    assert!(told("[\"opened\", \"deleted\"]", true));
    assert!(!told("[\"opened\", \"modified\"]", true));
    assert!(!told("[\"opened\", \"deleted\"]", false));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = explained(
        "[[rule]]\nname = \"r\"\nkind = \"secret\"\npaths = \"/a\\u001b\\u202e\"\ncmd = \"x\"\n\
         hook = \"echo \\u0007\"\n[[job]]\nid = \"j\"\ncache = \"/\\u001b\"",
    );
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    assert!(!text.contains('\u{202e}'), "{text:?}");
    assert!(text.contains("'/a\\u{1b}\\u{202e}'"), "{text}");
}

#[test]
fn nothing_is_told_as_nothing() {
    assert_eq!(
        explained(""),
        "There are no rules and no jobs: nothing alerts.\n"
    );
}
