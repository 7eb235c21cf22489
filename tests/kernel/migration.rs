//! The examples of docs/migration.md, each run as it stands there, with the paths of the test's ground.

#[path = "migration/openings.rs"]
mod openings;
#[path = "migration/place.rs"]
mod place;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::Suite;
use crate::lines::MARKER;
use crate::recorder::{Recorder, tell};
use crate::wait::{PATIENCE, until};
use openings::{gate, opens, opens_mount, words};
use place::{Looking, Place, examples, exe_of, page, text, word};

pub(crate) fn list(suite: &mut Suite) {
    suite.one("migration_page_is_complete", page_is_complete);
    for (name, body) in TRIALS {
        let tools: &[&str] = if *name == "words" {
            &["jq"]
        } else {
            &["mount"]
        };
        suite.tools(&format!("migration_{name}"), tools, *body);
    }
    suite.one("migration_exit_codes", exit_codes);
    suite.one("migration_rules_through_links", rules_through_links);
}

/// What the marks in the page say, and what they stand for.
const TRIALS: &[(&str, fn())] = &[
    ("folder", folder),
    ("mount", mount),
    ("filesystem", filesystem),
    ("canary", canary),
    ("burst", burst),
    ("hook", hook),
    ("deny", deny),
    ("jobs", jobs),
    ("output", output),
    ("service", service),
    ("opens", opens),
    ("words", words),
    ("opens-mount", opens_mount),
    ("gate", gate),
];

fn page_is_complete() {
    let told: BTreeSet<String> = examples()
        .into_iter()
        .filter(|example| example.language != "text")
        .map(|example| example.trial)
        .collect();
    let tried: BTreeSet<String> = TRIALS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(told, tried, "each block has a mark, and each mark a trial");
    let page = page();
    let missing: Vec<&str> = MAPPED
        .iter()
        .flat_map(|words| words.split(' '))
        .filter(|word| {
            let stands = |behind: char| page.contains(&format!("`{word}{behind}"));
            !stands('`')
                && !stands(' ')
                && !page.contains(&format!(" {word}`"))
                && !page.contains(&format!(" {word} "))
        })
        .collect();
    assert_eq!(missing, [""; 0]);
}

/// Everything that a user of the two programs can have typed, configured or read.
const MAPPED: [&str; 9] = [
    "-c --config -w --watch --mount --filesystem --canary -o --output --socket --hook --pid-file --perm",
    "--burst-threshold --burst-window-ms --hook-cooldown-ms -f --foreground --deny-on-alert --no-fid",
    "-v --verbose -h --help --version --opens --gate",
    "watch mount filesystem canary output out socket hook pid_file pidfile burst_threshold fid perm",
    "burst_window_ms hook_cooldown_ms foreground deny_on_alert job rootfs workspace export cache job_rootfs",
    "job_workspace job_export job_cache ACCESS MODIFY ATTRIB CLOSE_WRITE CLOSE_NOWRITE OPEN MOVED_FROM",
    "MOVED_TO CREATE DELETE DELETE_SELF MOVE_SELF OPEN_EXEC Q_OVERFLOW FS_ERROR OPEN_PERM ACCESS_PERM RENAME",
    "OPEN_EXEC_PERM ONDIR schema_version type ts_ms mask events decision job_id path_role pid comm exe path name",
    "is_dir <fid-unresolved> <unknown> <fd:N> <overflow> kind reason count window_ms FAN_KIND FAN_PID FAN_COMM \
     FAN_EXE FAN_PATH FAN_REASON SIGINT SIGTERM SIGHUP SIGPIPE",
];

