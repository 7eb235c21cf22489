//! A home directory of its own for each test, and the binary run in it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a run gave, as text.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// The run failed with this code and one line on stderr, apart from a hint, that holds all of `words`.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        let errors: Vec<&str> = self
            .err
            .lines()
            .filter(|line| line.starts_with("fsmon: "))
            .collect();
        assert_eq!(errors.len(), 1, "{self:?}");
        let rest = self.err.lines().filter(|line| !line.starts_with("fsmon: "));
        assert!(
            rest.clone().all(|line| line.starts_with("  hint: ")),
            "{self:?}"
        );
        for word in words {
            assert!(self.err.contains(word), "{word} in {self:?}");
        }
    }

    /// The run succeeded and complained of nothing.
    #[track_caller]
    pub(crate) fn succeeds_silently(&self) {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
    }

    /// The run succeeded with this on stdout.
    #[track_caller]
    pub(crate) fn prints(&self, out: &str) {
        assert_eq!((self.code, self.out.as_str()), (0, out), "{self:?}");
    }
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        sandbox.configure("");
        sandbox
    }

    /// The home, without links in its path.
    pub(crate) fn home(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap()
    }

    pub(crate) fn path(&self, below: &str) -> String {
        self.home().join(below).to_str().unwrap().to_owned()
    }

    /// Writes fsmon.toml; the socket is always the sandbox's own.
    pub(crate) fn configure(&self, more: &str) {
        let file = self.home().join(".config/fsmon/fsmon.toml");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(
            file,
            format!("[socket]\npath = \"{}\"\n{more}", self.path("sock")),
        )
        .unwrap();
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.home().join(".local/share/fsmon/monitored.jsonl")
    }

    pub(crate) fn store_bytes(&self) -> Vec<u8> {
        fs::read(self.store()).unwrap_or_default()
    }

    pub(crate) fn store_text(&self) -> String {
        String::from_utf8(self.store_bytes()).unwrap()
    }

    pub(crate) fn write_store(&self, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.store().parent().unwrap()).unwrap();
        fs::write(self.store(), bytes).unwrap();
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.home().join(".local/state/fsmon")
    }

    pub(crate) fn write_log(&self, group: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::create_dir_all(self.log_dir()).unwrap();
        let file = self.log_dir().join(format!("{group}_log.jsonl"));
        fs::write(&file, text).unwrap();
        file
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fsmon"));
        command
            .args(args)
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.command(args).output().unwrap().into()
    }

    /// A run whose reader goes away after the first bytes, as `head` does.
    pub(crate) fn run_for_a_glance<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Run {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        child.wait_with_output().unwrap().into()
    }

    /// Plays a daemon that answers as many requests as there are answers, and hands out what was asked.
    pub(crate) fn daemon(&self, answers: &'static [&'static str]) -> JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(Path::new(&self.path("sock"))).unwrap();
        std::thread::spawn(move || {
            let answer = |answer: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                stream.read_to_string(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                request
            };
            answers.iter().map(answer).collect()
        })
    }
}
