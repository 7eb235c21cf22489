//! The kernel's audit with its daemon, as a Debian package brings it, and a rule for all that changes below a directory.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

/// Whether it is here, and nobody else uses it: there is one in a kernel. Processes that start from now on can be seen.
pub(crate) fn is_ready() -> bool {
    let said = Command::new("auditctl").arg("-s").output();
    let is_unused = said.is_ok_and(|said| {
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.lines().any(|line| line == "pid 0")
    });
    let is_ready = is_unused && fs::metadata(DAEMON).is_ok();
    if is_ready {
        // One that was interrupted leaves its rule.
        control(&["-D", "-k", KEY]);
        // What was started before the first time that it was on is never audited.
        control(&["-e", "1"]);
        control(&["-e", "0"]);
    }
    is_ready
}

/// Starts the daemon with a log in `home`, which is nobody else's.
pub(crate) fn start(home: &Path, said: File) -> (Child, PathBuf) {
    let log = home.join("audit.log");
    let plugins = home.join("plugins.d");
    fs::create_dir(&plugins).unwrap();
    // As the package has it, but for the end of a log: what is measured must not be thrown away.
    let config = format!(
        "local_events = yes\nwrite_logs = yes\nlog_file = {}\nlog_group = root\n\
         log_format = ENRICHED\nflush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 0\n\
         max_log_file_action = IGNORE\npriority_boost = 4\nname_format = NONE\n\
         space_left = 2\nspace_left_action = IGNORE\nadmin_space_left = 1\n\
         admin_space_left_action = IGNORE\ndisk_full_action = IGNORE\n\
         disk_error_action = IGNORE\nq_depth = 2000\noverflow_action = IGNORE\n\
         plugin_dir = {}\n",
        log.display(),
        plugins.display()
    );
    fs::write(home.join("auditd.conf"), config).unwrap();
    let child = Command::new(DAEMON)
        .args(["-n", "-c"])
        .arg(home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap();
    (child, log)
}

/// A rule that is in force until this goes.
pub(crate) struct Rule;

impl Rule {
    pub(crate) fn new(root: &Path) -> Self {
        let rule = Self;
        // What the package's own rules begin with.
        control(&["-b", "8192", "-f", "1", "--backlog_wait_time", "60000"]);
        control(&["-e", "1"]);
        let dir = format!("dir={}", root.display());
        control(&[
            "-a",
            "always,exit",
            "-F",
            "arch=b64",
            "-F",
            &dir,
            "-F",
            "perm=wa",
            "-k",
            KEY,
        ]);
        rule
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        control(&["-D", "-k", KEY]);
        control(&["-e", "0", "-b", "64", "--backlog_wait_time", "15000"]);
    }
}

fn control(words: &[&str]) {
    let said = Command::new("auditctl").args(words).output().unwrap();
    if !said.status.success() {
        println!(
            "auditctl {words:?}: {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}

/// The thread of the kernel that hands the records on.
pub(crate) fn kernel_thread() -> Option<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == "kauditd")
    })
}

/// Writes what a log tells of names as lines of fsmon; where.
pub(crate) fn translated(log: &Path) -> PathBuf {
    let path = log.with_extension("jsonl");
    let mut lines = BufWriter::new(File::create(&path).unwrap());
    // Records of one call may have those of another between them.
    let mut open: BTreeMap<u64, Event> = BTreeMap::new();
    for row in BufReader::new(File::open(log).unwrap()).split(b'\n') {
        let row = String::from_utf8_lossy(&row.unwrap()).into_owned();
        let record = Record::of(&row);
        open.entry(record.serial).or_default().take(&record);
        if open.len() > OPEN
            && let Some((_, event)) = open.pop_first()
        {
            event.tell(&mut lines);
        }
    }
    open.values().for_each(|event| event.tell(&mut lines));
    lines.flush().unwrap();
    path
}

/// One record: KEY=VALUE and blanks between them.
struct Record<'a> {
    serial: u64,
    values: HashMap<&'a str, &'a str>,
}

impl<'a> Record<'a> {
    fn of(row: &'a str) -> Self {
        // What the daemon adds for people stands behind this.
        let row = row.split('\u{1d}').next().unwrap_or_default();
        let values: HashMap<_, _> = row
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .collect();
        // audit(SECONDS:SERIAL):
        let serial = values.get("msg").and_then(|id| id.split(':').nth(1));
        let serial = serial.and_then(|serial| serial.trim_end_matches(')').parse().ok());
        Self {
            serial: serial.unwrap_or(0),
            values,
        }
    }

    fn word(&self, key: &str) -> &'a str {
        self.values.get(key).copied().unwrap_or_default()
    }

    /// A name: in quotes, or in hex where it has bytes that do not go into quotes.
    fn name(&self, key: &str) -> Vec<u8> {
        let word = self.word(key);
        if let Some(quoted) = word.strip_prefix('"') {
            return quoted.trim_end_matches('"').into();
        }
        let pairs = word.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        bytes.collect::<Option<_>>().unwrap_or_default()
    }
}

/// The records of one system call.
#[derive(Default)]
struct Event {
    is_done: bool,
    pid: u64,
    ppid: u64,
    user: &'static str,
    cmd: String,
    dir: Vec<u8>,
    made: Option<Vec<u8>>,
    gone: Vec<Vec<u8>>,
}

impl Event {
    fn take(&mut self, record: &Record<'_>) {
        match record.word("type") {
            "SYSCALL" => {
                let number = |key| record.word(key).parse().unwrap_or(0);
                self.is_done = record.word("success") == "yes";
                (self.pid, self.ppid) = (number("pid"), number("ppid"));
                self.cmd = String::from_utf8_lossy(&record.name("comm")).into_owned();
                self.user = match record.word("euid") {
                    "0" => "root",
                    _ => "nobody",
                };
            }
            "CWD" => self.dir = record.name("cwd"),
            "PATH" => {
                let name = record.name("name");
                // Which directory a name is relative to is not told, unless it is the current one.
                let path = if name.first() == Some(&b'/') {
                    name
                } else {
                    [&self.dir[..], b"/", &name].concat()
                };
                match record.word("nametype") {
                    "CREATE" => self.made = Some(path),
                    "DELETE" => self.gone.push(path),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn tell(&self, lines: &mut impl std::io::Write) {
        if !self.is_done {
            return;
        }
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let mut line = |kind: &str, path: &[u8], other: Option<&[u8]>| {
            let line = json!({
                "event_type": kind, "path": text(path), "other_path": other.map(text),
                "pid": self.pid, "ppid": self.ppid, "cmd": self.cmd, "user": self.user,
            });
            writeln!(lines, "{line}").unwrap();
        };
        match (&self.made, self.gone.first()) {
            (Some(to), Some(from)) => {
                line("MOVED_FROM", from, Some(to));
                line("MOVED_TO", to, Some(from));
            }
            (Some(made), None) => line("CREATE", made, None),
            (None, Some(gone)) => line("DELETE", gone, None),
            (None, None) => {}
        }
    }
}

const DAEMON: &str = "/usr/sbin/auditd";
const KEY: &str = "fsmon-load";
/// More calls than are told while one is held up in the middle of its records.
const OPEN: usize = 100_000;
