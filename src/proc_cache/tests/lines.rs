//! Lines of ancestors, generations of a pid, and what is forgotten.

use super::*;

fn with_init() -> ProcTable {
    let mut table = table();
    apply(&mut table, &[exec(1, 1, "init"), euid(1, 1, 0)]);
    table.assume_seen(1);
    table
}

#[test]
fn dead_ancestors_are_named_as_they_were_at_each_birth() {
    let mut table = with_init();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 1),
            exec(11 * MS, 50, "sshd"),
            fork(20 * MS, 60, 50),
            exec(21 * MS, 60, "bash"),
            fork(30 * MS, 70, 60),
            exit(31 * MS, 50),
            exec(32 * MS, 60, "later"),
            exit(33 * MS, 60),
            exec(40 * MS, 70, "touch"),
            exit(50 * MS, 70),
        ],
    );
    let chain = "70|touch|root;60|bash|root;50|sshd|root;1|init|root";
    assert_eq!(table.chain(70, 60 * MS), chain);
    assert_eq!(table.at(70, 60 * MS).unwrap().ppid, 60);
    for group in ["touch", "bash", "sshd", "init", "later"] {
        assert!(table.belongs_to(70, 60 * MS, group), "{group}");
    }
    assert!(!table.belongs_to(70, 31 * MS, "later"));
    assert!(!table.belongs_to(70, 60 * MS, "sh"));
}

#[test]
fn a_group_is_a_comm_cut_at_fifteen_bytes_or_a_program() {
    let mut table = with_init();
    let program = "/opt/a-very-long-program-name";
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 1),
            exec(11 * MS, 50, "a-very-long-program-name"),
            map(12 * MS, 50, program),
            fork(20 * MS, 60, 1),
            exec(21 * MS, 60, "link"),
            map(22 * MS, 60, "/usr/bin/busybox"),
        ],
    );
    assert!(table.belongs_to(50, 30 * MS, "a-very-long-program-name"));
    assert!(table.belongs_to(50, 30 * MS, "a-very-long-pro"));
    assert!(table.belongs_to(60, 30 * MS, "link"));
    assert!(table.belongs_to(60, 30 * MS, "busybox"));
    assert!(!table.belongs_to(60, 30 * MS, "busy"));
    assert_eq!(table.at(50, 30 * MS).unwrap().exe.as_deref(), Some(program));
}

#[test]
fn chains_can_be_split_whatever_a_process_calls_itself() {
    let mut table = with_init();
    apply(
        &mut table,
        &[fork(10 * MS, 50, 1), exec(11 * MS, 50, "a|b;c\\\n\u{1b}é")],
    );
    let chain = table.chain(50, 20 * MS);
    assert_eq!(chain, "50|a\\x7cb\\x3bc\\x5c\\x0a\\x1bé|root;1|init|root");
    assert_eq!(chain.split(';').count(), 2);
}

#[test]
fn kernel_threads_end_at_their_parent() {
    let mut table = table();
    apply(&mut table, &[exec(1, 2, "kthreadd"), euid(1, 2, 0)]);
    table.assume_seen(2);
    apply(
        &mut table,
        &[fork(10 * MS, 50, 2), rename(11 * MS, 50, "kworker/0:1")],
    );
    assert_eq!(
        table.chain(50, 20 * MS),
        "50|kworker/0:1|root;2|kthreadd|root"
    );
}

#[test]
fn lives_of_one_pid_are_kept_apart() {
    let mut table = with_init();
    for life in 1..=3 {
        let time = life * 100 * MS;
        apply(
            &mut table,
            &[
                fork(time, 50, 1),
                exec(time + 10 * MS, 50, &format!("life{life}")),
                euid(time + 20 * MS, 50, 4_000_000_000 + life as u32),
                exit(time + 30 * MS, 50),
            ],
        );
    }
    for life in 1..=3 {
        let who = table.at(50, life * 100 * MS + 25 * MS).unwrap();
        assert_eq!(*who.comm, format!("life{life}"));
        assert_eq!(*who.user, (4_000_000_000 + life).to_string());
        assert_eq!(who.attribution, Attribution::Exact);
        let between = table.at(50, life * 100 * MS + 90 * MS).unwrap();
        assert_eq!(*between.comm, format!("life{life}"));
        assert_eq!(named(table.at(50, life * 100 * MS)), exact("init"));
    }
    // Before all of them.
    assert_eq!(named(table.at(50, 50 * MS)), ambiguous("init"));
}

