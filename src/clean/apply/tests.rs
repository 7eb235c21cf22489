use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use super::super::progress::Notice;
use super::*;
use crate::event::WallTime;
use crate::filters::time::TimeWindow;
use crate::log::append::{Appender, AppenderConfig};
use crate::log::line::write_time;

fn line(second: i64) -> String {
    let mut time = Vec::new();
    write_time(WallTime(second * 1_000_000_000), &mut time);
    let time = String::from_utf8(time).unwrap();
    format!("{{\"time\":\"{time}\",\"event_type\":\"CREATE\",\"path\":\"/mnt/{second}\"}}\n")
}

fn request(log: &Path, from: i64, size: Option<&str>) -> CleanRequest {
    CleanRequest {
        log_path: log.to_owned(),
        keep: Keep {
            window: TimeWindow {
                first: WallTime(from * 1_000_000_000),
                ..TimeWindow::ALL
            },
            size: size.map(|size| size.parse().unwrap()),
        },
        dry_run: false,
        owner: None,
    }
}

fn clean(request: &CleanRequest) -> CleanReport {
    run(request, &mut |_| Ok(())).unwrap().unwrap()
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn by_time_the_old_go_and_the_unreadable_stay() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let torn = "{\"time\":\"1970";
    fs::write(
        &log,
        line(1) + "garbage\n" + &line(2) + "\n" + &line(2) + &line(3) + torn,
    )
    .unwrap();
    let before = fs::metadata(&log).unwrap().len();
    let report = clean(&request(&log, 3, None));
    let kept = "garbage\n".to_owned() + &line(3) + torn;
    assert_eq!(fs::read_to_string(&log).unwrap(), kept);
    let after = kept.len() as u64;
    assert_eq!(
        report,
        CleanReport {
            by_time: 3,
            by_size: 0,
            unreadable: 1,
            before,
            after
        }
    );
    assert_eq!(names_in(place.path()), [".lock", "a_log.jsonl"]);
}

#[test]
fn a_log_that_is_not_sorted_is_judged_line_by_line() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let all = line(9) + "garbage\n" + &line(1) + &line(2) + &line(3) + "more\n";
    fs::write(&log, all).unwrap();
    let report = clean(&request(&log, 3, None));
    assert_eq!((report.by_time, report.unreadable), (2, 2));
    let kept = line(9) + "garbage\n" + &line(3) + "more\n";
    assert_eq!(fs::read_to_string(&log).unwrap(), kept);
}

#[test]
fn lines_that_only_look_like_the_recorders_are_not_taken_for_old_ones() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let good = line(1);
    let kept = [
        good.replace("1970-01-01T", "1970-99-01T"),
        good.replace(":01.", ":0x."),
        good.replace("Z\"", "x\""),
        good.replace("}\n", "\n"),
        good.replace("\"CREATE\"", "CREATE\""),
        "{}\n".to_owned(),
        line(5),
    ]
    .concat();
    // Older times in a shape that is not the recorder's go as well.
    let odd = good.replace("000000000Z", "0Z")
        + &good.replace("00:00:01.000000000Z", "09:00:01.00000+09:00")
        + &good.replace("{\"time", " {\"time")
        + &good
            .replace("\"path\":", "\"n\":1,\"path\":")
            .replace("}\n", ",\"x\":2}\n");
    fs::write(&log, good + &odd + &kept).unwrap();
    let report = clean(&request(&log, 5, None));
    assert_eq!((report.by_time, report.unreadable), (5, 6));
    assert_eq!(fs::read_to_string(&log).unwrap(), kept);
}

#[test]
fn by_size_whole_lines_go_from_the_head() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let one = line(1).len() as u64;
    let all: String = (1..=9).map(line).collect();
    for (size, left) in [
        (0, 0),
        (1, 1),
        (one, 1),
        (one + 1, 2),
        (one * 3 - 1, 3),
        (one * 9, 9),
        (one * 10, 9),
    ] {
        fs::write(&log, &all).unwrap();
        let report = clean(&request(&log, 0, Some(&format!(">={size}B"))));
        let kept: String = (10 - left..=9).map(line).collect();
        assert_eq!(fs::read_to_string(&log).unwrap(), kept, "{size}");
        assert_eq!(report.by_size, 9 - left as u64);
        // Once more changes nothing, and does not even rewrite.
        let inode = fs::metadata(&log).unwrap().ino();
        assert_eq!(
            clean(&request(&log, 0, Some(&format!(">={size}B")))).by_size,
            0
        );
        assert_eq!(fs::metadata(&log).unwrap().ino(), inode);
    }
}

