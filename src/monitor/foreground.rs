//! Watching in the foreground: the daemon's engine without its store, socket and logs.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::alarm::call_for;
use super::assembly::open_engine;
use super::core::Message;
use super::daemon::{NoFanotify, watch_mounts};
use super::engine::{Changes, Engine, open_group};
use super::feed::{self, Feed};
use super::gate::{Scope, Told};
use super::hooks::{self, Call, Hooks};
use super::marks;
use super::report::{Level, Reporter};
use super::viewers::viewers;
use super::warden::{self, Warden};
use super::watchman::{FOR_THE_GATE, Watchman};
use crate::config::Config;
use crate::event::{EventType, FileEvent, TypeSet};
use crate::log::alert::{Note, encode_alert};
use crate::monitored::path::quoted;
use crate::monitored::{GroupName, Reach, Watch, WatchOptions, WatchSet};
use crate::pipeline::{Loss, Outcome};
use crate::policy::Alert;
use crate::sys::gatekeeper::OPEN_PERM;
use crate::sys::mount;

/// What is to be shown.
#[derive(Debug)]
pub enum Sight<'a> {
    /// Something happened.
    Event(&'a FileEvent),
    /// A rule has something to say of an event.
    Alert(&'a FileEvent, Note<'a>),
    /// Something was lost here.
    Lost(Loss),
    /// Everything that is known by now has been shown.
    Pause,
}

/// What is to be seen at the gate.
#[derive(Debug)]
pub struct Gated {
    /// A directory on the filesystem.
    pub dir: PathBuf,
    /// The whole filesystem, or one mount.
    pub scope: Scope,
}

/// What to watch, and for how long.
#[derive(Debug)]
pub struct Wishes {
    /// Which paths.
    pub watches: WatchSet,
    /// By which rules.
    pub watchman: Watchman,
    /// Openings that are to be seen at the gate, before they succeed.
    pub gated: Option<Gated>,
    /// Until when, if not until a signal.
    pub time: Option<Duration>,
    /// Where the output goes, as a path that leads to the open file.
    pub output: PathBuf,
    /// Called when it is to end and its output has been stuck for a while.
    pub give_up: fn(),
}

