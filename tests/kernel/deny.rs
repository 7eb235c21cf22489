//! Rules that refuse opens, with the real daemon.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::Suite;
use crate::gate::cost::cost;
use crate::ground::{Fs, Ground, sh, unmount};
use crate::recorder::{Home, Recorder};
use crate::wait::{PATIENCE, let_pass, until};

pub(crate) fn list(suite: &mut Suite) {
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "deny_refuses_exactly_what_is_meant", exactly);
    }
    suite.alone("deny_costs_others_little", &["mount"], costs_others_little);
    suite.one("deny_ends_with_the_daemon", ends_with_the_daemon);
    suite.one("deny_follows_a_reload", follows_a_reload);
    suite.one("deny_follows_mounts", follows_mounts);
}

/// The files that are opened: where, and which rule is about them.
const FILES: [(&str, Option<&str>); 7] = [
    ("kept/secret", Some("locked")),
    ("kept/deep/er/secret", Some("locked")),
    ("kept/open", None),
    ("keys/one", Some("keys")),
    ("private/one", Some("private")),
    ("private/public", None),
    ("open", None),
];
const OPENS: usize = 2_000;

/// Opens files in a seeded order; prints how often each was refused and how often it was not.
pub(crate) fn work(root: &Path, seed: usize) {
    let mut counts = [[0_usize; 2]; FILES.len()];
    let mut state = seed as u64;
    for _ in 0..OPENS {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % FILES.len();
        match File::open(root.join(FILES[at].0)) {
            Ok(_) => counts[at][0] += 1,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(1), "{error}");
                counts[at][1] += 1;
            }
        }
    }
    println!("{}", serde_json::to_string(&counts).unwrap());
}

/// Starts another program that does the work, and goes: the worker's parent is dead then.
pub(crate) fn leave(program: &str, root: &Path, seed: &str) {
    let mut child = Command::new(program);
    child
        .env("FSMON_KERNEL_WORKER", "denied")
        .arg(root)
        .arg(seed);
    #[expect(clippy::zombie_processes, reason = "that it outlives us is the point")]
    child.spawn().unwrap();
}

fn policy(root: &Path) -> String {
    let root = root.display();
    format!(
        "[[rule]]\nname = \"locked\"\nkind = \"canary\"\npaths = [\"{root}/kept/**/secret\"]\non = [\"opened\"]\ndeny = true\n\
         [[rule]]\nname = \"keys\"\nkind = \"secret\"\npaths = [\"{root}/keys/*\"]\ncmd = \"thief\"\ndeny = true\n\
         [[rule]]\nname = \"private\"\nkind = \"secret\"\npaths = [\"{root}/private/one\"]\nuser = \"65534\"\ndeny = true\n"
    )
}

struct Scene {
    ground: Ground,
    root: PathBuf,
    home: Home,
    policy: PathBuf,
}

impl Scene {
    fn set(kind: Fs) -> Self {
        let ground = Ground::new();
        let root = ground.mount(kind);
        for (path, _) in FILES {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let home = Home::new(&ground);
        home.watch("_global", &root, &["-r"]);
        let file = ground.dir.join("policy.toml");
        fs::write(&file, policy(&root)).unwrap();
        for dir in [&ground.dir, &root] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self {
            ground,
            root,
            home,
            policy: file,
        }
    }

    fn start(&self) -> Recorder {
        self.home
            .start_with(&["--policy", self.policy.to_str().unwrap()])
    }
}

/// A process that works; `job` is what it is to do first.
fn start(program: &Path, job: &str, words: &[&str], uid: u32) -> Child {
    let mut command = Command::new(program);
    command.env("FSMON_KERNEL_WORKER", job).args(words).uid(uid);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Two lines: one for each process that is a worker.
    child.stdin.take().unwrap().write_all(b"\n\n").unwrap();
    child
}

fn exactly(kind: Fs) {
    let scene = Scene::set(kind);
    let mut recorder = scene.start();
    let plain = scene.ground.dir.join("plain");
    let thief = scene.ground.dir.join("thief");
    for copy in [&plain, &thief] {
        fs::copy(std::env::current_exe().unwrap(), copy).unwrap();
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let root = scene.root.to_str().unwrap();
    let orphan = ["leave", plain.to_str().unwrap(), root, "4"];
    // Who, and which rules are about him.
    let cast = [
        (start(&plain, "denied", &[root, "1"], 0), &["locked"][..]),
        (
            start(&thief, "denied", &[root, "2"], 0),
            &["locked", "keys"],
        ),
        (
            start(&plain, "denied", &[root, "3"], 65534),
            &["locked", "private"],
        ),
        (
            start(&thief, orphan[0], &orphan[1..], 0),
            &["locked", "keys"],
        ),
        (
            start(&thief, "denied", &[root, "5"], 65534),
            &["locked", "keys", "private"],
        ),
    ];
    let mut refused = 0;
    for (mut actor, rules) in cast {
        let mut text = String::new();
        actor
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(actor.wait().unwrap().success());
        let line = text.lines().find(|line| line.starts_with('['));
        let counts: Vec<[usize; 2]> = serde_json::from_str(line.expect(&text)).unwrap();
        for ((path, rule), [opened, denied]) in FILES.iter().zip(counts) {
            let is_meant = rule.is_some_and(|rule| rules.contains(&rule));
            let wrong = if is_meant { opened } else { denied };
            assert_eq!(
                wrong, 0,
                "{path} by one of {rules:?}: {opened} opened, {denied} refused"
            );
            refused += denied;
        }
    }
    assert!(refused > OPENS, "{refused}");
    recorder.settle("_global", &scene.root);
    let said = recorder.stop();
    assert!(
        !said.iter().any(|line| line.contains("could open")),
        "{said:?}"
    );
    assert_eq!(
        alerts(&scene.home),
        [
            "keys plain",
            "keys thief",
            "keys thief",
            "locked plain",
            "locked plain",
            "locked plain",
            "locked thief",
            "locked thief",
            "private plain",
            "private thief",
        ]
    );
}

/// Rule and process of each alert. The cooldown silences repeats: there is one for each process and rule.
fn alerts(home: &Home) -> Vec<String> {
    let log = fs::read_to_string(home.log_path("_alerts")).unwrap();
    let of = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["decision"], &line["event_type"]),
            (&"deny".into(), &"OPEN".into())
        );
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        format!("{} {}", text("rule"), text("cmd"))
    };
    let mut told: Vec<String> = log.lines().map(of).collect();
    told.sort();
    told
}

