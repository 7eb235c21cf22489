//! The daemon as a service: under the restrictions of docs/fsmon.service, with a manager that listens, and with
//! logrotate at its logs.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::Suite;
use crate::actor::Actor;
use crate::alerts::write_policy;
use crate::churn;
use crate::ground::{Fs, Ground, sh};
use crate::lines::{self, Line};
use crate::recorder::{Home, Recorder};
use crate::unit::{TOOLS, Unit, within};
use crate::wait::{PATIENCE, until};
use crate::workers::{Worker, together};

pub(crate) fn list(suite: &mut Suite) {
    suite.tools("service_as_it_is_restricted", &TOOLS, || {
        restricted(Fs::Tmpfs)
    });
    // Its mark takes a mount of its own that nobody sees.
    let tools = [&TOOLS[..], &["mkfs.btrfs"]].concat();
    suite.tools("service_on_a_subvolume", &tools, || restricted(Fs::Subvol));
    suite.tools("log_rotated_by_logrotate", &["logrotate"], rotated);
}

const FILES: usize = 2000;

/// The manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next it is told: what, and in which words.
    fn hears(&self, what: &str) -> String {
        let mut room = [0; 1000];
        let count = self.0.recv(&mut room).expect(what);
        let told = String::from_utf8(room[..count].to_vec()).unwrap();
        assert_eq!(told.lines().next(), Some(what));
        let status = told.lines().find_map(|line| line.strip_prefix("STATUS="));
        status.unwrap_or_else(|| panic!("{told}")).to_owned()
    }
}

fn restricted(kind: Fs) {
    let unit = Unit::read();
    assert_eq!(
        (unit.value("Type"), unit.value("ExecStart")),
        ("notify", "fsmon daemon")
    );
    assert_eq!(unit.value("ExecReload"), "kill -HUP $MAINPID");
    let ground = Ground::new();
    let root = ground.mount(kind);
    // As systemd has all mounts of the host: what is mounted later is seen in namespaces, too.
    sh(&["mount", "--make-shared"], &[&root]);
    for dir in ["churn", "protected", "rest"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    fs::write(root.join("canary"), "").unwrap();
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    home.watch("touch", &root, &["-r"]);
    let (policy, manager) = (hook(&home, &root), Manager::new(&home.dir.join("notify")));
    let mut daemon = home.surround(unit.confined(&ground, &[&root.join("protected")]));
    daemon.env("NOTIFY_SOCKET", home.dir.join("notify"));
    daemon
        .args([env!("CARGO_BIN_EXE_fsmon"), "daemon", "--policy"])
        .arg(policy);
    let mut recorder = Recorder::start(&home, daemon);
    assert_eq!(manager.hears("READY=1"), "Recording");
    check_in_force(&unit, &recorder);

    let work = root.join("churn");
    together(vec![Worker::new(
        "churn",
        &[work.to_str().unwrap(), &FILES.to_string()],
    )]);
    let late = ["protected/late", "rest/late"].map(|dir| mounted_later(&recorder, &root.join(dir)));
    let touched = Command::new("touch")
        .args(late.iter().map(|dir| dir.join("x")))
        .uid(99)
        .status();
    assert!(touched.unwrap().success());
    File::open(root.join("canary")).unwrap();
    for dir in &late {
        recorder.settle("_global", dir);
    }
    recorder.signal(Signal::HUP);
    assert_ne!(manager.hears("RELOADING=1"), "Recording");
    assert_eq!(manager.hears("READY=1"), "Recording");
    let hook = until(PATIENCE, || home.journal_of("HOOK").pop()).expect("the hook's end");
    check_hook(&hook);
    recorder.settle("_global", &root);
    let said = recorder.stop();
    let complaints: Vec<_> = said.into_iter().filter(|line| is_complaint(line)).collect();
    assert_ne!(manager.hears("STOPPING=1"), "Recording");
    assert_eq!(complaints, Vec::<String>::new());

    let mut actor = Actor::book(&work);
    churn::plan(&mut actor, &work, FILES);
    let lead = format!("{}/", work.display());
    let mut lines = home.log("_global");
    let others = lines.extract_if(.., |line| !line.path.starts_with(lead.as_bytes()));
    let others: Vec<_> = others.collect();
    actor.truth().check(&lines);
    for dir in &late {
        let file = dir.join("x");
        for lines in [&others, &home.log("touch")] {
            check_touched(lines, &file);
        }
    }
}

fn is_complaint(line: &str) -> bool {
    line.contains("warning: ") || line.contains("error: ")
}

/// A filesystem that comes while the daemon runs; it says when it has seen it.
fn mounted_later(recorder: &Recorder, dir: &Path) -> PathBuf {
    fs::create_dir(dir).unwrap();
    sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[dir]);
    let told = format!("'{}' (tmpfs) is watched", dir.display());
    recorder.says(&told);
    dir.to_owned()
}

