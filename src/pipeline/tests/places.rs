//! Paths at the time of the event, and the order of what is told.

use super::*;

#[test]
fn a_tree_is_complete_from_its_first_microsecond() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "a", "A"),
        entry(bits::CREATE | bits::ONDIR, P, "A", "b", "B"),
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "B", "f", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a p",
            "CREATE /m/a/b p",
            "CREATE /m/a/b/f p",
            "CLOSE_WRITE /m/a/b/f p"
        ]
    );
    assert!(bench.table.asked.is_empty(), "everything was stated");
}

#[test]
fn a_never_seen_tree_is_placed_by_its_own_removal() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::DELETE, P, "B", "f", "f1"),
        entry(bits::DELETE | bits::ONDIR, P, "A", "b", "B"),
        entry(bits::DELETE | bits::ONDIR, P, "top", "a", "A"),
    ]);
    assert_eq!(
        lines,
        ["DELETE /m/a/b/f p", "DELETE /m/a/b p", "DELETE /m/a p"]
    );
}

#[test]
fn a_removal_that_is_not_read_yet_is_waited_for_and_not_for_ever() {
    let mut bench = Bench::everything();
    assert!(
        bench
            .read(&[entry(bits::DELETE, P, "A", "f", "f1")])
            .is_empty()
    );
    assert!(bench.pipeline.is_waiting());
    let lines = bench.read(&[entry(bits::DELETE | bits::ONDIR, P, "top", "a", "A")]);
    assert_eq!(lines, ["DELETE /m/a/f p", "DELETE /m/a p"]);

    assert!(
        bench
            .read(&[
                entry(bits::DELETE, P, "X", "f", "f2"),
                entry(bits::CREATE, P, "top", "g", "g1")
            ])
            .is_empty()
    );
    bench.now += 200_000_000;
    assert_eq!(bench.step(Vec::new()), ["LOST Some(1)", "CREATE /m/g p"]);
    assert_eq!(bench.pipeline.counts().unplaced, 1);
}

#[test]
fn an_answer_is_corrected_by_what_is_read_after_it() {
    let mut bench = Bench::everything();
    // Asked now, the directory is called `new`; the rename is still in the queue.
    bench
        .table
        .places
        .insert(b"D".to_vec(), is_in("top", "new"));
    bench
        .table
        .queue
        .push(rename(bits::ONDIR, P, ("top", "old"), ("top", "new"), "D"));
    let lines = bench.read(&[entry(bits::CREATE, P, "D", "f", "f1")]);
    assert_eq!(
        lines,
        [
            "CREATE /m/old/f p",
            "MOVED_FROM /m/old p <> /m/new",
            "MOVED_TO /m/new p <> /m/old"
        ]
    );
}

#[test]
fn every_event_has_the_path_of_its_own_time() {
    let mut bench = Bench::everything();
    bench.table.places.insert(b"D".to_vec(), is_in("top", "c"));
    let lines = bench.read(&[
        entry(bits::CREATE, P, "D", "1", "f1"),
        rename(bits::ONDIR, P, ("top", "a"), ("top", "b"), "D"),
        entry(bits::CREATE, P, "D", "2", "f2"),
        rename(bits::ONDIR, P, ("top", "b"), ("top", "c"), "D"),
        entry(bits::CREATE, P, "D", "3", "f3"),
    ]);
    let created: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("CREATE"))
        .collect();
    assert_eq!(
        created,
        ["CREATE /m/a/1 p", "CREATE /m/b/2 p", "CREATE /m/c/3 p"]
    );
}

#[test]
fn a_directory_made_and_removed_in_one_record_ends_behind_what_lay_in_it() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(
            bits::CREATE | bits::DELETE | bits::ONDIR,
            P,
            "top",
            "t",
            "T",
        ),
        entry(bits::CREATE | bits::DELETE, P, "T", "f", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/t p",
            "CREATE /m/t/f p",
            "DELETE /m/t/f p",
            "DELETE /m/t p"
        ]
    );
}

#[test]
fn the_shell_closes_what_sort_has_written() {
    let modify = bits::bit_of(EventType::Modify);
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "out", "f1"),
        entry(modify, Q, "top", "out", "f1"),
    ]);
    assert_eq!(
        lines,
        ["CREATE /m/out p", "MODIFY /m/out q", "CLOSE_WRITE /m/out p"]
    );
}

