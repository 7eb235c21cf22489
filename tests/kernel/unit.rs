//! docs/fsmon.service, and a command under the same restrictions where no service manager runs.
//!
//! What the manager does with each line is done by hand here: mounts and a uts namespace by unshare, the
//! capabilities by setpriv, filters of system calls by programs/confine.rs. A line that nobody here knows
//! fails the test, so the page and what was tried cannot drift apart.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::deeds::compiled;
use crate::ground::Ground;

/// What is needed to apply it.
pub(crate) const TOOLS: [&str; 4] = ["unshare", "setpriv", "systemd-analyze", "cc"];

/// The lines of its section [Service].
pub(crate) struct Unit(Vec<(String, String)>);

/// What its lines mean.
#[derive(Default)]
struct Restrictions {
    capabilities: Vec<String>,
    families: Vec<String>,
    calls: Vec<String>,
    /// Rules for confine, with the names of calls.
    rules: Vec<String>,
    /// Shell commands within the mount namespace.
    mounts: String,
    own_hostname: bool,
    no_new_privileges: bool,
}

impl Unit {
    pub(crate) fn read() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fsmon.service");
        let text = fs::read_to_string(file).unwrap();
        let section = text.split("\n[").find(|part| part.starts_with("Service]"));
        let lines = section.expect("it has a section [Service]").lines().skip(1);
        let lines = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let pair = |line: &str| {
            let (key, value) = line.split_once('=').expect("KEY=VALUE");
            (key.to_owned(), value.to_owned())
        };
        Self(lines.map(pair).collect())
    }

    /// The value of a line that is there once.
    pub(crate) fn value(&self, key: &str) -> &str {
        let mut values = self.0.iter().filter(|(name, _)| name == key);
        let (_, value) = values.next().expect(key);
        assert!(values.next().is_none(), "{key} is there twice");
        value
    }

    /// The capabilities that it may have.
    pub(crate) fn capabilities(&self) -> Vec<String> {
        self.restrictions().capabilities
    }

    fn restrictions(&self) -> Restrictions {
        let mut all = Restrictions::default();
        for (key, value) in &self.0 {
            let words = || value.split_whitespace().map(str::to_owned);
            match (key.as_str(), value.as_str()) {
                // What the manager itself does about the daemon.
                (
                    "Type" | "ExecStart" | "ExecReload" | "Restart" | "RestartPreventExitStatus",
                    _,
                )
                | ("TimeoutStartSec" | "KillMode" | "OOMPolicy", _) => {}
                ("CapabilityBoundingSet", _) => all.capabilities.extend(words()),
                ("RestrictAddressFamilies", _) => all.families.extend(words()),
                ("SystemCallFilter", _) => all.calls.extend(words()),
                ("NoNewPrivileges", "yes") => all.no_new_privileges = true,
                ("ProtectHostname", "yes") => all.own_hostname = true,
                // Both are part of the filter, or what it does anyway.
                ("SystemCallArchitectures", "native") | ("SystemCallErrorNumber", "EPERM") => {}
                ("PrivateMounts", "yes") => {}
                ("ProtectSystem", "full") => all.read_only(&["/usr", "/boot", "/efi", "/etc"]),
                ("ProtectControlGroups", "yes") => all.read_only(&["/sys/fs/cgroup"]),
                ("ProtectKernelTunables", "yes") => {
                    all.read_only(&["/sys", "/proc/sys", "/proc/acpi", "/proc/bus", "/proc/fs"]);
                    all.read_only(&["/proc/irq", "/proc/mtrr", "/proc/sysrq-trigger"]);
                    all.out_of_reach(&["/proc/kallsyms", "/proc/kcore"]);
                }
                ("ProtectKernelLogs", "yes") => all.out_of_reach(&["/dev/kmsg", "/proc/kmsg"]),
                (key, "yes") => all.rules.extend(rules_of(key)),
                _ => panic!("docs/fsmon.service: nobody here knows what {key}={value} does"),
            }
        }
        all
    }

    /// A command under all of it, with some more directories that nobody in it may write to.
    pub(crate) fn confined(&self, ground: &Ground, read_only: &[&Path]) -> Command {
        let mut all = self.restrictions();
        let more: Vec<_> = read_only.iter().map(|dir| dir.to_str().unwrap()).collect();
        all.read_only(&more);
        let confine = ground.dir.join("confine");
        fs::write(&confine, compiled("confine")).unwrap();
        fs::set_permissions(&confine, fs::Permissions::from_mode(0o755)).unwrap();
        let rules = ground.dir.join("confine.rules");
        fs::write(&rules, all.rules()).unwrap();
        let blocked = ground.dir.join("out-of-reach");
        fs::write(&blocked, "").unwrap();
        fs::set_permissions(&blocked, fs::Permissions::from_mode(0o000)).unwrap();
        let mut bounding = "-all".to_owned();
        for name in &all.capabilities {
            let name = name.strip_prefix("CAP_").expect(name).to_lowercase();
            write!(bounding, ",+{name}").unwrap();
        }
        let script = format!(
            "set -e\nblocked={}\n{SHELL}{}\nexec setpriv --bounding-set {bounding} {} {} {} \"$@\"",
            blocked.display(),
            all.mounts,
            if all.no_new_privileges {
                "--no-new-privs"
            } else {
                ""
            },
            confine.display(),
            rules.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave"]);
        if all.own_hostname {
            command.arg("--uts");
        }
        command.args(["sh", "-c", &script, "confined"]);
        command
    }
}

