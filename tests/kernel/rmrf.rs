//! `rm -rf` of a tree four deep with five branches and eight files a directory, known or never seen.

use std::fs;
use std::path::Path;

use crate::Suite;
use crate::actor::Actor;
use crate::ground::{Fs, Ground};
use crate::plans::{make, remove};
use crate::recorder::Home;
use crate::truth::check_tree_order;
use crate::workers::{Worker, together};

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::ALL {
        suite.on(kind, "rmrf_known", |kind| removed(kind, None, &[], true));
        suite.on(kind, "rmrf_made_and_removed_live", |kind| {
            made_and_removed(kind, None)
        });
    }
    for kind in Fs::MAIN {
        suite.on(kind, "rmrf_larger_than_the_cache", |kind| {
            removed(kind, None, &["--cache-dir-cap", "100"], true)
        });
        suite.on(kind, "rmrf_never_seen", never_seen);
    }
    suite.on(Fs::Tmpfs, "rmrf_known_legacy", |kind| {
        removed(kind, Some("legacy-fanotify"), &["--debug"], true)
    });
    suite.on(Fs::Ext4, "rmrf_live_legacy", |kind| {
        made_and_removed(kind, Some("legacy-fanotify"))
    });
}

/// Makes the tree, removes it, or both, as `what` says.
pub(crate) fn plan(actor: &mut Actor, root: &Path, what: &str) {
    let top = actor.known(root);
    if what == "remove" {
        // What is there already, with a book that nobody reads.
        let mut unread = Actor::book(Path::new("/nowhere"));
        unread.known(root);
        let tree = make(&mut unread, 0, "t");
        actor.take_nodes(&unread);
        remove(actor, &tree);
        return;
    }
    let tree = make(actor, top, "t");
    if what == "both" {
        remove(actor, &tree);
    }
}

/// The tree is there before the daemon looks.
fn removed(kind: Fs, switches: Option<&'static str>, flags: &[&str], order: bool) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    plan(&mut Actor::hands(), &root, "make");
    let mut home = Home::new(&ground);
    home.switches = switches;
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start_with(flags);
    if switches.is_some() {
        // Older kernels do not say which directory was removed: one that was not looked at before has no name then.
        recorder.says("a walk has ended");
    }
    together(vec![Worker::new(
        "rmrf",
        &[root.to_str().unwrap(), "remove"],
    )]);
    recorder.settle("_global", &root);
    recorder.stop();

    let mut actor = Actor::book(&root);
    actor.set_weak(
        kind == Fs::Overlay || switches.is_some(),
        switches.is_some(),
    );
    plan(&mut actor, &root, "remove");
    let lines = home.log("_global");
    actor.truth().check(&lines);
    if order {
        check_tree_order(&lines);
    }
}

/// The tree is made and removed while the daemon looks, in one go.
fn made_and_removed(kind: Fs, switches: Option<&'static str>) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let mut home = Home::new(&ground);
    home.switches = switches;
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    together(vec![Worker::new("rmrf", &[root.to_str().unwrap(), "both"])]);
    recorder.settle("_global", &root);
    recorder.stop();

    let mut actor = Actor::book(&root);
    actor.set_weak(
        kind == Fs::Overlay || switches.is_some(),
        switches.is_some(),
    );
    plan(&mut actor, &root, "both");
    let lines = home.log("_global");
    actor.truth().check(&lines);
    check_tree_order(&lines);
}

/// The tree was made outside of what is watched, moved in as a whole, and removed at once.
fn never_seen(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let (inside, outside) = (root.join("in"), root.join("out"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    let home = Home::new(&ground);
    home.watch("_global", &inside, &["-r"]);
    let mut recorder = home.start();
    plan(&mut Actor::hands(), &outside, "make");
    recorder.settle("_global", &inside);
    let mut actor = Actor::both(&inside);
    let from = actor.known(&outside);
    let to = actor.known(&inside);
    let mut unread = Actor::book(Path::new("/nowhere"));
    unread.known(&outside);
    unread.known(&inside);
    let tree = make(&mut unread, from, "t");
    actor.take_nodes(&unread);
    actor.rename(tree.dir, to, "t");
    remove(&mut actor, &tree);
    recorder.settle("_global", &inside);
    recorder.stop();

    let lines = home.log("_global");
    actor.truth().check(&lines);
    check_tree_order(&lines);
}
