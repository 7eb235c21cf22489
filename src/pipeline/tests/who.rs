//! Whose deed it was: programs that are opened between two records of one process.

use super::*;
use crate::proc_cache::{ProcChange, ProcRecord};

/// The daemon's own queue is the one in which programs are seen to be opened.
const MAIN: u16 = 0;

fn record(time: u64, pid: u32, what: ProcChange) -> ProcRecord {
    ProcRecord {
        time,
        pid,
        tid: pid,
        what,
    }
}

fn exec(time: u64, pid: u32, name: &str) -> Vec<ProcRecord> {
    let comm = name.into();
    let path = format!("/bin/{name}").into();
    vec![
        record(time, pid, ProcChange::Comm { comm, exec: true }),
        record(time, pid, ProcChange::Exe { path }),
    ]
}

/// A bench where P is the child of Q, and `execs` happened to it within the read that follows.
fn bench(types: &[&str], execs: &[&str]) -> (Bench, Vec<ProcRecord>) {
    let mut bench = Bench::watching(&[("_global", "/m", true, types)]);
    bench.names = true;
    bench.pipeline.expect_execs_in(MAIN);
    let mut procs = vec![record(1, Q, ProcChange::Fork { ppid: 1, thread: 1 })];
    procs.extend(exec(2, Q, "sh"));
    procs.push(record(3, Q, ProcChange::Euid { uid: 0 }));
    procs.push(record(100, P, ProcChange::Fork { ppid: Q, thread: Q }));
    for (n, name) in execs.iter().enumerate() {
        procs.extend(exec(200 + n as u64, P, name));
    }
    (bench, procs)
}

fn read(bench: &mut Bench, procs: Vec<ProcRecord>, records: &[Vec<u8>]) -> Vec<String> {
    let read = Batch {
        from: 50,
        mono: 1000,
        procs,
        ..batch(records.concat())
    };
    bench.step(vec![read])
}

fn opened(name: &str) -> Vec<u8> {
    entry(bits::OPEN_EXEC, P, "usr-bin", name, name)
}

#[test]
fn what_stands_before_the_opening_is_the_old_programs() {
    let (mut bench, procs) = bench(&[], &["sort", "uniq"]);
    let lines = read(
        &mut bench,
        procs,
        &[
            entry(bits::CREATE, P, "top", "a", "a1"),
            opened("sort"),
            opened("ld.so"),
            entry(bits::CREATE, P, "top", "b", "b1"),
            opened("uniq"),
            entry(bits::CREATE, P, "top", "c", "c1"),
        ],
    );
    assert_eq!(
        lines,
        ["CREATE /m/a sh", "CREATE /m/b sort", "CREATE /m/c uniq"]
    );
}

#[test]
fn an_opening_may_be_the_first_that_was_ever_read() {
    let (mut bench, procs) = bench(&["CREATE"], &["sort"]);
    let lines = read(
        &mut bench,
        procs,
        &[opened("sort"), entry(bits::CREATE, P, "top", "a", "a1")],
    );
    assert_eq!(lines, ["CREATE /m/a sort"]);
}

#[test]
fn openings_elsewhere_are_used_and_never_told_or_asked_about() {
    let (mut bench, procs) = bench(&["CREATE"], &["sort"]);
    // Of a filesystem that nobody watches, and of a watched one whose directory nobody knows.
    let far = event(
        bits::OPEN_EXEC,
        P,
        &[info_fid(2, FSID + 1, b"far", Some(b"sort"))],
    );
    let lines = read(
        &mut bench,
        procs,
        &[
            entry(bits::CREATE, P, "top", "a", "a1"),
            far,
            opened("other"),
            entry(bits::CREATE, P, "top", "b", "b1"),
        ],
    );
    assert_eq!(lines, ["CREATE /m/a sh", "CREATE /m/b sort"]);
    assert!(bench.table.asked.is_empty());
}

#[test]
fn an_opening_that_is_asked_for_is_the_deed_of_who_opened() {
    let (mut bench, procs) = bench(&["OPEN_EXEC", "CREATE"], &["tool"]);
    let lines = read(
        &mut bench,
        procs,
        &[
            entry(bits::OPEN_EXEC, P, "top", "tool", "t1"),
            entry(bits::CREATE, P, "top", "b", "b1"),
        ],
    );
    assert_eq!(lines, ["OPEN_EXEC /m/tool sh", "CREATE /m/b tool"]);
}

