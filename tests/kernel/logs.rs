//! The files that the daemon writes, and what others do to them meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::Suite;
use crate::actor::Actor;
use crate::churn;
use crate::ground::{Fs, Ground, sh};
use crate::lines;
use crate::recorder::{Home, Recorder};
use crate::wait::{PATIENCE, until};
use crate::workers::Worker;

/// A user of the machine that exists only in the mount namespace of the daemon.
const USER: u32 = 4242;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("log_truncated_replaced_or_deleted", log_changed_by_others);
    suite.one("torn_last_line_is_repaired", torn_line);
    suite.one("full_disk", full_disk);
    suite.one("clean_in_a_flood", clean_in_a_flood);
    suite.one("auto_clean", auto_clean);
    suite.tools(
        "files_belong_to_the_sudo_user",
        &["mount", "unshare"],
        belong_to_the_user,
    );
    suite.tools(
        "filesystem_without_owners",
        &["mount", "unshare", "setpriv"],
        without_owners,
    );
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

fn log_changed_by_others() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    let log = home.log_path("_global");
    let mut step = |name: &str| {
        fs::write(root.join(name), "").unwrap();
        recorder.settle("_global", &root);
        names(&home)
    };
    assert_eq!(step("1"), ["1"]);

    OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_eq!(step("truncated"), ["truncated"]);

    let copy = log.with_extension("tmp");
    fs::copy(&log, &copy).unwrap();
    fs::rename(&copy, &log).unwrap();
    assert_eq!(step("replaced"), ["truncated", "replaced"]);

    let rotated = log.with_extension("1");
    fs::rename(&log, &rotated).unwrap();
    assert_eq!(step("rotated"), ["rotated"]);
    assert_eq!(lines::read(&rotated).len(), 2);

    fs::remove_file(&log).unwrap();
    assert_eq!(step("deleted"), ["deleted"]);

    fs::remove_dir_all(home.log_dir()).unwrap();
    assert_eq!(step("directory deleted"), ["directory deleted"]);

    // A link that somebody planted is not followed.
    let victim = ground.dir.join("victim");
    fs::write(&victim, "as it was").unwrap();
    fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink(&victim, &log).unwrap();
    fs::write(root.join("through the link?"), "").unwrap();
    fs::write(root.join("still"), "").unwrap();
    until(std::time::Duration::from_millis(300), || None::<()>);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
    fs::remove_file(&log).ok();
    let told = step("after the link");
    assert!(told.contains(&"after the link".to_owned()), "{told:?}");
    recorder.stop();
}

fn torn_line() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    fs::write(root.join("1"), "").unwrap();
    recorder.settle("_global", &root);
    recorder.kill();
    let log = home.log_path("_global");
    let whole = fs::read(&log).unwrap();
    let half = &whole[..whole.len() / 3];
    OpenOptions::new()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(half)
        .unwrap();
    let torn = fs::read(&log).unwrap();
    assert!(!torn.ends_with(b"\n"));
    let mut recorder = home.start();
    fs::write(root.join("2"), "").unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    assert_eq!(names(&home), ["1", "2"]);
}

fn full_disk() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    fs::create_dir_all(home.log_dir()).unwrap();
    sh(
        &["mount", "-t", "tmpfs", "-o", "size=256k", "fsmon-test"],
        &[&home.log_dir()],
    );
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    recorder.settle("_global", &root);
    let filler = home.log_dir().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let mut actor = Actor::both(&root);
    churn::plan(&mut actor, &root, 2_000);
    // The daemon must have met the full disk before there is room again.
    let met = until(PATIENCE, || {
        let said = recorder.stderr();
        said.iter()
            .any(|line| line.contains("No space left"))
            .then_some(())
    });
    assert!(
        met.is_some(),
        "nothing is said of the full disk\n{}",
        recorder.said()
    );
    lines::read(&home.log_path("_global"));
    sh(&["mount", "-o", "remount,size=64m"], &[&home.log_dir()]);
    fs::remove_file(&filler).unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    actor.truth().check(&home.log("_global"));
    assert!(
        home.journal_of("GAP").is_empty(),
        "{:?}",
        home.journal_of("GAP")
    );
}

fn clean_in_a_flood() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r"]);
    let mut recorder = home.start();
    let mut worker = Worker::new("churn", &[root.to_str().unwrap(), "10000"]);
    worker.go();
    let over = std::thread::spawn(move || worker.finish());
    let mut turns = 0;
    while !over.is_finished() || turns < 10 {
        // Something to cut off at the head: a line older than what is kept.
        home.ok(&["clean", "_global", "--time", ">7d"]);
        turns += 1;
    }
    over.join().unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    let mut actor = Actor::book(&root);
    churn::plan(&mut actor, &root, 10_000);
    actor.truth().check(&home.log("_global"));
}

