//! Filesystems that lie on others: FUSE, and the lower layer of an overlay.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Suite;
use crate::ground::{Fs, Ground, sh, unmount};
use crate::recorder::Home;
use crate::wait::{PATIENCE, until};

pub(crate) fn list(suite: &mut Suite) {
    suite.tools("fuse", &["bindfs"], fuse);
    suite.tools("overlay_with_a_lower_layer", &["mount"], lower_layer);
    suite.tools("a_filesystem_and_its_copy", &["mkfs.ext4"], copies);
    suite.tools(
        "an_overlay_with_the_id_of_what_it_lies_on",
        &["mkfs.ext4"],
        of_one_id,
    );
}

fn told(home: &Home, root: &Path) -> Vec<String> {
    let shorten = |path: &[u8]| String::from_utf8_lossy(path).replace(root.to_str().unwrap(), "");
    home.log("_global")
        .iter()
        .map(|line| format!("{} {}", line.kind, shorten(&line.path)))
        .collect()
}

/// Mounts an overlay of the directories `lower`, `upper` and `work` of a disk.
fn overlay(disk: &Path, more: &str, at: &Path) {
    let disk = disk.display();
    let options = format!("lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work{more}");
    sh(
        &["mount", "-t", "overlay", "overlay", "-o", &options],
        &[at],
    );
}

/// Each directory has a mark of its own there; what happens slowly enough for that is complete.
fn fuse() {
    let ground = Ground::new();
    let below = ground.mount(Fs::Ext4);
    let root = ground.directory("fuse");
    fs::create_dir_all(below.join("known/deep")).unwrap();
    sh(&["bindfs"], &[&below, &root]);
    let home = Home::new(&ground);
    home.watch(
        "_global",
        &root,
        &["-r", "-t", "CREATE,DELETE,MOVED_FROM,MOVED_TO"],
    );
    let mut recorder = home.start();
    fs::write(root.join("known/deep/1"), "").unwrap();
    fs::create_dir(root.join("new")).unwrap();
    recorder.settle("_global", &root);
    fs::write(root.join("new/2"), "").unwrap();
    fs::rename(root.join("known"), root.join("renamed")).unwrap();
    fs::write(root.join("renamed/deep/3"), "").unwrap();
    fs::remove_dir_all(root.join("renamed")).unwrap();
    recorder.settle("_global", &root);
    recorder.says("a mark on each directory");
    recorder.stop();
    let lines = told(&home, &root);
    let tail = [
        "CREATE /known/deep/1",
        "CREATE /new",
        "CREATE /new/2",
        "MOVED_FROM /known",
        "MOVED_TO /renamed",
        "CREATE /renamed/deep/3",
    ];
    assert_eq!(lines[..tail.len()], tail);
    let mut removed = lines[tail.len()..].to_vec();
    removed.sort();
    assert_eq!(
        removed,
        [
            "DELETE /renamed",
            "DELETE /renamed/deep",
            "DELETE /renamed/deep/1",
            "DELETE /renamed/deep/3"
        ]
    );
}

/// What an overlay does to hide a lower file is told as its removal.
fn lower_layer() {
    let ground = Ground::new();
    let disk = ground.mount(Fs::Tmpfs);
    for dir in ["lower/dir", "upper", "work", "merged"] {
        fs::create_dir_all(disk.join(dir)).unwrap();
    }
    for file in ["lower/old", "lower/dir/inner"] {
        fs::write(disk.join(file), "x").unwrap();
    }
    let merged = disk.join("merged");
    overlay(&disk, "", &merged);
    let home = Home::new(&ground);
    home.watch(
        "_global",
        &merged,
        &["-r", "-t", "CREATE,DELETE,MOVED_FROM,MOVED_TO"],
    );
    let mut recorder = home.start();
    fs::remove_file(merged.join("old")).unwrap();
    fs::remove_dir_all(merged.join("dir")).unwrap();
    fs::write(merged.join("new"), "").unwrap();
    fs::rename(merged.join("new"), merged.join("newer")).unwrap();
    recorder.settle("_global", &merged);
    recorder.stop();
    sh(&["umount"], &[&merged]);
    assert_eq!(
        told(&home, &merged),
        [
            "DELETE /old",
            "DELETE /dir/inner",
            "DELETE /dir",
            "CREATE /new",
            "MOVED_FROM /new",
            "MOVED_TO /newer"
        ]
    );
}