#[test]
fn what_was_merged_into_a_record_from_before_may_be_the_new_programs() {
    let (mut bench, procs) = bench(&["CREATE", "MODIFY", "CLOSE_WRITE"], &["sort"]);
    let all = bits::CREATE | bits::bit_of(EventType::Modify) | bits::CLOSE_WRITE;
    let lines = read(
        &mut bench,
        procs,
        &[
            entry(all, P, "top", "out", "o1"),
            opened("sort"),
            entry(all, P, "top", "tmp", "t1"),
        ],
    );
    assert_eq!(
        lines,
        [
            "CREATE /m/out sh",
            "MODIFY /m/out sort?Ambiguous",
            "CLOSE_WRITE /m/out sort?Ambiguous",
            "CREATE /m/tmp sort",
            "MODIFY /m/tmp sort",
            "CLOSE_WRITE /m/tmp sort",
        ]
    );
}

#[test]
fn a_file_that_is_written_and_run_leaves_the_place_of_its_exec_open() {
    let (mut bench, procs) = bench(&["CREATE"], &["made"]);
    let lines = read(
        &mut bench,
        procs,
        &[
            entry(
                bits::CREATE | bits::CLOSE_WRITE | bits::OPEN_EXEC,
                P,
                "top",
                "made",
                "m1",
            ),
            entry(bits::CREATE, P, "top", "b", "b1"),
        ],
    );
    assert_eq!(lines[0], "CREATE /m/made sh");
    assert_eq!(lines[1], "CREATE /m/b made?Ambiguous");
}

#[test]
fn openings_in_the_main_queue_say_nothing_of_another() {
    let (mut bench, procs) = bench(&["CREATE"], &["sort"]);
    bench.pipeline.learn_filesystem(1, FSID, FS);
    let of_main = Batch {
        from: 50,
        mono: 1000,
        procs,
        ..batch(opened("sort"))
    };
    let of_other = Batch {
        group: 1,
        from: 50,
        mono: 1000,
        ..batch(entry(bits::CREATE, P, "top", "a", "a1"))
    };
    let lines = bench.step(vec![of_main, of_other]);
    assert_eq!(lines, ["CREATE /m/a sort?Ambiguous"]);
}

#[test]
fn lost_process_records_are_told_with_their_time() {
    let (mut bench, mut procs) = bench(&["CREATE"], &[]);
    for count in [5, 7] {
        procs.push(record(900, 0, ProcChange::Lost { count, since: 700 }));
    }
    let read = Batch {
        from: 50,
        mono: 1000,
        wall: WallTime(5000),
        procs,
        ..batch(entry(bits::CREATE, P, "top", "a", "a1"))
    };
    let lines = bench.step(vec![read]);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("PROCESSES LOST Some(12) since 4700")
    );
    assert!(
        lines[0].starts_with("CREATE /m/a ") && lines[0].contains('?'),
        "{lines:?}"
    );
}

#[test]
fn what_others_removed_is_told_where_a_member_ends_it() {
    let mut bench = Bench::watching(&[("nginx", "/m", true, &["all"])]);
    let mut procs = vec![record(1, P, ProcChange::Fork { ppid: 1, thread: 1 })];
    procs.extend(exec(2, P, "nginx"));
    let made = entry(bits::CREATE, Q, "top", "f", "F");
    assert_eq!(read(&mut bench, procs, &[made]), [""; 0]);
    let later = |from, records: &[Vec<u8>]| Batch {
        from,
        mono: from + 1,
        ..batch(records.concat())
    };
    let removed = [
        alone(bits::ATTRIB, Q, "F"),
        entry(bits::DELETE, Q, "top", "f", "F"),
    ];
    assert_eq!(bench.step(vec![later(1000, &removed)]), [""; 0]);
    let ended = [alone(bits::DELETE_SELF, P, "F")];
    assert_eq!(
        bench.step(vec![later(2000, &ended)]),
        ["nginx: DELETE_SELF /m/f p"]
    );
}
