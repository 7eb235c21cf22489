//! Command groups: whose changes belong to them.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Suite;
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::recorder::Home;

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "command_group", command_group);
    }
    suite.one("process_older_than_the_daemon", older_than_the_daemon);
    suite.one("two_groups_on_one_path", two_groups);
    suite.one("cmd_is_that_of_the_moment", cmd_of_the_moment);
    suite.one("wrappers_that_prepare_and_then_exec", || wrappers(None));
    suite.one("wrappers_that_prepare_and_then_exec_read_late", || {
        wrappers(Some("read-delay-ms=20"))
    });
}

/// What a script and its children do before it becomes a program of the group is not the group's, also
/// when the script has the program's name, starts by way of the loader, or failed to exec at first.
fn wrappers(switches: Option<&'static str>) {
    const ROUNDS: usize = 40;
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let mut home = Home::new(&ground);
    home.switches = switches;
    let target = shell(&ground, "fsmontarget");
    let beside = ground.dir.join("beside");
    fs::create_dir(&beside).unwrap();
    let script = |name: &str, text: &str| {
        let path = beside.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let program = target.display();
    let done = "-c 'echo > after-$0' $1";
    let scripts = [
        script(
            "prepare",
            &format!("touch before-$1; echo > own-$1; exec {program} {done}"),
        ),
        script(
            "fsmontarget-one",
            &format!("echo > own-$1; exec {program} {done}"),
        ),
        script(
            "loaded",
            &format!("echo > own-$1; exec $(ls /lib64/ld-*.so* | head -n 1) {program} {done}"),
        ),
        script(
            "failing",
            &format!(
                "{}/none/fsmontarget 2>/dev/null; echo > own-$1; exec {program} {done}",
                beside.display()
            ),
        ),
    ];
    fs::create_dir(beside.join("none")).unwrap();
    let none = beside.join("none/fsmontarget");
    fs::write(&none, "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(&none, fs::Permissions::from_mode(0o755)).unwrap();
    for group in ["_global", "fsmontarget"] {
        home.watch(group, &root, &["-r", "-t", "CREATE"]);
    }
    let mut recorder = home.start();
    for round in 0..ROUNDS {
        for (number, script) in scripts.iter().enumerate() {
            let done = Command::new(script)
                .arg(format!("{number}.{round}"))
                .current_dir(&root)
                .status();
            assert!(done.unwrap().success());
        }
    }
    recorder.settle("_global", &root);
    recorder.stop();
    let all = home.log("_global");
    for (kind, count) in [("before-", 1), ("own-", 4), ("after-", 4)] {
        let of_kind = || {
            all.iter()
                .filter(|line| line.show().contains(&format!("/{kind}")))
        };
        assert_eq!(of_kind().count(), count * ROUNDS, "{kind}");
        let wrong = of_kind().filter(|line| {
            let is_targets = line.exe.ends_with("/fsmontarget") || line.cmd.starts_with("ld-linux");
            is_targets != (kind == "after-") && line.attribution.is_empty()
        });
        let wrong: Vec<String> = wrong.map(Line::show).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    let told = home.log("fsmontarget");
    let own = told
        .iter()
        .filter(|line| !line.show().contains("/after-") && line.attribution.is_empty());
    let own: Vec<String> = own.map(Line::show).collect();
    assert!(own.is_empty(), "{own:#?}");
    let after = told.iter().filter(|line| line.show().contains("/after-"));
    // Started by its loader the program has neither its comm nor its executable.
    assert_eq!(after.count(), 3 * ROUNDS);
}

/// A shell of a name that nothing else on this machine has.
fn shell(ground: &Ground, name: &str) -> PathBuf {
    let path = ground.dir.join(name);
    fs::copy("/bin/sh", &path).unwrap();
    path
}

fn run(shell: &Path, dir: &Path, script: &str) {
    assert!(
        Command::new(shell)
            .args(["-c", script])
            .current_dir(dir)
            .status()
            .unwrap()
            .success()
    );
}

fn names(lines: &[Line], kind: &str) -> Vec<String> {
    let named = lines.iter().filter(|line| line.kind == kind);
    named
        .map(|line| {
            line.path
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap()
                .escape_ascii()
                .to_string()
        })
        .collect()
}

fn command_group(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    let inside = shell(&ground, "fsmonshellone");
    home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
    home.watch("fsmonshellone", &root, &["-r", "-t", "CREATE,DELETE"]);
    let mut recorder = home.start();
    // By the shell itself, by children that live half a millisecond, and by a grandchild whose parent is dead.
    run(
        &inside,
        &root,
        "echo > own; for n in 1 2 3 4 5 6 7 8 9; do touch t$n; rm t$n; done; (touch sub; (sh -c 'touch orphan' &) ); wait",
    );
    run(Path::new("/bin/sh"), &root, "touch stranger; rm stranger");
    recorder.wait_for("_global", "/orphan\"");
    recorder.settle("_global", &root);
    recorder.stop();

    let lines = home.log("fsmonshellone");
    let mut told = names(&lines, "CREATE");
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "orphan", "own", "sub", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"
        ]
    );
    assert_eq!(names(&lines, "DELETE").len(), 9);
    for line in &lines {
        let name = line.path.rsplit(|byte| *byte == b'/').next().unwrap();
        let cmd = match (line.kind, name) {
            (_, b"own") => "fsmonshellone",
            ("DELETE", _) => "rm",
            _ => "touch",
        };
        assert_eq!(line.cmd, cmd, "{}", line.show());
        let first = format!("{}|{cmd}|root", line.pid);
        assert!(
            line.chain == first || line.chain.starts_with(&format!("{first};")),
            "{}",
            line.chain
        );
        if name != b"orphan" {
            assert!(line.chain.contains("|fsmonshellone|root"), "{}", line.chain);
            assert!(
                line.chain.rsplit(';').next().unwrap().starts_with("1|"),
                "up to pid 1: {}",
                line.chain
            );
        }
        assert_eq!(line.user, "root");
    }
    let global = home.log("_global");
    assert!(
        global.iter().all(|line| line.chain.is_empty()),
        "no chain in _global"
    );
    assert_eq!(names(&global, "CREATE").len(), 13);
}

fn older_than_the_daemon() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let inside = shell(&ground, "fsmonshelltwo");
    let mut old = Command::new(inside)
        .args(["-c", "read go; touch by-child; echo > by-itself"])
        .current_dir(&root)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    home.watch("fsmonshelltwo", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    drop(old.stdin.take());
    old.wait().unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    assert_eq!(
        names(&home.log("fsmonshelltwo"), "CREATE"),
        ["by-child", "by-itself"]
    );
}

fn two_groups() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Ext4);
    let home = Home::new(&ground);
    let inside = shell(&ground, "fsmonshell3");
    for group in ["_global", "fsmonshell3", "touch"] {
        home.watch(group, &root, &["-r", "-t", "CREATE"]);
    }
    let mut recorder = home.start();
    run(&inside, &root, "echo > one; touch two");
    run(Path::new("/bin/sh"), &root, "touch three; echo > four");
    recorder.settle("_global", &root);
    // Without a path the whole group goes, at once.
    home.ok(&["remove", "touch"]);
    run(Path::new("/bin/sh"), &root, "touch five");
    recorder.settle("_global", &root);
    recorder.stop();
    assert_eq!(
        names(&home.log("_global"), "CREATE"),
        ["one", "two", "three", "four", "five"]
    );
    assert_eq!(names(&home.log("fsmonshell3"), "CREATE"), ["one", "two"]);
    assert_eq!(names(&home.log("touch"), "CREATE"), ["two", "three"]);
}

/// What a shell does before its child's exec is the shell's, in every log.
fn cmd_of_the_moment() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Ext4);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE,CLOSE_WRITE"]);
    let mut recorder = home.start();
    run(
        Path::new("/bin/sh"),
        &root,
        "for n in 1 2 3 4 5; do sort < /dev/null > out$n; done; true",
    );
    recorder.settle("_global", &root);
    recorder.stop();
    for line in home.log("_global") {
        if line.kind == "CREATE" {
            assert_eq!(line.cmd, "sh", "{}", line.show());
        }
        assert!(line.path.starts_with(root.as_os_str().as_bytes()));
    }
}
