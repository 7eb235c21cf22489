//! A table of the processes that lately did something, which forgets by itself.

use hashbrown::HashMap;

/// A value for each process (or tree) that was seen within a time. Its size has a ceiling.
#[derive(Debug)]
pub(super) struct Recent<V> {
    lives: HashMap<u64, Entry<V>>,
    /// How long an entry is worth keeping, in nanoseconds.
    keep: i64,
    latest: i64,
    until_sweep: usize,
}

/// What is kept for one process.
#[derive(Debug)]
pub(super) struct Entry<V> {
    /// When it was last worth keeping.
    pub(super) last: i64,
    /// The value.
    pub(super) value: V,
}

impl<V: Default> Recent<V> {
    pub(super) fn new(keep: i64) -> Self {
        Self {
            lives: HashMap::new(),
            keep,
            latest: i64::MIN,
            until_sweep: SWEEP_AT_LEAST,
        }
    }

    /// The entry of a process, if there is one.
    pub(super) fn find(&self, life: u64) -> Option<&Entry<V>> {
        self.lives.get(&life)
    }

    /// The entry of a process; a new one is of `time`.
    pub(super) fn entry(&mut self, life: u64, time: i64) -> &mut Entry<V> {
        self.lives.entry(life).or_insert_with(|| Entry {
            last: time,
            value: V::default(),
        })
    }

    /// Forgets what is too old when it is time to look, or when there is no room for `life`; says whether it looked.
    pub(super) fn make_room(&mut self, life: u64, time: i64) -> bool {
        self.latest = self.latest.max(time);
        self.until_sweep = self.until_sweep.saturating_sub(1);
        let is_full = self.lives.len() >= MOST_LIVES && !self.lives.contains_key(&life);
        if self.until_sweep > 0 && !is_full {
            return false;
        }
        let (latest, keep) = (self.latest, self.keep);
        self.lives
            .retain(|_, entry| latest.saturating_sub(entry.last) <= keep);
        if is_full && self.lives.len() >= MOST_LIVES {
            self.forget_oldest(MOST_LIVES / 8);
        }
        // As many steps as there are entries to look at, so that a step costs the same however many there are.
        self.until_sweep = self.lives.len().max(SWEEP_AT_LEAST);
        true
    }

    /// All values, to be looked over after a sweep.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.lives.values_mut().map(|entry| &mut entry.value)
    }

    /// Many at once, for finding the oldest means looking at all.
    fn forget_oldest(&mut self, count: usize) {
        let mut times: Vec<i64> = self.lives.values().map(|entry| entry.last).collect();
        let (_, newest_to_go, _) = times.select_nth_unstable(count - 1);
        let newest_to_go = *newest_to_go;
        // All may be of one time; then it is any of them.
        let mut left = count;
        self.lives.retain(|_, entry| {
            let goes = left > 0 && entry.last <= newest_to_go;
            left -= usize::from(goes);
            !goes
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lives.len()
    }
}

/// How many processes are remembered at most; then the oldest are forgotten.
pub(super) const MOST_LIVES: usize = 65_536;

const SWEEP_AT_LEAST: usize = 1024;
