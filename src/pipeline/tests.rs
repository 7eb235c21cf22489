//! Whole steps with records built by hand and a probe that answers from a table.

use std::collections::HashMap;
use std::path::Path;

use super::probe::{Probe, Whereabouts};
use super::*;
use crate::event::EventType;
use crate::fid_parser::bits;
use crate::fid_parser::wire::build::{event, info_fid};
use crate::monitored::{Watch, WatchOptions};
use crate::proc_cache::ProcLimits;

const FSID: u64 = 7;
const FS: FsId = 1;
const US: u32 = 4_000_000;
const P: u32 = 4_100_000;
const Q: u32 = 4_200_000;

/// What the kernel would say now, and what it has still in its queue.
#[derive(Default)]
struct Table {
    places: HashMap<Vec<u8>, Whereabouts>,
    queue: Vec<Vec<u8>>,
    asked: Vec<Vec<u8>>,
}

impl Probe for Table {
    fn place_of(&mut self, dir: &HandleKey) -> Option<Whereabouts> {
        self.asked.push(dir.bytes().to_vec());
        Some(
            self.places
                .get(dir.bytes())
                .cloned()
                .unwrap_or(Whereabouts::Gone),
        )
    }

    fn handle_at(&mut self, _: &HandleKey, _: &[u8]) -> Option<HandleKey> {
        None
    }

    fn size_of(&mut self, _: Option<&HandleKey>, _: &[u8]) -> Option<u64> {
        Some(5)
    }

    fn is_whiteout(&mut self, object: &HandleKey) -> Option<bool> {
        Some(object.bytes() == b"whiteout")
    }

    fn read_on(&mut self, into: &mut Vec<Batch>) {
        into.extend(self.queue.drain(..).map(batch));
    }
}

fn key(handle: &str) -> HandleKey {
    HandleKey::new(FS, 1, handle.as_bytes())
}

fn is_in(parent: &str, name: &str) -> Whereabouts {
    Whereabouts::In {
        parent: key(parent),
        name: name.into(),
    }
}

fn batch(bytes: Vec<u8>) -> Batch {
    Batch {
        bytes,
        from: 1,
        mono: 2,
        wall: WallTime(3),
        ..Batch::default()
    }
}

/// A record about an entry: `mask` of `pid`, `name` in the directory `dir`, the object `child`.
fn entry(mask: u64, pid: u32, dir: &str, name: &str, child: &str) -> Vec<u8> {
    let infos = [
        info_fid(2, FSID, dir.as_bytes(), Some(name.as_bytes())),
        info_fid(1, FSID, child.as_bytes(), None),
    ];
    event(mask, pid, &infos)
}

/// A record about an object alone; a directory is named `.` in itself.
fn alone(mask: u64, pid: u32, object: &str) -> Vec<u8> {
    if mask & bits::ONDIR != 0 {
        return event(
            mask,
            pid,
            &[info_fid(2, FSID, object.as_bytes(), Some(b"."))],
        );
    }
    event(mask, pid, &[info_fid(1, FSID, object.as_bytes(), None)])
}

fn rename(mask: u64, pid: u32, from: (&str, &str), to: (&str, &str), object: &str) -> Vec<u8> {
    let infos = [
        info_fid(10, FSID, from.0.as_bytes(), Some(from.1.as_bytes())),
        info_fid(12, FSID, to.0.as_bytes(), Some(to.1.as_bytes())),
        info_fid(1, FSID, object.as_bytes(), None),
    ];
    event(bits::RENAME | mask, pid, &infos)
}

struct Bench {
    pipeline: Pipeline,
    table: Table,
    lines: Vec<String>,
    now: u64,
}

impl Bench {
    /// The filesystem is mounted at /m, its root has the handle `top`.
    fn watching(watches: &[(&str, &str, bool, &[&str])]) -> Self {
        Self::speaking(false, watches)
    }

