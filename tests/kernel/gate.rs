//! The gate: exactly the opens that a rule means are refused, and nobody ever waits for good.

#[path = "gate/cost.rs"]
pub(crate) mod cost;
#[path = "gate/keeper.rs"]
pub(crate) mod keeper;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Suite;
use crate::ground::{Fs, Ground, sh};
use crate::wait::{PATIENCE, halt, until};
use crate::workers::Worker;
use keeper::{Heard, Keeper};
use rustix::process::Signal;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::ALL {
        suite.on(kind, "gate_refuses_exactly_what_is_meant", exactly);
        suite.on(kind, "gate_follows_what_comes_and_goes", comes_and_goes);
        suite.on(kind, "gate_knows_files_by_every_name", every_name);
        suite.on(kind, "gate_observes_opens", observes);
    }
    suite.one("gate_rule_for_a_command", for_a_command);
    suite.one("gate_rule_with_an_exception_and_a_user", exception_and_user);
    suite.one("gate_deadline_lets_pass", deadline);
    suite.one("gate_nobody_hangs_when_it_ends", nobody_hangs);
    suite.one("gate_refuses_programs_and_writing", programs_and_writing);
    suite.one("gate_rules_set_anew", set_anew);
    suite.one("gate_at_a_fifo", fifo);
    suite.one("gate_with_few_descriptors", few_descriptors);
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        let name = format!("gate_cost::{}", kind.name());
        suite.alone(&name, &[kind.tool()], move || cost::of_opens(kind));
    }
}

const LONG: Duration = Duration::from_secs(1000);
const OPENERS: usize = 6;
const OPENS: usize = 3000;

fn is_refused(opened: io::Result<File>) -> bool {
    match opened {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            assert_eq!(error.raw_os_error(), Some(1), "EPERM, not EACCES");
            true
        }
    }
}

fn refused(path: &Path) -> bool {
    is_refused(File::open(path))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Numbers that look random and are the same in each run.
fn next(state: &mut u64) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

/// What an opener does: opens files of the tree in all ways; those called secret, and no others, must fail.
pub(crate) fn open_some(root: &Path, seed: usize, times: usize) {
    let files: Vec<PathBuf> = tree(root).collect();
    let mut state = seed as u64;
    let mut met = 0;
    for _ in 0..times {
        let path = &files[next(&mut state) % files.len()];
        let mut options = OpenOptions::new();
        match next(&mut state) % 4 {
            0 => options.write(true),
            1 => options.read(true).write(true),
            2 => options.append(true),
            _ => options.read(true),
        };
        let is_meant = path.file_name().unwrap() == "secret";
        assert_eq!(
            is_refused(options.open(path)),
            is_meant,
            "{}",
            path.display()
        );
        met += u64::from(is_meant);
    }
    println!("{met}");
}

/// The files of the tree: a secret and others in each of its directories, and in some beside it.
fn tree(root: &Path) -> impl Iterator<Item = PathBuf> {
    let dirs = [
        "beside",
        "beside/in",
        "kept",
        "kept/a",
        "kept/a/b",
        "kept/c",
    ];
    let dirs = dirs.map(|dir| root.join(dir));
    let names = ["plain", "other", "secret", "secretly"];
    dirs.into_iter().flat_map(move |dir| {
        let is_kept = dir.components().any(|part| part.as_os_str() == "kept");
        let names = names
            .into_iter()
            .filter(move |name| is_kept || *name != "secret");
        names.map(move |name| dir.join(name))
    })
}

fn grow(root: &Path) {
    for file in tree(root) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "x").unwrap();
    }
}

fn exactly(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    grow(&root);
    let mut keeper = Keeper::new(LONG);
    let pattern = format!("{}/kept/**/secret", root.display());
    assert_eq!(keeper.guard(&[[&pattern, "", "", ""]]), (4, 4));
    let job = |seed: usize| {
        let (seed, times) = (seed.to_string(), OPENS.to_string());
        Worker::new("opens", &[text(&root), &seed, &times])
    };
    let mut workers: Vec<Worker> = (0..OPENERS).map(job).collect();
    let pids: Vec<u32> = workers.iter().map(Worker::pid).collect();
    workers.iter_mut().for_each(Worker::go);
    let met: Vec<usize> = workers
        .into_iter()
        .map(|worker| worker.finish().trim().parse().unwrap())
        .collect();
    let told = keeper.refusals(met.iter().sum());
    for (pid, met) in pids.iter().zip(&met) {
        let by_it = told.iter().filter(|one| one.pid == *pid);
        assert_eq!(by_it.count(), *met);
    }
    assert_eq!(told.len(), met.iter().sum::<usize>());
    for one in &told {
        assert_eq!(one.rule, 0, "{one:?}");
        assert!(one.path.ends_with("/secret"), "{one:?}");
        assert!(one.path.starts_with(&format!("{}/kept", root.display())));
    }
    let [_, refusals, asked, overdue, failed] = keeper.tally();
    assert_eq!(
        (refusals as usize, asked, overdue, failed),
        (told.len(), 0, 0, 0)
    );
    keeper.end();
    assert!(
        !refused(&root.join("kept/secret")),
        "with the gate the rule ends"
    );
}

