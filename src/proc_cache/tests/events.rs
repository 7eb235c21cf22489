//! Events without a time: OPEN_EXEC as the marker between one program and the next.

use super::*;

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
    table
}

/// Process 50 at a place of the queue.
fn at(table: &mut ProcTable, place: u64) -> (String, Attribution) {
    named(table.at_event(50, moment(SPAN, place)))
}

fn part_at(table: &mut ProcTable, place: u64, part: Part) -> (String, Attribution) {
    let whole = moment(SPAN, place);
    named(table.at_event(50, Moment { part, ..whole }))
}

/// Process 50 opens programs, at the places 10, 20 and so on.
fn opens(table: &mut ProcTable, names: &[&str]) {
    for (n, name) in names.iter().enumerate() {
        let place = 10 * (n as u64 + 1);
        table.exec_seen(50, name.as_bytes(), SPAN, place, false);
    }
}

fn execs(table: &mut ProcTable, programs: &[(&str, &str)]) {
    for (n, (comm, exe)) in programs.iter().enumerate() {
        let time = (20 + 10 * n as u64) * MS;
        apply(table, &[exec(time, 50, comm), map(time + 1, 50, exe)]);
    }
}

fn child(programs: &[(&str, &str)]) -> ProcTable {
    let mut table = marked();
    apply(&mut table, &[fork(10 * MS, 50, 10)]);
    execs(&mut table, programs);
    table
}

#[test]
fn what_comes_before_the_exec_keeps_the_old_name() {
    let mut table = child(&[("sort", "/usr/bin/sort")]);
    apply(&mut table, &[exit(30 * MS, 50)]);
    opens(&mut table, &["sort", "ld-linux-x86-64.so.2"]);
    // In any order of asking.
    assert_eq!(at(&mut table, 11), exact("sort"));
    assert_eq!(at(&mut table, 9), exact("sh"));
    assert_eq!(at(&mut table, 21), exact("sort"));
    // The opening itself is the deed of who was there before.
    assert_eq!(at(&mut table, 10), exact("sh"));
}

#[test]
fn the_answer_holds_between_two_openings() {
    let mut table = child(&[("env", "/usr/bin/env"), ("touch", "/usr/bin/touch")]);
    opens(&mut table, &["env", "touch"]);
    let who = table.at_event(50, moment(SPAN, 15)).unwrap();
    assert_eq!(&*who.comm, "env");
    let held = [5, 10, 11, 15, 20, 21].map(|place| who.holds_at(Some(place)));
    assert_eq!(held, [false, false, true, true, true, false]);
}

#[test]
fn without_marks_two_names_in_a_span_are_ambiguous() {
    let mut table = child(&[("sort", "/usr/bin/sort")]);
    assert_eq!(at(&mut table, 1), ambiguous("sort"));
    let later = Span {
        from: 500 * MS,
        to: 600 * MS,
    };
    assert_eq!(named(table.at_event(50, moment(later, 1))), exact("sort"));
    // Marks in one queue say nothing of another.
    opens(&mut table, &["sort"]);
    let elsewhere = Moment {
        place: None,
        ..moment(SPAN, 1)
    };
    assert_eq!(named(table.at_event(50, elsewhere)), ambiguous("sort"));
}

#[test]
fn chains_of_execs_are_told_apart() {
    let mut table = child(&[
        ("env", "/usr/bin/env"),
        ("nice", "/usr/bin/nice"),
        ("ionice", "/usr/bin/ionice"),
        ("touch", "/usr/bin/touch"),
    ]);
    // The loader's second opening is merged with its first, which is still queued.
    opens(&mut table, &["env", "ld.so", "nice", "ionice", "touch"]);
    for (place, name) in [
        (5, "sh"),
        (15, "env"),
        (25, "env"),
        (35, "nice"),
        (45, "ionice"),
        (55, "touch"),
    ] {
        assert_eq!(at(&mut table, place), exact(name), "at {place}");
    }
}

#[test]
fn execs_without_an_event_between_are_passed_over_together() {
    let programs = [
        ("env", "/usr/bin/env"),
        ("touch", "/usr/bin/touch"),
        ("rm", "/usr/bin/rm"),
    ];
    let mut table = child(&programs);
    opens(&mut table, &["env", "ld.so", "touch", "rm"]);
    assert_eq!(at(&mut table, 31), exact("touch"));
    assert_eq!(at(&mut table, 41), exact("rm"));
}