#[test]
fn a_dry_run_says_exactly_what_would_go_and_writes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let all = (1..=9).map(line).collect::<String>() + "x\n";
    fs::write(&log, &all).unwrap();
    let mut request = request(&log, 4, Some(">=200B"));
    request.dry_run = true;
    let mut shown = Vec::new();
    let forecast = run(&request, &mut |notice| {
        if let Notice::Doomed(doomed) = notice {
            shown.push((
                doomed.time.0 / 1_000_000_000,
                doomed.line.unwrap().path().into_owned(),
            ));
        }
        Ok(())
    });
    assert_eq!(
        shown,
        [
            (1, b"/mnt/1".to_vec()),
            (2, b"/mnt/2".to_vec()),
            (3, b"/mnt/3".to_vec())
        ]
    );
    assert_eq!(names_in(place.path()), ["a_log.jsonl"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), all);
    request.dry_run = false;
    assert_eq!(forecast.unwrap().unwrap(), clean(&request));
}

#[test]
fn owner_and_mode_stay() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    fs::write(&log, line(1) + &line(2)).unwrap();
    fs::set_permissions(&log, Permissions::from_mode(0o640)).unwrap();
    // Only root may give files away; for others this part shows nothing.
    let given = chown(&log, Some(12_345), Some(54_321)).is_ok();
    clean(&request(&log, 2, None));
    let meta = fs::metadata(&log).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o640);
    assert!(!given || (meta.uid(), meta.gid()) == (12_345, 54_321));
    assert_eq!(fs::read_to_string(&log).unwrap(), line(2));
}

#[test]
fn a_link_in_place_of_a_log_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let victim = place.path().join("victim");
    fs::write(&victim, line(1) + &line(2)).unwrap();
    let log = place.path().join("a_log.jsonl");
    symlink(&victim, &log).unwrap();
    let error = run(&request(&log, 2, None), &mut |_| Ok(())).unwrap_err();
    assert!(
        format!("{error:#}").contains("not a regular file"),
        "{error:#}"
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), line(1) + &line(2));
    assert_eq!(
        run(
            &request(&place.path().join("no_log.jsonl"), 0, None),
            &mut |_| Ok(())
        )
        .unwrap(),
        None
    );
}

#[test]
fn what_a_killed_clean_left_is_removed_and_a_living_one_is_respected() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let temp = place.path().join(".a_log.jsonl.clean");
    fs::write(&log, line(1) + &line(2)).unwrap();
    fs::write(&temp, "half").unwrap();
    let other = File::open(&temp).unwrap();
    other.lock().unwrap();
    let error = run(&request(&log, 2, None), &mut |_| Ok(())).unwrap_err();
    assert!(format!("{error:#}").contains("another clean"), "{error:#}");
    drop(other);
    clean(&request(&log, 2, None));
    assert_eq!(fs::read_to_string(&log).unwrap(), line(2));
    assert_eq!(names_in(place.path()), [".lock", "a_log.jsonl"]);
}

#[test]
fn what_is_younger_than_a_bound_goes_from_the_end() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let all: String = (1..=9).map(line).collect();
    for (first, last) in [(1, 4), (3, 7), (5, 5), (10, 20), (9, 2)] {
        fs::write(&log, all.clone() + "garbage\n").unwrap();
        let mut request = request(&log, first, None);
        request.keep.window.last = WallTime(last * 1_000_000_000);
        request.dry_run = true;
        let forecast = run(&request, &mut |_| Ok(())).unwrap().unwrap();
        request.dry_run = false;
        let report = clean(&request);
        assert_eq!(forecast, report);
        let kept = (first..=last).filter(|second| *second < 10);
        let kept: String = kept.map(line).collect();
        let gone = 9 - kept.lines().count() as u64;
        assert_eq!((report.by_time, report.unreadable), (gone, 1));
        assert_eq!(fs::read_to_string(&log).unwrap(), kept + "garbage\n");
    }
}

