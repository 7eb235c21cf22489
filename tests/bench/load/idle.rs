//! An idle recorder: how often it wakes up, what it holds, and how soon a lone event is in the log.

use std::fs::{self, File};
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use crate::ground::{Fs, Ground};
use crate::lines::contains;
use crate::measure;
use crate::monitors::{Kind, Running};
use crate::wait::let_pass;

/// What was seen of one.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    /// Seconds in which no process was started on the machine, and wake-ups in them.
    pub(crate) quiet: (u32, u64),
    pub(crate) resident: u64,
    /// Milliseconds from before the event until its line was read, in order of length.
    pub(crate) lone: Vec<f64>,
}

impl Idle {
    /// Not a number when the machine was never quiet.
    pub(crate) fn wake_ups_a_second(&self) -> f64 {
        self.quiet.1 as f64 / f64::from(self.quiet.0)
    }

    pub(crate) fn median(&self) -> f64 {
        measure::median(self.lone.clone())
    }

    pub(crate) fn worst(&self) -> f64 {
        self.lone.last().copied().unwrap_or(f64::NAN)
    }
}

/// Looks at one that watches an empty tree, then makes `events` directories, each when the line of
/// the one before has been there for a while.
pub(crate) fn look(kind: &Kind, events: usize) -> Option<Idle> {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let running = Running::start(kind, &ground, &root, 1)?;
    let pid = running.pid().unwrap();
    let quiet = quiet_wake_ups(pid);
    let resident = measure::memory(pid, "VmRSS:");
    let Running::Program(program) = &running else {
        panic!("the floor has no lone event");
    };
    let lone = lone_events(&root, &program.log, events);
    Some(Idle {
        quiet,
        resident,
        lone,
    })
}

/// Counts in seconds in which nobody starts a process: those are watched on the whole machine.
fn quiet_wake_ups(pid: u32) -> (u32, u64) {
    let (mut seconds, mut wake_ups) = (0, 0);
    for number in 0..LOOKS {
        let (forks, before) = (measure::forks(), measure::wake_ups(pid));
        let_pass(Duration::from_secs(1));
        // What the start brought may take the first of them.
        if number > 0 && measure::forks() == forks {
            seconds += 1;
            wake_ups += measure::wake_ups(pid) - before;
        }
        if seconds == ENOUGH {
            break;
        }
    }
    (seconds, wake_ups)
}

/// The reader of the log sleeps in inotify until the log changes; its own wake-up is part of the time.
fn lone_events(root: &Path, log: &Path, events: usize) -> Vec<f64> {
    let notify = inotify::init(CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&notify, log, WatchFlags::MODIFY).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut changes = Reader::new(&notify, &mut buffer);
    let mut file = File::open(log).unwrap();
    let mut seen = Vec::new();
    file.read_to_end(&mut seen).unwrap();
    let mut taken = Vec::with_capacity(events);
    for number in 0..events {
        let name = format!("lone-{number}\"");
        seen.clear();
        let_pass(PAUSE);
        let start = Instant::now();
        fs::create_dir(root.join(name.trim_end_matches('"'))).unwrap();
        loop {
            file.read_to_end(&mut seen).unwrap();
            if contains(&seen, name.as_bytes()) {
                break;
            }
            changes.next().unwrap();
        }
        taken.push(start.elapsed().as_secs_f64() * 1e3);
    }
    taken.sort_by(f64::total_cmp);
    taken
}

/// Seconds in which is looked whether it wakes up, and how many quiet ones are enough.
const LOOKS: u32 = 40;
const ENOUGH: u32 = 5;
/// Between two events: longer than anybody lets events gather.
const PAUSE: Duration = Duration::from_millis(7);
