//! Records of the kernel, from the queue to the line: whatever order they come in, what is told keeps its form.

use std::path::Path;

use fsmon::event::{EventType, FileEvent, WallTime};
use fsmon::fid_parser::bits;
use fsmon::fid_parser::raw::HandleKey;
use fsmon::filters::scope::Scope;
use fsmon::log::line::{LogLine, decode, encode_event};
use fsmon::monitored::{GroupName, Watch, WatchOptions, WatchSet};
use fsmon::pipeline::probe::{Probe, Whereabouts};
use fsmon::pipeline::{Batch, Loss, MountPoint, Outcome, Pipeline, Settings};
use fsmon::proc_cache::{Comm, ProcChange, ProcLimits, ProcRecord, ProcTable};

use super::draw::Draw;
use super::records::{Handle, Info, Record};

pub fn body(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut pipeline = pipeline(&mut draw);
    let watches = watches(&mut draw);
    pipeline.set_watches(&watches);
    let mut machine = Machine::default();
    let mut clock = Clock::default();
    let mut told = Told {
        watches: &watches,
        lines: 0,
        read_at: Vec::new(),
    };
    for _ in 0..16 {
        if draw.is_empty() {
            break;
        }
        machine.change(&mut draw);
        let batches = clock.batches(&mut draw);
        machine.queue = clock.batches(&mut draw);
        told.read_at.clone_from(&clock.read_at);
        let now = clock.mono + u64::from(draw.byte()) * 10_000_000;
        pipeline.step(batches, now, &mut machine, &mut |outcome| {
            told.check(outcome)
        });
        if draw.below(8) == 0 {
            pipeline.set_watches(&watches);
        }
    }
    // What is still in the queue is read at last, and then there is nothing left to wait for.
    let rest = std::mem::take(&mut machine.queue);
    pipeline.step(rest, u64::MAX, &mut machine, &mut |outcome| {
        told.check(outcome)
    });
    pipeline.step(Vec::new(), u64::MAX, &mut machine, &mut |outcome| {
        told.check(outcome)
    });
    assert!(!pipeline.is_waiting());
    assert_eq!(pipeline.counts().told, told.lines);
}

fn pipeline(draw: &mut Draw<'_>) -> Pipeline {
    let settings = Settings {
        own_pid: OURS,
        dir_capacity: draw.one_of(&[2, 10, 1000]),
        dir_ttl: draw.one_of(&[0, 1, 3600]),
        file_capacity: draw.one_of(&[1, 100]),
        chain_always: draw.flag(),
        legacy: draw.flag(),
    };
    let mut pipeline = Pipeline::new(settings, ProcTable::new(ProcLimits::default()));
    pipeline.learn_filesystem(0, FSID, FS);
    pipeline.set_mounts([MountPoint {
        root: key(b"top"),
        path: b"/m".to_vec(),
        is_top: draw.flag(),
        work: draw.flag().then(|| key(HANDLES[7])),
    }]);
    if draw.below(4) == 0 {
        pipeline.mark_by_inode(FS);
    }
    pipeline
}

fn watches(draw: &mut Draw<'_>) -> WatchSet {
    let mut set = WatchSet::default();
    for _ in 0..1 + draw.below(3) {
        let group: GroupName = draw.one_of(&["_global", "sh"]).parse().expect("a group");
        let path = draw.one_of(&["/m", "/m/a", "/m/a/b", "/", "/m/c/d/e"]);
        let types = draw.one_of(&["all", "", "CREATE,DELETE", "MODIFY,MOVED_TO,OPEN_EXEC"]);
        let options = WatchOptions {
            recursive: Some(draw.flag()),
            types: (!types.is_empty()).then(|| vec![types.to_owned()]),
            size: draw.flag().then(|| ">=1B".to_owned()),
            exclude: draw.flag().then(|| vec!["b/".to_owned(), "*.x".to_owned()]),
            max_depth: draw.flag().then(|| u32::from(draw.byte() % 4)),
        };
        set.add_or_replace(Watch::new(group, Path::new(path), &options).expect("a watch"));
    }
    set
}

/// What is told is checked line by line.
struct Told<'w> {
    watches: &'w WatchSet,
    lines: u64,
    /// The times at which batches were read.
    read_at: Vec<WallTime>,
}

