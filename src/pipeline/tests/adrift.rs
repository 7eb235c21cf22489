//! Lines whose path is one of two, because the kernel merged the record that would tell which.

use super::*;

fn to_and_fro() -> Bench {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "D")]);
    bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
    bench
}

fn there() -> Vec<u8> {
    rename(bits::ONDIR, P, ("top", "a"), ("top", "b"), "D")
}

fn back() -> Vec<u8> {
    rename(bits::ONDIR, P, ("top", "b"), ("top", "a"), "D")
}

#[test]
fn what_is_below_a_directory_that_came_back_may_be_elsewhere() {
    let mut bench = to_and_fro();
    let told = bench.read(&[
        there(),
        entry(bits::CREATE, Q, "D", "one", "f1"),
        back(),
        entry(bits::CREATE, Q, "D", "two", "f2"),
        // The rename to b once more was merged into the first, and nothing says when it was.
        entry(bits::CREATE, Q, "top", "three", "f3"),
    ]);
    let files: Vec<&String> = told.iter().filter(|line| line.contains('q')).collect();
    assert_eq!(
        files,
        [
            "CREATE /m/b/one q",
            "CREATE /m/a/two q ?",
            "CREATE /m/three q"
        ]
    );
    // It was looked up since.
    assert_eq!(
        bench.read(&[entry(bits::CREATE, Q, "D", "four", "f4")]),
        ["CREATE /m/b/four q"]
    );
}

#[test]
fn a_rename_that_stands_nowhere_is_told_where_the_next_one_shows_it() {
    let mut bench = to_and_fro();
    bench.table.places.insert(b"D".to_vec(), is_in("top", "c"));
    let told = bench.read(&[
        there(),
        back(),
        entry(bits::CREATE, Q, "D", "f", "f1"),
        rename(bits::ONDIR, P, ("top", "b"), ("top", "c"), "D"),
        entry(bits::CREATE, Q, "D", "g", "g1"),
    ]);
    assert_eq!(
        told[4..],
        [
            "CREATE /m/a/f q ?",
            "MOVED_FROM /m/a p <> /m/b",
            "MOVED_TO /m/b p <> /m/a",
            "MOVED_FROM /m/b p <> /m/c",
            "MOVED_TO /m/c p <> /m/b",
            "CREATE /m/c/g q"
        ]
    );
}

#[test]
fn a_directory_is_where_it_came_back_to_when_the_queue_was_empty_in_between() {
    let mut bench = to_and_fro();
    bench.table.places.insert(b"D".to_vec(), is_in("top", "a"));
    let at = |from: u64, bytes: Vec<u8>| Batch {
        from,
        mono: from + 1,
        ..batch(bytes)
    };
    let told = bench.step(vec![
        at(1, there()),
        at(10, back()),
        at(20, entry(bits::CREATE, Q, "D", "f", "f1")),
    ]);
    assert_eq!(told[4..], ["CREATE /m/a/f q"]);
}

#[test]
fn what_was_added_to_a_record_may_be_behind_the_rename_above_it() {
    let mut bench = to_and_fro();
    let told = bench.read(&[
        entry(bits::CREATE | bits::CLOSE_WRITE, Q, "D", "open", "f1"),
        entry(bits::CREATE | bits::DELETE, Q, "D", "gone", "f2"),
        entry(bits::CREATE, Q, "D", "made", "f3"),
        there(),
        alone(bits::ATTRIB | bits::DELETE_SELF, Q, "f2"),
        entry(bits::CREATE | bits::CLOSE_WRITE, Q, "D", "late", "f4"),
    ]);
    assert_eq!(
        told,
        [
            "CREATE /m/a/open q",
            "CLOSE_WRITE /m/a/open q ?",
            "CREATE /m/a/gone q",
            "CREATE /m/a/made q",
            "MOVED_FROM /m/a p <> /m/b",
            "MOVED_TO /m/b p <> /m/a",
            // Its end says when it was removed.
            "ATTRIB /m/b/gone q",
            "DELETE_SELF /m/b/gone q",
            "DELETE /m/b/gone q",
            "CREATE /m/b/late q",
            "CLOSE_WRITE /m/b/late q",
        ]
    );
}

fn lost(from: u64) -> Batch {
    Batch {
        lost: Some(Loss {
            count: Some(1),
            since: WallTime(1),
            until: WallTime(3),
            cause: "full",
        }),
        from,
        ..batch(Vec::new())
    }
}

