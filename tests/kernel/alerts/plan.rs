//! Random operations of one worker: done by the worker, and told to the test, from the same seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::actor::Dice;

/// What the kernel tells of an operation.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) other: Option<String>,
    /// Not when the record names only an object that had several names; it may be told for any of them.
    pub(super) sure: bool,
    thing: Option<usize>,
}

#[derive(Debug, Default)]
struct Thing {
    /// All names that it ever had.
    names: Vec<String>,
    links: usize,
    linked: bool,
}

/// The operations of one worker: done by the worker, told to the test.
#[derive(Debug)]
pub(super) struct Plan {
    root: String,
    dir: String,
    acts: bool,
    dice: Dice,
    files: BTreeMap<String, usize>,
    dirs: BTreeMap<String, usize>,
    things: Vec<Thing>,
    pub(super) deeds: Vec<Deed>,
}

pub(super) const PLACES: [&str; 4] = ["in", "in/sub", "out", "out/sub"];
const FILES: [&str; 6] = ["key-0", "key-1", "del-0", "del-1", "file-0", "file-1"];
const DIRS: [&str; 4] = ["key-d0", "key-d1", "dir-0", "dir-1"];
pub(super) const SHARED: [&str; 4] = ["keys/key-a", "keys/other", "plain/file-a", "plain/key-b"];

impl Plan {
    pub(super) fn new(root: &Path, number: usize, acts: bool) -> Self {
        let root = root.to_str().unwrap().to_owned();
        Self {
            dir: format!("{root}/w{number}"),
            root,
            acts,
            dice: Dice::new(number as u64 + 4711),
            files: BTreeMap::new(),
            dirs: BTreeMap::new(),
            things: Vec::new(),
            deeds: Vec::new(),
        }
    }

    pub(super) fn run(&mut self, count: usize) {
        for _ in 0..count {
            // What is drawn may be impossible just now.
            while !self.step() {}
        }
        // Those of several renames of one object are folded.
        for deed in self
            .deeds
            .iter_mut()
            .filter(|deed| deed.kind == "MOVE_SELF")
        {
            deed.sure = deed
                .thing
                .is_some_and(|thing| self.things[thing].names.len() == 2);
        }
    }

    fn one_of(&mut self, names: &[&str]) -> String {
        let place = PLACES[self.dice.roll(PLACES.len())];
        format!(
            "{}/{place}/{}",
            self.dir,
            names[self.dice.roll(names.len())]
        )
    }

    fn step(&mut self) -> bool {
        let (what, other) = (self.dice.roll(100), self.one_of(&FILES));
        let path = self.one_of(&FILES);
        let known = self.files.get(&path).copied();
        match (what, known) {
            (0..12, None) => self.make(&path),
            (12..30, _) => self.write(&path),
            (30..38, Some(_)) => self.read(&path),
            (38..62, Some(thing)) => return self.rename(thing, &path, &other),
            (62..72, Some(thing)) => self.unlink(thing, &path),
            (72..77, Some(_)) => self.chmod(&path),
            (77..82, Some(thing)) => return self.link(thing, &path, &other),
            (82..90, _) => self.on_directory(what),
            (90.., _) => {
                let shared = SHARED[self.dice.roll(SHARED.len())];
                let path = format!("{}/shared/{shared}", self.root);
                if what < 96 {
                    self.read(&path);
                } else {
                    self.append(&path);
                }
            }
            _ => return false,
        }
        true
    }

    fn make(&mut self, path: &str) {
        if self.acts {
            let mode = Mode::from_raw_mode(0o644);
            mknodat(CWD, path, FileType::RegularFile, mode, 0).unwrap();
        }
        self.created(path);
    }

    fn created(&mut self, path: &str) {
        let thing = self.new_thing(path);
        self.files.insert(path.to_owned(), thing);
        self.tell("CREATE", path, None);
    }

    fn new_thing(&mut self, path: &str) -> usize {
        self.things.push(Thing {
            names: vec![path.to_owned()],
            links: 1,
            linked: false,
        });
        self.things.len() - 1
    }

    fn write(&mut self, path: &str) {
        if !self.files.contains_key(path) {
            self.created(path);
        }
        self.append(path);
    }

    fn append(&mut self, path: &str) {
        if self.acts {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).open(path);
            file.and_then(|mut file| file.write_all(b"x"))
                .unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        for kind in ["OPEN", "MODIFY", "CLOSE_WRITE"] {
            self.tell(kind, path, None);
        }
    }