    fn speaking(legacy: bool, watches: &[(&str, &str, bool, &[&str])]) -> Self {
        let settings = Settings {
            own_pid: US,
            dir_capacity: 1000,
            dir_ttl: 3600,
            file_capacity: 100,
            chain_always: false,
            legacy,
        };
        let mut pipeline = Pipeline::new(settings, ProcTable::new(ProcLimits::default()));
        pipeline.learn_filesystem(0, FSID, FS);
        pipeline.set_mounts([MountPoint {
            root: key("top"),
            path: b"/m".to_vec(),
            is_top: true,
            work: None,
        }]);
        let mut set = WatchSet::default();
        for (group, path, recursive, types) in watches {
            let options = WatchOptions {
                recursive: Some(*recursive),
                types: (!types.is_empty())
                    .then(|| types.iter().map(|word| (*word).to_owned()).collect()),
                ..WatchOptions::default()
            };
            set.add_or_replace(
                Watch::new(group.parse().unwrap(), Path::new(path), &options).unwrap(),
            );
        }
        pipeline.set_watches(&set);
        Self {
            pipeline,
            table: Table::default(),
            lines: Vec::new(),
            now: 1_000_000_000,
        }
    }

    fn everything() -> Self {
        Self::watching(&[("_global", "/m", true, &["all"])])
    }

    /// Takes the records as one read; returns the lines as `KIND path pid`.
    fn read(&mut self, records: &[Vec<u8>]) -> Vec<String> {
        self.step(vec![batch(records.concat())])
    }

    fn step(&mut self, batches: Vec<Batch>) -> Vec<String> {
        let Self {
            pipeline,
            table,
            lines,
            now,
        } = self;
        *now += 1_000_000;
        pipeline.step(batches, *now, table, &mut |outcome| match outcome {
            Outcome::Log { group, event } => {
                let path = String::from_utf8_lossy(&event.path);
                let who = match event.pid {
                    P => "p".to_owned(),
                    Q => "q".to_owned(),
                    other => other.to_string(),
                };
                let group = if group.is_global() {
                    String::new()
                } else {
                    format!("{group}: ")
                };
                let other = event
                    .other_path
                    .as_ref()
                    .map(|other| format!(" <> {}", String::from_utf8_lossy(other)));
                lines.push(format!(
                    "{group}{} {path} {who}{}",
                    event.kind,
                    other.unwrap_or_default()
                ));
            }
            Outcome::Lost(loss) => lines.push(format!("LOST {:?}", loss.count)),
            Outcome::RootMayBeGone { root } => {
                lines.push(format!("GONE {}", String::from_utf8_lossy(root)))
            }
            Outcome::RootMayBeBack { root } => {
                lines.push(format!("BACK {}", String::from_utf8_lossy(root)))
            }
            Outcome::MountsMoved => lines.push("MOUNTS".to_owned()),
            Outcome::NewDirectory { .. } => {}
        });
        std::mem::take(lines)
    }
}

#[test]
fn a_tree_is_complete_from_its_first_microsecond() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "a", "A"),
        entry(bits::CREATE | bits::ONDIR, P, "A", "b", "B"),
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "B", "f", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a p",
            "CREATE /m/a/b p",
            "CREATE /m/a/b/f p",
            "CLOSE_WRITE /m/a/b/f p"
        ]
    );
    assert!(bench.table.asked.is_empty(), "everything was stated");
}

#[test]
fn a_never_seen_tree_is_placed_by_its_own_removal() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::DELETE, P, "B", "f", "f1"),
        entry(bits::DELETE | bits::ONDIR, P, "A", "b", "B"),
        entry(bits::DELETE | bits::ONDIR, P, "top", "a", "A"),
    ]);
    assert_eq!(
        lines,
        ["DELETE /m/a/b/f p", "DELETE /m/a/b p", "DELETE /m/a p"]
    );
}

