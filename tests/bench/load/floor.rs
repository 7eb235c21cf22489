//! The floor: a reader of the same events that asks for nothing else, and what a line of fixed
//! bytes for each of them costs on top.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fsmon::event::TypeSet;
use fsmon::fid_parser::{bits, wire};
use fsmon::monitor::marks::Dialect;
use fsmon::sys::epoll::PollSet;
use fsmon::sys::fanotify::{Group, MarkOn, Reporting};

/// Reads the events of the filesystem of `dir` until its input ends; with a log, writes a line of
/// `length` bytes for each.
///
/// A millisecond gathers before each round of reads, which is what costs reader and workload least.
pub(crate) fn read(dir: &Path, log: Option<&OsStr>, length: usize) {
    let group = Group::open(Reporting { target_fid: true }).unwrap();
    let types = TypeSet::DEFAULT;
    let mask = Dialect::Modern.mask(types) & !bits::FS_ERROR;
    let told = bits::mask_of(types);
    let mark = |dir: &Path, mask: u64| {
        let dir = File::open(dir).unwrap();
        group.add_mark(MarkOn::Filesystem, mask, dir.as_fd())
    };
    mark(dir, mask).unwrap();
    // Where the programs are; on some machines that cannot be marked, and then fsmon has no mark either.
    mark(Path::new("/"), bits::OPEN_EXEC).ok();
    let poll = PollSet::new().unwrap();
    poll.add(group.as_fd()).unwrap();
    let mut out = log.map(|log| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap()
    });
    let mut block = vec![b'-'; length * BLOCK];
    block
        .iter_mut()
        .skip(length - 1)
        .step_by(length)
        .for_each(|byte| *byte = b'\n');
    let is_asked = answer_when_asked();
    let mut buffer = vec![0; 32 << 10];
    let mut events = 0;
    loop {
        poll.wait().unwrap();
        std::thread::park_timeout(Duration::from_millis(1));
        let asked = is_asked.load(Ordering::SeqCst);
        let before = events;
        while let Some(len) = group.read(&mut buffer).unwrap() {
            for mask in wire::masks(&buffer[..len]) {
                let both_sides = 2 * u64::from(mask & bits::RENAME != 0);
                events += u64::from((mask & told).count_ones()) + both_sides;
            }
        }
        if let Some(out) = &mut out {
            let mut bytes = (events - before) as usize * length;
            while bytes > 0 {
                let part = bytes.min(block.len());
                out.write_all(&block[..part]).unwrap();
                bytes -= part;
            }
        }
        if asked {
            is_asked.store(false, Ordering::SeqCst);
            println!("{events}");
        }
    }
}

/// Says "heard" to each line of input; what was done before is then counted and told after the
/// next event. Ends the process with its input.
fn answer_when_asked() -> Arc<AtomicBool> {
    let asked = Arc::<AtomicBool>::default();
    let ask = Arc::clone(&asked);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            ask.store(true, Ordering::SeqCst);
            println!("heard");
        }
        std::process::exit(0);
    });
    asked
}

/// Lines that one write takes at most.
const BLOCK: usize = 256;
