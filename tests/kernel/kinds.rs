//! Each of the fourteen event types, and the operations that the kernel tells in an unusual way.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};

use crate::Suite;
use crate::actor::Actor;
use crate::ground::{Fs, Ground, sh};
use crate::lines::{Line, contains};
use crate::recorder::{Home, Recorder};

/// All types but FS_ERROR, with the name below the directory whose line must come.
const KINDS: [(&str, &str); 13] = [
    ("ACCESS", "/file"),
    ("MODIFY", "/file"),
    ("CLOSE_WRITE", "/file"),
    ("CLOSE_NOWRITE", "/file"),
    ("OPEN", "/file"),
    ("OPEN_EXEC", "/program"),
    ("ATTRIB", "/file"),
    ("CREATE", "/file"),
    ("DELETE", "/gone"),
    ("DELETE_SELF", "/gone"),
    ("MOVED_FROM", "/old"),
    ("MOVED_TO", "/new"),
    ("MOVE_SELF", "/new"),
];

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::ALL {
        suite.on(kind, "each_type", each_type);
    }
    for kind in Fs::MAIN {
        suite.on(kind, "unusual_operations", unusual);
        suite.on(kind, "rename_over_a_file", over_a_file);
    }
    suite.tools("fs_error::ext4", &["mkfs.ext4", "debugfs"], fs_error);
}

/// The log when all is told and the daemon has ended well.
fn finish(mut recorder: Recorder, home: &Home, marks: &Path) -> Vec<Line> {
    recorder.settle("_global", marks);
    recorder.stop();
    home.log("_global")
}

/// One directory for each type, watched for that type alone; all operations in each.
fn each_type(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    let marks = root.join("marks");
    fs::create_dir(&marks).unwrap();
    home.watch("_global", &marks, &["-t", "CREATE"]);
    let everything = root.join("everything");
    let dirs: Vec<_> = KINDS
        .iter()
        .map(|(name, _)| root.join(name))
        .chain([everything.clone()])
        .collect();
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
        fs::copy("/bin/true", dir.join("program")).unwrap();
        let types = dir.file_name().unwrap().to_str().unwrap();
        home.watch(
            "_global",
            dir,
            &["-r", "-t", if *dir == everything { "all" } else { types }],
        );
    }
    let recorder = home.start();
    for dir in &dirs {
        fs::write(dir.join("file"), "text").unwrap();
        fs::read(dir.join("file")).unwrap();
        fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(
            Command::new(dir.join("program"))
                .status()
                .unwrap()
                .success()
        );
        fs::write(dir.join("gone"), "").unwrap();
        fs::remove_file(dir.join("gone")).unwrap();
        fs::write(dir.join("old"), "").unwrap();
        fs::rename(dir.join("old"), dir.join("new")).unwrap();
    }
    let lines = finish(recorder, &home, &marks);
    for ((name, below), dir) in KINDS.iter().zip(&dirs) {
        let own = |dir: &Path| -> Vec<&Line> {
            lines
                .iter()
                .filter(|line| line.path.starts_with(dir.join("").as_os_str().as_bytes()))
                .collect()
        };
        let strange = own(dir).into_iter().find(|line| line.kind != *name);
        assert!(
            strange.is_none(),
            "only {name} was asked for: {}",
            strange.unwrap().show()
        );
        if kind == Fs::Overlay && name.ends_with("_SELF") {
            continue;
        }
        for dir in [dir, &everything] {
            let wanted = [dir.as_os_str().as_bytes(), below.as_bytes()].concat();
            let shown: Vec<String> = own(dir).iter().map(|line| line.show()).collect();
            let told = own(dir)
                .iter()
                .any(|line| line.kind == *name && line.path == wanted);
            assert!(
                told,
                "no {name} of {}; told is:\n{}",
                wanted.escape_ascii(),
                shown.join("\n")
            );
        }
    }
}

fn over_a_file(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let mut actor = Actor::both(&root);
    let top = actor.known(&root);
    for number in 0..200 {
        let new = actor.write(top, format!("new{number}"));
        let old = actor.write(top, format!("old{number}"));
        actor.rename_over(new, old);
        let later = actor.touch(top, format!("later{number}"));
        actor.rename(later, top, format!("last{number}"));
    }
    recorder.settle("_global", &root);
    recorder.stop();
    actor.truth().check(&home.log("_global"));
}

