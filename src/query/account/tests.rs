use super::*;

/// A line of the journal at a second.
fn line(second: i64, event: &str) -> Written {
    Written {
        time: at(second),
        event: event.to_owned(),
        ..Written::default()
    }
}

fn boxed(line: Written) -> Item {
    Item::Line(Box::new(line))
}

fn at(second: i64) -> WallTime {
    WallTime(second * 1_000_000_000)
}

fn add(second: i64, path: &str) -> Item {
    boxed(Written {
        cmd: Some("_global".to_owned()),
        path: Some(path.as_bytes().to_vec()),
        watch: Some(r#"{"recursive":true}"#.to_owned()),
        ..line(second, "ADD")
    })
}

fn remove(second: i64, path: &str) -> Item {
    boxed(Written {
        cmd: Some("_global".to_owned()),
        path: Some(path.as_bytes().to_vec()),
        ..line(second, "REMOVE")
    })
}

fn start(second: i64) -> Item {
    boxed(line(second, "START"))
}

fn stop(second: i64) -> Item {
    boxed(Written {
        reason: Some("SIGTERM".to_owned()),
        ..line(second, "STOP")
    })
}

fn gap(since: i64, second: i64, lost: i64, cause: &str) -> Item {
    boxed(Written {
        since: Some(at(since)),
        lost: Some(lost),
        cause: Some(cause.to_owned()),
        ..line(second, "GAP")
    })
}

/// The pieces of the only story, with seconds and the beginning of the state's name.
fn told(items: &[Item], end: End) -> Vec<(i64, i64, String)> {
    let Account { mut stories, .. } = account(items, end);
    assert_eq!(stories.len(), 1, "{stories:?}");
    shown(&stories.remove(0))
}

fn shown(story: &Story) -> Vec<(i64, i64, String)> {
    let pieces = story.pieces.iter().map(|piece| {
        let name = format!("{:?}", piece.state);
        let name = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
        (
            piece.from.0 / 1_000_000_000,
            piece.to.0 / 1_000_000_000,
            name,
        )
    });
    pieces.collect()
}

fn pieces(wanted: &[(i64, i64, &str)]) -> Vec<(i64, i64, String)> {
    let owned = wanted
        .iter()
        .map(|(from, to, name)| (*from, *to, (*name).to_owned()));
    owned.collect()
}

#[test]
fn a_day_without_trouble_is_one_piece() {
    let day = [start(1), add(1, "/a"), stop(90)];
    assert_eq!(
        told(&day, End::Silent(at(90))),
        pieces(&[(1, 90, "Complete")])
    );
    assert_eq!(
        told(&day[..2], End::Running(at(50))),
        pieces(&[(1, 50, "Complete")])
    );
    let Account { stories, .. } = account(&day[..2], End::Running(at(50)));
    assert_eq!(stories[0].after, None, "recording goes on");
}

#[test]
fn a_gap_cuts_the_watches_of_its_time_and_no_others() {
    let items = [
        start(1),
        add(1, "/a"),
        gap(10, 12, 300, "full"),
        gap(40, 41, -1, "process records lost: full"),
        stop(90),
    ];
    let wanted = pieces(&[
        (1, 10, "Complete"),
        (10, 12, "Lost"),
        (12, 40, "Complete"),
        (40, 41, "Doers"),
        (41, 90, "Complete"),
    ]);
    assert_eq!(told(&items, End::Silent(at(90))), wanted);
    let later = [start(1), gap(2, 3, 1, "full"), add(5, "/a"), stop(9)];
    assert_eq!(
        told(&later, End::Silent(at(9))),
        pieces(&[(5, 9, "Complete")])
    );
}

#[test]
fn gaps_that_overlap_and_gaps_of_no_length_stay_and_one_within_another_is_told_by_it() {
    let items = [
        start(1),
        add(1, "/a"),
        gap(10, 20, 1, "full"),
        gap(12, 13, 1, "process records lost: full"),
        gap(15, 30, 1, "full"),
        gap(40, 40, 1, "full"),
        stop(50),
    ];
    let wanted = pieces(&[
        (1, 10, "Complete"),
        (10, 20, "Lost"),
        (20, 30, "Lost"),
        (30, 40, "Complete"),
        (40, 40, "Lost"),
        (40, 50, "Complete"),
    ]);
    assert_eq!(told(&items, End::Silent(at(50))), wanted);
}

#[test]
fn between_a_stop_and_the_next_start_is_a_hole() {
    let items = [start(1), add(1, "/a"), stop(10), start(20), add(21, "/a")];
    let wanted = pieces(&[
        (1, 10, "Complete"),
        (10, 21, "Stopped"),
        (21, 30, "Complete"),
    ]);
    assert_eq!(told(&items, End::Running(at(30))), wanted);
}

#[test]
fn a_crash_is_a_hole_from_the_last_sign_of_life_on() {
    let items = [
        start(1),
        add(1, "/a"),
        start(20),
        add(20, "/a"),
        gap(7, 20, -1, "downtime"),
        stop(30),
    ];
    let wanted = pieces(&[(1, 7, "Complete"), (7, 20, "Died"), (20, 30, "Complete")]);
    assert_eq!(told(&items, End::Silent(at(30))), wanted);
    let Account { stories, .. } = account(&items[..2], End::Silent(at(15)));
    assert_eq!(shown(&stories[0]), pieces(&[(1, 15, "Complete")]));
    assert_eq!(stories[0].after, Some(State::Died));
}

#[test]
fn lines_that_wait_for_a_disk_are_no_part_of_what_is_complete() {
    let held = || {
        boxed(Written {
            since: Some(at(5)),
            ..line(6, "HELD")
        })
    };
    let waiting = [start(1), add(1, "/a"), held(), remove(9, "/b")];
    let wanted = pieces(&[(1, 5, "Complete"), (5, 20, "Held")]);
    assert_eq!(told(&waiting[..3], End::Running(at(20))), wanted);
    // The daemon died, and nobody came after it; or somebody did.
    let died = pieces(&[(1, 5, "Complete")]);
    assert_eq!(told(&waiting[..3], End::Silent(at(20))), died);
    let mut items = waiting[..3].to_vec();
    items.extend([
        start(20),
        add(20, "/a"),
        gap(5, 20, -1, "downtime"),
        stop(30),
    ]);
    let wanted = pieces(&[(1, 5, "Complete"), (5, 20, "Died"), (20, 30, "Complete")]);
    assert_eq!(told(&items, End::Silent(at(30))), wanted);
    // It could be written in the end.
    let mut items = waiting[..3].to_vec();
    items.push(boxed(line(8, "WRITTEN")));
    let wanted = pieces(&[(1, 20, "Complete")]);
    assert_eq!(told(&items, End::Running(at(20))), wanted);
}

#[test]
fn what_was_removed_and_added_again_has_a_hole() {
    let items = [
        start(1),
        add(1, "/a"),
        remove(5, "/a"),
        gap(6, 7, 3, "full"),
        add(9, "/a"),
        add(10, "/a"),
    ];
    let wanted = pieces(&[(1, 5, "Complete"), (5, 9, "Unasked"), (9, 20, "Complete")]);
    assert_eq!(told(&items, End::Running(at(20))), wanted);
}

#[test]
fn behind_a_break_nothing_counts_until_the_watch_is_named_again() {
    let items = [
        start(1),
        add(1, "/a"),
        add(2, "/b"),
        Item::Break,
        remove(30, "/c"),
        add(40, "/a"),
    ];
    let Account { stories, .. } = account(&items, End::Running(at(50)));
    assert_eq!(
        shown(&stories[0]),
        pieces(&[(1, 2, "Complete"), (2, 40, "Untold"), (40, 50, "Complete")])
    );
    assert_eq!(shown(&stories[1]), pieces(&[(2, 2, "Complete")]));
    assert_eq!(stories[1].after, Some(State::Untold));
}

#[test]
fn a_mount_that_cannot_be_watched_concerns_what_lies_above_and_below_it() {
    let refused = |second, event: &str| {
        boxed(Written {
            path: Some(b"/a/mnt".to_vec()),
            cause: Some("FUSE".to_owned()),
            ..line(second, event)
        })
    };
    let items = [
        start(1),
        refused(1, "SHORT"),
        add(1, "/"),
        add(1, "/a/mnt/below"),
        add(1, "/b"),
        refused(5, "WHOLE"),
        refused(7, "SHORT"),
        stop(9),
    ];
    let Account { stories, .. } = account(&items, End::Silent(at(9)));
    let of = |path: &str| {
        let story = stories.iter().find(|story| story.path == path.as_bytes());
        shown(story.unwrap())
    };
    let torn = pieces(&[(1, 5, "Short"), (5, 7, "Complete"), (7, 9, "Short")]);
    assert_eq!(of("/"), torn);
    assert_eq!(of("/a/mnt/below"), torn);
    assert_eq!(of("/b"), pieces(&[(1, 9, "Complete")]));
}

#[test]
fn what_was_mounted_before_it_was_seen_is_not_whole_since_then() {
    let mounted = |second, since, event: &str| {
        boxed(Written {
            path: Some(b"/a/mnt".to_vec()),
            since: Some(at(since)),
            ..line(second, event)
        })
    };
    let items = [
        start(1),
        add(1, "/a"),
        mounted(6, 3, "SHORT"),
        mounted(6, 6, "WHOLE"),
        add(6, "/a/mnt"),
        // The clock was set back meanwhile.
        mounted(8, 9, "SHORT"),
        mounted(8, 8, "WHOLE"),
        stop(9),
    ];
    let Account { stories, .. } = account(&items, End::Silent(at(9)));
    let of = |path: &str| {
        let story = stories.iter().find(|story| story.path == path.as_bytes());
        shown(story.unwrap())
    };
    assert_eq!(
        of("/a"),
        pieces(&[
            (1, 3, "Complete"),
            (3, 6, "Short"),
            (6, 8, "Complete"),
            (8, 8, "Short"),
            (8, 9, "Complete")
        ])
    );
    assert_eq!(of("/a/mnt")[0], (6, 6, "Short".to_owned()));
}

#[test]
fn what_was_short_before_it_was_short_again_stays_short() {
    let mounted = |second, since: Option<i64>, event: &str| {
        boxed(Written {
            path: Some(b"/a/mnt".to_vec()),
            since: since.map(at),
            ..line(second, event)
        })
    };
    let items = [
        start(1),
        add(1, "/a"),
        mounted(2, None, "SHORT"),
        // For another reason.
        mounted(5, None, "SHORT"),
        // Something was mounted over it.
        mounted(7, Some(6), "SHORT"),
        mounted(7, Some(7), "WHOLE"),
        mounted(7, Some(7), "WHOLE"),
        stop(9),
    ];
    let Account { stories, .. } = account(&items, End::Silent(at(9)));
    assert_eq!(
        shown(&stories[0]),
        pieces(&[
            (1, 2, "Complete"),
            (2, 5, "Short"),
            (5, 6, "Short"),
            (6, 7, "Short"),
            (7, 9, "Complete")
        ])
    );
}

#[test]
fn what_clean_did_is_told_once() {
    let change = |event: &str, how: Option<&str>| {
        boxed(Written {
            log: Some("_global_log.jsonl".to_owned()),
            how: how.map(str::to_owned),
            before: Some(900),
            after: Some(100),
            ..line(5, event)
        })
    };
    let items = [change("LOG", Some("cut")), change("CLEAN", None)];
    let Account { logs, .. } = account(&items, End::Silent(at(9)));
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].how, None);
    let Account { logs, .. } = account(&items[..1], End::Silent(at(9)));
    assert_eq!(logs[0].how.as_deref(), Some("cut"));
}
