//! Ends, watches, losses, overlays, older kernels and mounts.

use super::*;

#[test]
fn a_record_that_waits_for_its_name_is_told_with_it() {
    let mut bench = Bench::everything();
    assert!(
        bench
            .read(&[alone(bits::ATTRIB | bits::DELETE_SELF, P, "f1")])
            .is_empty()
    );
    let lines = bench.read(&[entry(bits::DELETE, P, "top", "f", "f1")]);
    assert_eq!(
        lines,
        ["ATTRIB /m/f p", "DELETE_SELF /m/f p", "DELETE /m/f p"]
    );
}

#[test]
fn nameless_files_get_no_name_until_they_are_linked() {
    let open = bits::bit_of(EventType::Open);
    let mut bench = Bench::everything();
    assert!(bench.read(&[entry(open, P, "top", "#12", "f1")]).is_empty());
    let lines = bench.read(&[
        entry(bits::CLOSE_WRITE, P, "top", "#13", "f2"),
        entry(bits::CREATE, P, "top", "named", "f2"),
    ]);
    assert_eq!(lines, ["CREATE /m/named p", "CLOSE_WRITE /m/named p"]);
    assert_eq!(
        bench.read(&[entry(bits::CREATE, P, "top", "#14", "f3")]),
        ["CREATE /m/#14 p"],
        "a file may be called so"
    );
}

#[test]
fn the_deepest_watch_of_a_group_decides_and_each_group_gets_its_line() {
    let mut bench = Bench::watching(&[
        ("_global", "/m", true, &["CREATE"]),
        ("_global", "/m/a", true, &["DELETE"]),
        ("_global", "/m/file", false, &["CLOSE_WRITE"]),
        ("_global", "/m/flat", false, &[]),
    ]);
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "a", "A"),
        entry(bits::CREATE, P, "A", "f", "f1"),
        entry(bits::DELETE, P, "A", "f", "f1"),
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "file", "f2"),
        entry(bits::CREATE | bits::ONDIR, P, "top", "flat", "F"),
        entry(bits::CREATE | bits::ONDIR, P, "F", "d", "G"),
        entry(bits::DELETE, P, "G", "deeper", "f3"),
    ]);
    assert_eq!(
        lines,
        [
            "BACK /m/a",
            "DELETE /m/a/f p",
            "BACK /m/file",
            "CLOSE_WRITE /m/file p",
            "BACK /m/flat",
            "CREATE /m/flat p",
            "CREATE /m/flat/d p"
        ]
    );
}

#[test]
fn moves_over_the_edge_of_a_watch_show_their_inner_side() {
    let mut bench = Bench::watching(&[("_global", "/m/in", true, &[])]);
    bench
        .table
        .places
        .insert(b"IN".to_vec(), is_in("top", "in"));
    let lines = bench.read(&[
        rename(bits::ONDIR, P, ("top", "tree"), ("IN", "tree"), "T"),
        entry(bits::CREATE, P, "T", "f", "f1"),
        rename(bits::ONDIR, P, ("IN", "tree"), ("top", "away"), "T"),
        entry(bits::CREATE, P, "T", "g", "g1"),
        rename(bits::ONDIR, P, ("top", "in"), ("top", "elsewhere"), "IN"),
        entry(bits::CREATE, P, "IN", "h", "h1"),
    ]);
    assert_eq!(
        lines,
        [
            "MOVED_TO /m/in/tree p <> /m/tree",
            "CREATE /m/in/tree/f p",
            "MOVED_FROM /m/in/tree p <> /m/away",
            "GONE /m/in",
            "MOVED_FROM /m/in p <> /m/elsewhere",
        ]
    );
}

#[test]
fn a_loss_is_told_at_its_place_and_the_tree_is_asked_for_again() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "A")]);
    bench
        .table
        .places
        .insert(b"A".to_vec(), is_in("top", "renamed"));
    let loss = Loss {
        count: Some(3),
        since: WallTime(1),
        until: WallTime(2),
        cause: "test",
    };
    let lines = bench.step(vec![
        batch(entry(bits::CREATE, P, "A", "before", "f1")),
        Batch {
            lost: Some(loss),
            ..Batch::default()
        },
        batch(entry(bits::CREATE, P, "A", "behind", "f2")),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a/before p",
            "LOST Some(3)",
            "CREATE /m/renamed/behind p"
        ]
    );
}

