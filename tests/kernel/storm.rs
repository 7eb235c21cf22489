//! Files are written in directories whose ancestors are renamed between any two writes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Signal;

use crate::Suite;
use crate::actor::Actor;
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::plans::STEPS;
pub(crate) use crate::plans::storm as plan;
use crate::recorder::Home;
use crate::truth::Truth;
use crate::workers::{Worker, together};

const WORKERS: usize = 4;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::MAIN {
        suite.on(kind, "storm", storm);
        suite.on(kind, "storm_read_late", read_late);
        suite.on(kind, "there_and_back_by_the_same_names", there_and_back);
    }
    suite.on(Fs::Tmpfs, "renames_legacy", renames_legacy);
    suite.on(Fs::Ext4, "renames_legacy", renames_legacy);
}

fn storm(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    run(&ground, &root, false);
}

/// The daemon stands still during the whole storm: all paths must be worked out afterwards.
fn read_late(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    run(&ground, &root, true);
}

fn run(ground: &Ground, root: &Path, is_late: bool) {
    let (inside, outside) = (root.join("in"), root.join("out"));
    for worker in 0..WORKERS {
        fs::create_dir_all(inside.join(format!("w{worker}"))).unwrap();
        fs::create_dir_all(outside.join(format!("w{worker}"))).unwrap();
    }
    let home = Home::new(ground);
    home.watch("_global", &inside, &["-r"]);
    let mut recorder = home.start();
    let workers = (0..WORKERS).map(|worker| {
        let seed = worker.to_string();
        Worker::new(
            "storm",
            &[inside.to_str().unwrap(), outside.to_str().unwrap(), &seed],
        )
    });
    let workers: Vec<Worker> = workers.collect();
    if is_late {
        recorder.halt();
    }
    together(workers);
    recorder.signal(Signal::CONT);
    recorder.settle("_global", &inside);
    recorder.stop();

    let mut truth = Truth::default();
    for worker in 0..WORKERS {
        let mut actor = Actor::book(&inside).numbered_from(worker << 32);
        plan(&mut actor, &inside, &outside, worker, STEPS);
        truth.merge(actor.truth());
    }
    let mut log = home.log("_global");
    if is_late {
        // The memory for process records is that of the whole machine: whatever else runs there may fill it
        // while the daemon stands still. Everything must be told, and of the right process, all the same.
        let is_of_processes = |cause: &String| cause.starts_with("process records lost");
        log.retain(|line| !line.cause.as_ref().is_some_and(is_of_processes));
    }
    truth.check(&log);
}

/// Three renames between the same two names: the kernel may merge the third into the first, so that
/// the records end at the wrong name. The tree must be right nevertheless, and the log end where the disk does.
fn there_and_back(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    fs::create_dir(root.join("known")).unwrap();
    fs::write(root.join("known-file"), "").unwrap();
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    recorder.halt();
    fs::create_dir(root.join("new")).unwrap();
    fs::write(root.join("new-file"), "").unwrap();
    for name in ["known", "new", "known-file", "new-file"] {
        let (here, there) = (root.join(name), root.join(format!("{name}-there")));
        for _ in 0..3 {
            fs::rename(&here, &there).unwrap();
            fs::rename(&there, &here).unwrap();
        }
        fs::rename(&here, &there).unwrap();
    }
    recorder.signal(Signal::CONT);
    recorder.settle("_global", &root);
    for name in ["known", "new"] {
        fs::write(root.join(format!("{name}-there/file")), "").unwrap();
    }
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    for name in ["known", "new"] {
        let path = root.join(format!("{name}-there/file"));
        let told = lines
            .iter()
            .any(|line| line.kind == "CREATE" && line.path == path.as_os_str().as_bytes());
        let all: Vec<String> = lines.iter().map(Line::show).collect();
        assert!(
            told,
            "{} is not told; the log:\n{}",
            path.display(),
            all.join("\n")
        );
    }
    for name in ["known", "new", "known-file", "new-file"] {
        let (here, there) = (root.join(name), root.join(format!("{name}-there")));
        let is_about = |line: &&Line| {
            line.kind == "MOVED_TO"
                && [&here, &there]
                    .map(|path| path.as_os_str().as_bytes())
                    .contains(&&*line.path)
        };
        let last = lines.iter().rfind(is_about).expect("a rename");
        assert_eq!(last.path, there.as_os_str().as_bytes(), "{}", last.show());
        assert_eq!(last.attribution, "ambiguous", "{}", last.show());
    }
}

/// Without FAN_RENAME and target handles the order inside a burst is lost, so each step is let in the log first.
fn renames_legacy(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let mut home = Home::new(&ground);
    home.switches = Some("legacy-fanotify");
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let mut actor = Actor::both(&root);
    actor.set_weak(false, true);
    let top = actor.known(&root);
    let a = actor.mkdir(top, "a");
    let b = actor.mkdir(a, "b");
    for step in 0..30 {
        recorder.settle("_global", &root);
        actor.write(b, format!("f{step}"));
        recorder.settle("_global", &root);
        match step % 3 {
            0 => actor.rename(a, top, format!("a{step}")),
            1 => actor.rename(b, top, format!("b{step}")),
            _ => actor.rename(b, a, format!("c{step}")),
        }
    }
    recorder.settle("_global", &root);
    recorder.stop();
    actor.truth().check(&home.log("_global"));
}