fn folder() {
    let place = Place::new("folder");
    let www = place.root.join("www");
    let mut looking = place.look(&place.command(), &www);
    place.act("echo x > www/f; chmod 600 www/f; mv www/f www/g; rm www/g; echo y > www/deep/h; true > other");
    let events = looking.events();
    let kinds: BTreeSet<String> = events.iter().map(|line| word(line, "event_type")).collect();
    let asked = place.command();
    let asked = asked.split_once("--types ").unwrap().1;
    let asked: BTreeSet<String> = asked.split(',').map(str::to_uppercase).collect();
    assert_eq!(kinds, asked);
    for line in &events {
        let path = word(line, "path");
        assert!(
            [www.join("f"), www.join("g")].contains(&PathBuf::from(path)),
            "{line}"
        );
        assert_eq!(
            (word(line, "user"), line["tgid"].clone()),
            ("root".to_owned(), line["pid"].clone())
        );
        assert!(
            ["sh", "chmod", "mv", "rm"].contains(&word(line, "cmd").as_str()),
            "{line}"
        );
    }
    let of = |kind: &str| {
        events
            .iter()
            .find(|line| line["event_type"] == kind)
            .unwrap()
    };
    assert_eq!(word(of("MOVED_FROM"), "to"), text(&www.join("g")));
    assert_eq!(word(of("MOVED_TO"), "from"), text(&www.join("f")));
    assert_eq!(word(of("DELETE"), "exe"), exe_of("/bin/rm"));
    assert_eq!(word(of("ATTRIB"), "exe"), exe_of("/bin/chmod"));
    looking.end_well();
}

fn mount() {
    let place = Place::new("mount");
    let bound = place.bind(&place.root);
    let mut looking = place.look(&place.command(), &place.root);
    place.act("echo x > f; mv f g; rm g");
    fs::write(bound.join("elsewhere"), "x").unwrap();
    let of_f = |kind: &str| (kind.to_owned(), text(&place.root.join("f")));
    let told = looking.told();
    assert_eq!(told, ["OPEN", "MODIFY", "CLOSE_WRITE"].map(of_f));
    looking.end_well();
    let names = format!("{} --types create,open", place.command());
    let refused = place.run(&names);
    assert_eq!(refused.status.code(), Some(2));
    assert!(tell(&refused).contains("no CREATE for a single mount"));
}

fn filesystem() {
    let place = Place::new("filesystem");
    let bound = place.bind(&place.root.join("www"));
    let mut looking = place.look(&place.command(), &place.root);
    place.act("mkdir -p a/b/c; echo x > a/b/c/f");
    fs::write(bound.join("g"), "x").unwrap();
    let told = looking.told();
    for path in ["a", "a/b", "a/b/c", "a/b/c/f", "www/g"] {
        let made = ("CREATE".to_owned(), text(&place.root.join(path)));
        assert!(told.contains(&made), "{path}: {told:?}");
    }
    looking.end_well();
}

fn canary() {
    let place = Place::new("canary");
    let mut looking = place.look(&place.command(), &place.root.join("www"));
    place.act(
        "cat keys/root.pem > keys/copy; chmod 600 keys/root.pem; cat keys/plain > keys/copy;
         mv keys/root.pem keys/old; mv keys/old keys/new.pem; rm keys/new.pem; echo x > keys/fresh.pem",
    );
    let alerts = looking.alerts();
    let told: Vec<[String; 4]> = alerts
        .iter()
        .map(|line| ["cmd", "kind", "rule", "reason"].map(|key| word(line, key)))
        .collect();
    let wanted = [
        ("cat", "canary opened"),
        ("mv", "canary renamed"),
        ("mv", "canary renamed"),
        ("rm", "canary deleted"),
        ("sh", "canary opened"),
    ];
    assert_eq!(
        told,
        wanted.map(|(cmd, reason)| [cmd, "canary", "--canary", reason].map(str::to_owned))
    );
    assert_eq!(
        word(&alerts[0], "path"),
        text(&place.root.join("keys/root.pem"))
    );
    assert_eq!(word(&alerts[0], "exe"), exe_of("/bin/cat"));
    assert_eq!(
        looking.told(),
        [],
        "nothing happened where it was asked for"
    );
    looking.end_well();
}

