//! `fsmon daemon`

use std::path::PathBuf;

use fsmon::config::CacheSettings;
use fsmon::monitor::{NoFanotify, run_daemon};

use super::policy::watchman;
use super::{Failure, Outcome, load_config_with};

/// Records; needs root.
///
/// Watches what is in the store, and what `fsmon add` brings while it runs. Logs go to
/// ~/.local/state/fsmon. Prints `ready` on stdout when it records. SIGTERM and SIGINT end it in order;
/// SIGHUP reads store, configuration and policy again.
///
/// The cache settings also stand in fsmon.toml, section [cache]; the command line wins.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print what is recorded, and statistics.
    #[arg(short, long)]
    debug: bool,
    /// How many directories are remembered [default: 100000].
    #[arg(long, value_name = "N")]
    cache_dir_cap: Option<u64>,
    /// How long an unused directory is remembered, in seconds [default: 3600].
    #[arg(long, value_name = "SECS")]
    cache_dir_ttl: Option<u64>,
    /// How many file sizes are remembered [default: 10000].
    #[arg(long, value_name = "N")]
    cache_file_size: Option<u64>,
    /// How long a dead process is remembered, in seconds [default: 600].
    #[arg(long, value_name = "SECS")]
    cache_proc_ttl: Option<u64>,
    /// How often --debug prints statistics, in seconds [default: 60].
    #[arg(long, value_name = "SECS")]
    cache_stats_interval: Option<u64>,
    /// Size of one read from the kernel, 4096 to 1048576 [default: 32768].
    #[arg(long, value_name = "BYTES")]
    buffer_size: Option<u64>,
    /// Rules about what may happen; SIGHUP reads them again [default: /etc/fsmon/policy.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config_with(&CacheSettings {
        dir_capacity: args.cache_dir_cap,
        dir_ttl_secs: args.cache_dir_ttl,
        file_size_capacity: args.cache_file_size,
        proc_ttl_secs: args.cache_proc_ttl,
        stats_interval_secs: args.cache_stats_interval,
        buffer_size: args.buffer_size,
    })?;
    let watchman = watchman(args.policy.as_deref())?;
    run_daemon(config, watchman, args.debug).map_err(|error| {
        let hint = error.downcast_ref().and_then(NoFanotify::hint);
        let failure = Failure::from(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}
