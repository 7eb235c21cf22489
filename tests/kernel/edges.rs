//! Watches added and removed, and the daemon killed, while a flood runs: what is surely inside is told, what is surely outside is not.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Suite;
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::recorder::Home;
use crate::truth::Report;
use crate::wait::{PATIENCE, until};
use crate::workers::Worker;

/// Enough operations of the flood for the daemon to be busy.
const STRETCH: u64 = 1_200;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::MAIN {
        suite.on(kind, "add_and_remove_in_a_flood", |kind| {
            add_and_remove(kind, false)
        });
        suite.on(
            kind,
            "add_and_remove_in_a_flood_beside_another_watch",
            |kind| add_and_remove(kind, true),
        );
    }
    for kind in [Fs::Tmpfs, Fs::Ext4] {
        suite.on(kind, "kill_and_restart_in_a_flood", kill_and_restart);
    }
}

/// Creates and removes numbered directories in `dir` until the input ends; the number done stands in `counter`.
pub(crate) fn work(dir: &Path, counter: &Path) {
    let counter = File::options().write(true).open(counter).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    thread::spawn(move || {
        let mut rest = Vec::new();
        std::io::stdin().read_to_end(&mut rest).unwrap();
        told.store(true, Ordering::Relaxed);
    });
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let path = dir.join(number.to_string());
        fs::create_dir(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        counter.write_all_at(&number.to_ne_bytes(), 0).unwrap();
        // An unoptimised daemon would fall behind without end, and only its ceiling would be tested.
        let begin = Instant::now();
        while cfg!(debug_assertions) && begin.elapsed() < Duration::from_micros(250) {
            std::hint::spin_loop();
        }
    }
}

/// The worker and where it stands.
struct Flood {
    worker: Worker,
    counter: File,
    dir: PathBuf,
}

impl Flood {
    fn new(ground: &Ground, dir: &Path) -> Self {
        let path = ground.dir.join("counter");
        fs::write(&path, 0_u64.to_ne_bytes()).unwrap();
        let mut worker = Worker::new("numbers", &[dir.to_str().unwrap(), path.to_str().unwrap()]);
        worker.go();
        Self {
            worker,
            counter: File::open(path).unwrap(),
            dir: dir.to_owned(),
        }
    }

    /// The last operation that is surely over.
    fn done(&self) -> u64 {
        let mut bytes = [0; 8];
        self.counter.read_exact_at(&mut bytes, 0).unwrap();
        u64::from_ne_bytes(bytes)
    }

    /// The first operation that has surely not begun.
    fn not_begun(&self) -> u64 {
        self.done() + 2
    }

    fn go_on(&self) {
        let goal = self.done() + STRETCH;
        assert!(
            until(PATIENCE, || (self.done() >= goal).then_some(())).is_some(),
            "the flood stands still"
        );
    }
}

/// A flood's part that must, and a part that must not be told, both ends included.
struct Sure {
    told: Vec<(u64, u64)>,
    not_told: Vec<(u64, u64)>,
}

impl Sure {
    fn check(&self, dir: &Path, lines: &[Line]) {
        let mut report = Report::default();
        let mut seen = std::collections::HashMap::<u64, [u32; 2]>::new();
        for line in lines {
            let rest = line
                .path
                .strip_prefix(dir.as_os_str().as_bytes())
                .and_then(|rest| rest.strip_prefix(b"/"));
            let Some(number) = rest
                .and_then(|rest| str::from_utf8(rest).ok())
                .and_then(|rest| rest.parse().ok())
            else {
                continue;
            };
            let counts = seen.entry(number).or_default();
            match line.kind {
                "CREATE" => counts[0] += 1,
                "DELETE" => counts[1] += 1,
                _ => report.add("a type that was not asked for", line.show()),
            }
            if counts.iter().any(|count| *count > 1) {
                report.add("told twice", line.show());
            }
            if self
                .not_told
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&number))
            {
                report.add("told, though outside of the time of the watch", line.show());
            }
        }
        for number in self.told.iter().flat_map(|(from, to)| *from..=*to) {
            if seen.get(&number) != Some(&[1, 1]) {
                report.add(
                    "missing",
                    format!("{number}: {:?} in {:?}", seen.get(&number), self.told),
                );
            }
        }
        report.panic_if_any(lines.len());
    }
}

fn add_and_remove(kind: Fs, beside: bool) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let (dir, quiet) = (root.join("flood"), root.join("quiet"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&quiet).unwrap();
    let home = Home::new(&ground);
    if beside {
        home.watch("_global", &quiet, &["-r", "-t", "CREATE,DELETE"]);
    }
    let mut recorder = home.start();
    let flood = Flood::new(&ground, &dir);
    let mut sure = Sure {
        told: Vec::new(),
        not_told: Vec::new(),
    };
    let mut outside_from = 1;
    for _ in 0..3 {
        flood.go_on();
        sure.not_told.push((outside_from, flood.done()));
        home.watch("_global", &dir, &["-r", "-t", "CREATE,DELETE"]);
        let inside_from = flood.not_begun();
        flood.go_on();
        sure.told.push((inside_from, flood.done()));
        home.unwatch("_global", &dir);
        outside_from = flood.not_begun();
    }
    flood.go_on();
    sure.not_told.push((outside_from, flood.done()));
    let Flood { worker, dir, .. } = flood;
    worker.finish();
    home.watch("_global", &root, &["-t", "CREATE"]);
    recorder.settle("_global", &root);
    recorder.stop();
    sure.check(&dir, &home.log("_global"));
    let mut journal = home.journal_of("ADD");
    assert!(journal.len() >= 3, "the journal tells of each: {journal:?}");
    journal = home.journal_of("REMOVE");
    assert!(journal.len() >= 3, "the journal tells of each: {journal:?}");
}

fn kill_and_restart(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let dir = root.join("flood");
    fs::create_dir(&dir).unwrap();
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
    let store = fs::read(home.store()).unwrap();
    let mut recorder = home.start();
    let flood = Flood::new(&ground, &dir);
    let mut sure = Sure {
        told: Vec::new(),
        not_told: Vec::new(),
    };
    let mut inside_from = 1;
    for _ in 0..3 {
        flood.go_on();
        let over = flood.done();
        recorder.settle("_global", &root);
        sure.told.push((inside_from, over));
        flood.go_on();
        recorder.kill();
        flood.go_on();
        recorder = home.start();
        inside_from = flood.not_begun();
    }
    flood.go_on();
    sure.told.push((inside_from, flood.done()));
    let Flood { worker, dir, .. } = flood;
    worker.finish();
    recorder.settle("_global", &root);
    recorder.stop();

    assert_eq!(fs::read(home.store()).unwrap(), store, "the store changed");
    sure.check(&dir, &home.log("_global"));
    let gaps = home.journal_of("GAP");
    let downtimes = gaps.iter().filter(|gap| gap["cause"] == "downtime").count();
    assert_eq!(downtimes, 3, "each time it was down is a GAP: {gaps:?}");
    for gap in &gaps {
        let (since, time) = (
            gap["since"].as_str().unwrap(),
            gap["time"].as_str().unwrap(),
        );
        assert!(since <= time, "{gap}");
    }
    assert_eq!(home.journal_of("STOP").len(), 1);
    assert_eq!(home.journal_of("START").len(), 4);
}
