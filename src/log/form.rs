//! The recorder's own form of lines, known without reading each line as JSON.
//!
//! Every line of the recorder begins with its time and its type at fixed places, ends in a text and a
//! brace, and has no control character in it. A block of lines of which all that holds, with as many
//! beginnings as there are newlines, is whole lines; what stands in between them is not looked at.

use std::ops::Range;
use std::str;

use memchr::memmem;

use super::stamp::parse_time;
use crate::event::WallTime;

/// What can be said of a block of lines in the recorder's own form.
#[derive(Debug, PartialEq, Eq)]
pub struct Own {
    /// How many lines there are.
    pub lines: u64,
    /// Where holes stand.
    pub gaps: Vec<Range<usize>>,
    /// Time of the first line.
    pub first: WallTime,
    /// Time of the last line.
    pub last: WallTime,
    /// Whether no line is older than the one before it.
    pub is_sorted: bool,
}

/// Looks at a block of whole lines; `None` unless all of them are in the recorder's own form.
pub fn own(block: &[u8]) -> Option<Own> {
    let first = head_time(block)?;
    let (mut lines, mut is_sorted, mut gaps) = (0, true, Vec::new());
    let (mut start, mut last) = (0, first);
    for newline in memchr::memchr_iter(b'\n', block) {
        let line = &block[start..=newline];
        let time = head_time(line).filter(|_| line.ends_with(TAIL))?;
        is_sorted &= last <= time;
        last = time;
        if line[TYPE..].starts_with(b"GAP\"") {
            gaps.push(start..newline + 1);
        }
        lines += 1;
        start = newline + 1;
    }
    let is_whole = start == block.len() && is_whole_text(block, lines);
    is_whole.then_some(Own {
        lines,
        gaps,
        first: parse_time(first)?,
        last: parse_time(last)?,
        is_sorted,
    })
}

/// The time of a line that begins and ends as the recorder's do; `None` for any other.
pub fn own_time(line: &[u8]) -> Option<WallTime> {
    let time = head_time(line)?;
    line.ends_with(TAIL).then(|| parse_time(time))?
}

/// The time of such a line as it stands there: as text it has the order of the times. `second` is for
/// the caller to keep: the part up to the second that was last found to be a time.
pub fn own_time_text<'l>(line: &'l [u8], second: &mut Vec<u8>) -> Option<&'l Time> {
    let time = head_time(line).filter(|_| line.ends_with(TAIL) && is_alone(line))?;
    if time[..SECOND] != second[..] {
        // A leap second is not ordered by its text.
        if time[SECOND - 3..].starts_with(b"60") {
            return None;
        }
        parse_time(time)?;
        second.clear();
        second.extend_from_slice(&time[..SECOND]);
    }
    Some(time)
}

/// The path of a line that begins as the recorder's do, where it stands there as it is: plain ASCII
/// without an escape.
pub fn own_path(line: &[u8]) -> Option<&[u8]> {
    head_time(line)?;
    let rest = &line[TYPE..];
    let rest = rest[memchr::memchr(b'"', rest)?..].strip_prefix(b"\",\"path\":\"")?;
    let path = &rest[..memchr::memchr(b'"', rest)?];
    let is_plain = path.is_ascii() && memchr::memchr(b'\\', path).is_none();
    is_plain.then_some(path)
}

/// What a line is about, where it stands there as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gist<'a> {
    /// The name of the type.
    pub event_type: &'a [u8],
    /// The path.
    pub path: &'a [u8],
    /// For a rename: the other side, if the line has one.
    pub other: Option<&'a [u8]>,
}

/// What a line is about that begins as the recorder's do; `None` unless all of it is plain ASCII without
/// an escape.
pub fn own_gist(line: &[u8]) -> Option<Gist<'_>> {
    let path = own_path(line)?;
    let event_type = &line[TYPE..];
    let event_type = &event_type[..memchr::memchr(b'"', event_type)?];
    let key: &[u8] = match event_type {
        b"MOVED_TO" => b",\"from\":\"",
        b"MOVED_FROM" => b",\"to\":\"",
        _ => b"",
    };
    let mut other = None;
    // A quote behind a comma cannot stand within a string: there it has a backslash before it.
    if !key.is_empty()
        && let Some(at) = memmem::find(line, key)
    {
        let rest = &line[at + key.len()..];
        let text = &rest[..memchr::memchr(b'"', rest)?];
        if !text.is_ascii() || memchr::memchr(b'\\', text).is_some() {
            return None;
        }
        other = Some(text);
    }
    Some(Gist {
        event_type,
        path,
        other,
    })
}