fn comes_and_goes(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    grow(&root);
    let kept = root.join("kept");
    let mut keeper = Keeper::new(LONG);
    let pattern = format!("{}/**/secret", kept.display());
    keeper.guard(&[[&pattern, "", "", ""]]);
    let secret = kept.join("secret");
    assert!(refused(&secret) && refused(&secret), "again and again");

    // Replaced, removed and made anew: from the first open on.
    fs::write(kept.join("secret.new"), "new").unwrap();
    fs::rename(kept.join("secret.new"), &secret).unwrap();
    assert!(refused(&secret));
    fs::remove_file(&secret).unwrap();
    let made = File::create_new(&secret);
    println!(
        "{}: a new secret: {made:?}, there: {}",
        kind.name(),
        secret.is_file()
    );
    assert!(is_refused(made));

    // A directory made below, and one moved there.
    let new = kept.join("a/new");
    fs::create_dir(&new).unwrap();
    keeper.tell("dir", &new);
    fs::write(new.join("first"), "x").unwrap();
    fs::rename(new.join("first"), new.join("secret")).unwrap();
    keeper.tell("file", &new.join("secret"));
    assert!(refused(&new.join("secret")));
    let away = root.join("away");
    fs::create_dir_all(away.join("deep/er")).unwrap();
    fs::write(away.join("deep/er/secret"), "x").unwrap();
    assert!(!refused(&away.join("deep/er/secret")));
    fs::rename(&away, kept.join("came")).unwrap();
    keeper.tell("dir", &kept.join("came"));
    assert!(refused(&kept.join("came/deep/er/secret")));

    // A directory that is moved within stays guarded; what leaves stays protected by identity, and what
    // is new out there is not.
    fs::rename(kept.join("came"), kept.join("went")).unwrap();
    keeper.tell("gone", &kept.join("came"));
    keeper.tell("dir", &kept.join("went"));
    assert!(refused(&kept.join("went/deep/er/secret")));
    fs::rename(kept.join("went"), root.join("out")).unwrap();
    keeper.tell("gone", &kept.join("went"));
    assert!(refused(&root.join("out/deep/er/secret")));
    fs::write(root.join("out/deep/secret"), "x").unwrap();
    assert!(!refused(&root.join("out/deep/secret")));
    // A mark that was left over is taken off when it is met.
    let quiet = until(PATIENCE, || {
        let before = keeper.tally()[0];
        assert!(!refused(&root.join("out/deep/secret")));
        (keeper.tally()[0] == before).then_some(())
    });
    assert!(quiet.is_some());

    // Another file with the number of one that was protected is another file.
    let name = root.join("out/deep/er/secret");
    let number = fs::metadata(&name).unwrap().ino();
    fs::remove_file(&name).unwrap();
    let mut reused = 0;
    for count in 0..200 {
        let path = root.join(format!("kept/plain{count}"));
        fs::write(&path, "x").unwrap();
        reused += u32::from(fs::metadata(&path).unwrap().ino() == number);
        assert!(!refused(&path));
    }
    println!("{}: number reused {reused} times", kind.name());
    keeper.end();
}

