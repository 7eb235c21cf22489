use std::fs::File;
use std::io::Write as _;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::event::{Attribution, EventType, FileEvent};
use crate::log::line::{Gap, decode, encode_event, encode_gap, time_of};

/// What a reading of each line gives: the reference. `logs` are lines with their times.
fn plainly(logs: &[Vec<Vec<u8>>], roots: &[Vec<u8>], below: bool) -> Vec<u8> {
    let mut all = Vec::new();
    for (log, lines) in logs.iter().enumerate() {
        for (at, line) in lines.iter().enumerate() {
            match decode(line) {
                Some(LogLine::Event(event)) => all.push((event.time, log, at, line)),
                Some(LogLine::Gap(gap)) => all.push((gap.time, log, at, line)),
                None => {}
            }
        }
    }
    all.sort_unstable();
    let mut origins = Origins::new(roots);
    for (time, _, _, line) in all.iter().rev() {
        if let LogLine::Event(event) = decode(line).unwrap() {
            origins.meet(&Deed::of(&event, *time));
        }
    }
    let mut trail = Trail::new(roots, below, origins.end());
    let (mut twins, mut has_begun) = (Twins::default(), false);
    let mut told = Vec::new();
    let mut sink = |bytes: &[u8], _: &LogLine| {
        told.extend_from_slice(bytes);
        Ok(())
    };
    for (time, log, _, line) in all {
        let read = decode(line).unwrap();
        let is_told = match &read {
            LogLine::Event(event) => {
                let deed = Deed::of(event, time);
                let is_told = trail.tells(&deed);
                trail.meet(&deed);
                is_told
            }
            LogLine::Gap(_) => has_begun,
        };
        has_begun |= is_told;
        if is_told {
            twins.take(log, time, line, read, &mut sink).unwrap();
        }
    }
    twins.flush(&mut sink).unwrap();
    told
}

/// What stands in `window` of each log.
fn cut_to(window: TimeWindow, logs: &[Vec<Vec<u8>>]) -> Vec<Vec<Vec<u8>>> {
    let is_within = |line: &&Vec<u8>| time_of(line).is_some_and(|time| window.contains(time));
    let cut = |lines: &Vec<Vec<u8>>| lines.iter().filter(is_within).cloned().collect();
    logs.iter().map(cut).collect()
}

fn request(roots: &[Vec<u8>], window: TimeWindow) -> QueryRequest {
    QueryRequest {
        log_dir: "/nowhere".into(),
        logs: None,
        paths: roots.to_vec(),
        window,
        scan: false,
    }
}

fn ask(logs: &[Vec<Vec<u8>>], roots: &[Vec<u8>], below: bool, block: usize) -> Vec<u8> {
    ask_of(TimeWindow::ALL, logs, roots, below, block)
}

fn ask_of(
    window: TimeWindow,
    given: &[Vec<Vec<u8>>],
    roots: &[Vec<u8>],
    below: bool,
    block: usize,
) -> Vec<u8> {
    let open = |lines: &Vec<Vec<u8>>| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&lines.concat()).unwrap();
        let name = "x".to_owned();
        Log { name, file }
    };
    let logs: Vec<Log> = given.iter().map(open).collect();
    let mut told = Vec::new();
    let mut outcome = QueryOutcome::default();
    let mut sink = |bytes: &[u8], _: &LogLine| {
        told.extend_from_slice(bytes);
        Ok(())
    };
    tell(
        &logs,
        &request(roots, window),
        below,
        block,
        &mut outcome,
        &mut sink,
    )
    .unwrap();
    let garbage = |line: &&Vec<u8>| decode(line).is_none();
    let garbage = given.iter().flatten().filter(garbage).count() as u64;
    assert!(outcome.out_of_order.is_empty(), "named");
    assert!(
        outcome.unreadable <= garbage,
        "{} {garbage}",
        outcome.unreadable
    );
    let newlines = told.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(outcome.lines, newlines as u64);
    told
}

