//! `fsmon query`

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use fsmon::config::Config;
use fsmon::filters::time::{TimeFilter, TimeWindow};
use fsmon::monitored::path::quoted;
use fsmon::query::{self, QueryOutcome, QueryRequest};

use super::{Failure, Outcome, absolute_path, load_config, now, parse_group, resolved_path, say};

/// Asks the logs; prints the lines that match, JSONL, oldest first
///
///   fsmon query _global -t '>1h'
///   fsmon query nginx -p /var/www -t '>=2026-05-01' -t '<2026-05-02 12:00' | jq -r .path
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Whose log; all logs when absent.
    cmd: Option<String>,
    /// Only this path and what is below; may be repeated.
    #[arg(short = 'p', long = "path", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only such times: [OP]WHEN, WHEN an age (30s 5m 2h 7d 3w), now, today, yesterday, YYYY-MM-DD[ HH:MM[:SS]] in
    /// UTC, or RFC 3339; may be repeated, all must hold.
    #[arg(short, long, value_name = "FILTER", allow_hyphen_values = true)]
    time: Vec<String>,
    /// Read the logs from beginning to end, in case that somebody has sorted one wrongly.
    #[arg(long)]
    scan: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let now = now();
    let filters = args
        .time
        .iter()
        .map(|text| TimeFilter::parse(text, now))
        .collect::<Result<Vec<_>, _>>();
    let window = TimeWindow::from_filters(&filters.map_err(Failure::usage)?);
    let log = args
        .cmd
        .as_deref()
        .map(|cmd| parse_group(cmd).map(|group| group.log_file_name()))
        .transpose()?;
    let request = QueryRequest {
        logs: log.map(|log| vec![log]),
        paths: paths(args, &config)?,
        log_dir: config.paths.log_dir,
        window,
        scan: args.scan,
    };
    let outcome = query::run(&request, &mut io::stdout().lock())?;
    report(&outcome);
    if outcome.no_log {
        let whose = args
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

/// The paths as they may stand in the logs: as typed, and with links followed as `add` does.
fn paths(args: &Args, config: &Config) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for typed in &args.paths {
        paths.push(absolute_path(typed, config)?);
        // A link that cannot be followed now says nothing about what was logged.
        paths.extend(resolved_path(typed, config));
    }
    paths.dedup();
    Ok(paths
        .into_iter()
        .map(|path| path.into_os_string().into_encoded_bytes())
        .collect())
}

fn report(outcome: &QueryOutcome) {
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
            "fsmon: warning: '{}' is not sorted by time, events may be missing here (--scan reads all of it)",
            log.escape_debug()
        ));
    }
}
