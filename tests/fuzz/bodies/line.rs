//! Lines of a log: what is written reads back, and any bytes are judged as serde_json judges them.

use std::borrow::Cow;
use std::collections::HashMap;

use fsmon::event::{Attribution, EventType, FileEvent, JobPlace, WallTime};
use fsmon::log::alert::{Note, encode_alert, note_of};
use fsmon::log::escape::unescape;
use fsmon::log::form;
use fsmon::log::line::{
    Gap, LogLine, decode, encode_event, encode_gap, glance, parse_time, path_of, time_of,
};
use fsmon::log::scan::{Value, members};
use serde::de::IgnoredAny;
use serde_json::{Map, Value as Json};

use super::draw::Draw;

pub fn body(bytes: &[u8]) {
    what_is_written_reads_back(bytes);
    the_scanner_agrees_with_serde(bytes);
    all_readers_agree(bytes);
    for part in bytes.split(|byte| *byte == b'\n') {
        all_readers_agree(part);
    }
    no_bytes_are_too_strange(bytes);
}

fn what_is_written_reads_back(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let (mut block, mut times, mut holes) = (Vec::new(), Vec::new(), 0);
    while !draw.is_empty() && times.len() < 8 {
        let mut line = Vec::new();
        if draw.below(8) == 0 {
            let gap = gap(&mut draw);
            encode_gap(&gap, &mut line);
            assert_eq!(decode(&line), Some(LogLine::Gap(gap.clone())));
            times.push(gap.time);
            holes += 1;
        } else {
            let event = event(&mut draw);
            encode_event(&event, &mut line);
            stands_as_the_format_says(&line, &event);
            an_alert_is_the_event_and_a_note(&line, &event, &mut draw);
            times.push(event.time);
        }
        is_one_clean_line(&line);
        let seen = glance(&line).expect("a line of our own");
        assert_eq!(Some(seen.time), times.last().copied());
        assert_eq!(form::own_time(&line), Some(seen.time));
        block.extend(line);
    }
    if let (Some(first), Some(last)) = (times.first(), times.last()) {
        let own = form::own(&block).expect("lines of our own");
        assert_eq!((own.lines, own.gaps.len()), (times.len() as u64, holes));
        assert_eq!((own.first, own.last), (*first, *last));
        assert_eq!(own.is_sorted, times.is_sorted());
    }
}

fn stands_as_the_format_says(line: &[u8], event: &FileEvent) {
    assert_eq!(decode(line), Some(LogLine::Event(event.clone())));
    let read: Json = serde_json::from_slice(line).expect("JSON");
    assert_eq!(read["event_type"], event.kind.name());
    assert_eq!(read["path"], String::from_utf8_lossy(&event.path).as_ref());
    assert_eq!(read["pid"], event.pid);
    assert_eq!(read["cmd"], event.cmd.as_ref());
    assert_eq!(read["file_size"], event.file_size);
    assert_eq!(read["chain"], event.chain.as_ref());
    assert_eq!(path_of(line).as_deref(), Some(&event.path[..]));
    if let Some((time, path)) = form::own_event(line) {
        assert_eq!((time, path), (event.time, &event.path[..]));
    }
    if let Some(gist) = form::own_gist(line) {
        assert_eq!(gist.event_type, event.kind.name().as_bytes());
        assert_eq!(gist.path, event.path);
        let is_rename = matches!(event.kind, EventType::MovedTo | EventType::MovedFrom);
        let other = event.other_path.as_deref().filter(|_| is_rename);
        assert_eq!(gist.other, other);
    }
}

fn an_alert_is_the_event_and_a_note(line: &[u8], event: &FileEvent, draw: &mut Draw<'_>) {
    let text = |draw: &mut Draw<'_>| Cow::Owned(draw.text(20));
    let note = Note {
        rule: Cow::Owned(format!("r{}", draw.text(20))),
        kind: text(draw),
        reason: text(draw),
        count: draw.flag().then(|| draw.u64()),
        window_ms: draw.flag().then(|| draw.u64()),
        decision: draw.flag().then(|| text(draw)),
    };
    let mut alert = Vec::new();
    encode_alert(event, &note, &mut alert);
    is_one_clean_line(&alert);
    assert_eq!(decode(&alert), decode(line));
    assert_eq!(note_of(&alert), Some(note));
    assert_eq!(note_of(line), None);
}

/// One line, UTF-8, with nothing in it that a terminal would obey.
fn is_one_clean_line(line: &[u8]) {
    let text = std::str::from_utf8(line).expect("UTF-8");
    let inside = text.strip_suffix('\n').expect("an end");
    assert!(!inside.chars().any(char::is_control), "{inside:?}");
}