#[test]
fn a_removal_whose_end_was_lost_may_be_elsewhere() {
    let mut bench = to_and_fro();
    let told = bench.step(vec![
        batch(
            [
                entry(bits::CREATE | bits::DELETE, Q, "D", "gone", "f1"),
                entry(bits::CREATE | bits::DELETE, Q, "D", "whole", "f2"),
                alone(bits::ATTRIB | bits::DELETE_SELF, Q, "f2"),
            ]
            .concat(),
        ),
        lost(1),
        batch(Vec::new()),
    ]);
    assert_eq!(
        told,
        [
            "CREATE /m/a/gone q",
            "DELETE /m/a/gone q ?",
            "CREATE /m/a/whole q",
            "ATTRIB /m/a/whole q",
            "DELETE_SELF /m/a/whole q",
            "DELETE /m/a/whole q",
            "LOST Some(1)"
        ]
    );
}

#[test]
fn a_move_whose_rename_was_lost_is_lost_with_it() {
    for (is_renamed, told) in [(false, 0), (true, 1)] {
        let mut bench = to_and_fro();
        bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
        let rename = rename(0, P, ("top", "f"), ("top", "g"), "F");
        let end = alone(bits::ATTRIB | bits::MOVE_SELF, P, "F");
        let records = [if is_renamed { rename } else { Vec::new() }, end].concat();
        let lines = bench.step(vec![batch(records), lost(1)]);
        let count = |kind: &str| lines.iter().filter(|line| line.starts_with(kind)).count();
        assert_eq!(count("MOVE_SELF"), told, "{lines:?}");
        assert_eq!(count("ATTRIB"), 1, "{lines:?}");
    }
    // The rename that was read is another one.
    let records = [
        rename(0, Q, ("top", "f"), ("top", "g"), "F"),
        alone(bits::MOVE_SELF, Q, "F"),
        alone(bits::ATTRIB | bits::MOVE_SELF, P, "F"),
        entry(bits::CREATE, P, "top", "h", "F"),
    ];
    let lines = to_and_fro().step(vec![batch(records.concat()), lost(1)]);
    assert!(!lines.contains(&"MOVE_SELF /m/g p".to_owned()), "{lines:?}");
}

#[test]
fn an_end_whose_removal_was_lost_is_lost_with_it() {
    let moved = |from, to, handle| rename(0, P, ("top", from), ("top", to), handle);
    let end = |mask| alone(mask | bits::DELETE_SELF, P, "F");
    let merged = || end(bits::MOVE_SELF | bits::ATTRIB);
    let removal = entry(bits::DELETE, P, "top", "g", "F");
    let cases: [(&[Vec<u8>], &[&str]); 6] = [
        // It may have had any name by then.
        (&[moved("f", "g", "F"), merged()], &["MOVE_SELF /m/g p"]),
        (
            &[moved("f", "g", "F"), merged(), removal],
            &[
                "MOVE_SELF /m/g p",
                "ATTRIB /m/g p",
                "DELETE_SELF /m/g p",
                "DELETE /m/g p",
            ],
        ),
        // Something took its place.
        (
            &[moved("f", "g", "F"), merged(), moved("s", "g", "S")],
            &["MOVE_SELF /m/g p", "ATTRIB /m/g p", "DELETE_SELF /m/g p"],
        ),
        // What had its name before took nothing from it.
        (
            &[moved("s", "g", "S"), moved("f", "g", "F"), merged()],
            &["MOVE_SELF /m/g p"],
        ),
        // Nothing was added to it.
        (&[end(0)], &["DELETE_SELF /m/f p"]),
        (&[end(bits::ATTRIB)], &[]),
    ];
    for (records, wanted) in cases {
        let mut bench = to_and_fro();
        bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
        let mut told = bench.step(vec![batch(records.concat()), lost(1)]);
        told.retain(|line| !line.starts_with("MOVED_") && !line.starts_with("LOST"));
        assert_eq!(told, wanted);
    }
}

#[test]
fn what_was_renamed_in_front_of_a_loss_may_be_elsewhere_behind_it() {
    for (from, doubt) in [(1, " ?"), (50, "")] {
        let mut bench = to_and_fro();
        bench.table.places.insert(b"E".to_vec(), is_in("top", "e"));
        let told = bench.step(vec![
            batch(there()),
            lost(1),
            Batch {
                from,
                mono: 60,
                ..batch(
                    [
                        entry(bits::CREATE, Q, "D", "f", "f1"),
                        entry(bits::CREATE, Q, "E", "g", "g1"),
                    ]
                    .concat(),
                )
            },
        ]);
        let created = format!("CREATE /m/b/f q{doubt}");
        assert_eq!(told[2..], ["LOST Some(1)", &created, "CREATE /m/e/g q"]);
        assert_eq!(
            bench.read(&[entry(bits::CREATE, Q, "D", "h", "h1")]),
            ["CREATE /m/b/h q"]
        );
    }
}

