//! This program again, as a process of its own that does the operations of a scenario.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use wait4::Wait4 as _;

/// In the environment of a worker: its job.
pub(crate) const VARIABLE: &str = "FSMON_KERNEL_WORKER";

/// A worker process, waiting for its start or at work.
#[derive(Debug)]
pub(crate) struct Worker {
    /// None when it has been waited for: its number may be another's then.
    child: Option<Child>,
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
            child: Some(child),
            input,
            output,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
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

    /// Whether it has ended. It is not waited for: whoever does that is told its CPU time.
    pub(crate) fn is_done(&mut self) -> bool {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        let looking = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), looking).unwrap().is_some()
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Closes its input, which jobs without a fixed end take as the sign to stop, and waits for its
    /// success; what it printed.
    pub(crate) fn finish(self) -> String {
        self.end().0
    }

    /// The same, and the CPU time of it and of all that it waited for.
    pub(crate) fn end(mut self) -> (String, Duration) {
        drop(self.input.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        let child = self.child.take().expect("nobody has waited for it yet");
        let ended = child.wait4().unwrap();
        assert!(ended.status.success(), "a worker failed: {}", ended.status);
        (text, ended.rusage.utime + ended.rusage.stime)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
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
