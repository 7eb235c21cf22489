//! Where a trial takes place, and what the commands of the page show there.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::ground::{Fs, Ground, sh};
use crate::lines::MARKER;
use crate::recorder::Home;
use crate::wait::{PATIENCE, until};

/// A block of the page.
pub(super) struct Example {
    pub(super) trial: String,
    pub(super) language: String,
    pub(super) text: String,
}

pub(super) fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migration.md");
    fs::read_to_string(path).unwrap()
}

/// Every block of the page, in order; without a mark its trial is empty.
pub(super) fn examples() -> Vec<Example> {
    let page = page();
    let mut found = Vec::new();
    let mut trial = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(mark) = line.strip_prefix("<!-- trial: ") {
            trial = mark.strip_suffix(" -->").unwrap().to_owned();
        } else if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push(Example {
                trial: std::mem::take(&mut trial),
                language: language.to_owned(),
                text: text.join("\n"),
            });
        }
    }
    found
}

/// Where a trial takes place: a filesystem for /srv, a home, and a file for the policy.
pub(super) struct Place {
    pub(super) trial: &'static str,
    pub(super) root: PathBuf,
    pub(super) home: Home,
    // Taken down last.
    pub(super) ground: Ground,
}

impl Place {
    pub(super) fn new(trial: &'static str) -> Self {
        let ground = Ground::new();
        let root = ground.mount(Fs::Tmpfs);
        for dir in ["www/deep", "keys"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in ["root.pem", "plain"] {
            fs::write(root.join("keys").join(file), "x").unwrap();
        }
        Self {
            trial,
            root,
            home: Home::new(&ground),
            ground,
        }
    }

    /// The blocks of this trial in that language, with the paths of this place.
    pub(super) fn blocks(&self, language: &str) -> Vec<String> {
        let found = examples().into_iter();
        found
            .filter(|example| example.trial == self.trial && example.language == language)
            .map(|example| {
                let text = example.text.replace("/srv", self.root.to_str().unwrap());
                text.replace("/etc/fsmon/policy.toml", self.policy().to_str().unwrap())
            })
            .collect()
    }

    /// The only block of commands.
    pub(super) fn command(&self) -> String {
        let [command] = <[String; 1]>::try_from(self.blocks("sh")).unwrap();
        command
    }

    pub(super) fn policy(&self) -> PathBuf {
        self.ground.dir.join("policy.toml")
    }

    /// A bind mount of a directory, elsewhere.
    pub(super) fn bind(&self, dir: &Path) -> PathBuf {
        let bound = self.ground.directory("bound");
        sh(&["mount", "--bind"], &[dir, &bound]);
        bound
    }

    pub(super) fn shell(&self, text: &str) -> Command {
        let mut shell = self.home.surround(Command::new("sh"));
        let programs = Path::new(env!("CARGO_BIN_EXE_fsmon")).parent().unwrap();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
        // So that it is fsmon which is ended, and whose exit code is seen.
        let text = if text.contains(" | ") {
            text.to_owned()
        } else {
            format!("exec {text}")
        };
        shell.args(["-c", &text]).env("PATH", path);
        shell.current_dir(&self.root);
        shell
    }

    pub(super) fn run(&self, text: &str) -> Output {
        self.shell(text).output().unwrap()
    }

    /// Starts a command that shows events of what happens in `probed`.
    pub(super) fn look(&self, text: &str, probed: &Path) -> Looking {
        self.look_into(text, probed, None)
    }

    pub(super) fn look_into(&self, text: &str, probed: &Path, shown: Option<PathBuf>) -> Looking {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let out = self.ground.dir.join(format!("out{number}"));
        let err = self.ground.dir.join(format!("err{number}"));
        let mut shell = self.shell(text);
        shell
            .process_group(0)
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        let mut looking = Looking {
            child: shell.spawn().unwrap(),
            shown: shown.unwrap_or(out),
            err,
            probed: probed.to_owned(),
            ended: false,
        };
        looking.settle();
        looking
    }

    pub(super) fn act(&self, script: &str) -> u32 {
        let mut child = Command::new("sh");
        child.stdout(Stdio::null());
        let mut child = child
            .args(["-ec", script])
            .current_dir(&self.root)
            .spawn()
            .unwrap();
        assert!(child.wait().unwrap().success(), "{script}");
        child.id()
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A command that shows events; killed when dropped.
pub(super) struct Looking {
    child: Child,
    shown: PathBuf,
    err: PathBuf,
    probed: PathBuf,
    ended: bool,
}

impl Looking {
    pub(super) fn text(&self) -> String {
        String::from_utf8(fs::read(&self.shown).unwrap_or_default()).unwrap()
    }

    /// Returns when all that happened before has been shown.
    pub(super) fn settle(&mut self) {
        let told = until(PATIENCE, || {
            let name = format!("{MARKER}{}", NEXT.fetch_add(1, Ordering::Relaxed));
            // A process of its own each time, or they would be a burst.
            let probe = format!("echo x > {name}; rm {name}");
            let mut probe = Command::new("sh")
                .args(["-c", &probe])
                .current_dir(&self.probed)
                .spawn()
                .unwrap();
            probe.wait().unwrap();
            let status = self.child.try_wait().unwrap();
            assert_eq!(status, None, "{}", fs::read_to_string(&self.err).unwrap());
            until(std::time::Duration::from_millis(300), || {
                self.text().contains(&name).then_some(())
            })
        });
        assert!(told.is_some(), "{}", fs::read_to_string(&self.err).unwrap());
    }

    pub(super) fn lines(&mut self) -> Vec<Value> {
        self.settle();
        let text = self.text();
        let own = text.lines().filter(|line| !line.contains(MARKER));
        own.map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    pub(super) fn events(&mut self) -> Vec<Value> {
        let lines = self.lines().into_iter();
        lines.filter(|line| line["rule"].is_null()).collect()
    }

    pub(super) fn alerts(&mut self) -> Vec<Value> {
        let lines = self.lines().into_iter();
        lines.filter(|line| line["rule"].is_string()).collect()
    }

    /// Types and paths of the events.
    pub(super) fn told(&mut self) -> Vec<(String, String)> {
        let both = |line: Value| (word(&line, "event_type"), word(&line, "path"));
        self.events().into_iter().map(both).collect()
    }

    /// Ends it as Ctrl-C does, and says how it ended.
    pub(super) fn end(mut self) -> Option<i32> {
        self.signal(Signal::INT);
        let status = until(PATIENCE, || self.child.try_wait().unwrap()).expect("it ends");
        self.ended = true;
        status.code()
    }

    /// The same, for a `watch`, which says at its end whether something was lost.
    pub(super) fn end_well(self) {
        let err = self.err.clone();
        assert_eq!(self.end(), Some(0));
        let said = fs::read_to_string(err).unwrap();
        assert!(said.contains("nothing was lost"), "{said}");
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if !self.ended {
            self.signal(Signal::KILL);
            self.child.wait().ok();
        }
    }
}

pub(super) fn word(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

pub(super) fn exe_of(program: &str) -> String {
    text(&Path::new(program).canonicalize().unwrap())
}
