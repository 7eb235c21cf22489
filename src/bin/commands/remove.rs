//! `fsmon remove`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use fsmon::config::Config;
use fsmon::monitored::path::quoted;
use fsmon::monitored::{GroupName, Store, Watch, WatchSet};
use fsmon::socket::{CallError, ErrorKind, Request, call};

use super::{
    Failure, Outcome, absolute_path, load_config, parse_group, resolved_path, say, store_of,
    warn_of_bad_lines,
};

/// Stops watching paths of a command, or all of them.
///
/// A running daemon stops at once. The log stays.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the program, or _global.
    #[arg(value_hint = clap::ValueHint::Other)]
    cmd: String,
    /// Which path; may be repeated. Without it all paths of CMD.
    #[arg(long = "path", value_name = "PATH", value_hint = clap::ValueHint::Other)]
    paths: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let group = parse_group(&args.cmd)?;
    let store = store_of(&config);
    let (removed, bad) = store.edit(|set| take_out(set, &group, &args.paths, &config))?;
    warn_of_bad_lines(&store, &bad);
    let requests = requests(&group, args, &removed);
    for (at, request) in requests.iter().enumerate() {
        match call(&config.paths.socket, config.uid, request) {
            Ok(_) => {}
            Err(CallError::NotRunning) => {
                say("Entry removed");
                say("Daemon is not running — there was nothing to stop.");
                return Ok(ExitCode::SUCCESS);
            }
            Err(
                error @ CallError::Refused {
                    kind: Some(ErrorKind::Permanent),
                    ..
                },
            ) => {
                // What the daemon already dropped stays out; with one request for the group, that is nothing.
                put_back(&store, &removed[at..])?;
                return Err(anyhow!("cannot stop watching for '{group}': {error}").into());
            }
            // It started since, from a store without the entry.
            Err(error) if error.is_not_watched() => {}
            Err(error) => {
                let error = anyhow!("'{group}' may still be watched: {error}");
                return Err(Failure::from(error)
                    .hint("the entry is out of the store; restart the daemon to be sure"));
            }
        }
    }
    say("Entry removed");
    say("The running daemon has stopped watching it.");
    Ok(ExitCode::SUCCESS)
}

/// Takes all that was asked for out of the set, or nothing.
fn take_out(
    set: &mut WatchSet,
    group: &GroupName,
    paths: &[PathBuf],
    config: &Config,
) -> anyhow::Result<Vec<Watch>> {
    if paths.is_empty() {
        let removed = set.remove(group, None);
        ensure!(!removed.is_empty(), "nothing is watched for '{group}'");
        return Ok(removed);
    }
    let mut removed = Vec::new();
    for typed in paths {
        let found = candidates(typed, config).find(|path| set.find(group, path).is_some());
        let found =
            found.ok_or_else(|| anyhow!("{} is not watched for '{group}'", quoted(typed)))?;
        removed.extend(set.remove(group, Some(&found)));
    }
    Ok(removed)
}

/// What may have been stored for a typed path: as it is, or with its links followed.
fn candidates(typed: &Path, config: &Config) -> impl Iterator<Item = PathBuf> {
    absolute_path(typed, config)
        .into_iter()
        .chain(resolved_path(typed, config))
}

fn requests(group: &GroupName, args: &Args, removed: &[Watch]) -> Vec<Request> {
    if args.paths.is_empty() {
        return vec![Request::remove(group.as_str(), None)];
    }
    let one = |watch: &Watch| Request::remove(group.as_str(), Some(&watch.path.to_string_lossy()));
    removed.iter().map(one).collect()
}

fn put_back(store: &Store, removed: &[Watch]) -> anyhow::Result<()> {
    store.edit(|set| {
        for watch in removed {
            if set.find(&watch.group, &watch.path).is_none() {
                set.add_or_replace(watch.clone());
            }
        }
        Ok(())
    })?;
    Ok(())
}
