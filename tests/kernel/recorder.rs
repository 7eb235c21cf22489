//! A home of its own with config and store, and the daemon that records for it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::ground::Ground;
use crate::lines::{self, Line, MARKER};
use crate::wait::{PATIENCE, halt, until};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The home directory of one test.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) socket: PathBuf,
    /// Value of FSMON_TEST for all that runs here.
    pub(crate) switches: Option<&'static str>,
}

impl Home {
    pub(crate) fn new(ground: &Ground) -> Self {
        Self::at(ground.directory("home"))
    }

    /// Uses an empty directory as home.
    pub(crate) fn at(dir: PathBuf) -> Self {
        let home = Self {
            socket: dir.join("fsmon.sock"),
            dir,
            switches: None,
        };
        home.configure("");
        home
    }

    /// Writes fsmon.toml anew: the socket, and what is given.
    pub(crate) fn configure(&self, more: &str) {
        let folder = self.dir.join(".config/fsmon");
        fs::create_dir_all(&folder).unwrap();
        let text = format!("[socket]\npath = \"{}\"\n{more}\n", self.socket.display());
        fs::write(folder.join("fsmon.toml"), text).unwrap();
    }

    /// A program in the minimal environment of this home.
    pub(crate) fn surround(&self, mut program: Command) -> Command {
        program
            .env_clear()
            .env("HOME", &self.dir)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some(switches) = self.switches {
            program.env("FSMON_TEST", switches);
        }
        program.stdin(Stdio::null());
        program
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut program = self.surround(Command::new(env!("CARGO_BIN_EXE_fsmon")));
        program.args(words);
        program
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; what it prints on stdout.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert!(done.status.success(), "fsmon {words:?}: {}", tell(&done));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Adds a watch of `group` on `path`.
    pub(crate) fn watch(&self, group: &str, path: &Path, more: &[&str]) {
        let path = path.to_str().unwrap();
        self.ok(&[&["add", group, "--path", path], more].concat());
    }

    pub(crate) fn unwatch(&self, group: &str, path: &Path) {
        self.ok(&["remove", group, "--path", path.to_str().unwrap()]);
    }

    pub(crate) fn start(&self) -> Recorder {
        self.start_with(&[])
    }

    pub(crate) fn start_with(&self, flags: &[&str]) -> Recorder {
        Recorder::start(self, self.command(&[&["daemon"], flags].concat()))
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.join(".local/state/fsmon")
    }

    pub(crate) fn log_path(&self, group: &str) -> PathBuf {
        self.log_dir().join(format!("{group}_log.jsonl"))
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join(".local/share/fsmon/monitored.jsonl")
    }

    /// The log of `group`, without markers; empty when there is none.
    pub(crate) fn log(&self, group: &str) -> Vec<Line> {
        if fs::symlink_metadata(self.log_path(group)).is_err() {
            return Vec::new();
        }
        lines::read(&self.log_path(group))
    }

    /// The log of `group` while lines are written to it: each try on a full disk leaves a part of one for a moment.
    pub(crate) fn log_meanwhile(&self, group: &str) -> Vec<Line> {
        let whole = until(PATIENCE, || {
            let bytes = fs::read(self.log_path(group)).unwrap();
            bytes.ends_with(b"\n").then_some(bytes)
        });
        lines::parse(&whole.expect("whole lines"))
    }

    /// The lines of the journal, whole ones: it may be read while it is written.
    pub(crate) fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.log_dir().join("journal.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    /// The lines of the journal that tell of `event`.
    pub(crate) fn journal_of(&self, event: &str) -> Vec<Value> {
        self.journal()
            .into_iter()
            .filter(|line| line["event"] == event)
            .collect()
    }
}

pub(crate) fn tell(done: &Output) -> String {
    let out = String::from_utf8_lossy(&done.stdout);
    format!(
        "{}\nstdout: {out}\nstderr: {}",
        done.status,
        String::from_utf8_lossy(&done.stderr)
    )
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub(crate) struct Recorder {
    child: Child,
    home: Home,
    out: Said,
    err: Said,
    ended: bool,
}

impl Recorder {
    /// Starts `program` and waits until it says that it records.
    pub(crate) fn start(home: &Home, mut program: Command) -> Self {
        let mut child = program
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        let mut recorder = Self {
            child,
            home: home.clone(),
            out,
            err,
            ended: false,
        };
        let ready = until(PATIENCE, || {
            if recorder.out.lines().iter().any(|line| line == "ready") {
                return Some(true);
            }
            recorder.child.try_wait().unwrap().map(|_| false)
        });
        if ready != Some(true) {
            panic!("the daemon does not say ready\n{}", recorder.said());
        }
        recorder
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input, if that was made a pipe.
    pub(crate) fn tell(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops all its threads with a signal.
    pub(crate) fn halt(&self) {
        halt(self.pid());
    }

    /// What it printed until now.
    pub(crate) fn said(&self) -> String {
        format!(
            "  stdout:\n    {}\n  stderr:\n    {}",
            self.out.lines().join("\n    "),
            self.err.lines().join("\n    ")
        )
    }

    /// What arrived here of its standard error; more may be on the way: see [`says`](Self::says)
    /// and [`stop`](Self::stop).
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.err.lines().clone()
    }

    /// Waits until a line of its standard error holds `text`.
    pub(crate) fn says(&self, text: &str) {
        let said = until(PATIENCE, || {
            let lines = self.err.lines();
            lines.iter().any(|line| line.contains(text)).then_some(())
        });
        assert!(said.is_some(), "never says '{text}':\n{}", self.said());
    }

    /// Returns when all that was done before on the filesystem of `dir` is in the log of `group`.
    pub(crate) fn settle(&mut self, group: &str, dir: &Path) {
        let marker = format!("{MARKER}{}", NEXT.fetch_add(1, Ordering::Relaxed));
        fs::create_dir(dir.join(&marker)).unwrap();
        self.wait_for(group, &marker);
        fs::remove_dir(dir.join(&marker)).unwrap();
    }

    /// Waits until the log of `group` holds `text`.
    pub(crate) fn wait_for(&mut self, group: &str, text: &str) {
        let log = self.home.log_path(group);
        let mut at = 0_u64;
        let mut kept = Vec::new();
        let found = until(PATIENCE, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                panic!("the daemon ended: {status}\n{}", self.said());
            }
            let Ok(mut file) = File::open(&log) else {
                return None;
            };
            let length = file.metadata().unwrap().len();
            if length < at {
                (at, kept) = (0, Vec::new());
            }
            file.seek(SeekFrom::Start(at)).unwrap();
            let read = file.read_to_end(&mut kept).unwrap();
            at += u64::try_from(read).unwrap();
            if lines::contains(&kept, text.as_bytes()) {
                return Some(());
            }
            let keep = kept.len().min(text.len());
            kept.drain(..kept.len() - keep);
            None
        });
        if found.is_none() {
            let log = fs::read_to_string(&log)
                .unwrap_or_else(|error| format!("{}: {error}", log.display()));
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            panic!(
                "the log never shows '{text}'; its {} lines end, newest first:\n{}",
                log.lines().count(),
                tail.join("\n")
            );
        }
    }

    /// Ends it as a service manager does; it must end well. Returns all that it said on standard
    /// error, to its end.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        let status = self.wait_end();
        assert!(status.success(), "SIGTERM: {status}\n{}", self.said());
        let whole = until(PATIENCE, || self.err.is_whole().then_some(()));
        assert!(whole.is_some(), "somebody holds its standard error");
        self.stderr()
    }

    /// Ends it without a chance to do anything.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        let status = self.wait_end();
        assert_eq!(status.signal(), Some(9));
    }

    /// Waits for its end.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let status = until(PATIENCE, || self.child.try_wait().unwrap());
        self.ended = status.is_some();
        status.unwrap_or_else(|| panic!("the daemon does not end\n{}", self.said()))
    }

    /// One number of /proc/PID/status.
    pub(crate) fn status_of(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).expect(key);
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sum of voluntary context switches of all its threads but the one that reads what others do: each return from a
    /// wait counts.
    pub(crate) fn wake_ups(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
            .filter(|text| !text.starts_with("Name:\tfeed\n"))
            .filter_map(|text| {
                let line = text
                    .lines()
                    .find(|line| line.starts_with("voluntary_ctxt_switches"))?;
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            })
            .sum()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.ended {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if thread::panicking() {
            let said = self.stderr();
            let from = said.len().saturating_sub(25);
            eprintln!("the daemon said last:\n    {}", said[from..].join("\n    "));
        }
    }
}

/// The lines of one of its pipes, as they come.
#[derive(Debug)]
struct Said {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap()
    }

    /// Whether all was read, to the end.
    fn is_whole(&self) -> bool {
        self.reader.is_finished()
    }
}

fn collect(pipe: impl Read + Send + 'static) -> Said {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    let reader = thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
    Said { lines, reader }
}
