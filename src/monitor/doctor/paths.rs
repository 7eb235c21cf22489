//! Which way each path would be watched: found by marking, with the engine that records.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Serialize, Serializer};

use super::State;
use crate::config::Config;
use crate::monitor::NoFanotify;
use crate::monitor::assembly::engine_of;
use crate::monitor::engine::{Changes, Engine, open_group};
use crate::monitor::marks::{self, Dialect};
use crate::monitor::ways::{NO_MOUNT, SINGLE_FILE, Way, lack_of, path, refusal, without_files};
use crate::monitored::path::{quoted, resolve};
use crate::monitored::{Watch, WatchSet};
use crate::proc_cache::{ProcLimits, ProcTable};
use crate::sys::mount::{self, Mount};

/// How a path would be watched.
#[derive(Clone, Debug, Serialize)]
pub struct Outlook {
    /// The path, links in it followed.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The worst of its filesystems.
    pub state: State,
    /// What is to be said of the path itself.
    pub text: Option<String>,
    /// The filesystem that it is on, then those mounted below.
    pub filesystems: Vec<Filesystem>,
    /// Mount points below that have nothing to record.
    #[serde(serialize_with = "all_lossy")]
    pub passed_over: Vec<PathBuf>,
}

/// A filesystem below a path.
#[derive(Clone, Debug, Serialize)]
pub struct Filesystem {
    /// Where it is mounted.
    #[serde(serialize_with = "lossy")]
    pub point: PathBuf,
    /// Its type.
    pub fstype: String,
    /// The options of the mount.
    pub options: String,
    /// The way that it would be watched, as `fsmon health` names it.
    pub way: Option<&'static str>,
    /// What that is worth.
    pub state: State,
    /// The way, as the end of a sentence about the filesystem, or why there is none.
    pub text: String,
    /// What will be missing.
    pub lack: Option<String>,
}

fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

fn all_lossy<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

type Device = (u32, u32);

/// Tries the marks that `watches` need, and says for each path what came of it.
pub fn look(config: &Config, watches: &WatchSet) -> anyhow::Result<Vec<Outlook>> {
    let mounts = mount::mounts().context("cannot read the table of mounts")?;
    let (dialect, ways) = match open_group(config.test.legacy_fanotify) {
        Ok((group, dialect)) => {
            let table = ProcTable::new(ProcLimits::default());
            let (_feed, mut engine) = engine_of(config, group, dialect, None, table)?;
            (dialect, engine.try_ways_of(watches, &mounts, dialect))
        }
        Err(error) => {
            let error = NoFanotify(error).to_string();
            let all = mounts.iter();
            let refused = all.map(|mount| (mount.dev, Err(error.clone())));
            (Dialect::Modern, refused.collect())
        }
    };
    let mut outlooks: Vec<Outlook> = Vec::new();
    for watch in watches.iter() {
        if outlooks.iter().all(|outlook| outlook.path != watch.path) {
            let same = watches.iter().filter(|other| other.path == watch.path);
            let watches = same.cloned().collect::<Vec<_>>();
            outlooks.push(outlook(&watch.path, watches, &mounts, dialect, &ways));
        }
    }
    Ok(outlooks)
}

fn outlook(
    at: &Path,
    watches: Vec<Watch>,
    mounts: &[Mount],
    dialect: Dialect,
    ways: &HashMap<Device, Result<Way, String>>,
) -> Outlook {
    let set = WatchSet { watches };
    let plan = marks::plan(&set, mounts, dialect);
    let (filesystems, files) = without_files(plan.filesystems, mounts);
    let single = Err(SINGLE_FILE.to_owned());
    let filesystems: Vec<Filesystem> = filesystems
        .iter()
        .map(|want| judge(&mounts[want.mounts[0]], ways.get(&want.dev)))
        .chain(files.iter().map(|at| judge(&mounts[*at], Some(&single))))
        .collect();
    let mut outlook = Outlook {
        path: at.to_owned(),
        state: State::Ok,
        text: None,
        filesystems,
        passed_over: plan.passed_over.iter().map(|point| path(point)).collect(),
    };
    let states = outlook
        .filesystems
        .iter()
        .map(|filesystem| filesystem.state);
    outlook.state = states.fold(State::Ok, State::and);
    if outlook.filesystems.is_empty() {
        outlook.state = State::Missing;
        outlook.text = Some(NO_MOUNT.to_owned());
    } else if at.symlink_metadata().is_err() {
        let text = "does not exist yet; it is recorded from its creation on";
        outlook.text = Some(text.to_owned());
    } else if resolve(at).is_ok_and(|real| real != at) {
        outlook.text = Some("leads elsewhere by a symbolic link, which is not followed".to_owned());
    }
    outlook
}