fn burst() {
    let place = Place::new("burst");
    let mut looking = place.look(&place.command(), &place.root);
    // A creation and a close each.
    place.act("for i in 1 2 3 4 5 6 7 8 9; do : > www/a$i; done");
    assert_eq!(looking.alerts(), [Value::Null; 0]);
    let pid = place.act("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do : > www/b$i; done");
    let alerts = looking.alerts();
    let [alert] = &alerts[..] else {
        panic!("{alerts:?}");
    };
    assert_eq!(
        (&alert["pid"], &alert["count"], &alert["window_ms"]),
        (&pid.into(), &20.into(), &1000.into())
    );
    assert_eq!(word(alert, "path"), text(&place.root.join("www/b10")));
    assert_eq!(
        word(alert, "reason"),
        "mutating-event burst exceeded threshold"
    );
    looking.end_well();
}

fn hook() {
    let place = Place::new("hook");
    let mut looking = place.look(&place.command(), &place.root);
    let pem = place.root.join("keys/root.pem");
    place.act("cat keys/root.pem");
    let told = until(PATIENCE, || {
        let told = fs::read_to_string(place.root.join("alert.txt")).ok();
        told.filter(|told| told.ends_with('\n'))
    });
    let told = told.expect("the hook is called");
    let alert = fs::read_to_string(place.root.join("alert.json")).unwrap();
    let alert: Value = serde_json::from_str(&alert).unwrap();
    let wanted = format!(
        "canary|{}|cat|{}|{}|canary opened\n",
        alert["pid"],
        exe_of("/bin/cat"),
        pem.display()
    );
    assert_eq!(told, wanted);
    assert_eq!(looking.alerts(), [alert]);
    looking.end_well();
}

fn deny() {
    let place = Place::new("deny");
    let [rules] = <[String; 1]>::try_from(place.blocks("toml")).unwrap();
    let [check, watch] = <[String; 2]>::try_from(place.blocks("sh")).unwrap();
    let pem = place.root.join("keys/root.pem");
    for (cooldown, lines) in [("0s", 3), ("1h", 2)] {
        fs::write(place.policy(), rules.replace("0s", cooldown)).unwrap();
        let checked = place.run(&check);
        assert!(
            checked.status.success() && tell(&checked).contains("keys"),
            "{}",
            tell(&checked)
        );
        let mut looking = place.look(&watch, &place.root);
        for _ in 0..2 {
            assert_eq!(File::open(&pem).unwrap_err().raw_os_error(), Some(1));
        }
        place.act("! cat keys/plain 2> /dev/null; echo x > www/free; cat www/free");
        let alerts = looking.alerts();
        let refused = alerts.iter().filter(|line| line["decision"] == "deny");
        assert_eq!(
            (refused.count(), alerts.len()),
            (lines, lines),
            "{alerts:?}"
        );
        assert_eq!(word(&alerts[0], "path"), text(&pem));
        let told = looking.told();
        let written = ("CLOSE_WRITE".to_owned(), text(&place.root.join("www/free")));
        assert!(told.contains(&written), "{told:?}");
        looking.end_well();
        assert!(File::open(&pem).is_ok());
    }
    fs::write(
        place.policy(),
        "[[rule]]\nname = \"x\"\nkind = \"burst\"\ncount = 2\nwindow = \"1s\"\ndeny = true\n",
    )
    .unwrap();
    let checked = place.run(&check);
    assert_eq!(checked.status.code(), Some(2));
    let said = tell(&checked);
    assert!(
        said.contains(":6: ") && said.contains("opens and reads only"),
        "{said}"
    );
}

