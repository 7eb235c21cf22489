//! The processes that do the work: each writes down, where nobody watches, when it begins and when it has
//! done each of its operations, so that also of a killed one it is known how far it came.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::thread;
use std::time::Duration;

use fsmon::sys::clock;

use crate::actor::{Actor, Dice, Witness};
use crate::plans;
use crate::truth::Truth;

use super::edit;

/// The environment variable by which this program knows that it is one of them.
const VARIABLE: &str = "FSMON_CHAOS_JOB";

/// What a process does.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Storm {
        root: PathBuf,
        outside: PathBuf,
        seed: usize,
        steps: usize,
    },
    Churn {
        dir: PathBuf,
        files: usize,
    },
    RmRf {
        dir: PathBuf,
    },
    Edit {
        dir: PathBuf,
        seed: usize,
        steps: usize,
    },
    /// Starts short-lived processes, one after the other, each of which makes a file and removes it.
    Start {
        dir: PathBuf,
        programs: Vec<String>,
        count: usize,
        seed: usize,
    },
}

impl Job {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Storm { .. } => "storm",
            Self::Churn { .. } => "churn",
            Self::RmRf { .. } => "rmrf",
            Self::Edit { .. } => "edit",
            Self::Start { .. } => "start",
        }
    }

    fn words(&self) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        match self {
            Self::Storm {
                root,
                outside,
                seed,
                steps,
            } => {
                vec![
                    text(root),
                    text(outside),
                    seed.to_string(),
                    steps.to_string(),
                ]
            }
            Self::Churn { dir, files } => vec![text(dir), files.to_string()],
            Self::RmRf { dir } => vec![text(dir)],
            Self::Edit { dir, seed, steps } => {
                vec![text(dir), seed.to_string(), steps.to_string()]
            }
            Self::Start {
                dir,
                programs,
                count,
                seed,
            } => {
                let mut words = vec![text(dir), seed.to_string(), count.to_string()];
                words.extend(programs.iter().cloned());
                words
            }
        }
    }

    fn from_words(name: &str, words: &[String]) -> Self {
        let path = |at: usize| PathBuf::from(&words[at]);
        let number = |at: usize| words[at].parse().unwrap();
        match name {
            "storm" => Self::Storm {
                root: path(0),
                outside: path(1),
                seed: number(2),
                steps: number(3),
            },
            "churn" => Self::Churn {
                dir: path(0),
                files: number(1),
            },
            "rmrf" => Self::RmRf { dir: path(0) },
            "edit" => Self::Edit {
                dir: path(0),
                seed: number(1),
                steps: number(2),
            },
            "start" => Self::Start {
                dir: path(0),
                seed: number(1),
                count: number(2),
                programs: words[3..].to_vec(),
            },
            _ => panic!("no such job: {name}"),
        }
    }

    /// Goes through its operations, with the hands of the worker or the book of the judge.
    pub(crate) fn play(&self, actor: &mut Actor) {
        match self {
            Self::Storm {
                root,
                outside,
                seed,
                steps,
            } => {
                plans::storm(actor, root, outside, *seed, *steps);
            }
            Self::Churn { dir, files } => plans::churn(actor, dir, *files),
            Self::RmRf { dir } => {
                let top = actor.known(dir);
                let tree = plans::make(actor, top, "t");
                plans::remove(actor, &tree);
            }
            Self::Edit { dir, seed, steps } => edit::plan(actor, dir, *seed, *steps),
            Self::Start { .. } => {}
        }
    }
}

/// A process that works, or has worked.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) job: Job,
    pub(crate) pid: u32,
    pub(crate) ppid: u32,
    pub(crate) comm: String,
    pub(crate) uid: u32,
    pub(crate) record: PathBuf,
    /// The filesystem below tells nothing of objects themselves.
    pub(crate) lacks_self: bool,
    /// Directories that go when it has ended.
    pub(crate) leaves: Vec<PathBuf>,
    pub(crate) child: Option<Child>,
    /// It was ended by the conductor.
    pub(crate) is_killed: bool,
}

