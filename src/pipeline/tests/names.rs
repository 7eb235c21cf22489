//! Records that carry the handle of a file only: by which of its names they are told.

use super::*;

/// A record in a directory that is gone, whose removal has not come yet: what is read after it waits.
fn waits() -> Vec<u8> {
    entry(bits::CREATE, Q, "gone", "x", "x")
}

fn removal_of_gone() -> Vec<u8> {
    entry(bits::DELETE | bits::ONDIR, Q, "top", "gone", "gone")
}

#[test]
fn a_file_that_the_table_forgot_has_the_name_that_was_told() {
    let mut bench = Bench::everything();
    let mut records = vec![
        entry(bits::CREATE, P, "top", "new", "file"),
        rename(0, P, ("top", "new"), ("top", "old"), "file"),
    ];
    for number in 0..300 {
        let name = format!("n{number}");
        records.push(entry(bits::CREATE, P, "top", &name, &name));
    }
    records.push(waits());
    let told = bench.read(&records);
    assert_eq!(told.len(), 303, "{told:?}");
    let told = bench.read(&[
        removal_of_gone(),
        rename(0, P, ("top", "n1"), ("top", "old"), "n1"),
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "file"),
    ]);
    assert!(told.contains(&"ATTRIB /m/old p".to_owned()), "{told:#?}");
    assert!(
        told.contains(&"DELETE_SELF /m/old p".to_owned()),
        "{told:#?}"
    );
}

#[test]
fn the_end_of_a_file_waits_for_its_last_name_when_the_known_one_is_gone() {
    let mut bench = Bench::everything();
    bench.read(&[
        alone(bits::ATTRIB, P, "file"),
        entry(bits::CREATE, P, "top", "second", "file"),
    ]);
    bench.read(&[
        alone(bits::ATTRIB, P, "file"),
        entry(bits::DELETE, P, "top", "second", "file"),
    ]);
    let told = bench.read(&[alone(bits::ATTRIB | bits::DELETE_SELF, P, "file")]);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(
        bench.read(&[entry(bits::DELETE, P, "top", "first", "file")]),
        [
            "ATTRIB /m/first p",
            "DELETE_SELF /m/first p",
            "DELETE /m/first p"
        ]
    );
}

#[test]
fn a_name_that_went_is_not_told_where_the_next_one_follows() {
    let mut bench = Bench::everything();
    bench.read(&[
        alone(bits::ATTRIB, P, "file"),
        entry(bits::CREATE, P, "top", "second", "file"),
        entry(bits::DELETE, P, "top", "second", "file"),
    ]);
    assert_eq!(
        bench.read(&[
            alone(bits::ATTRIB, Q, "file"),
            entry(bits::CREATE, Q, "top", "third", "file"),
        ]),
        ["ATTRIB /m/third q", "CREATE /m/third q"]
    );
    assert_eq!(
        bench.read(&[
            rename(0, Q, ("top", "x"), ("top", "third"), "x"),
            alone(bits::ATTRIB | bits::DELETE_SELF, Q, "file"),
        ])[2..],
        ["ATTRIB /m/third q", "DELETE_SELF /m/third q"]
    );
}

#[test]
fn what_is_closed_after_its_removal_ends_under_its_last_name() {
    let mut bench = Bench::everything();
    bench.read(&[
        entry(bits::CREATE, P, "top", "only", "file"),
        alone(bits::ATTRIB, P, "file"),
        entry(bits::DELETE, P, "top", "only", "file"),
    ]);
    assert_eq!(
        bench.read(&[alone(bits::DELETE_SELF, Q, "file")]),
        ["DELETE_SELF /m/only q"]
    );
}

#[test]
fn a_directory_never_seen_that_a_rename_replaced_ends_where_that_came_to() {
    let mut bench = Bench::everything();
    let told = bench.read(&[
        rename(bits::ONDIR, P, ("top", "new"), ("top", "old"), "D"),
        alone(
            bits::ATTRIB | bits::DELETE_SELF | bits::ONDIR,
            P,
            "replaced",
        ),
    ]);
    assert_eq!(told.len(), 2, "{told:?}");
    bench.now += 200_000_000;
    assert_eq!(bench.read(&[]), ["ATTRIB /m/old p", "DELETE_SELF /m/old p"]);
}