/// Says what a filesystem's way is worth.
pub fn judge(mount: &Mount, way: Option<&Result<Way, String>>) -> Filesystem {
    let (name, state, text, lack) = match way {
        Some(Ok(way)) => {
            let lack = lack_of(way, mount);
            let state = match lack {
                Some(_) => State::Limited,
                None => State::Ok,
            };
            (Some(way.name()), state, way.told(), lack)
        }
        Some(Err(why)) => (None, State::Missing, format!("is not watched: {why}"), None),
        None => (None, State::Unknown, "was not tried".to_owned(), None),
    };
    Filesystem {
        point: path(&mount.point),
        fstype: mount.fstype.clone(),
        options: mount.flags.clone(),
        way: name,
        state,
        text,
        lack: lack.map(str::to_owned),
    }
}

impl Engine {
    /// Marks each filesystem that `watches` need and says by which way, without a look at any directory in it.
    fn try_ways_of(
        &mut self,
        watches: &WatchSet,
        mounts: &[Mount],
        dialect: Dialect,
    ) -> HashMap<Device, Result<Way, String>> {
        let (wanted, _) = without_files(marks::plan(watches, mounts, dialect).filesystems, mounts);
        let wanted = self.with_upper_filesystems(wanted, mounts);
        let mut ways: HashMap<Device, Result<Way, String>> = HashMap::new();
        for want in &wanted {
            let first = &mounts[want.mounts[0]];
            let marked = self.mark(want, mounts, &mut Changes::default());
            let way = marked
                .map(|marked| marked.way)
                .map_err(|error| refusal(&error, &first.fstype));
            ways.insert(want.dev, way);
        }
        // What an overlay is seen through has to be seen itself.
        let through: Vec<(Device, String)> = ways
            .iter()
            .filter_map(|(dev, way)| match way {
                Ok(Way::OverlayUpper { dev: home, upper }) => match ways.get(home) {
                    Some(Err(why)) => Some((*dev, format!("{}: {why}", quoted(upper)))),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        for (dev, why) in through {
            ways.insert(dev, Err(why));
        }
        ways
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount::parse_mountinfo;

    fn judged(fstype: &str, way: Option<Result<Way, String>>) -> Filesystem {
        let line = format!("1 0 8:1 / /m ro,noexec - {fstype} /dev/a rw\n");
        judge(&parse_mountinfo(line.as_bytes())[0], way.as_ref())
    }

    #[test]
    fn a_way_is_worth_what_it_lacks() {
        let whole = judged("ext4", Some(Ok(Way::Filesystem)));
        assert_eq!((whole.state, whole.way), (State::Ok, Some("filesystem")));
        assert_eq!(whole.options, "ro,noexec");
        let fuse = judged("fuse.bindfs", Some(Ok(Way::Inodes)));
        assert_eq!(
            (fuse.state, fuse.way),
            (State::Limited, Some("directories"))
        );
        assert!(fuse.lack.unwrap().contains("first moments"));
    }

    #[test]
    fn what_cannot_be_marked_is_missing_and_of_the_kernel_only_writes_are_seen() {
        let refused = judged("ext4", Some(Err("no".to_owned())));
        assert_eq!((refused.state, refused.way), (State::Missing, None));
        assert_eq!(refused.text, "is not watched: no");
        let proc = judged("proc", Some(Ok(Way::Inodes)));
        assert_eq!(
            (proc.state, proc.way),
            (State::Limited, Some("directories"))
        );
        assert!(proc.lack.unwrap().contains("programs write"));
        assert_eq!(judged("xfs", None).state, State::Unknown);
    }
}
