//! Puts feed, process table, pipeline and engine together: the same for the daemon and for `watch`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::engine::Engine;
use super::feed::Feed;
use super::marks::Dialect;
use super::report::{Level, Reporter};
use crate::config::{Chain, Config};
use crate::pipeline::{Pipeline, Settings};
use crate::proc_cache::{FeedOptions, ProcFeed, ProcLimits, ProcTable};
use crate::sys::clock;
use crate::sys::fanotify::Group;

/// Opens all that is read from, and says what of it is lacking.
pub(super) fn open_engine(
    config: &Config,
    group: Group,
    dialect: Dialect,
    reporter: &Reporter,
) -> anyhow::Result<(Arc<Feed>, Engine)> {
    let processes = match open_processes(config) {
        Ok(feed) => {
            for source in feed.sources() {
                let level = if source.is_lacking {
                    Level::Warning
                } else {
                    Level::Info
                };
                reporter.say(level, &source.text);
            }
            Some(feed)
        }
        Err(error) => {
            reporter.say(
                Level::Warning,
                &format!("processes that end quickly will be unknown: {error}"),
            );
            None
        }
    };
    let mut table = ProcTable::new(ProcLimits {
        ttl: u64::try_from(config.cache.proc_ttl.as_nanos()).unwrap_or(u64::MAX),
        ..ProcLimits::default()
    });
    // After subscribing, so that nothing falls between.
    if let Err(error) = table.snapshot(Path::new("/proc"), clock::monotonic()) {
        reporter.say(
            Level::Warning,
            &format!("processes that run already will be unknown: /proc: {error}"),
        );
    }
    if dialect == Dialect::Legacy {
        reporter.say(Level::Warning, LEGACY_LACKS);
    }
    engine_of(config, group, dialect, processes, table)
}

/// Opens what is told about processes.
pub(super) fn open_processes(config: &Config) -> io::Result<ProcFeed> {
    ProcFeed::open(FeedOptions {
        perf: !config.test.no_perf,
        ..FeedOptions::default()
    })
}

/// Puts an engine together that reads from `processes`, if that could be opened.
pub(super) fn engine_of(
    config: &Config,
    group: Group,
    dialect: Dialect,
    processes: Option<ProcFeed>,
    table: ProcTable,
) -> anyhow::Result<(Arc<Feed>, Engine)> {
    let ceiling = usize::try_from(config.capture.ceiling).unwrap_or(usize::MAX);
    let feed = Arc::new(Feed::new(ceiling, config.cache.buffer_size, processes)?);
    let settings = Settings {
        own_pid: std::process::id(),
        dir_capacity: config.cache.dir_cap,
        dir_ttl: config.cache.dir_ttl.as_secs(),
        file_capacity: config.cache.file_size,
        chain_always: config.logging.chain == Chain::Always,
        legacy: dialect == Dialect::Legacy,
    };
    let engine = Engine::new(feed.clone(), Pipeline::new(settings, table), group, dialect)?;
    Ok((feed, engine))
}

/// What it means that the kernel speaks the old dialect.
pub(super) const LEGACY_LACKS: &str = "this kernel does not name what is renamed or made (that needs 5.17); paths of directories that live shortly may be missing";
