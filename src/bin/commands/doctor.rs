//! `fsmon doctor`

pub(crate) mod deeds;
mod page;
mod place;
mod trial;
mod verdict;

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use fsmon::config::Config;
use fsmon::monitor::doctor::paths::Outlook;
use fsmon::monitor::doctor::places::Daemon;
use fsmon::monitor::doctor::{Check, State, kernel, limits, paths, places, processes};
use fsmon::monitored::{GroupName, Watch, WatchOptions, WatchSet};
use serde::Serialize;

use super::{
    Failure, Outcome, absolute_path, load_config, resolved_path, store_of, warn_of_bad_lines,
};
use page::Page;
use trial::Trial;

/// Says what this machine lets fsmon do, how each path would be watched, and tries it
///
/// Looks at the kernel, the rights of this user, limits, and fsmon's own files; marks the filesystems of
/// each path for a moment, as the daemon would; then lets short processes work in a temporary directory
/// and checks what `fsmon watch` told of them. Exits with 1 when something is missing that one counts on.
///
///   sudo fsmon doctor                       the watched paths, or / when there are none
///   sudo fsmon doctor /srv /home            these paths
///   sudo fsmon doctor / --test-in /srv      with the self-test on the filesystem of /srv
///   sudo fsmon doctor --json | jq '.checks[] | select(.state == "missing")'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What would be watched, with everything below [default: the watched paths, or / when there are none].
    paths: Vec<PathBuf>,
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
    /// Where the self-test makes its directory [default: the temporary directory].
    #[arg(long, value_name = "DIR")]
    test_in: Option<PathBuf>,
    /// Leave the self-test out.
    #[arg(long, conflicts_with = "test_in")]
    no_test: bool,
}

/// All that was found.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    /// Nothing is missing.
    ok: bool,
    state: State,
    checks: Vec<Check>,
    paths_from: Source,
    paths: Vec<Outlook>,
    test: Option<Trial>,
}

/// Who said which paths are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Arguments,
    Store,
    Nobody,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = load_config()?;
    let stored = stored(&config);
    // Before anything is printed: what is typed wrong is told alone.
    let (paths_from, set, lost) = meant(args, &config, stored.as_ref().ok())?;
    let mut page = (!args.json).then(Page::begin);
    let mut checks = Vec::new();
    let mut told = |title: &str, found: Vec<Check>, page: &mut Option<Page<io::Stdout>>| {
        let shown = page
            .as_mut()
            .map_or(Ok(()), |page| page.checks(title, &found));
        checks.extend(found);
        shown
    };
    told(
        "Kernel",
        kernel::check(config.test.legacy_fanotify),
        &mut page,
    )?;
    told("Processes", processes::check(&config), &mut page)?;
    told("Rights", processes::check_rights(), &mut page)?;
    let own = places::look(&config, stored.as_ref().map_err(String::clone));
    let daemon = match &own.daemon {
        Daemon::Running(health) => Some(health.pid),
        Daemon::Absent | Daemon::Mute(_) => None,
    };
    told("Limits", limits::check(&config, daemon), &mut page)?;
    told("Files", places::judge(&own), &mut page)?;
    let paths = outlooks(&config, &set, lost);
    if let Some(page) = &mut page {
        page.paths(paths_from, &paths)?;
    }
    let test = if args.no_test {
        None
    } else {
        let base = args.test_in.clone().unwrap_or_else(env::temp_dir);
        let test = trial::run(&absolute_path(&base, &config)?)?;
        if let Some(page) = &mut page {
            page.trial(&test)?;
        }
        Some(test)
    };
    let mut findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        ok: true,
        state: State::Ok,
        checks,
        paths_from,
        paths,
        test,
    };
    findings.state = findings.states().fold(State::Ok, State::and);
    findings.ok = findings.state != State::Missing;
    match &mut page {
        Some(page) => page.end(findings.states())?,
        None => {
            let mut text = serde_json::to_string(&findings).context("cannot write JSON")?;
            text.push('\n');
            io::stdout().lock().write_all(text.as_bytes())?;
        }
    }
    Ok(ExitCode::from(u8::from(!findings.ok)))
}

impl Findings {
    /// The state of each single thing.
    fn states(&self) -> impl Iterator<Item = State> {
        let paths = self.paths.iter().map(|path| path.state);
        let checks = self.checks.iter().map(|check| check.state);
        checks
            .chain(paths)
            .chain(self.test.iter().map(|test| test.state))
    }
}

/// What is to be watched, or why that cannot be read.
fn stored(config: &Config) -> Result<WatchSet, String> {
    let store = store_of(config);
    let (set, bad) = store.load().map_err(|error| format!("{error:#}"))?;
    warn_of_bad_lines(&store, &bad);
    Ok(set)
}

/// The paths that are meant: by whom, as watches, and those that lead nowhere.
fn meant(
    args: &Args,
    config: &Config,
    stored: Option<&WatchSet>,
) -> Result<(Source, WatchSet, Vec<Outlook>), Failure> {
    let mut lost = Vec::new();
    let mut set = WatchSet::default();
    for typed in &args.paths {
        match resolved_path(typed, config) {
            Ok(path) => {
                set.add_or_replace(whole(&path)?);
            }
            Err(error) => lost.push(unreachable(typed, &error)),
        }
    }
    let stored = stored.filter(|stored| !stored.watches.is_empty());
    let from = match stored {
        _ if !args.paths.is_empty() => Source::Arguments,
        Some(stored) => {
            set = stored.clone();
            Source::Store
        }
        None => {
            set.add_or_replace(whole(Path::new("/"))?);
            Source::Nobody
        }
    };
    Ok((from, set, lost))
}

fn outlooks(config: &Config, set: &WatchSet, lost: Vec<Outlook>) -> Vec<Outlook> {
    let mut outlooks = match paths::look(config, set) {
        Ok(outlooks) => outlooks,
        Err(error) => {
            let all = set.iter();
            all.map(|watch| unreachable(&watch.path, &error)).collect()
        }
    };
    outlooks.extend(lost);
    outlooks
}

/// A watch on a path and everything below.
fn whole(path: &Path) -> Result<Watch, Failure> {
    let options = WatchOptions {
        recursive: Some(true),
        ..WatchOptions::default()
    };
    Watch::new(GroupName::global(), path, &options).map_err(Failure::usage)
}

fn unreachable(path: &Path, error: &anyhow::Error) -> Outlook {
    Outlook {
        path: path.to_owned(),
        state: State::Missing,
        text: Some(format!("{error:#}")),
        filesystems: Vec::new(),
        passed_over: Vec::new(),
    }
}
