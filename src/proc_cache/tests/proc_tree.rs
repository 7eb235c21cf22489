//! Snapshots of a /proc made of ordinary files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// When the daemon's feed was opened and /proc was read, in these tests.
const NOW: u64 = 1 << 50;

struct Proc(tempfile::TempDir);

impl Proc {
    fn new() -> Self {
        let proc = Self(tempfile::tempdir().unwrap());
        proc.add(1, 0, "systemd", 0, 1);
        // What is no process is in /proc too.
        fs::create_dir(proc.root().join("sys")).unwrap();
        fs::write(proc.root().join("version"), "Linux").unwrap();
        proc
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn add(&self, pid: u32, ppid: u32, comm: &str, uid: u32, start: u64) {
        let dir = self.root().join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        let stat =
            format!("{pid} ({comm}) S {ppid} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0\n");
        fs::write(dir.join("stat"), stat).unwrap();
        // The kernel escapes the name here.
        let name = comm.replace('\\', "\\\\").replace('\n', "\\n");
        let status = format!("Name:\t{name}\nUid:\t0\t{uid}\t0\t0\n");
        fs::write(dir.join("status"), status).unwrap();
        let exe = dir.join("exe");
        if fs::symlink_metadata(&exe).is_err() {
            symlink("/usr/bin/prog", exe).unwrap();
        }
    }

    fn remove(&self, pid: u32) {
        fs::remove_dir_all(self.root().join(pid.to_string())).unwrap();
    }

    fn read(&self, table: &mut ProcTable, now: u64) -> usize {
        table.snapshot_at(self.root(), now, &|| now + MS).unwrap()
    }
}

#[test]
fn forged_names_fool_nobody() {
    let proc = Proc::new();
    let names = [
        "a b) R 1 (c",
        "x\n1 (y",
        "p|q;r",
        ") S 0 (",
        "Uid:\t0\t0\t0\t0",
    ];
    for (n, name) in names.iter().enumerate() {
        proc.add(10 + n as u32, 1, name, 4_000_000_000, 5);
    }
    let mut table = table();
    assert_eq!(proc.read(&mut table, NOW), 6);
    for (n, name) in names.iter().enumerate() {
        let who = table.at(10 + n as u32, NOW + 5 * MS).unwrap();
        assert_eq!(&*who.comm, &name[..name.len().min(15)]);
        assert_eq!((who.ppid, &*who.user), (1, "4000000000"));
        assert_eq!(who.exe.as_deref(), Some("/usr/bin/prog"));
        assert_eq!(who.attribution, Attribution::Exact);
    }
    let chain = table.chain(12, NOW + 5 * MS);
    assert_eq!(chain, "12|p\\x7cq\\x3br|4000000000;1|systemd|root");
}

#[test]
fn parents_may_be_listed_after_their_children() {
    let proc = Proc::new();
    proc.add(20, 30, "child", 0, 9);
    proc.add(30, 40, "parent", 0, 8);
    proc.add(40, 1, "grandparent", 0, 7);
    let mut table = table();
    proc.read(&mut table, NOW);
    let chain = "20|child|root;30|parent|root;40|grandparent|root;1|systemd|root";
    assert_eq!(table.chain(20, NOW + MS), chain);
    assert!(table.belongs_to(20, NOW + MS, "grandparent"));
    assert!(table.belongs_to(20, NOW + MS, "prog"));
}

#[test]
fn children_of_older_processes_are_known_from_their_first_moment() {
    let proc = Proc::new();
    proc.add(20, 1, "bash", 0, 7);
    let mut table = table();
    proc.read(&mut table, NOW);
    apply(&mut table, &[fork(NOW + 10 * MS, 50, 20)]);
    assert_eq!(named(table.at(50, NOW + 11 * MS)), exact("bash"));
    assert_eq!(
        table.chain(50, NOW + 11 * MS),
        "50|bash|root;20|bash|root;1|systemd|root"
    );
}

#[test]
fn a_change_while_proc_was_being_read_is_not_claimed_for_before() {
    let proc = Proc::new();
    proc.add(20, 1, "new", 0, 7);
    let mut table = table();
    proc.read(&mut table, NOW);
    // Its name was read at NOW + 1 ms, after this exec.
    apply(&mut table, &[exec(NOW + MS / 2, 20, "new")]);
    assert_eq!(
        table.at(20, NOW + MS / 4).unwrap().attribution,
        Attribution::Ambiguous
    );
    assert_eq!(named(table.at(20, NOW + MS)), exact("new"));
    // This one was seen before anything else happened to it.
    assert_eq!(named(table.at(1, NOW + MS / 4)), exact("systemd"));
}

#[test]
fn a_process_born_while_proc_was_being_read_is_known_by_its_records() {
    let proc = Proc::new();
    proc.add(20, 1, "bash", 0, 7);
    // Born after the feed was opened and listed under its second name.
    let ticks = (NOW - 5 * MS) / (10 * MS);
    proc.add(50, 20, "touch", 0, ticks);
    let mut table = table();
    proc.read(&mut table, NOW);
    let born = NOW - 4 * MS;
    apply(
        &mut table,
        &[fork(born, 50, 20), exec(born + 2 * MS, 50, "touch")],
    );
    assert_eq!(table.at(50, born + MS).unwrap().comm, "bash".into());
    assert_eq!(named(table.at(50, NOW + 9 * MS)), exact("touch"));
    assert_eq!(table.stats().alive, 3);
    apply(&mut table, &[exit(NOW + 20 * MS, 50)]);
    assert_eq!(table.stats().alive, 2);
}

#[test]
fn a_resync_corrects_what_a_loss_has_hidden() {
    let proc = Proc::new();
    proc.add(20, 1, "bash", 0, 7);
    proc.add(21, 1, "ends", 0, 7);
    proc.add(22, 1, "again", 0, 7);
    let mut table = table();
    proc.read(&mut table, NOW);
    let loss = ProcChange::Lost {
        count: 9,
        since: NOW + 100 * MS,
    };
    apply(&mut table, &[record(NOW + 200 * MS, 0, loss)]);

    proc.remove(21);
    proc.add(20, 1, "exec-missed", 4_000_000_000, 7);
    proc.add(22, 20, "another", 0, 99);
    proc.add(60, 20, "birth-missed", 0, 98);
    let resync = NOW + 300 * MS;
    proc.read(&mut table, resync);

    assert!(!table.needs_resync());
    let later = resync + 10 * MS;
    assert_eq!(named(table.at(20, NOW + 50 * MS)), exact("bash"));
    assert_eq!(named(table.at(20, NOW + 150 * MS)), ambiguous("bash"));
    assert_eq!(named(table.at(20, later)), exact("exec-missed"));
    assert_eq!(&*table.at(20, later).unwrap().user, "4000000000");
    assert_eq!(named(table.at(22, later)), exact("another"));
    assert_eq!(table.at(22, later).unwrap().ppid, 20);
    assert_eq!(named(table.at(60, later)), exact("birth-missed"));
    assert_eq!(named(table.at(1, later)), exact("systemd"));
    // Gone without a word: whoever has its pid now is somebody else.
    assert!(table.at(21, later).is_none());
}

#[test]
fn a_probe_is_exact_only_for_what_is_older_than_the_event() {
    let proc = Proc::new();
    let mut table = table();
    proc.read(&mut table, NOW);
    proc.add(70, 1, "old", 0, 3);
    proc.add(71, 1, "young", 0, NOW / (10 * MS) + 1000);
    let probe = |table: &mut ProcTable, pid| named(table.probe_proc(proc.root(), pid, NOW));
    assert_eq!(probe(&mut table, 70), exact("old"));
    assert_eq!(probe(&mut table, 71), ambiguous("young"));
    assert!(table.probe_proc(proc.root(), 72, NOW).is_none());
}

#[test]
fn the_dead_but_not_yet_buried_are_dead() {
    let proc = Proc::new();
    let dir = proc.root().join("33");
    proc.add(33, 1, "zombie", 0, 9);
    let stat = fs::read_to_string(dir.join("stat")).unwrap();
    fs::write(dir.join("stat"), stat.replace(") S", ") Z")).unwrap();
    let mut table = table();
    proc.read(&mut table, NOW);
    assert_eq!((table.stats().alive, table.stats().dead), (1, 1));
}

#[test]
fn the_machines_own_proc_can_be_read() {
    let mut table = table();
    let now = crate::sys::clock::monotonic();
    assert!(table.snapshot(Path::new("/proc"), now).unwrap() > 1);
    let me = std::process::id();
    let chain = table.chain(me, now);
    assert!(chain.starts_with(&format!("{me}|")), "{chain}");
    let last = chain.rsplit(';').next().unwrap();
    assert!(last.starts_with("1|") || last.starts_with("0|"), "{chain}");
}
