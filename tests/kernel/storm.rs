//! Files are written in directories whose ancestors are renamed between any two writes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Signal;

use crate::Suite;
use crate::actor::{Actor, Dice};
use crate::ground::{Fs, Ground};
use crate::recorder::Home;
use crate::truth::Truth;
use crate::workers::{Worker, together};

const WORKERS: usize = 4;
const STEPS: usize = 5_000;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::MAIN {
        suite.on(kind, "storm", storm);
        suite.on(kind, "storm_read_late", read_late);
        suite.on(kind, "there_and_back_by_the_same_names", there_and_back);
    }
    suite.on(Fs::Tmpfs, "renames_legacy", renames_legacy);
    suite.on(Fs::Ext4, "renames_legacy", renames_legacy);
}

/// One worker's operations in `root/wN`, with the seed N; what is moved out goes to `outside/wN`.
pub(crate) fn plan(actor: &mut Actor, root: &Path, outside: &Path, seed: usize) {
    let top = actor.known(&root.join(format!("w{seed}")));
    let away = actor.known(&outside.join(format!("w{seed}")));
    let mut storm = Storm {
        actor,
        dice: Dice::new(seed as u64 + 1),
        next: 0,
        dirs: Vec::new(),
        files: Vec::new(),
        top,
    };
    for _ in 0..3 {
        let mut parent = top;
        for _ in 0..4 {
            parent = storm.mkdir(parent);
        }
    }
    for _ in 0..STEPS {
        storm.step(away);
    }
}

struct Storm<'a> {
    actor: &'a mut Actor,
    dice: Dice,
    next: usize,
    /// Directories with their parents.
    dirs: Vec<(usize, usize)>,
    files: Vec<usize>,
    top: usize,
}

impl Storm<'_> {
    fn step(&mut self, away: usize) {
        match self.dice.roll(100) {
            0..45 => self.write(),
            45..72 => self.rename(),
            72..77 => self.exchange(),
            77..81 => self.over_an_empty_directory(),
            81..86 => self.there_and_back(),
            86..90 => self.out_and_in(away),
            90..96 => self.unlink(),
            96..98 => {
                let parent = self.some_dir();
                self.mkdir(parent);
            }
            _ => self.made_and_removed(),
        }
    }

    fn name(&mut self, lead: &str) -> String {
        self.next += 1;
        format!("{lead}{}", self.next)
    }

    fn some_dir(&mut self) -> usize {
        let at = self.dice.roll(self.dirs.len());
        self.dirs[at].0
    }

    fn mkdir(&mut self, parent: usize) -> usize {
        let name = self.name("d");
        let dir = self.actor.mkdir(parent, name);
        self.dirs.push((dir, parent));
        dir
    }

    fn write(&mut self) {
        let dir = self.some_dir();
        let name = self.name("f");
        let file = self.actor.write(dir, name);
        self.files.push(file);
    }

    /// Renames a directory, often with all that is below it, to where it is not below itself.
    fn rename(&mut self) {
        let dir = self.some_dir();
        let at = self.dice.roll(self.dirs.len() + 1);
        let mut parent = self.dirs.get(at).map_or(self.top, |known| known.0);
        if self.is_below(parent, dir) {
            parent = self.parent_of(dir);
        }
        let name = self.name("r");
        self.actor.rename(dir, parent, name);
        self.set_parent(dir, parent);
    }

    fn exchange(&mut self) {
        let (one, two) = (self.some_dir(), self.some_dir());
        if self.is_below(one, two) || self.is_below(two, one) {
            return;
        }
        self.actor.exchange(one, two);
        let (first, second) = (self.parent_of(one), self.parent_of(two));
        self.set_parent(one, second);
        self.set_parent(two, first);
        self.write();
        // The same exchange twice would be merged by the kernel; a new name for one makes the next another.
        let name = self.name("x");
        self.actor.rename(one, second, name);
    }

    fn over_an_empty_directory(&mut self) {
        let dir = self.some_dir();
        let parent = self.parent_of(dir);
        let name = self.name("e");
        let empty = self.actor.mkdir(parent, name);
        self.actor.rename_over(dir, empty);
    }

    fn there_and_back(&mut self) {
        let dir = self.some_dir();
        let parent = self.parent_of(dir);
        let (stay, away) = (self.name("s"), self.name("t"));
        self.actor.rename(dir, parent, &stay);
        self.write();
        self.actor.rename(dir, parent, &away);
        self.write();
        self.actor.rename(dir, parent, &stay);
    }

    fn out_and_in(&mut self, away: usize) {
        let dir = self.some_dir();
        let parent = self.parent_of(dir);
        let (out, back) = (self.name("o"), self.name("b"));
        self.actor.rename(dir, away, out);
        // Where nobody watches: must not be told, and what is written there must be known afterwards.
        self.write();
        let name = self.name("n");
        let inner = self.actor.mkdir(dir, name);
        self.dirs.push((inner, dir));
        self.actor.rename(dir, parent, back);
        self.write();
    }

    fn unlink(&mut self) {
        if !self.files.is_empty() {
            let at = self.dice.roll(self.files.len());
            let file = self.files.swap_remove(at);
            self.actor.unlink(file);
        }
    }

    fn made_and_removed(&mut self) {
        let parent = self.some_dir();
        let name = self.name("m");
        let dir = self.actor.mkdir(parent, name);
        let name = self.name("f");
        let file = self.actor.write(dir, name);
        self.actor.unlink(file);
        self.actor.rmdir(dir);
    }

    fn parent_of(&self, dir: usize) -> usize {
        self.dirs
            .iter()
            .find(|known| known.0 == dir)
            .expect("a known directory")
            .1
    }

    fn set_parent(&mut self, dir: usize, parent: usize) {
        self.dirs
            .iter_mut()
            .find(|known| known.0 == dir)
            .expect("a known directory")
            .1 = parent;
    }

    fn is_below(&self, dir: usize, ancestor: usize) -> bool {
        let mut at = dir;
        while at != self.top {
            if at == ancestor {
                return true;
            }
            at = self.parent_of(at);
        }
        false
    }
}

fn storm(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    run(&ground, &root, None);
}

/// The daemon stands still during the whole storm: all paths must be worked out afterwards.
fn read_late(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    run(&ground, &root, Some(Signal::STOP));
}

fn run(ground: &Ground, root: &Path, before: Option<Signal>) {
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
    if let Some(signal) = before {
        recorder.signal(signal);
    }
    together(workers);
    recorder.signal(Signal::CONT);
    recorder.settle("_global", &inside);
    recorder.stop();

    let mut truth = Truth::default();
    for worker in 0..WORKERS {
        let mut actor = Actor::book(&inside).numbered_from(worker << 32);
        plan(&mut actor, &inside, &outside, worker);
        truth.merge(actor.truth());
    }
    truth.check(&home.log("_global"));
}

/// Three renames between the same two names: the kernel may merge the third into the first, so that
/// the records end at the wrong name. The tree must be right nevertheless.
fn there_and_back(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    fs::create_dir(root.join("known")).unwrap();
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    recorder.signal(Signal::STOP);
    fs::create_dir(root.join("new")).unwrap();
    for name in ["known", "new"] {
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
        let all: Vec<String> = lines.iter().map(crate::lines::Line::show).collect();
        assert!(
            told,
            "{} is not told; the log:\n{}",
            path.display(),
            all.join("\n")
        );
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
