//! The program whose processes say who they are, and the comparison of a log with what they say.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::ground::Ground;
use crate::lines::Line;

/// A user without a name.
pub(crate) const STRANGER: u32 = 54321;

/// The static program, compiled once.
fn compiled_deed() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("deed"))
}

/// A static program out of tests/kernel/programs.
pub(crate) fn compiled(name: &str) -> Vec<u8> {
    let ground = Ground::new();
    let out = ground.dir.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/programs");
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let done = Command::new(&compiler)
        .args(["--edition", "2024", "-O", "-C", "panic=abort"])
        .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .arg(source.join(format!("{name}.rs")))
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", compiler.display()));
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    fs::read(out).unwrap()
}

/// A directory of programs and one for what they make.
#[derive(Debug)]
pub(crate) struct Stage {
    programs: PathBuf,
    pub(crate) made: PathBuf,
}

impl Stage {
    /// Makes both below `root`; everybody may write into the second.
    pub(crate) fn new(root: &Path) -> Self {
        let stage = Self {
            programs: root.join("programs"),
            made: root.join("made"),
        };
        for dir in [&stage.programs, &stage.made] {
            fs::create_dir(dir).unwrap();
        }
        fs::set_permissions(&stage.made, fs::Permissions::from_mode(0o777)).unwrap();
        stage
    }

    /// The program under that name; its path.
    pub(crate) fn program(&self, name: &str) -> String {
        let path = self.programs.join(name);
        if fs::symlink_metadata(&path).is_err() {
            fs::write(&path, compiled_deed()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }

    /// The program under that name, which always runs as the stranger.
    pub(crate) fn set_user_id_program(&self, name: &str) -> String {
        let path = self.program(name);
        chown(&path, Some(STRANGER), None).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        path
    }

    /// A file of that sort, as the prefix of a name.
    pub(crate) fn file(&self, sort: &str, number: impl std::fmt::Display) -> String {
        format!("{}/{sort}.{number}", self.made.display())
    }
}

/// The chain of a living process, as far as /proc tells it.
pub(crate) fn chain_of(mut pid: u32) -> String {
    let mut chain = String::new();
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        let after = stat.rsplit_once(") ").unwrap().1;
        write!(chain, "{pid}|{}|root", comm.trim_end()).unwrap();
        if pid == 1 {
            return chain;
        }
        chain.push(';');
        pid = after.split(' ').nth(1).unwrap().parse().unwrap();
    }
}

/// What is known beforehand of the process that makes a sort of file.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    pub(crate) cmd: &'static str,
    /// Path of its program.
    pub(crate) exe: String,
    /// Comms of its ancestors, its parent first, up to the one that ends the known chain.
    pub(crate) above: Vec<&'static str>,
    /// The chain of the process that started all.
    pub(crate) root: String,
    /// The other name that an ambiguous line may give; without it, any.
    pub(crate) or: Option<&'static str>,
}

/// How the lines fare in one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) right: usize,
    pub(crate) ambiguous: usize,
    pub(crate) unknown: usize,
    pub(crate) wrong: usize,
}

/// The table of all fields.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    fields: [Tally; FIELDS.len()],
    wrong: Vec<String>,
    /// What is not exact, by sort and kind.
    doubtful: BTreeMap<String, usize>,
    /// How often each file was told of, by kind.
    told: HashMap<(String, &'static str), usize>,
}

const FIELDS: [&str; 7] = ["pid", "tgid", "ppid", "cmd", "user", "exe", "chain"];

impl Verdict {
    /// Holds every line against the name of its file; each of `casts` knows the makers of one worker.
    pub(crate) fn of<'a>(
        lines: impl IntoIterator<Item = &'a Line>,
        stage: &Stage,
        casts: &[HashMap<&'static str, Maker>],
    ) -> Self {
        let mut verdict = Self::default();
        let prefix = format!("{}/", stage.made.display());
        for line in lines {
            let path = String::from_utf8(line.path.clone()).unwrap();
            let Some(name) = path.strip_prefix(&prefix) else {
                continue;
            };
            let words: Vec<&str> = name.split('.').collect();
            let [sort, number, pid, parent, euid] = words[..] else {
                panic!("'{name}' is not the name of a deed");
            };
            let own = casts
                .iter()
                .find(|cast| cast.values().any(|maker| line.chain.ends_with(&maker.root)))
                .unwrap_or(&casts[0]);
            let maker = own.get(sort).unwrap_or_else(|| panic!("who makes {sort}?"));
            *verdict
                .told
                .entry((format!("{sort}.{number}"), line.kind))
                .or_default() += 1;
            if !line.attribution.is_empty() {
                let what = format!(
                    "{} {} of {sort} by {}",
                    line.attribution, line.kind, line.cmd
                );
                *verdict.doubtful.entry(what).or_default() += 1;
            }
            verdict.judge(line, maker, [pid, parent, euid]);
        }
        verdict
    }

