//! The file of the rules: read again, refused, explained; and the jobs in it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::Suite;
use crate::alerts::{start, values, write_policy};
use crate::ground::{Fs, Ground, sh};
use crate::recorder::{Home, Recorder, tell};
use crate::wait::{PATIENCE, until};

pub(crate) fn list(suite: &mut Suite) {
    suite.one("policy_is_read_again_at_sighup", read_again);
    suite.one("policy_that_others_can_write_is_refused", refused);
    suite.one("policy_check_tells_rules_and_mistakes", checked);
    for kind in Fs::ALL {
        suite.on(kind, "rules_bring_the_watches_that_they_need", bring);
    }
    suite.one("jobs_are_named_in_events", jobs);
}

const FIRST: &str = "[[rule]]\nname = \"first\"\nkind = \"canary\"\npaths = \"@/one\"\non = \"opened\"\ncooldown = \"0\"\n";

/// Sends SIGHUP and waits until it has been obeyed for the `times`-th time.
fn hang_up(recorder: &Recorder, times: usize) {
    recorder.signal(Signal::HUP);
    let done = until(PATIENCE, || {
        let said = recorder.stderr();
        let read = said.iter().filter(|line| line.ends_with(" read again"));
        (read.count() >= times).then_some(())
    });
    assert!(done.is_some(), "{}", recorder.said());
}

fn read_again() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    for name in ["one", "two"] {
        fs::write(root.join(name), "").unwrap();
    }
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = start(&home, &root, FIRST);
    let alerts = |recorder: &mut Recorder| -> Vec<String> {
        for name in ["one", "two"] {
            File::open(root.join(name)).unwrap();
        }
        recorder.settle("_global", &root);
        let mut told: Vec<String> = values(&home, "_alerts")
            .iter()
            .map(|alert| alert["rule"].as_str().unwrap().to_owned())
            .collect();
        fs::write(home.log_path("_alerts"), "").ok();
        told.sort();
        told
    };
    assert_eq!(alerts(&mut recorder), ["first"]);

    let second = FIRST.replace("first", "second").replace("one", "two");
    write_policy(&home, &root, &second);
    hang_up(&recorder, 1);
    assert_eq!(alerts(&mut recorder), ["second"]);

    write_policy(&home, &root, &second.replace("canary", "canarie"));
    hang_up(&recorder, 2);
    assert_eq!(alerts(&mut recorder), ["second"]);
    let said = recorder.stderr().join("\n");
    let why = "the policy stays as it was: line 3: 'canarie' is not a kind of rule";
    assert!(said.contains(why), "{said}");

    let path = write_policy(&home, &root, FIRST);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    hang_up(&recorder, 3);
    assert_eq!(alerts(&mut recorder), ["second"]);
    assert!(recorder.stderr().join("\n").contains("others may write it"));

    fs::remove_file(&path).unwrap();
    hang_up(&recorder, 4);
    assert_eq!(alerts(&mut recorder), ["second"]);
    let said = recorder.stderr().join("\n");
    assert!(
        said.contains("the policy stays as it was: cannot read the policy"),
        "{said}"
    );

    write_policy(&home, &root, &(second + FIRST));
    hang_up(&recorder, 5);
    assert_eq!(alerts(&mut recorder), ["first", "second"]);
    write_policy(&home, &root, "");
    hang_up(&recorder, 6);
    assert_eq!(alerts(&mut recorder), Vec::<String>::new());
    recorder.stop();
    let counts: Vec<Value> = home
        .journal_of("POLICY")
        .iter()
        .map(|line| line["rules"].clone())
        .collect();
    assert_eq!(counts, [1, 1, 2]);
}

