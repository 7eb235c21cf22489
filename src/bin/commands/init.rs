//! `fsmon init`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use fsmon::monitored::path::quoted;
use fsmon::sys::files::create_dirs;

use super::completions::{self, Shell};
use super::{Outcome, load_config, manual, say};

/// Makes the directories of the logs and of the store
///
/// Not needed before anything else: whoever needs a directory makes it. With --completions or --man it
/// makes no directory of its own, but what a shell and man(1) want to know about the commands:
///
///   fsmon init --completions bash > /etc/bash_completion.d/fsmon
///   fsmon init --completions zsh > /usr/local/share/zsh/site-functions/_fsmon
///   fsmon init --completions fish > ~/.config/fish/completions/fsmon.fish
///   fsmon init --man /usr/local/share/man/man1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Print the completions for a shell.
    #[arg(long, value_name = "SHELL", conflicts_with = "man")]
    completions: Option<Shell>,
    /// Write the manual pages, fsmon.1 and one for each command, into this directory.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    man: Option<PathBuf>,
}

/// `definitions`: all that the program takes.
pub(crate) fn run(args: &Args, definitions: clap::Command) -> Outcome {
    if let Some(shell) = args.completions {
        return completions::print(shell, definitions);
    }
    if let Some(dir) = &args.man {
        return manual::write(definitions, dir);
    }
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
