//! Four processes create and unlink as fast as they can: all of it is told, or a GAP says how much is not.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Signal;

use crate::Suite;
use crate::ground::{Fs, Ground};
use crate::lines::Line;
pub(crate) use crate::plans::flood as work;
use crate::recorder::Home;
use crate::truth::Report;
use crate::workers::{Worker, together};

const WORKERS: usize = 4;
const FILES: usize = 50_000;

pub(crate) fn list(suite: &mut Suite) {
    for kind in Fs::MAIN {
        suite.on(kind, "flood", all_of_a_flood);
        suite.on(kind, "flood_beyond_the_ceiling", beyond_the_ceiling);
    }
}

pub(crate) fn workers(root: &Path, files: usize) -> Vec<Worker> {
    (0..WORKERS)
        .map(|worker| {
            let dir = root.join(format!("w{worker}"));
            fs::create_dir(&dir).unwrap();
            Worker::new("flood", &[dir.to_str().unwrap(), &files.to_string()])
        })
        .collect()
}

fn all_of_a_flood(kind: Fs) {
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
    let mut recorder = home.start();
    together(workers(&root, FILES));
    recorder.settle("_global", &root);
    let said = recorder.stop();

    let lines = home.log("_global");
    let mut report = Report::default();
    let tally = Tally::of(&root, &lines, &mut report);
    tally.all_told(&mut report);
    report.panic_if_any(lines.len());
    assert!(
        !said.iter().any(|line| line.contains("lost")),
        "something was lost: {said:?}"
    );
    assert_eq!(home.journal_of("GAP"), Vec::<serde_json::Value>::new());
}

/// How often each file's creation and deletion was told.
struct Tally {
    seen: Vec<[Vec<u8>; 2]>,
    gaps: Vec<Line>,
}

impl Tally {
    fn of(root: &Path, lines: &[Line], report: &mut Report) -> Self {
        let mut tally = Self {
            seen: vec![[vec![0; FILES], vec![0; FILES]]; WORKERS],
            gaps: Vec::new(),
        };
        for line in lines {
            if line.kind == "GAP" {
                tally.gaps.push(line.clone());
                continue;
            }
            let Some((worker, file)) = place(root, &line.path) else {
                continue;
            };
            let [created, deleted] = &mut tally.seen[worker];
            match line.kind {
                "CREATE" if created[file] == 0 && deleted[file] == 0 => created[file] = 1,
                "DELETE" if deleted[file] == 0 => deleted[file] = 1,
                _ => report.add("told twice, or never happened", line.show()),
            }
        }
        tally
    }

    fn all_told(&self, report: &mut Report) {
        for (worker, both) in self.seen.iter().enumerate() {
            for (kind, told) in ["CREATE", "DELETE"].into_iter().zip(both) {
                for file in told
                    .iter()
                    .enumerate()
                    .filter(|(_, told)| **told == 0)
                    .map(|(file, _)| file)
                {
                    report.add("missing", format!("{kind} w{worker}/{file}"));
                }
            }
        }
        for gap in &self.gaps {
            report.add("a GAP where nothing may be lost", format!("{gap:?}"));
        }
    }

    fn told(&self) -> usize {
        self.seen
            .iter()
            .flatten()
            .flatten()
            .filter(|told| **told > 0)
            .count()
    }
}

/// The worker and number of a path such as ROOT/w2/1234; the directories themselves are not counted.
fn place(root: &Path, path: &[u8]) -> Option<(usize, usize)> {
    let rest = path.strip_prefix(root.as_os_str().as_bytes())?;
    let (worker, file) = str::from_utf8(rest)
        .ok()?
        .strip_prefix("/w")?
        .split_once('/')?;
    Some((
        worker.parse().ok()?,
        file.parse().ok().filter(|file| *file < FILES)?,
    ))
}

fn beyond_the_ceiling(kind: Fs) {
    const FEW: usize = 20_000;
    let ground = Ground::new();
    let root = ground.mount(kind);
    let home = Home::new(&ground);
    home.configure("[capture]\nceiling = \"1MB\"");
    home.watch("_global", &root, &["-r", "-t", "CREATE,DELETE"]);
    fs::create_dir_all(root.join("before/deep/er")).unwrap();
    let mut recorder = home.start();
    let workers = workers(&root, FEW);
    // What is lost may have waited since the queue was last seen empty.
    let start = now();
    recorder.settle("_global", &root);
    recorder.halt();
    together(workers);
    // What changes the tree unseen must not lead paths astray afterwards.
    fs::rename(root.join("before"), root.join("after")).unwrap();
    fs::create_dir_all(root.join("unseen/deep")).unwrap();
    recorder.signal(Signal::CONT);
    recorder.wait_for("_global", "\"event_type\":\"GAP\"");
    recorder.settle("_global", &root);
    fs::write(root.join("after/deep/er/1"), "").unwrap();
    fs::write(root.join("unseen/deep/2"), "").unwrap();
    recorder.settle("_global", &root);
    recorder.stop();
    let end = now();

    let lines = home.log("_global");
    let mut report = Report::default();
    let tally = Tally::of(&root, &lines, &mut report);
    report.panic_if_any(lines.len());
    let missing = i64::try_from(WORKERS * FEW * 2 - tally.told()).unwrap();
    let lost: i64 = tally.gaps.iter().map(|gap| gap.lost.unwrap()).sum();
    for gap in &tally.gaps {
        let since = gap.since.as_ref().unwrap();
        assert!(
            *since >= start && *since <= gap.time && gap.time <= end,
            "{start} .. {end}: {gap:?}"
        );
        assert!(gap.lost.unwrap() > 0, "the count is known: {gap:?}");
        assert!(gap.path.is_empty() && gap.pid == 0, "{gap:?}");
    }
    // A lost record can stand for two lines (a file made and removed), or for none that was asked for.
    assert!(
        lost * 2 >= missing && lost <= missing * 3,
        "{missing} lines are missing, {lost} records said to be lost"
    );
    for path in ["after/deep/er/1", "unseen/deep/2"] {
        let path = root.join(path);
        let told = lines
            .iter()
            .any(|line| line.kind == "CREATE" && line.path == path.as_os_str().as_bytes());
        assert!(told, "{} is not told", path.display());
    }
}

/// The wall clock in the form of a log.
pub(crate) fn now() -> String {
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let time = chrono::DateTime::from_timestamp(time.as_secs().cast_signed(), time.subsec_nanos())
        .unwrap();
    time.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}