#[test]
fn a_move_that_was_read_before_the_next_rename_stays_in_front_of_it() {
    let mut bench = Bench::everything();
    let told = bench.read(&[
        rename(0, P, ("top", "a"), ("top", "b"), "file"),
        alone(bits::MOVE_SELF | bits::ATTRIB, P, "file"),
        rename(0, P, ("top", "b"), ("top", "c"), "file"),
        alone(bits::MOVE_SELF, P, "file"),
    ]);
    let moves = |told: &[String]| -> Vec<String> {
        let is_move = |line: &&String| line.starts_with("MOVE_SELF");
        told.iter().filter(is_move).cloned().collect()
    };
    assert_eq!(moves(&told), ["MOVE_SELF /m/b p", "MOVE_SELF /m/c p"]);
    // Merged into a record from before the first of two renames.
    let told = bench.read(&[
        alone(bits::MOVE_SELF | bits::ATTRIB, P, "file"),
        rename(0, P, ("top", "c"), ("top", "d"), "file"),
        rename(0, P, ("top", "d"), ("top", "e"), "file"),
        alone(bits::MOVE_SELF, P, "file"),
    ]);
    assert_eq!(moves(&told), ["MOVE_SELF /m/d p", "MOVE_SELF /m/e p"]);
}

#[test]
fn only_the_first_that_ends_behind_a_rename_was_replaced_by_it() {
    let mut bench = Bench::everything();
    let told = bench.read(&[
        rename(0, P, ("top", "new"), ("top", "old"), "moved"),
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "replaced"),
        alone(bits::MOVE_SELF, P, "moved"),
        // Its DELETE has not been read yet.
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "other"),
    ]);
    assert_eq!(
        told[2..],
        [
            "ATTRIB /m/old p",
            "DELETE_SELF /m/old p",
            "MOVE_SELF /m/old p"
        ]
    );
    assert_eq!(
        bench.read(&[entry(bits::DELETE, P, "top", "x", "other")]),
        ["ATTRIB /m/x p", "DELETE_SELF /m/x p", "DELETE /m/x p"]
    );
}

#[test]
fn an_end_that_is_told_behind_its_removal_has_the_name_that_was_removed() {
    let mut bench = Bench::everything();
    // The removal was merged into the record of the making; what lies between waits for a place.
    let removed = entry(bits::CREATE | bits::DELETE, P, "top", "f", "file");
    assert_eq!(
        bench.read(&[
            removed,
            waits(),
            alone(bits::ATTRIB | bits::DELETE_SELF, P, "file"),
        ]),
        ["CREATE /m/f p", "DELETE /m/f p"]
    );
    let told = bench.read(&[removal_of_gone()]);
    assert!(told.contains(&"ATTRIB /m/f p".to_owned()), "{told:?}");
    assert!(told.contains(&"DELETE_SELF /m/f p".to_owned()), "{told:?}");
}

#[test]
fn a_removal_that_may_still_come_is_waited_for_while_another_is_given_up() {
    let end = bits::ATTRIB | bits::DELETE_SELF | bits::ONDIR;
    let mut bench = Bench::everything();
    bench.read(&[
        rename(bits::ONDIR, P, ("top", "new"), ("top", "old"), "D"),
        alone(end, P, "replaced"),
    ]);
    bench.now += 90_000_000;
    bench.read(&[
        rename(bits::ONDIR, Q, ("top", "x"), ("top", "y"), "E"),
        alone(end, Q, "removed"),
    ]);
    bench.now += 20_000_000;
    let told = bench.read(&[]);
    assert_eq!(told[..2], ["ATTRIB /m/old p", "DELETE_SELF /m/old p"]);
    let told = bench.read(&[entry(bits::DELETE | bits::ONDIR, Q, "top", "z", "removed")]);
    assert!(told.contains(&"DELETE_SELF /m/z q".to_owned()), "{told:?}");
}

#[test]
fn what_is_removed_behind_a_rename_over_nothing_was_not_replaced_by_it() {
    let renamed = [
        entry(bits::CREATE | bits::DELETE, P, "top", "gone", "gone"),
        rename(0, P, ("top", "new"), ("top", "name"), "new"),
    ];
    let end = [alone(bits::ATTRIB | bits::DELETE_SELF, P, "gone")];
    // Read at once, in two reads of one look at the queue, and in two looks.
    for parts in 1..=3 {
        let mut bench = Bench::everything();
        let told = match parts {
            1 => bench.read(&[&renamed[..], &end].concat()),
            2 => bench.step(vec![batch(renamed.concat()), batch(end.concat())]),
            _ => [bench.read(&renamed), bench.read(&end)].concat(),
        };
        for line in ["ATTRIB /m/gone p", "DELETE_SELF /m/gone p"] {
            assert!(told.contains(&line.to_owned()), "in {parts}: {told:?}");
        }
    }
}