fn unusual(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "all"]);
    let mut recorder = home.start();
    let path = |name: &str| root.join(name);

    let nameless = openat(
        CWD,
        &root,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let mut nameless = File::from(nameless);
    nameless.write_all(b"text").unwrap();
    let by_descriptor = format!("/proc/self/fd/{}", nameless.as_raw_fd());
    linkat(
        CWD,
        by_descriptor,
        CWD,
        path("named"),
        AtFlags::SYMLINK_FOLLOW,
    )
    .unwrap();
    drop(nameless);

    fs::write(path("one"), "").unwrap();
    fs::hard_link(path("one"), path("two")).unwrap();
    recorder.settle("_global", &root);
    OpenOptions::new()
        .write(true)
        .open(path("two"))
        .unwrap()
        .write_all(b"by the second name")
        .unwrap();
    fs::remove_file(path("one")).unwrap();
    recorder.settle("_global", &root);

    let mut held = File::create(path("before")).unwrap();
    fs::rename(path("before"), path("behind")).unwrap();
    recorder.settle("_global", &root);
    held.write_all(b"after the rename").unwrap();
    drop(held);

    let mut held = File::create(path("unlinked")).unwrap();
    fs::remove_file(path("unlinked")).unwrap();
    recorder.settle("_global", &root);
    held.write_all(b"after the unlink").unwrap();
    drop(held);

    std::os::unix::fs::symlink("/nowhere", path("link")).unwrap();
    fs::remove_file(path("link")).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).unwrap();
    recorder.settle("_global", &root);
    recorder.stop();

    told_of_the_unusual(&root, &home.log("_global"));
}

fn told_of_the_unusual(root: &Path, lines: &[Line]) {
    let path = |name: &str| root.join(name);
    let count = |kind: &str, name: &str| {
        lines
            .iter()
            .filter(|line| line.kind == kind && line.path == path(name).as_os_str().as_bytes())
            .count()
    };
    let all: Vec<String> = lines.iter().map(Line::show).collect();
    let expect = |kind: &str, name: &str, wanted: usize| {
        assert_eq!(
            count(kind, name),
            wanted,
            "{kind} {name}; told is:\n{}",
            all.join("\n")
        );
    };
    for (kind, name) in [
        ("CREATE", "named"),
        ("CREATE", "one"),
        ("CREATE", "two"),
        ("CLOSE_WRITE", "two"),
        ("DELETE", "one"),
        ("CREATE", "before"),
        ("MOVED_TO", "behind"),
        ("CLOSE_WRITE", "behind"),
        ("DELETE", "unlinked"),
        ("CREATE", "link"),
        ("DELETE", "link"),
    ] {
        expect(kind, name, 1);
    }
    expect("DELETE_SELF", "one", 0);
    expect("DELETE_SELF", "two", 0);
    expect("CLOSE_WRITE", "before", 0);
    let own = lines
        .iter()
        .any(|line| line.kind == "ATTRIB" && line.path == root.as_os_str().as_bytes());
    assert!(
        own,
        "the watched directory's own ATTRIB; told is:\n{}",
        all.join("\n")
    );
    let bogus = lines.iter().find(|line| {
        contains(&line.path, b"/#")
            || line.path.ends_with(b"/.")
            || line.path.ends_with(b"(deleted)")
            || line.path.ends_with(b"/")
    });
    assert!(
        bogus.is_none(),
        "not a name of anything: {}",
        bogus.unwrap().show()
    );
}

/// A file whose inode says that it is of no type at all.
fn fs_error() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Ext4);
    fs::write(root.join("broken"), "").unwrap();
    sh(&["umount"], &[&root]);
    let mut images = fs::read_dir(&ground.dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let image = images
        .find(|path| path.extension().is_some_and(|end| end == "img"))
        .unwrap();
    sh(
        &["debugfs", "-w", "-R", "set_inode_field broken mode 0160000"],
        &[&image],
    );
    sh(&["mount", "-o", "loop,errors=continue"], &[&image, &root]);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "FS_ERROR,CREATE"]);
    let recorder = home.start();
    fs::metadata(root.join("broken")).unwrap_err();
    let lines = finish(recorder, &home, &root);
    let told = lines.iter().filter(|line| {
        line.kind == "FS_ERROR" && line.path.starts_with(root.as_os_str().as_bytes())
    });
    assert_eq!(told.count(), 1, "{lines:?}");
}
