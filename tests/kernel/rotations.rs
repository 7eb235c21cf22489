//! What others do to a log in the middle of a flood: every creation is in one of the files, once.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Suite;
use crate::ground::{Fs, Ground};
use crate::lines;
use crate::recorder::Home;
use crate::wait::{PATIENCE, until};

pub(crate) fn list(suite: &mut Suite) {
    suite.one("log_rotated_in_a_flood", in_a_flood);
}

/// What somebody does to a log.
#[derive(Clone, Copy, Debug)]
enum Rotation {
    Rename,
    RenameAndCreate,
    /// What is written between the two is lost, and everybody knows that of this kind.
    CopyAndTruncate,
    /// `tail -n 7 log > new && mv new log`
    TailAndMove,
    Delete,
    RenameDirectory,
    /// What is written into it while its entries go one by one goes, too.
    RemoveDirectory,
}

const ROTATIONS: [Rotation; 7] = [
    Rotation::Rename,
    Rotation::RenameAndCreate,
    Rotation::CopyAndTruncate,
    Rotation::TailAndMove,
    Rotation::Delete,
    Rotation::RenameDirectory,
    Rotation::RemoveDirectory,
];

/// A file that a log was written to for some time.
#[derive(Debug)]
struct Piece {
    path: PathBuf,
    since: Since,
}

/// How a file of a log began.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    /// So many lines of the file before were put into it.
    copied: usize,
    /// Something between it and the file before was lost by whoever made it.
    is_lossy: bool,
}

/// The files of a log, in the order in which they were written.
struct Files<'h> {
    home: &'h Home,
    log: PathBuf,
    /// Where they are brought, on the filesystem of the log.
    store: PathBuf,
    pieces: Vec<Piece>,
    /// How the file began that is the log now.
    since: Since,
}

impl Files<'_> {
    /// Takes the log away from the recorder; nothing of what it has written is thrown away before it is
    /// kept, where that can be done.
    fn rotate(&mut self, how: Rotation) {
        let (log, mut kept) = (&self.log, self.store.join(self.pieces.len().to_string()));
        let mut since = Since::default();
        match how {
            Rotation::Rename => fs::rename(log, &kept).unwrap(),
            Rotation::RenameAndCreate => {
                fs::rename(log, &kept).unwrap();
                // The recorder may have made one already.
                let mut file = OpenOptions::new();
                file.append(true).create(true).open(log).unwrap();
            }
            Rotation::CopyAndTruncate => {
                fs::copy(log, &kept).unwrap();
                OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(log)
                    .unwrap();
                since.is_lossy = true;
            }
            Rotation::TailAndMove => since.copied = tail_and_move(log, &kept),
            Rotation::Delete => {
                fs::hard_link(log, &kept).unwrap();
                fs::remove_file(log).unwrap();
            }
            Rotation::RenameDirectory => {
                fs::rename(self.home.log_dir(), &kept).unwrap();
                kept.push(log.file_name().unwrap());
            }
            Rotation::RemoveDirectory => {
                fs::hard_link(log, &kept).unwrap();
                // As long as the recorder makes its files anew in it, it cannot be removed.
                while fs::remove_dir_all(self.home.log_dir()).is_err() {}
                since.is_lossy = true;
            }
        }
        self.pieces.push(Piece {
            path: kept,
            since: self.since,
        });
        self.since = since;
    }

    /// Waits until the recorder has found the new log.
    fn wait_for_new_lines(&self, how: Rotation) {
        let is_used = || {
            let bytes = fs::read(&self.log).unwrap_or_default();
            (numbers(&bytes).len() > self.since.copied).then_some(())
        };
        assert!(
            until(PATIENCE, is_used).is_some(),
            "nothing is written after {how:?}"
        );
    }

    /// Every number up to `count` is in one of the files and in its place, but for what was lost by
    /// others.
    fn check(mut self, count: usize) {
        self.pieces.push(Piece {
            path: self.log,
            since: self.since,
        });
        let (mut next, mut is_lossy) = (0, false);
        for piece in &self.pieces {
            is_lossy |= piece.since.is_lossy;
            let numbers = numbers(&fs::read(&piece.path).unwrap());
            let numbers = &numbers[piece.since.copied..];
            let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
                continue;
            };
            assert!(
                *first == next || (is_lossy && (next..next + EACH).contains(first)),
                "{piece:?} begins with {first} and not {next}"
            );
            assert!((*first..=*last).eq(numbers.iter().copied()), "{piece:?}");
            (next, is_lossy) = (last + 1, false);
        }
        assert_eq!(next, count);
    }
}

/// Says how many lines come into the new file.
fn tail_and_move(log: &Path, kept: &Path) -> usize {
    let new = log.with_extension("new");
    let mut tail = Command::new("tail");
    tail.args(["-n", "7"])
        .arg(log)
        .stdout(File::create(&new).unwrap());
    assert!(tail.status().unwrap().success());
    let mut copied = fs::read(&new).unwrap();
    if !copied.ends_with(b"\n") && serde_json::from_slice::<serde_json::Value>(&copied).is_ok() {
        // The last line was read just before its newline came; the recorder ends it.
        copied.push(b'\n');
    }
    fs::hard_link(log, kept).unwrap();
    fs::rename(&new, log).unwrap();
    numbers(&copied).len()
}

/// The numbers in the whole lines; a copy taken in the middle of a write ends in half a line.
fn numbers(bytes: &[u8]) -> Vec<usize> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let lines = lines::parse(&bytes[..whole.map_or(0, |at| at + 1)]);
    let number = |line: &lines::Line| {
        assert_eq!(line.kind, "CREATE", "{}", line.show());
        let name = line.path.rsplit(|byte| *byte == b'/').next().unwrap();
        str::from_utf8(name).unwrap().parse().unwrap()
    };
    lines.iter().map(number).collect()
}

fn in_a_flood() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", &root, &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    recorder.settle("_global", &root);
    let mut files = Files {
        home: &home,
        log: home.log_path("_global"),
        store: ground.directory("rotated"),
        pieces: Vec::new(),
        since: Since::default(),
    };
    let mut made = 0;
    let mut make_up_to = |count| {
        while made < count {
            File::create_new(root.join(made.to_string())).unwrap();
            made += 1;
        }
    };
    for (round, how) in ROTATIONS.into_iter().cycle().take(ROUNDS).enumerate() {
        // At another moment of what the recorder does each time.
        make_up_to(round * EACH + 1 + round * 37 % (EACH - 20));
        files.rotate(how);
        make_up_to((round + 1) * EACH);
        files.wait_for_new_lines(how);
    }
    recorder.settle("_global", &root);
    let said = recorder.stop();
    assert!(said.iter().all(|line| !line.contains("lost")), "{said:?}");
    files.check(ROUNDS * EACH);
}

const ROUNDS: usize = 35;
/// How many files are made in each round.
const EACH: usize = 100;