#[test]
fn where_a_directory_went_by_several_renames_that_stand_nowhere_is_not_made_up() {
    let mut bench = to_and_fro();
    bench.table.places.insert(b"D".to_vec(), is_in("top", "c"));
    // Renames from a to b and from b to c were merged into older ones.
    let told = bench.read(&[
        there(),
        rename(bits::ONDIR, P, ("top", "b"), ("top", "c"), "D"),
        rename(bits::ONDIR, P, ("top", "c"), ("top", "a"), "D"),
        entry(bits::CREATE, Q, "D", "f", "f1"),
    ]);
    assert_eq!(told[6..], ["CREATE /m/a/f q ?"]);
    assert_eq!(
        bench.read(&[entry(bits::CREATE, Q, "D", "g", "g1")]),
        ["CREATE /m/c/g q"]
    );
}

#[test]
fn what_may_have_happened_in_a_watch_is_told_there() {
    let watches: [(&str, &str, bool, &[&str]); 2] = [
        ("_global", "/m/b", true, &["all"]),
        ("_global", "/m/z", true, &["all"]),
    ];
    let mut bench = Bench::watching(&watches);
    bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
    bench.table.places.insert(b"E".to_vec(), is_in("D", "e"));
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "D")]);
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "D", "e", "E")]);
    let told = bench.read(&[
        entry(bits::CREATE | bits::CLOSE_WRITE, Q, "D", "open", "f1"),
        entry(bits::CREATE | bits::CLOSE_WRITE, Q, "E", "deep", "f2"),
        there(),
    ]);
    let seen = ["CLOSE_WRITE /m/b/open q ?", "CLOSE_WRITE /m/b/e/deep q ?"];
    assert_eq!(told[..2], seen);
    assert_eq!(told[2..], ["BACK /m/b", "MOVED_TO /m/b p <> /m/a"]);
    // It left the watch, and came back in a rename that stands nowhere.
    let told = bench.read(&[
        back(),
        there(),
        back(),
        entry(bits::CREATE, Q, "D", "new", "f3"),
        rename(0, Q, ("D", "new"), ("E", "other"), "f3"),
    ]);
    assert_eq!(
        told.iter()
            .filter(|line| line.contains(" q"))
            .collect::<Vec<_>>(),
        [
            "CREATE /m/b/new q ?",
            "MOVED_FROM /m/b/new q <> /m/b/e/other ?",
            "MOVED_TO /m/b/e/other q <> /m/b/new ?",
        ]
    );
}

#[test]
fn a_rename_between_two_others_counts_too() {
    let mut bench = to_and_fro();
    let at = |from: u64, bytes: Vec<u8>| Batch {
        from,
        mono: from + 1,
        ..batch(bytes)
    };
    let first = [
        entry(bits::CREATE | bits::CLOSE_WRITE, Q, "D", "open", "f1"),
        there(),
    ];
    let told = bench.step(vec![
        at(1, first.concat()),
        at(10, rename(bits::ONDIR, P, ("top", "b"), ("top", "c"), "D")),
    ]);
    assert_eq!(
        told[..2],
        ["CREATE /m/a/open q", "CLOSE_WRITE /m/a/open q ?"]
    );
}

#[test]
fn any_bit_but_the_making_of_an_entry_may_be_the_later_one() {
    let mut bench = to_and_fro();
    let told = bench.read(&[
        entry(bits::ATTRIB | bits::CLOSE_WRITE, Q, "D", "old", "f1"),
        there(),
    ]);
    assert_eq!(
        told[..2],
        ["ATTRIB /m/a/old q ?", "CLOSE_WRITE /m/a/old q ?"]
    );
}

#[test]
fn only_an_end_to_which_nothing_was_added_says_when_a_name_went() {
    let mut bench = to_and_fro();
    let told = bench.read(&[
        entry(bits::CREATE | bits::DELETE | bits::ONDIR, P, "D", "t", "T"),
        // chmod, and the end behind the rename.
        alone(bits::ATTRIB | bits::DELETE_SELF | bits::ONDIR, P, "T"),
        entry(bits::CREATE | bits::DELETE, P, "D", "f", "F"),
        // A second name came, and both went.
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "F"),
        entry(bits::CREATE | bits::DELETE, P, "D", "g", "F"),
        entry(bits::CREATE | bits::DELETE, P, "D", "sure", "S"),
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "S"),
        there(),
    ]);
    let doubtful = |path: &str| {
        let ends = told
            .iter()
            .filter(|line| line.contains(path) && line.contains("DELETE"));
        ends.map(|line| line.ends_with('?')).collect::<Vec<_>>()
    };
    assert_eq!(doubtful("/a/t"), [true, true], "{told:#?}");
    let f: Vec<_> = [doubtful("/a/f "), doubtful("/a/g ")].concat();
    assert_eq!(f, [true, true, true], "{told:#?}");
    // What was removed while it was open ends later.
    assert_eq!(doubtful("/a/sure"), [true, false], "{told:#?}");
}