#[test]
fn a_script_opens_its_interpreter_too() {
    // The script ends in `exec sh`, whose program is the interpreter again: its opening is merged.
    let mut table = child(&[("build.sh", "/usr/bin/dash"), ("sh", "/usr/bin/dash")]);
    opens(&mut table, &["build.sh", "dash", "ld.so"]);
    assert_eq!(at(&mut table, 5), exact("sh"));
    assert_eq!(at(&mut table, 31).1, Attribution::Ambiguous);
}

#[test]
fn links_are_opened_under_the_name_of_their_target() {
    let mut table = child(&[("truncate", "/bin/busybox")]);
    opens(&mut table, &["busybox"]);
    assert_eq!(at(&mut table, 5), exact("sh"));
    assert_eq!(at(&mut table, 11), exact("truncate"));
}

#[test]
fn long_names_match_although_a_comm_is_cut() {
    let mut table = child(&[("ld-linux-x86-64.so.2", "/lib/ld-linux-x86-64.so.2")]);
    opens(&mut table, &["ld-linux-x86-64.so.2"]);
    assert_eq!(at(&mut table, 11), exact("ld-linux-x86-64"));
}

#[test]
fn an_exec_that_failed_changes_nothing() {
    let mut table = child(&[("touch", "/bin/touch")]);
    opens(&mut table, &["no-interpreter", "touch"]);
    assert_eq!(at(&mut table, 11), exact("sh"));
    assert_eq!(at(&mut table, 21), exact("touch"));
}

#[test]
fn an_opening_read_while_the_exec_runs_is_matched_later() {
    let mut table = marked();
    apply(&mut table, &[fork(10 * MS, 50, 10)]);
    let first = Span {
        from: 5 * MS,
        to: 20 * MS,
    };
    table.exec_seen(50, b"touch", first, 10, false);
    assert_eq!(named(table.at_event(50, moment(first, 5))), exact("sh"));
    // The next batch: only now is the new name known.
    apply(
        &mut table,
        &[exec(21 * MS, 50, "touch"), map(22 * MS, 50, "/bin/touch")],
    );
    let second = Span {
        from: 20 * MS,
        to: 40 * MS,
    };
    assert_eq!(
        named(table.at_event(50, moment(second, 20))),
        exact("touch")
    );
}

#[test]
fn an_opening_cannot_belong_to_an_exec_before_it() {
    let mut table = child(&[("a", "/bin/a")]);
    let later = Span {
        from: 25 * MS,
        to: 1000 * MS,
    };
    table.exec_seen(50, b"a", later, 10, false);
    execs(&mut table, &[]);
    apply(
        &mut table,
        &[exec(30 * MS, 50, "a"), map(31 * MS, 50, "/bin/new/a")],
    );
    let exe = |table: &mut ProcTable, place| {
        let who = table.at_event(50, moment(later, place)).unwrap();
        (who.exe.unwrap().to_string(), who.attribution)
    };
    assert_eq!(
        exe(&mut table, 5),
        ("/bin/a".to_owned(), Attribution::Exact)
    );
    assert_eq!(
        exe(&mut table, 15),
        ("/bin/new/a".to_owned(), Attribution::Exact)
    );
}

#[test]
fn the_same_program_twice_in_one_residency_is_ambiguous() {
    let mut table = child(&[("a", "/bin/a"), ("b", "/bin/b"), ("a", "/bin/a")]);
    opens(&mut table, &["a", "b"]);
    assert_eq!(at(&mut table, 5), exact("sh"));
    assert_eq!(at(&mut table, 15), exact("a"));
    // The second opening of `a` was merged with the first: this may be `b` or `a`.
    assert_eq!(at(&mut table, 25).1, Attribution::Ambiguous);
}

#[test]
fn a_process_that_runs_itself_again_stays_what_it_is() {
    let mut table = child(&[("a", "/bin/a"), ("a", "/bin/a")]);
    opens(&mut table, &["a"]);
    assert_eq!(at(&mut table, 15), exact("a"));
}

#[test]
fn an_opening_merged_into_an_older_record_has_no_certain_place() {
    let mut table = child(&[("x", "/tmp/x")]);
    table.exec_seen(50, b"x", SPAN, 10, true);
    assert_eq!(at(&mut table, 9), exact("sh"));
    assert_eq!(at(&mut table, 11).1, Attribution::Ambiguous);
}