impl Told<'_> {
    fn check(&mut self, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Log { group, event } => {
                self.lines += 1;
                // The writer puts in order what was moved behind something read later.
                assert!(self.read_at.contains(&event.time), "{event:?}");
                self.is_wanted(group, event);
                has_its_form(event);
            }
            Outcome::RootMayBeBack { root } | Outcome::RootMayBeGone { root } => {
                let is_root = |watch: &Watch| watch.path.as_os_str().as_encoded_bytes() == root;
                assert!(self.watches.iter().any(is_root));
            }
            Outcome::NewDirectory { dir, path } => {
                assert_eq!(dir.fs(), FS);
                assert!(path.starts_with(b"/"));
            }
            Outcome::Lost(loss) | Outcome::ProcessesLost(loss) => assert!(loss.since <= loss.until),
            Outcome::Rule { .. } => panic!("there are no rules"),
            Outcome::MountsMoved => {}
        }
    }

    /// Some watch of the group asked for just this.
    fn is_wanted(&self, group: &GroupName, event: &FileEvent) {
        let is_below = |scope: &Scope| {
            scope
                .depth_of(&event.path)
                .is_some_and(|depth| depth <= scope.limit())
        };
        let wants = |watch: &Watch| {
            watch.group == *group
                && watch.types_or_default().contains(event.kind)
                && is_below(&watch.scope())
        };
        assert!(self.watches.iter().any(wants), "{group} {event:?}");
        // A filesystem that is damaged is no deed of whoever met it.
        assert!(
            event.pid != OURS || event.kind == EventType::FsError,
            "{event:?}"
        );
    }
}

fn has_its_form(event: &FileEvent) {
    let paths = [Some(&event.path), event.other_path.as_ref()];
    for path in paths.into_iter().flatten() {
        assert!(path.starts_with(b"/") && !path.contains(&0), "{event:?}");
        assert!(path.len() == 1 || !path.ends_with(b"/"), "{event:?}");
        assert!(!path.ends_with(b"/."), "{event:?}");
    }
    let is_rename = matches!(event.kind, EventType::MovedFrom | EventType::MovedTo);
    assert!(is_rename || event.other_path.is_none());
    let mut line = Vec::new();
    encode_event(event, &mut line);
    assert_eq!(decode(&line), Some(LogLine::Event(event.clone())));
}

/// What the kernel would say now, and what it has still in its queue.
#[derive(Default)]
struct Machine {
    places: Vec<Option<Whereabouts>>,
    sizes: Vec<Option<u64>>,
    queue: Vec<Batch>,
}

impl Machine {
    fn change(&mut self, draw: &mut Draw<'_>) {
        self.places.resize(HANDLES.len(), Some(Whereabouts::Gone));
        self.sizes.resize(HANDLES.len(), Some(1));
        for _ in 0..draw.below(6) {
            let at = draw.below(HANDLES.len());
            self.places[at] = match draw.below(8) {
                0 => None,
                1 => Some(Whereabouts::Gone),
                2 => Some(Whereabouts::Outside),
                3 => Some(Whereabouts::Top),
                _ => Some(Whereabouts::In {
                    parent: key(draw.one_of(&HANDLES)),
                    name: draw.one_of(&NAMES).to_vec(),
                }),
            };
            self.sizes[at] = draw.flag().then(|| u64::from(draw.byte()));
        }
    }

    fn place(handle: &[u8]) -> usize {
        let place = HANDLES.iter().position(|known| *known == handle);
        place.unwrap_or(handle.len() % HANDLES.len())
    }
}

impl Probe for Machine {
    fn place_of(&mut self, dir: &HandleKey) -> Option<Whereabouts> {
        self.places[Self::place(dir.bytes())].clone()
    }

    fn handle_at(&mut self, _: &HandleKey, path: &[u8]) -> Option<HandleKey> {
        let at = path.iter().map(|byte| usize::from(*byte)).sum::<usize>() % (HANDLES.len() + 1);
        HANDLES.get(at).map(|handle| key(handle))
    }

    fn size_of(&mut self, object: Option<&HandleKey>, path: &[u8]) -> Option<u64> {
        let handle = object.map_or(path, HandleKey::bytes);
        self.sizes[Self::place(handle)]
    }

    fn is_whiteout(&mut self, object: &HandleKey) -> Option<bool> {
        let size = self.sizes[Self::place(object.bytes())];
        size.map(|size| size.is_multiple_of(7))
    }

    fn wait_for_renames(&mut self, _: &HandleKey) {}

    fn read_on(&mut self, into: &mut Vec<Batch>) {
        into.append(&mut self.queue);
    }
}

/// The two clocks of the machine.
#[derive(Default)]
struct Clock {
    mono: u64,
    read_at: Vec<WallTime>,
}

impl Clock {
    fn batches(&mut self, draw: &mut Draw<'_>) -> Vec<Batch> {
        (0..draw.below(4)).map(|_| self.batch(draw)).collect()
    }

