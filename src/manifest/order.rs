//! In which order what came to be under names can have come to be there.

use std::collections::{BTreeMap, HashMap};

use super::above;
use super::compare::Found;
use crate::event::EventType;

/// Puts it in such an order: a name is free, and the directory that it is in is there, before it is taken. Names that
/// went round in a ring were exchanged. What has no order otherwise is told as removed here and made there, as far as
/// it is a file.
pub(super) fn in_order(made: BTreeMap<&[u8], Found>) -> Vec<Found> {
    let leaving = made
        .iter()
        .filter_map(|(to, found)| Some((found.from.clone()?, *to)));
    let mut order = Order {
        told: Vec::with_capacity(made.len()),
        leaving: leaving.collect(),
        made,
    };
    while let Some((first, _)) = order.made.first_key_value() {
        // What has to come before, the last first.
        let mut waiting = vec![*first];
        while let Some(path) = waiting.last().copied() {
            let before = order.before(path);
            match before.iter().find(|other| !waiting.contains(*other)) {
                Some(other) => waiting.push(*other),
                None => order.go_on(&mut waiting, &before),
            }
            waiting.retain(|path| order.made.contains_key(path));
        }
    }
    order.told
}

struct Order<'a> {
    /// What is not told yet, by its name.
    made: BTreeMap<&'a [u8], Found>,
    /// Who had which name before.
    leaving: HashMap<Vec<u8>, &'a [u8]>,
    told: Vec<Found>,
}

impl<'a> Order<'a> {
    /// What is not told yet and has to come before.
    fn before(&self, path: &'a [u8]) -> Vec<&'a [u8]> {
        let holds = above(path).next();
        let holds = holds.filter(|dir| self.made.contains_key(dir));
        let frees = self.leaving.get(path).copied();
        let frees = frees.filter(|other| self.made.contains_key(other));
        let all = [holds, self.holds_before(path), frees];
        all.into_iter().flatten().collect()
    }

    /// The directory with its name before, which is told with the name that this directory has now.
    fn holds_before(&self, path: &[u8]) -> Option<&'a [u8]> {
        let from = self.made.get(path)?.from.as_deref()?;
        let mut dirs = above(from).filter_map(|dir| self.made.get_key_value(dir));
        dirs.next().map(|(dir, _)| *dir)
    }

    /// Tells the last of those that wait for one another, or what makes a way for it.
    fn go_on(&mut self, waiting: &mut Vec<&'a [u8]>, before: &[&'a [u8]]) {
        let since = |first: &&[u8]| waiting.iter().position(|path| path == first);
        let knots = before.iter().filter_map(since).map(|at| &waiting[at..]);
        let knots: Vec<_> = knots.collect();
        let ring = knots.iter().find(|knot| self.is_ring(knot));
        let split = knots.iter().find_map(|knot| self.splittable(knot));
        match (ring, split) {
            (Some(ring), _) => self.exchange(ring),
            (None, Some(name)) => {
                self.split(name);
                // Who waits for whom is another thing now.
                waiting.clear();
            }
            (None, None) => {
                let last = waiting.last().and_then(|last| self.made.remove(last));
                self.told.extend(last);
            }
        }
    }

    /// Each with the one before it, which waits for it, and the first with the last.
    fn pairs(knot: &[&'a [u8]]) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        let last = knot.len() - 1;
        (0..knot.len()).map(move |at| (knot[at.checked_sub(1).unwrap_or(last)], knot[at]))
    }

    /// Whether the one had the name of the other.
    fn had(&self, path: &[u8], name: &[u8]) -> bool {
        let found = self.made.get(path);
        found.is_some_and(|found| found.from.as_deref() == Some(name))
    }

    fn is_ring(&self, knot: &[&'a [u8]]) -> bool {
        Self::pairs(knot).all(|(waits, path)| self.had(path, waits))
    }

    /// A file that can be told in two parts, so that the one that waits for its old name need not.
    fn splittable(&self, knot: &[&'a [u8]]) -> Option<&'a [u8]> {
        let can_be_split = |(waits, path): &(&'a [u8], &'a [u8])| {
            self.had(path, waits)
                && self.made.get(path).is_some_and(|found| !found.is_dir)
                && self.holds_before(path).is_none()
        };
        let found = Self::pairs(knot).rev().find(can_be_split);
        found.map(|(_, path)| path)
    }

    fn split(&mut self, path: &[u8]) {
        if let Some(found) = self.made.get_mut(path)
            && let Some(from) = found.from.take()
        {
            self.leaving.remove(&from);
            let mut end = found.clone();
            found.kind = EventType::Create;
            (end.kind, end.path) = (EventType::Delete, from);
            self.told.push(end);
        }
    }

    /// One exchange after the other, each of the first name and another one.
    fn exchange(&mut self, ring: &[&'a [u8]]) {
        let Some((first, others)) = ring.split_first() else {
            return;
        };
        let back = self.made.remove(first);
        for name in others {
            let Some(mut there) = self.made.remove(name) else {
                continue;
            };
            if there.from.as_deref() != Some(*first) {
                let on_its_way = Found {
                    path: first.to_vec(),
                    ..there.clone()
                };
                self.told.push(on_its_way);
                there.from = Some(first.to_vec());
            }
            self.told.push(there);
        }
        self.told.extend(back);
    }
}
