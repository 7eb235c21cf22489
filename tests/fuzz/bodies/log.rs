//! Whole logs of any bytes: what is asked comes out as it is stored, what is cleaned goes in whole lines.

use std::fs;
use std::path::Path;

use fsmon::clean::plan::Keep;
use fsmon::clean::{self, CleanReport, CleanRequest};
use fsmon::event::WallTime;
use fsmon::filters::scope::is_at_or_below;
use fsmon::filters::size::SizeFilter;
use fsmon::filters::time::TimeWindow;
use fsmon::log::form::own_time;
use fsmon::log::line::{LogLine, encode_event, encode_gap, glance, time_of};
use fsmon::query::{self, QueryRequest};

use super::draw::Draw;
use super::line;

pub fn body(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let window = window(&mut draw);
    let path = draw.one_of(&[&b""[..], b"/a", b"/a/b", b"/\xff"]);
    let size = size(&mut draw);
    let (scan, which) = (draw.flag(), draw.below(3));
    let file = file(&mut draw);

    let home = tempfile::tempdir().expect("a directory");
    let log = home.path().join(NAME);
    fs::write(&log, &file).expect("room for a log");
    match which {
        0 => what_is_asked_comes_out_as_it_is_stored(home.path(), &file, window, path, scan),
        1 => what_happened_to_a_path_is_a_choice_of_lines(home.path(), &file, window, path),
        _ => what_is_cleaned_goes_in_whole_lines(&log, &file, &Keep { window, size }),
    }
}

fn what_is_asked_comes_out_as_it_is_stored(
    dir: &Path,
    file: &[u8],
    window: TimeWindow,
    path: &[u8],
    scan: bool,
) {
    let request = QueryRequest {
        log_dir: dir.to_owned(),
        logs: None,
        paths: (!path.is_empty())
            .then(|| path.to_vec())
            .into_iter()
            .collect(),
        window,
        scan,
    };
    let mut answer = Vec::new();
    let outcome = query::run(&request, &mut answer).expect("a log that can be read");
    let mut wanted: Vec<&[u8]> = Vec::new();
    for line in whole_lines(file) {
        let Some(seen) = glance(line) else { continue };
        let is_covered = path.is_empty() || is_at_or_below(&seen.path(), path);
        if window.contains(seen.time) && (seen.is_gap() || is_covered) {
            wanted.push(line);
        }
    }
    assert_eq!(outcome.lines as usize, whole_lines(&answer).count());
    is_a_choice_of(&answer, file);
    // By halving, the lines of a log that is not sorted may be missed; that is said.
    if scan || is_sorted(file) {
        // What only looks like a line of the recorder may be handed out, unread.
        let read: Vec<&[u8]> = whole_lines(&answer)
            .filter(|line| !only_looks_so(line))
            .collect();
        assert!(read == wanted, "{}", answer.escape_ascii());
        assert!(outcome.out_of_order.is_empty() || !is_sorted(file));
    }
}

fn what_happened_to_a_path_is_a_choice_of_lines(
    dir: &Path,
    file: &[u8],
    window: TimeWindow,
    path: &[u8],
) {
    let request = QueryRequest {
        log_dir: dir.to_owned(),
        logs: None,
        paths: vec![if path.is_empty() {
            b"/a".to_vec()
        } else {
            path.to_vec()
        }],
        window,
        scan: false,
    };
    for below in [false, true] {
        let mut answer = Vec::new();
        let mut each = |line: &[u8], _: &LogLine| {
            answer.extend(line);
            Ok(())
        };
        query::why(&request, below, &mut each).expect("a log that can be read");
        is_a_choice_of(&answer, file);
    }
}

/// Every line of the answer stands in the file, as often at least.
fn is_a_choice_of(answer: &[u8], file: &[u8]) {
    assert!(answer.is_empty() || answer.ends_with(b"\n"));
    let (mut told, mut stored): (Vec<_>, Vec<_>) =
        (whole_lines(answer).collect(), whole_lines(file).collect());
    told.sort();
    stored.sort();
    let mut stored = stored.into_iter();
    assert!(
        told.into_iter()
            .all(|line| stored.any(|other| other == line))
    );
}

fn what_is_cleaned_goes_in_whole_lines(log: &Path, file: &[u8], keep: &Keep) {
    let request = |dry_run| CleanRequest {
        log_path: log.to_owned(),
        keep: *keep,
        dry_run,
        owner: None,
    };
    let run = |request: &CleanRequest| {
        clean::run(request, &mut |_| Ok(()))
            .expect("a log that can be cleaned")
            .expect("a log")
    };
    let planned = run(&request(true));
    assert!(
        fs::read(log).expect("the log") == file,
        "a dry run writes nothing"
    );
    let report = run(&request(false));
    assert_eq!(report, planned);
    let after = fs::read(log).expect("the log");
    assert_eq!(
        (report.before, report.after),
        (file.len() as u64, after.len() as u64)
    );
    lines_went_and_none_changed(file, &after, &report, keep);
    // What was cleaned is clean; a line that is out of its place may be met in one way and not in the other.
    if keep.size.is_none() && is_sorted(file) {
        let again = run(&request(false));
        assert_eq!((again.by_time, again.by_size), (0, 0));
        assert!(fs::read(log).expect("the log") == after);
    }
}

