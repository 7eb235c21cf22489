//! What happened last to each path.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use super::newest::{Back, each_back};
use super::plan::Selection;
use super::run::{OUT_BUFFER, QueryOutcome, QueryRequest, block_for, open_logs};
use super::seen::{Digests, Seen};
use super::spill::{Spill, Spot};
use crate::log::line::path_of;

/// Writes the last wanted line of each path to `out`, the newest first, byte for byte as stored.
///
/// Holes are counted and not written. The first lines come at once; of more paths than fit into some
/// memory, where their lines stand is kept in a temporary file.
pub fn changes(request: &QueryRequest, out: &mut dyn Write) -> Result<QueryOutcome> {
    remembering(MOST, request, out)
}

/// The same, with at most `most` paths in memory.
fn remembering(most: usize, request: &QueryRequest, out: &mut dyn Write) -> Result<QueryOutcome> {
    let mut outcome = QueryOutcome::default();
    let files = open_logs(request, &mut outcome)?;
    if request.window.is_empty() {
        return Ok(outcome);
    }
    let selection = Selection::new(request.window, &request.paths);
    let again: io::Result<Vec<File>> = files.iter().map(|(_, file)| file.try_clone()).collect();
    let mut last = Last {
        files: again.context("cannot read the logs")?,
        out: BufWriter::with_capacity(OUT_BUFFER, out),
        digests: Digests::default(),
        seen: Seen::new(most),
        spill: None,
        recent: vec![0; RECENT],
        lines: 0,
        lost: Vec::new(),
    };
    let block = block_for(files.len());
    each_back(files, &selection, block, &mut outcome, &mut |lines| {
        last.take(lines)
    })?;
    last.end(&mut outcome)?;
    Ok(outcome)
}

struct Last<'o> {
    files: Vec<File>,
    out: BufWriter<&'o mut dyn Write>,
    digests: Digests,
    /// Paths whose last line was written.
    seen: Seen,
    /// Lines of all other paths, once there are too many to remember.
    spill: Option<Spill>,
    /// Paths that were written down lately: most lines of a path stand close together.
    recent: Vec<u128>,
    lines: u64,
    lost: Vec<i64>,
}

