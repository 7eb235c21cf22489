//! What is mounted below a watch, or is a watch, and what the kernel itself shows as files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::{Scene, short, write};
use crate::Suite;
use crate::ground::{Fs, Ground, sh, unmount};
use crate::recorder::{Home, Recorder, tell};
use crate::wait::{PATIENCE, until};

pub(super) fn list(suite: &mut Suite) {
    for kind in Fs::MAIN {
        suite.on(kind, "mounted_later_below_a_recursive_path", mounted_later);
        suite.on(kind, "bind_mount", bind_mount);
        suite.on(kind, "in_a_chroot_that_is_no_mount_point", in_a_chroot);
    }
    suite.one("mounts_below_a_recursive_path", mounts_below);
    suite.one("what_programs_set_in_the_kernel", set_in_the_kernel);
    suite.one("a_single_file_mounted_below_a_recursive_path", file_below);
}

/// Makes a root directory with programs in it, fsmon among them, and `dirs` of its own.
fn jail(root: &Path, dirs: &[&str]) {
    for dir in [&["proc", "dev", "usr", "home", "tmp"], dirs].concat() {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for dir in ["bin", "lib", "lib64"] {
        symlink(Path::new("usr").join(dir), root.join(dir)).unwrap();
    }
    for dir in ["proc", "dev", "usr"] {
        let from = Path::new("/").join(dir);
        sh(&["mount", "--bind"], &[&from, &root.join(dir)]);
    }
    let program = Path::new(env!("CARGO_BIN_EXE_fsmon"));
    write(&root.join("fsmon"));
    sh(&["mount", "--bind"], &[program, &root.join("fsmon")]);
}

/// The table of mounts does not show what such a root is on; everything of fsmon runs in there.
fn in_a_chroot(kind: Fs) {
    let ground = Ground::new();
    let top = ground.mount(kind);
    let root = top.join("jail");
    jail(&root, &["data/old"]);
    fs::create_dir_all(top.join("data/old")).unwrap();
    let mut home = Home::at(root.join("home"));
    home.socket = "/home/fsmon.sock".into();
    home.configure("");
    let command = |words: &[&str]| {
        let mut program = home.surround(Command::new("chroot"));
        program
            .arg(&root)
            .arg("/fsmon")
            .args(words)
            .env("HOME", "/home");
        program
    };
    let run = |words: &[&str]| {
        let done = command(words).output().unwrap();
        (done.status.code(), tell(&done))
    };
    let (code, told) = run(&[
        "add",
        "_global",
        "--path",
        "/data",
        "-r",
        "-t",
        "CREATE,DELETE,MOVED_FROM,MOVED_TO",
    ]);
    assert_eq!(code, Some(0), "{told}");
    let mut recorder = Recorder::start(&home, command(&["daemon"]));
    let marks = root.join("data");
    // The same names, where no path in there leads.
    for above in [&top, &root] {
        write(&above.join("data/old/file"));
        fs::create_dir_all(above.join("data/new/deep")).unwrap();
        write(&above.join("data/new/deep/file"));
    }
    fs::rename(root.join("data/new"), top.join("data/moved")).unwrap();
    write(&top.join("data/moved/deep/later"));
    fs::rename(top.join("data/old"), root.join("data/in")).unwrap();
    write(&root.join("data/in/later"));
    recorder.settle("_global", &marks);
    let (code, told) = run(&["health"]);
    assert!(code == Some(0) && !told.contains("not watched"), "{told}");
    recorder.stop();
    let told = home.log("_global");
    let told: Vec<_> = told
        .iter()
        .map(|line| short(line, Path::new("/")))
        .collect();
    assert_eq!(
        told,
        [
            "CREATE data/old/file",
            "CREATE data/new",
            "CREATE data/new/deep",
            "CREATE data/new/deep/file",
            "MOVED_FROM data/new",
            "MOVED_TO data/in",
            "CREATE data/in/later",
        ]
    );
    let (code, told) = run(&["doctor", "--no-test", "/data"]);
    assert!(code.is_some() && !told.contains("no mount leads"), "{told}");
}

/// Mounts that are there already when the watch begins.
fn mounts_below() {
    let scene = Scene::on(Fs::Tmpfs);
    for name in ["in/a", "in/a2"] {
        fs::create_dir_all(scene.root.join(name)).unwrap();
    }
    sh(
        &["mount", "-t", "tmpfs", "fsmon-test"],
        &[&scene.root.join("in/a")],
    );
    fs::create_dir(scene.root.join("in/a/b")).unwrap();
    sh(
        &["mount", "-t", "tmpfs", "fsmon-test"],
        &[&scene.root.join("in/a/b")],
    );
    let told = scene.told("in", &["-r", "-t", "CREATE"], |root| {
        for file in ["in/f", "in/a/f", "in/a/b/f", "in/a2/f"] {
            write(&root.join(file));
        }
    });
    let mut told = told;
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "CREATE /in/a/b/f",
            "CREATE /in/a/f",
            "CREATE /in/a2/f",
            "CREATE /in/f"
        ]
    );
}