#[test]
fn the_end_of_an_object_comes_behind_its_use() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "a", "f1"),
        rename(0, P, ("top", "a"), ("top", "b"), "f1"),
        alone(bits::MOVE_SELF | bits::ATTRIB | bits::DELETE_SELF, P, "f1"),
        entry(bits::CLOSE_WRITE | bits::DELETE, P, "top", "b", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a p",
            "CLOSE_WRITE /m/a p",
            "MOVED_FROM /m/a p <> /m/b",
            "MOVED_TO /m/b p <> /m/a",
            "MOVE_SELF /m/b p",
            "CLOSE_WRITE /m/b p",
            "ATTRIB /m/b p",
            "DELETE_SELF /m/b p",
            "DELETE /m/b p",
        ]
    );
}

#[test]
fn an_end_that_is_reported_twice_holds_nothing_up() {
    let mut bench = Bench::everything();
    bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "d", "D"),
        entry(bits::CREATE | bits::ONDIR, P, "D", "e", "E"),
        entry(bits::CREATE, P, "D", "f", "f1"),
    ]);
    // The recorder closes what it asked for its size when a directory above has been renamed.
    let lines = bench.read(&[
        entry(bits::CLOSE_WRITE | bits::DELETE, P, "D", "f", "f1"),
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "f1"),
        rename(bits::ONDIR, Q, ("top", "d"), ("top", "x"), "D"),
        alone(bits::DELETE_SELF, US, "f1"),
    ]);
    assert_eq!(
        lines,
        [
            // The file may have been closed behind the rename.
            "CLOSE_WRITE /m/d/f p ?",
            "ATTRIB /m/d/f p",
            "DELETE_SELF /m/d/f p ?",
            "DELETE /m/d/f p",
            "MOVED_FROM /m/d q <> /m/x",
            "MOVED_TO /m/x q <> /m/d",
        ]
    );
    let lines = bench.read(&[
        entry(bits::ATTRIB | bits::DELETE | bits::ONDIR, P, "D", "e", "E"),
        rename(bits::ONDIR, Q, ("top", "x"), ("top", "y"), "D"),
        alone(bits::DELETE_SELF | bits::ONDIR, US, "E"),
    ]);
    // Nothing says any more on which side of the rename it was removed.
    assert_eq!(lines[..2], ["ATTRIB /m/x/e p ?", "DELETE /m/x/e p ?"]);
    assert_eq!(lines[4..], ["DELETE_SELF /m/x/e p"]);
}

#[test]
fn what_was_read_before_happened_before() {
    let modify = bits::bit_of(EventType::Modify);
    let mut bench = Bench::everything();
    let shell = [entry(
        bits::CREATE | bits::CLOSE_WRITE,
        P,
        "top",
        "out",
        "f1",
    )];
    let sort = [entry(modify, Q, "top", "out", "f1")];
    let later = Batch {
        from: 3,
        mono: 4,
        ..batch(sort.concat())
    };
    assert_eq!(
        bench.step(vec![batch(shell.concat()), later]),
        ["CREATE /m/out p", "CLOSE_WRITE /m/out p", "MODIFY /m/out q"]
    );
}

#[test]
fn there_and_back_and_there_again_is_found_out() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "D")]);
    // The third rename was merged into the first; only the disk knows.
    bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
    let lines = bench.read(&[
        rename(bits::ONDIR, P, ("top", "a"), ("top", "b"), "D"),
        rename(bits::ONDIR, P, ("top", "b"), ("top", "a"), "D"),
    ]);
    assert_eq!(
        lines[4..],
        ["MOVED_FROM /m/a p <> /m/b", "MOVED_TO /m/b p <> /m/a"]
    );
    assert_eq!(
        bench.read(&[entry(bits::CREATE, P, "D", "f", "f1")]),
        ["CREATE /m/b/f p"]
    );
}

#[test]
fn there_and_back_by_the_recorder_itself_is_left_out() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "D")]);
    bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
    let lines = bench.read(&[
        rename(bits::ONDIR, US, ("top", "a"), ("top", "b"), "D"),
        rename(bits::ONDIR, US, ("top", "b"), ("top", "a"), "D"),
    ]);
    assert_eq!(lines, Vec::<String>::new());
    assert_eq!(
        bench.read(&[entry(bits::CREATE, P, "D", "f", "f1")]),
        ["CREATE /m/b/f p"]
    );
}

