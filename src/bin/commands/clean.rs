//! `fsmon clean`

use fsmon::filters::Op;
use fsmon::filters::size::SizeFilter;
use fsmon::filters::time::TimeFilter;

use super::{Failure, Outcome, load_config, now, parse_group};

/// Trims a log by age or size.
///
/// The time filter says what is kept: `>7d` keeps the last seven days. When the size comparison then still
/// holds, the oldest lines go until the log is about that large. Safe while the daemon runs. The defaults
/// are keep_days and size in fsmon.toml, else 30 days and >=1GB.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whose log.
    cmd: String,
    /// What to keep: [OP]WHEN as for `fsmon query`.
    #[arg(short, long, value_name = "FILTER", allow_hyphen_values = true)]
    time: Option<String>,
    /// From what size to cut, and to what: [OP]NUM[UNIT].
    #[arg(short, long, value_name = "EXPR", allow_hyphen_values = true)]
    size: Option<String>,
    /// Only say what would go.
    #[arg(short, long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let _group = parse_group(&args.cmd)?;
    let now = now();
    let _keep = match &args.time {
        Some(text) => TimeFilter::parse(text, now).map_err(Failure::usage)?,
        None => TimeFilter::parse(&format!(">{}d", config.logging.keep_days), now)?,
    };
    let _size = match &args.size {
        Some(text) => text.parse::<SizeFilter>().map_err(Failure::usage)?,
        None => config.logging.size,
    };
    let _ = Op::Over;
    Err(anyhow::anyhow!("not yet {}", args.dry_run).into())
}
