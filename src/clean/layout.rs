//! How the new log lies in the bytes of the old one.

use crate::log::front::Ground;

/// What is done to the old log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Its first blocks are taken out, and what stays is not touched.
    Collapse,
    /// Its first lines are blanked: they fill no block.
    Blank,
    /// It is emptied: nothing stays.
    Empty,
    /// What stays is copied, or shared, into a file beside it.
    Copy,
}

/// The new log is the old one from `from` on, with `lead` blanks and the saved lines written over
/// what stood before the place of the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) way: Way,
    /// What of the old log becomes the first byte of the new one.
    pub(super) from: u64,
    /// Blanks in front of the first line.
    pub(super) lead: u64,
}

impl Layout {
    /// Lays out a log of `len` bytes that is cut at `at`, with `saved` bytes of lines in front of
    /// that. What cannot go because it fills no block becomes blanks: every reader of JSON takes
    /// them in front of a line.
    pub(super) fn of(ground: Ground, at: u64, saved: u64, len: u64) -> Self {
        let front = at - saved;
        let in_blocks = |way, block| Self {
            way,
            from: front - front % block,
            lead: front % block,
        };
        let small = len - at < SMALL;
        match ground {
            _ if front == len => in_blocks(Way::Empty, 1),
            Ground::Collapses(block) if front >= block => in_blocks(Way::Collapse, block),
            Ground::Collapses(block) if !small && saved == 0 => in_blocks(Way::Blank, block),
            Ground::Clones(block) if !small => in_blocks(Way::Copy, block),
            _ => in_blocks(Way::Copy, 1),
        }
    }

    /// The size of the new log when the old one has `len` bytes.
    pub(super) fn size(&self, len: u64) -> u64 {
        len - self.from
    }

    /// What stands in the new log before the lines that stay as they are.
    pub(super) fn front(&self, saved: &[u8]) -> Vec<u8> {
        let mut front = vec![b' '; self.lead as usize];
        front.extend_from_slice(saved);
        front
    }
}

/// So little is copied without asking for more.
const SMALL: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_are_taken_out_and_the_rest_becomes_blanks() {
        let big = 10 << 20;
        for (ground, at, saved, len, way, from, lead) in [
            (
                Ground::Collapses(4096),
                10_000,
                0,
                big,
                Way::Collapse,
                8192,
                1808,
            ),
            (
                Ground::Collapses(4096),
                10_000,
                100,
                big,
                Way::Collapse,
                8192,
                1708,
            ),
            (
                Ground::Collapses(4096),
                8192,
                0,
                9000,
                Way::Collapse,
                8192,
                0,
            ),
            (
                Ground::Collapses(4096),
                10_000,
                9000,
                big,
                Way::Copy,
                1000,
                0,
            ),
            (Ground::Collapses(4096), 4095, 0, big, Way::Blank, 0, 4095),
            (Ground::Collapses(4096), 4095, 0, 9000, Way::Copy, 4095, 0),
            (Ground::Clones(4096), 10_000, 0, big, Way::Copy, 8192, 1808),
            (
                Ground::Clones(4096),
                10_000,
                0,
                20_000,
                Way::Copy,
                10_000,
                0,
            ),
            (
                Ground::Collapses(4096),
                10_000,
                0,
                10_000,
                Way::Empty,
                10_000,
                0,
            ),
            (Ground::Plain, 10_000, 0, 10_000, Way::Empty, 10_000, 0),
            (
                Ground::Collapses(4096),
                10_000,
                9,
                10_000,
                Way::Collapse,
                8192,
                1799,
            ),
            (Ground::Plain, 10_000, 10, big, Way::Copy, 9990, 0),
        ] {
            let layout = Layout::of(ground, at, saved, len);
            assert_eq!(layout, Layout { way, from, lead }, "{ground:?} {at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_in_front_fits_exactly(at in 0_u64..20_000_000, saved in 0_u64..1_000_000, behind in 0_u64..3_000_000, shift in 9_u32..17, kind in 0..3) {
            let saved = saved.min(at);
            let block = 1 << shift;
            let ground = [Ground::Collapses(block), Ground::Clones(block), Ground::Plain][kind as usize];
            let layout = Layout::of(ground, at, saved, at + behind);
            prop_assert_eq!(layout.from + layout.lead + saved, at);
            prop_assert_eq!(layout.size(at + behind), layout.lead + saved + behind);
            prop_assert!(layout.lead < block);
            prop_assert!(layout.way != Way::Collapse || (layout.from > 0 && layout.from.is_multiple_of(block)));
        }
    }
}
