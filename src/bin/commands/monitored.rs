//! `fsmon monitored`, and the hidden `fsmon list-monitored-paths` for shell completion

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use fsmon::monitored::store::lines;

use super::{Outcome, load_config, store_of, warn_of_bad_lines};

/// Lists what is watched, one JSON line for each command.
///
/// Lines of the store that cannot be read are named on stderr.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Outcome {
    let store = store_of(&load_config()?);
    let (set, bad) = store.load()?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in lines(&set)? {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    warn_of_bad_lines(&store, &bad);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list_paths() -> Outcome {
    let store = store_of(&load_config()?);
    let (set, bad) = store.load()?;
    let mut out = BufWriter::new(io::stdout().lock());
    for watch in set.iter() {
        writeln!(out, "{}", watch.path.display())?;
    }
    out.flush()?;
    warn_of_bad_lines(&store, &bad);
    Ok(ExitCode::SUCCESS)
}