#[test]
fn nothing_that_stands_in_the_way_is_written_through() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let victim = place.path().join("victim");
    let all = line(1) + "garbage\n" + &line(2);
    for name in [".a_log.jsonl.clean", ".lock"] {
        let planted = place.path().join(name);
        for plant in [
            &|path: &Path| symlink(&victim, path).unwrap(),
            &|path: &Path| fs::create_dir(path).unwrap(),
            &|path: &Path| {
                let done = std::process::Command::new("mkfifo").arg(path).status();
                assert!(done.unwrap().success());
            },
        ] as [&dyn Fn(&Path); 3]
        {
            fs::write(&log, &all).unwrap();
            fs::write(&victim, "as it was").unwrap();
            plant(&planted);
            let error = run(&request(&log, 2, None), &mut |_| Ok(())).unwrap_err();
            assert!(
                format!("{error:#}").contains("not a regular file"),
                "{error:#}"
            );
            assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
            assert_eq!(fs::read_to_string(&log).unwrap(), all);
            fs::remove_file(&planted)
                .or_else(|_| fs::remove_dir(&planted))
                .unwrap();
        }
    }
    assert_eq!(names_in(place.path()), ["a_log.jsonl", "victim"]);
}

#[test]
fn lines_longer_than_any_buffer_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let long = "y".repeat(9_000_000) + "\n";
    fs::write(&log, line(1) + &long + &line(2)).unwrap();
    let report = clean(&request(&log, 2, None));
    assert_eq!((report.by_time, report.unreadable), (1, 1));
    assert!(fs::read_to_string(&log).unwrap() == long + &line(2));
}

#[test]
fn no_line_falls_between_clean_and_a_recorder_at_full_speed() {
    const FIRST: i64 = 1000;
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("a_log.jsonl");
    let stop = AtomicBool::new(false);
    let allowed = AtomicI64::new(FIRST + 1000);
    thread::scope(|scope| {
        let recorder = scope.spawn(|| {
            let mut appender = Appender::new(AppenderConfig {
                dir: place.path().to_owned(),
                owner: None,
                ceiling_bytes: 64 << 20,
            });
            let mut next = FIRST;
            while !stop.load(Ordering::Relaxed) || appender.pending_bytes() > 0 {
                // Not so far ahead that reading the log becomes the whole test.
                if next <= allowed.load(Ordering::Relaxed) {
                    appender.queue("a_log.jsonl", |out| {
                        out.extend_from_slice(line(next).as_bytes())
                    });
                    next += 1;
                }
                let report = appender.flush();
                if !report.errors.is_empty() || report.dropped > 0 {
                    return Err(Box::new(report));
                }
            }
            Ok(next)
        });
        // After each clean everything from the cut on must be there; the next cut is within what
        // has been seen, so every line is checked before it may go.
        let mut cut = FIRST;
        let mut cleans = 0;
        while cleans < 100 && !recorder.is_finished() {
            let report = run(&request(&log, cut, None), &mut |_| Ok(())).unwrap();
            if let Some(report) = report {
                cleans += i64::from(report.by_time > 0);
                cut = last_of_unbroken(&log, cut);
                allowed.store(cut + 200 + 97 * (cleans % 30), Ordering::Relaxed);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let written = recorder.join().unwrap().unwrap();
        clean(&request(&log, cut, None));
        assert_eq!(last_of_unbroken(&log, cut), written - 1);
    });
}

/// The number of the last line, when all from `first` on are there once and in order.
fn last_of_unbroken(log: &Path, first: i64) -> i64 {
    let text = fs::read_to_string(log).unwrap();
    // A write that is going on may be seen half.
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    let mut expected = first;
    for seen in whole.lines() {
        // What was cut in place may have left blanks in front.
        assert_eq!(seen.trim_start(), line(expected).trim_end());
        expected += 1;
    }
    (expected - 1).max(first)
}