/// A filesystem that is mounted below a recursive path is covered soon after, with the right paths.
fn mounted_later(kind: Fs) {
    let scene = Scene::on(Fs::Tmpfs);
    let at = scene.root.join("in/mnt");
    fs::create_dir_all(&at).unwrap();
    scene
        .home
        .watch("_global", &scene.root.join("in"), &["-r", "-t", "CREATE"]);
    let mut recorder = scene.home.start();
    let elsewhere = scene.ground.mount(kind);
    sh(&["mount", "--bind"], &[&elsewhere, &at]);
    let mut probe = 0;
    let seen = until(PATIENCE, || {
        probe += 1;
        write(&at.join(format!("probe{probe}")));
        scene
            .lines()
            .iter()
            .any(|line| line.starts_with("CREATE /in/mnt/probe"))
            .then_some(())
    });
    assert!(
        seen.is_some(),
        "the new mount is never covered: {:?}",
        scene.lines()
    );
    fs::create_dir(at.join("dir")).unwrap();
    write(&at.join("dir/file"));
    recorder.settle("_global", &at);
    let lines = scene.lines();
    assert!(
        lines.contains(&"CREATE /in/mnt/dir/file".to_owned()),
        "{lines:?}"
    );
    unmount(&at);
    recorder.settle("_global", &scene.marks);
    write(&elsewhere.join("no longer below"));
    write(&scene.root.join("in/below"));
    recorder.settle("_global", &scene.marks);
    recorder.stop();
    let lines = scene.lines();
    assert!(lines.contains(&"CREATE /in/below".to_owned()), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("no longer")),
        "{lines:?}"
    );
}

/// The path is the one through the watched mount, whichever way the file was reached.
fn bind_mount(kind: Fs) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.root.join("far/away")).unwrap();
    let other = scene.ground.directory("bound");
    sh(&["mount", "--bind"], &[&scene.root.join("far"), &other]);
    scene
        .home
        .watch("_global", &other, &["-r", "-t", "CREATE,DELETE"]);
    let mut recorder = scene.home.start();
    write(&other.join("away/1"));
    write(&scene.root.join("far/away/2"));
    write(&scene.root.join("outside"));
    fs::create_dir_all(scene.root.join("far/x/y")).unwrap();
    fs::remove_dir_all(scene.root.join("far/x")).unwrap();
    recorder.settle("_global", &scene.marks);
    recorder.stop();
    let told: Vec<String> = scene
        .home
        .log("_global")
        .iter()
        .map(|line| short(line, &other))
        .collect();
    assert_eq!(
        told,
        [
            "CREATE /away/1",
            "CREATE /away/2",
            "CREATE /x",
            "CREATE /x/y",
            "DELETE /x/y",
            "DELETE /x"
        ]
    );
}

/// A file that is mounted alone has no directory there to be watched through: that is said, once, and costs no other.
fn file_below() {
    let scene = Scene::on(Fs::Tmpfs);
    let elsewhere = scene.ground.mount(Fs::Ext4);
    let (inside, single, dir) = (scene.root.join("in"), "in/single", "in/dir");
    fs::create_dir_all(scene.root.join(dir)).unwrap();
    write(&scene.root.join(single));
    write(&elsewhere.join("file"));
    let at = scene.root.join(single);
    sh(&["mount", "--bind"], &[&elsewhere.join("file"), &at]);
    scene
        .home
        .watch("_global", &inside, &["-r", "-t", "CREATE"]);
    let mut recorder = scene.home.start();
    write(&inside.join("beside"));
    scene.home.watch("_global", &elsewhere, &["-t", "CREATE"]);
    write(&elsewhere.join("there"));
    recorder.settle("_global", &scene.marks);
    let said = recorder.stop();
    let about: Vec<_> = said
        .iter()
        .filter(|line| line.contains("in/single"))
        .collect();
    assert_eq!(about.len(), 1, "{said:?}");
    assert!(about[0].contains("a single file"), "{about:?}");
    let lines = scene.lines();
    let has = |end: &str| lines.iter().any(|line| line.ends_with(end));
    assert!(has("/in/beside") && has("/there"), "{lines:?}");
}

/// A setting of the kernel is a file that a program writes.
fn set_in_the_kernel() {
    let scene = Scene::on(Fs::Tmpfs);
    let (dir, setting) = (
        Path::new("/proc/sys/kernel"),
        "/proc/sys/kernel/printk_delay",
    );
    scene.home.watch("_global", dir, &["-t", "CLOSE_WRITE"]);
    let mut recorder = scene.home.start();
    let value = fs::read(setting).unwrap();
    fs::write(setting, value).unwrap();
    let told = format!("\"CLOSE_WRITE\",\"path\":\"{setting}\"");
    recorder.wait_for("_global", &told);
    recorder.settle("_global", &scene.marks);
    let said = recorder.stop();
    let log = scene.home.log("_global");
    let lines: Vec<_> = log
        .iter()
        .filter(|line| line.kind == "CLOSE_WRITE")
        .collect();
    assert_eq!(lines.len(), 1, "{log:?}");
    assert_eq!(
        (&lines[0].path[..], lines[0].pid),
        (setting.as_bytes(), std::process::id())
    );
    let is_limited = |line: &String| line.contains("'/proc'") && line.contains("programs write");
    assert!(said.iter().any(is_limited), "{said:?}");
}
