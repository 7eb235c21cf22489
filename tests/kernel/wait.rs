//! The one place that waits: looks at a condition until it holds or the time is over.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How long anything may take on a slow, loaded machine with an unoptimised daemon.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// Asks `look` until it has an answer; `None` when `limit` is over.
pub(crate) fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Lets `time` pass: for tests whose subject is that nothing happens meanwhile.
pub(crate) fn let_pass(time: Duration) {
    let end = Instant::now() + time;
    until(time, || (Instant::now() >= end).then_some(()));
}

/// Stops a child with a signal, and waits until all its threads have stopped: a thread that runs when
/// the signal is sent goes on for a while on its CPU, and so may still read what happens after.
pub(crate) fn halt(child: u32) {
    let pid = Pid::from_raw(child.cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let it_stops = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), it_stops).unwrap();
}