fn refused() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let path = write_policy(&home, &root, FIRST);
    let start = || home.run(&["daemon", "--policy", path.to_str().unwrap()]);
    let refuses = |why: &str| {
        let done = start();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{}", tell(&done));
        assert!(said.contains(why) && said.contains("policy.toml"), "{said}");
    };
    for mode in [0o666, 0o664, 0o622] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        refuses("others may write it");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&home.dir, fs::Permissions::from_mode(0o777)).unwrap();
    refuses("others may write");
    fs::set_permissions(&home.dir, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    refuses("it belongs to user 12345");
    fs::remove_file(&path).unwrap();
    refuses("No such file");
    write_policy(&home, &root, "[[rule]]\nname = \"x\"\n");
    refuses("policy.toml':1: the rule has no kind");
    assert_eq!(home.journal(), Vec::<Value>::new(), "it never recorded");
}

fn checked() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let path = write_policy(&home, &root, FIRST);
    let word = path.to_str().unwrap();
    let told = home.ok(&["policy", "check", word]);
    assert!(
        told.contains("Rule 1, \"first\", canary.") || told.contains("Rule 1, 'first', canary."),
        "{told}"
    );
    assert_eq!(told, home.ok(&["policy", "check", "--policy", word]));

    write_policy(
        &home,
        &root,
        "[[rule]]\nname = \"x\"\nkind = \"burst\"\ncount = 0\nwindow = \"1s\"\n\n[[rule]]\nname = \"x\"\nkind = \"outside\"\n\
         inside = \"work\"\ncmd = \"agent\"\ncooldown = 5\n[[job]]\nid = \"j\"\ncolour = \"red\"\n",
    );
    let done = home.run(&["policy", "check", word]);
    assert_eq!(
        (done.status.code(), &done.stdout[..]),
        (Some(2), &b""[..]),
        "{}",
        tell(&done)
    );
    let said = String::from_utf8(done.stderr).unwrap();
    for line in [4, 8, 10, 12, 13, 15] {
        let count = said.matches(&format!("policy.toml':{line}: ")).count();
        assert_eq!(count, 1, "line {line}: {said}");
    }
    // One line for each, and one that counts them; paths are quoted by whoever says them.
    assert!(
        said.lines().count() == 7 && said.contains("6 mistakes in the policy"),
        "{said}"
    );

    fs::remove_file(&path).unwrap();
    let done = home.run(&["policy", "check", word]);
    assert_eq!(done.status.code(), Some(2), "{}", tell(&done));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("No such file") && said.lines().count() == 1,
        "{said}"
    );
}

/// With nothing watched: places that come later, by creation, rename and mount, and patterns that overlap.
fn bring(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/b/key"), "").unwrap();
    fs::copy("/bin/true", root.join("a/program")).unwrap();
    let rule =
        |name: &str, more: &str| format!("[[rule]]\nname = \"{name}\"\ncooldown = \"0\"\n{more}\n");
    let rules = [
        rule(
            "later",
            "kind = \"canary\"\npaths = [\"@/later/key\", \"@/moved/in/key\", \"@/mnt/**/key\"]\non = \"modified\"",
        ),
        rule(
            "twice",
            "kind = \"canary\"\npaths = [\"@/*/*/key\", \"@/a/**\", \"@/a/b/key\"]\non = \"opened\"",
        ),
        rule(
            "last",
            "kind = \"outside\"\ncmd = \"mkdir\"\nbelow = \"@\"\ninside = \"@/a\"",
        ),
        rule(
            "second",
            "kind = \"burst\"\ncount = 2\nwindow = \"60s\"\nbelow = [\"@/n\", \"@/n/m\"]\ntypes = \"CREATE\"",
        ),
    ];
    let mut recorder = start(&home, &root, &rules.concat());
    File::open(root.join("a/b/key")).unwrap();
    assert!(
        Command::new(root.join("a/program"))
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir(root.join("later")).unwrap();
    fs::write(root.join("later/key"), "x").unwrap();
    fs::create_dir_all(root.join("other/in")).unwrap();
    fs::rename(root.join("other"), root.join("moved")).unwrap();
    fs::write(root.join("moved/in/key"), "x").unwrap();
    fs::create_dir_all(root.join("n/m")).unwrap();
    fs::write(root.join("n/m/one"), "").unwrap();
    fs::create_dir(root.join("mnt")).unwrap();
    sh(
        &["mount", "-t", "tmpfs", "fsmon-test"],
        &[&root.join("mnt")],
    );
    let mounted = until(PATIENCE, || {
        fs::write(root.join("mnt/key"), "x").unwrap();
        let alerts = values(&home, "_alerts");
        let found = alerts
            .iter()
            .any(|alert| alert["path"].as_str().unwrap().ends_with("/mnt/key"));
        found.then_some(())
    });
    assert!(mounted.is_some(), "what is mounted later is not watched");
    let last = root.join("last");
    assert!(Command::new("mkdir").arg(&last).status().unwrap().success());
    recorder.wait_for("_alerts", "/last\"");
    recorder.stop();
    let mut told: Vec<String> = values(&home, "_alerts")
        .iter()
        .map(|alert| {
            let text = |key: &str| alert[key].as_str().unwrap();
            let path = text("path").strip_prefix(root.to_str().unwrap()).unwrap();
            format!("{} {} {path}", text("rule"), text("event_type"))
        })
        .filter(|line| !line.contains("/mnt/") && !line.contains("CLOSE_WRITE"))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "last CREATE /last",
            "later MODIFY /later/key",
            "later MODIFY /moved/in/key",
            "second CREATE /n/m",
            "second CREATE /n/m/one",
            "twice OPEN /a/b/key",
            "twice OPEN /a/program",
            "twice OPEN /moved/in/key",
            "twice OPEN_EXEC /a/program",
        ]
    );
}

