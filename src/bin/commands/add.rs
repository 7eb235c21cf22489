//! `fsmon add`

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use fsmon::config::Config;
use fsmon::monitored::path::quoted;
use fsmon::monitored::{Store, Watch, WatchOptions, WatchSet};
use fsmon::socket::{CallError, ErrorKind, Request, call};

use super::{
    Failure, Outcome, load_config, parse_group, resolved_path, say, store_of, warn_of_bad_lines,
};

/// Watches a path for a command
///
/// CMD is the name of a program: what it and all its children do below the path is logged, in
/// CMD_log.jsonl. `_global` stands for every process. A running daemon watches at once, otherwise from
/// its next start. The path need not exist yet. The same CMD and path again replaces the settings.
///
///   fsmon add _global --path /etc -r
///   fsmon add claude --path ~/src -r -x target/ -x '*.swp' -t CREATE,DELETE,CLOSE_WRITE
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Name of the program, or _global for every process.
    #[arg(value_hint = clap::ValueHint::CommandName)]
    cmd: String,
    /// What to watch, a directory or a file; may be repeated.
    #[arg(long = "path", value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Everything below too, not only direct children.
    #[arg(short, long)]
    recursive: bool,
    /// How deep below the path, with -r; 0 is the path alone.
    #[arg(long, value_name = "N")]
    max_depth: Option<u32>,
    /// Types of events: a name, a comma list or `all`; may be repeated [default: CLOSE_WRITE, ATTRIB, CREATE,
    /// DELETE, DELETE_SELF, MOVED_FROM, MOVED_TO, MOVE_SELF].
    #[arg(short, long, value_name = "TYPE")]
    types: Vec<String>,
    /// Only files of such a size: [OP]NUM[UNIT], for instance >=1MB.
    #[arg(short, long, value_name = "EXPR", allow_hyphen_values = true)]
    size: Option<String>,
    /// Leave out what matches, as in a .gitignore at the path: target/, *.swp, **/node_modules; may be repeated.
    #[arg(short = 'x', long, value_name = "GLOB")]
    exclude: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let watches = watches(args, &config)?;
    let store = store_of(&config);
    let ((notes, replaced), bad) = store.edit(|set| Ok(enter(set, &watches)))?;
    warn_of_bad_lines(&store, &bad);
    for note in notes {
        say(format_args!("[Note] {note}"));
    }
    let mut failure = None;
    let mut kept = 0;
    let mut running = true;
    for (watch, before) in watches.iter().zip(replaced) {
        match call(&config.paths.socket, config.uid, &Request::add(watch)) {
            Ok(_) => kept += 1,
            Err(CallError::NotRunning) => {
                running = false;
                kept += 1;
            }
            Err(
                error @ CallError::Refused {
                    kind: Some(ErrorKind::Permanent),
                    ..
                },
            ) => {
                take_back(&store, watch, before)?;
                failure = Some(Failure::from(anyhow!(
                    "cannot watch {}: {error}",
                    quoted(&watch.path)
                )));
            }
            Err(error) => {
                kept += 1;
                let error = anyhow!("{} is not watched yet: {error}", quoted(&watch.path));
                failure = Some(
                    Failure::from(error)
                        .hint("the entry is kept; the daemon tries it again at its next start"),
                );
            }
        }
    }
    if kept > 0 {
        writeln!(io::stdout(), "Entry added into monitored")?;
    }
    if !running {
        say("Daemon is not running — will be monitored after daemon restart.");
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Validates everything, before anything is touched.
fn watches(args: &Args, config: &Config) -> Result<Vec<Watch>, Failure> {
    let group = parse_group(&args.cmd)?;
    if group.as_str() == "fsmon" {
        let error = anyhow!("cannot watch 'fsmon': the daemon's own events are never recorded");
        return Err(Failure::from(error).hint("use _global, or the name of another program"));
    }
    if !args.recursive && args.max_depth.is_some_and(|depth| depth > 1) {
        let error = anyhow!(
            "--max-depth {} needs --recursive",
            args.max_depth.unwrap_or_default()
        );
        return Err(Failure::usage(error).hint("add -r"));
    }
    let options = WatchOptions {
        recursive: Some(args.recursive),
        types: (!args.types.is_empty()).then(|| args.types.clone()),
        size: args.size.clone(),
        exclude: (!args.exclude.is_empty()).then(|| args.exclude.clone()),
        max_depth: args.max_depth,
    };
    let watch = |typed: &PathBuf| {
        let path = resolved_path(typed, config)?;
        Watch::new(group.clone(), &path, &options).map_err(Failure::usage)
    };
    let watches = args
        .paths
        .iter()
        .map(watch)
        .collect::<Result<Vec<_>, _>>()?;
    for watch in &watches {
        if fs::symlink_metadata(&watch.path)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            say("[Note] path does not exist yet — will start monitoring when created.");
        }
    }
    Ok(watches)
}

/// Puts the watches into the set; returns what to note, and what stood in the place of each.
fn enter(set: &mut WatchSet, watches: &[Watch]) -> (Vec<String>, Vec<Option<Watch>>) {
    let mut notes = Vec::new();
    let mut replaced = Vec::new();
    for watch in watches {
        notes.extend(overlaps(set, watch));
        replaced.push(set.find(&watch.group, &watch.path).cloned());
        set.add_or_replace(watch.clone());
    }
    (notes, replaced)
}

fn overlaps(set: &WatchSet, new: &Watch) -> Vec<String> {
    let path = quoted(&new.path);
    let mut notes = Vec::new();
    for old in set.iter() {
        let covers = |outer: &Watch, inner: &Watch| {
            outer.recursive
                && outer
                    .scope()
                    .covers(inner.path.as_os_str().as_encoded_bytes(), true)
        };
        let other = quoted(&old.path);
        if old.path == new.path {
            if old.group == new.group {
                let both = format!("{} with cmd {}", new.path.display(), new.group);
                notes.push(format!(
                    "'{both}' is already monitored — new parameters will replace the existing configuration."
                ));
            }
        } else if covers(old, new) {
            notes.push(format!(
                "{path} is under recursively monitored path {other} — events already covered."
            ));
        } else if covers(new, old) {
            notes.push(format!("already monitored path {other} is under new recursive path {path} — events already covered."));
        }
    }
    notes
}

/// Undoes one watch, unless somebody has changed it since.
fn take_back(store: &Store, watch: &Watch, before: Option<Watch>) -> anyhow::Result<()> {
    store.edit(|set| {
        if set.find(&watch.group, &watch.path) == Some(watch) {
            match before {
                Some(before) => {
                    set.add_or_replace(before);
                }
                None => {
                    set.remove(&watch.group, Some(&watch.path));
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}
