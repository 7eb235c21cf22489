//! The files of each log, in the order in which they were written: what was rotated away, what was
//! copied before a clean, what stands there at the end.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::lines::{self, Line};

/// A file that was a log for some time.
#[derive(Debug)]
struct Piece {
    path: PathBuf,
    /// Its front goes on as the next piece.
    is_copy: bool,
}

/// All files of one log.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) log: PathBuf,
    store: PathBuf,
    pieces: Vec<Piece>,
}

/// How a log is taken away from the recorder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rotation {
    Rename,
    RenameAndCreate,
    LinkAndDelete,
}

impl Pieces {
    pub(crate) fn new(log: PathBuf, store: &Path) -> Self {
        let store = store.join(log.file_stem().unwrap());
        fs::create_dir_all(&store).unwrap();
        Self {
            log,
            store,
            pieces: Vec::new(),
        }
    }

    fn next(&mut self, is_copy: bool) -> PathBuf {
        let path = self.store.join(self.pieces.len().to_string());
        self.pieces.push(Piece {
            path: path.clone(),
            is_copy,
        });
        path
    }

    /// The last rotated piece and the log itself, as far as they are there.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &Path> {
        let kept = self.pieces.iter().rev().find(|piece| !piece.is_copy);
        kept.map(|piece| piece.path.as_path())
            .into_iter()
            .chain([self.log.as_path()])
    }

    pub(crate) fn rotate(&mut self, how: Rotation) {
        if fs::symlink_metadata(&self.log).is_err() {
            return;
        }
        let kept = self.next(false);
        match how {
            Rotation::Rename | Rotation::RenameAndCreate => fs::rename(&self.log, &kept).unwrap(),
            Rotation::LinkAndDelete => {
                fs::hard_link(&self.log, &kept).unwrap();
                fs::remove_file(&self.log).unwrap();
            }
        }
        if let Rotation::RenameAndCreate = how {
            // On a full disk, or when the recorder was faster, there is none to make.
            let mut file = OpenOptions::new();
            file.append(true).create(true).open(&self.log).ok();
        }
    }

    /// Keeps a copy of the log before somebody cuts its front off; a time of which there are lines on
    /// both sides, if it is long enough for that.
    pub(crate) fn before_a_clean(&mut self, elsewhere: &Path) -> Option<String> {
        let bytes = fs::read(&self.log).ok()?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
        let text = str::from_utf8(&bytes[..whole]).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        if lines.len() < 400 {
            return None;
        }
        let time = lines[lines.len() / 2].get(9..39)?.to_owned();
        let name = format!("{}.{}", self.log.file_stem()?.display(), self.pieces.len());
        let kept = elsewhere.join(name);
        fs::write(&kept, &bytes[..whole]).unwrap();
        self.pieces.push(Piece {
            path: kept,
            is_copy: true,
        });
        Some(time)
    }

    /// The whole log. Panics when one of its files is not as promised. Where the clock was set, a recorder that
    /// begins a new file knows no earlier line.
    pub(crate) fn read(&self, was_clock_set: bool) -> Vec<Line> {
        let mut all: Vec<Line> = Vec::new();
        for (path, bytes) in self.whole_pieces() {
            let lines = lines::parse(&bytes);
            if let (Some(last), Some(first)) = (all.last(), lines.first()) {
                assert!(
                    was_clock_set || first.time >= last.time,
                    "time goes back from {} to {} at the begin of {}",
                    last.show(),
                    first.show(),
                    path.display()
                );
            }
            all.extend(lines);
        }
        all
    }

    /// All lines of it, as they stood there.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let pieces = self.whole_pieces();
        pieces.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }

    fn whole_pieces(&self) -> Vec<(&Path, Vec<u8>)> {
        let mut whole = Vec::new();
        let mut front: Option<Vec<u8>> = None;
        let kept = self.pieces.iter().map(|piece| (&piece.path, piece.is_copy));
        for (path, is_copy) in kept.chain([(&self.log, false)]) {
            let bytes = fs::read(path).unwrap_or_default();
            let bytes = bytes.trim_ascii_start();
            let mut bytes = match front.take() {
                Some(front) => joined(&front, bytes),
                None => bytes.to_vec(),
            };
            if is_copy {
                front = Some(bytes);
                continue;
            }
            // A recorder that was killed in the middle of a write to a full disk may have left half a line.
            let end = bytes.iter().rposition(|byte| *byte == b'\n');
            bytes.truncate(end.map_or(0, |at| at + 1));
            whole.push((path.as_path(), bytes));
        }
        whole
    }
}

/// What stood in a log before its front was cut off, and what stands in it now.
fn joined(before: &[u8], now: &[u8]) -> Vec<u8> {
    let Some(end) = now.iter().position(|byte| *byte == b'\n') else {
        return before.to_vec();
    };
    let first = &now[..=end];
    let mut at = 0;
    while at < before.len() {
        let rest = &before[at..];
        let stop = rest.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        if rest[..stop].trim_ascii_start() == first {
            let known = rest.trim_ascii_start();
            if now.starts_with(known) || known.starts_with(now) {
                break;
            }
        }
        at += stop;
    }
    [&before[..at], now].concat()
}
