//! Another user of the machine, or the owner of the logs, tries to lead the daemon astray, to stop it, or to hide.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use rustix::process::Signal;
use serde_json::Value;

use crate::Suite;
use crate::flood;
use crate::ground::{Fs, Ground, sh};
use crate::logs::{USER, start_for_user};
use crate::recorder::{Home, tell};
use crate::wait::{PATIENCE, until};
use crate::workers::together;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("attack_planted_names_are_refused_and_left_alone", planted);
    let tools = &["mount", "unshare", "setpriv"];
    suite.tools("attack_groups_of_root_reach_no_further", tools, groups);
    suite.tools("attack_fifos_and_devices_hold_nobody_up", tools, fifos);
    suite.tools("attack_log_directory_swapped_for_a_link", tools, swapped);
    suite.tools("attack_fork_bomb", &["setpriv", "prlimit"], fork_bomb);
    suite.tools("attack_names_that_blame_others", &["setpriv"], false_names);
    suite.one("attack_deed_hidden_in_a_flood", hidden_in_a_flood);
    suite.one("attack_log_emptied_before_anybody_looks", emptied);
    suite.one("attack_journal_replaced_by_anything", odd_journals);
}

/// Somebody whom nobody knows.
const OTHER: u32 = 54_399;

fn by_other() -> Command {
    let id = OTHER.to_string();
    let mut program = Command::new("setpriv");
    program.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    program
}

#[track_caller]
fn run(program: &mut Command) {
    let done = program.output().unwrap();
    assert!(done.status.success(), "{program:?}: {}", tell(&done));
}

fn watched() -> (Ground, PathBuf, Home) {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    fs::set_permissions(&root, Permissions::from_mode(0o1777)).unwrap();
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    (ground, root, home)
}

fn name_of(line: &crate::lines::Line) -> String {
    let name = line.path.rsplit(|byte| *byte == b'/').next().unwrap();
    String::from_utf8_lossy(name).into_owned()
}

/// Whatever stands where socket and lock belong: the daemon does not start, and changes nothing.
fn planted() {
    let (ground, _root, mut home) = watched();
    let open = ground.directory("open");
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    let victim = ground.dir.join("victim");
    fs::write(&victim, "precious").unwrap();
    home.socket = open.join("fsmon.sock");
    home.configure("");
    let make = |what: &str, at: &Path| match what {
        "file" => fs::write(at, "mine").unwrap(),
        "link" => symlink(&victim, at).unwrap(),
        "dangling link" => symlink("/nowhere/at/all", at).unwrap(),
        "second name" => fs::hard_link(&victim, at).unwrap(),
        "fifo" => sh(&["mkfifo"], &[at]),
        "directory" => fs::create_dir(at).unwrap(),
        "socket" => drop(UnixListener::bind(at).unwrap()),
        _ => unreachable!(),
    };
    let kinds = [
        "file",
        "link",
        "dangling link",
        "second name",
        "fifo",
        "directory",
        "socket",
    ];
    for place in [home.socket.clone(), home.socket.with_extension("lock")] {
        for what in kinds {
            make(what, &place);
            if what != "second name" {
                std::os::unix::fs::lchown(&place, Some(OTHER), Some(OTHER)).unwrap();
            }
            let before = fs::symlink_metadata(&place).unwrap();
            let done = home.run(&["daemon"]);
            assert_eq!(done.status.code(), Some(1), "{what}: {}", tell(&done));
            let after = fs::symlink_metadata(&place);
            let after =
                after.unwrap_or_else(|error| panic!("{what} at {}: {error}", place.display()));
            assert_eq!(
                (before.ino(), before.len()),
                (after.ino(), after.len()),
                "{what}"
            );
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{what}");
            // Nor is it talked to.
            let asked = home.run(&["health"]);
            assert_eq!(asked.status.code(), Some(1), "{what}: {}", tell(&asked));
            if what == "directory" {
                fs::remove_dir(&place).unwrap();
            } else {
                fs::remove_file(&place).unwrap();
            }
        }
    }
    home.start().stop();
}