/// Shows what happens until the time is over or a signal comes; an error of `show` ends it, too.
///
/// `ready` is called when from now on everything is seen.
pub fn watch(
    config: &Config,
    wishes: Wishes,
    reporter: &Arc<Reporter>,
    ready: &mut dyn FnMut(),
    show: &mut dyn FnMut(Sight<'_>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let (group, dialect) = open_group(config.test.legacy_fanotify).map_err(NoFanotify)?;
    let (feed, engine) = open_engine(config, group, dialect, reporter)?;
    let (to_us, inbox) = channel();
    let (hooks, calls) = Hooks::new();
    let mut watching = Watching {
        engine,
        feed: feed.clone(),
        watches: wishes.watches,
        watchman: wishes.watchman,
        warden: Warden::new(to_us.clone(), reporter.clone()),
        hooks,
        reporter: reporter.clone(),
        look_again: Some(Instant::now() + VIEWERS_COME),
        mounts_moved: false,
        output: wishes.output,
        held: None,
    };
    watching.reconcile()?;
    watching.guard(wishes.gated.as_ref())?;
    let holds_openings = wishes.gated.is_some() || !watching.watchman.policy().guarded().is_empty();
    let until = Until {
        time: wishes.time,
        give_up: wishes.give_up,
        holds_openings,
    };
    attend(feed, calls, until, to_us)?;
    watching.leave_out_viewers();
    ready();
    watching.run(&inbox, show)
}

/// The types that openings are looked at by.
pub const OPENS: TypeSet = TypeSet::EMPTY
    .with(EventType::Open)
    .with(EventType::CloseWrite);

/// The types that the kernel tells for a single mount: what is done with files, and not with names.
pub const THROUGH_MOUNT: TypeSet = OPENS
    .with(EventType::OpenExec)
    .with(EventType::Access)
    .with(EventType::Modify)
    .with(EventType::CloseNowrite);

/// Watches the whole filesystem of `dir`, or only what goes through the mount that it is on.
pub fn whole(dir: &Path, through_mount: bool, options: &WatchOptions) -> anyhow::Result<WatchSet> {
    let dir = dir
        .canonicalize()
        .with_context(|| format!("cannot look at {}", quoted(dir)))?;
    let mounts = mount::mounts().context("cannot read the table of mounts")?;
    let home = marks::mount_of(dir.as_os_str().as_bytes(), &mounts)
        .with_context(|| format!("no mount leads to {}", quoted(&dir)))?;
    let mut set = WatchSet::default();
    for (at, mount) in mounts.iter().enumerate() {
        let is_meant = at == home || !through_mount && mount.dev == mounts[home].dev;
        let point = super::ways::path(&mount.point);
        if !is_meant || marks::mount_of(&mount.point, &mounts) != Some(at) {
            continue;
        }
        let mut watch = Watch::new(GroupName::global(), &point, options)?;
        watch.reach = if through_mount {
            Reach::Mount
        } else {
            Reach::Filesystem
        };
        set.add_or_replace(watch);
    }
    Ok(set)
}

/// Starts what waits for descriptors, on threads of its own.
fn attend(
    feed: Arc<Feed>,
    calls: tokio::sync::mpsc::Receiver<Call>,
    until: Until,
    to_us: Sender<Message>,
) -> anyhow::Result<()> {
    let waking = to_us.clone();
    thread::Builder::new()
        .name("feed".to_owned())
        .spawn(move || {
            let wake = || drop(waking.send(Message::Wake));
            wake();
            let error = feed::pump(&feed, None, wake);
            let why = format!("reading events failed: {error}");
            waking.send(Message::Stop(why)).ok();
        })
        .context("cannot start reading")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let _inside = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Stopped by a key it could not answer those who open files, and everything would stand still. A handler
    // that does nothing lets it run on.
    let _stop_key = until
        .holds_openings
        .then(|| signal(SignalKind::from_raw(STOP_KEY)))
        .transpose()?;
    thread::Builder::new()
        .name("attendant".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let mounts = tokio::spawn(watch_mounts(to_us.clone()));
                let calling = tokio::spawn(hooks::serve(calls, to_us.clone()));
                let over = async {
                    match until.time {
                        Some(time) => tokio::time::sleep(time).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    () = over => {}
                }
                to_us.send(Message::Stop(String::new())).ok();
                // Who does not read must not keep us. Hooks that were called go on until the end.
                tokio::time::sleep(PARTING).await;
                (until.give_up)();
                drop((mounts.await, calling.await));
            });
        })
        .context("cannot wait for signals")?;
    Ok(())
}

struct Watching {
    engine: Engine,
    feed: Arc<Feed>,
    watches: WatchSet,
    watchman: Watchman,
    warden: Warden,
    hooks: Hooks,
    reporter: Arc<Reporter>,
    /// When it is looked again for those who read what is printed.
    look_again: Option<Instant>,
    mounts_moved: bool,
    output: PathBuf,
    /// Came while it was looked for others.
    held: Option<Message>,
}

type Show<'s> = dyn FnMut(Sight<'_>) -> io::Result<()> + 's;

