use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::event::WallTime;
use crate::log::line::{Gap, encode_gap, write_time};

fn line(second: i64, path: &str) -> String {
    let mut time = Vec::new();
    write_time(WallTime(second * 1_000_000_000), &mut time);
    let time = String::from_utf8(time).unwrap();
    format!(
        "{{\"time\":\"{time}\",\"event_type\":\"CREATE\",\"path\":\"{path}\",\"pid\":1,\"cmd\":\"x\",\"user\":\"y\",\"file_size\":0,\"chain\":\"\"}}\n"
    )
}

fn ask(dir: &tempfile::TempDir, change: impl FnOnce(&mut QueryRequest)) -> (String, QueryOutcome) {
    let mut request = QueryRequest {
        log_dir: dir.path().to_owned(),
        logs: None,
        paths: Vec::new(),
        window: TimeWindow::ALL,
        scan: false,
    };
    change(&mut request);
    let mut out = Vec::new();
    let outcome = run(&request, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), outcome)
}

fn seconds(first: i64, last: i64) -> TimeWindow {
    TimeWindow {
        first: WallTime(first * 1_000_000_000),
        last: WallTime(last * 1_000_000_000),
    }
}

#[test]
fn without_a_log_nothing_comes_and_it_is_said() {
    let place = tempfile::tempdir().unwrap();
    let (out, outcome) = ask(&place, |request| {
        request.logs = Some(vec!["x_log.jsonl".to_owned()])
    });
    assert!(out.is_empty() && outcome.no_log);
    assert_eq!(outcome.missing, ["x_log.jsonl"]);
    assert!(
        ask(&place, |request| request.log_dir =
            "/nonexistent/logs".into())
        .1
        .no_log
    );
}

#[test]
fn stored_bytes_pass_through_and_garbage_does_not() {
    let place = tempfile::tempdir().unwrap();
    let odd = "{ \"unknown\" : [1] ,\"time\":\"1970-01-01T01:00:02+01:00\",\"event_type\":\"DELETE\",\"path\":\"/a\"}\r\n";
    let mut log = line(1, "/a") + "garbage\n\n" + odd + "{\"time\":\"nonsense\"}\n";
    log += &line(3, "/a");
    let torn = &line(4, "/a")[..40];
    fs::write(place.path().join("x_log.jsonl"), log + torn).unwrap();
    let (out, outcome) = ask(&place, |_| ());
    assert_eq!(out, line(1, "/a") + odd + &line(3, "/a"));
    assert_eq!((outcome.lines, outcome.unreadable), (3, 2));
    assert!(outcome.out_of_order.is_empty());
}

#[test]
fn bytes_that_are_not_utf8_spoil_only_their_line() {
    let place = tempfile::tempdir().unwrap();
    let mut log = line(1, "/a").into_bytes();
    log.extend_from_slice(
        b"{\"time\":\"1970-01-01T00:00:02Z\",\"event_type\":\"CREATE\",\"path\":\"/\xff\"}\n",
    );
    log.extend_from_slice(line(3, "/a").as_bytes());
    fs::write(place.path().join("x_log.jsonl"), log).unwrap();
    let (out, outcome) = ask(&place, |_| ());
    assert_eq!(out, line(1, "/a") + &line(3, "/a"));
    assert_eq!(outcome.unreadable, 1);
}

#[test]
fn a_window_holds_both_ends_also_among_lines_longer_than_any_block() {
    let place = tempfile::tempdir().unwrap();
    let long = "/".to_owned() + &"x".repeat(300_000);
    let lines: Vec<_> = (0..60)
        .map(|second| line(second, if second % 7 == 3 { &long } else { "/a" }))
        .collect();
    fs::write(place.path().join("x_log.jsonl"), lines.concat()).unwrap();
    for first in 0..60 {
        for last in [first - 1, first, first + 9, 99] {
            let (out, _) = ask(&place, |request| request.window = seconds(first, last));
            let end = 60.min(last + 1) as usize;
            assert!(
                out == lines[first as usize..end.max(first as usize)].concat(),
                "{first} {last}"
            );
        }
    }
}

