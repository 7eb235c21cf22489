use std::fs;
use std::path::Path;

use super::*;
use crate::event::{Attribution, EventType};
use crate::log::line::{LogLine, decode};

fn writer(dir: &Path) -> Writer {
    writer_holding(dir, 1 << 20)
}

fn writer_holding(dir: &Path, ceiling_bytes: usize) -> Writer {
    let config = AppenderConfig {
        dir: dir.to_owned(),
        owner: None,
        ceiling_bytes,
    };
    Writer::new(config, Sync::Off, Arc::default())
}

fn event(time: i64) -> FileEvent {
    FileEvent {
        time: WallTime(time),
        kind: EventType::Create,
        path: b"/a".to_vec(),
        pid: 1,
        cmd: "sh".into(),
        user: "root".into(),
        file_size: 0,
        ppid: 1,
        tgid: 1,
        chain: "".into(),
        exe: None,
        other_path: None,
        attribution: Attribution::Exact,
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}

fn record(writer: &mut Writer, times: &[i64]) {
    let (group, reporter) = ("x".parse().unwrap(), Reporter::new(false));
    for time in times {
        writer.event(&group, &mut event(*time), &reporter);
    }
    writer.flush(&reporter);
}

fn times(dir: &Path) -> Vec<i64> {
    let text = fs::read(dir.join("x_log.jsonl")).unwrap();
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| match decode(line) {
            Some(LogLine::Event(event)) => event.time.0,
            Some(LogLine::Gap(gap)) => gap.time.0,
            None => panic!("{}", String::from_utf8_lossy(line)),
        })
        .collect()
}

#[test]
fn alerts_have_one_log() {
    assert_eq!(
        GroupName::alerts().log_file_name(),
        crate::log::alert::LOG_NAME
    );
}

#[test]
fn a_clock_that_is_set_back_leaves_the_log_in_order() {
    let place = tempfile::tempdir().unwrap();
    record(&mut writer(place.path()), &[5, 3, 9, 8]);
    assert_eq!(times(place.path()), [5, 5, 9, 9]);
    // Another run does not go back behind it either, and a hole of before does not.
    let mut writer = writer(place.path());
    let loss = Loss {
        count: Some(3),
        cause: "test",
        since: WallTime(2),
        until: WallTime(4),
    };
    writer.loss(&["x".parse().unwrap()], &loss);
    record(&mut writer, &[1, 10]);
    assert_eq!(times(place.path()), [5, 5, 9, 9, 9, 9, 10]);
}

#[test]
fn a_clock_that_was_set_is_told_in_the_journal() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = writer(place.path());
    writer.watch_clock();
    assert!(writer.appender.is_idle());
    // As if it had been an hour earlier before.
    writer.offset -= 3_600_000_000_000;
    writer.watch_clock();
    writer.watch_clock();
    writer.flush(&Reporter::new(false));
    let journal = fs::read_to_string(place.path().join("journal.jsonl")).unwrap();
    assert_eq!(journal.lines().count(), 1);
    let written = crate::log::written::read_entry(journal.as_bytes()).unwrap();
    let step = written.step_ns.unwrap();
    assert!((step - 3_600_000_000_000).abs() < CLOCK_STEP, "{step}");
}

#[test]
fn a_log_that_clean_holds_is_tried_again_and_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let dir = crate::log::dir::LogDir::open(place.path()).unwrap();
    let mut writer = writer(place.path());
    record(&mut writer, &[1]);
    let lock = dir.lock_file(None).unwrap();
    let held = lock.take().unwrap();
    record(&mut writer, &[2, 3]);
    assert!(writer.is_waiting() && writer.pending_bytes() > 0);
    assert_eq!(times(place.path()), [1]);
    drop(held);
    writer.flush(&Reporter::new(false));
    assert!(!writer.is_waiting());
    assert_eq!(times(place.path()), [1, 2, 3]);
}

#[test]
fn little_memory_for_lines_is_emptied_before_it_is_full() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = writer_holding(place.path(), 1 << 16);
    let all: Vec<i64> = (1..3000).collect();
    record(&mut writer, &all);
    assert_eq!(writer.dropped, 0);
    assert_eq!(times(place.path()), all);
}

#[test]
fn what_the_journal_tells_of_a_write_is_written_with_it() {
    let place = tempfile::tempdir().unwrap();
    let mut writer = writer(place.path());
    record(&mut writer, &[1]);
    fs::write(place.path().join("x_log.jsonl"), "").unwrap();
    record(&mut writer, &[2]);
    let journal = fs::read(place.path().join("journal.jsonl")).unwrap();
    let written = crate::log::written::read_entry(&journal).unwrap();
    assert_eq!(
        (written.event.as_str(), written.how.as_deref()),
        ("LOG", Some("cut"))
    );
    let mut health = Health::default();
    writer.tell_health(&mut health);
    let hash = chain::Hash::of(&journal);
    assert_eq!(health.journal, Some(format!("1:{hash}")));
}