#[test]
fn of_a_long_group_name_the_beginning_is_not_enough() {
    let mut table = table();
    apply(
        &mut table,
        &[
            exec(1, 50, "xdg-desktop-portal"),
            map(2, 50, "/usr/libexec/xdg-desktop-portal"),
            exec(1, 60, "xdg-desktop-portal-gtk"),
            exec(1, 70, "another"),
            rename(2, 70, "xdg-desktop-portal-gtk"),
        ],
    );
    assert!(!table.belongs_to(50, MS, "xdg-desktop-portal-gtk"));
    assert!(table.belongs_to(50, MS, "xdg-desktop-portal"));
    // Whose program is not known, or who took the name.
    assert!(table.belongs_to(60, MS, "xdg-desktop-portal-gtk"));
    assert!(table.belongs_to(70, MS, "xdg-desktop-portal-gtk"));
}

#[test]
fn a_child_of_a_named_thread_has_its_name_and_its_parents_keep_theirs() {
    let mut table = table();
    let of_thread = |what| ProcRecord {
        time: 11 * MS,
        pid: 50,
        tid: 51,
        what,
    };
    let forked = ProcChange::Fork {
        ppid: 50,
        thread: 50,
    };
    let comm = "worker".into();
    apply(
        &mut table,
        &[
            exec(1, 1, "init"),
            euid(1, 1, 0),
            fork(5 * MS, 50, 1),
            exec(6 * MS, 50, "server"),
            of_thread(forked),
            of_thread(ProcChange::Comm { comm, exec: false }),
            of_thread(ProcChange::Euid { uid: 4_000_000_001 }),
            record(
                20 * MS,
                60,
                ProcChange::Fork {
                    ppid: 50,
                    thread: 51,
                },
            ),
        ],
    );
    table.assume_seen(1);
    let child = table.at(60, 30 * MS).unwrap();
    assert_eq!((&*child.comm, &*child.user), ("worker", "4000000001"));
    assert_eq!(child.attribution, Attribution::Exact);
    assert_eq!(
        table.chain_of(&child),
        "60|worker|4000000001;50|server|root;1|init|root"
    );
    assert!(table.belongs_to(60, 30 * MS, "worker") && table.belongs_to(60, 30 * MS, "server"));
    assert!(!table.belongs_to(50, 30 * MS, "worker"));
    // Of the process itself nobody knows which thread did it.
    assert_eq!(
        table.at(50, 30 * MS).unwrap().attribution,
        Attribution::Ambiguous
    );
}

#[test]
fn what_an_ancestor_becomes_later_puts_nobody_into_a_group() {
    const SPAN: Span = Span {
        from: 5 * MS,
        to: 1000 * MS,
    };
    // `sh -c 'touch f; exec target'`: the child is dead, or its parent's exec has a place.
    let history = |dies: bool| {
        let mut table = table();
        apply(
            &mut table,
            &[
                exec(1, 1, "init"),
                euid(1, 1, 0),
                fork(2, 50, 1),
                exec(3, 50, "sh"),
                map(4, 50, "/bin/sh"),
                fork(10 * MS, 60, 50),
            ],
        );
        if dies {
            apply(&mut table, &[exit(20 * MS, 60)]);
        }
        apply(
            &mut table,
            &[exec(30 * MS, 50, "target"), map(31 * MS, 50, "/bin/target")],
        );
        table.assume_seen(1);
        table
    };
    let at = |table: &mut ProcTable, place| {
        let who = table.at_event(60, moment(SPAN, place)).unwrap();
        table.membership(&who, "target")
    };
    assert_eq!(at(&mut history(true), 5), Membership::No);
    assert_eq!(at(&mut history(false), 5), Membership::Perhaps);
    let mut table = history(false);
    table.exec_seen(50, b"target", SPAN, 10, false);
    assert_eq!(at(&mut table, 5), Membership::No);
    assert_eq!(at(&mut table, 15), Membership::Yes);
    assert_eq!(at(&mut table, 5), Membership::No);
}