/// What the scanner takes for an object is one for serde_json too, with the same members; and the other way
/// round, but for numbers beyond a double, which are JSON all the same.
fn the_scanner_agrees_with_serde(bytes: &[u8]) {
    let mut texts = HashMap::new();
    let is_object = members(bytes, |key, value| {
        let text = match value {
            Value::Text(raw) => Some(raw),
            Value::Other(_) => None,
        };
        texts.insert(unescape(key), text.map(unescape));
    });
    let loosely = serde_json::from_slice::<HashMap<String, IgnoredAny>>(bytes).is_ok();
    let strictly = serde_json::from_slice::<Map<String, Json>>(bytes);
    assert!(loosely || !is_object, "more than JSON");
    let Ok(object) = strictly else {
        return;
    };
    assert!(is_object, "less than JSON");
    assert_eq!(object.len(), texts.len());
    for (key, value) in &object {
        let found = texts[key.as_bytes()].as_deref();
        assert_eq!(found, value.as_str().map(str::as_bytes), "{key}");
    }
}

fn all_readers_agree(line: &[u8]) {
    let (seen, time) = (glance(line), time_of(line));
    if let Some(seen) = seen {
        assert_eq!(time, Some(seen.time));
        assert_eq!(seen.is_gap(), seen.event_type == b"GAP");
    }
    match decode(line) {
        Some(LogLine::Event(event)) => {
            let seen = seen.expect("an event can be glanced at");
            assert_eq!(
                (seen.time, seen.path()),
                (event.time, Cow::from(&event.path))
            );
            // What an old or a foreign writer wrote means the same when it is written again.
            let mut again = Vec::new();
            encode_event(&event, &mut again);
            assert_eq!(decode(&again), Some(LogLine::Event(event)));
        }
        Some(LogLine::Gap(gap)) => {
            assert_eq!(time, Some(gap.time));
            let mut again = Vec::new();
            encode_gap(&gap, &mut again);
            assert_eq!(decode(&again), Some(LogLine::Gap(gap)));
        }
        None => {}
    }
    if let Some(own) = form::own_time(line) {
        assert!(time.is_none_or(|time| time == own || twice(line, b"\"time\"")));
    }
}

/// A line of our own has each key once; which of two counts is nobody's promise.
fn twice(line: &[u8], key: &[u8]) -> bool {
    line.windows(key.len()).filter(|part| *part == key).count() > 1
}

fn no_bytes_are_too_strange(bytes: &[u8]) {
    path_of(bytes);
    note_of(bytes);
    form::own_event(bytes);
    form::own_gist(bytes);
    if let Some(own) = form::own(bytes) {
        assert_eq!(
            own.lines as usize,
            bytes.split(|byte| *byte == b'\n').count() - 1
        );
        assert!(own.gaps.iter().all(|gap| gap.end <= bytes.len()));
    }
    if let Some(time) = parse_time(bytes) {
        let text = std::str::from_utf8(bytes).expect("a time is ASCII");
        let theirs = chrono::DateTime::parse_from_rfc3339(text);
        // They have a second 60 of their own.
        if let Some(theirs) = theirs.ok().filter(|_| !text.contains(":60")) {
            assert_eq!(theirs.timestamp_nanos_opt(), Some(time.0));
        }
    }
}

pub(super) fn event(draw: &mut Draw<'_>) -> FileEvent {
    let text = |draw: &mut Draw<'_>, limit| draw.text(limit).into();
    FileEvent {
        time: WallTime(draw.u64().cast_signed()),
        kind: draw.one_of(&EventType::ALL),
        path: draw.bytes(64).to_vec(),
        pid: draw.u32(),
        cmd: text(draw, 15),
        user: text(draw, 15),
        file_size: draw.u64(),
        ppid: draw.u32(),
        tgid: draw.u32(),
        chain: text(draw, 64),
        exe: draw.flag().then(|| text(draw, 32)),
        other_path: draw.flag().then(|| draw.bytes(64).to_vec()),
        attribution: draw.one_of(&[
            Attribution::Exact,
            Attribution::Ambiguous,
            Attribution::Unknown,
        ]),
        is_dir: draw.flag(),
        is_adrift: draw.flag(),
        job: draw.flag().then(|| JobPlace {
            id: text(draw, 16),
            role: text(draw, 16),
        }),
        inferred: draw.flag().then(|| WallTime(draw.u64().cast_signed())),
    }
}

pub(super) fn gap(draw: &mut Draw<'_>) -> Gap<'static> {
    Gap {
        time: WallTime(draw.u64().cast_signed()),
        lost: draw.u64().cast_signed(),
        cause: Cow::Owned(draw.text(40)),
        since: WallTime(draw.u64().cast_signed()),
    }
}