#[test]
fn a_rename_over_nothing_gives_its_name_to_no_other_file() {
    for between in [
        vec![
            alone(bits::ATTRIB, P, "open"),
            entry(bits::DELETE, P, "top", "open", "open"),
        ],
        vec![entry(bits::CLOSE_WRITE, P, "top", "#77", "open")],
    ] {
        let mut bench = Bench::everything();
        bench.read(&[entry(bits::CREATE, P, "top", "new", "new")]);
        bench.read(&between);
        bench.read(&[rename(0, P, ("top", "new"), ("top", "old"), "new")]);
        let told = bench.read(&[
            alone(bits::FS_ERROR, P, "other"),
            alone(bits::DELETE_SELF, P, "open"),
        ]);
        assert!(!told.iter().any(|line| line.contains("/m/old")), "{told:?}");
        let is_told = told.contains(&"DELETE_SELF /m/open p".to_owned());
        assert_eq!(is_told, between.len() == 2, "{told:?}");
    }
}

#[test]
fn what_comes_behind_the_move_of_what_was_renamed_was_not_replaced_by_it() {
    let mut bench = Bench::everything();
    let told = bench.read(&[
        rename(0, P, ("top", "new"), ("top", "name"), "moved"),
        alone(bits::MOVE_SELF, P, "moved"),
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "other"),
    ]);
    assert_eq!(told[2..], ["MOVE_SELF /m/name p"]);
    assert_eq!(
        bench.read(&[entry(bits::DELETE, P, "top", "x", "other")]),
        ["ATTRIB /m/x p", "DELETE_SELF /m/x p", "DELETE /m/x p"]
    );
}

#[test]
fn a_name_that_a_rename_took_does_not_come_back() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
    bench.read(&[
        alone(bits::ATTRIB, P, "F"),
        entry(bits::CREATE, P, "top", "bak", "F"),
    ]);
    bench.read(&[
        rename(0, P, ("top", "tmp"), ("top", "f"), "S"),
        alone(bits::ATTRIB, P, "F"),
    ]);
    bench.read(&[
        alone(bits::ATTRIB, P, "F"),
        entry(bits::DELETE, P, "top", "bak", "F"),
    ]);
    assert_eq!(
        bench.read(&[alone(bits::DELETE_SELF, Q, "F")]),
        ["DELETE_SELF /m/bak q"]
    );
}

#[test]
fn a_file_gets_another_name_before_it_loses_the_first() {
    let made = || {
        entry(
            bits::CREATE | bits::CLOSE_WRITE | bits::DELETE,
            P,
            "top",
            "tmp",
            "F",
        )
    };
    assert_eq!(
        Bench::everything().read(&[
            made(),
            alone(bits::ATTRIB, P, "F"),
            entry(bits::CREATE, P, "top", "final", "F"),
        ]),
        [
            "CREATE /m/tmp p",
            "CLOSE_WRITE /m/tmp p",
            "ATTRIB /m/tmp p",
            "CREATE /m/final p",
            "DELETE /m/tmp p",
        ]
    );
    assert_eq!(
        Bench::everything().read(&[
            made(),
            alone(bits::ATTRIB | bits::DELETE_SELF, P, "F"),
            entry(bits::CREATE | bits::DELETE, P, "top", "final", "F"),
        ]),
        [
            "CREATE /m/tmp p",
            "CLOSE_WRITE /m/tmp p",
            "CREATE /m/final p",
            "DELETE /m/tmp p",
            "ATTRIB /m/final p",
            "DELETE_SELF /m/final p",
            "DELETE /m/final p",
        ]
    );
}

#[test]
fn a_name_that_comes_and_goes_beside_another_goes_where_its_record_stands() {
    let passing = || entry(bits::CREATE | bits::DELETE, P, "top", "passing", "F");
    let told = [
        "ATTRIB /m/f p",
        "CREATE /m/passing p",
        "DELETE /m/passing p",
        "CREATE /m/stays p",
    ];
    let stays = || entry(bits::CREATE, P, "top", "stays", "F");
    // Known from before, from what is read with it, and by the change of its link count alone.
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
    assert_eq!(
        bench.read(&[alone(bits::ATTRIB, P, "F"), passing(), stays()]),
        told
    );
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
    assert_eq!(bench.read(&[passing(), stays()]), told[1..]);
    assert_eq!(
        Bench::everything().read(&[
            entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "f", "F"),
            passing(),
            stays()
        ])[2..],
        told[1..]
    );
    let told = Bench::everything().read(&[alone(bits::ATTRIB, P, "F"), passing(), stays()]);
    let told: Vec<_> = told
        .iter()
        .filter(|line| !line.contains("ATTRIB"))
        .collect();
    assert_eq!(
        told,
        [
            "CREATE /m/passing p",
            "DELETE /m/passing p",
            "CREATE /m/stays p"
        ]
    );
}

