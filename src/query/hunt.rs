//! Lines of a block that hold one of some texts.

use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use crate::log::escape::push_escaped;

/// Texts to look for in lines. A line with a backslash in it is always among those found: by that any
/// letter can be written in another way.
#[derive(Debug, Default)]
pub(super) struct Hunt {
    finders: Vec<Finder<'static>>,
}

impl Hunt {
    /// A hunt for these texts.
    pub(super) fn of(texts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let finders = texts
            .into_iter()
            .map(|text| Finder::new(&text).into_owned());
        Self {
            finders: finders.collect(),
        }
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_idle(&self) -> bool {
        self.finders.is_empty()
    }

    /// Shows each line of `block` that holds one of the texts, until `each` has had enough.
    pub(super) fn each(&self, block: &[u8], mut each: impl FnMut(Range<usize>) -> bool) {
        let mut hits: Vec<Hits<'_>> = self
            .finders
            .iter()
            .map(|finder| Hits::of(finder, block))
            .collect();
        let mut odd = memchr(b'\\', block);
        while let Some(at) = hits.iter().filter_map(|hits| hits.next).chain(odd).min() {
            let start = memrchr(b'\n', &block[..at]).map_or(0, |at| at + 1);
            let end = line_end(block, at);
            if !each(start..end) {
                return;
            }
            hits.iter_mut().for_each(|hits| hits.go_on_from(end));
            if odd.is_some_and(|odd| odd < end) {
                odd = memchr(b'\\', &block[end..]).map(|at| at + end);
            }
        }
    }
}

/// What a line holds in which a path begins with the components of `path`, or in which it could.
pub(super) fn text_of(path: &[u8]) -> Vec<u8> {
    if str::from_utf8(path).is_err() {
        // Only the exact bytes can say it, and those stand there as hex in either case.
        return b"_raw\"".to_vec();
    }
    let mut text = Vec::new();
    push_escaped(path, &mut text);
    text
}

/// Where the line ends in which `at` lies.
pub(super) fn line_end(block: &[u8], at: usize) -> usize {
    memchr(b'\n', &block[at..]).map_or(block.len(), |length| at + length + 1)
}

/// The places of one text in a block.
struct Hits<'a> {
    finder: &'a Finder<'static>,
    block: &'a [u8],
    next: Option<usize>,
}

impl<'a> Hits<'a> {
    fn of(finder: &'a Finder<'static>, block: &'a [u8]) -> Self {
        let next = finder.find(block);
        Self {
            finder,
            block,
            next,
        }
    }

    fn go_on_from(&mut self, from: usize) {
        if self.next.is_some_and(|next| next < from) {
            self.next = self.finder.find(&self.block[from..]).map(|at| at + from);
        }
    }
}