    fn batch(&mut self, draw: &mut Draw<'_>) -> Batch {
        let from = self.mono;
        self.mono += 1 + u64::from(draw.byte()) * 1_000_000;
        let wall = WallTime(1_700_000_000_000_000_000 + self.mono.cast_signed());
        self.read_at.push(wall);
        let procs = (0..draw.below(6))
            .map(|_| process_record(draw, self.mono))
            .collect();
        let batch = Batch {
            from,
            mono: self.mono,
            wall,
            procs,
            ..Batch::default()
        };
        if draw.below(12) == 0 {
            let loss = Loss {
                count: draw.flag().then_some(3),
                since: wall,
                until: wall,
                cause: "as drawn",
            };
            return Batch {
                lost: Some(loss),
                ..batch
            };
        }
        let mut bytes: Vec<u8> = (0..draw.below(6))
            .flat_map(|_| record(draw).to_bytes())
            .collect();
        // What the kernel never writes is a lost batch at worst.
        if draw.below(16) == 0 {
            bytes.extend(draw.bytes(60));
        }
        Batch { bytes, ..batch }
    }
}

/// A change of a process, up to now. None of a loss: after one /proc is read, and it is not ours to make up.
fn process_record(draw: &mut Draw<'_>, now: u64) -> ProcRecord {
    let pid = draw.one_of(&PIDS);
    let tid = if draw.below(8) == 0 { pid + 1 } else { pid };
    let what = match draw.below(6) {
        0 | 1 => ProcChange::Fork {
            ppid: draw.one_of(&PIDS),
            thread: draw.one_of(&PIDS),
        },
        2 => ProcChange::Comm {
            comm: Comm::from(draw.one_of(&["sh", "cat", "a;b|c"])),
            exec: draw.flag(),
        },
        3 => ProcChange::Exe {
            path: draw.one_of(&["/bin/sh", ""]).into(),
        },
        4 => ProcChange::Exit,
        _ => ProcChange::Exec,
    };
    let time = now.saturating_sub(u64::from(draw.byte()) * 500_000);
    ProcRecord {
        time,
        pid,
        tid,
        what,
    }
}

/// A record as the kernel writes them: about a name in a directory, about an object, about a rename.
fn record(draw: &mut Draw<'_>) -> Record {
    let pid = draw.one_of(&[PIDS[0], PIDS[1], PIDS[2], OURS, 0]);
    let is_dir = if draw.below(3) == 0 { bits::ONDIR } else { 0 };
    let (dir, object) = (handle(draw), handle(draw));
    let name = draw.one_of(&NAMES).to_vec();
    match draw.below(8) {
        0 => Record {
            mask: bits::RENAME | is_dir,
            pid,
            infos: vec![
                Info::Old(dir, name),
                Info::New(handle(draw), draw.one_of(&NAMES).to_vec()),
                Info::Object(object),
            ],
        },
        1 => Record {
            mask: kinds(draw) | is_dir,
            pid,
            infos: if is_dir == 0 {
                vec![Info::Object(object)]
            } else {
                vec![Info::Entry(dir, b".".to_vec())]
            },
        },
        2 => Record {
            mask: match draw.below(3) {
                0 => bits::OVERFLOW,
                1 => bits::FS_ERROR,
                _ => u64::from(draw.u32()),
            },
            pid,
            infos: vec![Info::Dir(dir), Info::Error(5)],
        },
        3 => Record {
            mask: kinds(draw) | is_dir,
            pid,
            infos: vec![Info::Entry(dir, name)],
        },
        _ => Record {
            mask: kinds(draw) | is_dir,
            pid,
            infos: vec![Info::Entry(dir, name), Info::Object(object)],
        },
    }
}

/// One kind, and now and then more that the kernel has merged.
fn kinds(draw: &mut Draw<'_>) -> u64 {
    let mut mask = bits::bit_of(draw.one_of(&EventType::ALL));
    while draw.below(3) == 0 && !draw.is_empty() {
        mask |= bits::bit_of(draw.one_of(&EventType::ALL));
    }
    mask
}

fn handle(draw: &mut Draw<'_>) -> Handle {
    Handle {
        // Now and then of a filesystem that nobody knows.
        fsid: if draw.below(32) == 0 { 99 } else { FSID },
        kind: 1,
        bytes: draw.one_of(&HANDLES).to_vec(),
    }
}

fn key(handle: &[u8]) -> HandleKey {
    HandleKey::new(FS, 1, handle)
}

const FSID: u64 = 7;
const FS: u16 = 1;
const OURS: u32 = 4_000_000;
const PIDS: [u32; 4] = [4_100_000, 4_200_000, 4_300_000, 4_400_000];
const HANDLES: [&[u8]; 9] = [b"top", b"a", b"b", b"c", b"d", b"e", b"f", b"work", b"\xff"];
const NAMES: [&[u8]; 7] = [b"a", b"b", b"c", b"d", b"e.x", b"\xff\n", b"#12"];
