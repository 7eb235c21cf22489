//! What the daemon may do: with capabilities instead of root, with few of them, in a namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Suite;
use crate::ground::{Fs, Ground, sh};
use crate::lines::Line;
use crate::recorder::{Home, Recorder};
use crate::wait::{PATIENCE, until};

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "ordinary_user_with_capabilities", ordinary_user);
    }
    suite.tools("capabilities_missing", &["setcap"], missing);
    suite.one("root_keeps_what_it_needs", root_keeps_what_it_needs);
    suite.tools("daemon_in_a_pid_namespace", &["unshare"], in_a_namespace);
    suite.tools("processes_in_a_pid_namespace", &["unshare"], of_a_namespace);
}

const USER: u32 = 54322;
const SYS_ADMIN: u64 = 1 << 21;
const DAC_READ_SEARCH: u64 = 1 << 2;
const ALL: &str = "cap_sys_admin,cap_dac_read_search,cap_net_admin";

/// The daemon of a user who is not root, whose program has these capabilities.
fn program_of_user(ground: &Ground, home: &Home, capabilities: &str) -> Command {
    let program = ground.dir.join("fsmon");
    fs::copy(env!("CARGO_BIN_EXE_fsmon"), &program).unwrap();
    sh(&["setcap", &format!("{capabilities}+ep")], &[&program]);
    sh(&["chown", "-R", &format!("{USER}:{USER}")], &[&home.dir]);
    let mut daemon = home.surround(Command::new(&program));
    daemon.arg("daemon").uid(USER).gid(USER);
    daemon
}

/// The permitted capabilities of each thread, by its name.
fn permitted(recorder: &Recorder) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", recorder.pid())).unwrap();
    tasks
        .flatten()
        .map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).unwrap();
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            let set = status
                .lines()
                .find_map(|line| line.strip_prefix("CapPrm:"))
                .unwrap();
            let set = u64::from_str_radix(set.trim(), 16).unwrap();
            (name.trim().to_owned(), set)
        })
        .collect()
}

fn check_permitted(recorder: &Recorder, expected: u64) {
    // A thread is there before it has given itself its name.
    let threads = until(PATIENCE, || {
        let threads = permitted(recorder);
        let is_named = |name: &&str| threads.iter().any(|(known, _)| known == name);
        ["fsmon", "core", "feed", "printer"]
            .iter()
            .all(is_named)
            .then_some(threads)
    });
    let Some(threads) = threads else {
        panic!("{:?}", permitted(recorder));
    };
    for (name, set) in threads {
        let expected = if name == "printer" { 0 } else { expected };
        assert_eq!(set, expected, "{name}: {set:x}");
    }
}

fn touch_as(uid: u32, file: &Path) {
    let done = Command::new("touch").arg(file).uid(uid).status().unwrap();
    assert!(done.success());
}

fn told<'a>(lines: &'a [Line], kind: &str, path: &Path) -> &'a Line {
    let path = path.to_str().unwrap().as_bytes();
    let found = lines
        .iter()
        .find(|line| line.kind == kind && line.path == path);
    found.unwrap_or_else(|| panic!("no {kind} of {}", path.escape_ascii()))
}

fn check_touched(lines: &[Line], file: &Path, user: &str) {
    let line = told(lines, "CREATE", file);
    assert_eq!(
        (
            line.cmd.as_str(),
            line.exe.as_str(),
            line.user.as_str(),
            line.attribution.as_str()
        ),
        ("touch", "/usr/bin/touch", user, ""),
        "{}",
        line.show()
    );
}

fn watched(kind: Fs) -> (Ground, PathBuf, Home) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o1777)).unwrap();
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE,MOVED_TO"]);
    home.watch("touch", &root, &["-r", "-t", "CREATE"]);
    (ground, root, home)
}

fn ordinary_user(kind: Fs) {
    let (ground, root, home) = watched(kind);
    fs::create_dir(root.join("old")).unwrap();
    let daemon = program_of_user(&ground, &home, ALL);
    let mut recorder = Recorder::start(&home, daemon);
    check_permitted(&recorder, SYS_ADMIN | DAC_READ_SEARCH);
    touch_as(0, &root.join("old/by-root"));
    fs::rename(root.join("old"), root.join("new")).unwrap();
    touch_as(0, &root.join("new/behind"));
    touch_as(99, &root.join("by-other"));
    // A filesystem that comes later takes a mark, too.
    let later = root.join("later");
    fs::create_dir(&later).unwrap();
    sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[&later]);
    recorder.says("/later'");
    touch_as(0, &later.join("there"));
    recorder.settle("_global", &later);
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    for (file, user) in [
        ("old/by-root", "root"),
        ("new/behind", "root"),
        ("by-other", "99"),
        ("later/there", "root"),
    ] {
        check_touched(&lines, &root.join(file), user);
        check_touched(&home.log("touch"), &root.join(file), user);
    }
    told(&lines, "MOVED_TO", &root.join("new"));
}

