//! Bytes of a fanotify queue to records.

use std::ops::Range;

use fsmon::fid_parser::raw::{Entry, Fid, RawEvent};
use fsmon::fid_parser::wire::{Malformed, masks, records};

use super::draw::Draw;
use super::records::{Handle, Info, Record, draw_name};

pub fn body(bytes: &[u8]) {
    any_bytes_are_walked_by_their_lengths(bytes);
    what_was_built_is_read(bytes);
}

/// The walk ends, stays within the bytes, and goes from record to record by the lengths that stand in them.
fn any_bytes_are_walked_by_their_lengths(bytes: &[u8]) {
    let mut offset = 0;
    let mut read = Vec::new();
    let mut walk = records(bytes);
    for record in walk.by_ref() {
        match record {
            Ok(event) => {
                let length =
                    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().expect("four"));
                assert!(length >= 24, "shorter than its head");
                offset += length as usize;
                assert!(offset <= bytes.len());
                lies_within(&event, bytes);
                read.push(event.mask);
            }
            Err(Malformed { offset: at }) => {
                assert_eq!(at, offset, "the first record that does not fit");
                offset = bytes.len();
                break;
            }
        }
    }
    assert_eq!(offset, bytes.len(), "nothing is left over in silence");
    assert!(walk.next().is_none(), "behind the end is nothing");
    let masks: Vec<u64> = masks(bytes).take(read.len()).collect();
    assert_eq!(masks, read);
}

fn lies_within(event: &RawEvent<'_>, bytes: &[u8]) {
    let entries = [event.entry, event.old, event.new].into_iter().flatten();
    for Entry { dir, name } in entries {
        assert!(!name.contains(&0));
        assert!(name == b"." || is_part(name, bytes));
        assert!(is_part(dir.handle, bytes));
    }
    assert!(
        event
            .object
            .is_none_or(|object| is_part(object.handle, bytes))
    );
}

fn is_part(part: &[u8], whole: &[u8]) -> bool {
    let Range { start, end } = whole.as_ptr_range();
    let part = part.as_ptr_range();
    start <= part.start && part.end <= end
}

/// A queue in the kernel's layout decodes to what it was built from, and cut anywhere to what is whole of it.
fn what_was_built_is_read(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let cut = draw.below(1 << 16);
    let mut built = Vec::new();
    while !draw.is_empty() && built.len() < 16 {
        built.push(record(&mut draw));
    }
    let parts: Vec<Vec<u8>> = built.iter().map(Record::to_bytes).collect();
    let queue = parts.concat();
    let read: Vec<_> = records(&queue).collect();
    assert_eq!(read.len(), built.len());
    for (read, built) in read.iter().zip(&built) {
        assert_eq!(*read, Ok(meant(built)));
    }

    let cut = cut % (queue.len() + 1);
    let mut ends = parts.iter().scan(0, |end, part| {
        *end += part.len();
        Some(*end)
    });
    let whole = ends.by_ref().take_while(|end| *end <= cut).count();
    let begin: usize = parts[..whole].iter().map(Vec::len).sum();
    let mut torn = records(&queue[..cut]);
    for read in &read[..whole] {
        assert_eq!(torn.next().as_ref(), Some(read));
    }
    let torn_off = (begin < cut).then_some(Err(Malformed { offset: begin }));
    assert_eq!(torn.next(), torn_off);
    assert_eq!(torn.next(), None);
}

fn record(draw: &mut Draw<'_>) -> Record {
    let (mask, pid) = (draw.u64(), draw.u32());
    let infos = (0..draw.below(5)).map(|_| info(draw)).collect();
    Record { mask, pid, infos }
}

fn info(draw: &mut Draw<'_>) -> Info {
    match draw.below(7) {
        0 => Info::Object(Handle::draw(draw)),
        1 => Info::Dir(Handle::draw(draw)),
        2 => Info::Entry(Handle::draw(draw), draw_name(draw)),
        3 => Info::Old(Handle::draw(draw), draw_name(draw)),
        4 => Info::New(Handle::draw(draw), draw_name(draw)),
        5 => Info::Error(draw.u32().cast_signed()),
        _ => Info::Foreign(
            draw.one_of(&[0, 4, 6, 9, 11, 13, 255]),
            draw.bytes(40).to_vec(),
        ),
    }
}

/// What a reader has to make of a record: the last of several of a kind counts.
fn meant(record: &Record) -> RawEvent<'_> {
    let mut event = RawEvent {
        mask: record.mask,
        // Below zero the kernel says nothing of the process.
        pid: if record.pid > i32::MAX.cast_unsigned() {
            0
        } else {
            record.pid
        },
        ..RawEvent::default()
    };
    for info in &record.infos {
        match info {
            Info::Object(object) => event.object = Some(seen(object)),
            Info::Dir(dir) => {
                event.entry = Some(Entry {
                    dir: seen(dir),
                    name: b".",
                })
            }
            Info::Entry(dir, name) => {
                event.entry = Some(Entry {
                    dir: seen(dir),
                    name,
                })
            }
            Info::Old(dir, name) => {
                event.old = Some(Entry {
                    dir: seen(dir),
                    name,
                })
            }
            Info::New(dir, name) => {
                event.new = Some(Entry {
                    dir: seen(dir),
                    name,
                })
            }
            Info::Error(number) => event.error = Some(*number),
            Info::Foreign(..) => {}
        }
    }
    event
}

fn seen(handle: &Handle) -> Fid<'_> {
    Fid {
        fsid: handle.fsid,
        kind: handle.kind,
        handle: &handle.bytes,
    }
}
