//! What editors, builds and package managers do: paths made at once, files saved by renaming, written
//! again, linked, their modes changed, whole trees removed.

use std::path::Path;

use crate::actor::{Actor, Dice};

/// A directory and what is in it.
struct Branch {
    dir: usize,
    files: Vec<usize>,
    below: Vec<Self>,
}

struct Edit<'a> {
    actor: &'a mut Actor,
    dice: Dice,
    next: usize,
}

/// So many steps in the directory `dir`, which is made first; everything is removed at the end.
pub(crate) fn plan(actor: &mut Actor, dir: &Path, seed: usize, steps: usize) {
    let (parent, name) = (dir.parent().unwrap(), dir.file_name().unwrap());
    let top = actor.known(parent);
    let top = actor.mkdir(top, name.as_encoded_bytes());
    let mut edit = Edit {
        actor,
        dice: Dice::new(seed as u64 + 11),
        next: 0,
    };
    let mut tree = Branch {
        dir: top,
        files: Vec::new(),
        below: Vec::new(),
    };
    for _ in 0..steps {
        edit.step(&mut tree);
    }
    edit.remove(&tree);
}

impl Edit<'_> {
    fn step(&mut self, tree: &mut Branch) {
        // Down to some directory, seldom far.
        let mut branch = tree;
        while !branch.below.is_empty() && self.dice.roll(3) > 0 {
            let at = self.dice.roll(branch.below.len());
            branch = &mut branch.below[at];
        }
        match self.dice.roll(100) {
            0..12 => self.path(branch),
            12..18 => self.rm_rf(branch),
            18..45 => self.write(branch),
            45..55 => self.save(branch),
            55..67 => self.change(branch, |edit, file| edit.actor.rewrite(file)),
            67..77 => self.change(branch, |edit, file| {
                let mode = [0o600, 0o640, 0o644, 0o660][edit.dice.roll(4)];
                edit.actor.chmod(file, mode);
            }),
            77..83 => self.change(branch, |edit, file| {
                let name = edit.name("l");
                edit.actor.link_and_unlink(file, name);
            }),
            83..90 => {
                let dir = branch.dir;
                self.change(branch, move |edit, file| {
                    let name = edit.name("m");
                    edit.actor.rename(file, dir, name);
                });
            }
            _ => {
                if let Some(file) = branch.files.pop() {
                    self.actor.unlink(file);
                }
            }
        }
    }

    fn name(&mut self, lead: &str) -> String {
        self.next += 1;
        format!("{lead}{}", self.next)
    }

    /// `mkdir -p`
    fn path(&mut self, mut branch: &mut Branch) {
        for _ in 0..=self.dice.roll(3) {
            let name = self.name("d");
            let dir = self.actor.mkdir(branch.dir, name);
            branch.below.push(Branch {
                dir,
                files: Vec::new(),
                below: Vec::new(),
            });
            branch = branch.below.last_mut().unwrap();
        }
        self.write(branch);
    }

    fn rm_rf(&mut self, branch: &mut Branch) {
        if !branch.below.is_empty() {
            let at = self.dice.roll(branch.below.len());
            let gone = branch.below.swap_remove(at);
            self.remove(&gone);
        }
    }

    fn remove(&mut self, branch: &Branch) {
        for below in &branch.below {
            self.remove(below);
        }
        for file in &branch.files {
            self.actor.unlink(*file);
        }
        self.actor.rmdir(branch.dir);
    }

    fn write(&mut self, branch: &mut Branch) {
        let name = self.name("f");
        branch.files.push(self.actor.write(branch.dir, name));
    }

    /// A new version beside the old one takes its name.
    fn save(&mut self, branch: &mut Branch) {
        if branch.files.is_empty() {
            return self.write(branch);
        }
        let at = self.dice.roll(branch.files.len());
        let name = self.name("s");
        let new = self.actor.write(branch.dir, name);
        self.actor.rename_over(new, branch.files[at]);
        branch.files[at] = new;
    }

    fn change(&mut self, branch: &mut Branch, what: impl Fn(&mut Self, usize)) {
        if branch.files.is_empty() {
            return self.write(branch);
        }
        let at = self.dice.roll(branch.files.len());
        what(self, branch.files[at]);
    }
}
