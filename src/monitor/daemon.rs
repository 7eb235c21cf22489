//! Starts the daemon's parts in order and waits for their end.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::Interest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;

use super::alarm::Alarm;
use super::assembly::open_engine;
use super::control::Control;
use super::core::{Core, Message, say_bad_lines};
use super::downtime::Keeper;
use super::engine::open_group;
use super::feed::{self, Feed};
use super::hooks::{self, Hooks};
use super::live::Hub;
use super::lock::DaemonLock;
use super::marks::Dialect;
use super::notify::Manager;
use super::report::{Level, Reporter};
use super::rights;
use super::trim::Trimmer;
use super::warden::Warden;
use super::watchman::Watchman;
use super::writer::{Writer, crashed_at};
use crate::config::Config;
use crate::event::WallTime;
use crate::log::append::AppenderConfig;
use crate::log::chain::{held_since, last_link};
use crate::monitored::path::quoted;
use crate::monitored::{Store, WatchSet};
use crate::sys::async_fd;
use crate::sys::caps::{self, Cap};
use crate::sys::files::as_user;

/// Records until a signal says stop.
pub fn run_daemon(config: Config, watchman: Watchman, debug: bool) -> anyhow::Result<ExitCode> {
    let reporter = Arc::new(Reporter::new(debug));
    let code = record(config, watchman, &reporter);
    reporter.finish();
    code
}

fn record(
    config: Config,
    watchman: Watchman,
    reporter: &Arc<Reporter>,
) -> anyhow::Result<ExitCode> {
    let (group, dialect) = open_group(config.test.legacy_fanotify).map_err(NoFanotify)?;
    let lock = DaemonLock::take(&config.paths.lock, config.owner)?;
    let store = Store::open(&config.paths.store_file, config.owner);
    let (watches, bad) = store.load()?;
    say_config(reporter, &config, &watches);
    say_bad_lines(reporter, &bad);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let (to_core, inbox) = channel();
    let hub = Arc::new(Hub::default());
    let (hooks, calls) = Hooks::new();
    let warden = Warden::new(to_core.clone(), reporter.clone());
    let alarm = Alarm::new(watchman, warden, hooks);
    let manager = Manager::of_process(reporter.clone());
    let (feed, mut core) = assemble(&config, group, dialect, reporter, &to_core, &hub, alarm)?;
    let mut is_bound = false;
    let code = runtime.block_on(async {
        let control = Control::bind(&config.paths.socket, config.uid, config.owner)?;
        is_bound = true;
        if let Some(error) = &control.not_handed_over {
            let socket = quoted(&config.paths.socket);
            reporter.say(
                Level::Warning,
                &format!("{socket} cannot be handed to its user: {error}; it stays with root"),
            );
        }
        // Whoever edits the store from here on finds somebody at the socket; what was edited before stands in it.
        let since = begin(&mut core, &config, store.load()?.0)?;
        if !caps::has(Cap::DAC_READ_SEARCH)
            && let Some(lack) = rights::lack_of(Cap::DAC_READ_SEARCH)
        {
            reporter.say(Level::Warning, &lack);
        }
        // Every other thread is started from here on and begins with what is left.
        if let Err(error) = caps::keep_only(&rights::kept()) {
            let why = format!("capabilities that are needed no longer are kept: {error}");
            reporter.say(Level::Warning, &why);
        }
        // Who reads `ready` may send one at once.
        let signals = Signals::caught(manager)?;
        keep_manifest(&mut core, &config, reporter, &to_core, since);
        reporter.announce("Starting file trace monitor...");
        reporter.announce("ready");
        let (alive, core_ended) = tokio::sync::oneshot::channel::<()>();
        let working = std::thread::Builder::new()
            .name("core".to_owned())
            .spawn(move || {
                // Dropped however the core ends, also by a panic.
                let _alive = alive;
                work(&mut core, &inbox)
            })
            .context("cannot start the core")?;
        // Events from between the marks and the first poll are there already.
        to_core.send(Message::Wake).ok();
        signals.manager.ready();
        let delay = config.test.read_delay;
        let stop = to_core.clone();
        let calling = tokio::spawn(hooks::serve(calls, to_core.clone()));
        let attended = attend(feed, delay, control, to_core, reporter, signals, core_ended).await;
        if let Err(error) = &attended {
            // The core holds a way to itself, for what trims its logs; nothing else would end it.
            stop.send(Message::Stop(error.to_string())).ok();
        }
        attended?;
        let ended = tokio::task::spawn_blocking(move || working.join()).await;
        part(&hub).await;
        calling.abort();
        match ended {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => anyhow::bail!("not everything that was captured could be written"),
            _ => anyhow::bail!(
                "the recording thread failed; what happens from now on is not recorded"
            ),
        }
        reporter.announce("\nStopping file trace monitor...");
        anyhow::Ok(ExitCode::SUCCESS)
    });
    // Both names go before the lock does: the next daemon finds a clean place.
    as_user(config.owner, || {
        // What made us give up before it was ours is not ours to remove.
        if is_bound {
            std::fs::remove_file(&config.paths.socket).ok();
        }
        drop(lock);
    });
    code
}