fn lines_went_and_none_changed(file: &[u8], after: &[u8], report: &CleanReport, keep: &Keep) {
    let (all, kept): (Vec<_>, Vec<_>) = (lines(file).collect(), lines(after).collect());
    let mut rest = all.iter();
    // Where whole blocks are taken out, what is left in front of the first line becomes blanks of it.
    let is_padded = |one: &[u8], other: &[u8]| one.trim_ascii_start() == other.trim_ascii_start();
    let mut is_kept = |(number, line): (usize, &&[u8])| {
        rest.any(|other| other == line || number == 0 && is_padded(other, line))
    };
    assert!(
        kept.iter().enumerate().all(&mut is_kept),
        "another order or another line"
    );
    let is_outside = |line: &&&[u8]| time_of(line).is_some_and(|time| !keep.window.contains(time));
    let count = |lines: &[&[u8]], judge: &dyn Fn(&&&[u8]) -> bool| {
        lines.iter().filter(judge).count() as u64
    };
    // What only looks like a line of the recorder may go by the time that stands in it, or stay.
    if all.iter().any(|line| only_looks_so(line)) {
        return;
    }
    let gone_by_time = count(&all, &is_outside) - count(&kept, &is_outside);
    let is_blank = |line: &&&[u8]| line.trim_ascii().is_empty();
    if keep.size.is_none() {
        assert_eq!((report.by_time, report.by_size), (gone_by_time, 0));
        // Nothing goes but what is outside of the window, and blank lines with it.
        let is_other = |line: &&&[u8]| !is_outside(line) && !is_blank(line);
        assert_eq!(count(&all, &is_other), count(&kept, &is_other));
    }
    if report.by_time + report.by_size == 0 {
        assert_eq!(all, kept);
    }
    // Before the first line that stays for its time there is none that is too old, unless it stood behind
    // one that went for the size.
    if report.by_size > 0 && !is_sorted(file) {
        return;
    }
    let is_young = |line: &&[u8]| time_of(line).is_some_and(|time| keep.window.contains(time));
    let first_young = kept.iter().position(is_young).unwrap_or(kept.len());
    let torn = usize::from(!after.is_empty() && !after.ends_with(b"\n"));
    let before = &kept[..first_young.min(kept.len() - torn)];
    assert_eq!(
        count(before, &is_outside),
        0,
        "{keep:?}, {report:?} of \"{}\": \"{}\"",
        file.escape_ascii(),
        after.escape_ascii()
    );
}

/// Whether it begins and ends like a line of the recorder, and is none.
fn only_looks_so(line: &[u8]) -> bool {
    time_of(line).is_none() && own_time(line).is_some()
}

/// What only looks like a line of the recorder has its place, too.
fn is_sorted(file: &[u8]) -> bool {
    let time = |line| time_of(line).or_else(|| own_time(line));
    whole_lines(file).filter_map(time).is_sorted()
}

fn whole_lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(file).filter(|line| line.ends_with(b"\n"))
}

/// The lines of a file, and what follows the last of them.
fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == b'\n')
}

fn window(draw: &mut Draw<'_>) -> TimeWindow {
    let TimeWindow { first, last } = TimeWindow::ALL;
    let (from, until) = (time(draw), time(draw));
    match draw.below(5) {
        0 => TimeWindow { first, last },
        1 | 2 => TimeWindow { first: from, last },
        3 => TimeWindow { first, last: until },
        _ => TimeWindow {
            first: from,
            last: until,
        },
    }
}

fn size(draw: &mut Draw<'_>) -> Option<SizeFilter> {
    let limit = draw.below(2000);
    let text = draw.one_of(&["", "", ">=", ">", "<"]);
    (!text.is_empty()).then(|| format!("{text}{limit}B").parse().expect("a size filter"))
}

/// Lines of the recorder, whole, torn and doubled, between whatever else may stand there.
fn file(draw: &mut Draw<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut now = 0;
    for _ in 0..draw.below(24) {
        let mut piece = Vec::new();
        now += i64::from(draw.byte() % 4);
        match draw.below(9) {
            0 => {
                let mut gap = line::gap(draw);
                gap.time = WallTime(SECOND * now);
                encode_gap(&gap, &mut piece);
            }
            1 => piece.extend(draw.bytes(40)),
            2 => piece.push(b'\n'),
            3 => {
                let at = time(draw);
                encode_event(&event(draw, at), &mut piece);
                piece.truncate(draw.below(piece.len()));
            }
            4 => {
                // Out of its place.
                let at = time(draw);
                encode_event(&event(draw, at), &mut piece);
            }
            5 => {
                let text = format!("{{\"time\":\"1970-01-01T00:00:{:02}Z\"}}\n", now % 60);
                piece.extend(text.bytes());
            }
            _ => encode_event(&event(draw, WallTime(SECOND * now)), &mut piece),
        }
        file.extend(piece);
    }
    file.extend(draw.rest());
    file
}

fn event(draw: &mut Draw<'_>, at: WallTime) -> fsmon::event::FileEvent {
    let mut event = line::event(draw);
    event.time = at;
    event.path = draw
        .one_of(&[&b"/a"[..], b"/a/b", b"/a/b/c", b"/ab", b"/\xff/x"])
        .to_vec();
    event
}

fn time(draw: &mut Draw<'_>) -> WallTime {
    WallTime(SECOND * i64::from(draw.byte() % 64))
}

const SECOND: i64 = 1_000_000_000;
const NAME: &str = "_global_log.jsonl";
