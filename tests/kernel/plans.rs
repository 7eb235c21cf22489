//! What workers do: the same operations in a process without a book and in a book without hands.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::actor::{Actor, Dice};

const DEPTH: usize = 4;
const FAN_OUT: usize = 5;
const FILES: usize = 8;
/// Steps of one worker in a storm.
pub(crate) const STEPS: usize = 5_000;

/// Create, write, close, rename, unlink, one file after the other.
pub(crate) fn churn(actor: &mut Actor, root: &Path, files: usize) {
    let top = actor.known(root);
    for number in 0..files {
        let file = actor.write(top, format!("a{number}"));
        actor.rename(file, top, format!("b{number}"));
        actor.unlink(file);
    }
}

/// Creates and removes files in `dir`, nothing else.
pub(crate) fn flood(dir: &Path, files: usize) {
    for number in 0..files {
        let path = dir.join(number.to_string());
        mknodat(
            CWD,
            &path,
            FileType::RegularFile,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        fs::remove_file(&path).unwrap();
    }
}

/// Starts `count` processes, one after the other, each going through the scripts of a file in turn;
/// `@` stands for the round.
pub(crate) fn spawn(scripts: &str, first: usize, count: usize) {
    let text = fs::read_to_string(scripts).unwrap();
    let scripts: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    for number in first..first + count {
        let script = &scripts[number % scripts.len()];
        let round = (number / scripts.len()).to_string();
        let words = script[1..].iter().map(|word| word.replace('@', &round));
        let status = Command::new(script[0]).args(words).status().unwrap();
        assert!(status.success(), "{script:?}: {status}");
    }
}

/// A directory with eight files and five such directories, four deep.
pub(crate) struct Tree {
    pub(crate) dir: usize,
    files: Vec<usize>,
    below: Vec<Self>,
}

/// Makes the tree.
pub(crate) fn make(actor: &mut Actor, parent: usize, name: &str) -> Tree {
    branch(actor, parent, name, 0)
}

fn branch(actor: &mut Actor, parent: usize, name: &str, depth: usize) -> Tree {
    let dir = actor.mkdir(parent, name);
    let files = (0..FILES)
        .map(|number| actor.write(dir, format!("f{number}")))
        .collect();
    let branches = if depth == DEPTH { 0 } else { FAN_OUT };
    let below = (0..branches)
        .map(|number| branch(actor, dir, &format!("d{number}"), depth + 1))
        .collect();
    Tree { dir, files, below }
}

/// Removes it as `rm -rf` does.
pub(crate) fn remove(actor: &mut Actor, tree: &Tree) {
    for below in &tree.below {
        remove(actor, below);
    }
    for file in &tree.files {
        actor.unlink(*file);
    }
    actor.rmdir(tree.dir);
}

/// So many steps of one worker in `root/wN`, with the seed N; what is moved out goes to `outside/wN`.
pub(crate) fn storm(actor: &mut Actor, root: &Path, outside: &Path, seed: usize, steps: usize) {
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
    for _ in 0..steps {
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
