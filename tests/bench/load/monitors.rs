//! Those that are measured: started, waited for, and looked at from outside.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::audit;
use crate::ground::{Ground, sh};
use crate::lines::{MARKER, contains};
use crate::measure;
use crate::wait::until;
use crate::workers::Worker;

/// Who looks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody.
    Alone,
    /// The bare reader.
    Reader,
    /// The bare reader with a log.
    Logger,
    /// The program of this package.
    Fsmon,
    /// A public one, installed somewhere.
    Peer { name: String, program: PathBuf },
    /// The kernel's audit.
    Audit,
}

impl Kind {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Alone => "alone",
            Self::Reader => "reader",
            Self::Logger => "logging reader",
            Self::Fsmon => "fsmon",
            Self::Peer { name, .. } => name,
            Self::Audit => "auditd",
        }
    }
}

/// One at work.
pub(crate) enum Running {
    Alone,
    /// It counts, and says how much when asked.
    Floor {
        worker: Worker,
        root: PathBuf,
    },
    /// It has a log.
    Program(Program),
}

/// A daemon with a home of its own.
pub(crate) struct Program {
    child: Child,
    root: PathBuf,
    pub(crate) log: PathBuf,
    markers: u32,
    /// Of the audit: what it is asked for, and its other process.
    audit: Option<(audit::Rule, Option<u32>)>,
}

impl Running {
    /// Starts one that watches all below `root` and waits until it does, or says why it does not; the
    /// floor writes lines of `length` bytes.
    pub(crate) fn start(kind: &Kind, ground: &Ground, root: &Path, length: usize) -> Option<Self> {
        let (own, peer) = (Path::new(env!("CARGO_BIN_EXE_fsmon")), kind.name());
        match kind {
            Kind::Alone => Some(Self::Alone),
            Kind::Reader => Some(Self::floor(root, &[root.to_str().unwrap()])),
            Kind::Logger => {
                let home = home(ground);
                let (log, length) = (home.join("floor"), length.to_string());
                let words = [root.to_str().unwrap(), log.to_str().unwrap(), &length];
                Some(Self::floor(root, &words))
            }
            Kind::Fsmon => Program::start(own, ground, root, peer).map(Self::Program),
            Kind::Peer { program, .. } => {
                Program::start(program, ground, root, peer).map(Self::Program)
            }
            Kind::Audit => Program::audit(ground, root, peer).map(Self::Program),
        }
    }

    fn floor(root: &Path, words: &[&str]) -> Self {
        let mut worker = Worker::new("floor", words);
        worker.go();
        let mut running = Self::Floor {
            worker,
            root: root.to_owned(),
        };
        running.settle(PATIENCE);
        running
    }

    /// Waits until all that was done before is counted or logged; how much the floor counted since its
    /// start, or `None` when it took too long.
    pub(crate) fn settle(&mut self, patience: Duration) -> Option<u64> {
        match self {
            Self::Alone => Some(0),
            Self::Floor { worker, root } => {
                worker.say("all?");
                assert_eq!(worker.hear(), "heard");
                let marker = root.join(format!("{MARKER}floor"));
                fs::create_dir(&marker).unwrap();
                let count = worker.hear().parse().unwrap();
                fs::remove_dir(marker).unwrap();
                Some(count)
            }
            Self::Program(program) => program.settle(patience).then_some(0),
        }
    }

    /// The process.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Alone => None,
            Self::Floor { worker, .. } => Some(worker.pid()),
            Self::Program(program) => Some(program.child.id()),
        }
    }

    pub(crate) fn cpu(&self) -> u64 {
        let other = match self {
            Self::Program(program) => program.audit.as_ref().and_then(|(_, thread)| *thread),
            Self::Alone | Self::Floor { .. } => None,
        };
        self.pid().into_iter().chain(other).map(measure::cpu).sum()
    }
}

