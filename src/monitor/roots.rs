//! Watched paths that come and go.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::report::{Level, Reporter};
use super::writer::Writer;
use crate::log::journal::{Entry, Subject};
use crate::monitored::path::quoted;
use crate::monitored::{Watch, WatchSet};

/// Watched paths, and whether they were there when last heard of.
#[derive(Debug, Default)]
pub(super) struct Roots(BTreeMap<PathBuf, bool>);

impl Roots {
    /// Notes which watched paths are there; says so of those that are not.
    pub(super) fn look(&mut self, watches: &WatchSet, reporter: &Reporter) {
        let known = std::mem::take(&mut self.0);
        for watch in watches.iter() {
            let there = watch.path.symlink_metadata().is_ok();
            if !there && !known.contains_key(&watch.path) {
                let path = quoted(&watch.path);
                reporter.say(
                    Level::Info,
                    &format!("path {path} does not exist yet; it is recorded from its creation on"),
                );
            }
            self.0.insert(watch.path.clone(), there);
        }
    }

    /// Whether a watched path was there when last heard of.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.get(path).is_some_and(|there| *there)
    }

    /// Looks again at each, after the mounts have changed.
    pub(super) fn look_again(
        &mut self,
        watches: &WatchSet,
        writer: &mut Writer,
        reporter: &Reporter,
    ) {
        let paths: Vec<PathBuf> = self.0.keys().cloned().collect();
        for path in paths {
            let root = path.as_os_str().as_bytes();
            if path.symlink_metadata().is_ok() {
                self.back(watches, writer, reporter, root);
            } else {
                self.gone(watches, writer, reporter, root);
            }
        }
    }

    /// Something was removed where a watched path was or led through.
    pub(super) fn gone(
        &mut self,
        watches: &WatchSet,
        writer: &mut Writer,
        reporter: &Reporter,
        root: &[u8],
    ) {
        let path = Path::new(OsStr::from_bytes(root));
        if let Some(there) = self.0.get_mut(path).filter(|there| **there) {
            *there = false;
            watches
                .iter()
                .filter(|watch| watch.path == path)
                .for_each(|watch| writer.journal(&Entry::RootGone(subject(watch))));
            reporter.say_folded(
                Level::Info,
                &format!("gone {}", shown(path)),
                &format!(
                    "{} is gone; it is recorded again when it comes back",
                    quoted(path)
                ),
            );
        }
    }

    /// Something was made where a watched path is or leads through.
    pub(super) fn back(
        &mut self,
        watches: &WatchSet,
        writer: &mut Writer,
        reporter: &Reporter,
        root: &[u8],
    ) {
        let path = Path::new(OsStr::from_bytes(root));
        if let Some(there) = self.0.get_mut(path).filter(|there| !**there)
            && path.symlink_metadata().is_ok()
        {
            *there = true;
            watches
                .iter()
                .filter(|watch| watch.path == path)
                .for_each(|watch| writer.journal(&Entry::RootBack(subject(watch))));
            reporter.say_folded(
                Level::Info,
                &format!("back {}", shown(path)),
                &format!("Path {} now exists; recording", quoted(path)),
            );
        }
    }
}

/// What a line of the journal about a watch is about.
pub(super) fn subject(watch: &Watch) -> Subject<'_> {
    Subject {
        group: watch.group.as_str(),
        path: watch.path.as_os_str().as_bytes(),
    }
}

/// A path for a message.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