fn missing() {
    let (ground, root, home) = watched(Fs::Tmpfs);
    let mut refused = program_of_user(&ground, &home, "cap_dac_read_search,cap_net_admin");
    let done = refused.output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot open fanotify: Operation not permitted"),
        "{said}"
    );
    assert!(said.contains("\n  hint: run it with sudo, or "), "{said}");
    for (capabilities, lack) in [
        ("cap_sys_admin,cap_net_admin", "without CAP_DAC_READ_SEARCH"),
        (
            "cap_sys_admin,cap_dac_read_search",
            "CAP_NET_ADMIN makes it large",
        ),
    ] {
        let daemon = program_of_user(&ground, &home, capabilities);
        let mut recorder = Recorder::start(&home, daemon);
        let file = root.join(format!("with-{}", capabilities.len()));
        touch_as(0, &file);
        recorder.settle("_global", &root);
        let said = recorder.stop();
        assert!(
            said.iter()
                .any(|line| line.contains("warning: ") && line.contains(lack)),
            "{said:#?}"
        );
        check_touched(&home.log("_global"), &file, "root");
    }
}

fn root_keeps_what_it_needs() {
    let (_ground, root, home) = watched(Fs::Tmpfs);
    let mut recorder = home.start();
    let kept = SYS_ADMIN | DAC_READ_SEARCH | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19;
    check_permitted(&recorder, kept);
    let bounding = fs::read_to_string(format!("/proc/{}/status", recorder.pid())).unwrap();
    let bounding = bounding
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap();
    assert_eq!(u64::from_str_radix(bounding.trim(), 16), Ok(kept));
    touch_as(0, &root.join("file"));
    recorder.settle("_global", &root);
    recorder.stop();
    check_touched(&home.log("_global"), &root.join("file"), "root");
}

/// Inside, pids are others and those outside have none: what they do is nobody's.
fn in_a_namespace() {
    let (_ground, root, home) = watched(Fs::Tmpfs);
    let mut daemon = home.surround(Command::new("unshare"));
    // The shell is the namespace's first process; beside the daemon it does something itself.
    let script = format!(
        "'{}' daemon & read go; touch '{}'; read end; kill $!; wait $!",
        env!("CARGO_BIN_EXE_fsmon"),
        root.join("inside").display()
    );
    daemon
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            &script,
        ])
        .stdin(Stdio::piped());
    let mut recorder = Recorder::start(&home, daemon);
    recorder.says("--pid=host");
    touch_as(0, &root.join("outside"));
    recorder.tell("\n");
    recorder.settle("_global", &root);
    until(PATIENCE, || fs::metadata(root.join("inside")).ok()).unwrap();
    recorder.settle("_global", &root);
    recorder.tell("\n");
    recorder.wait_end();
    let lines = home.log("_global");
    let outside = told(&lines, "CREATE", &root.join("outside"));
    assert_eq!(
        (
            outside.pid,
            outside.cmd.as_str(),
            outside.user.as_str(),
            outside.attribution.as_str()
        ),
        (0, "unknown", "unknown", "unknown")
    );
    let inside = told(&lines, "CREATE", &root.join("inside"));
    assert_eq!(
        (inside.cmd.as_str(), inside.attribution.as_str()),
        ("touch", "")
    );
    assert!(
        inside.pid > 0 && inside.pid < 100,
        "a pid of the namespace: {}",
        inside.pid
    );
}

/// Processes of a container have, in the log, the pids that the host knows them by.
fn of_a_namespace() {
    let (_ground, root, home) = watched(Fs::Tmpfs);
    let mut recorder = home.start();
    let script = format!("touch '{}'; true", root.join("contained").display());
    let mut container = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script])
        .spawn()
        .unwrap();
    assert!(container.wait().unwrap().success());
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("touch");
    check_touched(&lines, &root.join("contained"), "root");
    let line = told(&lines, "CREATE", &root.join("contained"));
    assert!(line.pid > container.id(), "{}", line.show());
    let above = format!(";{}|sh|root;{}|unshare|root;", line.ppid, container.id());
    assert!(line.chain.contains(&above), "{} in {}", above, line.chain);
}
