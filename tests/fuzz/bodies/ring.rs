//! Bytes of a perf ring to records of processes.

use std::sync::Arc;

use fsmon::proc_cache::{Comm, ProcChange, ProcLimits, ProcRecord, ProcTable, SideBand};
use fsmon::sys::perf;
use fsmon::sys::ring::{Filled, RawRecord};

use super::draw::Draw;
use super::remember;

pub fn body(bytes: &[u8]) {
    any_bytes_are_walked_as_if_they_lay_in_a_row(bytes);
    what_was_built_is_read(bytes);
}

/// What lies across the end of the ring is read as what does not; what is no record ends the walk.
fn any_bytes_are_walked_as_if_they_lay_in_a_row(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let size = 8 << draw.below(10);
    let (tail, ahead) = (draw.u64(), draw.u32());
    let content = draw.rest();
    let ring: Vec<u8> = (0..size).map(|at| *content.get(at).unwrap_or(&0)).collect();
    let filled = Filled {
        size,
        tail,
        // Now and then more than there is room for.
        head: tail.wrapping_add(u64::from(ahead) % (size as u64 + 16)),
    };
    let mut read = Vec::new();
    let mut side_band = SideBand::default();
    let mut table = ProcTable::new(ProcLimits::default());
    let is_whole = walk(filled, &ring, |raw| {
        read.push((raw.kind, raw.misc, raw.body.to_vec()));
        if let Some(record) = side_band.read(raw, 1) {
            remember(&mut table, &record);
        }
    });
    assert_eq!((read, is_whole), plainly(filled, &ring));
}

type Raw = (u32, u16, Vec<u8>);

/// The definition: everything between the ends copied into a row first.
fn plainly(filled: Filled, ring: &[u8]) -> (Vec<Raw>, bool) {
    let mut found = Vec::new();
    let count = filled.head.wrapping_sub(filled.tail);
    let begin = filled.tail % filled.size as u64;
    if count > filled.size as u64 {
        return (found, false);
    }
    let row: Vec<u8> = (0..count)
        .map(|n| ring[((begin + n) % filled.size as u64) as usize])
        .collect();
    let mut rest = &row[..];
    while !rest.is_empty() {
        let Some(head) = rest.first_chunk::<8>().filter(|_| begin.is_multiple_of(8)) else {
            return (found, false);
        };
        let length = usize::from(u16::from_ne_bytes([head[6], head[7]]));
        if length < 8 || length % 8 != 0 || length > rest.len() {
            return (found, false);
        }
        let kind = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let misc = u16::from_ne_bytes([head[4], head[5]]);
        found.push((kind, misc, rest[8..length].to_vec()));
        rest = &rest[length..];
    }
    (found, true)
}

fn walk(filled: Filled, ring: &[u8], each: impl FnMut(RawRecord<'_>)) -> bool {
    filled.walk(&mut Vec::new(), |from, len| &ring[from..from + len], each)
}

/// Records in the kernel's layout, put into a ring at any place, say what was put into them.
fn what_was_built_is_read(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut ring = vec![0; 1 << 14];
    let tail = draw.u64() & !7;
    let mut head = tail;
    let mut meant = Vec::new();
    let since = draw.u64();
    while !draw.is_empty() && meant.len() < 64 {
        let (raw, record) = built(&mut draw, since);
        if head - tail + raw.len() as u64 > ring.len() as u64 {
            break;
        }
        for byte in raw {
            let place = head as usize % ring.len();
            ring[place] = byte;
            head = head.wrapping_add(1);
        }
        meant.extend(record);
        if head < tail {
            // Both ends have started again from zero; what was built goes on to be read.
            break;
        }
    }
    let filled = Filled {
        size: ring.len(),
        tail,
        head,
    };
    let mut side_band = SideBand::default();
    let mut read = Vec::new();
    let is_whole = walk(filled, &ring, |raw| read.extend(side_band.read(raw, since)));
    assert!(is_whole);
    assert_eq!(read, meant);
}

/// A record as it lies in the ring, and what it says; nothing for one that says nothing of a process.
fn built(draw: &mut Draw<'_>, since: u64) -> (Vec<u8>, Option<ProcRecord>) {
    let (time, pid, tid) = (draw.u64(), draw.u32(), draw.u32());
    let mut body: Vec<u8> = Vec::new();
    let mut misc = 0_u16;
    let mut put = |words: &[u32]| body.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    let (kind, what) = match draw.below(6) {
        0 => {
            let (ppid, thread) = (draw.u32(), draw.u32());
            put(&[pid, ppid, tid, thread, 1, 2]);
            (perf::RECORD_FORK, Some(ProcChange::Fork { ppid, thread }))
        }
        1 => {
            put(&[pid, 1, tid, 1, 1, 2]);
            (perf::RECORD_EXIT, Some(ProcChange::Exit))
        }
        2 => {
            let exec = draw.flag();
            misc = u16::from(exec) << 13;
            let name = text_without_nul(draw, 15);
            put(&[pid, tid]);
            push_padded(&mut body, &name);
            let comm = Comm::new(&name);
            (perf::RECORD_COMM, Some(ProcChange::Comm { comm, exec }))
        }
        3 => {
            put(&[pid, tid]);
            // Address, length, offset, device and inode, rights.
            put(&[0; 14]);
            let mut name = text_without_nul(draw, 4000);
            name.insert(0, b'/');
            push_padded(&mut body, &name);
            (perf::RECORD_MMAP2, mapped(&name))
        }
        4 => {
            let count = draw.u64();
            body.extend(1_u64.to_ne_bytes());
            body.extend(count.to_ne_bytes());
            let record = ProcRecord {
                time,
                pid: 0,
                tid: 0,
                what: ProcChange::Lost { count, since },
            };
            return (framed(perf::RECORD_LOST, 0, body, time), Some(record));
        }
        _ => {
            let body = draw.bytes(60).to_vec();
            // SAMPLE and what came after MMAP2.
            let kind = draw.one_of(&[0, 1, 5, 9, 11, 15, 22]);
            return (framed(kind, misc, body, time), None);
        }
    };
    let is_seen = pid != 0 && pid != u32::MAX;
    let record = what.filter(|_| is_seen).map(|what| ProcRecord {
        time,
        pid,
        tid,
        what,
    });
    (framed(kind, misc, body, time), record)
}

/// Header, body, the time that `sample_id_all` adds; all a multiple of eight bytes.
fn framed(kind: u32, misc: u16, mut body: Vec<u8>, time: u64) -> Vec<u8> {
    body.resize(body.len().next_multiple_of(8), 0);
    let mut raw = kind.to_ne_bytes().to_vec();
    raw.extend(misc.to_ne_bytes());
    raw.extend((body.len() as u16 + 16).to_ne_bytes());
    raw.extend(body);
    raw.extend(time.to_ne_bytes());
    raw
}

fn push_padded(body: &mut Vec<u8>, name: &[u8]) {
    body.extend(name);
    body.push(0);
    body.resize(body.len().next_multiple_of(8), 0);
}

fn text_without_nul(draw: &mut Draw<'_>, limit: usize) -> Vec<u8> {
    draw.bytes(limit)
        .iter()
        .map(|byte| (*byte).max(1))
        .collect()
}

/// `//anon` and the like are no files; a path that did not fit is empty.
fn mapped(name: &[u8]) -> Option<ProcChange> {
    let path: Arc<str> = match name {
        b"//toolong" | b"//enomem" => "".into(),
        [b'/', b'/', ..] => return None,
        _ => {
            let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
            String::from_utf8_lossy(name).into()
        }
    };
    Some(ProcChange::Exe { path })
}