#[test]
fn a_file_that_went_there_and_back_and_there_again_is_found_out() {
    let go = |from: &str, to: &str| rename(0, P, ("top", from), ("top", to), "f");
    let hidden = ["MOVED_FROM /m/a p <> /m/b", "MOVED_TO /m/b p <> /m/a"];
    let bench = |is_there: bool| {
        let mut bench = Bench::everything();
        let path = if is_there { "/m/b" } else { "/m/a" };
        bench.table.files.insert(path.into(), key("f"));
        bench.read(&[entry(bits::CREATE, P, "top", "a", "f")]);
        bench
    };
    // It is looked up.
    let told = bench(true).read(&[go("a", "b"), go("b", "a")]);
    assert_eq!(told[4..], hidden);
    assert_eq!(bench(false).read(&[go("a", "b"), go("b", "a")]).len(), 4);
    // The next rename, or its removal, shows it.
    let told = bench(false).read(&[go("a", "b"), go("b", "a"), go("b", "c")]);
    assert_eq!(told[4..6], hidden);
    assert_eq!(told[6], "MOVED_FROM /m/b p <> /m/c");
    let removal = [
        alone(bits::ATTRIB | bits::DELETE_SELF, Q, "f"),
        entry(bits::DELETE, Q, "top", "b", "f"),
    ];
    let end = ["ATTRIB /m/b q", "DELETE_SELF /m/b q", "DELETE /m/b q"];
    let all = [vec![go("a", "b"), go("b", "a")], removal.to_vec()].concat();
    let told = bench(false).read(&all);
    assert_eq!(told[4..], [&hidden[..], &end].concat());
    // So does what was read when it had been looked up.
    let mut late = bench(false);
    late.table.queue.push(removal.concat());
    let told = late.read(&[go("a", "b"), go("b", "a")]);
    assert_eq!(told[4..], [&hidden[..], &end].concat());
    // An end that was added to an older record is behind the way back.
    let told = bench(false).read(&[
        go("a", "b"),
        alone(bits::MOVE_SELF | bits::ATTRIB | bits::DELETE_SELF, P, "f"),
        go("b", "a"),
        rename(0, P, ("top", "x"), ("top", "a"), "over"),
    ]);
    assert_eq!(
        told.iter().filter(|line| line.contains("MOVED")).count(),
        6,
        "{told:#?}"
    );
    // What has another name is not meant.
    let link = entry(bits::CREATE, P, "top", "b", "f");
    let told = bench(false).read(&[go("a", "c"), go("c", "a"), link, go("b", "d")]);
    assert_eq!(
        told[4..],
        [
            "CREATE /m/b p",
            "MOVED_FROM /m/b p <> /m/d",
            "MOVED_TO /m/d p <> /m/b"
        ]
    );
    let told = bench(false).read(&[
        go("a", "b"),
        alone(bits::MOVE_SELF | bits::ATTRIB, P, "f"),
        go("b", "a"),
        entry(bits::CREATE | bits::DELETE, P, "top", "b", "f"),
    ]);
    assert_eq!(
        told.iter().filter(|line| line.contains("MOVED")).count(),
        4,
        "{told:#?}"
    );
}

#[test]
fn a_rename_that_is_seen_before_it_is_told_is_waited_for() {
    let go =
        |mask, from: &str, to: &str, object| rename(mask, P, ("top", from), ("top", to), object);
    // Of a directory and a file that came back, and go once more.
    for (mask, object) in [(bits::ONDIR, "D"), (0, "f")] {
        let mut bench = Bench::everything();
        bench.read(&[entry(bits::CREATE | mask, P, "top", "a", object)]);
        bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
        bench.table.files.insert(b"/m/b".to_vec(), key("f"));
        bench
            .table
            .held
            .insert(b"top".to_vec(), go(mask, "a", "b", object));
        let told = bench.read(&[go(mask, "a", "b", object), go(mask, "b", "a", object)]);
        assert_eq!(told.len(), 6, "{told:#?}");
    }
    // Of a directory that nobody has seen yet.
    let mut bench = Bench::everything();
    bench
        .table
        .places
        .insert(b"N".to_vec(), is_in("top", "new"));
    bench
        .table
        .held
        .insert(b"top".to_vec(), go(bits::ONDIR, "old", "new", "N"));
    let told = bench.read(&[entry(bits::CREATE, P, "N", "f", "f1")]);
    assert_eq!(told[0], "CREATE /m/old/f p");
}

#[test]
fn a_mount_in_a_ring_of_directories_has_one_path() {
    let mut bench = Bench::everything();
    // What was said at different times: the mounted directory is below what is below it.
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "a", "D"),
        rename(bits::ONDIR, P, ("D", "x"), ("D", "up"), "top"),
        entry(bits::CREATE, P, "D", "f", "f1"),
    ]);
    assert_eq!(lines.last().unwrap(), "CREATE /m/a/f p");
}

#[test]
fn a_replaced_file_ends_at_the_name_it_lost() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        rename(0, P, ("top", "new"), ("top", "old"), "f1"),
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "f0"),
    ]);
    assert_eq!(lines[2..], ["ATTRIB /m/old p", "DELETE_SELF /m/old p"]);
}