/// What the script of the mount namespace does.
const SHELL: &str = "\
read_only() { [ ! -e $1 ] || { mount --rbind $1 $1; mount -o remount,bind,ro $1; }; }
out_of_reach() { [ ! -e $1 ] || mount --bind $blocked $1; }
";

impl Restrictions {
    fn read_only(&mut self, places: &[&str]) {
        for place in places {
            writeln!(self.mounts, "read_only '{place}'").unwrap();
        }
    }

    fn out_of_reach(&mut self, places: &[&str]) {
        for place in places {
            writeln!(self.mounts, "out_of_reach '{place}'").unwrap();
        }
    }

    /// All that confine is to do; calls that this architecture does not have are left out.
    fn rules(&self) -> String {
        let mut names = Vec::new();
        for word in &self.calls {
            members(word, &mut names);
        }
        let mut asked = names.clone();
        asked.extend(["socket".to_owned()]);
        asked.extend(
            self.rules
                .iter()
                .map(|rule| rule.split(' ').nth(1).unwrap().to_owned()),
        );
        let numbers = numbers("sys/syscall.h", "SYS_", &asked);
        let families = numbers_of_families(&self.families);
        let mut text = String::new();
        for rule in &self.rules {
            let (kind, rest) = rule.split_once(' ').unwrap();
            let (name, rest) = rest.split_once(' ').unwrap();
            if let Some(number) = numbers.get(name) {
                writeln!(text, "{kind} {number} {rest}").unwrap();
            }
        }
        writeln!(
            text,
            "only {} 0 {EAFNOSUPPORT}{families}",
            numbers["socket"]
        )
        .unwrap();
        let allowed = names.iter().filter_map(|name| numbers.get(name));
        let allowed: Vec<_> = allowed.map(u32::to_string).collect();
        writeln!(text, "allow {}", allowed.join(" ")).unwrap();
        text
    }
}

/// systemd.exec(5) says which calls each of these refuses.
fn rules_of(key: &str) -> Vec<String> {
    let spaces = |call: &str, arg: u32, errno: u32| -> Vec<String> {
        let flags = [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000];
        let flags = flags
            .into_iter()
            .chain([0x1000_0000, 0x2000_0000, 0x4000_0000]);
        let rule = |flag| format!("refuse {call} {arg} {flag} {flag} {errno}");
        flags.map(rule).collect()
    };
    match key {
        "LockPersonality" => vec![format!("only personality 0 {EPERM} 0 4294967295")],
        "MemoryDenyWriteExecute" => vec![
            format!("refuse mmap 2 6 6 {EPERM}"),
            format!("refuse mprotect 2 4 4 {EPERM}"),
            format!("refuse pkey_mprotect 2 4 4 {EPERM}"),
            format!("refuse shmat 2 32768 32768 {EPERM}"),
        ],
        // All but SCHED_OTHER, SCHED_BATCH and SCHED_IDLE.
        "RestrictRealtime" => vec![format!("only sched_setscheduler 1 {EPERM} 0 3 5")],
        "RestrictNamespaces" => {
            let mut rules = spaces("clone", 0, EPERM);
            rules.extend(spaces("unshare", 0, EPERM));
            rules.extend(spaces("setns", 1, EPERM));
            rules.push(format!("refuse setns 1 4294967295 0 {EPERM}"));
            // Its flags stand in memory, where no filter can look; C libraries go back to clone.
            rules.push(format!("refuse clone3 0 0 0 {ENOSYS}"));
            rules
        }
        _ => panic!("docs/fsmon.service: nobody here knows what {key} does"),
    }
}

/// The calls in a set, also in sets within it; a name is itself.
fn members(word: &str, names: &mut Vec<String>) {
    if !word.starts_with('@') {
        names.push(word.to_owned());
        return;
    }
    let done = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager", word])
        .output()
        .unwrap();
    assert!(done.status.success(), "{word}");
    let text = String::from_utf8(done.stdout).unwrap();
    for line in text.lines().filter(|line| line.starts_with(' ')) {
        let line = line.trim();
        if !line.starts_with('#') {
            members(line, names);
        }
    }
}

/// What the C headers say these constants are.
fn numbers(header: &str, lead: &str, names: &[String]) -> BTreeMap<String, u32> {
    let mut source = format!("#include <{header}>\n");
    for name in names {
        writeln!(source, "\"{name}\" {lead}{name}").unwrap();
    }
    let mut child = Command::new("cc")
        .args(["-E", "-P", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "cc -E");
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix('"')?.split_once("\" "))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn numbers_of_families(names: &[String]) -> String {
    let numbers = [
        ("AF_UNIX", 1),
        ("AF_INET", 2),
        ("AF_INET6", 10),
        ("AF_NETLINK", 16),
    ];
    let number = |name: &String| {
        numbers
            .iter()
            .find(|(known, _)| known == name)
            .expect(name)
            .1
    };
    names
        .iter()
        .map(|name| format!(" {}", number(name)))
        .collect()
}

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// Runs something in the mount namespace of a process.
pub(crate) fn within<S: AsRef<OsStr>>(pid: u32, words: &[S]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--mount", "--target", &pid.to_string()])
        .args(words);
    command
}