fn event(time: i64, kind: EventType, path: &[u8], other: Option<&[u8]>, chain: &str) -> FileEvent {
    FileEvent {
        time: WallTime(time),
        kind,
        path: path.to_vec(),
        pid: 1,
        cmd: "x".into(),
        user: "y".into(),
        file_size: 0,
        ppid: 1,
        tgid: 1,
        chain: chain.into(),
        exe: None,
        other_path: other.map(<[u8]>::to_vec),
        attribution: Attribution::Exact,
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}

/// One thing that happens, and in which of three logs it stands.
#[derive(Clone, Debug)]
struct Act {
    step: i64,
    kind: u8,
    path: &'static [u8],
    other: &'static [u8],
    seen: [bool; 3],
}

fn any_path() -> impl Strategy<Value = &'static [u8]> {
    select(vec![
        &b"/a"[..],
        b"/b",
        b"/a/x",
        b"/a/y",
        b"/b/x",
        b"/b/y",
        b"/a/x/f",
        b"/b/x/f",
        b"/b/y/f",
        b"/c",
        b"/c\n",
        b"/\xff",
        b"/\xff/f",
        b"/ab",
    ])
}

fn any_act() -> impl Strategy<Value = Act> {
    (
        0_i64..2,
        0_u8..12,
        any_path(),
        any_path(),
        any::<[bool; 3]>(),
    )
        .prop_map(|(step, kind, path, other, seen)| Act {
            step,
            kind,
            path,
            other,
            seen,
        })
}

fn logs_of(acts: &[Act], count: usize) -> Vec<Vec<Vec<u8>>> {
    let mut logs = vec![Vec::new(); count];
    let mut time = 1;
    for act in acts {
        time += act.step;
        let (path, other) = (act.path, act.other);
        for (log, lines) in logs.iter_mut().enumerate() {
            if !act.seen[log] {
                continue;
            }
            let chain = if log == 1 { "1|x|y" } else { "" };
            let mut push = |kind, path: &[u8], other: Option<&[u8]>| {
                let mut line = Vec::new();
                encode_event(&event(time, kind, path, other, chain), &mut line);
                lines.push(line);
            };
            match act.kind {
                0 => push(EventType::Create, path, None),
                1 => push(EventType::Delete, path, None),
                2 => push(EventType::CloseWrite, path, None),
                3 => push(EventType::MovedFrom, path, None),
                4 => push(EventType::MovedTo, path, None),
                5 => {
                    let mut line = Vec::new();
                    let gap = Gap {
                        time: WallTime(time),
                        lost: 1,
                        cause: "test".into(),
                        since: WallTime(0),
                    };
                    encode_gap(&gap, &mut line);
                    lines.push(line);
                }
                6 | 7 => lines.push(garbage(time, act.kind == 7, path)),
                _ => {
                    push(EventType::MovedFrom, path, Some(other));
                    push(EventType::MovedTo, other, Some(path));
                }
            }
        }
    }
    logs
}

/// A line that is no event: of no form, or in the recorder's form but for a byte, with any time.
fn garbage(time: i64, is_like_own: bool, path: &[u8]) -> Vec<u8> {
    if !is_like_own {
        return format!("garbage {} \"MOVED_TO\"\n", path.escape_ascii()).into_bytes();
    }
    let mut line = Vec::new();
    let time = [1, time, 1000][time as usize % 3];
    encode_event(&event(time, EventType::MovedTo, path, None, ""), &mut line);
    let at = line.len() - 10;
    line[at] = 0xff;
    line
}