#[test]
fn what_was_merged_into_an_older_record_may_have_come_after_an_exec() {
    let mut table = child(&[("sort", "/usr/bin/sort")]);
    opens(&mut table, &["sort"]);
    assert_eq!(part_at(&mut table, 5, Part::Whole), exact("sh"));
    assert_eq!(part_at(&mut table, 5, Part::First), ambiguous("sh"));
    assert_eq!(part_at(&mut table, 5, Part::Later), ambiguous("sort"));
    assert_eq!(part_at(&mut table, 15, Part::First), exact("sort"));
    assert_eq!(part_at(&mut table, 15, Part::Later), exact("sort"));
}

/// Programs with a loader: name, program, and the loader that its exec opens.
fn execs_loaded(table: &mut ProcTable, programs: &[(&str, &str)]) {
    for (n, (comm, exe)) in programs.iter().enumerate() {
        let time = (20 + 10 * n as u64) * MS;
        apply(
            table,
            &[
                exec(time, 50, comm),
                map(time + 1, 50, exe),
                map(time + 2, 50, "/lib/ld.so"),
            ],
        );
    }
}

#[test]
fn the_loader_of_one_exec_is_not_taken_for_the_next() {
    // `#!/bin/sh` ending in `exec /lib/ld.so /bin/true`, read in two halves.
    let mut table = child(&[]);
    execs_loaded(&mut table, &[("W1", "/bin/dash")]);
    opens(&mut table, &["W1", "dash", "ld.so"]);
    assert_eq!(at(&mut table, 35), exact("W1"));
    apply(
        &mut table,
        &[exec(500 * MS, 50, "ld.so"), map(501 * MS, 50, "/lib/ld.so")],
    );
    let later = Span {
        from: 400 * MS,
        to: 1000 * MS,
    };
    table.exec_seen(50, b"ld.so", later, 90, false);
    assert_eq!(named(table.at_event(50, moment(later, 85))), exact("W1"));
    assert_eq!(named(table.at_event(50, moment(later, 91))), exact("ld.so"));
}

#[test]
fn a_try_that_failed_does_not_count_for_the_exec_that_went_well() {
    let mut table = child(&[]);
    execs_loaded(&mut table, &[("tool", "/b/2/tool")]);
    opens(&mut table, &["tool", "tool", "ld.so"]);
    assert_eq!(at(&mut table, 15), exact("sh"));
    assert_eq!(at(&mut table, 31), exact("tool"));
    // Without a loader nobody can say which of the two went well.
    let mut table = child(&[("tool", "/b/2/tool")]);
    opens(&mut table, &["tool", "tool"]);
    assert_eq!(at(&mut table, 9), exact("sh"));
    assert_eq!(at(&mut table, 15).1, Attribution::Ambiguous);
    assert_eq!(at(&mut table, 21), exact("tool"));
}

#[test]
fn an_opening_that_was_looked_at_before_is_certain_from_its_loader_on() {
    // The program was read, or tried, and its opening was added to that record.
    let mut table = child(&[]);
    execs_loaded(&mut table, &[("tool", "/bin/tool")]);
    table.exec_seen(50, b"tool", SPAN, 10, true);
    table.exec_seen(50, b"ld.so", SPAN, 20, false);
    assert_eq!(at(&mut table, 9), exact("sh"));
    assert_eq!(at(&mut table, 15).1, Attribution::Ambiguous);
    assert_eq!(at(&mut table, 21), exact("tool"));
}

#[test]
fn an_interpreter_that_is_a_script_itself_is_no_exec_of_its_own() {
    let mut table = child(&[]);
    execs_loaded(&mut table, &[("S1", "/bin/dash")]);
    opens(&mut table, &["S1", "S2", "dash", "ld.so"]);
    assert_eq!(at(&mut table, 45), exact("S1"));
    apply(
        &mut table,
        &[exec(500 * MS, 50, "S2"), map(501 * MS, 50, "/bin/dash")],
    );
    let later = Span {
        from: 400 * MS,
        to: 1000 * MS,
    };
    table.exec_seen(50, b"S2", later, 90, false);
    assert_eq!(named(table.at_event(50, moment(later, 85))), exact("S1"));
    assert_eq!(named(table.at_event(50, moment(later, 91))), exact("S2"));
}