/// A copy has the id of the filesystem, and files with the same handles.
fn copies() {
    let ground = Ground::new();
    let root = ground.directory("root");
    let one = root.join("one");
    let two = one.join("two");
    let images = [ground.image("one", "16M"), ground.dir.join("two.img")];
    sh(&["mkfs.ext4", "-q"], &[&images[0]]);
    let mount = |image: &Path, at: &Path| sh(&["mount", "-o", "loop"], &[image, at]);
    fs::create_dir(&one).unwrap();
    mount(&images[0], &one);
    for dir in [&one.join("dir"), &two] {
        fs::create_dir(dir).unwrap();
    }
    unmount(&one);
    fs::copy(&images[0], &images[1]).unwrap();
    mount(&images[0], &one);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
    let mut recorder = home.start();
    let marked = |point: &Path, is_marked: bool| {
        let health = || home.ok(&["health", "--json"]);
        let look = || {
            let health: Value = serde_json::from_str(&health()).unwrap();
            let watched = health["filesystems"].to_string();
            (watched.contains(point.to_str().unwrap()) == is_marked).then_some(())
        };
        assert!(until(PATIENCE, look).is_some(), "{}", health());
    };
    let mut expected = Vec::new();
    let mut write = |at: &str| {
        let path = root.join(at);
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
        expected.extend([format!("CREATE /{at}"), format!("DELETE /{at}")]);
    };
    write("one/dir/1");
    mount(&images[1], &two);
    marked(&two, true);
    recorder.settle("_global", &root);
    for at in ["one/dir/2", "one/3"] {
        write(at);
    }
    recorder.settle("_global", &root);
    for at in ["one/two/dir/4", "one/two/5"] {
        write(at);
    }
    recorder.settle("_global", &root);
    unmount(&two);
    marked(&two, false);
    write("one/dir/6");
    recorder.settle("_global", &root);
    recorder.stop();
    assert_eq!(told(&home, &root), expected);
}

/// An overlay that was made before overlays had ids of their own has that of its upper filesystem.
fn of_one_id() {
    let ground = Ground::new();
    let root = ground.directory("root");
    let (disk, merged) = (root.join("disk"), root.join("merged"));
    let image = ground.image("disk", "16M");
    sh(&["mkfs.ext4", "-q"], &[&image]);
    for at in [&disk, &merged] {
        fs::create_dir(at).unwrap();
    }
    sh(&["mount", "-o", "loop"], &[&image, &disk]);
    for dir in ["lower", "upper", "work", "other"] {
        fs::create_dir(disk.join(dir)).unwrap();
    }
    overlay(&disk, ",index=on,nfs_export=on,uuid=null", &merged);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
    let mut recorder = home.start();
    fs::write(disk.join("other/1"), "").unwrap();
    recorder.settle("_global", &root);
    fs::create_dir(merged.join("dir")).unwrap();
    fs::write(merged.join("dir/2"), "").unwrap();
    recorder.settle("_global", &root);
    unmount(&merged);
    recorder.stop();
    assert!(home.journal_of("GAP").is_empty());
    let lines = told(&home, &root);
    let of = |point: &str| {
        lines
            .iter()
            .filter(|line| line.contains(point))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("/merged"),
        ["CREATE /merged/dir", "CREATE /merged/dir/2"]
    );
    assert_eq!(of("/other"), ["CREATE /disk/other/1"]);
    assert_eq!(
        of("/disk/upper"),
        ["CREATE /disk/upper/dir", "CREATE /disk/upper/dir/2"]
    );
}
