//! The recorder's own files, and whether it runs.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::{Check, Part, State};
use crate::config::Config;
use crate::monitored::WatchSet;
use crate::monitored::path::quoted;
use crate::socket::{CallError, Health, Request, call};
use crate::sys::account::account;
use crate::sys::files::{self, as_user};

/// What was found.
#[derive(Debug)]
pub struct Facts {
    /// For whom all this is.
    pub uid: u32,
    /// The directory of the logs.
    pub logs: Directory,
    /// What stands at the socket's and at the lock's place.
    pub socket: Entry,
    /// As above.
    pub lock: Entry,
    /// How the daemon is, if it answers.
    pub daemon: Daemon,
    /// How many paths are to be watched, or why nobody can say.
    pub watches: Result<usize, String>,
}

/// A directory that is to be written in.
#[derive(Debug)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is; `None` when it is not there yet.
    pub owner: Option<u32>,
    /// Whether a file could be made in it, or in the nearest directory above that is there.
    pub writable: Result<(), String>,
}

/// An entry beside others.
#[derive(Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What is there: whether it is of the right kind, and whose it is.
    pub found: Option<(bool, u32)>,
    /// Whether it could be made.
    pub directory: Result<(), String>,
}

/// Whether a daemon records.
#[derive(Debug)]
pub enum Daemon {
    /// It answers.
    Running(Box<Health>),
    /// Nobody listens.
    Absent,
    /// It cannot be talked to.
    Mute(String),
}

/// Looks at the files and asks the daemon.
pub fn look(config: &Config, watches: Result<&WatchSet, String>) -> Facts {
    let (paths, owner) = (&config.paths, config.owner);
    let daemon = daemon(config);
    as_user(owner, || Facts {
        uid: config.uid,
        logs: directory(&paths.log_dir),
        socket: entry(&paths.socket, |meta| meta.file_type().is_socket()),
        // A second name would be a file of somebody's that was linked there to be overwritten.
        lock: entry(&paths.lock, |meta| meta.is_file() && meta.nlink() == 1),
        daemon,
        watches: watches.map(|watches| watches.iter().count()),
    })
}

fn directory(path: &Path) -> Directory {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_dir);
    Directory {
        path: path.to_owned(),
        owner: found.as_ref().map(MetadataExt::uid),
        writable: writable(path),
    }
}

fn entry(path: &Path, is_it: impl Fn(&fs::Metadata) -> bool) -> Entry {
    let found = path.symlink_metadata().ok();
    Entry {
        path: path.to_owned(),
        found: found.map(|meta| (is_it(&meta), meta.uid())),
        directory: path.parent().map_or(Ok(()), writable),
    }
}

/// Whether files can be made in a directory, tried with one that has no name.
fn writable(dir: &Path) -> Result<(), String> {
    for dir in dir.ancestors() {
        match files::nameless(dir) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", quoted(dir))),
        }
    }
    Err("no directory leads there".to_owned())
}

