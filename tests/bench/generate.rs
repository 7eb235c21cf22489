//! Logs of any size, as a busy machine would write them: sorted, with long chains and odd names.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use fsmon::event::{Attribution, EventType, FileEvent, WallTime};
use fsmon::log::line::{Gap, encode_event, encode_gap};

/// What was written, and what can be asked about it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    pub(crate) first: WallTime,
    pub(crate) last: WallTime,
    /// A directory with a fair share of the events below it.
    pub(crate) below: &'static str,
    /// A file that was saved by rename again and again.
    pub(crate) saved: &'static str,
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.roll(words.len())]
    }
}

const PROGRAMS: [(&str, &str, &str); 8] = [
    ("rustc", "/usr/bin/rustc", "alice"),
    ("cc1", "/usr/lib/gcc/x86_64-linux-gnu/14/cc1", "alice"),
    ("node", "/usr/bin/node", "build"),
    ("nginx", "/usr/sbin/nginx", "www-data"),
    (
        "postgres",
        "/usr/lib/postgresql/17/bin/postgres",
        "postgres",
    ),
    ("rsync", "/usr/bin/rsync", "backup"),
    ("git", "/usr/bin/git", "alice"),
    ("rm", "/usr/bin/rm", "root"),
];
const PLACES: [&str; 8] = [
    "/home/alice/src/browser/target/debug/incremental",
    "/home/alice/src/kernel/drivers/net/ethernet",
    "/home/build/jobs/4711/node_modules/.cache",
    "/var/www/shop/uploads",
    "/var/lib/postgresql/17/main/base/16384",
    "/srv/backup/daily",
    "/home/alice/src/browser/.git/objects",
    "/tmp",
];
const KINDS: [EventType; 8] = [
    EventType::Create,
    EventType::CloseWrite,
    EventType::CloseWrite,
    EventType::Modify,
    EventType::Attrib,
    EventType::Delete,
    EventType::DeleteSelf,
    EventType::Create,
];
const SAVED: &str = "/home/alice/notes/today.md";
const STEP: i64 = 700_000_000;

/// Writes a log of about `bytes` bytes; the same ones each time.
pub(crate) fn write_log(path: &Path, bytes: u64) -> io::Result<Made> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let first = WallTime(1_767_225_600_000_000_000);
    let (mut time, mut written, mut lines) = (first, 0, 0);
    let mut line = Vec::new();
    while written < bytes {
        line.clear();
        // Several events come of one read and have its time.
        time.0 += [0, 0, STEP, 2 * STEP][dice.roll(4)];
        if dice.roll(500_000) == 0 {
            let gap = Gap {
                time,
                lost: 17,
                cause: "reader too slow: the memory for unread events was full".into(),
                since: WallTime(time.0 - STEP),
            };
            encode_gap(&gap, &mut line);
            lines += 1;
        } else {
            lines += write_deed(&mut dice, time, &mut line);
        }
        out.write_all(&line)?;
        written += line.len() as u64;
    }
    out.flush()?;
    Ok(Made {
        bytes: written,
        lines,
        first,
        last: time,
        below: PLACES[0],
        saved: SAVED,
    })
}

fn write_deed(dice: &mut Dice, time: WallTime, line: &mut Vec<u8>) -> u64 {
    let (cmd, exe, user) = PROGRAMS[dice.roll(PROGRAMS.len())];
    let pid = 1000 + dice.roll(30_000) as u32;
    let mut event = FileEvent {
        time,
        kind: KINDS[dice.roll(KINDS.len())],
        path: path(dice),
        pid,
        cmd: cmd.into(),
        user: user.into(),
        file_size: dice.roll(1 << 20) as u64,
        ppid: pid - 1,
        tgid: pid,
        chain: chain(dice, pid, cmd, user).into(),
        exe: Some(exe.into()),
        other_path: None,
        attribution: Attribution::Exact,
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    };
    if dice.roll(20_000) > 0 {
        encode_event(&event, line);
        return 1;
    }
    // An editor saves: a new file beside the old one, renamed over it.
    let beside = format!("{SAVED}.{}", dice.roll(1 << 20)).into_bytes();
    for (kind, path, other) in [
        (EventType::Create, &beside[..], None),
        (EventType::CloseWrite, &beside, None),
        (EventType::MovedFrom, &beside, Some(SAVED.as_bytes())),
        (EventType::MovedTo, SAVED.as_bytes(), Some(&beside[..])),
    ] {
        event.kind = kind;
        event.path = path.to_vec();
        event.other_path = other.map(<[u8]>::to_vec);
        encode_event(&event, line);
    }
    4
}

fn path(dice: &mut Dice) -> Vec<u8> {
    let place = dice.pick(&PLACES);
    let number = dice.roll(20_000);
    match dice.roll(1000) {
        0 => [
            place.as_bytes(),
            b"/caf\xe9-",
            number.to_string().as_bytes(),
        ]
        .concat(),
        1 => format!("{place}/two\nlines \"{number}\"").into_bytes(),
        2..20 => format!("{place}/Übersicht {number} (Kopie).txt").into_bytes(),
        _ => format!(
            "{place}/{:02x}/{number:05}-{:06x}.o",
            number % 256,
            number * 7919
        )
        .into_bytes(),
    }
}

/// Most logs of groups have chains, and some processes have many ancestors.
fn chain(dice: &mut Dice, pid: u32, cmd: &str, user: &str) -> String {
    let depth = match dice.roll(100) {
        0..60 => return String::new(),
        60..98 => 3 + dice.roll(5),
        _ => 40,
    };
    let mut chain = format!("{pid}|{cmd}|{user}");
    for above in 1..depth {
        let name = dice.pick(&["make", "sh", "cargo", "bash", "sshd"]);
        chain += &format!(";{}|{name}|{user}", pid - above as u32);
    }
    chain + ";1|systemd|root"
}
