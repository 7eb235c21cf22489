//! Programs that rules call: whatever they do, recording goes on and they never alert themselves.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::Suite;
use crate::actor::Actor;
use crate::alerts::{alerts_of, start, values};
use crate::churn;
use crate::ground::{Fs, Ground, sh};
use crate::lines::Line;
use crate::recorder::Home;
use crate::wait::{PATIENCE, until};
use crate::workers::Worker;

/// Files that are made, renamed and deleted meanwhile.
const CHURN: usize = 4000;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("hooks_that_linger_hang_and_flood", unruly);
    suite.one("two_hundred_alerts_with_slow_hooks", too_many);
    suite.one("what_a_hook_finds", surroundings);
    suite.one("hooks_end_with_the_daemon", end_together);
}

/// A tree with canaries in `keys`, a group that watches everything and one that watches `churn`.
fn stage(ground: &Ground, keys: &[&str]) -> (PathBuf, Home) {
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(ground);
    for dir in ["keys", "tree", "churn"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    for key in keys {
        fs::write(root.join("keys").join(key), "").unwrap();
    }
    home.watch("_global", &root, &["-r"]);
    (root, home)
}

fn touch(root: &Path, key: &str) {
    File::open(root.join("keys").join(key)).unwrap();
}

/// A rule that calls a hook when a canary is opened.
fn rule(name: &str, hook: &str, more: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nkind = \"canary\"\npaths = \"@/keys/{name}\"\non = \"opened\"\n\
         cooldown = \"0\"\nhook = {hook}\n{more}\n"
    )
}

fn churning(root: &Path) -> Worker {
    let dir = root.join("churn");
    let mut worker = Worker::new("churn", &[dir.to_str().unwrap(), &CHURN.to_string()]);
    worker.go();
    worker
}

/// The log holds exactly what happened below `churn`.
fn check_churn(home: &Home, root: &Path) {
    let dir = root.join("churn");
    let mut actor = Actor::book(&dir);
    churn::plan(&mut actor, &dir, CHURN);
    let mut lines = home.log("_global");
    let lead = format!("{}/", dir.display());
    lines.retain(|line| line.path.starts_with(lead.as_bytes()));
    actor.truth().check(&lines);
}

fn hooks_ended(home: &Home, count: usize) -> Vec<Value> {
    let ended = until(PATIENCE, || {
        let ended = home.journal_of("HOOK");
        (ended.len() >= count).then_some(ended)
    });
    ended.unwrap_or_else(|| panic!("not {count} hooks: {:#?}", home.journal_of("HOOK")))
}

fn ended<'a>(all: &'a [Value], rule: &str) -> &'a Value {
    let mut of_rule = all.iter().filter(|line| line["rule"] == rule);
    let found = of_rule.next().expect(rule);
    assert!(of_rule.next().is_none(), "{rule} was called twice");
    found
}

fn is_gone(pid: &Path) -> bool {
    let pid = fs::read_to_string(pid).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    // One that waits for its parent to ask for it does nothing any more.
    stat.map_or(true, |stat| {
        stat.rsplit(')').next().unwrap().starts_with(" Z")
    })
}