#[test]
fn several_logs_are_merged_by_time() {
    let place = tempfile::tempdir().unwrap();
    fs::write(
        place.path().join("a_log.jsonl"),
        line(1, "/a1") + &line(3, "/a3") + &line(5, "/a5"),
    )
    .unwrap();
    fs::write(
        place.path().join("b_log.jsonl"),
        line(2, "/b2") + &line(3, "/b3") + &line(9, "/b9"),
    )
    .unwrap();
    fs::write(place.path().join("empty_log.jsonl"), "").unwrap();
    fs::write(place.path().join("journal.jsonl"), line(1, "/journal")).unwrap();
    let (out, outcome) = ask(&place, |_| ());
    let all = line(1, "/a1")
        + &line(2, "/b2")
        + &line(3, "/a3")
        + &line(3, "/b3")
        + &line(5, "/a5")
        + &line(9, "/b9");
    assert_eq!(out, all);
    assert_eq!(outcome.lines, 6);
    let (out, _) = ask(&place, |request| {
        request.logs = Some(vec!["b_log.jsonl".to_owned()])
    });
    assert_eq!(out, line(2, "/b2") + &line(3, "/b3") + &line(9, "/b9"));
}

#[test]
fn holes_in_the_window_are_handed_out_and_counted() {
    let place = tempfile::tempdir().unwrap();
    let mut log = line(1, "/a").into_bytes();
    for (second, lost) in [
        (2, 7),
        (3, -1),
        (4, i64::MAX),
        (4, i64::MAX),
        (4, i64::MAX),
        (9, 100),
    ] {
        let time = WallTime(second * 1_000_000_000);
        encode_gap(
            &Gap {
                time,
                lost,
                cause: "test".into(),
                since: time,
            },
            &mut log,
        );
    }
    fs::write(place.path().join("x_log.jsonl"), log).unwrap();
    let (out, outcome) = ask(&place, |request| {
        request.window = seconds(1, 5);
        request.paths = vec![b"/elsewhere".to_vec()];
    });
    assert_eq!(out.lines().count(), 5);
    assert_eq!(
        (outcome.gaps, outcome.lost, outcome.lost_unknown),
        (5, u64::MAX, true)
    );
}

#[test]
fn a_badly_sorted_log_is_noticed_and_can_be_read_whole() {
    let place = tempfile::tempdir().unwrap();
    let log = line(1, "/a") + &line(9, "/b") + &line(2, "/c") + &line(3, "/d");
    fs::write(place.path().join("x_log.jsonl"), &log).unwrap();
    let (out, outcome) = ask(&place, |_| ());
    assert_eq!(out, log);
    assert_eq!(outcome.out_of_order, ["x_log.jsonl"]);
    let (out, outcome) = ask(&place, |request| request.window = seconds(2, 3));
    assert_ne!(out, line(2, "/c") + &line(3, "/d"));
    assert_eq!(outcome.out_of_order, ["x_log.jsonl"]);
    let (out, _) = ask(&place, |request| {
        request.scan = true;
        request.window = seconds(2, 3);
    });
    assert_eq!(out, line(2, "/c") + &line(3, "/d"));
}

#[test]
fn what_is_behind_the_window_is_not_read() {
    let place = tempfile::tempdir().unwrap();
    let behind = "garbage\n".repeat(100_000);
    let log = line(1, "/a") + &line(2, "/b") + &line(3, "/c") + &behind + &line(9, "/d");
    fs::write(place.path().join("x_log.jsonl"), &log).unwrap();
    for paths in [Vec::new(), vec![b"/b".to_vec()]] {
        let (out, outcome) = ask(&place, |request| {
            request.window = seconds(2, 2);
            request.paths = paths;
        });
        assert_eq!((out, outcome.unreadable), (line(2, "/b"), 0));
    }
    let (_, outcome) = ask(&place, |request| request.window = seconds(2, 9));
    assert_eq!(outcome.unreadable, 100_000);
}

#[test]
fn a_link_in_place_of_a_log_is_refused() {
    let place = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", place.path().join("x_log.jsonl")).unwrap();
    let (out, outcome) = ask(&place, |_| ());
    assert!(out.is_empty() && !outcome.no_log);
    assert_eq!(outcome.refused.len(), 1);
}

#[test]
fn a_closed_pipe_comes_back_as_itself() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("x_log.jsonl"), line(1, "/a")).unwrap();
    let request = QueryRequest {
        log_dir: place.path().to_owned(),
        logs: None,
        paths: Vec::new(),
        window: TimeWindow::ALL,
        scan: false,
    };
    let error = run(&request, &mut Closed).unwrap_err();
    let error: &io::Error = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

mod any;
