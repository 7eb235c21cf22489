//! Canary, secret and outside rules: who alerts is known beforehand, of ten thousand random operations.
//!
//! The kernel folds equal records of one process, so what is compared is which (rule, process, path,
//! type) alerted at all, never how often.

#[path = "alerts/plan.rs"]
mod plan;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Suite;
use crate::ground::{Fs, Ground};
use crate::recorder::{Home, Recorder};
use crate::truth::Report;
use crate::workers::Worker;
use plan::{Deed, PLACES, Plan, SHARED};

const WORKERS: usize = 20;
const EACH: usize = 500;
/// The user `nobody`.
pub(crate) const NOBODY: u32 = 65534;

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        let name = "alerts_of_ten_thousand_operations";
        suite.on(kind, name, |kind| all_alerts(kind, None));
    }
    // By a reader that comes late, to all that the kernel has folded meanwhile.
    suite.one("alerts_of_ten_thousand_operations_read_late", || {
        all_alerts(Fs::Tmpfs, Some("read-delay-ms=20"));
    });
}

/// Writes the policy of a home; `@` stands for `root`.
pub(crate) fn write_policy(home: &Home, root: &Path, text: &str) -> PathBuf {
    let path = home.dir.join("policy.toml");
    fs::write(&path, text.replace('@', root.to_str().unwrap())).unwrap();
    path
}

/// Starts the daemon with a policy.
pub(crate) fn start(home: &Home, root: &Path, text: &str) -> Recorder {
    let policy = write_policy(home, root, text);
    home.start_with(&["--policy", policy.to_str().unwrap()])
}

