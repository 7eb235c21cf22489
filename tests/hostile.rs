//! Hostile input: what must hold for any bytes, on the kept seeds and on bytes made up from them.
//!
//! The claims stand in `tests/fuzz/bodies`; `tests/fuzz` lets a fuzzer loose on the same functions. What either
//! finds is kept in `tests/data/fuzz/<edge>`, and runs here from then on.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a claim that fails is a panic, and its seed is named; the bodies are a library of the fuzz targets, too"
)]

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use fsmon::fid_parser::bits;
use fsmon::fid_parser::wire::records;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// Every edge at which bytes come in, how many made-up ones it is tried with, and what must hold for them.
macro_rules! edges {
    ($($edge:ident: $cases:literal;)*) => {
        const EDGES: &[&str] = &[$(stringify!($edge)),*];
        $(
            #[test]
            fn $edge() {
                hold(stringify!($edge), $cases, bodies::$edge::body);
            }
        )*
    };
}

edges! {
    config: 300;
    fanotify: 500;
    filters: 500;
    journal: 300;
    line: 120;
    log: 120;
    manifest: 300;
    netlink: 500;
    pipeline: 250;
    policy: 200;
    request: 150;
    ring: 300;
    store: 120;
}

#[test]
fn every_edge_has_a_target_and_seeds() {
    let named = |folder: &str| {
        let mut names: Vec<String> = entries(folder)
            .iter()
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(named("tests/fuzz/targets"), EDGES);
    assert_eq!(named("tests/data/fuzz"), EDGES);
    let manifest = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).unwrap();
    for edge in EDGES {
        let target = fs::read_to_string(root().join(format!("tests/fuzz/targets/{edge}.rs")));
        let call = format!("fuzz_target!(|bytes: &[u8]| bodies::{edge}::body(bytes));");
        assert!(target.unwrap().contains(&call), "{edge}");
        let path = format!("path = \"targets/{edge}.rs\"");
        assert!(manifest.contains(&path), "{edge}");
        assert!(
            !entries(&format!("tests/data/fuzz/{edge}")).is_empty(),
            "{edge}"
        );
    }
}

/// What the kernel said of the commands in `tests/data/seeds.md`.
#[test]
fn a_recorded_queue_tells_of_what_was_done() {
    for filesystem in ["ext4", "tmpfs"] {
        let path = format!("tests/data/fuzz/fanotify/{filesystem}");
        let queue = fs::read(root().join(path)).unwrap();
        let read: Vec<_> = records(&queue).collect::<Result<_, _>>().unwrap();
        let named = |bit: u64| -> BTreeSet<&[u8]> {
            let with_bit = read.iter().filter(|record| record.mask & bit != 0);
            with_bit
                .filter_map(|record| Some(record.entry.or(record.new)?.name))
                .collect()
        };
        let all: [&[u8]; 8] = [b"a", b"b", b"c", b"f", b"g", b"h", b"n\n\xff", b"s"];
        let those = |names: &str| -> BTreeSet<&[u8]> {
            let is_named = |name: &&&[u8]| names.as_bytes().contains(&name[0]);
            all.iter().filter(is_named).copied().collect()
        };
        assert_eq!(named(bits::CREATE), those("abfhns"), "{filesystem}");
        assert_eq!(named(bits::RENAME), those("gc"), "{filesystem}");
        assert_eq!(named(bits::DELETE), those("bcghns"), "{filesystem}");
    }
}

/// Seeds as they are, then what becomes of them when bytes are changed, left out, doubled and put together.
fn hold(edge: &str, cases: u32, body: fn(&[u8])) {
    let mut seeds = vec![Vec::new()];
    for path in entries(&format!("tests/data/fuzz/{edge}")) {
        let seed = fs::read(&path).unwrap();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&seed))) {
            eprintln!("the seed is {}", path.display());
            resume_unwind(panic);
        }
        seeds.push(seed);
    }
    let config = Config {
        cases,
        // What is found is to be kept as a seed, by its name.
        failure_persistence: None,
        ..Config::default()
    };
    let changed = (
        any::<Index>(),
        any::<Index>(),
        proptest::collection::vec(change(), 0..6),
    )
        .prop_map(move |(one, other, changes)| {
            let other = other.get(&seeds);
            let mut bytes = one.get(&seeds).clone();
            changes
                .iter()
                .for_each(|change| change.apply(&mut bytes, other));
            bytes
        });
    let soup = proptest::collection::vec(any::<u8>(), 0..600);
    TestRunner::new(config)
        .run(&prop_oneof![3 => changed, 1 => soup], |bytes| {
            body(&bytes);
            Ok(())
        })
        .unwrap();
}

#[derive(Clone, Debug)]
enum Change {
    Put(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Double(Index, u8),
    /// The end becomes that of another seed.
    Cross(Index, Index),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let special = prop_oneof![
        any::<u8>(),
        prop::sample::select(&[0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'\\', b'{', b'}', b'['][..]),
    ];
    let bytes = proptest::collection::vec(any::<u8>(), 1..12);
    prop_oneof![
        (any::<Index>(), special).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, count)| Change::Double(at, count)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, from)| Change::Cross(at, from)),
        any::<Index>().prop_map(Change::Cut),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, other: &[u8]) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Put(at, byte) => {
                let at = place(at, bytes);
                bytes.splice(at..(at + 1).min(bytes.len()), [*byte]);
            }
            Self::Flip(at, bit) => {
                let at = place(at, bytes);
                bytes
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Insert(at, new) => {
                let at = place(at, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at, bytes);
                bytes.drain(at..(at + usize::from(*count)).min(bytes.len()));
            }
            Self::Double(at, count) => {
                let at = place(at, bytes);
                let part = bytes[at..(at + usize::from(*count)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            Self::Cross(at, from) => {
                bytes.truncate(place(at, bytes));
                bytes.extend(&other[place(from, other)..]);
            }
            Self::Cut(at) => bytes.truncate(place(at, bytes)),
        }
    }
}

/// The files of a folder, sorted.
fn entries(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
