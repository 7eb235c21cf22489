//! monitored.jsonl.

use std::fs;
use std::path::Path;

use fsmon::monitored::store::lines;
use fsmon::monitored::{BadLine, Store, Watch, WatchOptions};

pub fn body(bytes: &[u8]) {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("monitored.jsonl");
    fs::write(&path, bytes).expect("room for a store");
    let store = Store::open(&path, None);
    let (watches, bad) = store.load().expect("any bytes can be loaded");
    bad_lines_are_told_by_their_numbers(bytes, &bad);

    // Looking changes nothing.
    let (_, again) = store.edit(|_| Ok(())).expect("an edit that edits nothing");
    assert_eq!(
        (fs::read(&path).expect("still there"), &again),
        (bytes.to_vec(), &bad)
    );

    let group = "added".parse().expect("a group");
    let options = WatchOptions::default();
    let added = Watch::new(group, Path::new("/added"), &options).expect("a watch");
    let mut wanted = watches.clone();
    wanted.add_or_replace(added.clone());
    store
        .edit(|set| Ok(set.add_or_replace(added)))
        .expect("what was loaded can be written");
    let written = fs::read(&path).expect("still there");
    let (now, still_bad) = store.load().expect("what was written can be loaded");
    assert_eq!(texts(&still_bad), texts(&bad));
    for line in &bad {
        let raw = bytes.split(|byte| *byte == b'\n').nth(line.number - 1);
        let mut kept = written.split(|byte| *byte == b'\n');
        assert!(kept.any(|kept| Some(kept) == raw), "a bad line has gone");
    }
    let said = |set| lines(set).expect("every watch has a line");
    let (mut said_now, mut said_wanted) = (said(&now), said(&wanted));
    // Groups keep the place of their first line, which may be behind that of another's first watch.
    said_now.sort();
    said_wanted.sort();
    assert_eq!(said_now, said_wanted);
    assert_eq!(now.watches.len(), wanted.watches.len());
    assert!(
        now.iter()
            .all(|watch| wanted.find(&watch.group, &watch.path) == Some(watch))
    );
}

fn bad_lines_are_told_by_their_numbers(bytes: &[u8], bad: &[BadLine]) {
    let all: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    assert!(bad.is_sorted_by_key(|line| line.number));
    for line in bad {
        let text = String::from_utf8_lossy(all[line.number - 1]);
        assert_eq!(line.text, text);
        assert!(!line.why.is_empty());
        assert!(!line.why.contains('\n'), "{:?}", line.why);
    }
    // What is no JSON is bad, but for blank lines.
    for (index, line) in all.iter().enumerate() {
        let is_json = serde_json::from_slice::<serde_json::Value>(line).is_ok();
        let is_told = bad.iter().any(|bad| bad.number == index + 1);
        assert!(is_told || is_json || line.trim_ascii().is_empty());
    }
}

fn texts(bad: &[BadLine]) -> Vec<&str> {
    bad.iter().map(|line| line.text.as_str()).collect()
}