fn check_touched(lines: &[Line], file: &Path) {
    let path = file.to_str().unwrap().as_bytes();
    let made = lines
        .iter()
        .find(|line| line.kind == "CREATE" && line.path == path);
    let made = made.unwrap_or_else(|| panic!("no CREATE of {}", file.display()));
    let who = (
        made.cmd.as_str(),
        made.user.as_str(),
        made.attribution.as_str(),
    );
    assert_eq!(who, ("touch", "99", ""), "{}", made.show());
}

/// The restrictions are those of the process, not only those of the page.
fn check_in_force(unit: &Unit, recorder: &Recorder) {
    let status = fs::read_to_string(format!("/proc/{}/status", recorder.pid())).unwrap();
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.expect(key).trim().to_owned()
    };
    assert_eq!(
        (value("NoNewPrivs:"), value("Seccomp:")),
        ("1".into(), "2".into())
    );
    // What it does not need beyond the start it has given up by itself.
    let kept = [
        "SYS_ADMIN",
        "DAC_READ_SEARCH",
        "SYS_PTRACE",
        "SETUID",
        "SETGID",
        "DAC_OVERRIDE",
    ];
    let kept = [&kept[..], &["KILL"]]
        .concat()
        .into_iter()
        .map(|name| format!("CAP_{name}"));
    let mut given = unit.capabilities();
    given.retain(|name| !["CAP_NET_ADMIN", "CAP_SETPCAP"].contains(&name.as_str()));
    assert_eq!(sorted(given), sorted(kept.collect()));
    let bits = 1 << 21 | 1 << 2 | 1 << 19 | 1 << 7 | 1 << 6 | 1 << 1 | 1 << 5;
    assert_eq!(u64::from_str_radix(&value("CapBnd:"), 16), Ok(bits));
    for file in ["/usr/fsmon-test", "/etc/fsmon-test"] {
        let done = within(recorder.pid(), &["touch", file]).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("Read-only file system"), "{said}");
        assert!(fs::metadata(file).is_err(), "{file}");
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// A rule whose hook says what it finds, and tries what is forbidden.
fn hook(home: &Home, root: &Path) -> PathBuf {
    let script = "env; grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status; \
                  unshare --mount true && echo unshared; touch /usr/fsmon-test && echo written; \
                  mount -t tmpfs none /mnt && echo mounted; true";
    let rule = format!(
        "[[rule]]\nname = \"canary\"\nkind = \"canary\"\npaths = \"@/canary\"\non = \"opened\"\n\
         hook = [\"/bin/sh\", \"-c\", \"{script}\"]\n"
    );
    write_policy(home, root, &rule)
}

fn check_hook(ended: &Value) {
    assert_eq!(ended["ended"], "exit 0", "{ended}");
    let output = ended["output"].as_str().unwrap();
    assert!(!output.contains("NOTIFY_SOCKET"), "{output}");
    assert!(output.contains("FAN_KIND=canary"), "{output}");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t00000000002800e6"] {
        assert!(output.contains(line), "{line}: {output}");
    }
    for refused in ["unshare: ", "Read-only file system", "mount: "] {
        assert!(output.contains(refused), "{refused}: {output}");
    }
    for done in ["unshared", "written", "mounted"] {
        assert!(!output.lines().any(|line| line == done), "{output}");
    }
}

/// The example puts the log aside in the middle of the work, without a word to the daemon; each line is in one of
/// the files, in its place.
fn rotated() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fsmon.logrotate");
    let example = fs::read_to_string(example).unwrap();
    let logs = home.log_dir();
    let config = example.replace("/root/.local/state/fsmon", logs.to_str().unwrap());
    assert_ne!(config, example);
    fs::write(home.dir.join("logrotate.conf"), config).unwrap();
    let mut worker = Worker::new("churn", &[root.to_str().unwrap(), &FILES.to_string()]);
    worker.go();
    for round in 0..4 {
        // Not yet rotated: there is a log again, and lines in it.
        let has_lines = || fs::metadata(home.log_path("_global")).is_ok_and(|log| log.len() > 0);
        assert!(
            until(PATIENCE, || has_lines().then_some(())).is_some(),
            "{round}"
        );
        let state = home.dir.join("logrotate.state");
        let config = home.dir.join("logrotate.conf");
        sh(&["logrotate", "--force", "--state"], &[&state, &config]);
        fs::write(root.join(format!("round-{round}")), "").unwrap();
    }
    worker.finish();
    recorder.settle("_global", &root);
    recorder.stop();

    let mut text = Vec::new();
    for number in (1..=4).rev() {
        let name = format!("_global_log.jsonl.{number}");
        let packed = logs.join(format!("{name}.gz"));
        if number == 1 {
            text.extend(fs::read(logs.join(name)).unwrap());
        } else {
            let done = Command::new("zcat").arg(&packed).output().unwrap();
            assert!(done.status.success(), "{}", packed.display());
            text.extend(done.stdout);
        }
    }
    text.extend(fs::read(home.log_path("_global")).unwrap());
    let mut lines = lines::parse(&text);
    lines.retain(|line| !line.path.windows(7).any(|part| part == b"/round-"));
    let mut actor = Actor::book(&root);
    churn::plan(&mut actor, &root, FILES);
    actor.truth().check(&lines);
}