/// Lets those who listen have the last lines, but not for long.
async fn part(hub: &Hub) {
    hub.close();
    let until = tokio::time::Instant::now() + PARTING;
    while hub.readers() > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Who listens has so long to take the last lines.
const PARTING: Duration = Duration::from_secs(1);

fn work(core: &mut Core, inbox: &Receiver<Message>) -> bool {
    let reason = core.run(inbox);
    core.close_gate(inbox);
    core.make_last_manifest(inbox);
    core.end(&reason)
}

fn assemble(
    config: &Config,
    group: crate::sys::fanotify::Group,
    dialect: Dialect,
    reporter: &Arc<Reporter>,
    to_core: &Sender<Message>,
    hub: &Arc<Hub>,
    alarm: Alarm,
) -> anyhow::Result<(Arc<Feed>, Core)> {
    let (feed, engine) = open_engine(config, group, dialect, reporter)?;
    let writer = Writer::new(
        AppenderConfig {
            dir: config.paths.log_dir.clone(),
            owner: config.owner,
            ceiling_bytes: usize::try_from(config.capture.write_ceiling).unwrap_or(usize::MAX),
        },
        config.logging.sync,
        hub.clone(),
    );
    let trimmer = Trimmer::new(
        config.paths.log_dir.clone(),
        config.owner,
        reporter.clone(),
        to_core.clone(),
    );
    let core = Core::new(
        config.clone(),
        feed.clone(),
        engine,
        writer,
        trimmer,
        alarm,
        reporter.clone(),
    );
    Ok((feed, core))
}

/// Says when the run before ended, as far as that is known.
fn begin(core: &mut Core, config: &Config, watches: WatchSet) -> anyhow::Result<Option<WallTime>> {
    let last_lines: Vec<_> = watches
        .iter()
        .map(|watch| core.last_time(&watch.group))
        .collect();
    // A journal that cannot be read now has no line to go on from; whoever checks it will see that.
    let last = as_user(config.owner, || last_link(&config.paths.log_dir))
        .ok()
        .flatten();
    let held = as_user(config.owner, || held_since(&config.paths.log_dir));
    let held = held.ok().flatten();
    let crashed = crashed_at(last.as_ref().map(|(last, _)| last), held, last_lines);
    let ended = crashed.or_else(|| last.as_ref().map(|(last, _)| last.time));
    core.begin(watches, last, crashed.is_some())?;
    if let Some(since) = crashed {
        core.note_downtime(since);
    }
    Ok(ended)
}

fn keep_manifest(
    core: &mut Core,
    config: &Config,
    reporter: &Arc<Reporter>,
    to_core: &Sender<Message>,
    since: Option<WallTime>,
) {
    let most = config.capture.manifest;
    if most > 0 {
        let dir = config.paths.log_dir.clone();
        let keeper = Keeper::start(dir, config.owner, most, reporter, to_core.clone());
        core.keep_manifest(keeper, since);
    }
}

/// Runs everything that waits for descriptors, until the core ends.
async fn attend(
    feed: Arc<Feed>,
    delay: Option<Duration>,
    control: Control,
    to_core: Sender<Message>,
    reporter: &Arc<Reporter>,
    mut signals: Signals,
    mut core_ended: tokio::sync::oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let (commands, mut asked) = unbounded_channel();
    let serving = tokio::spawn(control.serve(commands));
    let waking = to_core.clone();
    let (failed, mut reading_failed) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("feed".to_owned())
        .spawn(move || {
            let error = feed::pump(&feed, delay, move || {
                waking.send(Message::Wake).ok();
            });
            failed.send(error).ok();
        })
        .context("cannot start reading")?;
    let mounts = tokio::spawn(watch_mounts(to_core.clone()));
    let forward = to_core.clone();
    let forwarding = tokio::spawn(async move {
        while let Some((command, reply)) = asked.recv().await {
            forward.send(Message::Command(command, reply)).ok();
        }
    });
    let reason = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break "SIGTERM".to_owned(),
            _ = signals.interrupt.recv() => break "SIGINT".to_owned(),
            _ = signals.hangup.recv() => reload(&to_core, &signals.manager),
            _ = &mut core_ended => break "the core ended".to_owned(),
            error = &mut reading_failed => {
                let why = match error {
                    Ok(error) => format!("reading events failed: {error}"),
                    Err(_) => "reading events failed".to_owned(),
                };
                reporter.say(Level::Error, &why);
                break why;
            }
        }
    };
    signals.manager.stopping();
    to_core.send(Message::Stop(reason)).ok();
    serving.abort();
    forwarding.abort();
    mounts.abort();
    Ok(())
}