/// All lines of the log of a group, markers too, as JSON.
pub(crate) fn values(home: &Home, group: &str) -> Vec<Value> {
    let text = fs::read_to_string(home.log_path(group)).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// The alerts of a rule.
pub(crate) fn alerts_of(home: &Home, rule: &str) -> Vec<Value> {
    let mut all = values(home, "_alerts");
    all.retain(|alert| alert["rule"] == rule);
    all
}

/// This program under another name.
pub(crate) fn copy_of_this(ground: &Ground, name: &str) -> PathBuf {
    let path = ground.dir.join(name);
    let this = std::env::current_exe().unwrap();
    fs::hard_link(&this, &path)
        .or_else(|_| fs::copy(&this, &path).map(drop))
        .unwrap();
    path
}

/// An executable shell script.
pub(crate) fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Does the operations, and says who it was.
pub(crate) fn work(root: &Path, number: usize, count: usize) {
    Plan::new(root, number, true).run(count);
    println!("{}", std::process::id());
}

struct Who {
    is_agent: bool,
    is_nobody: bool,
    cmd: String,
}

const RULES: &str = r#"
[[rule]]
name = "keys"
kind = "canary"
paths = ["@/**/key-*"]
cooldown = "0"
[[rule]]
name = "gone"
kind = "canary"
paths = ["@/w*/in/del-?", "@/w*/out/sub/del-[0]"]
on = ["deleted"]
cooldown = "0"
[[rule]]
name = "nobodys"
kind = "canary"
paths = ["@/**/key-?"]
on = ["renamed", "modified"]
user = ["nobody"]
cooldown = "0"
[[rule]]
name = "strangers"
kind = "canary"
paths = ["@/shared/keys/key-a"]
on = ["opened"]
except_cmd = "fsmonagent"
cooldown = "0"
[[rule]]
name = "secret"
kind = "secret"
paths = ["@/shared/keys/*"]
cmd = "fsmonagent"
cooldown = "0"
[[rule]]
name = "secret-of-nobody"
kind = "secret"
paths = ["@/shared/**"]
cmd = ["fsmonagent", "other"]
user = [65534, "nobody"]
cooldown = "0"
[[rule]]
name = "outside"
kind = "outside"
cmd = ["fsmonagent"]
below = ["@"]
inside = [INSIDE, "@/shared/plain"]
cooldown = "0"
[[rule]]
name = "outside-narrow"
kind = "outside"
cmd = ["fsmonagent"]
below = ["@/w1", "@/w2"]
inside = ["@/w1/out/sub", "@/w2/out/sub"]
types = ["CREATE", "DELETE", "MOVED_TO"]
cooldown = "0"
"#;

/// Which rules have to alert, worked out without the code that is tested.
fn rules_for(deed: &Deed, who: &Who, root: &str) -> Vec<&'static str> {
    let short = |path: &str| path.strip_prefix(root).unwrap()[1..].to_owned();
    let path = short(&deed.path);
    let sides: Vec<String> = [Some(path.clone()), deed.other.as_deref().map(short)]
        .into_iter()
        .flatten()
        .collect();
    let name = |path: &String| path.rsplit('/').next().unwrap().to_owned();
    let is_key = sides.iter().any(|side| name(side).starts_with("key-"));
    let is_short_key = sides
        .iter()
        .any(|side| name(side).starts_with("key-") && name(side).len() == 5);
    let is_gone = |path: &String| {
        let names: Vec<&str> = path.split('/').collect();
        matches!(names[1..], ["in", name] if name.starts_with("del-"))
            || names[1..] == ["out", "sub", "del-0"]
    };
    let touch = match deed.kind {
        "OPEN" => "opened",
        "MODIFY" | "CLOSE_WRITE" => "modified",
        "MOVED_FROM" | "MOVED_TO" | "MOVE_SELF" => "renamed",
        "DELETE" | "DELETE_SELF" => "deleted",
        _ => "",
    };
    let is_change = !["OPEN", "MOVE_SELF"].contains(&deed.kind);
    let is_inside =
        |side: &String| side.split('/').nth(1) == Some("in") || side.starts_with("shared/plain/");
    let in_narrow = |side: &String| side.starts_with("w1/") || side.starts_with("w2/");
    let is_narrow =
        |side: &String| side.starts_with("w1/out/sub/") || side.starts_with("w2/out/sub/");
    let conditions = [
        ("keys", is_key && !touch.is_empty()),
        ("gone", sides.iter().any(is_gone) && touch == "deleted"),
        (
            "nobodys",
            is_short_key && who.is_nobody && ["renamed", "modified"].contains(&touch),
        ),
        (
            "strangers",
            path == "shared/keys/key-a" && touch == "opened" && !who.is_agent,
        ),
        (
            "secret",
            path.starts_with("shared/keys/") && touch == "opened" && who.is_agent,
        ),
        (
            "secret-of-nobody",
            path.starts_with("shared/") && touch == "opened" && who.is_agent && who.is_nobody,
        ),
        (
            "outside",
            who.is_agent && is_change && !sides.iter().all(is_inside),
        ),
        (
            "outside-narrow",
            who.is_agent
                && ["CREATE", "DELETE", "MOVED_TO"].contains(&deed.kind)
                && sides.iter().any(in_narrow)
                && !sides.iter().all(is_narrow),
        ),
    ];
    conditions
        .into_iter()
        .filter(|(_, holds)| *holds)
        .map(|(rule, _)| rule)
        .collect()
}

type Key = (String, u32, String, String);