impl Watching {
    fn run(&mut self, inbox: &Receiver<Message>, show: &mut Show<'_>) -> anyhow::Result<()> {
        loop {
            match self.wait(inbox) {
                Ok(Message::MountsChanged) => {
                    self.settle(show)?;
                    self.reconcile()?;
                    self.warden.guard(self.watchman.policy().guarded(), false)?;
                }
                Ok(Message::HookEnded(ended)) if ended.how != "exit 0" => {
                    let output = String::from_utf8_lossy(&ended.output);
                    let text = format!(
                        "hook of '{}': {} {}",
                        ended.rule.escape_debug(),
                        ended.how,
                        output.escape_debug()
                    );
                    self.reporter.say(Level::Warning, &text);
                }
                Ok(Message::Gate(told)) => {
                    let mut heard = vec![told];
                    while heard.len() < AT_ONCE && self.held.is_none() {
                        match inbox.try_recv() {
                            Ok(Message::Gate(told)) => heard.push(told),
                            Ok(other) => self.held = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.hear(heard, show)?;
                }
                Ok(Message::Stop(why)) => {
                    self.warden.close();
                    let rest = inbox.try_iter().filter_map(|message| match message {
                        Message::Gate(told) => Some(told),
                        _ => None,
                    });
                    self.hear(rest.collect(), show)?;
                    self.settle(show)?;
                    return if why.is_empty() {
                        Ok(())
                    } else {
                        Err(anyhow::anyhow!(why))
                    };
                }
                Ok(_) => self.step(show)?,
                Err(RecvTimeoutError::Timeout) => {
                    if self.engine.is_waiting() {
                        self.feed.drain()?;
                    } else if self.engine.is_walking() {
                        self.engine.walk_on(&self.reporter);
                    }
                    if self.look_again.is_some_and(|at| at <= Instant::now()) {
                        self.look_again = None;
                        self.leave_out_viewers();
                    }
                    self.step(show)?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("every other thread has ended")
                }
            }
        }
    }

    fn wait(&mut self, inbox: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        if let Some(held) = self.held.take() {
            return Ok(held);
        }
        let pause = if self.engine.is_walking() {
            Some(Duration::ZERO)
        } else if self.engine.is_waiting() {
            Some(LOOK_AGAIN)
        } else {
            self.look_again
                .map(|at| at.saturating_duration_since(Instant::now()))
        };
        match pause {
            Some(pause) => inbox.recv_timeout(pause),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn reconcile(&mut self) -> anyhow::Result<()> {
        let all = self.watchman.with_needs(&self.watches);
        let Changes {
            notes, shortfalls, ..
        } = self.engine.reconcile(&all, mount::mounts()?)?;
        // What is seen whole needs no words here.
        for note in notes
            .iter()
            .filter(|note| !note.ends_with("nothing is missing"))
        {
            self.reporter.say(Level::Warning, note);
        }
        if let Some(short) = shortfalls.first() {
            let point = super::ways::path(&short.point);
            anyhow::bail!("cannot watch {}: {}", quoted(&point), short.why);
        }
        Ok(())
    }

    /// Opens the gate, if a rule refuses something or openings are to be seen there.
    fn guard(&mut self, gated: Option<&Gated>) -> anyhow::Result<()> {
        self.warden.guard(self.watchman.policy().guarded(), true)?;
        let Some(Gated { dir, scope }) = gated else {
            return Ok(());
        };
        if let Some(error) = self.warden.observe(dir, *scope)? {
            let text = format!(
                "the filesystem of {} cannot be marked ({error}); only what goes through its mount is seen",
                quoted(dir)
            );
            self.reporter.say(Level::Warning, &text);
        }
        Ok(())
    }

    fn hear(&mut self, heard: Vec<Told>, show: &mut Show<'_>) -> anyhow::Result<()> {
        // Whoever came to the gate has been forked by now, and the records of it have to be known.
        self.feed.drain()?;
        self.step(show)?;
        for told in heard {
            self.show_told(told, show)?;
        }
        show(Sight::Pause)?;
        Ok(())
    }

    fn show_told(&mut self, told: Told, show: &mut Show<'_>) -> anyhow::Result<()> {
        let Self {
            engine,
            watchman,
            warden,
            hooks,
            reporter,
            ..
        } = self;
        let pipeline = engine.pipeline();
        if let Told::Seen(seen) = told {
            if let Some(missed) = warden.shown() {
                let now = warden::now().0;
                show(Sight::Lost(Loss {
                    count: Some(missed),
                    since: now,
                    until: now,
                    cause: "the reader of the output is too slow",
                }))?;
            }
            let kind = if seen.mask & OPEN_PERM != 0 {
                EventType::Open
            } else {
                EventType::CloseWrite
            };
            let (mut event, _) = pipeline.describe(kind, &seen.path, seen.pid, warden::now());
            let exe = seen.exe.map(|exe| String::from_utf8_lossy(&exe).into());
            event.exe = event.exe.or(exe);
            watchman.tag(&mut event);
            show(Sight::Event(&event))?;
        } else if let Some(verdict) = warden.hear(told, pipeline)
            && let Some((mut event, alert)) = verdict.alert(watchman, pipeline)
        {
            watchman.tag(&mut event);
            let note = Note {
                decision: Some(verdict.decision.into()),
                ..watchman.note(&alert)
            };
            call_hook(watchman, hooks, &alert, &event, &note, reporter);
            show(Sight::Alert(&event, note))?;
        }
        Ok(())
    }

    fn leave_out_viewers(&mut self) {
        self.engine.pipeline().leave_out(viewers(&self.output));
    }

    fn step(&mut self, show: &mut Show<'_>) -> anyhow::Result<()> {
        self.step_engine(false, show)?;
        if std::mem::take(&mut self.mounts_moved) {
            self.reconcile()?;
        }
        Ok(())
    }

    /// Shows all that happened up to now.
    fn settle(&mut self, show: &mut Show<'_>) -> anyhow::Result<()> {
        let until = Instant::now() + SETTLE;
        loop {
            self.feed.drain()?;
            self.step_engine(false, show)?;
            if !self.engine.is_waiting() {
                return Ok(());
            }
            if Instant::now() >= until {
                return self.step_engine(true, show);
            }
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn step_engine(&mut self, all: bool, show: &mut Show<'_>) -> anyhow::Result<()> {
        let Self {
            engine,
            watchman,
            warden,
            hooks,
            reporter,
            mounts_moved,
            ..
        } = self;
        // An error of the output ends everything, so nothing behind it is shown.
        let mut shown = Ok(());
        engine.step(all, reporter, &mut |outcome| {
            if shown.is_err() {
                return;
            }
            shown = match outcome {
                Outcome::Log { event, .. } => {
                    watchman.tag(event);
                    show(Sight::Event(event))
                }
                Outcome::Rule {
                    rule: FOR_THE_GATE,
                    event,
                    ..
                } => {
                    warden.saw(event);
                    Ok(())
                }
                Outcome::Rule {
                    rule,
                    event,
                    mut doer,
                } => match watchman.judge(rule, event, &mut doer) {
                    Some(alert) => {
                        let mut event = event.clone();
                        watchman.tag(&mut event);
                        let note = watchman.note(&alert);
                        call_hook(watchman, hooks, &alert, &event, &note, reporter);
                        show(Sight::Alert(&event, note))
                    }
                    None => Ok(()),
                },
                Outcome::Lost(loss) | Outcome::ProcessesLost(loss) => show(Sight::Lost(loss)),
                Outcome::MountsMoved => {
                    *mounts_moved = true;
                    Ok(())
                }
                Outcome::RootMayBeBack { .. }
                | Outcome::RootMayBeGone { .. }
                | Outcome::NewDirectory { .. } => Ok(()),
            };
        })?;
        shown?;
        show(Sight::Pause)?;
        Ok(())
    }
}

fn call_hook(
    watchman: &Watchman,
    hooks: &Hooks,
    alert: &Alert,
    event: &FileEvent,
    note: &Note<'_>,
    reporter: &Reporter,
) {
    let mut line = Vec::new();
    encode_alert(event, note, &mut line);
    let Some(call) = call_for(watchman, alert, event, line) else {
        return;
    };
    let rule = call.rule.clone();
    if !hooks.call(call) {
        let text = format!(
            "hook of '{}' not called: too many hooks wait",
            rule.escape_debug()
        );
        reporter.say_folded(Level::Warning, "hooks", &text);
    }
}

/// So much of what the gate tells is dealt with together.
const AT_ONCE: usize = 1024;

/// What ends it.
struct Until {
    time: Option<Duration>,
    give_up: fn(),
    /// Others wait for its answers.
    holds_openings: bool,
}

/// SIGTSTP, what Ctrl-Z sends.
const STOP_KEY: i32 = 20;
/// So long the last lines may take.
const PARTING: Duration = Duration::from_secs(2);
/// While records wait for a neighbour, the queue is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// At the end it is waited so long for what is still missing.
const SETTLE: Duration = Duration::from_millis(150);
/// After so long a shell has started all programs of a pipe.
const VIEWERS_COME: Duration = Duration::from_millis(300);
