//! This program again, as a process of its own that does the operations of a scenario.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::actor::Actor;
use crate::{alerts, bursts, churn, deny, edges, flood, gate, rmrf, socket, storm, trims, who};

const VARIABLE: &str = "FSMON_KERNEL_WORKER";

/// A worker process, waiting for its start or at work.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the process; it waits for [`Worker::go`].
    pub(crate) fn new(job: &str, words: &[&str]) -> Self {
        Self::by(Command::new(env::current_exe().unwrap()), job, words)
    }

    /// Starts it by another program that becomes this one or starts it, whatever that is called.
    pub(crate) fn by(mut program: Command, job: &str, words: &[&str]) -> Self {
        let mut child = program
            .env(VARIABLE, job)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "waiting\n");
        Self {
            child,
            input,
            output,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says one more line to it.
    pub(crate) fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.input
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }

    /// The next line that it prints.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "a worker went silent: {line:?}");
        line.pop();
        line
    }

    /// Whether it has ended.
    pub(crate) fn is_done(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Closes its input, which jobs without a fixed end take as the sign to stop, and waits for its
    /// success; what it printed.
    pub(crate) fn finish(mut self) -> String {
        drop(self.input.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a worker failed: {status}");
        text
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts all, lets all go at once, and waits for all.
pub(crate) fn together(mut workers: Vec<Worker>) {
    for worker in &mut workers {
        worker.go();
    }
    for worker in workers {
        worker.finish();
    }
}

/// Does the job and returns true when this process is a worker.
pub(crate) fn is_worker() -> bool {
    let Ok(job) = env::var(VARIABLE) else {
        return false;
    };
    let words: Vec<String> = env::args().skip(1).collect();
    let word = |at: usize| words[at].as_str();
    let number = |at: usize| word(at).parse::<usize>().unwrap();
    println!("waiting");
    std::io::stdin()
        .lock()
        .read_line(&mut String::new())
        .unwrap();
    match job.as_str() {
        "churn" => churn::plan(&mut Actor::hands(), Path::new(word(0)), number(1)),
        "flood" => flood::work(Path::new(word(0)), number(1)),
        "rmrf" => rmrf::plan(&mut Actor::hands(), Path::new(word(0)), word(1)),
        "storm" => storm::plan(
            &mut Actor::hands(),
            Path::new(word(0)),
            Path::new(word(1)),
            number(2),
        ),
        "spawn" => who::spawn(word(0), number(1), number(2)),
        "numbers" => edges::work(Path::new(word(0)), Path::new(word(1))),
        "count" => trims::work(Path::new(word(0)), number(1), number(2), number(3)),
        "denied" => deny::work(Path::new(word(0)), number(1)),
        "leave" => deny::leave(word(0), Path::new(word(1)), word(2)),
        "gate" => gate::keeper::keep(&words),
        "opens" => gate::open_some(Path::new(word(0)), number(1), number(2)),
        "cost" => gate::cost::open_often(Path::new(word(0)), number(1)),
        "deeds" => alerts::work(Path::new(word(0)), number(1), number(2)),
        "bursts" => bursts::work(Path::new(word(0)), number(1), number(2)),
        "visits" => bursts::open(&words),
        "client" => socket::work(Path::new(word(0))),
        _ => panic!("no such job: {job}"),
    }
    true
}
