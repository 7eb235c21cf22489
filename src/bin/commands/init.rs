//! `fsmon init`

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use fsmon::monitored::path::quoted;
use fsmon::sys::files::create_dirs;

use super::{Outcome, load_config, say};

/// Makes the directories of the logs and of the store.
///
/// Not needed before anything else: whoever needs a directory makes it.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Outcome {
    let config = load_config()?;
    let paths = &config.paths;
    let store_dir = paths.store_file.parent().unwrap_or_else(|| Path::new("/"));
    for (label, dir) in [
        ("log directory: ", paths.log_dir.as_path()),
        ("monitored directory:", store_dir),
    ] {
        create_dirs(dir, config.owner).with_context(|| format!("cannot make {}", quoted(dir)))?;
        say(format_args!("Created {label} {}", dir.display()));
    }
    if !paths.config_file.is_file() {
        let file = paths.config_file.display();
        say(format_args!(
            "(config file is optional — defaults apply without {file})"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