fn any_window() -> impl Strategy<Value = TimeWindow> {
    let first = prop_oneof![1 => Just(i64::MIN), 6 => -1_i64..32];
    let length = prop_oneof![1 => Just(i64::MAX), 6 => 0_i64..32];
    (first, length).prop_map(|(first, length)| TimeWindow {
        first: WallTime(first),
        last: WallTime(first.max(0).saturating_add(length)),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_story_is_that_of_reading_every_line(
        acts in proptest::collection::vec(any_act(), 0..30),
        count in 1_usize..4,
        root in any_path(),
        below in any::<bool>(),
        block in select(vec![1_usize, 200, 700, 2000, 100_000]),
    ) {
        let logs = logs_of(&acts, count);
        let roots = [root.to_vec()];
        let told = ask(&logs, &roots, below, block);
        let expected = plainly(&logs, &roots, below);
        prop_assert_eq!(String::from_utf8_lossy(&told), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn the_story_of_a_window_is_that_of_logs_with_nothing_else_in_them(
        acts in proptest::collection::vec(any_act(), 0..40),
        count in 1_usize..4,
        window in any_window(),
        root in any_path(),
        below in any::<bool>(),
        block in select(vec![1_usize, 200, 700, 2000, 100_000]),
    ) {
        let logs = logs_of(&acts, count);
        let roots = [root.to_vec()];
        let told = ask_of(window, &logs, &roots, below, block);
        let expected = plainly(&cut_to(window, &logs), &roots, below);
        prop_assert_eq!(String::from_utf8_lossy(&told), String::from_utf8_lossy(&expected));
    }
}

/// Lines of one log: what a save by rename leaves there.
fn save(time: i64, temporary: &[u8], file: &[u8]) -> Vec<Vec<u8>> {
    let events = [
        (EventType::Create, temporary, None),
        (EventType::CloseWrite, temporary, None),
        (EventType::MovedFrom, temporary, Some(file)),
        (EventType::MovedTo, file, Some(temporary)),
    ];
    let line = |(kind, path, other)| {
        let mut line = Vec::new();
        encode_event(&event(time, kind, path, other, ""), &mut line);
        line
    };
    events.into_iter().map(line).collect()
}

#[test]
fn a_file_saved_over_and_over_is_told_in_full() {
    let mut lines = Vec::new();
    for time in 1..5000 {
        let temporary = format!("/d/f.{time}");
        lines.extend(save(time, temporary.as_bytes(), b"/d/f"));
        lines.extend(save(time, b"/d/other.tmp", b"/d/other"));
    }
    let told = ask(&[lines.clone()], &[b"/d/f".to_vec()], false, 100_000);
    assert_eq!(told.split(|byte| *byte == b'\n').count(), 4 * 4999 + 1);
    let two = [lines.clone(), lines];
    assert!(ask(&two, &[b"/d/f".to_vec()], false, 100_000) == told);
}

#[test]
fn garbage_takes_no_other_line_out_of_its_place() {
    let line = |time, kind, path: &[u8], other| {
        let mut line = Vec::new();
        encode_event(&event(time, kind, path, other, ""), &mut line);
        line
    };
    // What /b was called before is known only when the other log has been read.
    let (one, other) = (&b"/a/x"[..], &b"/b"[..]);
    let logs = [
        vec![
            garbage(1, false, b"/b"),
            line(2, EventType::Create, one, None),
        ],
        vec![
            line(1, EventType::MovedFrom, b"/a", None),
            line(2, EventType::MovedFrom, one, Some(other)),
            line(2, EventType::MovedTo, other, Some(one)),
        ],
    ];
    let roots = [other.to_vec()];
    let expected = [&logs[1][1][..], &logs[1][2], &logs[0][1]].concat();
    for block in [1, 700, 100_000] {
        assert!(ask(&logs, &roots, false, block) == expected, "{block}");
    }
    assert!(plainly(&logs, &roots, false) == expected);
}

#[test]
fn only_what_stands_in_the_window_counts() {
    let place = tempfile::tempdir().unwrap();
    let lines: Vec<Vec<u8>> = (1..9)
        .flat_map(|time| save(time * 1_000_000_000, b"/d/f.tmp", b"/d/f"))
        .collect();
    let mut file = File::create(place.path().join("x_log.jsonl")).unwrap();
    file.write_all(&lines.concat()).unwrap();
    let window = TimeWindow {
        first: WallTime(3_000_000_000),
        last: WallTime(4_000_000_000),
    };
    let request = QueryRequest {
        log_dir: place.path().to_owned(),
        ..request(&[b"/d/f".to_vec()], window)
    };
    let mut told = Vec::new();
    let outcome = why(&request, false, &mut |bytes, _| {
        told.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    assert!(told == lines[8..16].concat() && outcome.lines == 8);
}
