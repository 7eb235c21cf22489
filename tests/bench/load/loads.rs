//! The workloads, and what is known of each.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4 as _;

use crate::actor::{Actor, os};
use crate::check::{Doer, Doers, Expected, LIFE};
use crate::deeds::Stage;
use crate::ground::{Ground, sh};
use crate::lines::{MARKER, contains};
use crate::measure::comm;
use crate::plans;
use crate::truth::Truth;
use crate::workers::Worker;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Churn,
    Short,
    RmRf,
    Storm,
    Flood,
    FloodBig,
    Git,
    Tar,
    Cargo,
}

impl Load {
    pub(crate) const ALL: [Self; 9] = [
        Self::Churn,
        Self::Short,
        Self::RmRf,
        Self::Storm,
        Self::Flood,
        Self::FloodBig,
        Self::Git,
        Self::Tar,
        Self::Cargo,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Short => "short",
            Self::RmRf => "rmrf",
            Self::Storm => "storm",
            Self::Flood => "flood",
            Self::FloodBig => "flood-big",
            Self::Git => "git",
            Self::Tar => "tar",
            Self::Cargo => "cargo",
        }
    }

    /// Files, processes, trees or rounds.
    fn amount(self, quick: bool) -> usize {
        let (full, short) = match self {
            Self::Churn => (20_000, 2_000),
            Self::Short => (8_000, 400),
            Self::RmRf => (8, 1),
            Self::Storm => (4, 2),
            Self::Flood => (12_500, 2_500),
            Self::FloodBig => (75_000, 10_000),
            Self::Git => (8, 2),
            Self::Tar => (36, 1),
            Self::Cargo => (1, 1),
        };
        if quick { short } else { full }
    }
}

/// Processes that wait for their start, and what will be known when they have ended.
pub(crate) struct Ready {
    load: Load,
    root: PathBuf,
    amount: usize,
    workers: Vec<Worker>,
    programs: Vec<Command>,
    before: BTreeSet<Vec<u8>>,
}

/// What they took, and what must be in a log.
pub(crate) struct Done {
    /// CPU time of all of them.
    pub(crate) cpu: Duration,
    /// When the last ended.
    pub(crate) at: Instant,
    pub(crate) expected: Expected,
    pub(crate) doers: Doers,
}

impl Ready {
    /// Puts below `root` what the workload finds there.
    pub(crate) fn new(load: Load, ground: &Ground, root: &Path, quick: bool) -> Self {
        let mut ready = Self {
            load,
            root: root.to_owned(),
            amount: load.amount(quick),
            workers: Vec::new(),
            programs: Vec::new(),
            before: BTreeSet::new(),
        };
        match load {
            Load::Churn => ready.work("churn", &[ready.at(""), ready.amount.to_string()]),
            Load::Short => ready.cast(ground),
            Load::RmRf => {
                for tree in 0..ready.amount {
                    let mut hands = Actor::hands();
                    let top = hands.known(root);
                    plans::make(&mut hands, top, &format!("t{tree}"));
                }
                let trees: Vec<_> = (0..ready.amount)
                    .map(|tree| ready.at(&format!("t{tree}")))
                    .collect();
                ready.program("rm", &["-rf"]).args(trees);
            }
            Load::Storm => {
                for worker in 0..ready.amount {
                    for side in ["in", "out"] {
                        fs::create_dir_all(root.join(format!("{side}/w{worker}"))).unwrap();
                    }
                    ready.work(
                        "storm",
                        &[ready.at("in"), ready.at("out"), worker.to_string()],
                    );
                }
            }
            Load::Flood | Load::FloodBig => {
                for worker in 0..FLOODERS {
                    let dir = root.join(format!("w{worker}"));
                    fs::create_dir(&dir).unwrap();
                    ready.work(
                        "flood",
                        &[dir.to_str().unwrap().to_owned(), ready.amount.to_string()],
                    );
                }
            }
            Load::Git => ready.repository(),
            Load::Tar => {
                let archive = ground.dir.join("tree.tar");
                let tree = ground.directory("packed");
                for copy in 0..ready.amount {
                    copy_sources(&tree.join(format!("copy{copy}")));
                }
                sh(
                    &["tar", "cf", archive.to_str().unwrap(), "-C"],
                    &[&tree, Path::new(".")],
                );
                ready.before = packed(&tree);
                let (archive, root) = (archive.to_str().unwrap().to_owned(), ready.at(""));
                ready.program("tar", &["xf", &archive, "-C", &root]);
            }
            Load::Cargo => ready.package(),
        }
        if load == Load::Cargo {
            ready.before = paths(root);
        }
        ready
    }

    fn at(&self, name: &str) -> String {
        let path = self.root.join(name);
        path.to_str().unwrap().trim_end_matches('/').to_owned()
    }