#[test]
fn a_name_is_free_before_it_is_taken_again() {
    assert_eq!(
        Bench::everything().read(&[
            entry(bits::CREATE, P, "top", "f", "F"),
            entry(bits::CREATE | bits::DELETE, P, "top", "l", "F"),
            entry(bits::CREATE, Q, "top", "l", "F"),
        ])[1..],
        ["CREATE /m/l p", "DELETE /m/l p", "CREATE /m/l q"]
    );
}

#[test]
fn a_file_that_lost_its_last_name_to_a_rename_ended_behind_it_and_there() {
    let knows_f = || {
        let mut bench = Bench::everything();
        bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
        bench
    };
    let ended = || alone(bits::ATTRIB | bits::DELETE_SELF, P, "F");
    let over = || rename(0, P, ("top", "x"), ("top", "f"), "X");
    let end = [
        "MOVED_FROM /m/x p <> /m/f",
        "MOVED_TO /m/f p <> /m/x",
        "ATTRIB /m/f p",
        "DELETE_SELF /m/f p",
    ];
    // A change of its mode, or of its link count by a name that came and went, was still unread.
    assert_eq!(knows_f().read(&[ended(), over()]), end);
    let told = knows_f().read(&[
        ended(),
        entry(bits::CREATE | bits::DELETE, P, "top", "l", "F"),
        over(),
    ]);
    assert_eq!(told[..2], ["CREATE /m/l p", "DELETE /m/l p"]);
    assert_eq!(told[2..], end);
    // With a last use by somebody who has it open.
    let told = knows_f().read(&[
        ended(),
        over(),
        entry(bits::CLOSE_WRITE, Q, "top", "f", "F"),
    ]);
    assert_eq!(told[..2], end[..2]);
    assert_eq!(told[2..], ["CLOSE_WRITE /m/f q", end[2], end[3]]);
    // Where the end stands behind its rename already, the next one over that name is none of it.
    for again in [P, Q] {
        let told = knows_f().read(&[
            over(),
            ended(),
            rename(0, again, ("top", "y"), ("top", "f"), "Y"),
        ]);
        assert_eq!(told[..4], end);
    }
    // Nor when others came in between.
    let mut busy = vec![over()];
    for n in 0..20 {
        busy.push(entry(
            bits::CREATE,
            Q,
            "top",
            &format!("n{n}"),
            &format!("N{n}"),
        ));
    }
    busy.push(ended());
    busy.push(rename(0, Q, ("top", "y"), ("top", "f"), "Y"));
    let told = knows_f().read(&busy);
    assert_eq!(told[22..24], end[2..]);
}

#[test]
fn who_opened_a_file_by_a_name_that_is_gone_does_not_bring_it_back() {
    // The file goes on, and what is told of it without a name is told by the one that it has.
    let link = || {
        [
            entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "f", "F"),
            entry(bits::CREATE, P, "top", "g", "F"),
        ]
    };
    let use_by_old_name = || entry(bits::CLOSE_WRITE, Q, "top", "f", "F");
    let mut bench = Bench::everything();
    bench.read(&link());
    bench.read(&[entry(bits::DELETE, P, "top", "f", "F")]);
    assert_eq!(bench.read(&[use_by_old_name()]), ["CLOSE_WRITE /m/f q"]);
    assert_eq!(
        bench.read(&[alone(bits::ATTRIB, P, "F")]),
        ["ATTRIB /m/g p"]
    );
    // It ended as well before anything was read.
    let mut bench = Bench::everything();
    let told = bench.read(
        &[
            &link()[..],
            &[
                entry(bits::DELETE, P, "top", "f", "F"),
                use_by_old_name(),
                alone(bits::ATTRIB, P, "F"),
                entry(bits::DELETE, P, "top", "g", "F"),
                alone(bits::DELETE_SELF, Q, "F"),
            ],
        ]
        .concat(),
    );
    assert_eq!(
        told[3..],
        [
            "DELETE /m/f p",
            "CLOSE_WRITE /m/f q",
            "ATTRIB /m/g p",
            "DELETE /m/g p",
            "DELETE_SELF /m/g q"
        ]
    );
    // Made once more, it is the name again.
    let mut bench = Bench::everything();
    bench.read(&link());
    bench.read(&[entry(bits::DELETE, P, "top", "f", "F")]);
    bench.read(&[entry(bits::CREATE, P, "top", "f", "F")]);
    bench.read(&[entry(bits::DELETE, P, "top", "g", "F")]);
    assert_eq!(
        bench.read(&[alone(bits::ATTRIB, P, "F")]),
        ["ATTRIB /m/f p"]
    );
}