#[test]
fn an_end_that_the_recorder_caused_is_the_removers_and_told_once() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE, P, "top", "f", "f1"),
        entry(bits::DELETE, P, "top", "f", "f1"),
        alone(bits::DELETE_SELF, US, "f1"),
    ]);
    assert_eq!(
        lines,
        ["CREATE /m/f p", "DELETE /m/f p", "DELETE_SELF /m/f p"]
    );
    let rest = bench.read(&[alone(bits::ATTRIB | bits::DELETE_SELF, Q, "f1")]);
    assert_eq!(rest, ["ATTRIB /m/f q"]);
    let nobody = bench.read(&[
        entry(bits::CREATE, P, "top", "g", "g1"),
        alone(bits::DELETE_SELF, US, "g1"),
    ]);
    assert_eq!(nobody[1], "DELETE_SELF /m/g 0");
}

#[test]
fn an_end_stays_told_when_much_has_ended_since_and_directories_are_forgotten() {
    let mut bench = Bench::everything();
    bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "d", "D"),
        alone(bits::DELETE_SELF | bits::ONDIR, P, "D"),
        entry(bits::DELETE | bits::ONDIR, P, "top", "d", "D"),
    ]);
    // More directories than are remembered.
    for number in 0..5000 {
        let name = format!("n{number}");
        bench.read(&[
            entry(bits::CREATE | bits::ONDIR, P, "top", &name, &name),
            alone(bits::DELETE_SELF | bits::ONDIR, P, &name),
            entry(bits::DELETE | bits::ONDIR, P, "top", &name, &name),
        ]);
    }
    assert_eq!(
        bench.read(&[alone(bits::DELETE_SELF | bits::ONDIR, US, "D")]),
        [""; 0]
    );
}

#[test]
fn a_late_end_is_told_where_the_name_was_removed() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "d", "D"),
        entry(bits::CREATE, P, "D", "f", "f1"),
        entry(bits::DELETE, P, "D", "f", "f1"),
        rename(bits::ONDIR, P, ("top", "d"), ("top", "e"), "D"),
        alone(bits::DELETE_SELF, US, "f1"),
    ]);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("DELETE_SELF /m/d/f p")
    );
    // The same for what lost its name to a rename.
    let lines = bench.read(&[
        entry(bits::CREATE, P, "D", "old", "o1"),
        entry(bits::CREATE, P, "D", "new", "n1"),
        rename(0, Q, ("D", "new"), ("D", "old"), "n1"),
        rename(bits::ONDIR, P, ("top", "e"), ("top", "g"), "D"),
        alone(bits::DELETE_SELF, US, "o1"),
    ]);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("DELETE_SELF /m/e/old q")
    );
}

#[test]
fn what_the_recorder_does_is_not_told_but_followed() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, US, "top", "logs", "L"),
        entry(bits::CREATE, US, "L", "own", "o1"),
        entry(bits::CREATE, P, "L", "strange", "s1"),
    ]);
    assert_eq!(lines, ["CREATE /m/logs/strange p"]);
}

#[test]
fn a_file_with_two_names_is_told_by_one_that_it_has() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE, P, "top", "f", "f1")]);
    bench.read(&[entry(bits::CREATE, P, "top", "g", "f1")]);
    bench.read(&[entry(bits::DELETE, P, "top", "g", "f1")]);
    assert_eq!(
        bench.read(&[alone(bits::ATTRIB, P, "f1")]),
        ["ATTRIB /m/f p"]
    );
    // All in one record.
    bench.read(&[entry(bits::CREATE | bits::DELETE, P, "top", "h", "f1")]);
    assert_eq!(
        bench.read(&[alone(bits::MOVE_SELF, P, "f1")]),
        ["MOVE_SELF /m/f p"]
    );
    // The first name goes, the second stays.
    bench.read(&[entry(bits::CREATE, P, "top", "i", "f1")]);
    bench.read(&[entry(bits::DELETE, P, "top", "f", "f1")]);
    bench.read(&[rename(0, P, ("top", "i"), ("top", "j"), "f1")]);
    assert_eq!(
        bench.read(&[alone(bits::ATTRIB, P, "f1")]),
        ["ATTRIB /m/j p"]
    );
    // The last name is remembered: a file that is open outlives it.
    bench.read(&[entry(bits::DELETE, P, "top", "j", "f1")]);
    assert_eq!(
        bench.read(&[alone(bits::DELETE_SELF, P, "f1")]),
        ["DELETE_SELF /m/j p"]
    );
}