#[test]
fn a_removal_that_is_not_read_yet_is_waited_for_and_not_for_ever() {
    let mut bench = Bench::everything();
    assert!(
        bench
            .read(&[entry(bits::DELETE, P, "A", "f", "f1")])
            .is_empty()
    );
    assert!(bench.pipeline.is_waiting());
    let lines = bench.read(&[entry(bits::DELETE | bits::ONDIR, P, "top", "a", "A")]);
    assert_eq!(lines, ["DELETE /m/a/f p", "DELETE /m/a p"]);

    assert!(
        bench
            .read(&[
                entry(bits::DELETE, P, "X", "f", "f2"),
                entry(bits::CREATE, P, "top", "g", "g1")
            ])
            .is_empty()
    );
    bench.now += 200_000_000;
    assert_eq!(bench.step(Vec::new()), ["LOST Some(1)", "CREATE /m/g p"]);
    assert_eq!(bench.pipeline.counts().unplaced, 1);
}

#[test]
fn an_answer_is_corrected_by_what_is_read_after_it() {
    let mut bench = Bench::everything();
    // Asked now, the directory is called `new`; the rename is still in the queue.
    bench
        .table
        .places
        .insert(b"D".to_vec(), is_in("top", "new"));
    bench
        .table
        .queue
        .push(rename(bits::ONDIR, P, ("top", "old"), ("top", "new"), "D"));
    let lines = bench.read(&[entry(bits::CREATE, P, "D", "f", "f1")]);
    assert_eq!(
        lines,
        [
            "CREATE /m/old/f p",
            "MOVED_FROM /m/old p <> /m/new",
            "MOVED_TO /m/new p <> /m/old"
        ]
    );
}

#[test]
fn every_event_has_the_path_of_its_own_time() {
    let mut bench = Bench::everything();
    bench.table.places.insert(b"D".to_vec(), is_in("top", "c"));
    let lines = bench.read(&[
        entry(bits::CREATE, P, "D", "1", "f1"),
        rename(bits::ONDIR, P, ("top", "a"), ("top", "b"), "D"),
        entry(bits::CREATE, P, "D", "2", "f2"),
        rename(bits::ONDIR, P, ("top", "b"), ("top", "c"), "D"),
        entry(bits::CREATE, P, "D", "3", "f3"),
    ]);
    let created: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("CREATE"))
        .collect();
    assert_eq!(
        created,
        ["CREATE /m/a/1 p", "CREATE /m/b/2 p", "CREATE /m/c/3 p"]
    );
}

#[test]
fn a_directory_made_and_removed_in_one_record_ends_behind_what_lay_in_it() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(
            bits::CREATE | bits::DELETE | bits::ONDIR,
            P,
            "top",
            "t",
            "T",
        ),
        entry(bits::CREATE | bits::DELETE, P, "T", "f", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/t p",
            "CREATE /m/t/f p",
            "DELETE /m/t/f p",
            "DELETE /m/t p"
        ]
    );
}

#[test]
fn the_shell_closes_what_sort_has_written() {
    let modify = bits::bit_of(EventType::Modify);
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "out", "f1"),
        entry(modify, Q, "top", "out", "f1"),
    ]);
    assert_eq!(
        lines,
        ["CREATE /m/out p", "MODIFY /m/out q", "CLOSE_WRITE /m/out p"]
    );
}

#[test]
fn the_end_of_an_object_comes_behind_its_use() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "a", "f1"),
        rename(0, P, ("top", "a"), ("top", "b"), "f1"),
        alone(bits::MOVE_SELF | bits::ATTRIB | bits::DELETE_SELF, P, "f1"),
        entry(bits::CLOSE_WRITE | bits::DELETE, P, "top", "b", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a p",
            "CLOSE_WRITE /m/a p",
            "MOVED_FROM /m/a p <> /m/b",
            "MOVED_TO /m/b p <> /m/a",
            "MOVE_SELF /m/b p",
            "CLOSE_WRITE /m/b p",
            "ATTRIB /m/b p",
            "DELETE_SELF /m/b p",
            "DELETE /m/b p",
        ]
    );
}

#[test]
fn there_and_back_and_there_again_is_found_out() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "D")]);
    // The third rename was merged into the first; only the disk knows.
    bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
    let lines = bench.read(&[
        rename(bits::ONDIR, P, ("top", "a"), ("top", "b"), "D"),
        rename(bits::ONDIR, P, ("top", "b"), ("top", "a"), "D"),
    ]);
    assert_eq!(
        lines[4..],
        ["MOVED_FROM /m/a p <> /m/b", "MOVED_TO /m/b p <> /m/a"]
    );
    assert_eq!(
        bench.read(&[entry(bits::CREATE, P, "D", "f", "f1")]),
        ["CREATE /m/b/f p"]
    );
}