/// The signals that mean something to the daemon, and who is told what comes of them.
struct Signals {
    manager: Manager,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on they are caught.
    fn caught(manager: Manager) -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            manager,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }
}

/// Has everything read again, and tells the service manager from when until when.
fn reload(to_core: &Sender<Message>, manager: &Manager) {
    manager.reloading();
    let (done, reloaded) = tokio::sync::oneshot::channel();
    to_core.send(Message::Reload(done)).ok();
    let manager = manager.clone();
    tokio::spawn(async move {
        if reloaded.await.is_ok() {
            manager.ready();
        }
    });
}

/// Says when the table of mounts changes: proc_pid_mountinfo(5) signals that as an exceptional condition.
pub(super) async fn watch_mounts(to_core: Sender<Message>) -> anyhow::Result<()> {
    let table = OwnedFd::from(File::open("/proc/self/mountinfo")?);
    let table = async_fd::register(table, Interest::PRIORITY | Interest::ERROR)?;
    loop {
        let mut ready = table.ready(Interest::PRIORITY | Interest::ERROR).await?;
        ready.clear_ready();
        if to_core.send(Message::MountsChanged).is_err() {
            return Ok(());
        }
    }
}

fn say_config(reporter: &Reporter, config: &Config, watches: &WatchSet) {
    let paths = &config.paths;
    reporter.plain("Config loaded:");
    reporter.plain(&format!(
        "  Monitored path database:  {}",
        paths.store_file.display()
    ));
    reporter.plain(&format!("  Event logs:     {}", paths.log_dir.display()));
    reporter.plain(&format!("  Command socket: {}", paths.socket.display()));
    let mut groups: Vec<_> = watches.iter().map(|watch| &watch.group).collect();
    groups.sort();
    groups.dedup();
    for group in groups {
        let of_group: Vec<_> = watches
            .iter()
            .filter(|watch| watch.group == *group)
            .collect();
        let name = if group.is_global() {
            "global"
        } else {
            group.as_str()
        };
        reporter.plain(&format!("  [{name}] ({} path(s)):", of_group.len()));
        for watch in of_group {
            reporter.plain(&format!(
                "    {}",
                quoted(&watch.path).to_string().trim_matches('\'')
            ));
        }
    }
    if watches.iter().next().is_none() {
        reporter.plain("No entries configured. Waiting for socket commands (use 'fsmon add <cmd> --path <path>').");
    }
}

/// The kernel grants no fanotify group.
#[derive(Debug)]
pub struct NoFanotify(pub(super) std::io::Error);

impl NoFanotify {
    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self.0.raw_os_error()? {
            EPERM => Some(
                "run it with sudo, or give it rights: setcap cap_sys_admin,cap_dac_read_search,cap_net_admin+ep",
            ),
            EMFILE => Some(
                "this user has as many fanotify groups as it may: raise fs.fanotify.max_user_groups, or end what holds them",
            ),
            EINVAL | ENOSYS => Some("Linux 5.9 or later is needed, with CONFIG_FANOTIFY"),
            _ => None,
        }
    }
}

impl std::fmt::Display for NoFanotify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot open fanotify: {}", self.0)
    }
}

impl std::error::Error for NoFanotify {}

const EPERM: i32 = 1;
const EINVAL: i32 = 22;
const EMFILE: i32 = 24;
const ENOSYS: i32 = 38;