fn all_alerts(kind: Fs, switches: Option<&'static str>) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let mut home = Home::new(&ground);
    home.switches = switches;
    set_up(&root);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let inside: Vec<String> = (0..WORKERS).map(|at| format!("\"@/w{at}/in\"")).collect();
    let mut recorder = start(&home, &root, &RULES.replace("INSIDE", &inside.join(", ")));
    let (plain, agent, child) = (
        std::env::current_exe().unwrap(),
        copy_of_this(&ground, "fsmonagent"),
        copy_of_this(&ground, "fsmonchild"),
    );
    let beside = ground.directory("beside");
    let starter = beside.join("fsmonagent");
    script(&starter, &format!("{} \"$@\"\nexit $?", child.display()));
    let mut workers: Vec<Worker> = (0..WORKERS)
        .map(|number| {
            let mut program = Command::new([&plain, &agent, &starter, &plain][number % 4]);
            if number % 4 > 1 {
                program.uid(NOBODY).gid(NOBODY);
            }
            let words = [
                root.to_str().unwrap(),
                &number.to_string(),
                &EACH.to_string(),
            ];
            Worker::by(program, "deeds", &words)
        })
        .collect();
    for worker in &mut workers {
        worker.go();
    }
    let pids: Vec<u32> = workers
        .into_iter()
        .map(|worker| worker.finish().trim().parse().unwrap())
        .collect();
    recorder.settle("_global", &root);
    let said = recorder.stop();
    assert!(!said.iter().any(|line| line.contains("lost")), "{said:?}");

    let mut truth: HashMap<Key, (usize, bool)> = HashMap::new();
    let mut people = HashMap::new();
    for (number, pid) in pids.into_iter().enumerate() {
        let program = [&plain, &agent, &child, &plain][number % 4];
        let mut cmd = program.file_name().unwrap().to_str().unwrap().to_owned();
        cmd.truncate(15);
        let who = Who {
            is_agent: [1, 2].contains(&(number % 4)),
            is_nobody: number % 4 > 1,
            cmd,
        };
        let mut plan = Plan::new(&root, number, false);
        plan.run(EACH);
        for deed in &plan.deeds {
            for rule in rules_for(deed, &who, root.to_str().unwrap()) {
                let key = (
                    rule.to_owned(),
                    pid,
                    deed.path.clone(),
                    deed.kind.to_owned(),
                );
                let slot = truth.entry(key).or_default();
                slot.0 += 1;
                slot.1 |= deed.sure;
            }
        }
        people.insert(pid, who);
    }
    compare(&truth, &people, &values(&home, "_alerts"));
}

/// The trees of all workers, and what they share.
fn set_up(root: &Path) {
    for number in 0..WORKERS {
        for place in PLACES {
            let path = root.join(format!("w{number}/{place}"));
            fs::create_dir_all(&path).unwrap();
            if number % 4 > 1 {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }
    for shared in SHARED {
        let path = root.join("shared").join(shared);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    }
}

fn compare(truth: &HashMap<Key, (usize, bool)>, people: &HashMap<u32, Who>, alerts: &[Value]) {
    let mut report = Report::default();
    let mut seen: HashMap<Key, usize> = HashMap::new();
    let mut right = 0;
    for alert in alerts {
        let text = |key: &str| alert[key].as_str().unwrap().to_owned();
        let pid = u32::try_from(alert["pid"].as_u64().unwrap()).unwrap();
        let key = (text("rule"), pid, text("path"), text("event_type"));
        let Some((most, _)) = truth.get(&key) else {
            report.add("must not alert", alert.to_string());
            continue;
        };
        right += 1;
        let count = seen.entry(key).or_default();
        *count += 1;
        if count > &mut most.clone() {
            report.add("alerts too often", alert.to_string());
        }
        let who = &people[&pid];
        let user = if who.is_nobody { "nobody" } else { "root" };
        // A rename that the kernel merged away is found out, and nobody knows when it was.
        let is_sure = alert["attribution"].is_null() || text("event_type").starts_with("MOVED");
        if text("cmd") != who.cmd || text("user") != user || !is_sure {
            report.add("somebody else did it", alert.to_string());
        }
        if alert["reason"] != reason(&text("kind"), &text("event_type")) {
            report.add("another reason", alert.to_string());
        }
    }
    let must = || truth.iter().filter(|(_, (_, sure))| *sure);
    for (key, _) in must().filter(|(key, _)| !seen.contains_key(*key)) {
        report.add("does not alert", format!("{key:?}"));
    }
    let found = must().filter(|(key, _)| seen.contains_key(*key)).count();
    println!(
        "{} operations: {} alerts, precision {:.2} %; {} of {} that must alert, recall {:.2} %; {} may alert",
        WORKERS * EACH,
        alerts.len(),
        100.0 * f64::from(right) / alerts.len() as f64,
        found,
        must().count(),
        100.0 * found as f64 / must().count() as f64,
        truth.len() - must().count(),
    );
    report.panic_if_any(alerts.len());
}

fn reason(kind: &str, event: &str) -> &'static str {
    match (kind, event) {
        ("secret", _) => "secret opened",
        ("outside", _) => "change outside the allowed directories",
        (_, "OPEN") => "canary opened",
        (_, "MODIFY" | "CLOSE_WRITE") => "canary modified",
        (_, "DELETE" | "DELETE_SELF") => "canary deleted",
        _ => "canary renamed",
    }
}
