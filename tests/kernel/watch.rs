//! `fsmon watch`: looking without a daemon.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Suite;
use crate::actor::Actor;
use crate::churn;
use crate::ground::{Fs, Ground, sh};
use crate::lines;
use crate::recorder::Home;
use crate::wait::{PATIENCE, until};

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::MAIN {
        suite.on(kind, "watch_shows_all_of_a_churn", all_of_a_churn);
        suite.on(kind, "watch_opens", opens);
    }
    suite.one("watch_opens_through_one_mount", through_one_mount);
    suite.one("watch_opens_at_the_gate", at_the_gate);
    suite.one("watch_selects", selects);
    suite.one("watch_ends_with_its_reader_and_its_time", ends);
    suite.one("watch_leaves_out_its_own_output", own_output);
    suite.one("watch_ends_though_nobody_reads", stuck);
    suite.one("watch_at_the_gate_is_not_stopped_by_a_key", stop_key);
    suite.one("watch_alerts_by_flags", alerts);
    suite.one("watch_refuses_what_a_policy_says", refuses);
}

/// A `watch` whose lines are read as they come; killed when dropped.
struct Watching {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// Where a file is made to see whether it watches yet, and whether all before has come.
    probe: PathBuf,
    probes: u32,
}

impl Watching {
    fn start(home: &Home, words: &[&str], probe: &Path) -> Self {
        let mut program = home.command(&[&["watch"], words].concat());
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let lines = read(child.stdout.take().unwrap());
        let mut watching = Self {
            child,
            lines,
            seen: Vec::new(),
            probe: probe.to_owned(),
            probes: 0,
        };
        watching.settle();
        watching.seen.clear();
        watching
    }