/// Asks the daemon how it is, and does not wait for long.
fn daemon(config: &Config) -> Daemon {
    let (answer, answered) = channel();
    let (socket, uid) = (config.paths.socket.clone(), config.uid);
    let asking = thread::Builder::new().spawn(move || {
        // Nobody listens any more after the time-out.
        answer.send(call(&socket, uid, &Request::health())).ok();
    });
    if let Err(error) = asking {
        return Daemon::Mute(error.to_string());
    }
    match answered.recv_timeout(PATIENCE) {
        Ok(Ok(reply)) => match reply.health {
            Some(health) => Daemon::Running(health),
            None => Daemon::Mute("it does not know the question".to_owned()),
        },
        Ok(Err(CallError::NotRunning)) => Daemon::Absent,
        Ok(Err(error)) => Daemon::Mute(error.to_string()),
        Err(_) => Daemon::Mute(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// So long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says what it is worth.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let watched = *facts.watches.as_ref().unwrap_or(&0);
    vec![
        store(&facts.watches),
        logs(&facts.logs, facts.uid),
        at_its_place("socket", &facts.socket, facts.uid, "daemon's socket"),
        at_its_place("lock", &facts.lock, facts.uid, "lock file"),
        record(&facts.daemon, watched),
    ]
}

fn store(watches: &Result<usize, String>) -> Check {
    let check = |state, text: String| Part::Files.check("store", state, text);
    match watches {
        Ok(0) => check(State::Ok, "nothing is to be watched yet".to_owned())
            .hint("`fsmon add _global --path PATH -r`"),
        Ok(count) => check(State::Ok, format!("{count} paths are to be watched")),
        Err(error) => check(State::Missing, error.clone()),
    }
}

fn logs(logs: &Directory, uid: u32) -> Check {
    let at = quoted(&logs.path);
    let check = |state, text: String| Part::Files.check("logs", state, text);
    match (&logs.writable, logs.owner) {
        (Err(error), _) => check(
            State::Missing,
            format!("logs cannot be written in {at}: {error}"),
        )
        .hint("it has to be writable for the user of the daemon; [logging] path names another"),
        (Ok(()), None) => check(
            State::Ok,
            format!("{at}, which is not there yet and can be made"),
        ),
        (Ok(()), Some(owner)) if owner != uid && owner != 0 => check(
            State::Limited,
            format!(
                "{at} belongs to {}: that user can change the logs",
                name_of(owner)
            ),
        ),
        (Ok(()), Some(owner)) => check(State::Ok, format!("{at}, of {}", name_of(owner))),
    }
}

fn at_its_place(name: &'static str, entry: &Entry, uid: u32, what: &str) -> Check {
    let at = quoted(&entry.path);
    let check = |state, text: String| Part::Files.check(name, state, text);
    match (entry.found, &entry.directory) {
        (Some((true, owner)), _) if [0, uid].contains(&owner) => {
            check(State::Ok, format!("{at}, of {}", name_of(owner)))
        }
        (Some((is_one, owner)), _) => {
            let text = if is_one {
                format!("{at} belongs to {}", name_of(owner))
            } else {
                format!("what stands at {at} is not a {what}")
            };
            check(State::Missing, text).hint(
                "the daemon does not touch it: take it away, or name another with [socket] path",
            )
        }
        (None, Ok(())) => check(State::Ok, format!("{at} can be made")),
        (None, Err(error)) => check(State::Missing, format!("{at} cannot be made: {error}"))
            .hint("[socket] path names another place"),
    }
}

fn record(daemon: &Daemon, watched: usize) -> Check {
    let check = |state, text: String| Part::Files.check("daemon", state, text);
    match daemon {
        Daemon::Running(health) if health.version == env!("CARGO_PKG_VERSION") => check(
            State::Ok,
            format!("runs as process {}, the same version", health.pid),
        ),
        Daemon::Running(health) => {
            let version = health.version.escape_debug();
            check(
                State::Limited,
                format!(
                    "process {} is fsmon {version}, this is {}",
                    health.pid,
                    env!("CARGO_PKG_VERSION")
                ),
            )
            .hint("start the daemon again")
        }
        Daemon::Absent if watched == 0 => check(State::Ok, "does not run".to_owned()),
        Daemon::Absent => check(
            State::Limited,
            format!("does not run: {watched} watched paths are not recorded"),
        )
        .hint("start it with `sudo fsmon daemon`"),
        Daemon::Mute(error) => check(State::Missing, error.escape_debug().to_string()),
    }
}

fn name_of(uid: u32) -> String {
    account(uid).map_or_else(
        || format!("user {uid}"),
        |account| account.name.to_string_lossy().escape_debug().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        let entry = |name: &str| Entry {
            path: PathBuf::from(name),
            found: None,
            directory: Ok(()),
        };
        Facts {
            uid: 0,
            logs: Directory {
                path: PathBuf::from("/logs"),
                owner: Some(0),
                writable: Ok(()),
            },
            socket: entry("/s.sock"),
            lock: entry("/s.lock"),
            daemon: Daemon::Absent,
            watches: Ok(0),
        }
    }

    fn state_of(facts: &Facts, name: &str) -> State {
        let checks = judge(facts);
        checks
            .iter()
            .find(|check| check.name == name)
            .unwrap()
            .state
    }

    #[test]
    fn a_new_machine_lacks_nothing() {
        assert!(judge(&good()).iter().all(|check| check.state == State::Ok));
    }

    #[test]
    fn what_somebody_else_put_there_is_not_touched() {
        for (found, state) in [
            (Some((true, 0)), State::Ok),
            (Some((true, 4242)), State::Missing),
            (Some((false, 0)), State::Missing),
        ] {
            let mut facts = good();
            facts.socket.found = found;
            facts.lock.found = found;
            assert_eq!(state_of(&facts, "socket"), state, "{found:?}");
            assert_eq!(state_of(&facts, "lock"), state, "{found:?}");
        }
    }

    #[test]
    fn paths_that_nobody_records_and_another_version_are_limits() {
        let mut facts = good();
        facts.watches = Ok(3);
        assert_eq!(state_of(&facts, "daemon"), State::Limited);
        let with_version = |version: &str| {
            Daemon::Running(Box::new(Health {
                version: version.to_owned(),
                ..Health::default()
            }))
        };
        facts.daemon = with_version(env!("CARGO_PKG_VERSION"));
        assert_eq!(state_of(&facts, "daemon"), State::Ok);
        facts.daemon = with_version("0.0.1");
        assert_eq!(state_of(&facts, "daemon"), State::Limited);
        facts.daemon = Daemon::Mute("no".to_owned());
        assert_eq!(state_of(&facts, "daemon"), State::Missing);
    }

    #[test]
    fn logs_that_cannot_be_written_are_missing() {
        let mut facts = good();
        facts.logs.writable = Err("no".to_owned());
        assert_eq!(state_of(&facts, "logs"), State::Missing);
        facts.logs.writable = Ok(());
        facts.logs.owner = Some(4242);
        assert_eq!(state_of(&facts, "logs"), State::Limited);
        facts.watches = Err("broken".to_owned());
        assert_eq!(state_of(&facts, "store"), State::Missing);
    }
}
