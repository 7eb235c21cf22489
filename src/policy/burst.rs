//! Counts events in a window that slides with every event.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::recent::Recent;

/// The latest events of each process, for one burst rule.
#[derive(Debug)]
pub(super) struct Windows {
    threshold: usize,
    window: i64,
    lives: Recent<VecDeque<i64>>,
    /// How many times are kept beyond `threshold` for each process, all together.
    spare: usize,
}

impl Windows {
    pub(super) fn new(count: NonZeroU32, window: Duration) -> Self {
        let window = nanos(window);
        Self {
            threshold: usize::try_from(count.get()).unwrap_or(usize::MAX),
            window,
            lives: Recent::new(window),
            spare: 0,
        }
    }

    /// Counts an event; the number of events in the window when it is the threshold or more.
    ///
    /// `threshold` times a process are enough to decide. More are kept only to tell how many it were, and
    /// only as long as all processes together have not used up [`MOST_SPARE`]; then the number is too low.
    pub(super) fn add(&mut self, life: u64, time: i64) -> Option<u64> {
        if self.lives.make_room(life, time) {
            self.spare = 0;
            for times in self.lives.values_mut() {
                self.spare += times.len().saturating_sub(self.threshold);
                times.shrink_to(2 * times.len());
            }
        }
        let entry = self.lives.entry(life, time);
        let spare_before = entry.value.len().saturating_sub(self.threshold);
        // Time that goes back a little is taken to stand still. Farther back than the window the clock was
        // set, and to stand still until it has caught up would make a burst of hours.
        if entry.last.saturating_sub(time) > self.window {
            entry.value.clear();
            entry.last = time;
        }
        entry.last = entry.last.max(time);
        let (now, times) = (entry.last, &mut entry.value);
        while times
            .front()
            .is_some_and(|first| now.saturating_sub(*first) > self.window)
        {
            times.pop_front();
        }
        times.push_back(now);
        let elsewhere = self.spare.saturating_sub(spare_before);
        if times.len() > self.threshold && elsewhere + times.len() - self.threshold > MOST_SPARE {
            times.pop_front();
        }
        self.spare = elsewhere + times.len().saturating_sub(self.threshold);
        (times.len() >= self.threshold).then(|| u64::try_from(times.len()).unwrap_or(u64::MAX))
    }
}

/// Nanoseconds in the unit of event times.
pub(super) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Eight megabytes of times a rule.
const MOST_SPARE: usize = 1 << 20;
