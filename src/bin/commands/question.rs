//! What the commands that ask logs have in common: whose log, which paths, what time.

use std::io::{self, StdoutLock};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use fsmon::config::Config;
use fsmon::filters::time::{TimeFilter, TimeWindow};
use fsmon::monitored::path::quoted;
use fsmon::query::{QueryOutcome, QueryRequest};
use fsmon::sys::files;

use super::{Failure, Outcome, absolute_path, now, parse_log, resolved_path, say};

#[derive(clap::Args)]
pub(crate) struct Question {
    /// Whose log; all logs when absent.
    #[arg(value_hint = clap::ValueHint::Other)]
    cmd: Option<String>,
    /// Only this path and what is below; may be repeated.
    #[arg(short = 'p', long = "path", value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    times: Times,
}

#[derive(clap::Args)]
pub(crate) struct Times {
    /// Only such times: [OP]WHEN, WHEN an age (30s 5m 2h 7d 3w), now, today, yesterday, YYYY-MM-DD[ HH:MM[:SS]] in
    /// UTC, or RFC 3339; may be repeated, all must hold.
    #[arg(short, long, value_name = "FILTER", allow_hyphen_values = true)]
    time: Vec<String>,
}

impl Question {
    pub(crate) fn request(&self, config: Config) -> Result<QueryRequest, Failure> {
        let log = self
            .cmd
            .as_deref()
            .map(|cmd| parse_log(cmd).map(|group| group.log_file_name()))
            .transpose()?;
        let mut paths = Vec::new();
        for typed in &self.paths {
            paths.extend(spellings(typed, &config)?);
        }
        Ok(QueryRequest {
            window: self.times.window()?,
            logs: log.map(|log| vec![log]),
            paths,
            log_dir: config.paths.log_dir,
            scan: false,
        })
    }

    /// Says what was noticed, and how it ends.
    pub(crate) fn conclude(&self, request: &QueryRequest, outcome: &QueryOutcome) -> Outcome {
        report(outcome);
        if outcome.no_log {
            let whose = self
                .cmd
                .as_ref()
                .map_or_else(String::new, |cmd| format!(" of '{}'", cmd.escape_debug()));
            return Err(anyhow!("there is no log{whose} in {}", quoted(&request.log_dir)).into());
        }
        Ok(if outcome.refused.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

impl Times {
    /// Whether all times are asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    pub(crate) fn window(&self) -> Result<TimeWindow, Failure> {
        let now = now();
        let filters = self.time.iter().map(|text| TimeFilter::parse(text, now));
        let filters = filters.collect::<Result<Vec<_>, _>>();
        Ok(TimeWindow::from_filters(&filters.map_err(Failure::usage)?))
    }
}

/// A path as it may stand in the logs: as typed, and with links followed as `add` does.
pub(crate) fn spellings(typed: &std::path::Path, config: &Config) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut paths = vec![absolute_path(typed, config)?];
    // A link that cannot be followed now says nothing about what was logged.
    paths.extend(resolved_path(typed, config));
    paths.dedup();
    let bytes = |path: PathBuf| path.into_os_string().into_encoded_bytes();
    Ok(paths.into_iter().map(bytes).collect())
}

/// Where a long answer goes.
pub(crate) fn answer() -> StdoutLock<'static> {
    let out = io::stdout();
    files::widen_pipe(out.as_fd(), PIPE);
    out.lock()
}

/// As much as is read at a time. A larger one falls out of the caches and costs more than it saves.
const PIPE: i32 = 128 * 1024;

/// Says on stderr what an answer lacks.
pub(crate) fn report(outcome: &QueryOutcome) {
    for (file, error) in &outcome.refused {
        say(format_args!("fsmon: cannot read {}: {error}", quoted(file)));
    }
    if outcome.gaps > 0 {
        let more = if outcome.lost_unknown {
            "at least "
        } else {
            ""
        };
        let (gaps, lost) = (outcome.gaps, outcome.lost);
        say(format_args!(
            "fsmon: warning: {gaps} GAP lines: {more}{lost} events were lost there"
        ));
    }
    if outcome.unreadable > 0 {
        say(format_args!(
            "fsmon: warning: {} lines are no events and were left out",
            outcome.unreadable
        ));
    }
    for log in &outcome.out_of_order {
        say(format_args!(
            "fsmon: warning: '{}' is not sorted by time, events may be missing here (`fsmon query --scan` reads all of it)",
            log.escape_debug()
        ));
    }
}
