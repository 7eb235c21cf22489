//! `fsmon policy`

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use fsmon::monitor::watchman::{DEFAULT_POLICY, Unusable, Watchman, read_policy};
use fsmon::monitored::path::quoted;
use fsmon::policy::Policy;

use super::{Failure, Outcome, say};

/// Looks after the rules about what may happen
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Check(Check),
}

/// Says what each rule does, or every mistake with its line
///
/// A daemon that runs reads the file again on SIGHUP.
#[derive(clap::Args)]
struct Check {
    /// The file [default: /etc/fsmon/policy.toml].
    file: Option<PathBuf>,
    /// The same, as for `fsmon daemon`.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    policy: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Command::Check(check) = &args.command;
    let typed = check.file.as_ref().or(check.policy.as_ref());
    let file = typed.map_or_else(|| Path::new(DEFAULT_POLICY), PathBuf::as_path);
    let policy = read_policy(file).map_err(|error| failure(file, error))?;
    let mut out = io::stdout().lock();
    out.write_all(policy.explain().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The rules that are in force for a command: those of the file, if one is named or the usual one is there.
pub(crate) fn watchman(named: Option<&Path>) -> Result<Watchman, Failure> {
    let file = named.unwrap_or_else(|| Path::new(DEFAULT_POLICY));
    if named.is_none() && file.symlink_metadata().is_err() {
        return Ok(Watchman::new(Policy::default(), Some(file.to_owned())));
    }
    let policy = read_policy(file).map_err(|error| failure(file, error))?;
    Ok(Watchman::new(policy, Some(file.to_owned())))
}

/// Says what is wrong with a policy.
pub(crate) fn failure(file: &Path, error: Unusable) -> Failure {
    match error {
        Unusable::File(error) => Failure::usage(error),
        Unusable::Mistakes(mistakes) => {
            for mistake in &mistakes {
                let (line, what) = (mistake.line, &mistake.what);
                say(format_args!("{}:{line}: {what}", quoted(file)));
            }
            let count = mistakes.len();
            let plural = if count == 1 { "mistake" } else { "mistakes" };
            Failure::usage(anyhow!("{count} {plural} in the policy {}", quoted(file)))
        }
    }
}