/// What only a group of root's may reach, the daemon of a user does not reach either.
fn groups() {
    let (ground, root, home) = watched();
    let of_root = ground.directory("of-root");
    fs::set_permissions(&of_root, Permissions::from_mode(0o770)).unwrap();
    home.configure(&format!("[logging]\npath = \"{}\"", of_root.display()));
    let recorder = start_for_user(&ground, &home, &["setpriv", "--groups", "0"]);
    File::create(root.join("file")).unwrap();
    recorder.says("Permission denied");
    assert_eq!(fs::read_dir(&of_root).unwrap().count(), 0);
}

fn given(path: &Path) {
    std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
}

/// A user puts something without an end where the daemon reads at SIGHUP.
fn fifos() {
    let (ground, root, home) = watched();
    let mut recorder = start_for_user(&ground, &home, &[]);
    let config = home.dir.join(".config/fsmon/fsmon.toml");
    let (store, kept) = (home.store(), home.dir.join("kept"));
    for (file, said) in [
        (
            &store,
            "the watches stay as they were: cannot read the store",
        ),
        (
            &config,
            "fsmon.toml stays as it was: cannot read the config file",
        ),
    ] {
        fs::rename(file, &kept).unwrap();
        for device in [false, true] {
            if device {
                symlink("/dev/zero", file).unwrap();
            } else {
                sh(&["mkfifo"], &[file]);
                given(file);
            }
            recorder.signal(Signal::HUP);
            recorder.says(said);
            recorder.settle("_global", &root);
            fs::remove_file(file).unwrap();
        }
        fs::rename(&kept, file).unwrap();
    }
    recorder.stop();
}

/// While root's daemon writes, its user puts a link to a directory of root's in the place of the logs, again and again.
fn swapped() {
    let (ground, root, home) = watched();
    let victim = ground.directory("victim");
    let precious = victim.join("_global_log.jsonl");
    fs::write(&precious, "precious\n").unwrap();
    fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
    fs::create_dir_all(home.log_dir()).unwrap();
    let mut recorder = start_for_user(&ground, &home, &[]);
    let (logs, aside) = (home.log_dir(), home.dir.join("aside"));
    for number in 0..300 {
        File::create(root.join(number.to_string())).unwrap();
        fs::rename(&logs, &aside).unwrap();
        // The daemon may have made a new directory meanwhile: then there is no room for a link, and it has to go again.
        let is_swapped = symlink(&victim, &logs).is_ok();
        File::create(root.join(format!("{number}b"))).unwrap();
        if is_swapped {
            fs::remove_file(&logs).unwrap();
        }
        while fs::rename(&aside, &logs).is_err() {
            fs::remove_dir_all(&logs).ok();
        }
    }
    recorder.settle("_global", &root);
    recorder.stop();
    let names: Vec<_> = fs::read_dir(&victim)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["_global_log.jsonl"]);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious\n");
}

/// A thousand processes that come from each other, as many at once as their user may have: each is told with the pid
/// that it gave its file as a name.
fn fork_bomb() {
    let (ground, root, home) = watched();
    let script = ground.dir.join("bomb");
    fs::write(
        &script,
        "[ $1 -gt 0 ] && { sh $0 $(($1-1)) & sh $0 $(($1-1)) & }; : > $$; wait",
    )
    .unwrap();
    fs::set_permissions(&ground.dir, Permissions::from_mode(0o755)).unwrap();
    let mut recorder = home.start();
    // That some of them cannot be made is part of it.
    by_other()
        .args(["prlimit", "--nproc=400", "sh"])
        .arg(&script)
        .arg("9")
        .current_dir(&root)
        .output()
        .unwrap();
    // Whoever lost its parent may still be at work.
    let count = || fs::read_dir(&root).unwrap().count();
    let mut last = 0;
    until(PATIENCE, || {
        let is_busy = !no_process_of(OTHER) || count() != last;
        last = count();
        (!is_busy).then_some(())
    })
    .unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    assert_eq!(home.journal_of("GAP"), Vec::<Value>::new());
    let files = fs::read_dir(&root).unwrap().flatten();
    let mut files: Vec<String> = files
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    assert!(files.len() > 200, "only {} files", files.len());
    let mut told: Vec<String> = lines.iter().map(name_of).collect();
    files.sort();
    told.sort();
    assert_eq!(told, files);
    for line in &lines {
        assert_eq!(line.pid.to_string(), name_of(line), "{}", line.show());
        let who = (
            line.cmd.as_str(),
            line.user.as_str(),
            line.attribution.as_str(),
        );
        assert_eq!(who, ("sh", "54399", ""), "{}", line.show());
    }
}