/// The longest directory counts, by whole components, also in the log of a group and for an alert.
fn jobs() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    for dir in ["j/work/deep/own", "j/workshop", "j/out", "k"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for group in ["_global", "kernel"] {
        home.watch(group, &root, &["-r", "-t", "CREATE,MOVED_TO"]);
    }
    let policy = "
        [[job]]\nid = \"one\"\nrootfs = \"@/j\"\nworkspace = [\"@/j/work\"]\nexport = \"@/j/out/\"
        [[job]]\nid = \"two\"\ncache = \"@/j/work/deep\"\nworkspace = \"@/j/work\"
        [[rule]]\nname = \"r\"\nkind = \"canary\"\npaths = \"@/**/secret\"\ncooldown = \"0\"\n";
    let mut recorder = start(&home, &root, policy);
    let wanted = [
        ("j/a", Some(("one", "rootfs"))),
        ("j/work/a", Some(("one", "workspace"))),
        ("j/workshop/a", Some(("one", "rootfs"))),
        ("j/work/deep/own/a", Some(("two", "cache"))),
        ("j/work/deeper", Some(("one", "workspace"))),
        ("j/out/a", Some(("one", "export"))),
        ("j/out/secret", Some(("one", "export"))),
        ("k/a", None),
        ("k/secret", None),
    ];
    for (path, _) in wanted {
        fs::write(root.join(path), "").unwrap();
    }
    fs::rename(root.join("k/a"), root.join("j/out/b")).unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = values(&home, "_global");
    for (path, place) in wanted
        .into_iter()
        .chain([("j/out/b", Some(("one", "export")))])
    {
        check_place(&lines, &root, path, place);
    }
    let alerts = values(&home, "_alerts");
    check_place(&alerts, &root, "j/out/secret", Some(("one", "export")));
    check_place(&alerts, &root, "k/secret", None);
}

fn check_place(lines: &[Value], root: &Path, path: &str, place: Option<(&str, &str)>) {
    let full = root.join(path);
    let of_path: Vec<&Value> = lines
        .iter()
        .filter(|line| line["path"] == full.to_str().unwrap())
        .collect();
    assert!(!of_path.is_empty(), "{path}");
    for line in of_path {
        let told = line["job_id"].as_str().zip(line["path_role"].as_str());
        assert_eq!(told, place, "{line}");
    }
}
