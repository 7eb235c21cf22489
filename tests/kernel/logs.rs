//! The files that the daemon writes, and what others do to them meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::Suite;
use crate::actor::Actor;
use crate::churn;
use crate::ground::{Fs, Ground, sh};
use crate::lines;
use crate::recorder::{Home, Recorder};
use crate::wait::{PATIENCE, until};

/// A user of the machine that exists only in the mount namespace of the daemon.
pub(crate) const USER: u32 = 4242;

pub(crate) fn list(suite: &mut Suite) {
    suite.one("log_truncated_replaced_or_deleted", log_changed_by_others);
    suite.one("torn_last_line_is_repaired", torn_line);
    suite.one("full_disk", full_disk);
    suite.one("disk_full_for_too_long", full_for_too_long);
    suite.one("stopped_on_a_full_disk", stopped_on_a_full_disk);
    suite.tools(
        "log_disk_becomes_read_only",
        &["mkfs.ext4"],
        becomes_read_only,
    );
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
    // What could not be written meanwhile was held.
    let held = ["through the link?", "still", "after the link"];
    assert_eq!(step("after the link"), held);
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

/// A home whose logs lie on a small disk of their own that another file fills, and its daemon.
fn on_a_full_disk(ground: &Ground, root: &Path, settings: &str) -> (Home, Recorder) {
    let home = Home::new(ground);
    home.configure(settings);
    fs::create_dir_all(home.log_dir()).unwrap();
    sh(
        &["mount", "-t", "tmpfs", "-o", "size=256k", "fsmon-test"],
        &[&home.log_dir()],
    );
    home.watch("_global", root, &["-r"]);
    let mut recorder = home.start();
    recorder.settle("_global", root);
    let mut file = File::create(home.log_dir().join("filler")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    (home, recorder)
}

fn make_room(home: &Home) {
    sh(&["mount", "-o", "remount,size=64m"], &[&home.log_dir()]);
    fs::remove_file(home.log_dir().join("filler")).unwrap();
}

fn full_disk() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let (home, mut recorder) = on_a_full_disk(&ground, &root, "");
    let mut actor = Actor::both(&root);
    churn::plan(&mut actor, &root, 2_000);
    // The daemon must have met the full disk before there is room again.
    recorder.says("No space left");
    home.log_meanwhile("_global");
    make_room(&home);
    recorder.settle("_global", &root);
    recorder.stop();
    actor.truth().check(&home.log("_global"));
    assert!(
        home.journal_of("GAP").is_empty(),
        "{:?}",
        home.journal_of("GAP")
    );
}

/// What no longer fits into the memory for lines is counted, in the log and in the journal.
fn full_for_too_long() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let settings = "[capture]\nwrite_ceiling = \"1MB\"\n";
    let (home, mut recorder) = on_a_full_disk(&ground, &root, settings);
    const ALL: usize = 12_000;
    for number in 0..ALL {
        File::create(root.join(format!("n{number}"))).unwrap();
    }
    recorder.says("events lost: the memory for lines");
    make_room(&home);
    // Until it has written what it holds there is no place for a marker either.
    recorder.wait_for("_global", "\"event_type\":\"GAP\"");
    recorder.settle("_global", &root);
    let told = until(PATIENCE, || {
        Some(home.journal_of("GAP")).filter(|gaps| !gaps.is_empty())
    });
    let told = told.expect("a GAP in the journal");
    recorder.stop();
    let log = home.log("_global");
    let gaps: Vec<_> = log.iter().filter(|line| line.kind == "GAP").collect();
    let lost: i64 = gaps.iter().map(|gap| gap.lost.unwrap()).sum();
    let mut names: Vec<_> = log.iter().filter(|line| line.kind == "CREATE").collect();
    let made = names.iter().filter(|line| !line.is_inferred).count();
    let closed = log.iter().filter(|line| line.kind == "CLOSE_WRITE").count();
    assert!(lost > 0 && made + closed < 2 * ALL);
    // Everything is a line or counted; the settling makes and removes a directory.
    let others = log.len() - gaps.len() - names.len() - closed;
    assert_eq!(lost as usize + made + closed, 2 * ALL, "{others} others");
    // And what was lost is found out: there is a line of each file.
    names.sort_by_key(|line| &line.path);
    names.dedup_by_key(|line| &line.path);
    assert_eq!(names.len(), ALL);
    let journal: i64 = told.iter().map(|gap| gap["lost"].as_i64().unwrap()).sum();
    assert_eq!(journal, lost);
}

/// What cannot be written at the end is said, and the next run knows that the end is missing.
fn stopped_on_a_full_disk() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let (home, mut recorder) = on_a_full_disk(&ground, &root, "");
    for number in 0..2000 {
        File::create(root.join(format!("n{number}"))).unwrap();
    }
    recorder.says("No space left");
    recorder.signal(Signal::TERM);
    recorder.wait_end();
    recorder.says("are lost");
    assert!(home.journal_of("STOP").is_empty());
    make_room(&home);
    let compared = home.journal_of("INFERRED").len();
    let recorder = home.start();
    let starts = home.journal_of("START");
    assert_eq!(starts.last().unwrap()["after_crash"], true, "{starts:?}");
    // An end that comes before leaves the rest to the next start.
    let told = until(PATIENCE, || {
        (home.journal_of("INFERRED").len() > compared).then_some(())
    });
    assert!(told.is_some(), "{}", recorder.said());
    recorder.stop();
    assert_eq!(home.journal_of("STOP").len(), 1);
    // What was not written then is found out now.
    let log = home.log("_global");
    let made = log.iter().filter(|line| line.kind == "CREATE");
    let mut names: Vec<_> = made.map(|line| &line.path).collect();
    names.sort();
    assert_eq!(names.len(), 2000);
    names.dedup();
    assert_eq!(names.len(), 2000);
}

/// A disk that turns read-only after an error is said; recording goes on, and into a log that is elsewhere
/// as soon as it can.
fn becomes_read_only() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    fs::create_dir_all(home.log_dir()).unwrap();
    let image = ground.image("logs", "16M");
    sh(&["mkfs.ext4", "-q"], &[&image]);
    sh(&["mount", "-o", "loop"], &[&image, &home.log_dir()]);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    fs::write(root.join("before"), "").unwrap();
    recorder.settle("_global", &root);
    assert_eq!(names(&home), ["before"]);
    sh(&["mount", "-o", "remount,abort"], &[&home.log_dir()]);
    fs::write(root.join("meanwhile"), "").unwrap();
    recorder.says("cannot write '_global_log.jsonl'");
    // Somebody takes the broken disk away; what stood on it is another's.
    sh(&["umount", "-l"], &[&home.log_dir()]);
    recorder.settle("_global", &root);
    fs::write(root.join("after"), "").unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    assert_eq!(names(&home), ["meanwhile", "after"]);
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
pub(crate) fn start_for_user(ground: &Ground, home: &Home, before: &[&str]) -> Recorder {
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
    let said = recorder.stop();
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