/// How fast a process works, and until when, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) until: u64,
    /// Operations a second; 0 is as fast as it can.
    pub(crate) rate: usize,
}

/// Starts a process as that user, by the program of that name.
pub(crate) fn hire(program: &Path, job: &Job, record: &Path, pace: Pace, uid: u32) -> Child {
    File::create(record).unwrap();
    std::os::unix::fs::chown(record, Some(uid), Some(uid)).unwrap();
    Command::new(program)
        .env(VARIABLE, job.name())
        .arg(record)
        .args([pace.until.to_string(), pace.rate.to_string()])
        .args(job.words())
        .uid(uid)
        .gid(uid)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does the job and returns true when this process is one of the crew.
pub(crate) fn is_one_of_it() -> bool {
    let Ok(name) = env::var(VARIABLE) else {
        return false;
    };
    let words: Vec<String> = env::args().skip(1).collect();
    let pace = Pace {
        until: words[1].parse().unwrap(),
        rate: words[2].parse().unwrap(),
    };
    let job = Job::from_words(&name, &words[3..]);
    let scribe = Scribe::new(Path::new(&words[0]), pace);
    match &job {
        Job::Start {
            dir,
            programs,
            count,
            seed,
        } => start(scribe, dir, programs, *count, *seed),
        _ => job.play(&mut Actor::before(scribe, None)),
    }
    true
}

/// Writes down each operation before and after it.
struct Scribe {
    file: File,
    pace: Pace,
    done: usize,
    dice: Dice,
    rest: usize,
}

/// Bytes of an operation that was done, in the record of its process; of one that was begun, so many less.
pub(crate) const WHOLE: usize = 16;
pub(crate) const HALF: usize = 8;

impl Scribe {
    fn new(record: &Path, pace: Pace) -> Self {
        let file = OpenOptions::new().append(true).mode(0o600).open(record);
        Self {
            file: file.unwrap(),
            pace,
            done: 0,
            dice: Dice::new(pace.until ^ u64::from(std::process::id())),
            rest: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
    }

    /// Ends the process when its time is over; works in spurts, as programs do.
    fn keep_pace(&mut self) {
        if clock::monotonic() >= self.pace.until {
            exit(0);
        }
        self.done += 1;
        if self.pace.rate == 0 {
            return;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        self.rest = self.dice.roll(60);
        let micros = (self.rest + 1) * 1_000_000 / self.pace.rate;
        thread::park_timeout(Duration::from_micros(micros as u64));
    }
}

impl Witness for Scribe {
    fn before(&mut self) {
        self.keep_pace();
        self.write(&clock::monotonic().to_ne_bytes());
    }

    fn after(&mut self, _: Option<&mut Truth>) {
        self.write(&clock::monotonic().to_ne_bytes());
    }
}

/// One short life: `b FILE USER PROGRAM TIME`, `p PID`, `e TIME` stand in the record, a line each.
fn start(mut scribe: Scribe, dir: &Path, programs: &[String], count: usize, seed: usize) {
    let mut dice = Dice::new(seed as u64 + 5);
    for number in 0..count {
        scribe.keep_pace();
        let (at, user) = (dice.roll(programs.len()), USERS[dice.roll(USERS.len())]);
        let file = format!("{}/s{seed}-{number}", dir.display());
        let begin = format!("b {file} {user} {} {}\n", programs[at], clock::monotonic());
        scribe.write(begin.as_bytes());
        let mut command = Command::new(&programs[at]);
        let mut child = command
            .args(["make", &file, "drop"])
            .uid(user)
            .gid(user)
            .env_remove(VARIABLE)
            .spawn()
            .unwrap();
        scribe.write(format!("p {}\n", child.id()).as_bytes());
        let status = child.wait().unwrap();
        assert!(status.success(), "{file}: {status}");
        scribe.write(format!("e {}\n", clock::monotonic()).as_bytes());
    }
}

/// Root, two with names and one without.
pub(crate) const USERS: [u32; 4] = [0, 1, 65534, 54321];

/// As the log calls a user.
pub(crate) fn name_of(uid: u32) -> String {
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    known.unwrap_or_else(|| uid.to_string())
}
