//! Where it all takes place: filesystems to work on, a small disk for the logs, the programs and those
//! who run them.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use fsmon::sys::clock;

use crate::deeds;
use crate::ground::{Fs, Ground, sh};
use crate::recorder::Home;

use super::Plan;
use super::chronicle::{Change, Chronicle};
use super::crew::{Job, Life};
use super::pieces::Pieces;

/// A filesystem with a watched and an unwatched half.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) inside: PathBuf,
    pub(crate) outside: PathBuf,
    /// It tells nothing of objects themselves.
    pub(crate) is_weak: bool,
}

pub(crate) struct Stage {
    pub(crate) home: Home,
    pub(crate) chronicle: Chronicle,
    pub(crate) groups: Vec<&'static str>,
    pub(crate) roots: Vec<Root>,
    pub(crate) logs: Vec<Pieces>,
    pub(crate) lives: Vec<Life>,
    pub(crate) records: PathBuf,
    pub(crate) programs: PathBuf,
    /// What short-lived processes run.
    deeds: Vec<String>,
    /// An image of a small filesystem, to be copied.
    pub(crate) image: PathBuf,
    watched: Vec<Vec<bool>>,
    /// How many of the crew ended otherwise than they should.
    pub(crate) failed: Vec<String>,
    pub(crate) ground: Ground,
}

/// The groups, and so the names of those who are in them.
const GROUPS: [&str; 3] = ["_global", "starter-of-many", "editor"];

impl Stage {
    pub(crate) fn new(plan: &Plan) -> Self {
        let ground = Ground::new();
        let home = Home::new(&ground);
        let logs = ground.image("logs", "6G");
        sh(
            &["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal"],
            &[&logs],
        );
        fs::create_dir_all(home.log_dir()).unwrap();
        sh(&["mount", "-o", "loop"], &[&logs, &home.log_dir()]);
        let programs = ground.directory("crew");
        let first = programs.join("storm");
        fs::copy(std::env::current_exe().unwrap(), &first).unwrap();
        for name in ["churner", "editor", "rm", "starter-of-many"] {
            fs::hard_link(&first, programs.join(name)).unwrap();
        }
        let short = deeds::Stage::new(&ground.directory("deeds"));
        let names = ["touched", "cp-or-so", "a-rather-long-program-name"];
        let deeds = names.map(|name| short.program(name)).to_vec();
        let image = ground.image("guest", "16M");
        sh(
            &["mkfs.ext4", "-q", "-N", "4096", "-O", "^has_journal"],
            &[&image],
        );
        let roots = plan
            .kinds
            .iter()
            .map(|kind| root_on(&ground, *kind))
            .collect();
        let store = home.log_dir().join("rotated");
        let logs = GROUPS.map(|group| Pieces::new(home.log_path(group), &store));
        let mut stage = Self {
            chronicle: Chronicle::new(),
            groups: GROUPS.to_vec(),
            logs: logs.into(),
            lives: Vec::new(),
            records: ground.directory("records"),
            watched: Vec::new(),
            failed: Vec::new(),
            home,
            roots,
            programs,
            deeds,
            image,
            ground,
        };
        stage.watch_everything();
        stage
    }

    fn watch_everything(&mut self) {
        for group in 0..self.groups.len() {
            self.watched.push(vec![false; self.roots.len()]);
            for root in 0..self.roots.len() {
                let at = self.roots[root].inside.clone();
                self.home.watch(self.groups[group], &at, &["-r"]);
                self.answered(group, root, true, 0);
            }
        }
    }

    pub(crate) fn is_watched(&self, group: usize, root: usize) -> bool {
        self.watched[group][root]
    }

    /// A watch is in force, or not any longer.
    pub(crate) fn answered(&mut self, group: usize, root: usize, on: bool, asked: u64) {
        self.watched[group][root] = on;
        let done = clock::monotonic();
        let change = Change { asked, done, on };
        let at = self.roots[root].inside.clone();
        self.chronicle.change(self.groups[group], &at, change);
    }

