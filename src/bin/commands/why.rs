//! `fsmon why`

use std::fs;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use fsmon::config::Config;
use fsmon::monitored::path::quoted;
use fsmon::query::{self, QueryOutcome, QueryRequest};

use super::look::Look;
use super::question::{Times, report, spellings};
use super::story::Story;
use super::{Failure, Outcome, absolute_path, load_config, say};

/// Tells the life of a file: what happened to it, when, and which process did it
///
///   fsmon why /etc/passwd
///   fsmon why ~/notes.txt -t '>2d'         also when it is there no more
///   fsmon why -r /srv/www | jq -r .cmd     a directory and all below it; JSONL in a pipe
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The file or directory, by any name that it had.
    path: PathBuf,
    /// A directory with all below it.
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    times: Times,
    /// Print the lines as they stand in the logs, also on a terminal.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let request = request(args, &config)?;
    let outcome = if args.json || !io::stdout().is_terminal() {
        copy(args, &request)?
    } else {
        show(args, &request)?
    };
    conclude(args, &config, &request, &outcome)
}

fn request(args: &Args, config: &Config) -> Result<QueryRequest, Failure> {
    Ok(QueryRequest {
        window: args.times.window()?,
        logs: None,
        paths: spellings(&args.path, config)?,
        log_dir: config.paths.log_dir.clone(),
        scan: false,
    })
}

/// Writes the stored lines.
fn copy(args: &Args, request: &QueryRequest) -> anyhow::Result<QueryOutcome> {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = query::why(request, args.recursive, &mut |bytes, _| {
        out.write_all(bytes)
    })?;
    out.flush()?;
    Ok(outcome)
}

/// Draws the picture for people.
fn show(args: &Args, request: &QueryRequest) -> anyhow::Result<QueryOutcome> {
    let out = BufWriter::new(io::stdout().lock());
    let mut story = Story::new(out, Look::of_terminal(), &request.paths);
    let outcome = query::why(request, args.recursive, &mut |_, line| story.take(line))?;
    // Of a story that ends in the past, nothing can be said about today.
    let exists = args.times.is_empty().then(|| exists(&args.path)).flatten();
    story.end(exists)?;
    Ok(outcome)
}

/// Whether the file is there now; `None` when nobody lets us look.
fn exists(path: &std::path::Path) -> Option<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

fn conclude(
    args: &Args,
    config: &Config,
    request: &QueryRequest,
    outcome: &QueryOutcome,
) -> Outcome {
    report(outcome);
    if outcome.names_left_out {
        say(
            "fsmon: warning: there were more names than can be followed, some are missing (`-t` asks for less)",
        );
    }
    if outcome.no_log {
        return Err(anyhow!("there is no log in {}", quoted(&request.log_dir)).into());
    }
    if outcome.lines == 0 {
        let path = absolute_path(&args.path, config)?;
        let error = anyhow!("no log tells anything of {}", quoted(&path));
        return Err(Failure::from(error).hint("`fsmon monitored` lists what is watched"));
    }
    Ok(if outcome.refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