fn jobs() {
    let place = Place::new("jobs");
    let [policy] = <[String; 1]>::try_from(place.blocks("toml")).unwrap();
    // One more rule, so that an alert is seen with its tag.
    let rule = format!(
        "{policy}\n[[rule]]\nname = \"k\"\nkind = \"canary\"\npaths = \"{}/cache/k\"\ndeny = true\n",
        place.root.display()
    );
    fs::write(place.policy(), rule).unwrap();
    place.act("mkdir -p build-7/work build-77 cache; true > cache/k");
    let mut looking = place.look(&place.command(), &place.root);
    place.act(
        "for f in build-7/a build-7/work/b cache/c build-77/d; do : > $f; done; ! cat cache/k 2> /dev/null",
    );
    for (path, role) in [
        ("build-7/a", "rootfs"),
        ("build-7/work/b", "workspace"),
        ("cache/c", "cache"),
        ("build-77/d", ""),
    ] {
        let path = text(&place.root.join(path));
        let made = looking
            .events()
            .into_iter()
            .find(|line| line["path"] == *path)
            .unwrap();
        let job = if role.is_empty() { "" } else { "build-7" };
        assert_eq!(
            (
                word(&made, "job_id").as_str(),
                word(&made, "path_role").as_str()
            ),
            (job, role),
            "{made}"
        );
    }
    let alerts = looking.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(
        (word(&alerts[0], "job_id"), word(&alerts[0], "decision")),
        ("build-7".into(), "deny".into())
    );
    looking.end_well();
}

fn output() {
    let place = Place::new("output");
    let [append, anew] = <[String; 2]>::try_from(place.blocks("sh")).unwrap();
    for (command, name, kept) in [(append, "events.jsonl", true), (anew, "anew.jsonl", false)] {
        let file = place.root.join(name);
        let old = format!("{{\"old\":\"{MARKER}\"}}\n");
        fs::write(&file, &old).unwrap();
        let mut looking = place.look_into(&command, &place.root, Some(file.clone()));
        place.act("echo x > www/f; rm www/f");
        let told = looking.told();
        let of_f = |(_, path): &(String, String)| *path == text(&place.root.join("www/f"));
        assert!(told.len() > 3 && told.iter().all(of_f), "{told:?}");
        assert_eq!(looking.text().starts_with(&old), kept);
        looking.end_well();
    }
}

/// Each is told by a connection of its own, and the first one listened first.
fn tell_the_same([first, second]: &mut [Looking; 2]) {
    let same = || first.events().ends_with(&second.events()).then_some(());
    assert!(until(PATIENCE, same).is_some());
}

fn service() {
    let place = Place::new("service");
    let [rules, request] = <[String; 2]>::try_from(place.blocks("toml")).unwrap();
    let [add, daemon, tail, both, query] = <[String; 5]>::try_from(place.blocks("sh")).unwrap();
    fs::write(place.policy(), rules).unwrap();
    let added = place.run(&add);
    assert!(added.status.success(), "{}", tell(&added));
    let mut recorder = Recorder::start(&place.home, place.shell(&daemon));
    let lock = fs::read_to_string(place.home.socket.with_extension("lock")).unwrap();
    assert_eq!(lock, recorder.pid().to_string());
    let mut raw = UnixStream::connect(&place.home.socket).unwrap();
    raw.write_all(format!("{request}\n\n").as_bytes()).unwrap();
    let mut raw = BufReader::new(raw).lines().map_while(Result::ok);
    assert_eq!(raw.next().unwrap(), "ok = true");
    let mut tails = [tail, both].map(|command| place.look(&command, &place.root));
    let reader = place.act("exec cat keys/root.pem");
    let maker = place.act("for i in 1 2 3 4 5 6 7 8 9 10; do : > www/b$i; done");
    recorder.wait_for("_alerts", "too many changes");
    let is_alert = |line: &Value| line["rule"].is_string();
    let told = |line: &Value| {
        (
            word(line, "rule"),
            line["pid"].as_u64(),
            word(line, "reason"),
        )
    };
    let wanted = [
        (
            "pem files".to_owned(),
            Some(u64::from(reader)),
            "canary opened".to_owned(),
        ),
        (
            "too many changes".to_owned(),
            Some(u64::from(maker)),
            "mutating-event burst exceeded threshold".to_owned(),
        ),
    ];
    assert_eq!(tails[0].alerts(), [Value::Null; 0]);
    assert!(tails[0].events().len() > 20);
    let alerts = until(PATIENCE, || {
        let alerts = tails[1].alerts();
        (alerts.len() > 1).then_some(alerts)
    });
    let alerts: Vec<_> = alerts.unwrap().iter().map(told).collect();
    assert_eq!(alerts, wanted);
    tell_the_same(&mut tails);
    let mut alerts = Vec::new();
    let mut events = 0;
    while alerts.len() < 2 {
        let line = raw.next().unwrap();
        let Ok(line) = serde_json::from_str(&line) else {
            assert_eq!(line, "");
            continue;
        };
        if is_alert(&line) {
            alerts.push(told(&line));
        } else {
            events += 1;
        }
    }
    assert_eq!(alerts, wanted);
    assert!(events > 20, "{events}");
    let asked = place.run(&query);
    assert!(asked.status.success());
    let asked = String::from_utf8(asked.stdout).unwrap();
    let asked: Vec<Value> = asked
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(asked.iter().map(told).collect::<Vec<_>>(), wanted);
    until(PATIENCE, || {
        (!place.home.journal_of("HOOK").is_empty()).then_some(())
    })
    .expect("the hook is told");
    drop(tails);
    recorder.stop();
}

