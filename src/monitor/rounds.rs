//! Goes round and puts the gate's marks where files and directories appear, on a thread of its own: a large
//! tree or a filesystem that does not answer must hold up nobody else.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, anyhow};

use super::gate::{Gate, Guarded, Guarding};
use super::report::{Level, Reporter};
use crate::monitored::path::quoted;

/// The way to the thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Rounds {
    errands: SyncSender<Errand>,
    wanted: Arc<Wanted>,
}

/// What is to be guarded.
#[derive(Debug, Default)]
struct Wanted {
    rules: Mutex<Vec<Guarded>>,
    /// Everything is to be looked at again: there are other rules or mounts, or something was not passed on
    /// for want of room.
    is_behind: AtomicBool,
}

#[derive(Debug)]
enum Errand {
    /// Look at everything, and say when that is done.
    Guard(SyncSender<anyhow::Result<()>>),
    /// Look whether everything is to be looked at.
    Look,
    Appeared(Vec<u8>),
    Gone(Vec<u8>),
}

/// So many errands wait.
const WAITING: usize = 16 * 1024;

impl Rounds {
    pub(super) fn begin(gate: Arc<Gate>, reporter: Arc<Reporter>) -> anyhow::Result<Self> {
        let (errands, inbox) = sync_channel(WAITING);
        let wanted = Arc::<Wanted>::default();
        let walker = Walker {
            gate,
            reporter,
            wanted: wanted.clone(),
        };
        thread::Builder::new()
            .name("rounds".to_owned())
            .spawn(move || walker.walk(&inbox))
            .context("cannot start to guard files")?;
        Ok(Self { errands, wanted })
    }

    /// Has these rules put in force; without `wait` as soon as that is possible.
    pub(super) fn guard(&self, guarded: Vec<Guarded>, wait: bool) -> anyhow::Result<()> {
        let mut rules = self
            .wanted
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *rules = guarded;
        drop(rules);
        if !wait {
            self.wanted.is_behind.store(true, Ordering::Relaxed);
            // With no room there is another errand, behind which the same is done.
            self.errands.try_send(Errand::Look).ok();
            return Ok(());
        }
        let (done, is_done) = sync_channel(1);
        let ended = || anyhow!("the thread that guards files has ended");
        self.errands
            .send(Errand::Guard(done))
            .map_err(|_| ended())?;
        is_done.recv().map_err(|_| ended())?
    }

    /// Passes on that something came or went; never waits.
    pub(super) fn saw(&self, path: &[u8], appears: bool) {
        let errand = if appears {
            Errand::Appeared(path.to_vec())
        } else {
            Errand::Gone(path.to_vec())
        };
        if let Err(TrySendError::Full(_)) = self.errands.try_send(errand) {
            self.wanted.is_behind.store(true, Ordering::Relaxed);
        }
    }
}

struct Walker {
    gate: Arc<Gate>,
    reporter: Arc<Reporter>,
    wanted: Arc<Wanted>,
}

impl Walker {
    fn walk(self, inbox: &Receiver<Errand>) {
        while let Ok(errand) = inbox.recv() {
            match errand {
                // Who waits says what is wrong.
                Errand::Guard(done) => drop(done.send(self.guard())),
                Errand::Look => {}
                Errand::Appeared(path) => self.appeared(&path),
                Errand::Gone(path) => self.gate.gone(&path),
            }
            if self.wanted.is_behind.swap(false, Ordering::Relaxed)
                && let Err(error) = self.guard()
            {
                let text = format!("what rules refuse is not refused: {error:#}");
                self.reporter.say(Level::Error, &text);
            }
        }
    }

    fn guard(&self) -> anyhow::Result<()> {
        let rules = self
            .wanted
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let guarding = self.gate.guard(rules);
        self.say(&guarding.context("cannot guard files")?);
        Ok(())
    }

    fn appeared(&self, path: &[u8]) {
        let shown = Path::new(OsStr::from_bytes(path));
        let followed = match shown.symlink_metadata() {
            Ok(meta) if meta.is_dir() => self
                .gate
                .directory_appeared(path)
                .map(|guarding| self.say(&guarding)),
            Ok(_) => self.gate.file_appeared(path),
            // It has gone again.
            Err(_) => Ok(()),
        };
        if let Err(error) = followed {
            let text = format!("{} cannot be guarded: {error}", quoted(shown));
            self.reporter.say_folded(Level::Warning, "guard", &text);
        }
    }

    fn say(&self, guarding: &Guarding) {
        for trouble in &guarding.troubles {
            let path = Path::new(OsStr::from_bytes(&trouble.path));
            let text = format!("{} cannot be guarded: {}", quoted(path), trouble.error);
            self.reporter.say_folded(Level::Warning, "guard", &text);
        }
        for user in &guarding.unknown_users {
            let text = format!(
                "a rule names the user '{}', whom nobody knows",
                user.escape_debug()
            );
            self.reporter.say_folded(Level::Warning, "users", &text);
        }
    }
}