fn every_name(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    grow(&root);
    let secret = root.join("kept/secret");
    let (before, after, link) = (root.join("before"), root.join("after"), root.join("link"));
    fs::hard_link(&secret, &before).unwrap();
    let mut keeper = Keeper::new(LONG);
    keeper.guard(&[[text(&secret), "", "", ""]]);
    fs::hard_link(&secret, &after).unwrap();
    symlink(&secret, &link).unwrap();
    for name in [&secret, &before, &after, &link] {
        assert!(refused(name), "{}", name.display());
    }
    // Through a bind mount, also what is new there.
    let bound = ground.directory("bound");
    sh(&["mount", "--bind"], &[&root.join("kept"), &bound]);
    assert!(refused(&bound.join("secret")));
    fs::remove_file(&secret).unwrap();
    fs::write(root.join("kept/x"), "x").unwrap();
    fs::rename(root.join("kept/x"), &secret).unwrap();
    assert!(refused(&bound.join("secret")));
    assert!(refused(&secret));
    assert!(!refused(&bound.join("plain")));
    // The old one is still the secret under its other names.
    assert!(refused(&before) && refused(&after));
    let told = keeper.refusals(8).into_iter().map(|one| one.path);
    let told: Vec<String> = told.collect();
    for name in [&secret, &before, &after, &bound.join("secret")] {
        assert!(told.contains(&text(name).to_owned()), "{told:?}");
    }
    // A descriptor without rights is no open, and one made from it is.
    let path = rustix::fs::open(&secret, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty());
    let path = path.unwrap();
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&path));
    assert!(refused(Path::new(&again)));
    keeper.end();
}

fn observes(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    grow(&root);
    let mut keeper = Keeper::new(LONG);
    let scope = keeper.tell("observe", &root);
    println!("{}: {scope}", kind.name());
    assert_eq!(scope, "Filesystem None");
    let plain = root.join("kept/plain");
    for _ in 0..50 {
        File::open(&plain).unwrap();
        fs::write(root.join("beside/other"), "y").unwrap();
    }
    fs::remove_file(&plain).unwrap();
    let mut opens = Vec::new();
    let mut closes = Vec::new();
    until(PATIENCE, || {
        let told = keeper.told();
        assert!(told.iter().all(|one| one.kind == "seen"), "{told:?}");
        let told = told.into_iter().filter(|one| one.pid == std::process::id());
        let (open, close): (Vec<Heard>, Vec<Heard>) = told.partition(|one| one.more == OPEN_PERM);
        opens.extend(open);
        closes.extend(close);
        (opens.len() >= 100 && !closes.is_empty()).then_some(())
    })
    .unwrap();
    let on = |path: &Path| opens.iter().filter(|one| one.path == text(path)).count();
    assert_eq!((on(&plain), on(&root.join("beside/other"))), (50, 50));
    assert!(closes.iter().all(|one| one.path.ends_with("beside/other")));
    keeper.end();

    // What is opened through one mount, and not what through another.
    let bound = ground.directory("bound");
    sh(&["mount", "--bind"], &[&root, &bound]);
    let mut keeper = Keeper::new(LONG);
    assert_eq!(keeper.tell("mount", &bound), "Mount None");
    File::open(root.join("kept/other")).unwrap();
    File::open(bound.join("kept/other")).unwrap();
    let seen = until(PATIENCE, || keeper.told().pop()).unwrap();
    assert_eq!(seen.path, text(&bound.join("kept/other")));
    assert_eq!(keeper.tally()[0], 1);
    keeper.end();
}

const OPEN_PERM: &str = "65536";

/// A copy of a program under another name.
fn copy(ground: &Ground, program: &str, name: &str) -> PathBuf {
    let copy = ground.dir.join(name);
    fs::copy(program, &copy).unwrap();
    copy
}

fn succeeds(program: &Path, words: &[&str]) -> bool {
    let done = Command::new(program).args(words).output().unwrap();
    done.status.success()
}

fn for_a_command() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    grow(&root);
    let secret = root.join("kept/secret");
    let secret = text(&secret);
    let agent = copy(&ground, "/bin/sh", "agent-with-a-long-name");
    let cat = Path::new("/bin/cat");
    let mut keeper = Keeper::new(LONG);
    keeper.guard(&[[secret, "agent-with-a-long-name", "", ""]]);
    keeper.order("pass");
    assert!(succeeds(cat, &[secret]));
    let told = keeper.told();
    assert_eq!(
        (told.len(), told[0].kind.as_str()),
        (1, "asked"),
        "{told:?}"
    );

    let reads = format!("cat {secret}; cat {secret}; cat {secret}");
    assert!(!succeeds(&agent, &["-c", &reads]));
    let told = keeper.refusals(3);
    assert!(told.iter().all(|one| one.more == "cat"), "{told:?}");
    assert_eq!(keeper.tally()[1..], [3, 1, 0, 0], "nobody was asked again");

    // Its parent is dead: only the owner can know.
    keeper.order("refuse");
    let mark = root.join("mark");
    let orphan = format!(
        "sh -c \"while kill -0 $$; do :; done; cat {secret}; echo \\$? > {0}.part; mv {0}.part {0}\" > /dev/null 2>&1 &",
        mark.display()
    );
    assert!(succeeds(&agent, &["-c", &orphan]));
    let status = until(PATIENCE, || fs::read_to_string(&mark).ok()).unwrap();
    assert_eq!(status, "1\n");
    assert_eq!(keeper.refusals(1).len(), 1);
    keeper.end();
}

