//! Events without a time: OPEN_EXEC as the marker between one program and the next.

use super::*;
use crate::proc_cache::{Markers, Span};

/// One batch in which everything happened.
const SPAN: Span = Span {
    from: 5 * MS,
    to: 1000 * MS,
};

fn marked() -> ProcTable {
    let mut table = table();
    apply(
        &mut table,
        &[
            exec(1, 1, "init"),
            euid(1, 1, 0),
            exec(2, 10, "sh"),
            map(3, 10, "/bin/dash"),
            euid(4, 10, 0),
        ],
    );
    table.assume_seen(1);
    table.assume_seen(10);
    table.set_markers(Markers::Everywhere);
    table
}

fn at(table: &mut ProcTable) -> (String, Attribution) {
    named(table.at_event(50, SPAN))
}

fn opens(table: &mut ProcTable, names: &[&str]) {
    for name in names {
        table.exec_seen(50, name.as_bytes(), SPAN);
    }
}

#[test]
fn what_comes_before_the_exec_keeps_the_old_name() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "sort"),
            map(21 * MS, 50, "/usr/bin/sort"),
            exit(30 * MS, 50),
        ],
    );
    assert_eq!(at(&mut table), exact("sh"));
    assert_eq!(at(&mut table), exact("sh"));
    opens(&mut table, &["sort", "ld-linux-x86-64.so.2"]);
    assert_eq!(at(&mut table), exact("sort"));
    assert_eq!(at(&mut table), exact("sort"));
}

#[test]
fn without_markers_two_names_in_a_span_are_ambiguous() {
    let mut table = marked();
    table.set_markers(Markers::Nowhere);
    apply(
        &mut table,
        &[fork(10 * MS, 50, 10), exec(20 * MS, 50, "sort")],
    );
    assert_eq!(at(&mut table), ambiguous("sort"));
    let later = Span {
        from: 500 * MS,
        to: 600 * MS,
    };
    assert_eq!(named(table.at_event(50, later)), exact("sort"));
}

#[test]
fn chains_of_execs_are_told_apart() {
    let mut table = marked();
    let programs = ["env", "nice", "ionice", "touch"];
    apply(&mut table, &[fork(10 * MS, 50, 10)]);
    for (n, program) in programs.iter().enumerate() {
        let time = (20 + 10 * n as u64) * MS;
        apply(
            &mut table,
            &[
                exec(time, 50, program),
                map(time + 1, 50, &format!("/usr/bin/{program}")),
            ],
        );
    }
    for (n, program) in programs.iter().enumerate() {
        let before = if n == 0 { "sh" } else { programs[n - 1] };
        assert_eq!(at(&mut table), exact(before));
        // The loader's second opening is merged with its first, which is still queued.
        let names: &[&str] = if n == 0 {
            &[program, "ld.so"]
        } else {
            &[program]
        };
        opens(&mut table, names);
    }
    assert_eq!(at(&mut table), exact("touch"));
}

#[test]
fn execs_without_an_event_between_are_passed_over_together() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "env"),
            map(21 * MS, 50, "/usr/bin/env"),
            exec(30 * MS, 50, "touch"),
            map(31 * MS, 50, "/usr/bin/touch"),
            exec(40 * MS, 50, "rm"),
            map(41 * MS, 50, "/usr/bin/rm"),
        ],
    );
    opens(&mut table, &["env", "ld.so", "touch"]);
    assert_eq!(at(&mut table), exact("touch"));
    opens(&mut table, &["rm"]);
    assert_eq!(at(&mut table), exact("rm"));
}

#[test]
fn a_script_opens_its_interpreter_too() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "build.sh"),
            map(21 * MS, 50, "/usr/bin/dash"),
            // The script ends in `exec sh`, whose program is the interpreter again.
            exec(30 * MS, 50, "sh"),
            map(31 * MS, 50, "/usr/bin/dash"),
        ],
    );
    opens(&mut table, &["build.sh", "dash", "ld.so"]);
    assert_eq!(at(&mut table).0, "build.sh");
}

#[test]
fn links_are_opened_under_the_name_of_their_target() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "truncate"),
            map(21 * MS, 50, "/bin/busybox"),
        ],
    );
    opens(&mut table, &["busybox"]);
    assert_eq!(at(&mut table), exact("truncate"));
}

#[test]
fn long_names_match_although_a_comm_is_cut() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "ld-linux-x86-64.so.2"),
            map(21 * MS, 50, "/lib/ld-linux-x86-64.so.2"),
        ],
    );
    opens(&mut table, &["ld-linux-x86-64.so.2"]);
    assert_eq!(at(&mut table), exact("ld-linux-x86-64"));
}

