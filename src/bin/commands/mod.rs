//! One file for each command: its arguments, a call into the library, the answer as text.

pub(crate) mod add;
pub(crate) mod cd;
pub(crate) mod changes;
pub(crate) mod clean;
pub(crate) mod completions;
mod csv;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod init;
mod look;
mod manual;
pub(crate) mod monitored;
pub(crate) mod policy;
mod progress;
pub(crate) mod query;
pub(crate) mod question;
pub(crate) mod remove;
pub(crate) mod story;
pub(crate) mod tail;
mod tally;
mod ticker;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod why;

use std::env;
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use fsmon::config::{CacheSettings, Config, owner_behind_sudo};
use fsmon::event::WallTime;
use fsmon::monitored::path::{absolute, quoted, resolve};
use fsmon::monitored::{BadLine, GroupName, Store};
use fsmon::sys::account::take_groups;
use fsmon::sys::files;

/// How a command ends.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// An error with its exit code and, where there is one, the way out.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// What was typed or configured is wrong: exit 2.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            code: 2,
            error: error.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: 1,
            error: error.into(),
            hint: None,
        }
    }
}

/// Writes a line to stderr, with control characters escaped.
pub(crate) fn say(message: impl fmt::Display) {
    let mut line = String::new();
    for char in message.to_string().chars() {
        if char.is_control() {
            line.extend(char.escape_debug());
        } else {
            line.push(char);
        }
    }
    // With stderr closed there is nobody left to tell.
    writeln!(io::stderr(), "{line}").ok();
}

pub(crate) fn load_config() -> Result<Config, Failure> {
    load_config_with(&CacheSettings::default())
}

/// Reads the configuration, with the groups of the user whose it is: from here on files of that user are touched.
pub(crate) fn load_config_with(flags: &CacheSettings) -> Result<Config, Failure> {
    if let Some(owner) = owner_behind_sudo() {
        take_groups(owner.uid, owner.gid)
            .with_context(|| format!("cannot take the groups of user {}", owner.uid))?;
    }
    Config::load(flags).map_err(Failure::usage)
}

pub(crate) fn store_of(config: &Config) -> Store {
    Store::open(&config.paths.store_file, config.owner)
}

pub(crate) fn warn_of_bad_lines(store: &Store, bad: &[BadLine]) {
    for line in bad {
        let (number, why) = (line.number, &line.why);
        say(format_args!(
            "fsmon: warning: store {}, line {number} is kept but not used: {why}",
            quoted(store.path())
        ));
    }
}

pub(crate) fn parse_group(name: &str) -> Result<GroupName, Failure> {
    name.parse().map_err(Failure::usage)
}

/// Ends the program with success as soon as nobody reads its output any more, also while nothing happens.
pub(crate) fn end_with_reader() {
    // Without a thread the end is noticed with the next line.
    let waiting = thread::Builder::new().spawn(|| {
        if files::wait_unread(io::stdout().as_fd()).is_ok() {
            #[expect(clippy::exit, reason = "nobody is left to say anything to")]
            process::exit(0);
        }
    });
    drop(waiting);
}

/// Whose log: a group's, or the alerts'.
pub(crate) fn parse_log(name: &str) -> Result<GroupName, Failure> {
    GroupName::of_log(name).map_err(Failure::usage)
}

/// A path from the command line, absolute and clean, links not yet followed.
pub(crate) fn absolute_path(typed: &Path, config: &Config) -> anyhow::Result<PathBuf> {
    if typed.is_absolute() || typed.starts_with("~") {
        return Ok(absolute(typed, &config.home, Path::new("/")));
    }
    let cwd = env::current_dir().context("cannot tell the current directory")?;
    Ok(absolute(typed, &config.home, &cwd))
}

/// A path from the command line as it is watched, and whether it exists.
pub(crate) fn resolved_path(typed: &Path, config: &Config) -> anyhow::Result<PathBuf> {
    let path = absolute_path(typed, config)?;
    resolve(&path).with_context(|| format!("cannot resolve {}", quoted(&path)))
}

pub(crate) fn now() -> WallTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