/// Openings elsewhere on the same filesystem cost less than a microsecond more, whatever a rule refuses.
fn costs_others_little() {
    const TIMES: usize = 100_000;
    let scene = Scene::set(Fs::Tmpfs);
    let elsewhere = scene.root.join("open");
    let secret = scene.root.join("kept/secret");
    let rules = policy(&scene.root).replace("cooldown", "# cooldown");
    fs::write(&scene.policy, rules).unwrap();
    let (mut without, mut with, mut refused) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..3 {
        without = without.min(cost(&elsewhere, TIMES));
        let recorder = scene.start();
        with = with.min(cost(&elsewhere, TIMES));
        refused = refused.min(cost(&secret, TIMES / 50));
        recorder.stop();
    }
    println!(
        "open and close, CPU us: {without:.3} without the daemon, {with:.3} with a rule for other files; {refused:.1} when refused"
    );
    assert!(with - without < 1.0, "{with} against {without}");
}

/// Those who wait pass when the daemon is killed, and nothing is refused any more.
fn ends_with_the_daemon() {
    let scene = Scene::set(Fs::Tmpfs);
    let recorder = scene.start();
    let secret = scene.root.join("kept/secret");
    assert!(File::open(&secret).is_err());
    recorder.halt();
    let mut waiting: Vec<Child> = (0..8)
        .map(|_| {
            let mut cat = Command::new("cat");
            cat.arg(&secret).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    // With the daemon stopped none of them can get on.
    let_pass(Duration::from_millis(300));
    assert!(
        waiting
            .iter_mut()
            .all(|cat| cat.try_wait().unwrap().is_none())
    );
    recorder.kill();
    for cat in &mut waiting {
        let status = until(PATIENCE, || cat.try_wait().unwrap());
        assert!(status.expect("it hangs").success());
    }
    File::open(&secret).unwrap();
}

/// What is mounted later is guarded, too, and what was mounted over is again when that goes.
fn follows_mounts() {
    let scene = Scene::set(Fs::Tmpfs);
    let recorder = scene.start();
    let below = scene.root.join("kept/mnt");
    fs::create_dir(&below).unwrap();
    let is_refused = |path: &Path| {
        let refused = until(PATIENCE, || File::open(path).is_err().then_some(()));
        assert!(refused.is_some(), "{}: {}", path.display(), recorder.said());
    };
    for _ in 0..2 {
        sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[&below]);
        fs::create_dir(below.join("d")).unwrap();
        fs::write(below.join("d/open"), "x").unwrap();
        // Made elsewhere, so that nothing tells of it but the mount.
        let aside = scene
            .ground
            .directory(&format!("aside{}", below.read_dir().unwrap().count()));
        sh(&["mount", "-t", "tmpfs", "fsmon-test"], &[&aside]);
        fs::write(aside.join("secret"), "x").unwrap();
        sh(&["mount", "--bind"], &[&aside, &below.join("d")]);
        is_refused(&below.join("d/secret"));
        File::open(scene.root.join("open")).unwrap();
        unmount(&below.join("d"));
        unmount(&aside);
        fs::remove_dir(&aside).unwrap();
        unmount(&below);
        is_refused(&scene.root.join("kept/secret"));
    }
    recorder.stop();
}

/// The daemon looks for the places of its rules after each change of the mounts, and holds a directory for as long
/// as it looks at it; then the kernel calls the mount busy.
fn follows_a_reload() {
    let scene = Scene::set(Fs::Tmpfs);
    let recorder = scene.start();
    let (secret, open) = (scene.root.join("kept/secret"), scene.root.join("open"));
    assert!(File::open(&secret).is_err() && File::open(&open).is_ok());
    let other = policy(&scene.root).replace("kept/**/secret", "open");
    fs::write(&scene.policy, other).unwrap();
    recorder.signal(Signal::HUP);
    let follows = until(PATIENCE, || {
        (File::open(&open).is_err() && File::open(&secret).is_ok()).then_some(())
    });
    assert!(follows.is_some(), "{}", recorder.said());
    fs::write(&scene.policy, "[[rule]]\n").unwrap();
    recorder.signal(Signal::HUP);
    recorder.says("the policy stays as it was");
    assert!(File::open(&open).is_err());
    recorder.stop();
    File::open(&open).unwrap();
}