impl Program {
    fn start(program: &Path, ground: &Ground, root: &Path, name: &str) -> Option<Self> {
        let home = home(ground);
        // All three tables, as the public ones want them.
        let config = format!(
            "[monitored]\npath = \"{0}/.local/share/fsmon/monitored.jsonl\"\n\
             [logging]\npath = \"{0}/.local/state/fsmon\"\n\
             [socket]\npath = \"{0}/fsmon.sock\"\n",
            home.display()
        );
        fs::create_dir_all(home.join(".config/fsmon")).unwrap();
        fs::write(home.join(".config/fsmon/fsmon.toml"), config).unwrap();
        let command = || {
            let mut command = Command::new(program);
            command
                .env_clear()
                .env("HOME", &home)
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            if program != Path::new(env!("CARGO_BIN_EXE_fsmon")) {
                // They keep lock and socket in /tmp under a user's number, or where the session has its own.
                command
                    .env("SUDO_UID", PEER_UID)
                    .env("SUDO_GID", "0")
                    .env("XDG_RUNTIME_DIR", &home);
            }
            command
        };
        let added = command()
            .args(["add", "_global", "-r", "--path"])
            .arg(root)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(added.success(), "{name}: add fails");
        let said = File::create(home.join("said")).unwrap();
        let child = command().arg("daemon").stderr(said).spawn().unwrap();
        let program = Self {
            child,
            root: root.to_owned(),
            log: home.join(".local/state/fsmon/_global_log.jsonl"),
            markers: 0,
            audit: None,
        };
        program.once_ready(&home, name)
    }

    fn audit(ground: &Ground, root: &Path, name: &str) -> Option<Self> {
        let home = home(ground);
        let (child, log) = audit::start(&home, File::create(home.join("said")).unwrap());
        let program = Self {
            child,
            root: root.to_owned(),
            log,
            markers: 0,
            audit: Some((audit::Rule::new(root), audit::kernel_thread())),
        };
        program.once_ready(&home, name)
    }

    fn once_ready(mut self, home: &Path, name: &str) -> Option<Self> {
        if self.settle(PATIENCE) {
            return Some(self);
        }
        let said = fs::read_to_string(home.join("said")).unwrap_or_default();
        println!("{name} does not record; it says:\n{said}");
        None
    }

    /// Makes directories until one of them is in the log. More than one, because some leave the rest
    /// of a burst in the queue until something else happens, and none is told of before all is ready.
    fn settle(&mut self, patience: Duration) -> bool {
        let first = self.markers;
        let (end, mut next) = (Instant::now() + patience, Instant::now());
        loop {
            if Instant::now() >= next {
                self.mark();
                next += Duration::from_millis(500);
            }
            // It is among the last lines: behind it there are only others.
            let last = tail(&self.log);
            let mut markers = (first..self.markers).map(|number| format!("{MARKER}{number}\""));
            if markers.any(|marker| contains(&last, marker.as_bytes())) {
                return true;
            }
            if Instant::now() >= end || self.child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn mark(&mut self) {
        let marker = self.root.join(format!("{MARKER}{}", self.markers));
        if self.audit.is_some() {
            // This process may be older than the first audit.
            sh(&["mkdir"], &[&marker]);
        } else {
            fs::create_dir(marker).unwrap();
        }
        self.markers += 1;
    }

    /// Ends it, by force if it does not want to.
    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        let ended = until(Duration::from_secs(10), || self.child.try_wait().unwrap());
        if ended.is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An empty home on a filesystem of its own, so that what is written is not watched, and no disk measured.
fn home(ground: &Ground) -> PathBuf {
    ground.mount(crate::ground::Fs::Tmpfs)
}

/// The last lines of a log.
fn tail(log: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(mut file) = File::open(log) else {
        return bytes;
    };
    let length = file.metadata().map_or(0, |found| found.len());
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok();
    file.read_to_end(&mut bytes).ok();
    bytes
}

const TAIL: u64 = 8 << 10;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The number of no user.
const PEER_UID: &str = "54399";