/// The daemon trims what is too old by itself when it starts, and says so in the journal.
fn auto_clean() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    fs::create_dir_all(home.log_dir()).unwrap();
    let (log, other) = (home.log_path("_global"), home.log_path("other"));
    let old = |second: u32| {
        format!(
            "{{\"time\":\"2020-01-01T00:00:{second:02}.000000000Z\",\"event_type\":\"CREATE\",\"path\":\"/old\"}}\n"
        )
    };
    let olds: String = (10..50).map(old).collect();
    fs::write(&log, &olds).unwrap();
    fs::write(&other, olds.clone() + "not an event\n").unwrap();

    let mut recorder = home.start();
    fs::write(root.join("1"), "").unwrap();
    recorder.settle("_global", &root);
    assert_eq!(fs::read_to_string(&other).unwrap().lines().count(), 41);
    assert!(home.journal_of("CLEAN").is_empty());
    recorder.stop();

    home.configure("[logging]\nauto_clean = \"1m\"\nkeep_days = 1\n");
    let mut recorder = home.start();
    let told = until(PATIENCE, || {
        Some(home.journal_of("CLEAN")).filter(|told| told.len() == 2)
    });
    let told = told.expect("two logs are cleaned");
    for (entry, name) in told.iter().zip(["_global_log.jsonl", "other_log.jsonl"]) {
        assert_eq!(entry["log"], name);
        assert_eq!(entry["deleted"], 40);
        assert!(entry["before"].as_u64() > entry["after"].as_u64());
    }
    fs::write(root.join("2"), "").unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    assert_eq!(names(&home), ["1", "2"]);
    assert_eq!(fs::read_to_string(&other).unwrap(), "not an event\n");
}

/// Starts the daemon where an /etc/passwd of the test is in force, as sudo would for its user.
fn start_for_user(ground: &Ground, home: &Home, before: &[&str]) -> Recorder {
    // A home is its user's, with all that is in it: what the daemon opens there, it opens as that user.
    let id = USER.to_string();
    sh(&["chown", "-R", &format!("{id}:{id}")], &[&home.dir]);
    fs::set_permissions(&ground.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let passwd = ground.dir.join("passwd");
    let entry = format!(
        "fsmontest:x:{USER}:{USER}::{}:/bin/sh\n",
        home.dir.display()
    );
    fs::write(&passwd, fs::read_to_string("/etc/passwd").unwrap() + &entry).unwrap();
    let script = format!(
        "mount --bind {} /etc/passwd && exec \"$@\"",
        passwd.display()
    );
    let mut program = home.surround(Command::new("unshare"));
    program
        .args(["-m", "sh", "-c", &script, "sh"])
        .args(before)
        .arg(env!("CARGO_BIN_EXE_fsmon"))
        .arg("daemon");
    program
        .env("HOME", "/root")
        .env("SUDO_UID", &id)
        .env("SUDO_GID", &id)
        .env("SUDO_USER", "fsmontest");
    Recorder::start(home, program)
}

fn belong_to_the_user() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    let given = |path: &Path| std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
    given(&home.dir);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    for path in [home.store().parent().unwrap().to_owned(), home.store()] {
        given(&path);
    }
    let mut recorder = start_for_user(&ground, &home, &[]);
    fs::write(root.join("1"), "").unwrap();
    recorder.settle("_global", &root);
    let files = [
        home.log_path("_global"),
        home.log_dir(),
        home.log_dir().join("journal.jsonl"),
        home.socket.clone(),
    ];
    for path in &files {
        let owner = fs::symlink_metadata(path).unwrap();
        assert_eq!(
            (owner.uid(), owner.gid()),
            (USER, USER),
            "{}",
            path.display()
        );
    }
    assert_eq!(
        fs::symlink_metadata(&home.socket)
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    recorder.stop();
    assert_eq!(names(&home), ["1"]);
}

/// Where files cannot be given away that is said once at most, and nothing else changes: they are
/// made with the user's rights, and what cannot be given away without CAP_CHOWN is the user's already.
fn without_owners() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = start_for_user(
        &ground,
        &home,
        &["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"],
    );
    for name in ["1", "2", "3"] {
        fs::write(root.join(name), "").unwrap();
        recorder.settle("_global", &root);
    }
    let said = recorder.stderr();
    recorder.stop();
    assert_eq!(names(&home), ["1", "2", "3"]);
    let log = home.log_dir();
    let warnings: Vec<&String> = said
        .iter()
        .filter(|line| line.contains("warning") && names_log(line, &log))
        .collect();
    assert!(warnings.len() <= 1, "{said:?}");
}

fn names_log(line: &str, log_dir: &Path) -> bool {
    lines::contains(line.as_bytes(), log_dir.as_os_str().as_bytes())
}
