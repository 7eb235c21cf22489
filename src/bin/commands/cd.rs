//! `fsmon cd`

use std::env;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, anyhow};
use fsmon::monitored::path::quoted;

use super::{Failure, Outcome, load_config, say};

/// Opens a shell in the log directory.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Outcome {
    let dir = load_config()?.paths.log_dir;
    if !dir.is_dir() {
        let error = anyhow!("there is no log directory {} yet", quoted(&dir));
        return Err(Failure::from(error).hint("run 'fsmon init'"));
    }
    let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| OsString::from("/bin/sh"));
    say("Entering fsmon log directory (type 'exit' to return)...");
    say(format_args!("  {}", dir.display()));
    say("");
    let status = Command::new(&shell).current_dir(&dir).status();
    let status =
        status.with_context(|| format!("cannot start the shell {}", quoted(Path::new(&shell))))?;
    // As shells do: a child ended by a signal counts as 128 + its number.
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}