#[test]
fn who_may_have_been_two_may_be_in_the_group_of_either() {
    const SPAN: Span = Span {
        from: 5 * MS,
        to: 1000 * MS,
    };
    let mut table = table();
    apply(
        &mut table,
        &[
            exec(1, 1, "init"),
            euid(1, 1, 0),
            fork(10 * MS, 50, 1),
            rename(11 * MS, 50, "one"),
            exit(20 * MS, 50),
            fork(30 * MS, 50, 1),
            rename(31 * MS, 50, "two"),
        ],
    );
    table.assume_seen(1);
    let who = table.at_event(50, moment(SPAN, 1)).unwrap();
    assert_eq!(who.attribution, Attribution::Ambiguous);
    for group in ["one", "two"] {
        assert_eq!(
            table.membership(&who, group),
            Membership::Perhaps,
            "{group}"
        );
    }
    assert_eq!(table.membership(&who, "init"), Membership::Yes);
    assert_eq!(table.membership(&who, "three"), Membership::No);
}

#[test]
fn a_child_belongs_to_the_life_that_forked_it() {
    let mut table = with_init();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 1),
            exec(11 * MS, 50, "first"),
            fork(12 * MS, 60, 50),
            exit(13 * MS, 50),
            fork(20 * MS, 50, 1),
            exec(21 * MS, 50, "second"),
            fork(22 * MS, 70, 50),
        ],
    );
    assert_eq!(
        table.chain(60, 30 * MS),
        "60|first|root;50|first|root;1|init|root"
    );
    assert_eq!(
        table.chain(70, 30 * MS),
        "70|second|root;50|second|root;1|init|root"
    );
    assert!(!table.belongs_to(60, 30 * MS, "second"));
}

#[test]
fn a_process_ends_with_its_last_thread() {
    let mut table = with_init();
    let thread = |time, tid, what| ProcRecord {
        time,
        pid: 50,
        tid,
        what,
    };
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 1),
            thread(
                11 * MS,
                51,
                ProcChange::Fork {
                    ppid: 50,
                    thread: 50,
                },
            ),
            exit(12 * MS, 50),
        ],
    );
    assert_eq!(table.stats().alive, 2);
    apply(&mut table, &[thread(13 * MS, 51, ProcChange::Exit)]);
    assert_eq!(table.stats().alive, 1);

    // A thread that execs ends the others and takes the process over.
    apply(
        &mut table,
        &[
            fork(20 * MS, 50, 1),
            thread(
                21 * MS,
                51,
                ProcChange::Fork {
                    ppid: 50,
                    thread: 50,
                },
            ),
            thread(
                22 * MS,
                52,
                ProcChange::Fork {
                    ppid: 50,
                    thread: 50,
                },
            ),
            thread(23 * MS, 52, ProcChange::Exit),
            exit(24 * MS, 50),
            exec(25 * MS, 50, "new"),
        ],
    );
    assert_eq!(table.stats().alive, 2);
    apply(&mut table, &[exit(26 * MS, 50)]);
    assert_eq!(table.stats().alive, 1);
}

#[test]
fn a_threads_own_name_is_not_the_processs() {
    let mut table = with_init();
    let comm = ProcChange::Comm {
        comm: "worker".into(),
        exec: false,
    };
    let named_thread = ProcRecord {
        time: 12 * MS,
        pid: 50,
        tid: 51,
        what: comm,
    };
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 1),
            exec(11 * MS, 50, "server"),
            named_thread,
        ],
    );
    assert_eq!(named(table.at(50, 20 * MS)), exact("server"));
}

