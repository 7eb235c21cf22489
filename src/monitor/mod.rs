//! The machinery around the pipeline: feed, engine, marks, daemon.
#![forbid(unsafe_code)]

pub mod control;

/// Temporary stand-in.
pub fn run_daemon(config: crate::config::Config, debug: bool) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not yet {config:?} {debug}")
}