fn exception_and_user() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    grow(&root);
    sh(&["chmod", "-R", "a+rX"], &[&root]);
    let (first, second) = (root.join("kept/secret"), root.join("kept/a/secret"));
    let backup = copy(&ground, "/bin/sh", "backup");
    let mut keeper = Keeper::new(LONG);
    keeper.order("refuse");
    keeper.guard(&[
        [text(&first), "", "backup", ""],
        [text(&second), "", "", "nobody,54321"],
    ]);
    let read = |path: &Path| format!("cat {}; true && cat {}", path.display(), path.display());
    assert!(succeeds(&backup, &["-c", &read(&first)]));
    assert_eq!(keeper.tally()[1..], [0; 4], "decided by the living");
    assert!(!succeeds(Path::new("/bin/cat"), &[text(&first)]));
    assert_eq!(keeper.refusals(1)[0].rule, 0);
    assert_eq!(keeper.tally()[1..], [1, 1, 0, 0]);

    let as_user = |uid: u32| {
        use std::os::unix::process::CommandExt as _;
        let mut cat = Command::new("/bin/cat");
        let done = cat.arg(&second).uid(uid).gid(uid).output().unwrap();
        done.status.success()
    };
    assert!(!as_user(54321) && as_user(54322));
    assert!(succeeds(Path::new("/bin/cat"), &[text(&second)]), "root");
    assert_eq!(keeper.refusals(1)[0].rule, 1);
    assert_eq!(keeper.tally()[1..], [2, 1, 0, 0]);
    keeper.order(&format!("exempt\t{}", std::process::id()));
    assert!(
        succeeds(Path::new("/bin/cat"), &[text(&first)]),
        "a descendant"
    );
    keeper.end();
}

fn deadline() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    grow(&root);
    let secret = root.join("kept/secret");
    let mut keeper = Keeper::new(Duration::from_millis(200));
    keeper.order("never");
    keeper.guard(&[[text(&secret), "agent", "", ""]]);
    let begin = std::time::Instant::now();
    assert!(!refused(&secret));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    let late = until(PATIENCE, || {
        let told = keeper.told();
        told.into_iter().find(|one| one.kind == "overdue")
    });
    assert_eq!(late.unwrap().more, "late");
    assert_eq!(keeper.tally()[1..], [0, 1, 1, 0]);
    // An unrelated open does not wait for one that is undecided.
    let mut waiting = reader(&secret);
    until(PATIENCE, || (keeper.tally()[2] == 2).then_some(())).unwrap();
    assert!(!refused(&root.join("kept/plain")));
    assert!(waiting.wait().unwrap().success());
    keeper.end();
}

fn reader(path: &Path) -> Child {
    let mut cat = Command::new("/bin/cat");
    cat.arg(path).stdout(Stdio::null()).spawn().unwrap()
}

fn all_end(readers: Vec<Child>) {
    for mut reader in readers {
        let status = until(PATIENCE, || reader.try_wait().unwrap());
        assert!(status.expect("it hangs").success());
    }
}