#[test]
fn of_two_programs_of_one_name_an_unmarked_one_leaves_both_in_doubt() {
    let mut table = child(&[("tool", "/mnt/tool"), ("tool", "/tmp/tool")]);
    opens(&mut table, &["tool"]);
    let exe = |table: &mut ProcTable, place| {
        let who = table.at_event(50, moment(SPAN, place)).unwrap();
        who.attribution
    };
    assert_eq!(exe(&mut table, 15), Attribution::Ambiguous);
    assert_eq!(exe(&mut table, 5), Attribution::Ambiguous);
}

#[test]
fn a_script_and_the_program_of_its_name_are_told_apart() {
    let mut table = child(&[]);
    execs_loaded(
        &mut table,
        &[("app", "/bin/dash"), ("app", "/usr/lib/app/app")],
    );
    opens(&mut table, &["app", "dash", "ld.so", "app"]);
    let exe = |table: &mut ProcTable, place| {
        let who = table.at_event(50, moment(SPAN, place)).unwrap();
        (who.exe.unwrap().to_string(), who.attribution)
    };
    assert_eq!(
        exe(&mut table, 35),
        ("/bin/dash".to_owned(), Attribution::Exact)
    );
    assert_eq!(
        exe(&mut table, 45),
        ("/usr/lib/app/app".to_owned(), Attribution::Exact)
    );
}

#[test]
fn an_interpreter_is_not_taken_for_a_script_that_it_runs_next() {
    // Asked only when a script run by a script has executed its interpreter's script itself.
    let mut table = child(&[]);
    execs_loaded(&mut table, &[("S1", "/bin/dash"), ("S2", "/bin/dash")]);
    opens(&mut table, &["S1", "S2", "dash", "ld.so", "S2", "dash"]);
    assert_eq!(at(&mut table, 9), exact("sh"));
    assert_eq!(at(&mut table, 45), exact("S1"));
    assert_eq!(at(&mut table, 65), exact("S2"));
}

#[test]
fn an_exec_under_way_is_not_taken_for_the_one_that_left_no_mark() {
    // /mnt/tool has no mark, only its loader; /tmp/tool was opened, and has not its name yet.
    let mut table = child(&[]);
    execs_loaded(&mut table, &[("tool", "/mnt/tool")]);
    opens(&mut table, &["ld.so", "tool"]);
    assert_eq!(at(&mut table, 15).1, Attribution::Ambiguous);
    // What was read by then counts no longer for the one after.
    apply(
        &mut table,
        &[
            exec(1500 * MS, 50, "tool"),
            map(1501 * MS, 50, "/tmp/tool"),
            exec(2500 * MS, 50, "last"),
            map(2501 * MS, 50, "/bin/last"),
            map(2502 * MS, 50, "/lib/ld.so"),
        ],
    );
    let later = Span {
        from: 2000 * MS,
        to: 3000 * MS,
    };
    table.exec_seen(50, b"last", later, 90, false);
    assert_eq!(named(table.at_event(50, moment(later, 85))), exact("tool"));
    assert_eq!(named(table.at_event(50, moment(later, 95))), exact("last"));
}

#[test]
fn other_threads_go_on_until_an_exec_is_done() {
    let mut table = child(&[]);
    let thread = |time, tid, what| ProcRecord {
        time,
        pid: 50,
        tid,
        what,
    };
    let forked = ProcChange::Fork {
        ppid: 50,
        thread: 50,
    };
    apply(
        &mut table,
        &[
            thread(11 * MS, 51, forked),
            thread(19 * MS, 51, ProcChange::Exit),
            exec(20 * MS, 50, "new"),
            map(21 * MS, 50, "/bin/new"),
        ],
    );
    opens(&mut table, &["new"]);
    assert_eq!(at(&mut table, 5), exact("sh"));
    assert_eq!(at(&mut table, 15).1, Attribution::Ambiguous);
    let later = Span {
        from: 30 * MS,
        to: 1000 * MS,
    };
    assert_eq!(named(table.at_event(50, moment(later, 15))), exact("new"));
}

#[test]
fn a_thread_that_was_another_user_for_a_moment_leaves_a_doubt() {
    let mut table = child(&[]);
    let thread = |time, what| ProcRecord {
        time,
        pid: 50,
        tid: 51,
        what,
    };
    let forked = ProcChange::Fork {
        ppid: 50,
        thread: 50,
    };
    apply(
        &mut table,
        &[
            thread(11 * MS, forked),
            thread(12 * MS, ProcChange::Euid { uid: 7 }),
            thread(13 * MS, ProcChange::Euid { uid: 0 }),
        ],
    );
    assert_eq!(at(&mut table, 5), ambiguous("sh"));
    let later = Span {
        from: 30 * MS,
        to: 1000 * MS,
    };
    assert_eq!(named(table.at_event(50, moment(later, 15))), exact("sh"));
}

