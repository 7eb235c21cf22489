//! Create, write, close, rename, unlink, ten thousand times by one process.

use crate::Suite;
use crate::actor::Actor;
use crate::ground::{Fs, Ground};
pub(crate) use crate::plans::churn as plan;
use crate::recorder::Home;
use crate::workers::{Worker, together};

const FILES: usize = 10_000;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::ALL {
        suite.on(kind, "churn", |kind| churn(kind, None, FILES));
    }
    for kind in [Fs::Tmpfs, Fs::Overlay] {
        suite.on(kind, "churn_of_a_process_that_is_gone", done_by);
    }
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "churn_legacy", |kind| {
            churn(kind, Some("legacy-fanotify"), FILES / 5)
        });
    }
}

fn churn(kind: Fs, switches: Option<&'static str>, files: usize) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let mut home = Home::new(&ground);
    home.switches = switches;
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    together(vec![Worker::new(
        "churn",
        &[root.to_str().unwrap(), &files.to_string()],
    )]);
    recorder.settle("_global", &root);
    recorder.stop();

    let mut actor = Actor::book(&root);
    actor.set_weak(
        kind == Fs::Overlay || switches.is_some(),
        switches.is_some(),
    );
    plan(&mut actor, &root, files);
    let lines = home.log("_global");
    actor.truth().check(&lines);
    let sized = lines
        .iter()
        .find(|line| line.kind == "DELETE" && line.size > 1);
    assert!(
        sized.is_none(),
        "no file was ever larger than a byte: {}",
        sized.unwrap().show()
    );
}

/// Each line names the one process, though it is gone before the daemon has read the last of it.
fn done_by(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let worker = Worker::new("churn", &[root.to_str().unwrap(), "3000"]);
    let pid = worker.pid();
    together(vec![worker]);
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    let stranger = lines
        .iter()
        .find(|line| line.pid != pid || !line.cmd.starts_with("kernel-") || line.user != "root");
    assert!(
        stranger.is_none(),
        "not done by {pid} of root: {}",
        stranger.unwrap().show()
    );
}