    /// Returns when everything before has been shown.
    fn settle(&mut self) {
        let told = until(PATIENCE, || {
            self.probes += 1;
            let name = format!("probe-of-the-test-{}", self.probes);
            // Whatever is selected, one of these kinds is shown.
            fs::write(self.probe.join(&name), "x").unwrap();
            fs::read(self.probe.join(&name)).unwrap();
            fs::remove_file(self.probe.join(&name)).unwrap();
            let until = std::time::Instant::now() + Duration::from_millis(300);
            while let Some(rest) = until.checked_duration_since(std::time::Instant::now())
                && let Ok(line) = self.lines.recv_timeout(rest)
            {
                let is_it = line.contains(&name);
                self.seen.push(line);
                if is_it {
                    return Some(());
                }
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended");
            None
        });
        assert!(told.is_some(), "it shows nothing");
    }

    /// The lines of all that was done before, probes left out.
    fn shown(&mut self) -> Vec<String> {
        self.settle();
        let seen = std::mem::take(&mut self.seen);
        let is_probe = |line: &String| line.contains("probe-of-the-test-");
        seen.into_iter().filter(|line| !is_probe(line)).collect()
    }

    fn events(&mut self) -> Vec<Value> {
        let shown = self.shown();
        shown
            .iter()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    /// Ends it as Ctrl-C does; what it says then.
    fn interrupt(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let status = until(PATIENCE, || self.child.try_wait().unwrap()).unwrap();
        assert!(status.success(), "{status}");
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        said
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read(out: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `TYPE name cmd` of each event.
fn told(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let path = event["path"].as_str().unwrap();
            let name = path.rsplit('/').next().unwrap();
            format!(
                "{} {name} {}",
                event["event_type"].as_str().unwrap(),
                event["cmd"].as_str().unwrap()
            )
        })
        .collect()
}

fn run(words: &[&str], path: &Path) {
    let done = Command::new(words[0]).args(&words[1..]).arg(path).output();
    assert!(
        done.unwrap().status.success(),
        "{words:?} {}",
        path.display()
    );
}

fn all_of_a_churn(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    let mut watching = Watching::start(&home, &[text(&root)], &root);
    let mut actor = Actor::both(&root);
    churn::plan(&mut actor, &root, 3000);
    let shown = watching.shown().join("\n") + "\n";
    actor.truth().check(&lines::parse(shown.as_bytes()));
    let said = watching.interrupt();
    for word in [
        " events: ",
        "busiest processes:",
        "busiest paths:",
        "nothing was lost",
    ] {
        assert!(said.contains(word), "{said}");
    }
}

/// Every opening and every closing of a written file, with the program, on the whole filesystem.
fn opens(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let (below, alias) = (root.join("below"), ground.directory("alias"));
    fs::create_dir(&below).unwrap();
    fs::write(root.join("read"), "x").unwrap();
    sh(&["mount", "--bind"], &[&below, &alias]);
    let home = Home::new(&ground);
    // Any directory on it will do.
    let mut watching = Watching::start(&home, &["--opens", text(&below)], &root);
    run(&["cat"], &root.join("read"));
    run(&["touch"], &root.join("touched"));
    run(&["sh", "-c", "echo x > \"$0\""], &alias.join("aside"));
    let events = watching.events();
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let mut found = Vec::new();
    for event in &events {
        let path = event["path"].as_str().unwrap();
        let name = path.rsplit('/').next().unwrap();
        let kind = event["event_type"].as_str().unwrap();
        found.push(format!("{kind} {name} {}", event["exe"].as_str().unwrap()));
        assert!(event["pid"].as_u64().unwrap() > 1);
    }
    let shell = text(&shell);
    assert_eq!(
        found,
        [
            "OPEN read /usr/bin/cat".to_owned(),
            "OPEN touched /usr/bin/touch".to_owned(),
            "CLOSE_WRITE touched /usr/bin/touch".to_owned(),
            format!("OPEN aside {shell}"),
            format!("CLOSE_WRITE aside {shell}"),
        ]
    );
    drop(watching);
}

fn through_one_mount() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let (below, alias) = (root.join("below"), ground.directory("alias"));
    fs::create_dir(&below).unwrap();
    sh(&["mount", "--bind"], &[&below, &alias]);
    let home = Home::new(&ground);
    let mut watching = Watching::start(&home, &["--opens", "--mount", text(&alias)], &alias);
    run(&["touch"], &below.join("other"));
    run(&["touch"], &alias.join("this"));
    run(&["cat"], &alias.join("other"));
    let events = watching.events();
    assert_eq!(
        told(&events),
        [
            "OPEN this touch",
            "CLOSE_WRITE this touch",
            "OPEN other cat"
        ]
    );
    let prefix = format!("{}/", text(&alias));
    for event in &events {
        assert!(
            event["path"].as_str().unwrap().starts_with(&prefix),
            "{event}"
        );
    }
}

/// Permission events: the process waits for us, so all of it can be told, and nobody is refused.
fn at_the_gate() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    fs::write(root.join("read"), "x").unwrap();
    let home = Home::new(&ground);
    let mut watching = Watching::start(&home, &["--opens", "--gate", text(&root)], &root);
    run(&["cat"], &root.join("read"));
    run(&["touch"], &root.join("touched"));
    let events = watching.events();
    assert_eq!(
        told(&events),
        [
            "OPEN read cat",
            "OPEN touched touch",
            "CLOSE_WRITE touched touch"
        ]
    );
    for event in &events {
        let program = format!("/usr/bin/{}", event["cmd"].as_str().unwrap());
        assert_eq!(event["exe"], program.as_str());
    }
    // When it goes, nobody waits.
    kill_process(Pid::from_child(&watching.child), Signal::KILL).unwrap();
    for _ in 0..100 {
        File::open(root.join("read")).unwrap();
    }
}

fn selects() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir(root.join("target")).unwrap();
    let path = text(&root);
    let touch_all = || {
        for name in ["1", "a/2", "a/b/3", "a/b/c/4", "target/5", "x.swp"] {
            run(&["touch"], &root.join(name));
            run(&["rm"], &root.join(name));
        }
    };
    for (words, expected) in [
        (
            &["--depth", "2", "--types", "create"][..],
            &[
                "CREATE 1 touch",
                "CREATE 2 touch",
                "CREATE 5 touch",
                "CREATE x.swp touch",
            ][..],
        ),
        (
            &[
                "-x", "target/", "-x", "*.swp", "--types", "create", "--depth", "9",
            ],
            &[
                "CREATE 1 touch",
                "CREATE 2 touch",
                "CREATE 3 touch",
                "CREATE 4 touch",
            ],
        ),
        (
            &["--types", "create,delete", "--depth", "1"],
            &[
                "CREATE 1 touch",
                "DELETE 1 rm",
                "CREATE x.swp touch",
                "DELETE x.swp rm",
            ],
        ),
    ] {
        let mut watching = Watching::start(&home, &[words, &[path]].concat(), &root);
        touch_all();
        assert_eq!(told(&watching.events()), expected, "{words:?}");
    }
    // What rm does, and nothing else.
    let words = [
        "watch",
        path,
        "--cmd",
        "rm",
        "--types",
        "delete",
        "--seconds",
        "4",
    ];
    let mut program = home.command(&words);
    let mut child = program
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = read(child.stdout.take().unwrap());
    until(PATIENCE, || {
        touch_all();
        fs::write(root.join("not by rm"), "").unwrap();
        fs::remove_file(root.join("not by rm")).unwrap();
        child.try_wait().unwrap()
    });
    let shown: Vec<String> = lines.into_iter().collect();
    assert!(!shown.is_empty(), "nothing was seen of rm");
    assert!(
        shown.iter().all(|line| line.contains("\"cmd\":\"rm\"")),
        "{shown:?}"
    );
}