    fn read(&mut self, path: &str) {
        if self.acts {
            fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        self.tell("OPEN", path, None);
    }

    fn rename(&mut self, thing: usize, old: &str, new: &str) -> bool {
        let replaced = self.files.get(new).copied();
        // A rename between two links of one file is nothing.
        if self.things[thing].linked || replaced == Some(thing) {
            return false;
        }
        if self.acts {
            fs::rename(old, new).unwrap();
        }
        self.files.remove(old);
        self.files.insert(new.to_owned(), thing);
        self.moved(thing, old, new);
        if let Some(replaced) = replaced {
            self.unlinked(replaced, new);
        }
        true
    }

    fn moved(&mut self, thing: usize, old: &str, new: &str) {
        self.tell("MOVED_FROM", old, Some(new));
        self.tell("MOVED_TO", new, Some(old));
        self.things[thing].names.push(new.to_owned());
        let names = self.things[thing].names.clone();
        for path in names.into_iter().skip(1) {
            self.tell_once(thing, "MOVE_SELF", path, false);
        }
    }

    fn unlink(&mut self, thing: usize, path: &str) {
        if self.acts {
            fs::remove_file(path).unwrap();
        }
        self.files.remove(path);
        self.tell("DELETE", path, None);
        self.unlinked(thing, path);
    }

    fn unlinked(&mut self, thing: usize, path: &str) {
        self.things[thing].links -= 1;
        let Thing {
            names,
            links,
            linked,
        } = &self.things[thing];
        let (one_name, links) = (names.len() == 1, *links);
        let no_doubt = !linked && names.iter().collect::<BTreeSet<_>>().len() == names.len();
        self.tell_of(thing, "ATTRIB", path, one_name);
        if links == 0 {
            self.tell_of(thing, "DELETE_SELF", path, no_doubt);
        }
    }

    fn chmod(&mut self, path: &str) {
        if self.acts {
            let mode = fs::metadata(path).unwrap().permissions().mode() ^ 0o001;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        self.tell("ATTRIB", path, None);
    }

    fn link(&mut self, thing: usize, path: &str, new: &str) -> bool {
        if self.files.contains_key(new) || self.things[thing].names.len() > 1 {
            return false;
        }
        if self.acts {
            fs::hard_link(path, new).unwrap();
        }
        self.files.insert(new.to_owned(), thing);
        self.things[thing].names.push(new.to_owned());
        self.things[thing].links += 1;
        self.things[thing].linked = true;
        self.tell_of(thing, "ATTRIB", path, false);
        self.tell("CREATE", new, None);
        true
    }

    fn on_directory(&mut self, what: usize) {
        let (path, new) = (self.one_of(&DIRS), self.one_of(&DIRS));
        let Some(thing) = self.dirs.get(&path).copied() else {
            if self.acts {
                fs::create_dir(&path).unwrap();
            }
            let thing = self.new_thing(&path);
            self.dirs.insert(path.clone(), thing);
            return self.tell("CREATE", &path, None);
        };
        let moved = self.things[thing].names.len() > 1;
        if what == 82 && !moved {
            if self.acts {
                fs::read_dir(&path).unwrap();
            }
            // What names the directory only would be folded over a rename of it.
            self.things[thing].linked = true;
            self.tell("OPEN", &path, None);
        } else if what < 86 && !self.dirs.contains_key(&new) && !self.things[thing].linked {
            if self.acts {
                fs::rename(&path, &new).unwrap();
            }
            self.dirs.remove(&path);
            self.dirs.insert(new.clone(), thing);
            self.moved(thing, &path, &new);
        } else {
            if self.acts {
                fs::remove_dir(&path).unwrap();
            }
            self.dirs.remove(&path);
            self.tell("DELETE", &path, None);
            self.tell_of(thing, "DELETE_SELF", &path, !moved);
        }
    }

    fn tell(&mut self, kind: &'static str, path: &str, other: Option<&str>) {
        self.deeds.push(Deed {
            kind,
            path: path.to_owned(),
            other: other.map(str::to_owned),
            sure: true,
            thing: None,
        });
    }

    /// What names only the object.
    fn tell_of(&mut self, thing: usize, kind: &'static str, path: &str, sure: bool) {
        if sure {
            return self.tell(kind, path, None);
        }
        for path in self.things[thing].names.clone() {
            self.tell_once(thing, kind, path, sure);
        }
    }

    fn tell_once(&mut self, thing: usize, kind: &'static str, path: String, sure: bool) {
        self.deeds.push(Deed {
            kind,
            path,
            other: None,
            sure,
            thing: Some(thing),
        });
    }
}
