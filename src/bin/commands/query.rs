//! `fsmon query`

use std::path::PathBuf;

use fsmon::filters::time::{TimeFilter, TimeWindow};

use super::{Failure, Outcome, load_config, now};

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
}

pub(crate) fn run(args: &Args) -> Outcome {
    let _config = load_config()?;
    let now = now();
    let filters = args
        .time
        .iter()
        .map(|text| TimeFilter::parse(text, now))
        .collect::<Result<Vec<_>, _>>();
    let _window = TimeWindow::from_filters(&filters.map_err(Failure::usage)?);
    Err(anyhow::anyhow!("not yet: {:?} {:?}", args.cmd, args.paths).into())
}