fn unruly() {
    let ground = Ground::new();
    let (root, home) = stage(
        &ground,
        &[
            "leaves", "hangs", "nobodys", "escapes", "floods", "talks", "none",
        ],
    );
    let notes = ground.directory("notes");
    let fifo = notes.join("fifo");
    sh(&["mkfifo"], &[&fifo]);
    fs::set_permissions(&notes, Permissions::from_mode(0o777)).unwrap();
    let at = notes.display();
    let rules = [
        "[[rule]]\nname = \"tree\"\nkind = \"canary\"\npaths = [\"@/tree/**\", \"@/keys/*\"]\n\
         on = [\"modified\", \"renamed\", \"deleted\"]\ncooldown = \"0\"\n"
            .to_owned(),
        rule(
            "leaves",
            &format!("\"sleep 300 & echo $! > {at}/leaves; echo left\""),
            "hook_timeout = \"5s\"",
        ),
        rule(
            "hangs",
            &format!(
                "\"trap '' TERM; sleep 300 & echo $! > {at}/child; echo $$ > {at}/hangs; while true; do wait; done\""
            ),
            "hook_timeout = \"4s\"",
        ),
        rule(
            "nobodys",
            &format!("\"sleep 300 & echo $! > {at}/nobodys-child; echo $$ > {at}/nobodys; wait\""),
            "hook_timeout = \"4s\"\nhook_user = \"nobody\"",
        ),
        // What it leaves behind belongs to nobody any more when it begins.
        rule(
            "escapes",
            &format!(
                "\"setsid sh -c 'read go < {at}/fifo; cat @/keys/escapes; echo > @/tree/escaped; touch @/keys/none; echo > {at}/done' > /dev/null 2>&1 &\""
            ),
            "",
        ),
        rule(
            "floods",
            "\"n=0; while [ $n -lt 200 ]; do echo x > @/tree/f$n; n=$((n+1)); done; mv @/tree/f1 @/tree/g; \
             cat @/keys/floods @/keys/leaves @/keys/hangs; rm @/tree/f1?\"",
            "",
        ),
        rule(
            "talks",
            "[\"/bin/dd\", \"if=/dev/zero\", \"bs=1M\", \"count=64\"]",
            "",
        ),
        rule("none", "[\"/nonexistent/program\"]", ""),
    ];
    let mut recorder = start(&home, &root, &rules.concat());
    let churn = churning(&root);
    for key in [
        "leaves", "hangs", "nobodys", "escapes", "floods", "talks", "none",
    ] {
        touch(&root, key);
    }
    let all = hooks_ended(&home, 7);
    fs::write(&fifo, "go\n").unwrap();
    until(PATIENCE, || fs::read(notes.join("done")).ok()).unwrap();
    churn.finish();
    recorder.settle("_global", &root);
    let peak = recorder.status_of("VmHWM");
    let said = recorder.stop();

    assert_eq!(home.journal_of("HOOK").len(), 7);
    for (rule, how) in [
        ("leaves", "exit 0"),
        ("hangs", "killed after 4s"),
        ("nobodys", "killed after 4s"),
        ("escapes", "exit 0"),
        ("floods", "exit 0"),
        ("talks", "exit 0"),
    ] {
        assert_eq!(ended(&all, rule)["ended"], how, "{all:#?}");
    }
    assert_eq!(ended(&all, "leaves")["output"], "left\n");
    assert_eq!(ended(&all, "talks")["output"].as_str().unwrap().len(), 4096);
    let failed = ended(&all, "none")["ended"].as_str().unwrap();
    assert!(failed.starts_with("could not be started: "), "{failed}");
    for pid in ["leaves", "child", "hangs", "nobodys-child", "nobodys"] {
        // Who is killed still needs a CPU to end.
        let gone = until(PATIENCE, || is_gone(&notes.join(pid)).then_some(()));
        assert!(gone.is_some(), "{pid} still runs");
    }
    let alerts = values(&home, "_alerts");
    assert_eq!(alerts.len(), 7, "{alerts:#?}");
    let own = std::process::id();
    assert!(
        alerts.iter().all(|alert| alert["pid"] == own),
        "{alerts:#?}"
    );

    check_churn(&home, &root);
    let log = home.log("_global");
    let named = |kind: &str, name: &str| {
        let path = root.join(name);
        let fits =
            |line: &&Line| line.kind == kind && line.path == path.as_os_str().as_encoded_bytes();
        log.iter().filter(fits).count()
    };
    for number in 0..200 {
        assert_eq!(named("CREATE", &format!("tree/f{number}")), 1, "{number}");
    }
    assert_eq!(
        [
            named("MOVED_TO", "tree/g"),
            named("DELETE", "tree/f10"),
            named("CREATE", "tree/escaped")
        ],
        [1; 3]
    );
    assert!(!said.iter().any(|line| line.contains("lost")), "{said:?}");
    println!("peak {peak} KiB");
}

