//! Datagrams of the proc connector to records of processes.

use fsmon::proc_cache::{
    Comm, ProcChange, ProcLimits, ProcRecord, ProcTable, Wanted, read_datagram,
};

use super::draw::Draw;
use super::remember;

pub fn body(bytes: &[u8]) {
    any_bytes_are_read_or_passed_over(bytes);
    what_was_built_is_read(bytes);
}

fn any_bytes_are_read_or_passed_over(bytes: &[u8]) {
    let all = read(bytes, Wanted::Everything);
    assert!(
        all.len() <= bytes.len() / NLMSG_HEADER,
        "one for each message"
    );
    let users = read(bytes, Wanted::Users);
    let is_user = |record: &&ProcRecord| {
        matches!(
            record.what,
            ProcChange::Euid { .. } | ProcChange::Lost { .. }
        )
    };
    assert!(all.iter().filter(is_user).eq(&users));
    let mut table = ProcTable::new(ProcLimits::default());
    for record in &all {
        remember(&mut table, record);
    }
}

/// Messages in the kernel's layout say what was put into them, however they are mixed with others.
fn what_was_built_is_read(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let (mut datagram, mut meant) = (Vec::new(), Vec::new());
    while !draw.is_empty() && meant.len() < 64 {
        let (message, record) = built(&mut draw);
        datagram.extend(message);
        meant.extend(record);
    }
    assert_eq!(read(&datagram, Wanted::Everything), meant);
}

fn read(bytes: &[u8], wanted: Wanted) -> Vec<ProcRecord> {
    let mut found = Vec::new();
    read_datagram(bytes, wanted, SINCE, NOW, &mut found);
    found
}

/// A message and what it says of a process, if anything: `struct proc_event` in `linux/cn_proc.h`.
fn built(draw: &mut Draw<'_>) -> (Vec<u8>, Option<ProcRecord>) {
    let (time, pid, tid) = (draw.u64(), draw.u32(), draw.u32());
    let (number, other) = (draw.u32(), draw.u32());
    let (what, data, change) = match draw.below(8) {
        0 => {
            let change = ProcChange::Fork {
                ppid: number,
                thread: other,
            };
            (0x1, words(&[other, number, tid, pid]), Some(change))
        }
        1 => (0x2, words(&[tid, pid]), Some(ProcChange::Exec)),
        2 => (
            0x4,
            words(&[tid, pid, other, number]),
            Some(ProcChange::Euid { uid: number }),
        ),
        3 => {
            let mut data = words(&[tid, pid]);
            let name = draw.bytes(16);
            data.extend(name);
            let change = ProcChange::Comm {
                comm: Comm::new(name),
                exec: false,
            };
            (0x200, data, Some(change))
        }
        4 => (
            0x8000_0000,
            words(&[tid, pid, 0, 17, number, other]),
            Some(ProcChange::Exit),
        ),
        // Changes of group, session and tracer, a core dump, and what is yet to come.
        5 => (
            draw.one_of(&[0x40, 0x80, 0x100, 0x4000_0000, 0x400]),
            words(&[tid, pid]),
            None,
        ),
        6 => {
            // NLMSG_OVERRUN
            let lost = ProcRecord {
                time: NOW,
                pid: 0,
                tid: 0,
                what: ProcChange::Lost {
                    count: 0,
                    since: SINCE,
                },
            };
            return (message(4, &[]), Some(lost));
        }
        // NLMSG_NOOP, and an acknowledgement.
        _ => return (message(draw.one_of(&[1, 2]), &[0; 20]), None),
    };
    let mut event = words(&[what, 3]);
    event.extend(time.to_ne_bytes());
    event.extend(data);
    // The kernel sends the whole union, whichever of its members is meant.
    event.resize(40, 0);
    let record = change.map(|what| ProcRecord {
        time,
        pid,
        tid,
        what,
    });
    (message(3, &connector(&event)), record)
}

/// `struct nlmsghdr`: length u32, type u16, flags u16, sequence u32, port u32.
fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = ((NLMSG_HEADER + payload.len()) as u32)
        .to_ne_bytes()
        .to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend([0; 10]);
    message.extend(payload);
    message
}

/// `struct cn_msg`: `CN_IDX_PROC`, `CN_VAL_PROC`, sequence, acknowledgement, length u16, flags u16.
fn connector(event: &[u8]) -> Vec<u8> {
    let mut message = words(&[1, 1, 9, 0]);
    message.extend((event.len() as u16).to_ne_bytes());
    message.extend([0, 0]);
    message.extend(event);
    message
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

const NLMSG_HEADER: usize = 16;
const SINCE: u64 = 7;
const NOW: u64 = 9;