#[test]
fn a_rename_that_stands_nowhere_is_told_where_a_removal_shows_it() {
    for is_queued in [false, true] {
        let mut bench = to_and_fro();
        bench.table.places.remove(&b"D"[..]);
        let removal = entry(bits::DELETE | bits::ONDIR, P, "top", "b", "D");
        let mut records = vec![there(), back()];
        if is_queued {
            bench.table.queue.push(removal);
        } else {
            records.push(removal);
        }
        let told = bench.read(&records);
        assert_eq!(
            told[4..],
            [
                "MOVED_FROM /m/a p <> /m/b",
                "MOVED_TO /m/b p <> /m/a",
                "DELETE /m/b p"
            ],
            "{is_queued}"
        );
    }
}

#[test]
fn a_rename_that_stands_nowhere_is_told_where_its_old_place_is_taken() {
    let mut bench = to_and_fro();
    let told = bench.read(&[
        there(),
        back(),
        entry(bits::CREATE | bits::ONDIR, Q, "top", "a", "E"),
        entry(bits::CREATE, Q, "E", "f", "f1"),
        entry(bits::CREATE, Q, "D", "g", "f2"),
    ]);
    assert_eq!(
        told[4..],
        [
            "MOVED_FROM /m/a p <> /m/b",
            "MOVED_TO /m/b p <> /m/a",
            "CREATE /m/a q",
            "CREATE /m/a/f q",
            "CREATE /m/b/g q"
        ]
    );
}

#[test]
fn a_rename_that_stands_nowhere_is_the_deed_of_who_made_the_same_before() {
    let mut bench = to_and_fro();
    let told = bench.read(&[
        there(),
        rename(bits::ONDIR, Q, ("top", "b"), ("top", "a"), "D"),
    ]);
    assert_eq!(
        told[4..],
        ["MOVED_FROM /m/a p <> /m/b", "MOVED_TO /m/b p <> /m/a"]
    );
}

#[test]
fn where_something_is_behind_a_loss_says_nothing_of_what_was_before_it() {
    let mut bench = to_and_fro();
    bench
        .table
        .places
        .insert(b"D".to_vec(), is_in("top", "later"));
    bench
        .table
        .queue
        .push(entry(bits::CREATE, Q, "D", "f", "f1"));
    bench.table.lost = Some(lost(1));
    let told = bench.read(&[there(), back()]);
    assert_eq!(told[4..], ["CREATE /m/a/f q ?", "LOST Some(1)"]);
    // Of a file likewise.
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE, P, "top", "a", "f")]);
    bench.table.files.insert(b"/m/b".to_vec(), key("f"));
    bench.table.lost = Some(lost(1));
    let go = |from, to| rename(0, P, ("top", from), ("top", to), "f");
    let told = bench.read(&[go("a", "b"), go("b", "a")]);
    assert_eq!(told[4..], ["LOST Some(1)"]);
}

#[test]
fn an_end_in_front_of_a_loss_is_told_on_older_kernels_too() {
    let mut bench = Bench::speaking(true, &[("_global", "/m", true, &["all"])]);
    let removal = event(bits::DELETE, P, &[info_fid(2, FSID, b"top", Some(b"f"))]);
    let end = alone(bits::ATTRIB | bits::DELETE_SELF, P, "F");
    assert_eq!(
        bench.step(vec![batch([end, removal].concat()), lost(1)]),
        [
            "ATTRIB /m/f p",
            "DELETE_SELF /m/f p",
            "DELETE /m/f p",
            "LOST Some(1)"
        ]
    );
}

#[test]
fn the_removal_of_one_of_two_names_is_no_end_in_front_of_a_loss() {
    let mut bench = to_and_fro();
    bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
    let records = [
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "F"),
        entry(bits::CREATE | bits::DELETE, P, "top", "l", "F"),
    ];
    let told = bench.step(vec![batch(records.concat()), lost(1)]);
    assert!(
        !told.iter().any(|line| line.starts_with("DELETE_SELF")),
        "{told:?}"
    );
}

#[test]
fn what_was_removed_left_its_place_by_no_rename() {
    let mut bench = to_and_fro();
    bench.table.places.remove(&b"D"[..]);
    let told = bench.read(&[
        there(),
        back(),
        alone(bits::DELETE_SELF | bits::ONDIR, P, "D"),
        entry(bits::DELETE | bits::ONDIR, P, "top", "a", "D"),
        entry(bits::CREATE | bits::ONDIR, P, "top", "a", "E"),
    ]);
    assert_eq!(
        told[4..],
        ["DELETE_SELF /m/a p ?", "DELETE /m/a p", "CREATE /m/a p"]
    );
}
