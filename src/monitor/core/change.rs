//! What the core is asked for while it runs, and how its watches change: by a command, a new mount, a reload.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{Core, say_bad_lines};
use crate::config::{CacheSettings, Chain, Config};
use crate::event::WallTime;
use crate::log::journal::Entry;
use crate::monitor::control::{Answer, Command};
use crate::monitor::live::Interest;
use crate::monitor::report::Level;
use crate::monitor::roots::{shown, subject};
use crate::monitor::writer::Writer;
use crate::monitored::path::quoted;
use crate::monitored::{GroupName, Store, Watch, WatchSet};
use crate::socket::proto::{ErrorKind, NO_SUCH_GROUP, NO_SUCH_PATH, Reply};

impl Core {
    pub(super) fn obey(&mut self, command: Command) -> Answer {
        match command {
            Command::List => Reply::list(self.watches.iter()).into(),
            Command::Add(watch) => self.add(*watch).into(),
            Command::Remove { group, path } => self.remove(&group, path.as_deref()).into(),
            Command::Health => Reply::health(self.health()).into(),
            Command::Subscribe(interest) => self.subscribe(interest),
            Command::Cleaned {
                group,
                deleted,
                before,
                after,
            } => {
                self.note_cleaning(&group.log_file_name(), deleted, (before, after));
                Reply::done().into()
            }
        }
    }

    /// What happened before this moment is in the logs, what happens later goes to the new reader.
    fn subscribe(&mut self, interest: Interest) -> Answer {
        self.settle();
        match self.writer.subscribe(interest, &self.reporter) {
            Ok(live) => Answer {
                reply: Reply::done(),
                live: Some(live),
            },
            Err(why) => Reply::refused(why, Some(ErrorKind::Transient)).into(),
        }
    }

    fn add(&mut self, watch: Watch) -> Reply {
        self.settle();
        let before = self.watches.clone();
        self.watches.add_or_replace(watch.clone());
        let changes = match self.reconcile() {
            Ok(changes) => changes,
            Err(error) => return self.undo(before, None, &error.to_string()),
        };
        let hindered = changes
            .shortfalls
            .iter()
            .find(|short| is_on(&watch.path, &short.point));
        if let Some(short) = hindered {
            let why = format!("cannot watch {}: {}", quoted(&watch.path), short.why);
            return self.undo(before, changes.since, &why);
        }
        self.say_changes(&changes);
        self.roots.look(&self.watches, &self.reporter);
        note_watch(&mut self.writer, &watch);
        self.writer.flush(&self.reporter);
        let Watch {
            group,
            path,
            recursive,
            ..
        } = &watch;
        self.reporter.announce(&format!(
            "Monitoring entry: [{group}] {} (recursive={recursive})",
            shown(path)
        ));
        Reply::done()
    }

    /// Takes a watch back. What was mounted meanwhile, `since` when, was seen by the try.
    fn undo(&mut self, before: WatchSet, since: Option<WallTime>, why: &str) -> Reply {
        self.watches = before;
        match self.reconcile() {
            Ok(mut changes) => {
                changes.since = since.or(changes.since);
                self.say_changes(&changes);
            }
            Err(error) => self
                .reporter
                .say(Level::Error, &format!("cannot restore the marks: {error}")),
        }
        Reply::refused(why, Some(ErrorKind::Permanent))
    }

    fn remove(&mut self, group: &GroupName, path: Option<&Path>) -> Reply {
        self.settle();
        let removed = self.watches.remove(group, path);
        if removed.is_empty() {
            let what = path.map_or_else(
                || format!("{NO_SUCH_GROUP}: {group}"),
                |path| format!("{NO_SUCH_PATH}: {}", shown(path)),
            );
            return Reply::refused(what, None);
        }
        match self.reconcile() {
            Ok(changes) => self.say_changes(&changes),
            Err(error) => self.reporter.say(
                Level::Warning,
                &format!("cannot take back the marks: {error}"),
            ),
        }
        for watch in &removed {
            self.writer.journal(&Entry::Remove(subject(watch)));
            self.reporter
                .announce(&format!("Removed entry: {}", shown(&watch.path)));
        }
        self.roots.look(&self.watches, &self.reporter);
        self.writer.flush(&self.reporter);
        Reply::done()
    }

    pub(super) fn follow_mounts(&mut self) {
        self.settle();
        match self.reconcile() {
            Ok(changes) => self.say_changes(&changes),
            Err(error) => self.reporter.say(
                Level::Warning,
                &format!("cannot follow a change of the mounts: {error}"),
            ),
        }
        self.guard(false);
        let Self {
            roots,
            watches,
            writer,
            reporter,
            ..
        } = self;
        roots.look_again(watches, writer, reporter);
        self.writer.flush(&self.reporter);
    }

    pub(super) fn reload(&mut self) {
        self.settle();
        let mut whole = true;
        match Config::load(&CacheSettings::default()) {
            Ok(config) => {
                self.writer.set_sync(config.logging.sync);
                self.trimmer.follow(&config.logging);
                self.engine
                    .pipeline()
                    .set_chain_always(config.logging.chain == Chain::Always);
            }
            Err(error) => {
                whole = false;
                self.reporter.say(
                    Level::Warning,
                    &format!("fsmon.toml stays as it was: {error:#}"),
                );
            }
        }
        let store = Store::open(&self.config.paths.store_file, self.config.owner);
        let (wanted, bad) = match store.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                return self.reporter.say(
                    Level::Warning,
                    &format!("the watches stay as they were: {error:#}"),
                );
            }
        };
        say_bad_lines(&self.reporter, &bad);
        match self.alarm.watchman.reload() {
            Ok(true) => self.note_policy(),
            Ok(false) => {}
            Err(error) => {
                whole = false;
                let text = format!("the policy stays as it was: {error}");
                self.reporter.say(Level::Warning, &text);
            }
        }
        let old = std::mem::replace(&mut self.watches, wanted);
        let changes = self.reconcile();
        for watch in old
            .iter()
            .filter(|watch| !self.watches.iter().any(|new| new == *watch))
        {
            self.writer.journal(&Entry::Remove(subject(watch)));
        }
        for watch in self
            .watches
            .iter()
            .filter(|watch| !old.iter().any(|was| was == *watch))
        {
            note_watch(&mut self.writer, watch);
        }
        match changes {
            Ok(changes) => self.say_changes(&changes),
            Err(error) => self
                .reporter
                .say(Level::Error, &format!("cannot change the marks: {error}")),
        }
        self.guard(false);
        self.roots.look(&self.watches, &self.reporter);
        self.writer.flush(&self.reporter);
        let what = if whole {
            "store, config and policy are"
        } else {
            "what could be read is"
        };
        self.reporter
            .say(Level::Info, &format!("{what} read again"));
    }
}

pub(super) fn note_watch(writer: &mut Writer, watch: &Watch) {
    let settings = serde_json::to_string(&watch.options()).expect("settings are plain values");
    writer.journal(&Entry::Add {
        subject: subject(watch),
        settings: &settings,
    });
}

fn is_on(path: &Path, point: &[u8]) -> bool {
    path.starts_with(OsStr::from_bytes(point))
}