/// Four run at once, some wait, and of the others the journal says that they were not called.
fn too_many() {
    const ALERTS: usize = 200;
    let ground = Ground::new();
    let names: Vec<String> = (0..ALERTS).map(|at| format!("k{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (root, home) = stage(&ground, &names);
    let book = ground.dir.join("book");
    let at = book.display();
    let rules = rule(
        "*",
        &format!("\"echo + >> {at}; sleep 0.08; echo - >> {at}\""),
        "",
    );
    let mut recorder = start(&home, &root, &rules);
    let churn = churning(&root);
    let keys: Vec<String> = names
        .iter()
        .map(|name| format!("{}/keys/{name}", root.display()))
        .collect();
    let mut words = vec!["1", "0"];
    words.extend(keys.iter().map(String::as_str));
    let mut worker = Worker::new("visits", &words);
    worker.go();
    worker.finish();
    let all = hooks_ended(&home, ALERTS);
    churn.finish();
    recorder.settle("_global", &root);
    let said = recorder.stop();

    assert_eq!(alerts_of(&home, "*").len(), ALERTS);
    assert_eq!(all.len(), ALERTS);
    let refused = all
        .iter()
        .filter(|line| line["ended"] == "not called: too many hooks wait");
    let refused = refused.count();
    let good = all.iter().filter(|line| line["ended"] == "exit 0").count();
    assert_eq!(good + refused, ALERTS);
    assert!(good >= 64 && refused > 0, "{good} {refused}");
    assert!(
        said.iter()
            .any(|line| line.contains("not called: too many hooks wait")),
        "{said:?}"
    );
    let book = fs::read_to_string(&book).unwrap();
    let (mut running, mut most) = (0_usize, 0);
    for line in book.lines() {
        running = if line == "+" {
            running + 1
        } else {
            running - 1
        };
        most = most.max(running);
    }
    println!("{good} hooks ran, {most} at once, {refused} were not called");
    assert_eq!((book.lines().count(), running), (2 * good, 0));
    assert!((2..=4).contains(&most), "{most}");
    check_churn(&home, &root);
}

const LOOKS: [(&str, &str, &str); 10] = [
    ("env", "[\"/usr/bin/env\"]", "hook_user = \"nobody\""),
    ("cat", "\"cat\"", ""),
    ("id", "[\"/usr/bin/id\"]", "hook_user = 65534"),
    ("root", "[\"/usr/bin/id\"]", ""),
    (
        "rights",
        "[\"/bin/grep\", \"-E\", \"^(Cap|Sig)\", \"/proc/self/status\"]",
        "hook_user = \"nobody\"",
    ),
    ("files", "[\"/bin/ls\", \"/proc/self/fd\"]", ""),
    ("place", "\"pwd\"", ""),
    (
        "stranger",
        "[\"/usr/bin/id\"]",
        "hook_user = \"no-such-user\"",
    ),
    ("signalled", "\"kill -11 $$\"", ""),
    ("seven", "\"echo one; echo two >&2; exit 7\"", ""),
];

fn surroundings() {
    let ground = Ground::new();
    let names = LOOKS.map(|(name, ..)| name);
    let (root, home) = stage(&ground, &names);
    let odd = root.join("keys/odd \"name\"\n\u{e9}");
    fs::write(&odd, "").unwrap();
    let rules = LOOKS.map(|(name, hook, more)| rule(name, hook, more));
    let rules = rules.concat() + &rule("odd*", "[\"/usr/bin/env\"]", "");
    let mut recorder = start(&home, &root, &rules);
    for name in names {
        touch(&root, name);
    }
    File::open(&odd).unwrap();
    let all = hooks_ended(&home, names.len() + 1);
    recorder.settle("_global", &root);
    recorder.stop();

    let output = |rule: &str| ended(&all, rule)["output"].as_str().unwrap();
    assert_eq!(sorted(output("env")), environment(&root.join("keys/env")));
    assert_eq!(sorted(output("odd*")), environment(&odd));
    let line = fs::read_to_string(home.log_path("_alerts")).unwrap();
    let mut lines = line.lines();
    let line = lines.find(|line| line.contains("\"rule\":\"cat\""));
    assert_eq!(output("cat"), format!("{}\n", line.unwrap()));
    let nobody = "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n";
    assert_eq!(output("id"), nobody);
    let root = output("root");
    assert!(root.starts_with("uid=0(root) gid=0(root)"), "{root}");
    check_rights(output("rights"));
    // None of the daemon's: whatever else there is was there before it.
    let here = Command::new("/bin/ls").arg("/proc/self/fd").output();
    let here = String::from_utf8(here.unwrap().stdout).unwrap();
    assert_eq!(output("files"), here);
    assert_eq!(output("place"), "/\n");
    for (rule, how) in [
        (
            "stranger",
            "could not be started: there is no user 'no-such-user'",
        ),
        ("signalled", "signal 11"),
        ("seven", "exit 7"),
    ] {
        assert_eq!(ended(&all, rule)["ended"], how);
    }
    assert_eq!(output("seven"), "one\ntwo\n");
}

/// All that stands in the environment of a hook, in order.
fn environment(path: &Path) -> Vec<String> {
    let own = std::process::id();
    let comm = fs::read_to_string(format!("/proc/{own}/comm")).unwrap();
    let exe = std::env::current_exe().unwrap();
    let text = format!(
        "FAN_COMM={}\0FAN_EXE={}\0FAN_KIND=canary\0FAN_PATH={}\0FAN_PID={own}\0\
         FAN_REASON=canary opened\0PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        comm.trim_end(),
        exe.display(),
        path.display(),
    );
    text.split('\0').map(str::to_owned).collect()
}

/// The lines of `env`; the one value with a newline in it is put together again.
fn sorted(text: &str) -> Vec<String> {
    let text = text.replace("\n\u{e9}", "\0\u{e9}");
    let lines = text.lines().map(|line| line.replace('\0', "\n"));
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn check_rights(text: &str) {
    // A shell that cannot put jobs in the background has what it starts beside itself ignore SIGQUIT,
    // which the daemon leaves as it is.
    let quit = 1 << (Signal::QUIT.as_raw() - 1);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let inherited = bits(&own, "SigIgn") & quit;
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk", "SigIgn"] {
        // Signals 32 and 33 are the C library's; its posix_spawn has them ignored.
        let bits = bits(text, name) & !(3 << 31) & !inherited;
        assert_eq!(bits, 0, "{text}");
    }
}

/// A line of hexadecimal bits in the status of a process.
fn bits(status: &str, name: &str) -> u64 {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    u64::from_str_radix(value.unwrap(), 16).unwrap()
}

/// A daemon that is told to stop does not wait for hooks, and leaves none behind.
fn end_together() {
    let ground = Ground::new();
    let names = ["h0", "h1", "h2", "h3", "h4", "h5", "h6"];
    let (root, home) = stage(&ground, &names);
    let notes = ground.directory("notes");
    let at = notes.display();
    let hook = format!(
        "\"sleep 300 & echo $! > {at}/child-$$; echo $$ > {at}/leader-$$; echo > {at}/begun-$$; wait\""
    );
    let rules = rule("h*", &hook, "hook_timeout = \"5m\"");
    let recorder = start(&home, &root, &rules);
    for name in names {
        touch(&root, name);
    }
    let with = |start: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(&notes).unwrap().flatten();
        let fits = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(start));
        fits.map(|entry| entry.path()).collect()
    };
    until(PATIENCE, || (with("begun").len() == 4).then_some(())).unwrap();
    let began = Instant::now();
    recorder.stop();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let all: Vec<PathBuf> = with("leader").into_iter().chain(with("child")).collect();
    assert_eq!(all.len(), 8, "one that waited was called at the end");
    let left = || all.iter().filter(|pid| !is_gone(pid)).count();
    let gone = until(PATIENCE, || (left() == 0).then_some(()));
    assert!(gone.is_some(), "{} of 8 processes are left", left());
}
