use super::*;
use crate::event::Attribution;

/// `KIND path [other]` at the seconds 1, 2, 3...
struct Log(Vec<FileEvent>);

impl Log {
    fn of(lines: &[&str]) -> Self {
        let event = |(at, line): (usize, &&str)| {
            let mut words = line.split(' ');
            let kind: EventType = words.next().unwrap().parse().unwrap();
            FileEvent {
                time: WallTime(at as i64 + 1),
                kind,
                path: words.next().unwrap().into(),
                other_path: words.next().map(Into::into),
                pid: 1,
                cmd: "".into(),
                user: "".into(),
                file_size: 0,
                ppid: 1,
                tgid: 1,
                chain: "".into(),
                exe: None,
                attribution: Attribution::Exact,
                is_dir: false,
                is_adrift: false,
                job: None,
                inferred: None,
            }
        };
        Self(lines.iter().enumerate().map(event).collect())
    }

    /// The numbers of the lines in the story of `path`.
    fn story(&self, path: &str, below: bool) -> Vec<usize> {
        let roots = [path.as_bytes().to_vec()];
        let mut origins = Origins::new(&roots);
        for event in self.0.iter().rev() {
            origins.meet(&Deed::of(event, event.time));
        }
        let mut trail = Trail::new(&roots, below, origins.end());
        let mut told = Vec::new();
        for (at, event) in self.0.iter().enumerate() {
            let deed = Deed::of(event, event.time);
            if trail.tells(&deed) {
                told.push(at + 1);
            }
            trail.meet(&deed);
        }
        told
    }
}

#[test]
fn an_editor_saves_by_rename() {
    let log = Log::of(&[
        "CREATE /d/f",
        "CREATE /d/other",
        "CREATE /d/f.tmp",
        "CLOSE_WRITE /d/f.tmp",
        "MOVED_FROM /d/f.tmp /d/f",
        "MOVED_TO /d/f /d/f.tmp",
        "DELETE_SELF /d/f",
        // The same name for another file, later.
        "CREATE /d/f.tmp",
        "DELETE /d/f.tmp",
    ]);
    assert_eq!(log.story("/d/f", false), [1, 3, 4, 5, 6, 7]);
}

#[test]
fn a_backup_is_followed_to_its_end() {
    let log = Log::of(&[
        "CREATE /d/f",
        "MOVED_FROM /d/f /d/f~",
        "MOVED_TO /d/f~ /d/f",
        "CREATE /d/f",
        "CLOSE_WRITE /d/f",
        "ATTRIB /d/f~",
        "DELETE /d/f~",
        "CREATE /d/f~",
    ]);
    assert_eq!(log.story("/d/f", false), [1, 2, 3, 4, 5, 6, 7]);
    // Asked for the backup: it was the file before, and what came after it counts as well.
    assert_eq!(log.story("/d/f~", false), [1, 2, 3, 6, 7, 8]);
}

