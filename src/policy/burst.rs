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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::recent::MOST_LIVES;
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn windows(count: u32, window: i64) -> Windows {
        let window = Duration::from_nanos(window.unsigned_abs());
        Windows::new(NonZeroU32::new(count).unwrap(), window)
    }

    #[test]
    fn the_edge_of_the_window_belongs_to_it() {
        for (gap, alerts) in [(SECOND - 1, true), (SECOND, true), (SECOND + 1, false)] {
            let mut windows = windows(3, SECOND);
            assert_eq!(windows.add(1, 7), None);
            assert_eq!(windows.add(1, 7 + gap / 2), None);
            assert_eq!(windows.add(1, 7 + gap).is_some(), alerts, "{gap}");
        }
    }

    #[test]
    fn the_window_slides() {
        // A window that begins anew at its first event would end between the two pairs.
        let mut windows = windows(4, SECOND);
        for (time, count) in [
            (0, None),
            (900, None),
            (950, None),
            (1100, None),
            (1150, Some(4)),
            (2950, None),
        ] {
            assert_eq!(windows.add(1, time * SECOND / 1000), count, "{time}");
        }
    }

    #[test]
    fn one_is_a_burst_when_the_rule_says_so() {
        let mut windows = windows(1, SECOND);
        assert_eq!(windows.add(1, 0), Some(1));
        assert_eq!(windows.add(1, 0), Some(2));
        assert_eq!(windows.add(2, 0), Some(1));
    }

    #[test]
    fn time_that_goes_back_does_no_harm() {
        let mut windows = windows(3, SECOND);
        for (time, count) in [
            (10 * SECOND, None),
            (10 * SECOND - 5, None),
            (10 * SECOND + SECOND, Some(3)),
            // Set back by an hour: what was counted before is over.
            (-3600 * SECOND, None),
            (-3600 * SECOND, None),
            (i64::MIN, None),
            (i64::MAX, None),
            (i64::MIN, None),
            (i64::MIN, None),
            (i64::MIN, Some(3)),
        ] {
            assert_eq!(windows.add(1, time), count, "{time}");
        }
    }

    #[test]
    fn a_huge_threshold_costs_nothing_beforehand() {
        let mut windows = windows(u32::MAX, SECOND);
        assert_eq!(windows.add(1, 0), None);
        assert!(windows.lives.entry(1, 0).value.capacity() < 100);
    }

    #[test]
    fn the_idle_are_forgotten() {
        let mut windows = windows(2, SECOND);
        for life in 0..100_000 {
            windows.add(life, i64::try_from(life).unwrap() * SECOND / 100);
            assert!(windows.lives.len() < 3000);
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut windows = windows(2, SECOND);
        let many = u64::try_from(MOST_LIVES).unwrap() + 10;
        for life in 0..many {
            windows.add(life, i64::try_from(life).unwrap());
            assert!(windows.lives.len() <= MOST_LIVES);
        }
        let now = i64::try_from(many).unwrap();
        assert_eq!(windows.add(0, now), None);
        assert_eq!(windows.add(many - 1, now), Some(2));
        // Also when none is older than another.
        for life in 0..2 * many {
            windows.add(life, now + 1);
            assert!(windows.lives.len() <= MOST_LIVES);
        }
    }

    #[test]
    fn what_is_kept_beyond_the_threshold_has_a_ceiling() {
        let mut windows = windows(2, SECOND);
        let most = u64::try_from(MOST_SPARE).unwrap() + 2;
        for at in 0..2 * most {
            let count = windows.add(at % 2, 0);
            assert_eq!(count.is_some(), at >= 2);
        }
        let kept: usize = windows.lives.values_mut().map(|times| times.len()).sum();
        assert_eq!((kept, windows.spare), (MOST_SPARE + 4, MOST_SPARE));
        // When that is over, the next sweep makes room for others.
        let counts: Vec<_> = (0..3000).map(|_| windows.add(9, 5 * SECOND)).collect();
        assert_eq!(counts[..3], [None, Some(2), Some(2)]);
        assert!(counts[2999] > Some(1900), "{:?}", counts[2999]);
    }

    proptest! {
        #[test]
        fn agrees_with_counting_all(
            threshold in 1_u32..12,
            steps in proptest::collection::vec((0_u64..3, gap()), 1..300),
        ) {
            let mut windows = windows(threshold, SECOND);
            let mut model: HashMap<u64, Vec<i64>> = HashMap::new();
            let mut now = 0;
            for (life, gap) in steps {
                now += gap;
                let times = model.entry(life).or_default();
                times.push(now);
                let inside = times.iter().filter(|time| now - **time <= SECOND).count();
                let wanted = (inside >= threshold as usize).then_some(inside as u64);
                prop_assert_eq!(windows.add(life, now), wanted);
            }
        }

        #[test]
        fn exactly_the_threshold_within_the_window(
            threshold in 2_u32..50,
            edge in -1_i64..=1,
            cuts in proptest::collection::vec(0..=SECOND, 48),
        ) {
            // The first and the last of `threshold` events are one window apart, or 1 ns more or less.
            let last = SECOND + edge;
            let mut times: Vec<i64> = cuts[..threshold as usize - 2].iter().map(|cut| (*cut).min(last)).collect();
            times.extend([0, last]);
            times.sort();
            let mut windows = windows(threshold, SECOND);
            for time in &times[..times.len() - 1] {
                prop_assert_eq!(windows.add(1, *time), None);
            }
            prop_assert_eq!(windows.add(1, last).is_some(), edge <= 0);
        }

        #[test]
        fn no_times_make_it_panic(times in proptest::collection::vec(any::<i64>(), 1..100)) {
            let mut windows = windows(3, SECOND);
            for time in times {
                windows.add(1, time);
            }
        }
    }

    fn gap() -> impl Strategy<Value = i64> {
        prop_oneof![
            Just(0),
            Just(1),
            SECOND - 1..=SECOND + 1,
            (2_i64..10).prop_flat_map(|part| SECOND / part - 1..=SECOND / part + 1),
            0..2 * SECOND,
            0..SECOND / 20,
        ]
    }
}