#[test]
fn programs_where_no_mark_can_be_are_ambiguous() {
    let mut table = child(&[("memfd:x", "/memfd:x")]);
    assert_eq!(at(&mut table, 1), ambiguous("memfd:x"));
}

#[test]
fn rights_given_up_at_the_start_are_no_doubt_and_turns_to_and_fro_are() {
    let mut table = marked();
    let user = |table: &mut ProcTable| {
        let who = table.at_event(50, moment(SPAN, 100)).unwrap();
        (who.user.to_string(), who.attribution)
    };
    apply(
        &mut table,
        &[fork(10 * MS, 50, 10), euid(15 * MS, 50, 4_000_000_001)],
    );
    // Only forked: it may have worked before.
    assert_eq!(
        user(&mut table),
        ("4000000001".into(), Attribution::Ambiguous)
    );
    apply(
        &mut table,
        &[
            exec(20 * MS, 50, "x"),
            map(21 * MS, 50, "/bin/x"),
            euid(22 * MS, 50, 4_000_000_002),
        ],
    );
    opens(&mut table, &["x"]);
    assert_eq!(user(&mut table), ("4000000002".into(), Attribution::Exact));
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
        table
            .at_event(50, moment(long_after, 100))
            .unwrap()
            .attribution,
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
    assert_eq!(at(&mut table, 1), ambiguous("init"));
    let after = Span {
        from: 40 * MS,
        to: 50 * MS,
    };
    assert_eq!(named(table.at_event(50, moment(after, 1))), exact("init"));
}

#[test]
fn a_program_with_raised_rights_works_before_it_gives_them_up() {
    let mut table = marked();
    apply(
        &mut table,
        &[
            euid(5, 10, 4_000_000_001),
            fork(10 * MS, 50, 10),
            exec(20 * MS, 50, "su"),
            euid(20 * MS + 1, 50, 0),
            map(20 * MS + 2, 50, "/bin/su"),
            euid(30 * MS, 50, 4_000_000_001),
        ],
    );
    opens(&mut table, &["su"]);
    assert_eq!(at(&mut table, 11), ambiguous("su"));
}

#[test]
fn lives_of_a_pid_that_end_and_begin_in_one_span_are_told_apart_by_their_programs() {
    let mut table = child(&[("touch", "/bin/touch")]);
    apply(
        &mut table,
        &[
            exit(40 * MS, 50),
            fork(50 * MS, 50, 1),
            exec(60 * MS, 50, "rm"),
            map(61 * MS, 50, "/bin/rm"),
        ],
    );
    opens(&mut table, &["touch", "ld.so", "rm"]);
    assert_eq!(at(&mut table, 5), exact("sh"));
    // Still the first, or the second before its exec.
    assert_eq!(at(&mut table, 15), ambiguous("touch"));
    assert_eq!(at(&mut table, 35), exact("rm"));
}

#[test]
fn pending_names_are_bounded() {
    let mut table = marked();
    apply(&mut table, &[fork(10 * MS, 50, 10)]);
    for n in 0..1000 {
        table.exec_seen(50, n.to_string().as_bytes(), SPAN, n + 1, false);
    }
    apply(
        &mut table,
        &[exec(20 * MS, 50, "999"), map(21 * MS, 50, "/bin/999")],
    );
    assert_eq!(at(&mut table, 2000), exact("999"));
}

#[test]
fn a_process_that_is_said_to_be_its_own_parent_makes_no_ring() {
    let mut table = table();
    // The life is replaced by its birth, and so is the parent that the birth names.
    apply(&mut table, &[exec(0, 50, "sh"), fork(0, 50, 50)]);
    assert_eq!(table.chain(50, MS), "50|sh|unknown;50|unknown|unknown");
}

#[test]
fn times_at_the_end_of_the_clock_are_times() {
    let mut table = table();
    let end = u64::MAX;
    apply(
        &mut table,
        &[
            fork(end, 50, 1),
            exec(end, 50, "sh"),
            map(end, 50, "/bin/sh"),
        ],
    );
    apply(
        &mut table,
        &[fork(end, 50, 1), euid(end, 50, 0), exit(end, 50)],
    );
    let chain = table.chain(50, end);
    assert_eq!(chain, "50|unknown|root;1|unknown|unknown");
}