fn no_process_of(uid: u32) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    !processes
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .any(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == uid))
}

/// Who calls itself like another program, or like the recorder, is recorded all the same: pid, user and program tell.
fn false_names() {
    let (_ground, root, home) = watched();
    home.watch("nginx", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    let names = [
        "nginx",
        "fsmon",
        "core",
        "a|0|root;1",
        "q\"uo\\te",
        "\u{1b}[2J\n\r",
    ];
    for (number, name) in names.iter().enumerate() {
        // A child, so that the name stands in its chain as well.
        run(by_other()
            .args([
                "sh",
                "-c",
                "printf %s \"$1\" > /proc/self/comm; (sh -c ': > $0' $0); : > /dev/null",
            ])
            .arg(root.join(number.to_string()))
            .arg(name));
        run(by_other()
            .args([
                "sh",
                "-c",
                "printf %s \"$1\" > /proc/$$/comm; : > $0; (: > $0.child); :",
            ])
            .arg(root.join(format!("{number}.own")))
            .arg(name));
    }
    recorder.settle("_global", &root);
    recorder.stop();
    let text = fs::read_to_string(home.log_path("nginx")).unwrap_or_default();
    assert!(!text.chars().any(|char| char.is_control() && char != '\n'));
    let lines = home.log("_global");
    for number in 0..names.len() {
        for name in [
            format!("{number}"),
            format!("{number}.own"),
            format!("{number}.own.child"),
        ] {
            let line = lines.iter().find(|line| name_of(line) == name);
            let line = line.unwrap_or_else(|| panic!("{name} is not told"));
            assert_eq!(line.user, "54399", "{}", line.show());
            assert!(line.exe.ends_with("sh"), "{}", line.show());
        }
    }
    // In the log of the group it stands because it took that name; its program shows that it is another.
    let of_group = home.log("nginx");
    assert!(of_group.iter().any(|line| name_of(line) == "0.own"));
    assert!(of_group.iter().all(|line| !line.exe.ends_with("nginx")));
    for line in &of_group {
        let links: Vec<&str> = line.chain.split(';').collect();
        assert!(
            links.iter().all(|link| link.split('|').count() == 3),
            "{}",
            line.chain
        );
    }
}

fn moment() -> String {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    chrono::DateTime::from_timestamp_nanos(since.as_nanos() as i64).to_rfc3339()
}

fn is_complete(home: &Home, words: &[&str]) -> bool {
    let done = home.run(&[&["verify", "--json"], words].concat());
    let answer: Value =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", tell(&done)));
    assert_eq!(
        done.status.success(),
        answer["complete"] == true,
        "{}",
        tell(&done)
    );
    answer["complete"] == true
}

/// A deed among more than the daemon can hold is in the log, or its time is in no stretch that is called complete.
fn hidden_in_a_flood() {
    let (_ground, root, home) = watched();
    home.configure("[capture]\nceiling = \"1MB\"");
    let mut recorder = home.start();
    let dir = root.join("flood");
    fs::create_dir(&dir).unwrap();
    recorder.settle("_global", &root);
    recorder.halt();
    together(flood::workers(&dir, 8_000));
    let before = moment();
    run(by_other().arg("touch").arg(root.join("deed")));
    let after = moment();
    recorder.signal(Signal::CONT);
    let told = until(PATIENCE, || {
        (!home.journal_of("GAP").is_empty()).then_some(())
    });
    assert!(told.is_some(), "nothing was lost: {}", recorder.said());
    recorder.settle("_global", &root);
    let is_told = home
        .log("_global")
        .iter()
        .any(|line| name_of(line) == "deed");
    let window = ["-t", &format!(">={before}"), "-t", &format!("<={after}")].map(str::to_owned);
    let window: Vec<&str> = window.iter().map(String::as_str).collect();
    assert!(
        is_told || !is_complete(&home, &window),
        "neither told nor missed between {before} and {after}: {:#?}",
        home.journal_of("GAP")
    );
    assert!(!is_complete(&home, &[]));
    let health = home.ok(&["health"]);
    assert!(health.contains("lost"), "{health}");
    recorder.stop();
}

/// Logs emptied or taken away while nothing happens, or while no daemon runs.
fn emptied() {
    let (_ground, root, home) = watched();
    let log = home.log_path("_global");
    let mut recorder = home.start();
    let attacks: [fn(&Path); 3] = [
        |log| {
            File::options()
                .write(true)
                .open(log)
                .unwrap()
                .set_len(0)
                .unwrap()
        },
        |log| fs::remove_file(log).unwrap(),
        |log| {
            fs::write(log.with_extension("new"), "")
                .and_then(|()| fs::rename(log.with_extension("new"), log))
                .unwrap()
        },
    ];
    for (number, attack) in attacks.iter().enumerate() {
        File::create(root.join(format!("deed{number}"))).unwrap();
        recorder.settle("_global", &root);
        let since = format!(">={}", moment());
        assert!(is_complete(&home, &["-t", &since]), "attack {number}");
        attack(&log);
        assert!(!is_complete(&home, &["-t", &since]), "attack {number}");
        assert_eq!(
            home.journal_of("LOG").len(),
            number + 1,
            "each is noted once"
        );
        assert!(!is_complete(&home, &[]), "attack {number}");
        assert_eq!(
            home.journal_of("LOG").len(),
            number + 1,
            "each is noted once"
        );
    }
    recorder.settle("_global", &root);
    recorder.stop();
    // And when it has stopped.
    for attack in &attacks[..2] {
        fs::remove_dir_all(home.log_dir()).unwrap();
        let mut recorder = home.start();
        recorder.settle("_global", &root);
        recorder.stop();
        assert!(is_complete(&home, &[]));
        attack(&log);
        assert!(!is_complete(&home, &[]));
    }
}

/// No state of the journal's file makes `verify` wait, or say that all is well.
fn odd_journals() {
    let (_ground, root, home) = watched();
    let mut recorder = home.start();
    recorder.settle("_global", &root);
    recorder.stop();
    let journal = home.log_dir().join("journal.jsonl");
    let whole = fs::read(&journal).unwrap();
    assert!(is_complete(&home, &[]));
    let not_complete = |what: &str| {
        let mut program = Command::new("timeout");
        program
            .arg("60")
            .arg(env!("CARGO_BIN_EXE_fsmon"))
            .arg("verify");
        let done = home.surround(program).output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{what}: {}", tell(&done));
    };
    let inner = &whole[..whole.len() - 1];
    let last = inner.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("half of the last line", &whole[..whole.len() - 20]),
        ("without the last line", &whole[..last]),
        ("the last line alone", &whole[last..]),
        ("twice", &[&whole[..], &whole].concat()),
        ("a blank line", &[&whole[..], b"\n"].concat()),
        ("zeros", &[&whole[..], &[0; 4096], b"\n"].concat()),
        ("a forged gap", &[&whole[..], b"{\"time\":\"2026-05-07T10:00:00.000000000Z\",\"event\":\"GAP\",\"lost\":-9223372036854775808,\"since\":\"9999-99-99\"}\n"].concat()),
    ] {
        fs::write(&journal, bytes).unwrap();
        not_complete(what);
    }
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    not_complete("directory");
    fs::remove_dir(&journal).unwrap();
    sh(&["mkfifo"], &[&journal]);
    not_complete("fifo");
    fs::remove_file(&journal).unwrap();
    symlink("/dev/zero", &journal).unwrap();
    not_complete("device");
    fs::remove_file(&journal).unwrap();
    // False alarms count as well: nothing was done, nothing is said.
    fs::write(&journal, &whole).unwrap();
    assert!(is_complete(&home, &[]));
}