#[test]
fn a_replaced_file_ends_at_the_name_it_lost() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        rename(0, P, ("top", "new"), ("top", "old"), "f1"),
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "f0"),
    ]);
    assert_eq!(lines[2..], ["ATTRIB /m/old p", "DELETE_SELF /m/old p"]);
}

#[test]
fn an_end_that_the_recorder_caused_is_the_removers_and_told_once() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE, P, "top", "f", "f1"),
        entry(bits::DELETE, P, "top", "f", "f1"),
        alone(bits::DELETE_SELF, US, "f1"),
    ]);
    assert_eq!(
        lines,
        ["CREATE /m/f p", "DELETE /m/f p", "DELETE_SELF /m/f p"]
    );
    let rest = bench.read(&[alone(bits::ATTRIB | bits::DELETE_SELF, Q, "f1")]);
    assert_eq!(rest, ["ATTRIB /m/f q"]);
    let nobody = bench.read(&[
        entry(bits::CREATE, P, "top", "g", "g1"),
        alone(bits::DELETE_SELF, US, "g1"),
    ]);
    assert_eq!(nobody[1], "DELETE_SELF /m/g 0");
}

#[test]
fn what_the_recorder_does_is_not_told_but_followed() {
    let mut bench = Bench::everything();
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, US, "top", "logs", "L"),
        entry(bits::CREATE, US, "L", "own", "o1"),
        entry(bits::CREATE, P, "L", "strange", "s1"),
    ]);
    assert_eq!(lines, ["CREATE /m/logs/strange p"]);
}

#[test]
fn a_record_that_waits_for_its_name_is_told_with_it() {
    let mut bench = Bench::everything();
    assert!(
        bench
            .read(&[alone(bits::ATTRIB | bits::DELETE_SELF, P, "f1")])
            .is_empty()
    );
    let lines = bench.read(&[entry(bits::DELETE, P, "top", "f", "f1")]);
    assert_eq!(
        lines,
        ["ATTRIB /m/f p", "DELETE_SELF /m/f p", "DELETE /m/f p"]
    );
}

#[test]
fn nameless_files_get_no_name_until_they_are_linked() {
    let open = bits::bit_of(EventType::Open);
    let mut bench = Bench::everything();
    assert!(bench.read(&[entry(open, P, "top", "#12", "f1")]).is_empty());
    let lines = bench.read(&[
        entry(bits::CLOSE_WRITE, P, "top", "#13", "f2"),
        entry(bits::CREATE, P, "top", "named", "f2"),
    ]);
    assert_eq!(lines, ["CREATE /m/named p", "CLOSE_WRITE /m/named p"]);
    assert_eq!(
        bench.read(&[entry(bits::CREATE, P, "top", "#14", "f3")]),
        ["CREATE /m/#14 p"],
        "a file may be called so"
    );
}

#[test]
fn the_deepest_watch_of_a_group_decides_and_each_group_gets_its_line() {
    let mut bench = Bench::watching(&[
        ("_global", "/m", true, &["CREATE"]),
        ("_global", "/m/a", true, &["DELETE"]),
        ("_global", "/m/file", false, &["CLOSE_WRITE"]),
        ("_global", "/m/flat", false, &[]),
    ]);
    let lines = bench.read(&[
        entry(bits::CREATE | bits::ONDIR, P, "top", "a", "A"),
        entry(bits::CREATE, P, "A", "f", "f1"),
        entry(bits::DELETE, P, "A", "f", "f1"),
        entry(bits::CREATE | bits::CLOSE_WRITE, P, "top", "file", "f2"),
        entry(bits::CREATE | bits::ONDIR, P, "top", "flat", "F"),
        entry(bits::CREATE | bits::ONDIR, P, "F", "d", "G"),
        entry(bits::DELETE, P, "G", "deeper", "f3"),
    ]);
    assert_eq!(
        lines,
        [
            "BACK /m/a",
            "DELETE /m/a/f p",
            "BACK /m/file",
            "CLOSE_WRITE /m/file p",
            "BACK /m/flat",
            "CREATE /m/flat p",
            "CREATE /m/flat/d p"
        ]
    );
}