#[test]
fn an_exec_that_failed_changes_nothing() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(40 * MS, 50, "touch"),
            map(41 * MS, 50, "/bin/touch"),
        ],
    );
    opens(&mut table, &["no-interpreter"]);
    assert_eq!(at(&mut table), exact("sh"));
    opens(&mut table, &["touch"]);
    assert_eq!(at(&mut table), exact("touch"));
}

#[test]
fn an_open_exec_read_while_the_exec_runs_is_matched_later() {
    let mut table = marked();
    apply(&mut table, &[fork(10 * MS, 50, 10)]);
    let first = Span {
        from: 5 * MS,
        to: 20 * MS,
    };
    assert_eq!(named(table.at_event(50, first)), exact("sh"));
    table.exec_seen(50, b"touch", first);
    // The next batch: only now is the new name known.
    apply(
        &mut table,
        &[exec(21 * MS, 50, "touch"), map(22 * MS, 50, "/bin/touch")],
    );
    let second = Span {
        from: 20 * MS,
        to: 40 * MS,
    };
    assert_eq!(named(table.at_event(50, second)), exact("touch"));
}

#[test]
fn the_same_program_twice_in_one_residency_is_ambiguous() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "a"),
            map(21 * MS, 50, "/bin/a"),
            exec(30 * MS, 50, "b"),
            map(31 * MS, 50, "/bin/b"),
            exec(40 * MS, 50, "a"),
            map(41 * MS, 50, "/bin/a"),
        ],
    );
    opens(&mut table, &["a"]);
    assert_eq!(at(&mut table).0, "a");
    opens(&mut table, &["b"]);
    // The second opening of `a` was merged with the first: this may be `b` or `a`.
    assert_eq!(at(&mut table), ambiguous("b"));
}

#[test]
fn programs_where_no_marker_can_be_are_ambiguous() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "memfd:x"),
            map(21 * MS, 50, "/memfd:x"),
        ],
    );
    assert_eq!(at(&mut table), ambiguous("memfd:x"));
    table.set_markers(Markers::On(vec![(9, 9)]));
    apply(
        &mut table,
        &[
            fork(30 * MS, 60, 10),
            exec(40 * MS, 60, "x"),
            map(41 * MS, 60, "/mnt/x"),
        ],
    );
    assert_eq!(named(table.at_event(60, SPAN)), ambiguous("x"));
}

#[test]
fn rights_given_up_at_the_start_are_no_doubt_and_turns_to_and_fro_are() {
    let mut table = marked();
    let user = |table: &mut ProcTable| {
        let who = table.at_event(50, SPAN).unwrap();
        (who.user.to_string(), who.attribution)
    };
    apply(
        &mut table,
        &[fork(10 * MS, 50, 10), euid(15 * MS, 50, 4_000_000_001)],
    );
    assert_eq!(user(&mut table), ("4000000001".into(), Attribution::Exact));
    apply(
        &mut table,
        &[exec(20 * MS, 50, "x"), map(21 * MS, 50, "/bin/x")],
    );
    opens(&mut table, &["x"]);
    assert_eq!(user(&mut table), ("4000000001".into(), Attribution::Exact));
    apply(
        &mut table,
        &[euid(30 * MS, 50, 0), euid(40 * MS, 50, 4_000_000_001)],
    );
    assert_eq!(
        user(&mut table),
        ("4000000001".into(), Attribution::Ambiguous)
    );
    let long_after = Span {
        from: 35 * MS,
        to: 1000 * MS,
    };
    assert_eq!(
        table.at_event(50, long_after).unwrap().attribution,
        Attribution::Ambiguous
    );
}

#[test]
fn a_pid_reused_within_a_span_is_ambiguous() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            fork(10 * MS, 50, 10),
            exit(20 * MS, 50),
            fork(30 * MS, 50, 1),
        ],
    );
    assert_eq!(at(&mut table), ambiguous("init"));
    let after = Span {
        from: 40 * MS,
        to: 50 * MS,
    };
    assert_eq!(named(table.at_event(50, after)), exact("init"));
}

#[test]
fn pending_names_are_bounded() {
    let mut table = marked();
    apply(&mut table, &[fork(10 * MS, 50, 10)]);
    for n in 0..1000 {
        table.exec_seen(50, n.to_string().as_bytes(), SPAN);
    }
    apply(&mut table, &[exec(20 * MS, 50, "999")]);
    assert_eq!(at(&mut table), exact("999"));
}
