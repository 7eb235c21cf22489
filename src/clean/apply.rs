//! Carrying it out: survey, copy, catch up, and the change of files under the lock.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::plan::{Doomed, Keep};
use super::rewrite::Rewrite;
use super::survey::{Sieve, Survey};
use crate::log::dir::{LogDir, Owner};

/// What is to be done to which log.
#[derive(Clone, Debug)]
pub struct CleanRequest {
    /// The log.
    pub log_path: PathBuf,
    /// What stays.
    pub keep: Keep,
    /// Only say what would go; nothing is written, not even a lock file.
    pub dry_run: bool,
    /// Whom a new lock file belongs to.
    pub owner: Option<Owner>,
}

/// What went and what stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanReport {
    /// Lines that went because of their time.
    pub by_time: u64,
    /// Lines that went because the log was too big.
    pub by_size: u64,
    /// Lines that stayed because their time could not be read.
    pub unreadable: u64,
    /// Size of the log before, in bytes.
    pub before: u64,
    /// Size of the log after, in bytes; on a dry run, what it would be.
    pub after: u64,
}

/// Trims the log, or says what would go. `doomed` is shown, on a dry run only, each line that is
/// outside the wanted time. `None` when there is no such log.
pub fn run(
    request: &CleanRequest,
    doomed: &mut dyn FnMut(&Doomed<'_>) -> io::Result<()>,
) -> Result<Option<CleanReport>> {
    let path = &request.log_path;
    let (Some(parent), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        bail!("'{}' is not the name of a log", path.display());
    };
    let dir = match LogDir::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other
            .with_context(|| format!("cannot open the log directory '{}'", parent.display()))?,
    };
    for _ in 0..ATTEMPTS {
        let cleaning = || format!("cannot clean '{}'", path.display());
        let Some(file) = dir.open_log(name).with_context(cleaning)? else {
            return Ok(None);
        };
        let survey = Survey::take(&file, request, doomed).with_context(cleaning)?;
        if request.dry_run || !survey.any() {
            return Ok(Some(
                survey
                    .forecast(&file, &request.keep)
                    .with_context(cleaning)?,
            ));
        }
        let rewrite = Rewrite {
            dir: &dir,
            name,
            old: &file,
        };
        if let Some(report) = rewrite
            .run(
                Sieve::new(request.keep, survey.surplus),
                survey.end,
                request.owner,
            )
            .with_context(cleaning)?
        {
            return Ok(Some(report));
        }
    }
    bail!(
        "cannot clean '{}': somebody else keeps replacing it",
        path.display()
    )
}

/// How often a log may be replaced under our hands before we give up.
const ATTEMPTS: u32 = 5;

#[cfg(test)]
mod tests;
