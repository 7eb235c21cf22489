//! What was seen in all, told at the end.

use std::collections::HashMap;
use std::fmt::Write as _;

use fsmon::event::{EventType, FileEvent};

use super::look::{harmless, in_full};

/// Counts what was seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kinds: [u64; EventType::ALL.len()],
    processes: Counts<(u32, String)>,
    paths: Counts<Vec<u8>>,
    alerts: u64,
    lost: u64,
    is_lost_known: bool,
    gaps: u64,
}

/// How often each of many things was seen, the rarest of too many left out.
#[derive(Debug)]
struct Counts<K> {
    counts: HashMap<K, u64>,
    is_cut: bool,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self {
            counts: HashMap::new(),
            is_cut: false,
        }
    }
}

impl<K: std::hash::Hash + Eq + Ord + Clone> Counts<K> {
    fn add(&mut self, key: K) {
        if self.counts.len() >= MOST && !self.counts.contains_key(&key) {
            // The busiest are asked for, so what was seen least goes.
            let mut all: Vec<u64> = self.counts.values().copied().collect();
            let (_, middle, _) = all.select_nth_unstable(MOST / 2);
            let least = *middle;
            self.counts.retain(|_, count| *count > least);
            self.is_cut = true;
        }
        *self.counts.entry(key).or_default() += 1;
    }

    fn busiest(&self) -> Vec<(&K, u64)> {
        let mut all: Vec<_> = self
            .counts
            .iter()
            .map(|(key, count)| (key, *count))
            .collect();
        all.sort_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
        all.truncate(SHOWN);
        all
    }
}

impl Tally {
    pub(crate) fn event(&mut self, event: &FileEvent) {
        self.kinds[event.kind as usize] += 1;
        self.processes.add((event.pid, event.cmd.to_string()));
        self.paths.add(event.path.clone());
    }

    pub(crate) fn alert(&mut self) {
        self.alerts += 1;
    }

    pub(crate) fn gap(&mut self, lost: Option<u64>) {
        self.gaps += 1;
        self.is_lost_known = lost.is_some() && (self.gaps == 1 || self.is_lost_known);
        self.lost = self.lost.saturating_add(lost.unwrap_or(0));
    }

    /// The summary, a few lines.
    pub(crate) fn tell(&self) -> String {
        let all: u64 = self.kinds.iter().sum();
        let mut text = format!("{all} events");
        let mut kinds: Vec<_> = EventType::ALL
            .into_iter()
            .map(|kind| (self.kinds[kind as usize], kind))
            .filter(|(count, _)| *count > 0)
            .collect();
        kinds.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(count, kind)| format!("{kind} {count}"))
            .collect();
        if !kinds.is_empty() {
            text += &format!(": {}", kinds.join(", "));
        }
        text.push('\n');
        if self.alerts > 0 {
            text += &format!("{} alerts\n", self.alerts);
        }
        let name = |(pid, cmd): &(u32, String)| format!("{} {pid}", harmless(cmd));
        list("busiest processes", &self.processes, name, &mut text);
        list(
            "busiest paths",
            &self.paths,
            |path| in_full(path),
            &mut text,
        );
        match (self.gaps, self.is_lost_known) {
            (0, _) => text += "nothing was lost\n",
            (_, true) => text += &format!("LOST: {} events\n", self.lost),
            (_, false) => text += &format!("LOST: at least {} events\n", self.lost),
        }
        text
    }
}

fn list<K: std::hash::Hash + Eq + Ord + Clone>(
    title: &str,
    counts: &Counts<K>,
    name: impl Fn(&K) -> String,
    text: &mut String,
) {
    let busiest = counts.busiest();
    if busiest.is_empty() {
        return;
    }
    let about = if counts.is_cut { " (about)" } else { "" };
    *text += &format!("{title}{about}:\n");
    let width = busiest[0].1.to_string().len();
    for (key, count) in busiest {
        writeln!(text, "  {count:>width$}  {}", name(key)).expect("a String takes every write");
    }
}

/// So many are shown.
const SHOWN: usize = 5;
/// So many are counted at once.
const MOST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_are_found_among_very_many() {
        let mut counts = Counts::default();
        for number in 0..100_000 {
            counts.add(number);
            counts.add(7);
        }
        assert!(counts.counts.len() <= MOST && counts.is_cut);
        assert_eq!(counts.busiest()[0].0, &7);
    }

    #[test]
    fn holes_are_told_with_what_is_known() {
        let mut tally = Tally::default();
        assert!(tally.tell().contains("nothing was lost"));
        tally.gap(Some(5));
        assert!(tally.tell().contains("LOST: 5 events"));
        tally.gap(None);
        tally.gap(Some(2));
        assert!(tally.tell().contains("LOST: at least 7 events"));
    }
}