    fn judge(&mut self, line: &Line, maker: &Maker, [pid, parent, euid]: [&str; 3]) {
        let user = if euid == "0" { "root" } else { euid };
        let right = [
            line.pid.to_string() == pid,
            line.tgid.to_string() == pid,
            line.ppid.to_string() == parent,
            line.cmd == maker.cmd,
            line.user == user,
            line.exe == maker.exe,
            maker.has_chain(line, [pid, parent, user]),
        ];
        for ((field, name), right) in self.fields.iter_mut().zip(FIELDS).zip(right) {
            let is_other = name == "cmd" && maker.or.is_some_and(|or| !right && line.cmd != or);
            match line.attribution.as_str() {
                "ambiguous" if !is_other => field.ambiguous += 1,
                "unknown" => field.unknown += 1,
                _ if right => field.right += 1,
                attribution => {
                    field.wrong += 1;
                    let text = format!(
                        "{name} {attribution}: {} ppid {} exe {} chain {}",
                        line.show(),
                        line.ppid,
                        line.exe,
                        line.chain
                    );
                    self.wrong.push(text);
                }
            }
        }
    }

    /// The worst of all fields.
    pub(crate) fn worst(&self) -> Tally {
        let mut worst = Tally {
            right: usize::MAX,
            ..Tally::default()
        };
        for field in self.fields {
            worst.right = worst.right.min(field.right);
            worst.ambiguous = worst.ambiguous.max(field.ambiguous);
            worst.unknown = worst.unknown.max(field.unknown);
            worst.wrong = worst.wrong.max(field.wrong);
        }
        worst
    }

    pub(crate) fn print(&self, title: &str) {
        println!("{title}");
        println!(
            "  {:<6} {:>8} {:>10} {:>8} {:>6}",
            "", "right", "ambiguous", "unknown", "wrong"
        );
        for (name, field) in FIELDS.iter().zip(self.fields) {
            let Tally {
                right,
                ambiguous,
                unknown,
                wrong,
            } = field;
            println!("  {name:<6} {right:>8} {ambiguous:>10} {unknown:>8} {wrong:>6}");
        }
    }

    /// Panics when one line blames the wrong process without saying that it may.
    pub(crate) fn check_never_wrong(&self) {
        let first: Vec<&String> = self.wrong.iter().take(12).collect();
        assert!(
            self.wrong.is_empty(),
            "{} fields are wrong, the first: {first:#?}",
            self.wrong.len()
        );
    }

    /// Panics when one line is not exact and right.
    pub(crate) fn check_all_right(&self) {
        self.check_never_wrong();
        let worst = self.worst();
        let doubtful = &self.doubtful;
        assert_eq!((worst.ambiguous, worst.unknown), (0, 0), "{doubtful:#?}");
    }

    /// Panics unless each of `sort.0` to `sort.count - 1` was told once as `kind`.
    pub(crate) fn check_told(&self, sort: &str, kind: &'static str, count: usize) {
        let odd: Vec<_> = (0..count)
            .map(|number| format!("{sort}.{number}"))
            .filter(|name| self.told.get(&(name.clone(), kind)) != Some(&1))
            .take(12)
            .collect();
        assert!(odd.is_empty(), "not told exactly once as {kind}: {odd:?}");
        let all = self.told.keys().filter(|(name, told)| {
            *told == kind && name.split_once('.').is_some_and(|(known, _)| known == sort)
        });
        assert_eq!(all.count(), count, "files of sort {sort} as {kind}");
    }
}

impl Maker {
    fn has_chain(&self, line: &Line, [pid, parent, user]: [&str; 3]) -> bool {
        let Some(above) = line
            .chain
            .strip_prefix(&format!("{pid}|{}|{user};", escaped(self.cmd)))
        else {
            return false;
        };
        let Some(known) = above.strip_suffix(&self.root) else {
            return false;
        };
        let links: Vec<&str> = known.split_terminator(';').collect();
        let comms = links.iter().map(|link| link.split('|').nth(1));
        let expected = self.above.iter().map(|comm| Some(escaped(comm)));
        let first = links.first().map(|link| link.split('|').next().unwrap());
        comms.map(|comm| comm.map(str::to_owned)).eq(expected)
            && first.is_none_or(|first| first == parent)
            && (first.is_some() || self.root.starts_with(&format!("{parent}|")))
    }
}

/// A comm as it stands in a chain.
fn escaped(comm: &str) -> String {
    comm.chars()
        .map(|c| match c {
            '|' | ';' | '\\' | '\0'..='\x1f' | '\x7f' => format!("\\x{:02x}", u32::from(c)),
            _ => c.to_string(),
        })
        .collect()
}
