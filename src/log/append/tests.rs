use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

fn appender(dir: &Path, ceiling_bytes: usize) -> Appender {
    Appender::new(AppenderConfig {
        dir: dir.to_owned(),
        owner: None,
        ceiling_bytes,
    })
}

fn put(appender: &mut Appender, number: i64) {
    appender.queue(LOG, |out| out.extend_from_slice(line(number).as_bytes()));
}

fn line(number: i64) -> String {
    let mut time = Vec::new();
    crate::log::line::write_time(WallTime(number), &mut time);
    format!(
        "{{\"time\":\"{}\",\"n\":{number}}}\n",
        String::from_utf8(time).unwrap()
    )
}

fn flush_clean(appender: &mut Appender) -> FlushReport {
    let report = appender.flush();
    assert!(
        report.errors.is_empty() && !report.busy && report.pending_bytes == 0,
        "{report:?}"
    );
    report
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn lines_reach_the_file_and_the_directory_is_made() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("a/b");
    let mut appender = appender(&dir, 1 << 20);
    assert!(appender.is_idle());
    put(&mut appender, 1);
    put(&mut appender, 2);
    let report = flush_clean(&mut appender);
    assert_eq!(report.written_lines, 2);
    assert_eq!(text(&dir.join(LOG)), line(1) + &line(2));
    assert!(appender.sync().is_empty());
    assert_eq!(appender.last_time(LOG).unwrap(), Some(WallTime(2)));
    fs::remove_dir_all(&dir).unwrap();
    put(&mut appender, 3);
    flush_clean(&mut appender);
    assert_eq!(text(&dir.join(LOG)), line(3));
}

#[test]
fn a_replaced_log_is_noticed_before_the_next_write() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join(LOG);
    let mut appender = appender(place.path(), 1 << 20);
    put(&mut appender, 1);
    flush_clean(&mut appender);
    fs::rename(&log, place.path().join("old")).unwrap();
    put(&mut appender, 2);
    flush_clean(&mut appender);
    assert_eq!(text(&log), line(2));
    fs::write(place.path().join("new"), "kept\n").unwrap();
    fs::rename(place.path().join("new"), &log).unwrap();
    put(&mut appender, 3);
    flush_clean(&mut appender);
    assert_eq!(text(&log), "kept\n".to_owned() + &line(3));
    fs::write(&log, "").unwrap();
    put(&mut appender, 4);
    flush_clean(&mut appender);
    assert_eq!(text(&log), line(4));
    assert_eq!(text(&place.path().join("old")), line(1));
}

#[test]
fn a_torn_tail_is_cut_and_a_whole_one_is_ended() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join(LOG);
    for (before, after) in [
        ("{\"a\":1}\n{\"time\":\"20", "{\"a\":1}\n"),
        ("{\"a\":1}\n{\"b\":2}", "{\"a\":1}\n{\"b\":2}\n"),
        ("{\"tor", ""),
        ("{\"a\":1}\n\0\0\0\0", "{\"a\":1}\n"),
    ] {
        fs::write(&log, before).unwrap();
        let mut appender = appender(place.path(), 1 << 20);
        put(&mut appender, 7);
        flush_clean(&mut appender);
        assert_eq!(text(&log), after.to_owned() + &line(7), "{before:?}");
        // The same when somebody cuts the file while it is open.
        let cut = fs::metadata(&log).unwrap().len() - 5;
        OpenOptions::new()
            .write(true)
            .open(&log)
            .unwrap()
            .set_len(cut)
            .unwrap();
        put(&mut appender, 8);
        flush_clean(&mut appender);
        assert_eq!(text(&log), after.to_owned() + &line(8), "{before:?}");
    }
}

#[test]
fn time_goes_on_from_a_line_that_lacks_only_its_newline() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join(LOG);
    for (torn, last) in [
        (line(5).trim_end(), 5),
        (&line(5)[..9], 4),
        ("{\"n\":5}", 4),
        ("", 4),
    ] {
        fs::write(&log, line(4) + torn).unwrap();
        let mut appender = appender(place.path(), 1 << 20);
        assert_eq!(appender.last_time(LOG).unwrap(), Some(WallTime(last)));
    }
}

#[test]
fn links_and_directories_in_place_of_a_log_are_refused_and_the_lines_kept() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join(LOG);
    fs::write(place.path().join("victim"), "x").unwrap();
    symlink("victim", &log).unwrap();
    let mut appender = appender(place.path(), 1 << 20);
    put(&mut appender, 1);
    let report = appender.flush();
    assert_eq!(report.errors.len(), 1);
    assert!(report.pending_bytes > 0);
    assert_eq!(text(&place.path().join("victim")), "x");
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    assert_eq!(appender.flush().errors.len(), 1);
    fs::remove_dir(&log).unwrap();
    flush_clean(&mut appender);
    assert_eq!(text(&log), line(1));
}

#[test]
fn what_is_held_beyond_the_ceiling_becomes_a_gap_in_its_place() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join(LOG);
    let one = line(10).len();
    let mut appender = appender(place.path(), one * 4);
    let lock = LogDir::open(place.path()).unwrap().lock_file(None).unwrap();
    let held = lock.take().unwrap();
    for number in 10..20 {
        put(&mut appender, number);
        assert!(appender.flush().busy);
    }
    assert_eq!(appender.pending_bytes(), one * 4);
    drop(held);
    flush_clean(&mut appender);
    put(&mut appender, 20);
    flush_clean(&mut appender);
    let text = text(&log);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(format!("{}\n", lines[3]), line(13));
    assert_eq!(
        crate::log::line::decode(lines[4].as_bytes()),
        Some(crate::log::line::LogLine::Gap(Gap {
            time: WallTime(19),
            lost: 6,
            cause: "the log was being cleaned".into(),
            since: WallTime(14),
        }))
    );
    assert_eq!(format!("{}\n", lines[5]), line(20));
}

#[test]
fn after_a_hole_lines_are_taken_again_only_with_room_to_spare() {
    let place = tempfile::tempdir().unwrap();
    let mut appender = appender(place.path(), 2000);
    let lock = LogDir::open(place.path()).unwrap().lock_file(None).unwrap();
    let held = lock.take().unwrap();
    for number in 100..200 {
        put(&mut appender, number);
    }
    assert_eq!(
        appender.flush().dropped,
        100 - appender.pending_bytes() as u64 / line(100).len() as u64
    );
    assert_eq!(appender.flush().dropped, 0);
    drop(held);
    flush_clean(&mut appender);
    for number in 200..210 {
        put(&mut appender, number);
    }
    flush_clean(&mut appender);
    assert_eq!(text(&place.path().join(LOG)).matches("GAP").count(), 1);
}

#[test]
fn a_removed_lock_file_is_made_anew() {
    let place = tempfile::tempdir().unwrap();
    let mut appender = appender(place.path(), 2000);
    put(&mut appender, 1);
    flush_clean(&mut appender);
    fs::remove_file(place.path().join(".lock")).unwrap();
    let lock = LogDir::open(place.path()).unwrap().lock_file(None).unwrap();
    let held = lock.take().unwrap();
    put(&mut appender, 2);
    assert!(appender.flush().busy);
    drop(held);
    flush_clean(&mut appender);
}

const LOG: &str = "a_log.jsonl";