/// The time and the path of an event's line that is the recorder's own and has the path as it is; none
/// of a hole.
pub fn own_event(line: &[u8]) -> Option<(WallTime, &[u8])> {
    let path = own_path(line)?;
    let is_event = !line[TYPE..].starts_with(b"GAP\"") && is_whole_text(line, 1);
    is_event.then(|| Some((own_time(line)?, path)))?
}

/// A time with nine digits in UTC.
pub type Time = [u8; 30];

/// Whether no second line begins in it: a torn line and a whole one.
fn is_alone(line: &[u8]) -> bool {
    memmem::find(&line[HEAD.len()..], HEAD).is_none()
}

fn head_time(line: &[u8]) -> Option<&Time> {
    let head: &[u8; TYPE] = line.first_chunk()?;
    let time: &Time = head[HEAD.len()..].first_chunk()?;
    (head.starts_with(HEAD) && head.ends_with(BEHIND_TIME) && is_time(time)).then_some(time)
}

/// Whether digits and signs stand where they belong.
fn is_time(text: &Time) -> bool {
    let strange = [0, 8, 16, 22].into_iter().fold(0, |strange, at| {
        let word = |bytes: &Time| {
            let bytes: [u8; 8] = bytes[at..at + 8].try_into().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        // A digit is now 0 to 9 and a sign 0; adding what is missing to 128 shows what is more.
        let off = word(text) ^ word(b"0000-00-00T00:00:00.000000000Z");
        let room = word(b"vvvv\x7fvv\x7fvv\x7fvv\x7fvv\x7fvv\x7fvvvvvvvvv\x7f");
        strange | off | (off & !HIGH).wrapping_add(room)
    });
    strange & HIGH == 0
}

/// Whether this is valid UTF-8 in which there are so many lines and no control character besides their
/// newlines, and in which a line begins at no other place.
fn is_whole_text(block: &[u8], lines: u64) -> bool {
    let (mut controls, mut braces, mut union) = (0, 0, 0);
    for chunk in block.chunks(CHUNK) {
        // Counted in bytes, so that whole vectors are counted at once; a chunk cannot overflow them.
        let (mut control, mut brace, mut bits) = (0_u8, 0_u8, 0_u8);
        for byte in chunk {
            control += u8::from(*byte < b' ');
            brace += u8::from(*byte == HEAD[0]);
            bits |= byte;
        }
        controls += u64::from(control);
        braces += u64::from(brace);
        union |= bits;
    }
    // With a brace for each line, none can have the beginning of another in it.
    let heads = || memmem::find_iter(block, HEAD).count() as u64;
    controls == lines
        && (union < 0x80 || str::from_utf8(block).is_ok())
        && (braces == lines || heads() == lines)
}

const HEAD: &[u8] = b"{\"time\":\"";
const BEHIND_TIME: &[u8] = b"\",\"event_type\":\"";
/// How long the time is up to the second, its point included.
const SECOND: usize = 20;
/// The last value of a line is a text.
const TAIL: &[u8] = b"\"}\n";
/// Where the type begins.
const TYPE: usize = 9 + 30 + 16;
const CHUNK: usize = 255;
const HIGH: u64 = 0x8080_8080_8080_8080;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Attribution, EventType, FileEvent};
    use crate::log::line::{Gap, encode_event, encode_gap};
    use crate::log::scan;

    fn event(time: i64, path: &[u8]) -> FileEvent {
        FileEvent {
            time: WallTime(time),
            kind: EventType::Create,
            path: path.to_vec(),
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

    fn line(time: i64, path: &[u8]) -> Vec<u8> {
        let mut line = Vec::new();
        encode_event(&event(time, path), &mut line);
        line
    }

    fn gap(time: i64) -> Vec<u8> {
        let gap = Gap {
            time: WallTime(time),
            lost: 3,
            cause: "none".into(),
            since: WallTime(0),
        };
        let mut line = Vec::new();
        encode_gap(&gap, &mut line);
        line
    }

    #[test]
    fn lines_of_the_recorder_are_known() {
        let lines = [
            line(5, b"/a"),
            gap(6),
            line(9, "/\u{e9}\n\"x\\".as_bytes()),
            line(9, b"/\xff{\"time\":\""),
        ];
        let gap_at = lines[0].len()..lines[0].len() + lines[1].len();
        let block = lines.concat();
        assert_eq!(
            own(&block),
            Some(Own {
                lines: 4,
                gaps: vec![gap_at],
                first: WallTime(5),
                last: WallTime(9),
                is_sorted: true
            })
        );
        assert_eq!(own_time(&lines[3]), Some(WallTime(9)));
        let mut second = Vec::new();
        let texts: Vec<_> = lines
            .iter()
            .filter_map(|line| own_time_text(line, &mut second))
            .collect();
        assert!(texts.len() == 4 && texts.is_sorted());
        for strange in ["1970-01-01T00:00:60.0", "1970-13-01T00:00:00.0"] {
            let text = String::from_utf8(lines[0].clone()).unwrap();
            let text = text.replace("1970-01-01T00:00:00.0", strange);
            assert_eq!(own_time_text(text.as_bytes(), &mut second), None);
        }
        let events: Vec<_> = lines.iter().map(|line| own_event(line)).collect();
        assert_eq!(events, [Some((WallTime(5), &b"/a"[..])), None, None, None]);
        assert_eq!(own_path(&lines[0]), Some(&b"/a"[..]));
        assert_eq!((own_path(&lines[2]), own_path(&lines[3])), (None, None));
        let turned = [line(9, b"/b"), line(5, b"/a")].concat();
        assert!(!own(&turned).unwrap().is_sorted);
    }

    #[test]
    fn the_gist_of_a_line_has_both_sides_of_a_rename() {
        let renamed = |other: &[u8]| {
            let event = FileEvent {
                kind: EventType::MovedTo,
                cmd: ",\"from\":\"/no".into(),
                other_path: Some(other.to_vec()),
                ..event(5, b"/a")
            };
            let mut line = Vec::new();
            encode_event(&event, &mut line);
            line
        };
        let gist = |event_type, other| Gist {
            event_type,
            path: b"/a",
            other,
        };
        assert_eq!(
            own_gist(&renamed(b"/b")),
            Some(gist(b"MOVED_TO", Some(b"/b")))
        );
        assert_eq!(own_gist(&line(5, b"/a")), Some(gist(b"CREATE", None)));
        assert_eq!(own_gist(&renamed(b"/\n")), None);
        assert_eq!(own_gist(&renamed(b"/\xff")), None);
    }

    #[test]
    fn what_is_not_whole_or_was_written_by_others_is_not_taken_for_own() {
        let (one, two) = (line(5, b"/a"), line(6, b"/b"));
        let torn = &one[..one.len() - 9];
        let spaced = String::from_utf8(one.clone())
            .unwrap()
            .replace(":\"", ": \"");
        let holed: Vec<u8> = two
            .iter()
            .map(|byte| if *byte == b'b' { 0 } else { *byte })
            .collect();
        let not_text: Vec<u8> = two
            .iter()
            .map(|byte| if *byte == b'b' { 0xff } else { *byte })
            .collect();
        let mut second = Vec::new();
        for joined in [[torn, &b"{}\n"[..]].concat(), [torn, &two[..]].concat()] {
            assert_eq!(own_time_text(&joined, &mut second), None);
        }
        for strange in [
            &b""[..],
            b"\n",
            b"garbage\n",
            b"{\"time\":\"\n",
            torn,
            &[torn, b"\n"].concat(),
            &[torn, b"{}\n"].concat(),
            &[torn, &two[..]].concat(),
            spaced.as_bytes(),
            &holed,
            &not_text,
        ] {
            let block = [&one[..], strange, &two].concat();
            if !strange.is_empty() {
                assert_eq!(own(&block), None, "{:?}", String::from_utf8_lossy(&block));
            }
        }
    }

    proptest! {
        #[test]
        fn times_are_told_from_others(at in 0_usize..30, byte: u8, digits in "[0-9]{30}") {
            let mut text = *b"0000-00-00T00:00:00.000000000Z";
            for (place, digit) in text.iter_mut().zip(digits.bytes()) {
                if *place == b'0' {
                    *place = digit;
                }
            }
            prop_assert!(is_time(&text));
            let was = text[at];
            text[at] = byte;
            prop_assert_eq!(is_time(&text), byte == was || was.is_ascii_digit() && byte.is_ascii_digit());
        }

        #[test]
        fn own_lines_cut_anywhere_are_never_taken_for_more_than_they_are(
            times in proptest::collection::vec(0_i64..100, 1..6), from in 0_usize..600, length in 0_usize..600, end in any::<bool>(),
        ) {
            let block: Vec<u8> = times.iter().flat_map(|time| line(*time, b"/some/where")).collect();
            let mut cut = block.clone();
            cut.drain(from.min(block.len())..(from + length).min(block.len()));
            if end {
                cut.push(b'\n');
            }
            if let Some(own) = own(&cut) {
                let whole = cut.split_inclusive(|byte| *byte == b'\n').filter(|line| scan::members(line, |_, _| ())).count();
                // The middle of a line is not read: one that lacks a piece of it may pass.
                prop_assert!(own.lines >= whole as u64 && own.lines <= whole as u64 + 1);
            }
        }
    }
}