fn nobody_hangs() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    grow(&root);
    let secret = root.join("kept/secret");
    let waiting = |number: u64| {
        let mut keeper = Keeper::new(LONG);
        keeper.order("never");
        keeper.guard(&[[text(&secret), "agent", "", ""]]);
        let readers: Vec<Child> = (0..number).map(|_| reader(&secret)).collect();
        until(PATIENCE, || (keeper.tally()[2] == number).then_some(())).unwrap();
        (keeper, readers)
    };
    // Ended in order, killed, and killed while it does not even read.
    let (keeper, readers) = waiting(30);
    keeper.end();
    all_end(readers);
    let (keeper, readers) = waiting(30);
    drop(keeper);
    all_end(readers);
    let (keeper, mut readers) = waiting(3);
    halt(keeper.pid());
    readers.extend((0..30).map(|_| reader(&secret)));
    readers.iter().for_each(waits);
    drop(keeper);
    all_end(readers);

    // More than may wait for decisions: the others pass at once, and that is said.
    let mut keeper = Keeper::new(LONG);
    keeper.order("never");
    keeper.guard(&[[text(&secret), "agent", "", ""]]);
    let readers: Vec<Child> = (0..300).map(|_| reader(&secret)).collect();
    until(PATIENCE, || {
        let [_, refused, asked, overdue, failed] = keeper.tally();
        assert_eq!((refused, failed), (0, 0));
        (asked + overdue == 300).then_some(())
    })
    .unwrap();
    let mut crowded = 0;
    until(PATIENCE, || {
        let told = keeper.told();
        crowded += told.iter().filter(|one| one.more == "crowded").count();
        (crowded >= 300 - 256).then_some(())
    });
    assert_eq!(crowded, 300 - 256);
    keeper.end();
    all_end(readers);
}

fn programs_and_writing() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    let program = bin.join("tool");
    fs::copy("/bin/true", &program).unwrap();
    fs::write(bin.join("text"), "kept").unwrap();
    let mut keeper = Keeper::new(LONG);
    let pattern = format!("{}/t*", bin.display());
    keeper.guard(&[[&pattern, "", "", ""]]);
    let error = Command::new(&program).status().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(1));
    assert!(is_refused(File::create(bin.join("text"))));
    keeper.guard(&[]);
    assert_eq!(fs::read(bin.join("text")).unwrap(), b"kept", "not cut off");
    assert!(Command::new(&program).status().unwrap().success());
    keeper.end();
}

fn set_anew() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    grow(&root);
    let (first, second) = (root.join("kept/secret"), root.join("kept/a/secret"));
    let moved = root.join("moved");
    let mut keeper = Keeper::new(LONG);
    let both = [[text(&first), "", "", ""], [text(&second), "", "", ""]];
    assert_eq!(keeper.guard(&both), (2, 2));
    assert!(refused(&first) && refused(&second));
    fs::rename(&first, &moved).unwrap();
    // Moved away, and still meant by a rule that stays.
    assert_eq!(keeper.guard(&both[..1]).0, 1);
    assert!(refused(&moved) && !refused(&second));
    let [before, ..] = keeper.tally();
    assert!(!refused(&second));
    assert_eq!(keeper.tally()[0], before, "its mark is gone");
    keeper.guard(&both[1..]);
    assert!(!refused(&moved) && refused(&second));
    keeper.end();
}

/// Without a descriptor for the gate the kernel refuses an open, so the gate must not run out of them.
fn few_descriptors() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    grow(&root);
    let secret = root.join("kept/secret");
    let mut keeper = Keeper::with_files(LONG, 24);
    keeper.order("pass");
    keeper.guard(&[[text(&secret), "agent", "", ""]]);
    halt(keeper.pid());
    let readers: Vec<Child> = (0..60).map(|_| reader(&secret)).collect();
    readers.iter().for_each(waits);
    signal(&keeper, Signal::CONT);
    all_end(readers);
    keeper.end();
}

fn signal(keeper: &Keeper, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(keeper.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Returns once it waits for the gate: in no other state does `cat` sleep without being woken by a signal.
fn waits(reader: &Child) {
    let sleeps = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", reader.id())).unwrap();
        let is_cat = stat.contains("(cat) D");
        is_cat.then_some(())
    };
    until(PATIENCE, sleeps).expect("it waits");
}

/// The kernel opens the file for the gate, too: that must not wait for the other end.
fn fifo() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    fs::create_dir(root.join("kept")).unwrap();
    let fifo = root.join("kept/fifo");
    sh(&["mkfifo"], &[&fifo]);
    fs::write(root.join("kept/secret"), "x").unwrap();
    let mut keeper = Keeper::new(LONG);
    let pattern = format!("{}/kept/s*", root.display());
    keeper.guard(&[[&pattern, "", "", ""]]);
    let mut reader = reader(&fifo);
    let path = fifo.clone();
    let writer = std::thread::spawn(move || fs::write(path, "through").unwrap());
    let status = until(PATIENCE, || reader.try_wait().unwrap());
    assert!(status.unwrap().success());
    writer.join().unwrap();
    assert!(refused(&root.join("kept/secret")));
    println!("fifo: opens looked at: {}", keeper.tally()[0]);
    keeper.end();
}