fn exit_codes() {
    let place = Place::new("exit codes");
    for (words, code, said) in [
        ("fsmon --version", 0, "fsmon "),
        ("fsmon watch --help", 0, "--canary"),
        ("fsmon watch --nope", 2, "--nope"),
        ("fsmon watch --depth 1 --depth 2", 2, "--depth"),
        ("fsmon watch --opens --depth 1", 2, "--depth"),
        ("fsmon watch --hook x", 2, "--canary"),
        ("fsmon watch --types nope", 2, "nope"),
        ("fsmon watch --policy /nowhere", 2, "/nowhere"),
        ("fsmon policy check /nowhere", 2, "/nowhere"),
        ("fsmon daemon --policy /nowhere", 2, "/nowhere"),
        ("fsmon watch --output /nowhere/x", 1, "/nowhere/x"),
        ("fsmon watch --opens /nowhere", 1, "/nowhere"),
        ("fsmon watch --mount /nowhere", 1, "/nowhere"),
        ("fsmon watch nowhere --seconds 0", 0, "does not exist yet"),
        ("fsmon tail", 1, "not running"),
        (
            "setpriv --reuid 65534 --clear-groups fsmon watch --seconds 0",
            1,
            "Operation not permitted",
        ),
    ] {
        let done = place.run(words);
        let told = tell(&done);
        assert_eq!(done.status.code(), Some(code), "{words}: {told}");
        assert!(told.contains(said), "{words}: {told}");
    }
}

/// Events name real paths, so a rule that is written with a link has to mean these.
fn rules_through_links() {
    let place = Place::new("links");
    let link = place.ground.dir.join("link");
    std::os::unix::fs::symlink(&place.root, &link).unwrap();
    let link = link.display();
    fs::write(
        place.policy(),
        format!(
            "[[rule]]\nname = \"deny\"\nkind = \"canary\"\npaths = \"{link}/keys/plain\"\ndeny = true\n
             [[job]]\nid = \"j\"\nworkspace = \"{link}/www\"\n"
        ),
    )
    .unwrap();
    let command = format!(
        "fsmon watch {link} --policy {} --canary '{link}/keys/*.pem'",
        place.policy().display()
    );
    let mut looking = place.look(&command, &place.root);
    place.act("cat keys/root.pem; ! cat keys/plain 2> /dev/null; : > www/f");
    let told: Vec<_> = looking
        .alerts()
        .iter()
        .map(|line| (word(line, "rule"), word(line, "decision")))
        .collect();
    assert_eq!(
        told,
        [
            ("--canary".into(), String::new()),
            ("deny".into(), "deny".into())
        ]
    );
    let events = looking.events();
    let made = events
        .iter()
        .find(|line| line["event_type"] == "CREATE")
        .unwrap();
    assert_eq!(word(made, "job_id"), "j");
    looking.end_well();
}