#[test]
fn an_overlay_removes_what_lies_below_by_a_whiteout() {
    let mut bench = Bench::watching(&[("_global", "/merged", true, &["all"])]);
    let merged = MountPoint {
        root: key("upper"),
        path: b"/merged".to_vec(),
        is_top: false,
        work: Some(key("work")),
    };
    bench.pipeline.set_mounts([merged]);
    for dir in ["upper", "work"] {
        bench.table.places.insert(dir.into(), is_in("top", dir));
    }
    bench.table.places.insert(b"top".to_vec(), Whereabouts::Top);
    let lines = bench.read(&[
        rename(0, P, ("work", "#1"), ("upper", "low"), "whiteout"),
        rename(bits::ONDIR, P, ("work", "#2"), ("upper", "dir"), "D"),
        rename(bits::ONDIR, P, ("upper", "old"), ("work", "#3"), "E"),
        entry(bits::CREATE, P, "D", "f", "f1"),
    ]);
    assert_eq!(lines, ["DELETE /merged/low p", "CREATE /merged/dir/f p"]);
}

#[test]
fn older_kernels_rename_in_three_records() {
    let named =
        |mask: u64, name: &str| event(mask, P, &[info_fid(2, FSID, b"top", Some(name.as_bytes()))]);
    let mut bench = Bench::speaking(true, &[("_global", "/m", true, &["all"])]);
    bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
    let lines = bench.read(&[
        named(bits::CREATE | bits::ONDIR, "a"),
        named(bits::MOVED_FROM | bits::ONDIR, "a"),
        named(bits::MOVED_TO | bits::ONDIR, "b"),
        alone(bits::MOVE_SELF | bits::ONDIR, P, "D"),
        entry(bits::CLOSE_WRITE, P, "D", "f", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a p",
            "MOVED_FROM /m/a p <> /m/b",
            "MOVED_TO /m/b p <> /m/a",
            "MOVE_SELF /m/b p",
            "CLOSE_WRITE /m/b/f p"
        ]
    );
}

#[test]
fn older_kernels_may_be_read_in_the_middle_of_a_rename() {
    let named =
        |mask: u64, name: &str| event(mask, P, &[info_fid(2, FSID, b"top", Some(name.as_bytes()))]);
    let records = [
        named(bits::CREATE, "a"),
        entry(bits::CLOSE_WRITE, P, "top", "a", "f1"),
        named(bits::MOVED_FROM, "a"),
        named(bits::MOVED_TO, "b"),
        alone(bits::MOVE_SELF, P, "f1"),
        alone(bits::DELETE_SELF, P, "f1"),
        named(bits::DELETE, "b"),
    ];
    let read = |cuts: &[usize]| {
        let mut bench = Bench::speaking(true, &[("_global", "/m", true, &["all"])]);
        bench.table.places.insert(b"f1".to_vec(), is_in("top", "a"));
        let mut lines = Vec::new();
        let mut from = 0;
        for to in cuts.iter().chain([&records.len()]) {
            let mut part = batch(records[from..*to].concat());
            // Read just now.
            part.mono = bench.now;
            lines.extend(bench.step(vec![part]));
            from = *to;
        }
        lines
    };
    let whole = read(&[]);
    assert!(whole.contains(&"MOVE_SELF /m/b p".to_owned()), "{whole:?}");
    for cut in [3, 4] {
        assert_eq!(read(&[cut]), whole, "read up to {cut} first");
    }
    assert_eq!(read(&[3, 4]), whole);
    // What never comes is not waited for.
    let mut bench = Bench::speaking(true, &[("_global", "/m", true, &["all"])]);
    let mut part = batch(named(bits::MOVED_FROM, "a"));
    part.mono = bench.now;
    assert_eq!(bench.step(vec![part]), [""; 0]);
    bench.now += 10_000_000;
    assert_eq!(bench.step(Vec::new()), ["MOVED_FROM /m/a p"]);
}

#[test]
fn names_of_one_file_are_told_apart() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE, P, "top", "b", "f1")]);
    let lines = bench.read(&[
        alone(bits::ATTRIB | bits::MOVE_SELF, P, "f1"),
        entry(bits::CREATE, P, "top", "x", "f1"),
        rename(0, P, ("top", "x"), ("top", "y"), "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "ATTRIB /m/b p",
            "CREATE /m/x p",
            "MOVED_FROM /m/x p <> /m/y",
            "MOVED_TO /m/y p <> /m/x",
            "MOVE_SELF /m/y p"
        ]
    );
    let lines = bench.read(&[
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "f1"),
        entry(bits::DELETE, P, "top", "y", "f1"),
        entry(bits::DELETE, P, "top", "b", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "DELETE /m/y p",
            "ATTRIB /m/b p",
            "DELETE_SELF /m/b p",
            "DELETE /m/b p"
        ]
    );
}