#[test]
fn the_dead_are_bounded_in_number_and_time() {
    let limits = ProcLimits {
        ttl: 10_000 * MS,
        max_dead: 100,
    };
    let mut table = ProcTable::new(limits);
    apply(&mut table, &[exec(1, 1, "init"), euid(1, 1, 0)]);
    table.assume_seen(1);
    for n in 0..5000u64 {
        let pid = 100 + n as u32;
        let time = (n + 1) * MS;
        apply(
            &mut table,
            &[
                fork(time, pid, 1),
                exec(time + 1, pid, "touch"),
                exit(time + 2, pid),
            ],
        );
        table.forget(time + 3);
    }
    assert_eq!(named(table.at(5099, 5001 * MS)), exact("touch"));
    // An event of the last moments may still be on its way, whatever the limit says.
    assert_eq!(named(table.at(4200, 5001 * MS)), exact("touch"));
    assert!(table.at(2900, 5001 * MS).is_none());
    table.forget(5001 * MS + 3_000 * MS);
    assert_eq!(table.stats().dead, 100);
    table.forget(5001 * MS + 9_000 * MS);
    assert_eq!(table.stats().dead, 100);
    table.forget(5001 * MS + 10_001 * MS);
    assert_eq!(table.stats().dead, 0);
}

#[test]
fn a_process_that_forks_and_dies_for_ever_holds_a_bounded_past() {
    let limits = ProcLimits {
        max_dead: 10,
        ..ProcLimits::default()
    };
    let mut table = ProcTable::new(limits);
    apply(&mut table, &[exec(1, 1, "init"), euid(1, 1, 0)]);
    table.assume_seen(1);
    apply(
        &mut table,
        &[fork(2 * MS, 100, 1), exec(3 * MS, 100, "bomb")],
    );
    for n in 0..5000u64 {
        let (pid, time) = (100 + n as u32, (n + 10) * MS);
        apply(&mut table, &[fork(time, pid + 1, pid), exit(time + 1, pid)]);
    }
    table.forget(9000 * MS);
    assert!(table.stats().dead < 1000, "{:?}", table.stats());
    let chain = table.chain(5100, 6000 * MS);
    assert!(chain.starts_with("5100|bomb|root;5099|bomb|root;"));
    assert!(chain.ends_with(";0|...|unknown;1|init|root"), "{chain}");
    assert!(chain.split(';').count() < 600);
    assert!(table.belongs_to(5100, 6000 * MS, "bomb"));
    assert!(table.belongs_to(5100, 6000 * MS, "init"));
}

#[test]
fn nobody_gets_out_of_a_group_by_other_names_or_many_generations() {
    let mut table = table();
    apply(&mut table, &[exec(1, 1, "init"), euid(1, 1, 0)]);
    table.assume_seen(1);
    apply(
        &mut table,
        &[
            fork(2 * MS, 100, 1),
            exec(3 * MS, 100, "agent"),
            map(4 * MS, 100, "/opt/agent-1.2"),
            exec(5 * MS, 100, "tool"),
            map(6 * MS, 100, "/bin/tool"),
        ],
    );
    assert!(table.belongs_to(100, 7 * MS, "agent"), "an exec");
    for n in 0..5000u64 {
        apply(&mut table, &[rename((n + 10) * MS, 100, &n.to_string())]);
    }
    assert!(table.belongs_to(100, 6000 * MS, "agent"), "many names");
    for n in 0..5000u64 {
        let (pid, time) = (100 + n as u32, (n + 6000) * MS);
        apply(
            &mut table,
            &[
                fork(time, pid + 1, pid),
                exec(time + 1, pid + 1, "other"),
                exit(time + 2, pid),
            ],
        );
        table.forget(time + 3);
    }
    for group in ["agent", "agent-1.2", "tool"] {
        assert!(table.belongs_to(5100, 20_000 * MS, group), "{group}");
    }
    assert!(!table.belongs_to(5100, 20_000 * MS, "agent-1"));
}
