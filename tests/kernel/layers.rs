//! Filesystems that lie on others: FUSE, and the lower layer of an overlay.

use std::fs;
use std::path::Path;

use crate::Suite;
use crate::ground::{Fs, Ground, sh};
use crate::recorder::Home;

pub(crate) fn list(suite: &mut Suite) {
    suite.tools("fuse", &["bindfs"], fuse);
    suite.tools("overlay_with_a_lower_layer", &["mount"], lower_layer);
}

fn told(home: &Home, root: &Path) -> Vec<String> {
    let shorten = |path: &[u8]| String::from_utf8_lossy(path).replace(root.to_str().unwrap(), "");
    home.log("_global")
        .iter()
        .map(|line| format!("{} {}", line.kind, shorten(&line.path)))
        .collect()
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
    let part = |name: &str| disk.join(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        part("lower"),
        part("upper"),
        part("work")
    );
    sh(
        &["mount", "-t", "overlay", "overlay", "-o", &options],
        &[&merged],
    );
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
