//! Disks that are full or read-only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fsmon::log::append::Appender;
use fsmon::log::line::{LogLine, decode};
use tempfile::TempDir;

use crate::{appender, line};

/// A small filesystem, unmounted in the end.
pub(crate) struct Mount {
    place: TempDir,
}

impl Mount {
    fn tmpfs() -> Self {
        let mount = Self {
            place: tempfile::tempdir().unwrap(),
        };
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                "size=1m",
                "none",
                mount.point().to_str().unwrap(),
            ],
        );
        mount
    }

    fn ext4() -> Self {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("image");
        File::create(&image).unwrap().set_len(2 << 20).unwrap();
        run(
            "mkfs.ext4",
            &["-q", "-O", "^has_journal", image.to_str().unwrap()],
        );
        let mount = Self { place };
        run(
            "mount",
            &[
                "-o",
                "loop",
                image.to_str().unwrap(),
                mount.point().to_str().unwrap(),
            ],
        );
        mount
    }

    /// One of a kind with room for a test, as its mkfs makes it.
    pub(crate) fn of(kind: &str) -> Self {
        let mount = Self {
            place: tempfile::tempdir().unwrap(),
        };
        let point = mount.point();
        let point = point.to_str().unwrap();
        if kind == "tmpfs" {
            run("mount", &["-t", "tmpfs", "-o", "size=64m", "none", point]);
            return mount;
        }
        let image = mount.place.path().join("image");
        let size = if kind == "ext4" { 64 << 20 } else { 400 << 20 };
        File::create(&image).unwrap().set_len(size).unwrap();
        let image = image.to_str().unwrap();
        run(&format!("mkfs.{kind}"), &["-q", image]);
        run("mount", &["-o", "loop", image, point]);
        mount
    }

    pub(crate) fn point(&self) -> PathBuf {
        let point = self.place.path().join("disk");
        fs::create_dir_all(&point).unwrap();
        point
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.place.path().join("disk"))
            .status()
            .ok();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).status().unwrap();
    assert!(done.success(), "{program} {arguments:?}");
}

pub(crate) fn full_tmpfs() {
    let mount = Mount::tmpfs();
    for (round, ceiling) in [3_000, 20_000, 150_000].into_iter().enumerate() {
        fill_and_free(&mount.point().join(format!("round{round}")), ceiling);
    }
}

pub(crate) fn full_ext4() {
    let mount = Mount::ext4();
    for (round, ceiling) in [3_000, 20_000, 150_000].into_iter().enumerate() {
        fill_and_free(&mount.point().join(format!("round{round}")), ceiling);
    }
}

/// Fills the disk up to some bytes again and again while lines are queued; in the end every line
/// is there, in order, or counted by the GAP in its place.
fn fill_and_free(dir: &Path, ceiling: usize) {
    fs::create_dir(dir).unwrap();
    let (log, ballast) = (dir.join(LOG), dir.join("ballast"));
    let mut appender = appender(dir, ceiling);
    let mut next = 0;
    let (mut refused, mut dropped) = (0, 0);
    for round in 0..40 {
        fill(&ballast, round * 1777 % 9000);
        for _ in 0..round * 5 {
            appender.queue(LOG, |out| out.extend(line(next, &path_of(next))));
            next += 1;
            let report = appender.flush();
            refused += report.errors.len();
            dropped += report.dropped;
            assert_whole(&log);
        }
        if round % 3 == 2 {
            fs::remove_file(&ballast).unwrap();
            dropped += drain(&mut appender);
            assert_whole(&log);
            // Room for what comes: the test is about the ballast and not about the log.
            if round % 12 == 11 {
                check(&log, next, dropped);
                fs::write(&log, "").unwrap();
                (next, dropped) = (0, 0);
            }
        }
    }
    fs::remove_file(&ballast).ok();
    dropped += drain(&mut appender);
    check(&log, next, dropped);
    assert!(refused > 0, "the disk was never full");
    fs::remove_dir_all(dir).unwrap();
}

/// Takes all the room there is, but for about `spare` bytes.
fn fill(ballast: &Path, spare: u64) {
    use std::io::Write;
    let mut file = File::create(ballast).unwrap();
    let block = [0; 512];
    while file.write_all(&block).is_ok() {}
    file.sync_all().ok();
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(spare)).unwrap();
    file.sync_all().unwrap();
}

/// Flushes until everything is written.
///
/// A removed file gives its room back when its last user lets go, and that may be somebody who looks
/// at files as they go: an indexer, another recorder.
fn drain(appender: &mut Appender) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut dropped = 0;
    loop {
        let report = appender.flush();
        dropped += report.dropped;
        if report.errors.is_empty() && appender.is_idle() {
            return dropped;
        }
        assert!(Instant::now() < deadline, "{report:?}");
        std::thread::yield_now();
    }
}

fn assert_whole(log: &Path) {
    let bytes = fs::read(log).unwrap_or_default();
    assert!(
        bytes.is_empty() || bytes.ends_with(b"\n"),
        "half a line: {}",
        String::from_utf8_lossy(&bytes)
    );
}

fn check(log: &Path, count: i64, dropped: u64) {
    let mut expected = None;
    let mut last = 0;
    let mut lost = 0;
    for line in fs::read(log)
        .unwrap()
        .split_inclusive(|byte| *byte == b'\n')
    {
        match decode(line) {
            Some(LogLine::Event(event)) => {
                assert_eq!(event.time.0, expected.unwrap_or(event.time.0));
                assert_eq!(event.path, path_of(event.time.0));
                last = event.time.0;
            }
            Some(LogLine::Gap(gap)) => {
                assert_eq!(gap.since.0, expected.unwrap_or(gap.since.0));
                assert_eq!(gap.time.0 - gap.since.0 + 1, gap.lost);
                assert!(gap.cause.contains("No space left"), "{}", gap.cause);
                lost += gap.lost;
                last = gap.time.0;
            }
            None => panic!("{}", String::from_utf8_lossy(line)),
        }
        expected = Some(last + 1);
    }
    assert_eq!(last + 1, count);
    assert_eq!(lost as u64, dropped);
}

pub(crate) fn read_only() {
    let mount = Mount::tmpfs();
    let dir = mount.point();
    let mut appender = appender(&dir, 1 << 20);
    appender.queue(LOG, |out| out.extend(line(0, b"/a")));
    drain(&mut appender);
    // A descriptor that is open for writing would forbid the remount.
    appender.close(LOG);
    assert!(appender.sync().is_empty());
    drop(appender);
    let mut appender = crate::appender(&dir, 1 << 20);
    run("mount", &["-o", "remount,ro", dir.to_str().unwrap()]);
    appender.queue(LOG, |out| out.extend(line(1, b"/b")));
    let report = appender.flush();
    assert_eq!(report.errors.len(), 1);
    assert!(report.pending_bytes > 0);
    run("mount", &["-o", "remount,rw", dir.to_str().unwrap()]);
    drain(&mut appender);
    check(&dir.join(LOG), 2, 0);
}

fn path_of(number: i64) -> Vec<u8> {
    if number % 5 == 1 && number > 1 {
        vec![b'p'; (number * 37 % 700) as usize]
    } else if number == 1 {
        b"/b".to_vec()
    } else {
        b"/a".to_vec()
    }
}

const LOG: &str = "full_log.jsonl";
