//! The one place that waits: looks at a condition until it holds or the time is over.

use std::thread;
use std::time::{Duration, Instant};

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
