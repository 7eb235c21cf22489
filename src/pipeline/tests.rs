//! Whole steps with records built by hand and a probe that answers from a table.

use std::collections::HashMap;
use std::path::Path;

use super::probe::{Probe, Whereabouts};
use super::*;
use crate::event::{Attribution, EventType};
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
    /// Paths of files, and what is there.
    files: HashMap<Vec<u8>, HandleKey>,
    queue: Vec<Vec<u8>>,
    /// What was lost behind that.
    lost: Option<Batch>,
    asked: Vec<Vec<u8>>,
    /// What is in the queue only when this directory is no longer locked.
    held: HashMap<Vec<u8>, Vec<u8>>,
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

    fn handle_at(&mut self, _: &HandleKey, path: &[u8]) -> Option<HandleKey> {
        self.files.get(path).copied()
    }

    fn size_of(&mut self, _: Option<&HandleKey>, _: &[u8]) -> Option<u64> {
        Some(5)
    }

    fn is_whiteout(&mut self, object: &HandleKey) -> Option<bool> {
        Some(object.bytes() == b"whiteout")
    }

    fn wait_for_renames(&mut self, dir: &HandleKey) {
        self.queue.extend(self.held.remove(dir.bytes()));
    }

    fn read_on(&mut self, into: &mut Vec<Batch>) {
        into.extend(self.queue.drain(..).map(batch));
        into.extend(self.lost.take());
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
    /// Lines show the name of the process and how sure it is, not the pid.
    names: bool,
}

fn name_of(event: &FileEvent) -> String {
    match event.attribution {
        Attribution::Exact => event.cmd.to_string(),
        other => format!("{}?{other:?}", event.cmd),
    }
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
            names: false,
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
            names,
        } = self;
        *now += 1_000_000;
        pipeline.step(batches, *now, table, &mut |outcome| match outcome {
            Outcome::Rule {
                rule,
                event,
                mut doer,
            } => lines.push(format!(
                "rule {rule}: {} {} ours={} life={}",
                event.kind,
                String::from_utf8_lossy(&event.path),
                doer.is_ours(),
                doer.life() > 0
            )),
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
                let who = if *names { name_of(event) } else { who };
                let doubt = if event.is_adrift { " ?" } else { "" };
                lines.push(format!(
                    "{group}{} {path} {who}{}{doubt}",
                    event.kind,
                    other.unwrap_or_default()
                ));
            }
            Outcome::Lost(loss) => lines.push(format!("LOST {:?}", loss.count)),
            Outcome::ProcessesLost(loss) => {
                lines.push(format!(
                    "PROCESSES LOST {:?} since {}",
                    loss.count, loss.since.0
                ));
            }
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

mod adrift;
mod names;
mod order;
mod places;
mod rules;
mod who;