#[test]
fn what_cannot_be_placed_is_said() {
    let mut bench = Bench::everything();
    assert!(
        bench
            .read(&[
                entry(bits::DELETE, P, "X", "f", "f2"),
                entry(bits::CREATE, P, "X", "g", "g1")
            ])
            .is_empty()
    );
    bench.now += 200_000_000;
    assert_eq!(bench.step(Vec::new()), ["LOST Some(2)"]);
}

#[test]
fn nothing_is_asked_where_an_answer_could_not_be_checked() {
    let mut bench = Bench::everything();
    bench
        .table
        .places
        .insert(b"D".to_vec(), is_in("top", "now"));
    let loss = Loss {
        count: Some(1),
        since: WallTime(1),
        until: WallTime(2),
        cause: "test",
    };
    let lines = bench.step(vec![
        batch(entry(bits::CREATE, P, "D", "before", "f1")),
        Batch {
            lost: Some(loss),
            ..Batch::default()
        },
        batch(entry(bits::CREATE, P, "D", "behind", "f2")),
    ]);
    assert_eq!(
        lines,
        ["LOST Some(1)", "LOST Some(1)", "CREATE /m/now/behind p"]
    );
}

#[test]
fn what_comes_into_reach_with_its_parent_is_asked_for_again() {
    let mut bench = Bench::everything();
    // The mount shows `top` only; X lies in Y, and both outside.
    for dir in ["X", "Y", "out"] {
        bench.table.places.insert(dir.into(), Whereabouts::Outside);
    }
    assert!(
        bench
            .read(&[entry(bits::CREATE, P, "X", "f", "f1")])
            .is_empty()
    );
    bench.table.places.insert(b"X".to_vec(), is_in("Y", "X"));
    bench.read(&[rename(bits::ONDIR, P, ("out", "Y"), ("top", "Y"), "Y")]);
    assert_eq!(
        bench.read(&[entry(bits::CREATE, P, "X", "g", "g1")]),
        ["CREATE /m/Y/X/g p"]
    );
}

#[test]
fn mount_points_move_with_the_directories_above_them() {
    let mut bench = Bench::everything();
    let mount = |root: &str, path: &str| MountPoint {
        root: key(root),
        path: path.into(),
        is_top: true,
        work: None,
    };
    bench
        .pipeline
        .set_mounts([mount("top", "/m"), mount("inner", "/m/a/b")]);
    let lines = bench.read(&[rename(bits::ONDIR, P, ("top", "a"), ("top", "c"), "A")]);
    assert!(lines.contains(&"MOUNTS".to_owned()), "{lines:?}");
    let lines = bench.read(&[rename(bits::ONDIR, P, ("top", "d"), ("top", "e"), "D")]);
    assert!(!lines.contains(&"MOUNTS".to_owned()), "{lines:?}");
}

#[test]
fn what_is_removed_had_a_name() {
    let mut bench = Bench::everything();
    let end = alone(bits::ATTRIB | bits::DELETE_SELF, P, "f");
    assert_eq!(bench.read(&[end]), [""; 0]);
    assert_eq!(
        bench.read(&[entry(bits::DELETE, P, "top", "#12", "f")]),
        ["ATTRIB /m/#12 p", "DELETE_SELF /m/#12 p", "DELETE /m/#12 p"]
    );
}