    fn work(&mut self, job: &str, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.workers.push(Worker::new(job, &words));
    }

    fn program(&mut self, name: &str, words: &[&str]) -> &mut Command {
        let mut command = Command::new(name);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.programs.push(command);
        self.programs.last_mut().expect("it was put there above")
    }

    /// Processes of two names and two users, started by two others.
    fn cast(&mut self, ground: &Ground) {
        let stage = Stage::new(&self.root);
        let [first, second] = ["first", "second"].map(|name| stage.program(name));
        let scripts = [
            [&first, "make", &stage.file("first", "@"), "drop"].join("\t"),
            [
                &second,
                "setuid",
                "65534",
                "make",
                &stage.file("second", "@"),
                "drop",
            ]
            .join("\t"),
        ];
        let list = ground.dir.join("scripts");
        fs::write(&list, scripts.join("\n")).unwrap();
        let half = self.amount / 2;
        for from in [0, half] {
            let words = [
                list.to_str().unwrap().to_owned(),
                from.to_string(),
                half.to_string(),
            ];
            self.work("spawn", &words);
        }
    }

    /// A repository with two branches that differ in each of many files.
    fn repository(&mut self) {
        let root = self.root.clone();
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            git.current_dir(&root).args(words);
            for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
                git.env(format!("{name}_NAME"), "bench")
                    .env(format!("{name}_EMAIL"), "bench@localhost");
            }
            let done = git.output().unwrap();
            assert!(
                done.status.success(),
                "git {words:?}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        };
        git(&["init", "-q", "-b", "one"]);
        git(&["config", "gc.auto", "0"]);
        for branch in ["one", "two"] {
            if branch == "two" {
                git(&["checkout", "-q", "-b", "two"]);
            }
            for (dir, file) in git_files() {
                let dir = root.join(dir);
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join(&file), format!("{branch} {file}\n").repeat(40)).unwrap();
            }
            git(&["add", "."]);
            git(&["commit", "-q", "-m", branch]);
        }
        for round in 0..self.amount {
            let to = ["one", "two"][round % 2];
            self.program("git", &["checkout", "-q", to])
                .current_dir(&root);
        }
    }

    /// A small package without dependencies, with a build script.
    fn package(&mut self) {
        let root = self.root.clone();
        for dir in ["src", "scratch"] {
            fs::create_dir(root.join(dir)).unwrap();
        }
        let manifest = "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        fs::write(root.join("build.rs"), BUILD_SCRIPT).unwrap();
        let mut main = "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n".to_owned();
        for module in 0..20 {
            let text = format!("pub fn number() -> u32 {{ {module} * crate::FACTOR }}\n");
            fs::write(root.join(format!("src/part{module}.rs")), text).unwrap();
            main += &format!("mod part{module};\n");
        }
        let sum: Vec<_> = (0..20)
            .map(|module| format!("part{module}::number()"))
            .collect();
        main += &format!("fn main() {{ println!(\"{{}}\", {}); }}\n", sum.join(" + "));
        fs::write(root.join("src/main.rs"), main).unwrap();
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let command = self.program(&cargo, &["build", "--offline", "--jobs", "2"]);
        for (name, _) in std::env::vars().filter(|(name, _)| is_of_cargo(name)) {
            command.env_remove(name);
        }
        command
            .current_dir(&root)
            .env("CARGO_TARGET_DIR", root.join("target"))
            .env("TMPDIR", root.join("scratch"));
    }

    /// Lets all begin, and waits for their end.
    /// Without `pairs`, the log does not say the other side of a rename.
    pub(crate) fn go(self, pairs: bool) -> Done {
        let me = (std::process::id(), comm(std::process::id()));
        let mut listed = HashMap::new();
        let doer = |cmd: &str| Doer {
            cmd: cmd.to_owned(),
            user: "root",
            ppid: me.0,
        };
        let mut cpu = Duration::ZERO;
        let Self {
            load,
            root,
            amount,
            mut workers,
            programs,
            before,
        } = self;
        for worker in &mut workers {
            worker.go();
        }
        for worker in workers {
            listed.insert(worker.pid(), doer(&me.1));
            cpu += worker.end().1;
        }
        let mut eldest = 0;
        for mut program in programs {
            let name = Path::new(program.get_program())
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let child = program.spawn().unwrap();
            eldest = child.id();
            listed.insert(child.id(), doer(&name));
            let ended = child.wait4().unwrap();
            assert!(ended.status.success(), "{program:?}: {}", ended.status);
            cpu += ended.rusage.utime + ended.rusage.stime;
        }
        let at = Instant::now();
        let doers = match load {
            Load::Short => Doers::InNames,
            Load::Cargo => Doers::Family(eldest, COMPILERS.into_iter().collect()),
            _ => Doers::Listed(listed),
        };
        Done {
            cpu,
            at,
            expected: expected(load, &root, (amount, pairs), before),
            doers,
        }
    }
}