#[test]
fn moves_over_the_edge_of_a_watch_show_their_inner_side() {
    let mut bench = Bench::watching(&[("_global", "/m/in", true, &[])]);
    bench
        .table
        .places
        .insert(b"IN".to_vec(), is_in("top", "in"));
    let lines = bench.read(&[
        rename(bits::ONDIR, P, ("top", "tree"), ("IN", "tree"), "T"),
        entry(bits::CREATE, P, "T", "f", "f1"),
        rename(bits::ONDIR, P, ("IN", "tree"), ("top", "away"), "T"),
        entry(bits::CREATE, P, "T", "g", "g1"),
        rename(bits::ONDIR, P, ("top", "in"), ("top", "elsewhere"), "IN"),
        entry(bits::CREATE, P, "IN", "h", "h1"),
    ]);
    assert_eq!(
        lines,
        [
            "MOVED_TO /m/in/tree p <> /m/tree",
            "CREATE /m/in/tree/f p",
            "MOVED_FROM /m/in/tree p <> /m/away",
            "GONE /m/in",
            "MOVED_FROM /m/in p <> /m/elsewhere",
        ]
    );
}

#[test]
fn a_loss_is_told_at_its_place_and_the_tree_is_asked_for_again() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "A")]);
    bench
        .table
        .places
        .insert(b"A".to_vec(), is_in("top", "renamed"));
    let loss = Loss {
        count: Some(3),
        since: WallTime(1),
        until: WallTime(2),
        cause: "test",
    };
    let lines = bench.step(vec![
        batch(entry(bits::CREATE, P, "A", "before", "f1")),
        Batch {
            lost: Some(loss),
            ..Batch::default()
        },
        batch(entry(bits::CREATE, P, "A", "behind", "f2")),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a/before p",
            "LOST Some(3)",
            "CREATE /m/renamed/behind p"
        ]
    );
}

#[test]
fn an_overlay_removes_what_lies_below_by_a_whiteout() {
    let mut bench = Bench::watching(&[("_global", "/merged", true, &["all"])]);
    let merged = MountPoint {
        root: key("upper"),
        path: b"/merged".to_vec(),
        is_top: false,
        work: Some(key("work")),
    };
    bench.pipeline.set_mounts([merged]);
    for dir in ["upper", "work"] {
        bench.table.places.insert(dir.into(), is_in("top", dir));
    }
    bench.table.places.insert(b"top".to_vec(), Whereabouts::Top);
    let lines = bench.read(&[
        rename(0, P, ("work", "#1"), ("upper", "low"), "whiteout"),
        rename(bits::ONDIR, P, ("work", "#2"), ("upper", "dir"), "D"),
        rename(bits::ONDIR, P, ("upper", "old"), ("work", "#3"), "E"),
        entry(bits::CREATE, P, "D", "f", "f1"),
    ]);
    assert_eq!(lines, ["DELETE /merged/low p", "CREATE /merged/dir/f p"]);
}

