//! What `verify` says of filesystems that are mounted and unmounted below a watch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use rustix::process::Signal;
use serde_json::Value;

use super::{Scene, states};
use crate::ground::{sh, unmount};
use crate::recorder::Recorder;
use crate::wait::{PATIENCE, until};

/// What can only be watched by marks on each directory is no complete record, as long as it is mounted.
pub(super) fn weak() {
    let scene = Scene::new("");
    let (point, other) = (scene.root.join("mnt"), scene.root.join("other"));
    fs::create_dir(&point).unwrap();
    fs::create_dir(&other).unwrap();
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    let told = |event: &str, at: &Path| {
        let is_it = |line: &Value| line["path"] == at.to_str().unwrap();
        let is_told = || scene.home.journal_of(event).iter().any(is_it).then_some(());
        let told = until(PATIENCE, is_told);
        told.unwrap_or_else(|| panic!("no {event}: {:#?}", scene.home.journal()));
    };
    sh(&["mount", "-t", "ramfs", "fsmon-test"], &[&point]);
    told("SHORT", &point);
    // At each place where it is mounted.
    sh(&["mount", "--bind"], &[&point, &other]);
    told("SHORT", &other);
    unmount(&other);
    told("WHOLE", &other);
    unmount(&point);
    told("WHOLE", &point);
    recorder.stop();
    let answer = scene.verify(&[]);
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "short", "complete"]
    );
}

/// A scene with a mount point below its watch, recorded.
fn recorded(work: impl FnOnce(&Path)) -> (Scene, PathBuf, Recorder) {
    let scene = Scene::new("");
    let point = scene.root.join("mnt");
    fs::create_dir(&point).unwrap();
    work(&point);
    let mut recorder = scene.home.start();
    scene.record(&mut recorder, "1");
    (scene, point, recorder)
}

/// Does something while the recorder stands still; the journal must say that it may have missed it at `path`.
fn unrecorded(scene: &Scene, recorder: &mut Recorder, path: &Path, work: impl FnOnce()) {
    let known = scene.home.journal_of("WHOLE").len();
    recorder.halt();
    let begun = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
    work();
    recorder.signal(Signal::CONT);
    let told = until(PATIENCE, || {
        scene.home.journal_of("WHOLE").get(known).cloned()
    });
    let whole = told.unwrap_or_else(|| panic!("{:#?}", scene.home.journal()));
    let short = scene.home.journal_of("SHORT").pop().unwrap();
    for line in [&whole, &short] {
        assert_eq!(line["path"], path.to_str().unwrap());
    }
    let since = short["since"].as_str().unwrap();
    assert!(since <= &*begun, "{since} is after {begun}");
}

/// One moment was missed, and what comes after it is recorded.
fn is_short_in_between(scene: &Scene, mut recorder: Recorder) {
    scene.record(&mut recorder, "2");
    recorder.stop();
    let answer = scene.verify(&[]);
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "short", "complete"]
    );
}

fn mount(at: &Path) {
    sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[at]);
}

pub(super) fn unseen() {
    let (scene, point, mut recorder) = recorded(mount);
    assert!(scene.home.journal_of("SHORT").is_empty());
    unrecorded(&scene, &mut recorder, &point, || {
        mount(&point);
        File::create(point.join("unseen")).unwrap();
    });
    scene.record(&mut recorder, "2");
    // What was below it comes to light.
    unrecorded(&scene, &mut recorder, &point, || {
        unmount(&point);
        File::create(point.join("unseen-below")).unwrap();
    });
    scene.record(&mut recorder, "3");
    let other = scene.ground.directory("other");
    scene.home.watch("sort", &other, &["-r"]);
    recorder.stop();
    assert_eq!(scene.home.journal_of("SHORT").len(), 2);
    let answer = scene.verify(&[]);
    assert_eq!(
        states(&answer, &scene.root),
        ["complete", "short", "complete", "short", "complete"]
    );
    assert_eq!(states(&answer, &other), ["complete"]);
}

pub(super) fn passing() {
    let (scene, point, mut recorder) = recorded(|_| ());
    unrecorded(&scene, &mut recorder, Path::new("/"), || {
        mount(&point);
        File::create(point.join("unseen")).unwrap();
        unmount(&point);
    });
    is_short_in_between(&scene, recorder);
}

/// The kernel gives the number of a mount that is gone to the next one.
pub(super) fn replaced() {
    let (scene, point, mut recorder) = recorded(mount);
    let image = scene.ground.image("disk", "16M");
    sh(&["mkfs.ext4", "-q"], &[&image]);
    unrecorded(&scene, &mut recorder, &point, || {
        unmount(&point);
        sh(&["mount", "-o", "loop"], &[&image, &point]);
        File::create(point.join("unseen")).unwrap();
    });
    is_short_in_between(&scene, recorder);
}