/// A reader that is there and does not read cannot keep it.
fn stuck() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    for way in ["seconds", "signal"] {
        let more: &[&str] = if way == "seconds" {
            &["--seconds", "4"]
        } else {
            &[]
        };
        let mut program =
            home.command(&[&["watch", text(&root), "--types", "create"], more].concat());
        let mut child = program
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let unread = child.stdout.take().unwrap();
        let mut number = 0;
        let ended = until(PATIENCE, || {
            for _ in 0..500 {
                number += 1;
                fs::write(root.join(format!("{way}{number}")), "").unwrap();
            }
            if way == "signal" {
                kill_process(Pid::from_child(&child), Signal::TERM).ok();
            }
            child.try_wait().unwrap()
        });
        let status = ended.expect("it goes on for ever");
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        // A signal may have come before it could be handled, or before the pipe was full.
        let is_stuck = status.code() == Some(1) && said.contains("the output is stuck");
        assert!(is_stuck || way == "signal", "{status}: {said}");
        drop(unread);
    }
}

fn stop_key() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    fs::write(root.join("read"), "x").unwrap();
    let home = Home::new(&ground);
    let watching = Watching::start(&home, &["--opens", "--gate", text(&root)], &root);
    kill_process(Pid::from_child(&watching.child), Signal::TSTP).unwrap();
    for _ in 0..100 {
        File::open(root.join("read")).unwrap();
    }
}