#[test]
fn older_kernels_rename_in_three_records() {
    let named =
        |mask: u64, name: &str| event(mask, P, &[info_fid(2, FSID, b"top", Some(name.as_bytes()))]);
    let mut bench = Bench::speaking(true, &[("_global", "/m", true, &["all"])]);
    bench.table.places.insert(b"D".to_vec(), is_in("top", "b"));
    let lines = bench.read(&[
        named(bits::CREATE | bits::ONDIR, "a"),
        named(bits::MOVED_FROM | bits::ONDIR, "a"),
        named(bits::MOVED_TO | bits::ONDIR, "b"),
        alone(bits::MOVE_SELF | bits::ONDIR, P, "D"),
        entry(bits::CLOSE_WRITE, P, "D", "f", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "CREATE /m/a p",
            "MOVED_FROM /m/a p <> /m/b",
            "MOVED_TO /m/b p <> /m/a",
            "MOVE_SELF /m/b p",
            "CLOSE_WRITE /m/b/f p"
        ]
    );
}

#[test]
fn names_of_one_file_are_told_apart() {
    let mut bench = Bench::everything();
    bench.read(&[entry(bits::CREATE, P, "top", "b", "f1")]);
    let lines = bench.read(&[
        alone(bits::ATTRIB | bits::MOVE_SELF, P, "f1"),
        entry(bits::CREATE, P, "top", "x", "f1"),
        rename(0, P, ("top", "x"), ("top", "y"), "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "ATTRIB /m/b p",
            "CREATE /m/x p",
            "MOVED_FROM /m/x p <> /m/y",
            "MOVED_TO /m/y p <> /m/x",
            "MOVE_SELF /m/y p"
        ]
    );
    let lines = bench.read(&[
        alone(bits::ATTRIB | bits::DELETE_SELF, P, "f1"),
        entry(bits::DELETE, P, "top", "y", "f1"),
        entry(bits::DELETE, P, "top", "b", "f1"),
    ]);
    assert_eq!(
        lines,
        [
            "DELETE /m/y p",
            "ATTRIB /m/b p",
            "DELETE_SELF /m/b p",
            "DELETE /m/b p"
        ]
    );
}

#[test]
fn what_cannot_be_placed_is_said() {
    let mut bench = Bench::everything();
    assert!(
        bench
            .read(&[
                entry(bits::DELETE, P, "X", "f", "f2"),
                entry(bits::CREATE, P, "X", "g", "g1")
            ])
            .is_empty()
    );
    bench.now += 200_000_000;
    assert_eq!(bench.step(Vec::new()), ["LOST Some(2)"]);
}

#[test]
fn nothing_is_asked_where_an_answer_could_not_be_checked() {
    let mut bench = Bench::everything();
    bench
        .table
        .places
        .insert(b"D".to_vec(), is_in("top", "now"));
    let loss = Loss {
        count: Some(1),
        since: WallTime(1),
        until: WallTime(2),
        cause: "test",
    };
    let lines = bench.step(vec![
        batch(entry(bits::CREATE, P, "D", "before", "f1")),
        Batch {
            lost: Some(loss),
            ..Batch::default()
        },
        batch(entry(bits::CREATE, P, "D", "behind", "f2")),
    ]);
    assert_eq!(
        lines,
        ["LOST Some(1)", "LOST Some(1)", "CREATE /m/now/behind p"]
    );
}

#[test]
fn what_comes_into_reach_with_its_parent_is_asked_for_again() {
    let mut bench = Bench::everything();
    // The mount shows `top` only; X lies in Y, and both outside.
    for dir in ["X", "Y", "out"] {
        bench.table.places.insert(dir.into(), Whereabouts::Outside);
    }
    assert!(
        bench
            .read(&[entry(bits::CREATE, P, "X", "f", "f1")])
            .is_empty()
    );
    bench.table.places.insert(b"X".to_vec(), is_in("Y", "X"));
    bench.read(&[rename(bits::ONDIR, P, ("out", "Y"), ("top", "Y"), "Y")]);
    assert_eq!(
        bench.read(&[entry(bits::CREATE, P, "X", "g", "g1")]),
        ["CREATE /m/Y/X/g p"]
    );
}

#[test]
fn mount_points_move_with_the_directories_above_them() {
    let mut bench = Bench::everything();
    let mount = |root: &str, path: &str| MountPoint {
        root: key(root),
        path: path.into(),
        is_top: true,
        work: None,
    };
    bench
        .pipeline
        .set_mounts([mount("top", "/m"), mount("inner", "/m/a/b")]);
    let lines = bench.read(&[rename(bits::ONDIR, P, ("top", "a"), ("top", "c"), "A")]);
    assert!(lines.contains(&"MOUNTS".to_owned()), "{lines:?}");
    let lines = bench.read(&[rename(bits::ONDIR, P, ("top", "d"), ("top", "e"), "D")]);
    assert!(!lines.contains(&"MOUNTS".to_owned()), "{lines:?}");
}
