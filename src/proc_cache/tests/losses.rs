//! What the table says when it cannot know.

use super::*;

fn lost(since: u64, time: u64) -> ProcRecord {
    let what = ProcChange::Lost { count: 5, since };
    ProcRecord {
        time,
        pid: 0,
        tid: 0,
        what,
    }
}

fn table_with_shell() -> ProcTable {
    let mut table = table();
    apply(&mut table, &[exec(1, 1, "init"), euid(1, 1, 0)]);
    table.assume_seen(1);
    apply(&mut table, &[fork(10 * MS, 50, 1), exec(11 * MS, 50, "sh")]);
    table
}

#[test]
fn nothing_is_sure_that_a_lost_record_might_have_changed() {
    let mut table = table_with_shell();
    apply(
        &mut table,
        &[
            lost(100 * MS, 200 * MS),
            fork(210 * MS, 60, 50),
            exec(220 * MS, 60, "touch"),
        ],
    );
    assert!(table.needs_resync());
    assert_eq!(named(table.at(50, 90 * MS)), exact("sh"));
    assert_eq!(named(table.at(50, 150 * MS)), ambiguous("sh"));
    assert_eq!(named(table.at(50, 300 * MS)), ambiguous("sh"));
    assert_eq!(named(table.at(60, 300 * MS)), exact("touch"));
    assert_eq!((table.stats().losses, table.stats().lost), (1, 5));
}

#[test]
fn the_dead_predecessor_of_a_pid_is_not_blamed_when_a_birth_may_be_lost() {
    let mut table = table_with_shell();
    apply(&mut table, &[exit(20 * MS, 50), lost(100 * MS, 200 * MS)]);
    assert_eq!(named(table.at(50, 90 * MS)), exact("sh"));
    assert!(table.at(50, 300 * MS).is_none());
    let span = Span {
        from: 250 * MS,
        to: 300 * MS,
    };
    assert!(table.at_event(50, moment(span, 1)).is_none());
}

#[test]
fn a_name_without_a_birth_is_ambiguous() {
    let mut table = table_with_shell();
    apply(
        &mut table,
        &[exec(30 * MS, 77, "orphan"), map(31 * MS, 77, "/bin/orphan")],
    );
    let who = table.at(77, 40 * MS).unwrap();
    assert_eq!((&*who.comm, &*who.user), ("orphan", "unknown"));
    assert_eq!(who.attribution, Attribution::Ambiguous);
    assert_eq!(table.chain(77, 40 * MS), "77|orphan|unknown");
}

#[test]
fn a_birth_without_a_known_parent_is_unknown_until_it_has_a_name() {
    let mut table = table_with_shell();
    apply(&mut table, &[fork(30 * MS, 77, 66)]);
    assert_eq!(
        table.at(77, 35 * MS).unwrap().attribution,
        Attribution::Unknown
    );
    apply(&mut table, &[exec(40 * MS, 77, "found")]);
    assert_eq!(named(table.at(77, 45 * MS)), ambiguous("found"));
    let chain = "77|found|unknown;66|unknown|unknown";
    assert_eq!(table.chain(77, 45 * MS), chain);
}

#[test]
fn a_lost_exit_ends_when_the_pid_is_born_again() {
    let mut table = table_with_shell();
    apply(
        &mut table,
        &[fork(100 * MS, 50, 1), exec(110 * MS, 50, "next")],
    );
    assert_eq!(named(table.at(50, 90 * MS)), exact("sh"));
    assert_eq!(named(table.at(50, 120 * MS)), exact("next"));
    assert_eq!((table.stats().alive, table.stats().dead), (2, 1));
}

#[test]
fn a_name_from_proc_is_no_surer_for_a_change_of_user() {
    let mut table = table_with_shell();
    let what = ProcChange::ReadBack {
        comm: "cat".into(),
        exe: Some("/bin/cat".into()),
        read_at: 21 * MS,
    };
    let records = [
        record(20 * MS, 50, ProcChange::Exec),
        euid(22 * MS + 1, 50, 9),
        record(20 * MS, 50, what),
    ];
    apply(&mut table, &records);
    let during = Span {
        from: 20 * MS + 1,
        to: 30 * MS,
    };
    let who = table.at_event(50, moment(during, 1));
    assert_eq!(named(who), ambiguous("cat"));
}

#[test]
fn names_from_proc_are_not_exact_while_an_exec_may_be_under_way() {
    let mut table = table_with_shell();
    let read_back = |time, read_at| {
        let what = ProcChange::ReadBack {
            comm: "cat".into(),
            exe: Some("/bin/cat".into()),
            read_at,
        };
        record(time, 50, what)
    };
    apply(&mut table, &[record(20 * MS, 50, ProcChange::Exec)]);
    assert_eq!(
        table.at(50, 25 * MS).unwrap().attribution,
        Attribution::Unknown
    );
    apply(&mut table, &[read_back(20 * MS, 22 * MS)]);
    assert_eq!(named(table.at(50, 25 * MS)), ambiguous("cat"));
    assert_eq!(named(table.at(50, 300 * MS)), exact("cat"));
    // What was read late may have happened early.
    let late = Span {
        from: 25 * MS,
        to: 300 * MS,
    };
    let who = table.at_event(50, moment(late, 1));
    assert_eq!(named(who), ambiguous("cat"));
    // Two execs, of which only the second could be read.
    let execs = [ProcChange::Exec, ProcChange::Exec];
    let times = [400 * MS, 410 * MS];
    for (what, time) in execs.into_iter().zip(times) {
        apply(&mut table, &[record(time, 50, what)]);
    }
    apply(&mut table, &[read_back(410 * MS, 420 * MS)]);
    assert_eq!(
        table.at(50, 405 * MS).unwrap().attribution,
        Attribution::Unknown
    );
    assert_eq!(named(table.at(50, 600 * MS)), exact("cat"));
}

#[test]
fn hostile_records_break_nothing() {
    let mut table = table_with_shell();
    let changes = [
        ProcChange::Fork {
            ppid: 50,
            thread: 50,
        },
        ProcChange::Fork { ppid: 0, thread: 0 },
        ProcChange::Exit,
        ProcChange::Comm {
            comm: "x".into(),
            exec: true,
        },
        ProcChange::Euid { uid: 7 },
        ProcChange::Exec,
        ProcChange::Lost {
            count: u64::MAX / 1000,
            since: u64::MAX,
        },
    ];
    // Any order, any thread, times that jump back and forth, a process that is its own parent.
    let mut seed = 1u64;
    for _ in 0..20_000 {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let pid = 48 + (seed >> 40) as u32 % 6;
        let what = changes[(seed >> 33) as usize % changes.len()].clone();
        let tid = pid + (seed >> 50) as u32 % 2;
        let time = (seed >> 20) % 1_000_000;
        table.apply(&ProcRecord {
            time,
            pid,
            tid,
            what,
        });
        let span = Span {
            from: time / 2,
            to: time,
        };
        if let Some(who) = table.at_event(pid, moment(span, 1)) {
            table.chain_of(&who);
            table.belongs(&who, "x");
        }
    }
    table.forget(u64::MAX / 2);
}
