//! What `verify` says where the disk of the logs is full, and of what only the memory held.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Scene, breaks, states};
use crate::ground::sh;
use crate::wait::{PATIENCE, until};

/// The logs come to lie on a small disk of their own.
fn small_disk(scene: &Scene) -> PathBuf {
    let log_dir = scene.home.log_dir();
    fs::create_dir_all(&log_dir).unwrap();
    sh(
        &["mount", "-t", "tmpfs", "-o", "size=256k", "fsmon-test"],
        &[&log_dir],
    );
    log_dir
}

fn fill(log_dir: &Path) {
    let mut file = File::create(log_dir.join("filler")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

fn make_room(log_dir: &Path) {
    sh(&["mount", "-o", "remount,size=64m"], &[log_dir]);
    fs::remove_file(log_dir.join("filler")).unwrap();
}

pub(super) fn full() {
    let scene = Scene::new("[capture]\nwrite_ceiling = \"1MB\"");
    let log_dir = small_disk(&scene);
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    fill(&log_dir);
    for number in 0..12_000 {
        File::create(scene.root.join(format!("n{number}"))).unwrap();
    }
    let other = scene.ground.directory("other");
    // The daemon takes orders meanwhile; what it did is not lost, however little room there is.
    recorder.says("events lost: the memory for lines");
    scene.home.watch("_global", &other, &["-r"]);
    make_room(&log_dir);
    recorder.settle("_global", &scene.root);
    let told = until(PATIENCE, || {
        (!scene.home.journal_of("GAP").is_empty()).then_some(())
    });
    assert!(told.is_some());
    recorder.stop();
    let answer = scene.verify(&[]);
    assert_eq!(breaks(&answer), Vec::<String>::new());
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "lost", "complete"]
    );
    assert!(states(&answer, &other).contains(&"complete"));
}

/// Lines that only the memory holds die with the daemon, also when the journal went on behind them.
pub(super) fn killed() {
    let scene = Scene::new("");
    let log_dir = small_disk(&scene);
    // The disk of the journal has room.
    let journal = scene.ground.directory("journal").join("journal.jsonl");
    for file in [&journal, &log_dir.join("journal.jsonl")] {
        File::create(file).unwrap();
    }
    sh(
        &["mount", "--bind"],
        &[&journal, &log_dir.join("journal.jsonl")],
    );
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    fill(&log_dir);
    for number in 0..1000 {
        File::create(scene.root.join(format!("n{number}"))).unwrap();
    }
    recorder.says("No space left");
    let held = until(PATIENCE, || scene.home.journal_of("HELD").pop());
    let since = held.expect("a line about the lines that wait");
    let since = since["since"].as_str().unwrap();
    let last = scene.home.log_meanwhile("_global").pop().unwrap();
    assert!(*last.time <= *since, "{} and {since}", last.time);
    let other = scene.ground.directory("other");
    scene.home.watch("_global", &other, &["-r"]);
    let answer = scene.verify(&[]);
    assert_eq!(states(&answer, &scene.root), ["complete", "held"]);
    recorder.kill();
    let answer = scene.verify(&[]);
    assert_eq!(states(&answer, &scene.root).last(), Some(&"died"));
    make_room(&log_dir);
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "2");
    recorder.stop();
    let lines = scene.home.log("_global");
    let gap = lines.iter().find(|line| line.kind == "GAP").unwrap();
    assert_eq!(gap.since.as_deref(), Some(since));
    assert_eq!(gap.cause.as_deref(), Some("downtime"));
    let told = lines.iter().filter(|line| !line.is_inferred);
    let told = told.filter(|line| line.path.ends_with(b"/n999")).count();
    assert_eq!(told, 0, "it was in memory only");
    assert!(scene.home.journal_of("ADD").iter().any(|add| {
        add["path"].as_str() == other.to_str() && add["time"].as_str().unwrap() > since
    }));
    let answer = scene.verify(&[]);
    assert_eq!(breaks(&answer), Vec::<String>::new());
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "died", "complete"]
    );
}

/// What waited and was written is said to be.
pub(super) fn written() {
    let scene = Scene::new("");
    let log_dir = small_disk(&scene);
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    fill(&log_dir);
    for number in 0..1000 {
        File::create(scene.root.join(format!("n{number}"))).unwrap();
    }
    recorder.says("No space left");
    make_room(&log_dir);
    scene.record(&mut recorder, "2");
    let told = until(PATIENCE, || scene.home.journal_of("WRITTEN").pop());
    assert!(told.is_some());
    assert_eq!(scene.home.journal_of("HELD").len(), 1);
    assert_eq!(states(&scene.verify(&[]), &scene.root), ["complete"]);
    recorder.stop();
    assert_eq!(scene.verify(&[])["complete"], true);
}
