//! A query from the names of the logs to the bytes on the way out.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::merge::{Reading, Stream, write_merged};
use super::plan::Selection;
use crate::filters::time::TimeWindow;
use crate::log::alert::LOG_NAME as ALERTS;
use crate::log::dir::LogDir;
use crate::log::order::looks_sorted;

/// What is asked.
#[derive(Clone, Debug)]
pub struct QueryRequest {
    /// Where the logs are.
    pub log_dir: PathBuf,
    /// Names of log files (`nginx_log.jsonl`); `None` means every event log there is.
    pub logs: Option<Vec<String>>,
    /// Only events at or below one of these absolute paths; empty means all.
    pub paths: Vec<Vec<u8>>,
    /// Only events of this time.
    pub window: TimeWindow,
    /// Read everything, in case that somebody has sorted a log wrongly.
    pub scan: bool,
}

/// How it went, besides the lines.
#[derive(Debug, Default)]
pub struct QueryOutcome {
    /// Lines handed out, holes included.
    pub lines: u64,
    /// No log of those asked for is there.
    pub no_log: bool,
    /// Names that were asked for and are not there.
    pub missing: Vec<String>,
    /// Logs that could not be read, and why.
    pub refused: Vec<(PathBuf, io::Error)>,
    /// Holes among the lines handed out.
    pub gaps: u64,
    /// Events known to be lost in them.
    pub lost: u64,
    /// Whether one of them does not know how many were lost.
    pub lost_unknown: bool,
    /// Lines passed over because they are no events: not JSON, or without a time.
    pub unreadable: u64,
    /// Logs whose lines are not sorted by time; the answer may lack some of them.
    pub out_of_order: Vec<String>,
    /// A path had so many names that some of them were not followed.
    pub names_left_out: bool,
}

/// Writes the wanted lines to `out`, byte for byte as they are stored and sorted by time.
///
/// An error of `out` itself comes back as the `io::Error` it was, so that the caller can tell a
/// closed pipe from a failure.
pub fn run(request: &QueryRequest, out: &mut dyn Write) -> Result<QueryOutcome> {
    let mut outcome = QueryOutcome::default();
    let files = open_logs(request, &mut outcome)?;
    let selection = Selection::new(request.window, &request.paths);
    let how = Reading {
        scan: request.scan,
        apart: files.len() > 1,
        block: block_for(files.len()),
    };
    let mut streams = Vec::new();
    for (name, file) in files {
        let path = request.log_dir.join(&name);
        match Stream::open(name, file, &selection, &how) {
            Ok(stream) => streams.push(stream),
            Err(error) => outcome.refused.push((path, error)),
        }
    }
    if !request.window.is_empty() {
        let mut out = BufWriter::with_capacity(OUT_BUFFER, out);
        write_merged(streams, &mut out, &mut outcome)?;
    }
    Ok(outcome)
}

/// Opens the logs that are asked for; what is missing or refused goes into `outcome`.
pub(super) fn open_logs(
    request: &QueryRequest,
    outcome: &mut QueryOutcome,
) -> Result<Vec<(String, File)>> {
    let dir = match LogDir::open(&request.log_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            outcome.no_log = true;
            outcome.missing = request.logs.clone().unwrap_or_default();
            return Ok(Vec::new());
        }
        other => other.with_context(|| {
            format!(
                "cannot open the log directory '{}'",
                request.log_dir.display()
            )
        })?,
    };
    let names = match &request.logs {
        Some(names) => names.clone(),
        None => {
            let mut names = dir
                .log_names()
                .with_context(|| format!("cannot list '{}'", request.log_dir.display()))?;
            // Alerts tell of events once more.
            names.retain(|name| name != ALERTS);
            names
        }
    };
    let mut files = Vec::new();
    for name in names {
        match dir.open_log(&name) {
            Ok(Some(file)) => {
                outcome.look_at_order(request, &name, &file);
                files.push((name, file));
            }
            Ok(None) => outcome.missing.push(name),
            Err(error) => outcome.refused.push((request.log_dir.join(name), error)),
        }
    }
    outcome.no_log = files.is_empty() && outcome.refused.is_empty();
    Ok(files)
}

/// How many bytes of each of `logs` logs are read at a time.
pub(super) fn block_for(logs: usize) -> usize {
    (BLOCKS / logs.max(1)).clamp(SMALLEST_BLOCK, LARGEST_BLOCK)
}

impl QueryOutcome {
    /// Notes when the log is not one in which a time can be found by halving.
    fn look_at_order(&mut self, request: &QueryRequest, name: &str, file: &File) {
        // Whoever reads all of it sees for himself.
        if request.scan || request.window == TimeWindow::ALL {
            return;
        }
        // What cannot be read is said by whoever reads it.
        let looks_sorted = file
            .metadata()
            .and_then(|meta| looks_sorted(file, meta.len()));
        if matches!(looks_sorted, Ok(false)) {
            self.note_unsorted(name);
        }
    }

    /// Notes a log that is not sorted, once.
    pub(super) fn note_unsorted(&mut self, name: &str) {
        if !self.out_of_order.iter().any(|known| known == name) {
            self.out_of_order.push(name.to_owned());
        }
    }

    pub(super) fn count(&mut self, lines: u64, lost: &[i64]) {
        self.lines += lines;
        for lost in lost {
            self.gaps += 1;
            match u64::try_from(*lost) {
                // What is counted may come from a log that anybody wrote.
                Ok(lost) => self.lost = self.lost.saturating_add(lost),
                Err(_) => self.lost_unknown = true,
            }
        }
    }
}

/// Memory for reading, all logs together.
const BLOCKS: usize = 4 * 1024 * 1024;
const SMALLEST_BLOCK: usize = 4 * 1024;
const LARGEST_BLOCK: usize = 128 * 1024;
pub(super) const OUT_BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests;