    pub(crate) fn fill(&self) {
        fill(&self.home.log_dir().join("filler"));
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.home.log_dir().join("filler")).unwrap();
    }

    pub(crate) fn comm_of(&self, job: &Job) -> String {
        let name = match job {
            Job::Storm { .. } => "storm",
            Job::Churn { .. } => "churner",
            Job::RmRf { .. } => "rm",
            Job::Edit { .. } => "editor",
            Job::Start { .. } => "starter-of-many",
        };
        name.to_owned()
    }

    /// Work of that kind, and the directories that go when it is over.
    pub(crate) fn job(
        &self,
        root: usize,
        kind: &str,
        number: usize,
        steps: usize,
        uid: u32,
    ) -> (Job, Vec<PathBuf>) {
        let Root {
            inside, outside, ..
        } = &self.roots[root];
        let name = format!("w{number}");
        let dir = inside.join(&name);
        let given = |path: &Path| {
            fs::create_dir(path).unwrap();
            chown(path, Some(uid), Some(uid)).unwrap();
        };
        if kind != "edit" {
            given(&dir);
        }
        let job = match kind {
            "storm" => {
                given(&outside.join(&name));
                let (root, outside) = (inside.clone(), outside.clone());
                Job::Storm {
                    root,
                    outside,
                    seed: number,
                    steps,
                }
            }
            "churn" => Job::Churn {
                dir: dir.clone(),
                files: steps,
            },
            "rmrf" => Job::RmRf { dir: dir.clone() },
            "edit" => Job::Edit {
                dir: dir.clone(),
                seed: number,
                steps,
            },
            "start" => {
                open_to_all(&dir);
                let programs = self.deeds.clone();
                Job::Start {
                    dir: dir.clone(),
                    programs,
                    count: steps,
                    seed: number,
                }
            }
            _ => unreachable!("{kind}"),
        };
        (job, vec![dir, outside.join(name)])
    }

    /// Copies every log as the judge reads it, in one piece, and the journal.
    pub(crate) fn keep_logs(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for (group, log) in self.groups.iter().zip(&self.logs) {
            fs::write(dir.join(format!("{group}.jsonl")), log.bytes()).unwrap();
        }
        let entries = self.home.journal().into_iter();
        let journal: String = entries.map(|entry| format!("{entry}\n")).collect();
        fs::write(dir.join("journal.jsonl"), journal).unwrap();
    }

    pub(crate) fn is_at_work(&self, root: usize, job: &str) -> bool {
        let inside = &self.roots[root].inside;
        self.lives.iter().any(|life| {
            let dir = life.leaves.first();
            life.child.is_some()
                && life.job.name() == job
                && dir.is_some_and(|dir| dir.starts_with(inside))
        })
    }

    /// Buries those who have ended, and removes what they left behind.
    pub(crate) fn look_after(&mut self) {
        self.bury(|child| child.try_wait().unwrap());
    }

    pub(crate) fn wait_for_all(&mut self) {
        self.bury(|child| Some(child.wait().unwrap()));
    }

    fn bury(
        &mut self,
        look: impl Fn(&mut std::process::Child) -> Option<std::process::ExitStatus>,
    ) {
        for life in &mut self.lives {
            let Some(child) = &mut life.child else {
                continue;
            };
            let Some(status) = look(child) else { continue };
            life.child = None;
            if !status.success() && !life.is_killed {
                self.failed
                    .push(format!("{:?} of {}: {status}", life.job, life.pid));
            }
            for dir in &life.leaves {
                // Short lives of a starter that was killed may still be at work.
                while fs::remove_dir_all(dir)
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::DirectoryNotEmpty)
                {
                }
            }
        }
    }
}

fn root_on(ground: &Ground, kind: Fs) -> Root {
    let at = ground.mount(kind);
    let root = Root {
        inside: at.join("in"),
        outside: at.join("out"),
        is_weak: kind == Fs::Overlay,
    };
    for dir in [&root.inside, &root.outside] {
        fs::create_dir(dir).unwrap();
        open_to_all(dir);
    }
    root
}

/// A directory for everybody.
pub(crate) fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o1777)).unwrap();
}

/// Fills the disk of `path` to the last byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut size: u64 = 1 << 32;
    while size >= 1 << 16 {
        let at = file.metadata().unwrap().len();
        let whole = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), at, size);
        if whole.is_err() {
            size /= 2;
        }
    }
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
}