#[test]
fn renamed_directories_above_change_the_name() {
    let log = Log::of(&[
        "CREATE /a/x/f",
        "MOVED_FROM /a /b",
        "MOVED_TO /b /a",
        "CLOSE_WRITE /b/x/f",
        "MOVED_FROM /b/x /c",
        "MOVED_TO /c /b/x",
        "ATTRIB /c/f",
        "CREATE /a/x/f",
        "DELETE /c/f",
    ]);
    assert_eq!(log.story("/c/f", false), [1, 2, 3, 4, 5, 6, 7, 9]);
    assert_eq!(log.story("/a/x/f", false), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_place_moves_with_the_directory_above_it() {
    let log = Log::of(&[
        "CREATE /a/f",
        "CREATE /a/f.tmp",
        "MOVED_FROM /a/f.tmp /a/f",
        "MOVED_TO /a/f /a/f.tmp",
        "MOVED_FROM /a/f /a/f~",
        "MOVED_TO /a/f~ /a/f",
        "CREATE /a/f",
        "MOVED_FROM /a /b",
        "MOVED_TO /b /a",
        "CREATE /a/f",
        "DELETE /b/f",
        "CREATE /b/f",
        "MOVED_FROM /b /c",
        "MOVED_TO /c /b",
        "CREATE /b/f",
    ]);
    let told = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14];
    assert_eq!(log.story("/b/f", false), [&told[..], &[15]].concat());
    assert_eq!(log.story("/c/f", false), told);
    let from_a = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
    assert_eq!(log.story("/a/f", false), from_a);
}

#[test]
fn what_ends_is_told_by_all_logs() {
    let once = ["MOVED_FROM /f /g", "MOVED_TO /g /f", "DELETE /g"];
    let mut twice = Log::of(&[once, once].concat());
    for (at, event) in twice.0.iter_mut().enumerate() {
        event.time = WallTime((at % 3) as i64);
    }
    twice.0.sort_by_key(|event| event.time);
    assert_eq!(twice.story("/f", false).len(), 6);
}

#[test]
fn a_rename_met_again_in_another_log_changes_nothing() {
    let once = [
        "CREATE /a/f",
        "MOVED_FROM /a /b",
        "MOVED_TO /b /a",
        "MOVED_FROM /b /a",
        "MOVED_TO /a /b",
        "MOVED_FROM /a/f /g",
        "MOVED_TO /g /a/f",
    ];
    let log = Log::of(&once);
    assert_eq!(log.story("/g", false), [1, 2, 3, 4, 5, 6, 7]);
    let mut origins = Origins::new(&[b"/g".to_vec()]);
    for event in log.0.iter().rev().flat_map(|event| [event, event]) {
        origins.meet(&Deed::of(event, event.time));
    }
    // /a/f before and after, /b/f between.
    assert_eq!(origins.end().spans.len(), 3);
    // All of it at one time, log after log, and line after line.
    let mut twice = Log::of(&[once, once].concat());
    twice
        .0
        .iter_mut()
        .for_each(|event| event.time = WallTime(1));
    assert_eq!(twice.story("/g", false).len(), 14);
    let doubled: Vec<&str> = once.iter().flat_map(|line| [*line, *line]).collect();
    let mut doubled = Log::of(&doubled);
    for (at, event) in doubled.0.iter_mut().enumerate() {
        event.time = WallTime(at as i64 / 2);
    }
    assert_eq!(doubled.story("/g", false).len(), 14);
}

#[test]
fn there_and_back_ends_and_names_of_others_are_left_out() {
    let log = Log::of(&[
        "CREATE /o",
        "MOVED_FROM /o /p",
        "MOVED_TO /p /o",
        "CREATE /f",
        "MOVED_FROM /f /g",
        "MOVED_TO /g /f",
        "MOVED_FROM /g /f",
        "MOVED_TO /f /g",
        "CREATE /o",
        "MOVED_FROM /o /f",
        "MOVED_TO /f /o",
        "DELETE /p",
        "CREATE /g",
    ]);
    assert_eq!(log.story("/f", false), [4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn of_a_directory_all_below_may_be_asked() {
    let log = Log::of(&[
        "CREATE /d",
        "CREATE /d/a",
        "CREATE /da",
        "MOVED_FROM /d /e",
        "MOVED_TO /e /d",
        "DELETE /e/a",
        "DELETE /e",
    ]);
    assert_eq!(log.story("/d", false), [1, 4, 5, 7]);
    assert_eq!(log.story("/d", true), [1, 2, 4, 5, 6, 7]);
    assert_eq!(log.story("/e", true), [1, 2, 4, 5, 6, 7]);
}

#[test]
fn what_came_from_outside_or_with_one_side_only_is_told() {
    let log = Log::of(&[
        "MOVED_TO /in/f",
        "MOVED_FROM /in/g /out/g",
        "CREATE /in/f",
        "MOVED_FROM /in/f",
    ]);
    assert_eq!(log.story("/in/f", false), [1, 3, 4]);
    assert_eq!(log.story("/out/g", false), [2]);
}
