//! The daemon's life: start, one of its kind, reload, rest, end.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::Suite;
use crate::flood::now;
use crate::ground::{Fs, Ground, sh};
use crate::recorder::{Home, Recorder, tell};
use crate::wait::{PATIENCE, let_pass, until};

/// What an idle daemon may have resident, in KiB.
const IDLE_KIB: u64 = 5 * 1024;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("ends_well_on_sigterm_and_sigint", ends_well);
    suite.one("second_daemon_is_refused", second_daemon);
    suite.one("sighup_reads_store_and_config_again", sighup);
    suite.one("from_crontab", from_crontab);
    suite.one("what_is_captured_is_written_at_the_end", written_at_the_end);
    suite.one("a_burst_is_written_without_another_event", burst_then_quiet);
    suite.one("removed_watch_is_silent_at_once", removed);
    suite.one("restart_records_the_same", restart);
    suite.one("stop_says_up_to_when_all_was_recorded", stop_says_when);
    suite.alone("idle_daemon_sleeps", &["mount"], idle);
}

struct Scene {
    home: Home,
    root: std::path::PathBuf,
    _ground: Ground,
}

fn scene(types: &str) -> Scene {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", types]);
    Scene {
        home,
        root,
        _ground: ground,
    }
}

fn names(home: &Home) -> Vec<String> {
    let lines = home.log("_global");
    lines
        .iter()
        .filter(|line| line.kind != "GAP")
        .map(|line| {
            line.path
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap()
                .escape_ascii()
                .to_string()
        })
        .collect()
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn ends_well() {
    let scene = scene("CREATE");
    for signal in [Signal::TERM, Signal::INT] {
        let mut recorder = scene.home.start();
        assert!(is_there(&scene.home.socket));
        recorder.signal(signal);
        let status = recorder.wait_end();
        assert!(
            status.success(),
            "{signal:?}: {status}\n{}",
            recorder.said()
        );
        assert!(!is_there(&scene.home.socket), "the socket is left behind");
        assert!(
            !is_there(&scene.home.socket.with_extension("lock")),
            "the lock is left behind"
        );
    }
    assert_eq!(scene.home.journal_of("START").len(), 2);
    assert_eq!(scene.home.journal_of("STOP").len(), 2);
    assert!(
        scene.home.journal_of("GAP").is_empty(),
        "time between a good end and a start is no gap in a record"
    );
}

fn second_daemon() {
    let scene = scene("CREATE");
    let mut recorder = scene.home.start();
    let second = scene.home.run(&["daemon"]);
    assert_eq!(second.status.code(), Some(1), "{}", tell(&second));
    let said = String::from_utf8(second.stderr.clone()).unwrap();
    assert!(
        said.contains(&recorder.pid().to_string()),
        "it names the first: {said}"
    );
    fs::write(scene.root.join("1"), "").unwrap();
    recorder.settle("_global", &scene.root);
    scene.home.ok(&["monitored"]);
    recorder.kill();
    // Lock and socket of a daemon that was killed stop nobody.
    assert!(is_there(&scene.home.socket));
    let mut recorder = scene.home.start();
    recorder.settle("_global", &scene.root);
    recorder.stop();
    assert_eq!(names(&scene.home), ["1"]);
}

fn sighup() {
    let scene = scene("CREATE");
    let (one, two) = (scene.root.join("one"), scene.root.join("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let mut recorder = scene.home.start();
    let line = |path: &Path, types: &str| {
        format!(
            "{{\"cmd\":\"_global\",\"paths\":{{\"{}\":{{\"recursive\":true,\"types\":[\"{types}\"]}}}}}}\n",
            path.display()
        )
    };
    fs::write(scene.home.store(), line(&two, "CREATE")).unwrap();
    recorder.signal(Signal::HUP);
    let listed = |text: &str| {
        let answer = || scene.home.journal_of(text).len();
        until(PATIENCE, || (answer() > 0).then_some(()))
    };
    assert!(
        listed("REMOVE").is_some(),
        "the journal tells of the watch that is gone: {:?}",
        scene.home.journal()
    );
    recorder.settle("_global", &two);
    fs::write(one.join("not told"), "").unwrap();
    fs::write(two.join("told"), "").unwrap();
    recorder.settle("_global", &two);
    // The parameters of a watch that stays are taken over too.
    fs::write(scene.home.store(), line(&two, "CREATE\",\"DELETE")).unwrap();
    recorder.signal(Signal::HUP);
    let mut turn = 0;
    let seen = until(PATIENCE, || {
        turn += 1;
        let path = two.join(format!("probe{turn}"));
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
        scene
            .home
            .log("_global")
            .iter()
            .any(|line| line.kind == "DELETE")
            .then_some(())
    });
    assert!(seen.is_some(), "the new types are never in force");
    recorder.stop();
    let told = names(&scene.home);
    assert!(
        told.contains(&"told".to_owned()) && !told.contains(&"not told".to_owned()),
        "{told:?}"
    );
}

/// No terminal, no SUDO_*, nothing but what cron gives.
fn from_crontab() {
    let scene = scene("CREATE");
    let mut program = Command::new("setsid");
    program
        .args(["-w", "/bin/sh", "-c"])
        .arg(format!("exec {} daemon", env!("CARGO_BIN_EXE_fsmon")));
    program.env_clear().envs([
        ("HOME", scene.home.dir.to_str().unwrap()),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
    ]);
    program
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .stdin(Stdio::null());
    let mut recorder = Recorder::start(&scene.home, program);
    fs::write(scene.root.join("1"), "").unwrap();
    recorder.settle("_global", &scene.root);
    assert_eq!(names(&scene.home), ["1"]);
    recorder.stop();
}

fn written_at_the_end() {
    let scene = scene("CREATE");
    for turn in 1..=3 {
        let recorder = scene.home.start();
        for number in 0..2_000 {
            fs::write(scene.root.join(format!("{turn}-{number}")), "").unwrap();
        }
        recorder.stop();
        assert_eq!(names(&scene.home).len(), turn * 2_000);
    }
}

fn burst_then_quiet() {
    let scene = scene("CREATE");
    let mut recorder = scene.home.start();
    for number in 0..7_200 {
        fs::write(scene.root.join(format!("f{number}")), "").unwrap();
    }
    recorder.wait_for("_global", "/f7199\"");
    recorder.stop();
    assert_eq!(names(&scene.home).len(), 7_200);
}

fn removed() {
    let scene = scene("CREATE");
    let other = scene.root.join("other");
    fs::create_dir(&other).unwrap();
    scene.home.watch("_global", &other, &["-r", "-t", "CREATE"]);
    let mut recorder = scene.home.start();
    fs::write(scene.root.join("1"), "").unwrap();
    let said = scene
        .home
        .run(&["remove", "_global", "--path", scene.root.to_str().unwrap()]);
    assert!(said.status.success(), "{}", tell(&said));
    fs::write(scene.root.join("2"), "").unwrap();
    fs::write(other.join("3"), "").unwrap();
    recorder.settle("_global", &other);
    assert_eq!(names(&scene.home), ["1", "3"]);
    scene.home.ok(&["remove", "_global"]);
    fs::write(other.join("4"), "").unwrap();
    scene.home.watch("_global", &other, &["-r", "-t", "CREATE"]);
    fs::write(other.join("5"), "").unwrap();
    recorder.settle("_global", &other);
    recorder.stop();
    assert_eq!(names(&scene.home), ["1", "3", "5"]);
}

/// A restart asks the kernel for what the live edits asked for.
fn restart() {
    let scene = scene("CREATE");
    let late = scene.root.join("late");
    fs::create_dir(&late).unwrap();
    let mut recorder = scene.home.start();
    scene.home.watch("_global", &late, &["-r", "-t", "MODIFY"]);
    scene
        .home
        .watch("_global", &scene.root, &["-t", "DELETE,CREATE"]);
    let work = |recorder: &mut Recorder| {
        fs::write(late.join("f"), "x").unwrap();
        fs::write(scene.root.join("g"), "x").unwrap();
        fs::remove_file(late.join("f")).unwrap();
        fs::remove_file(scene.root.join("g")).unwrap();
        recorder.settle("_global", &scene.root);
    };
    work(&mut recorder);
    recorder.stop();
    let live: Vec<_> = scene
        .home
        .log("_global")
        .into_iter()
        .map(|line| (line.kind, line.path))
        .collect();
    let mut recorder = scene.home.start();
    work(&mut recorder);
    recorder.stop();
    let both: Vec<_> = scene
        .home
        .log("_global")
        .into_iter()
        .map(|line| (line.kind, line.path))
        .collect();
    assert_eq!(both, [live.clone(), live].concat());
}

/// The last lines take their time, and meanwhile more happens that nobody reads.
fn stop_says_when() {
    let scene = scene("CREATE");
    let mut recorder = scene.home.start();
    recorder.settle("_global", &scene.root);
    recorder.halt();
    let make = |number: usize| {
        fs::File::create_new(scene.root.join(number.to_string())).unwrap();
        now()
    };
    let mut made: Vec<String> = (0..30_000).map(make).collect();
    recorder.signal(Signal::TERM);
    recorder.signal(Signal::CONT);
    while is_there(&scene.home.socket) {
        made.push(make(made.len()));
    }
    assert!(recorder.wait_end().success());
    let stop = scene.home.journal_of("STOP");
    let until = stop[0]["time"].as_str().unwrap();
    let told = names(&scene.home).len();
    let before = made.iter().filter(|time| time.as_str() <= until).count();
    assert!(
        told >= before,
        "{before} were made before {until}, {told} are told"
    );
    println!("{} were made after the last look", made.len() - told);
}

/// No timer wakes it, and it is small. The thread that reads is woken by each program that starts on the machine.
fn idle() {
    let scene = scene("CREATE");
    let mut recorder = scene.home.start();
    recorder.settle("_global", &scene.root);
    // The file of the last marker is synced a second later; after that nothing is left to do.
    let quiet = until(PATIENCE, || {
        let before = recorder.wake_ups();
        let_pass(Duration::from_secs(2));
        (recorder.wake_ups() == before).then_some(())
    });
    let resident = recorder.status_of("VmRSS");
    if quiet.is_none() && is_there(Path::new("/usr/bin/strace")) {
        let id = recorder.pid().to_string();
        let calls = scene.root.join("calls");
        sh(
            &["timeout", "-s", "INT", "3", "strace", "-f", "-p", &id, "-o"],
            &[&calls],
        );
        panic!(
            "the idle daemon is busy:\n{}",
            fs::read_to_string(&calls).unwrap()
        );
    }
    assert!(quiet.is_some(), "the idle daemon wakes up");
    eprintln!("idle daemon: {resident} KiB resident");
    if !cfg!(debug_assertions) {
        assert!(resident < IDLE_KIB, "{resident} KiB resident when idle");
    }
    recorder.stop();
}
