//! `fsmon doctor`: what it says of real filesystems, users and namespaces, and its self-test there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Suite;
use crate::ground::{Fs, Ground, sh};
use crate::recorder::{Home, tell};
use crate::wait::{PATIENCE, until};

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4, Fs::Subvol, Fs::Overlay] {
        suite.on(kind, "doctor_finds_nothing_missing", nothing_missing);
    }
    suite.tools("doctor_on_fuse", &["bindfs"], fuse);
    suite.one("doctor_sees_what_the_recorder_lacks", lacking);
    suite.tools("doctor_for_an_ordinary_user", &["setpriv"], ordinary_user);
    suite.tools("doctor_in_namespaces", &["unshare"], in_namespaces);
    suite.one("doctor_of_places_that_cannot_be_watched", strange_places);
    suite.one("doctor_beside_a_daemon", beside_a_daemon);
    suite.one("doctor_cleans_up_when_interrupted", interrupted);
}

const USER: u32 = 54_323;

/// The findings of a run, which must end with the code that they say.
fn found(done: &Output) -> Value {
    let text = String::from_utf8_lossy(&done.stdout);
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {}", tell(done));
    });
    let code = i32::from(!found["ok"].as_bool().unwrap());
    assert_eq!(done.status.code(), Some(code), "{}", tell(done));
    found
}

fn examine(home: &Home, words: &[&str]) -> Value {
    found(&home.run(&[&["doctor", "--json"], words].concat()))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The way that the first filesystem of the first path would be watched, and the state of that.
fn way(found: &Value) -> (&str, &str) {
    let first = &found["paths"][0]["filesystems"][0];
    let way = first["way"].as_str().unwrap_or("none");
    (way, first["state"].as_str().unwrap())
}

/// `name state` of all checks that are not as they should be.
fn lacks(found: &Value) -> Vec<String> {
    let checks = found["checks"].as_array().unwrap();
    let bad = checks.iter().filter(|check| check["state"] != "ok");
    bad.map(|check| format!("{} {}", text_of(&check["name"]), text_of(&check["state"])))
        .collect()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// Every event of the self-test arrives with the right path and process, and nothing is left of it.
fn nothing_missing(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let place = root.join("place");
    fs::create_dir(&place).unwrap();
    let home = Home::new(&ground);
    let found = examine(&home, &[text(&root), "--test-in", text(&place)]);
    let (expected, state) = match kind {
        Fs::Subvol => ("btrfs top", "ok"),
        Fs::Overlay => ("overlay upper", "limited"),
        _ => ("filesystem", "ok"),
    };
    assert_eq!(way(&found), (expected, state), "{found:#}");
    assert_eq!(found["paths_from"], "arguments");
    let test = &found["test"];
    assert_eq!(test["state"], "ok", "{test:#}");
    let steps = test["steps"].as_array().unwrap();
    let counts = steps.iter().map(|step| (&step["expected"], &step["right"]));
    assert!(counts.clone().all(|(expected, right)| expected == right));
    let all: u64 = counts.map(|(_, right)| right.as_u64().unwrap()).sum();
    assert_eq!((steps.len(), all), (5, 19), "{test:#}");
    assert!(steps[0]["lived_ms"].as_f64().unwrap() > 0.0, "{test:#}");
    assert!(text_of(&test["dir"]).starts_with(text(&place)));
    assert!(is_empty(&place));
}

/// The sentence is the daemon's own, and the self-test shows what it means.
fn fuse() {
    let ground = Ground::new();
    let below = ground.mount(Fs::Ext4);
    let root = ground.directory("fuse");
    sh(&["bindfs"], &[&below, &root]);
    let home = Home::new(&ground);
    let found = examine(&home, &[text(&root), "--test-in", text(&root)]);
    assert_eq!(way(&found), ("directories", "limited"), "{found:#}");
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    recorder.settle("_global", &root);
    let lack = text_of(&found["paths"][0]["filesystems"][0]["lack"]);
    recorder.says(lack);
    recorder.stop();
    let steps = &found["test"]["steps"];
    // Each mark sees what happens in a directory that was there before. How that lies to the exec of a program, which
    // another queue tells, may be ambiguous.
    for at in [0, 4] {
        assert_eq!(steps[at]["right"], steps[at]["expected"], "{steps:#}");
    }
    let mut left = fs::read_dir(&below).unwrap().flatten();
    assert!(left.all(|entry| entry.file_name() == "lost+found"));
}

/// Where perf is refused short lives have no names: the self-test notices, and so do the checks.
fn lacking() {
    let ground = Ground::new();
    let mut home = Home::new(&ground);
    let root = ground.mount(Fs::Tmpfs);
    home.switches = Some("no-perf");
    let blind = examine(&home, &[text(&root), "--test-in", text(&root)]);
    assert_eq!(lacks(&blind), ["names missing"], "{blind:#}");
    assert_eq!(blind["ok"], false);
    assert_eq!(way(&blind), ("filesystem", "ok"));
    assert_ne!(blind["test"]["steps"][1]["state"], "ok", "{blind:#}");
    home.switches = Some("legacy-fanotify");
    let old = examine(&home, &[text(&root), "--test-in", text(&root)]);
    assert_eq!(lacks(&old), ["renames limited"], "{old:#}");
    assert!(is_empty(&root));
}

fn ordinary_user() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o1777)).unwrap();
    let home = Home::new(&ground);
    sh(&["chown", "-R", &format!("{USER}:{USER}")], &[&home.dir]);
    let words = ["doctor", "--json", text(&root), "--test-in", text(&root)];
    let mut program = home.command(&words);
    program.uid(USER).gid(USER);
    let found = found(&program.output().unwrap());
    let lacks = lacks(&found);
    for lack in [
        "unlimited queue missing",
        "by handle missing",
        "names missing",
        "CAP_SYS_ADMIN missing",
        "CAP_DAC_READ_SEARCH missing",
        "CAP_NET_ADMIN limited",
    ] {
        assert!(lacks.contains(&lack.to_owned()), "{lack}: {lacks:?}");
    }
    assert_eq!(way(&found), ("none", "missing"));
    let why = text_of(&found["test"]["text"]);
    assert!(why.contains("cannot open fanotify"), "{why}");
    assert!(is_empty(&root));
    let shown = home
        .command(&["doctor", text(&root)])
        .uid(USER)
        .gid(USER)
        .output();
    let shown = shown.unwrap();
    assert_eq!(shown.status.code(), Some(1), "{}", tell(&shown));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("hint: run it with sudo"), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
}

