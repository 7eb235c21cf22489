//! The journal, whoever wrote it.

use fsmon::event::WallTime;
use fsmon::log::written::read_entry;
use fsmon::query::account::{End, Item, account};

pub fn body(bytes: &[u8]) {
    let mut items = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        match read_entry(line) {
            Some(entry) => items.push(Item::Line(Box::new(entry))),
            None => items.push(Item::Break),
        }
    }
    let times = items.iter().filter_map(|item| match item {
        Item::Line(line) => Some(line.time),
        Item::Break => None,
    });
    let last = times.max().unwrap_or(WallTime(0));
    for end in [End::Running(last), End::Silent(last)] {
        let told = account(&items, end);
        for story in &told.stories {
            assert!(!story.pieces.is_empty(), "{story:?}");
            for piece in &story.pieces {
                assert!(piece.from <= piece.to, "{story:?}");
            }
        }
        for compared in &told.compared {
            let mut pieces = told.stories.iter().flat_map(|story| &story.pieces);
            pieces.any(|piece| compared.is_about(piece));
        }
    }
}
