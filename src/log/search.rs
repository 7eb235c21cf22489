//! Finding a key among items that stand at offsets and are ordered by it: the lines of a log by time.

use std::fs::File;
use std::io;

use super::line::time_of;
use super::source::Lines;
use crate::event::WallTime;

/// Items at offsets, in the order of their keys. There may be stretches without any item.
pub trait Ordered {
    /// What the items are ordered by.
    type Key: Ord;
    /// What can go wrong on looking.
    type Error;

    /// The first item that begins at `position` or behind it, but before `limit`.
    fn first_from(
        &mut self,
        position: u64,
        limit: u64,
    ) -> Result<Option<Found<Self::Key>>, Self::Error>;
}

/// An item that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<K> {
    /// Where it begins.
    pub start: u64,
    /// Where what follows it begins.
    pub end: u64,
    /// Its key.
    pub key: K,
}

/// The offset of the first item between `from` and `to` whose key is not below `key`; `to` when
/// there is none. Items may be of any length: no look-back is guessed.
///
/// With the keys 1 3 3 7 at offsets 0 10 20 30, looking for 3 gives 10, for 4 gives 30, for 8
/// gives 40, the end.
pub fn lower_bound<O: Ordered>(
    items: &mut O,
    from: u64,
    to: u64,
    key: &O::Key,
) -> Result<u64, O::Error> {
    // Items that begin before `low` are below the key; `answer` is the first known one that is not.
    let (mut low, mut high, mut answer) = (from, to, to);
    while low < high {
        let middle = low + (high - low) / 2;
        match items.first_from(middle, high)? {
            Some(found) if found.key < *key => low = found.end,
            Some(found) => {
                answer = found.start;
                high = middle;
            }
            None => high = middle,
        }
    }
    Ok(answer)
}

/// The offset of the first line before `end` whose time is not below `time`; `end` when there is
/// none. Lines without a time are passed over.
pub fn first_line_from(file: &File, end: u64, time: WallTime) -> io::Result<u64> {
    let mut probe = Probe {
        lines: Lines::new(file, 0, end, PROBE_BLOCK),
        end,
    };
    lower_bound(&mut probe, 0, end, &time)
}

/// The offset of the first line before `end` whose time is above `time`; `end` when there is none.
pub fn first_line_behind(file: &File, end: u64, time: WallTime) -> io::Result<u64> {
    match time.0.checked_add(1) {
        Some(behind) => first_line_from(file, end, WallTime(behind)),
        None => Ok(end),
    }
}

/// A log as items ordered by time; lines without one are not seen.
struct Probe<'f> {
    lines: Lines<&'f File>,
    end: u64,
}

impl Ordered for Probe<'_> {
    type Key = WallTime;
    type Error = io::Error;

    fn first_from(&mut self, position: u64, limit: u64) -> io::Result<Option<Found<WallTime>>> {
        self.lines.seek_after(position, self.end)?;
        while let Some(line) = self.lines.next_line()? {
            if line.start >= limit {
                break;
            }
            if !line.overlong
                && let Some(key) = time_of(line.bytes)
            {
                return Ok(Some(Found {
                    start: line.start,
                    end: line.end,
                    key,
                }));
            }
        }
        Ok(None)
    }
}

const PROBE_BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Items of some length, a key or none.
    struct Model(Vec<(u64, Option<u8>)>);

    impl Model {
        fn items(&self) -> impl Iterator<Item = Found<u8>> {
            let mut at = 0;
            self.0.iter().filter_map(move |(length, key)| {
                let start = at;
                at += length;
                key.map(|key| Found {
                    start,
                    end: at,
                    key,
                })
            })
        }

        fn len(&self) -> u64 {
            self.0.iter().map(|(length, _)| length).sum()
        }
    }

    impl Ordered for Model {
        type Key = u8;
        type Error = Infallible;

        fn first_from(
            &mut self,
            position: u64,
            limit: u64,
        ) -> Result<Option<Found<u8>>, Infallible> {
            Ok(self
                .items()
                .find(|item| (position..limit).contains(&item.start)))
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_a_walk(
            mut keys in proptest::collection::vec(0_u8..20, 0..40),
            lengths in proptest::collection::vec((1_u64..30, 0..4), 40),
            wanted in 0_u8..22,
        ) {
            keys.sort_unstable();
            let mut keys = keys.into_iter();
            let mut model = Model(lengths.into_iter().map(|(length, keyed)| (length, if keyed > 0 { keys.next() } else { None })).collect());
            let expected = model.items().find(|item| item.key >= wanted).map_or(model.len(), |item| item.start);
            let end = model.len();
            prop_assert_eq!(lower_bound(&mut model, 0, end, &wanted), Ok(expected));
        }
    }

    #[test]
    fn one_item_longer_than_all_others_does_not_lead_astray() {
        let mut items: Vec<_> = (0..100).map(|key| (10, Some(key))).collect();
        items.insert(50, (1_000_000, Some(50)));
        let mut model = Model(items);
        let end = model.len();
        assert_eq!(lower_bound(&mut model, 0, end, &50), Ok(500));
        assert_eq!(lower_bound(&mut model, 0, end, &51), Ok(1_000_510));
    }
}