/// A daemon in a container knows only what is in there with it.
fn in_namespaces() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let within = |flags: &[&str]| {
        let mut program = home.surround(Command::new("unshare"));
        program.args(flags).arg(env!("CARGO_BIN_EXE_fsmon"));
        program.args(["doctor", "--json", text(&root), "--test-in", text(&root)]);
        found(&program.output().unwrap())
    };
    let pid = within(&["--pid", "--fork", "--mount-proc"]);
    assert_eq!(
        lacks(&pid),
        ["users limited", "pid namespace limited"],
        "{pid:#}"
    );
    // What happens in there has names, by the pids of in there.
    assert_eq!(pid["test"]["state"], "ok", "{pid:#}");
    let user = within(&["--user", "--map-root-user"]);
    let lacks = lacks(&user);
    for lack in [
        "unlimited queue missing",
        "user namespace limited",
        "CAP_SYS_ADMIN limited",
    ] {
        assert!(lacks.contains(&lack.to_owned()), "{lack}: {lacks:?}");
    }
    assert_eq!(way(&user), ("none", "missing"));
    assert!(is_empty(&root));
}

fn strange_places() {
    let ground = Ground::new();
    let home = Home::new(&ground);
    let (at, file) = (ground.mount(Fs::Tmpfs), ground.dir.join("file"));
    fs::write(&file, "x").unwrap();
    sh(&["mount", "-o", "remount,ro"], &[&at]);
    let later = ground.dir.join("later");
    let words = [
        "/proc",
        text(&later),
        text(&file),
        text(&at),
        "--test-in",
        text(&at),
    ];
    let found = examine(&home, &words);
    let paths = found["paths"].as_array().unwrap();
    let states: Vec<&str> = paths.iter().map(|path| text_of(&path["state"])).collect();
    assert_eq!(states[0], "limited", "{found:#}");
    assert!(text_of(&paths[0]["filesystems"][0]["lack"]).contains("programs write"));
    assert!(text_of(&paths[1]["text"]).contains("does not exist yet"));
    assert_eq!(paths[2]["path"], text(&file));
    assert!(text_of(&paths[3]["filesystems"][0]["options"]).starts_with("ro"));
    assert_eq!(states[3], "ok");
    let why = text_of(&found["test"]["text"]);
    assert!(why.contains("Read-only file system"), "{why}");
    // Without /proc nothing can be known, and that is said.
    let bare = ground.directory("bare");
    let mut unshare = home.surround(Command::new("unshare"));
    let script = "mount --rbind / \"$1\" && umount -l \"$1/proc\" && chroot \"$1\" \"$2\" doctor --json --no-test /";
    unshare.args(["--mount", "sh", "-c", script, "sh", text(&bare)]);
    unshare.arg(env!("CARGO_BIN_EXE_fsmon"));
    let done = unshare.output().unwrap();
    let found: Value =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", tell(&done)));
    assert_eq!(found["ok"], false);
    assert!(
        lacks(&found).contains(&"/proc missing".to_owned()),
        "{found:#}"
    );
    assert!(text_of(&found["paths"][0]["text"]).contains("table of mounts"));
}

/// Both watch the same place, and the watched paths are those that are looked at.
fn beside_a_daemon() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let idle = examine(&home, &["--no-test"]);
    assert_eq!(lacks(&idle), ["daemon limited"], "{idle:#}");
    assert_eq!(
        (&idle["test"], &idle["paths_from"]),
        (&Value::Null, &Value::from("store"))
    );
    let mut recorder = home.start();
    let found = examine(&home, &["--test-in", text(&root)]);
    assert_eq!(lacks(&found), [""; 0], "{found:#}");
    assert_eq!(found["test"]["state"], "ok", "{found:#}");
    assert_eq!(found["paths"][0]["path"], text(&root));
    recorder.settle("_global", &root);
    recorder.stop();
    let log = home.log("_global");
    let short = log.iter().find(|line| line.path.ends_with(b"/short"));
    let pid = found["test"]["steps"][0]["pid"].as_u64().unwrap();
    assert_eq!(short.map(|line| u64::from(line.pid)), Some(pid));
}

fn interrupted() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let mut program = home.command(&["doctor", "--json", "/proc", "--test-in", text(&root)]);
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    // One that was over before it was met has left nothing either, and shows nothing.
    let was_met = until(PATIENCE, || {
        let mut child = program.spawn().unwrap();
        let is_over = until(PATIENCE, || {
            let is_over = child.try_wait().unwrap().is_some();
            (is_over || !is_empty(&root)).then_some(is_over)
        });
        if is_over == Some(false) {
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        }
        let done = Child::wait_with_output(child).unwrap();
        assert!(is_empty(&root));
        let is_met = String::from_utf8_lossy(&done.stderr).contains("interrupted");
        assert!(!is_met || done.status.code() == Some(1), "{}", tell(&done));
        is_met.then_some(())
    });
    assert!(was_met.is_some());
}