fn expected(
    load: Load,
    root: &Path,
    (amount, pairs): (usize, bool),
    before: BTreeSet<Vec<u8>>,
) -> Expected {
    let bytes = |path: PathBuf| path.as_os_str().as_bytes().to_vec();
    match load {
        Load::Churn => {
            let mut book = Actor::book(root);
            book.set_weak(false, !pairs);
            plans::churn(&mut book, root, amount);
            Expected::Book(book.truth())
        }
        Load::RmRf => {
            let mut truth = Truth::default();
            for number in 0..amount {
                let mut unread = Actor::book(Path::new("/nowhere"));
                let top = unread.known(root);
                let tree = plans::make(&mut unread, top, &format!("t{number}"));
                let mut book = Actor::book(root).numbered_from(number << 32);
                book.take_nodes(&unread);
                plans::remove(&mut book, &tree);
                truth.merge(book.truth());
            }
            Expected::Book(truth)
        }
        Load::Storm => {
            let mut truth = Truth::default();
            for worker in 0..amount {
                // What is watched is all of it, so that what is moved out and in is told as well.
                let mut book = Actor::book(root).numbered_from(worker << 32);
                book.set_weak(false, !pairs);
                plans::storm(
                    &mut book,
                    &root.join("in"),
                    &root.join("out"),
                    worker,
                    plans::STEPS,
                );
                truth.merge(book.truth());
            }
            Expected::Book(truth)
        }
        Load::Short => Expected::Deeds {
            made: bytes(root.join("made/")),
            files: amount,
            each: LIFE.len(),
        },
        Load::Flood | Load::FloodBig => Expected::Flood {
            root: bytes(root.to_owned()),
            workers: FLOODERS,
            files: amount,
            // Nothing is written into them.
            each: LIFE.len() - 1,
        },
        Load::Git => {
            let kinds = ["DELETE", "CREATE", "CLOSE_WRITE"];
            let files = git_files().map(|(dir, file)| bytes(root.join(dir).join(file)));
            let due =
                files.flat_map(|path| kinds.map(|kind| ((kind, path.clone()), amount as u32)));
            Expected::Known(due.collect(), bytes(root.join(".git/")))
        }
        Load::Tar => {
            // Its own times are set, too.
            let mut due = HashMap::from([(("CREATE", bytes(root.to_owned())), 0)]);
            for packed in before {
                let is_dir = packed.ends_with(b"/");
                // Joined name by name: without the slash at the end.
                let packed: PathBuf = root.join(os(&packed)).components().collect();
                let packed = bytes(packed);
                if !is_dir {
                    due.insert(("CLOSE_WRITE", packed.clone()), 1);
                }
                due.insert(("CREATE", packed), 1);
            }
            Expected::Known(due, b"/nowhere".to_vec())
        }
        Load::Cargo => {
            let mut after = paths(root);
            after.retain(|path| !contains(path, MARKER.as_bytes()));
            Expected::Replay(before, after)
        }
    }
}

/// All paths below a directory.
fn paths(dir: &Path) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            found.insert(entry.path().as_os_str().as_bytes().to_vec());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    found
}

/// The names below a directory; those of directories end with a slash.
fn packed(tree: &Path) -> BTreeSet<Vec<u8>> {
    let prefix = tree.as_os_str().len() + 1;
    let all = paths(tree).into_iter().map(|mut path| {
        if fs::symlink_metadata(os(&path)).unwrap().is_dir() {
            path.push(b'/');
        }
        path.split_off(prefix)
    });
    all.collect()
}

/// The sources of this package.
fn copy_sources(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir(to).unwrap();
    for part in ["src", "tests", "docs"] {
        sh(&["cp", "-r"], &[&from.join(part), to]);
    }
}

fn git_files() -> impl Iterator<Item = (String, String)> {
    (0..1500).map(|number| (format!("dir{}", number % 50), format!("file{number}")))
}

fn is_of_cargo(name: &str) -> bool {
    name.starts_with("CARGO") && name != "CARGO_HOME" || name == "RUSTFLAGS" || name == "RUSTC"
}

/// Processes of a flood.
const FLOODERS: usize = 4;
/// What cargo starts, and what that starts.
const COMPILERS: [&str; 10] = [
    "cargo",
    "rustc",
    "build-script-bu",
    "cc",
    "gcc",
    "collect2",
    "ld",
    "lld",
    "ld.lld",
    "rust-lld",
];
const BUILD_SCRIPT: &str = "fn main() {
    let out = std::env::var(\"OUT_DIR\").unwrap();
    std::fs::write(format!(\"{out}/made.rs\"), \"const FACTOR: u32 = 7;\").unwrap();
}
";