impl Last<'_> {
    fn take(&mut self, lines: &[Back<'_>]) -> io::Result<()> {
        // First all digests, then all look-ups: those wait for memory, and so they wait together.
        let digest = |line: &Back<'_>| Some(self.digests.of(&path_of(line.bytes)?));
        let digests: Vec<Option<u128>> = lines.iter().map(digest).collect();
        for (line, digest) in lines.iter().zip(digests) {
            match (line.lost, digest) {
                (Some(lost), _) => self.lost.push(lost),
                (None, Some(digest)) => self.take_line(line, digest)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &Back<'_>, digest: u128) -> io::Result<()> {
        if let Some(spill) = &mut self.spill {
            let recent = &mut self.recent[digest as usize % RECENT];
            if *recent != digest && !self.seen.contains(digest) {
                spill.note(digest, line)?;
            }
            *recent = digest;
        } else if self.seen.insert(digest) {
            self.lines += 1;
            self.out.write_all(line.bytes)?;
            if self.seen.is_full() {
                self.spill = Some(Spill::new()?);
            }
        }
        Ok(())
    }

    fn end(mut self, outcome: &mut QueryOutcome) -> io::Result<()> {
        if let Some(spill) = self.spill.take() {
            self.out.flush()?;
            self.seen.clear();
            let Self {
                files,
                out,
                digests,
                lines,
                ..
            } = &mut self;
            let mut bytes = Vec::new();
            spill.each(&mut |digest, spot| {
                if read_line(&files[spot.log], spot, &mut bytes)?
                    && path_of(&bytes).is_some_and(|path| digests.of(&path) == digest)
                {
                    *lines += 1;
                    out.write_all(&bytes)?;
                }
                Ok(())
            })?;
        }
        outcome.count(self.lines, &self.lost);
        self.out.flush()
    }
}

/// Reads a line again; false when the log has become shorter.
fn read_line(file: &File, spot: Spot, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.resize(spot.len, 0);
    match file.read_exact_at(bytes, spot.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

/// So many paths are remembered in memory: some 50 MiB.
const MOST: usize = 1_800_000;
const RECENT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::event::WallTime;
    use crate::filters::time::TimeWindow;
    use crate::log::line::{glance, write_time};

    fn line(second: i64, path: &str, kind: &str) -> String {
        let mut time = Vec::new();
        write_time(WallTime(second * 1_000_000_000), &mut time);
        let time = String::from_utf8(time).unwrap();
        format!(
            "{{\"time\":\"{time}\",\"event_type\":\"{kind}\",\"path\":\"{path}\",\"pid\":1,\"chain\":\"\"}}\n"
        )
    }

    /// Each line with its log, newest first, and of each path the first of them.
    fn plainly(logs: &[String], window: TimeWindow, prefix: Option<&str>) -> String {
        let mut all: Vec<(WallTime, usize, usize, &str)> = Vec::new();
        for (log, text) in logs.iter().enumerate() {
            for (at, line) in text.split_inclusive('\n').enumerate() {
                let time = glance(line.as_bytes()).unwrap().time;
                all.push((time, log, at, line));
            }
        }
        all.sort_unstable();
        let mut seen = HashSet::new();
        let mut out = String::new();
        for (time, _, _, line) in all.into_iter().rev() {
            let path = glance(line.as_bytes()).unwrap().path().into_owned();
            let path = String::from_utf8(path).unwrap();
            let below = |prefix: &str| {
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if window.contains(time) && prefix.is_none_or(below) && seen.insert(path.clone()) {
                out += line;
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn the_newest_line_of_each_path_comes_once(
            logs in proptest::collection::vec(proptest::collection::vec((0_i64..40, 0_u8..12, any::<bool>()), 0..60), 1..4),
            first in -5_i64..40, length in 0_i64..60,
            prefix in proptest::option::of(proptest::sample::select(vec!["/d", "/d/1", "/o"])),
            most in proptest::sample::select(vec![1, 3, 100]),
        ) {
            let place = tempfile::tempdir().unwrap();
            let mut texts = Vec::new();
            for (number, mut lines) in logs.into_iter().enumerate() {
                lines.sort_by_key(|line| line.0);
                let text: String = lines.iter().map(|(second, path, odd)| {
                    let path = match path { 0..6 => format!("/d/{path}"), 6..9 => format!("/o\\n/{path}"), _ => format!("/d/1/{path}") };
                    line(*second, &path, if *odd { "CREATE" } else { "DELETE" })
                }).collect();
                fs::write(place.path().join(format!("g{number}_log.jsonl")), &text).unwrap();
                texts.push(text);
            }
            let window = TimeWindow { first: WallTime(first * 1_000_000_000), last: WallTime((first + length) * 1_000_000_000) };
            let request = QueryRequest {
                log_dir: place.path().to_owned(),
                logs: None,
                paths: prefix.iter().map(|prefix| prefix.as_bytes().to_vec()).collect(),
                window,
                scan: false,
            };
            let mut out = Vec::new();
            let outcome = remembering(most, &request, &mut out).unwrap();
            let expected = plainly(&texts, window, prefix);
            prop_assert_eq!(String::from_utf8(out).unwrap(), &expected[..]);
            prop_assert_eq!(outcome.lines, expected.lines().count() as u64);
        }
    }

    #[test]
    fn holes_are_counted_and_not_written() {
        let place = tempfile::tempdir().unwrap();
        let hole = line(2, "", "GAP").replace("\"pid\":1", "\"pid\":0,\"lost\":7");
        let text = line(1, "/a", "CREATE") + &hole + &line(3, "/a", "DELETE") + "torn";
        fs::write(place.path().join("g_log.jsonl"), text).unwrap();
        let request = QueryRequest {
            log_dir: place.path().to_owned(),
            logs: None,
            paths: Vec::new(),
            window: TimeWindow::ALL,
            scan: false,
        };
        let mut out = Vec::new();
        let outcome = changes(&request, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), line(3, "/a", "DELETE"));
        assert_eq!((outcome.lines, outcome.gaps, outcome.lost), (1, 1, 7));
    }
    #[test]
    fn garbage_with_an_old_time_is_not_where_the_window_begins() {
        let place = tempfile::tempdir().unwrap();
        // The recorder's form but for one byte.
        let mut garbage = line(1, "/?", "CREATE").into_bytes();
        let at = garbage.iter().position(|byte| *byte == b'?').unwrap();
        garbage[at] = 0xff;
        let mut log = Vec::new();
        for number in 0..500 {
            log.extend(garbage.repeat(7));
            log.extend(line(100, &format!("/{number}"), "CREATE").bytes());
        }
        fs::write(place.path().join("g_log.jsonl"), log).unwrap();
        let request = QueryRequest {
            log_dir: place.path().to_owned(),
            logs: None,
            paths: Vec::new(),
            window: TimeWindow {
                first: WallTime(50_000_000_000),
                ..TimeWindow::ALL
            },
            scan: false,
        };
        let mut out = Vec::new();
        let outcome = changes(&request, &mut out).unwrap();
        assert_eq!((outcome.lines, outcome.unreadable), (500, 3500));
        assert!(outcome.out_of_order.is_empty());
    }
}