fn ends() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let timed = home.run(&["watch", text(&root), "--seconds", "1"]);
    assert!(
        timed.status.success() && timed.stdout.is_empty(),
        "{timed:?}"
    );
    assert!(String::from_utf8_lossy(&timed.stderr).contains("0 events"));
    let wrong = home.run(&["watch", text(&root), "--types", "nonsense"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let wrong = home.run(&["watch", text(&root), "--hook", "true"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let wrong = home.run(&["watch", "--opens", "/no/such/place"]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    // Its reader goes, once while it has something to say and once while nothing happens.
    let mut watching = Watching::start(&home, &[text(&root)], &root);
    watching.lines = channel().1;
    let status = until(PATIENCE, || {
        fs::write(root.join("more"), "").unwrap();
        watching.child.try_wait().unwrap()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    let mut idle = home.command(&["watch", text(&root)]);
    let mut idle = idle
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(idle.stdout.take());
    let status = until(PATIENCE, || idle.try_wait().unwrap());
    assert_eq!(status.unwrap().code(), Some(0));
}

/// What is written with its output below the watch does not come back as an event, or it would never end.
fn own_output() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let program = env!("CARGO_BIN_EXE_fsmon");
    let lines = [
        (
            "file",
            "\"$0\" watch \"$1\" --seconds 3 --types all -o \"$1/out\"",
        ),
        (
            "shell",
            "\"$0\" watch \"$1\" --seconds 3 --types all > \"$1/out\"",
        ),
        (
            "tee",
            "\"$0\" watch \"$1\" --seconds 3 --types all | tee \"$1/out\" > /dev/null",
        ),
        (
            "pipeline",
            "\"$0\" watch \"$1\" --seconds 3 --types all | cat | sed -u s/x/x/ > \"$1/out\"",
        ),
    ];
    let mut shells = lines.map(|(name, line)| {
        let dir = root.join(name);
        fs::create_dir(&dir).unwrap();
        let mut shell = home.surround(Command::new("sh"));
        shell
            .args(["-c", line, program, text(&dir)])
            .stderr(Stdio::null());
        (dir, shell.spawn().unwrap())
    });
    let shown = |dir: &Path| fs::read_to_string(dir.join("out")).unwrap_or_default();
    let mut number = 0;
    until(PATIENCE, || {
        number += 1;
        let mut open = 0;
        for (dir, shell) in &mut shells {
            fs::write(dir.join(format!("seen{number}")), "").unwrap();
            let has_come = shown(dir).contains("\"CREATE\"");
            open += usize::from(!has_come && shell.try_wait().unwrap().is_none());
        }
        (open == 0).then_some(())
    });
    for (dir, mut shell) in shells {
        assert!(shell.wait().unwrap().success());
        let text = shown(&dir);
        assert!(text.contains("/seen"), "{}: nothing seen", dir.display());
        let own = text.lines().filter(|line| line.contains("/out\""));
        // Until it is known who the programs of the pipe are, they may be seen to open the file.
        let own: Vec<_> = own
            .filter(|line| line.contains("MODIFY") || line.contains("CLOSE_WRITE"))
            .collect();
        assert_eq!(own, Vec::<&str>::new(), "{}", dir.display());
    }
}

fn alerts() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    fs::write(root.join("id.key"), "x").unwrap();
    let home = Home::new(&ground);
    let told_by_hook = ground.dir.join("hook");
    let hook = format!(
        "echo \"$FAN_KIND $FAN_COMM $FAN_PATH\" >> {}",
        text(&told_by_hook)
    );
    let canary = format!("{}/**/*.key", text(&root));
    let words = [
        text(&root),
        "--canary",
        &canary,
        "--burst",
        "30",
        "--cooldown",
        "0",
        "--hook",
        &hook,
        "--types",
        "create",
    ];
    let mut watching = Watching::start(&home, &words, &root);
    run(&["cat"], &root.join("id.key"));
    run(
        &["sh", "-c", "for i in $(seq 10); do echo > \"$0/$i\"; done"],
        &root,
    );
    let events = watching.events();
    let alerts: Vec<&Value> = events
        .iter()
        .filter(|event| event["rule"].is_string())
        .collect();
    let kinds: Vec<_> = alerts
        .iter()
        .map(|alert| {
            (
                alert["kind"].as_str().unwrap(),
                alert["cmd"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(kinds[0], ("canary", "cat"), "{alerts:?}");
    assert!(
        kinds[1..].iter().all(|kind| *kind == ("burst", "sh")),
        "{kinds:?}"
    );
    assert_eq!(alerts[1]["count"], 30);
    let hooked = until(PATIENCE, || {
        let text = fs::read_to_string(&told_by_hook).unwrap_or_default();
        text.contains(&format!("canary cat {}/id.key", root.display()))
            .then_some(())
    });
    assert!(hooked.is_some());
}

fn refuses() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    fs::write(root.join("locked"), "x").unwrap();
    fs::write(root.join("open"), "x").unwrap();
    let policy = ground.dir.join("policy.toml");
    let rule = format!(
        "[[rule]]\nname = \"locked\"\nkind = \"canary\"\npaths = [\"{}/locked\"]\non = [\"opened\"]\ncooldown = \"0\"\ndeny = true\n",
        text(&root)
    );
    fs::write(&policy, rule).unwrap();
    let mut watching = Watching::start(&home, &[text(&root), "--policy", text(&policy)], &root);
    for _ in 0..3 {
        let refused = File::open(root.join("locked")).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        File::open(root.join("open")).unwrap();
    }
    // The gate is not the queue of events: what it tells may come later than the probe.
    let mut alerts = Vec::new();
    let all = until(PATIENCE, || {
        let events = watching.events();
        alerts.extend(events.into_iter().filter(|event| event["rule"] == "locked"));
        (alerts.len() >= 3).then_some(())
    });
    assert!(all.is_some() && alerts.len() == 3, "{alerts:?}");
    assert!(alerts.iter().all(|alert| alert["decision"] == "deny"));
    watching.interrupt();
    File::open(root.join("locked")).unwrap();
}
