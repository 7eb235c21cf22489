//! The self-test: the program itself watches a directory in which short processes work.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{self, Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use fsmon::event::{EventType, FileEvent};
use fsmon::log::line::{LogLine, decode};
use fsmon::monitor::doctor::State;
use fsmon::monitored::path::quoted;
use fsmon::sys::account::{account, effective_uid};
use fsmon::sys::process::write_and_end;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::deeds::{Deed, SHORT, truth_of_short};
use super::place::Place;
use super::verdict::{Doer, Step, judge};

/// How the self-test went.
#[derive(Debug, Serialize)]
pub(super) struct Trial {
    /// Where it was.
    pub(super) dir: String,
    pub(super) state: State,
    /// Why it could not be made, or what was lost in it.
    pub(super) text: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// What comes while it is waited.
enum News {
    Event(Box<FileEvent>),
    Lost,
    /// The watching program has ended.
    Over,
    Interrupted,
}

/// Runs the self-test in a new directory in `base`. An error is an interruption: everything else is a finding.
pub(super) fn run(base: &Path) -> anyhow::Result<Trial> {
    let failed = |dir: &Path, error: &anyhow::Error| Trial {
        dir: dir.to_string_lossy().into_owned(),
        state: State::Missing,
        text: Some(format!("{error:#}")),
        steps: Vec::new(),
    };
    let (to_us, news) = channel();
    if let Err(error) = heed_signals(to_us.clone()) {
        return Ok(failed(base, &error.context("cannot wait for signals")));
    }
    let place = match Place::make(base) {
        Ok(place) => place,
        Err(error) => {
            let doing = format!("cannot make a directory in {}", quoted(base));
            return Ok(failed(base, &anyhow!(error).context(doing)));
        }
    };
    let mut watching = match Watching::start(&place, to_us, news) {
        Ok(watching) => watching,
        Err(error) => return Ok(failed(place.path(), &error)),
    };
    match watching.work(&place) {
        Ok(trial) => Ok(trial),
        Err(error) if watching.is_interrupted => Err(error),
        Err(error) => Ok(failed(place.path(), &error)),
    }
}

/// Turns signals into news, so that nothing is left behind; when nobody hears them any more, they end the program.
fn heed_signals(to_us: Sender<News>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(inside);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if to_us.send(News::Interrupted).is_err() {
                    #[expect(clippy::exit, reason = "the test is over, and who is asked to end may be stuck printing")]
                    process::exit(1);
                }
            }
        });
    })?;
    Ok(())
}

/// The program as it watches the directory; ended when dropped.
struct Watching {
    child: Child,
    news: Receiver<News>,
    root: Vec<u8>,
    seen: Vec<FileEvent>,
    has_lost: bool,
    is_interrupted: bool,
}

impl Watching {
    fn start(place: &Place, to_us: Sender<News>, news: Receiver<News>) -> anyhow::Result<Self> {
        let mut program = Command::new(OWN_PROGRAM);
        program
            .arg0("fsmon")
            .args(["watch", "--format", "json", "--"])
            .arg(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = program.spawn().context("cannot start `fsmon watch`")?;
        let out = child.stdout.take().context("it has no output")?;
        let reading = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || read(out, &to_us));
        let watching = Self {
            child,
            news,
            root: place.path().as_os_str().as_bytes().to_owned(),
            seen: Vec::new(),
            has_lost: false,
            is_interrupted: false,
        };
        reading.context("cannot read what it tells")?;
        Ok(watching)
    }

    fn work(&mut self, place: &Place) -> anyhow::Result<Trial> {
        self.wait_until_it_watches(place)?;
        let mut done = Vec::new();
        let own = own_name()?;
        let life = write_and_end(place.dir().as_fd(), SHORT).context("cannot start a process")?;
        done.push((
            "shortest life",
            doer(life.pid, own),
            life.lasted,
            truth_of_short(),
            life.succeeded,
        ));
        for deed in Deed::ALL {
            let (pid, lasted, succeeded) = perform(deed, place)?;
            let doer = doer(pid, deed.program().to_owned());
            done.push((deed.told(), doer, lasted, deed.truth(), succeeded));
        }
        self.wait_for_all(place)?;
        let steps: Vec<Step> = done
            .into_iter()
            .map(|(name, doer, lived, truth, succeeded)| {
                let mut step = judge(name, &doer, lived, &truth, &self.root, &self.seen);
                if !succeeded {
                    step.state = State::Unknown;
                    step.faults = vec!["could not be done here".to_owned()];
                }
                step
            })
            .collect();
        let states = steps.iter().map(|step| step.state);
        let mut state = states.fold(State::Ok, State::and);
        let text = self.has_lost.then(|| {
            state = State::Missing;
            "something was lost meanwhile: see `fsmon watch`".to_owned()
        });
        Ok(Trial {
            dir: place.path().to_string_lossy().into_owned(),
            state,
            text,
            steps,
        })
    }

    /// Makes directories until one is told of.
    fn wait_until_it_watches(&mut self, place: &Place) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        for number in 0.. {
            let name = format!("ready-{number}");
            flash(place, &name)?;
            if self.hears_of(&name, EventType::Create, LOOK_AGAIN)? {
                return Ok(());
            }
            if Instant::now() > until {
                break;
            }
        }
        bail!("`fsmon watch` told nothing within {} s", PATIENCE.as_secs())
    }

    /// Waits until everything before is told: lines come in the order of the events.
    fn wait_for_all(&mut self, place: &Place) -> anyhow::Result<()> {
        // Twice: what waits for something behind it is told when the queue has been seen empty.
        for name in ["end", "very-end"] {
            flash(place, name)?;
            if !self.hears_of(name, EventType::Delete, PATIENCE)? {
                bail!(
                    "`fsmon watch` told nothing of the end within {} s",
                    PATIENCE.as_secs()
                );
            }
        }
        Ok(())
    }

    /// Takes news until an event of that kind on `name` comes; false when the time is over first.
    fn hears_of(&mut self, name: &str, kind: EventType, limit: Duration) -> anyhow::Result<bool> {
        let until = Instant::now() + limit;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(rest) {
                Ok(News::Event(event)) => {
                    let below = event.path.strip_prefix(&*self.root);
                    let is_it = event.kind == kind
                        && below
                            .is_some_and(|below| below.strip_prefix(b"/") == Some(name.as_bytes()));
                    self.seen.push(*event);
                    if is_it {
                        return Ok(true);
                    }
                }
                Ok(News::Lost) => self.has_lost = true,
                Ok(News::Over) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.its_last_words());
                }
                Ok(News::Interrupted) => {
                    self.is_interrupted = true;
                    bail!("interrupted; the directory of the self-test is gone again");
                }
                Err(RecvTimeoutError::Timeout) => return Ok(false),
            }
        }
    }

    fn its_last_words(&mut self) -> anyhow::Error {
        let mut said = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut said).ok();
        }
        let error = said.lines().find_map(|line| line.strip_prefix("fsmon: "));
        anyhow!(
            "`fsmon watch` has ended: {}",
            error.unwrap_or("it says nothing")
        )
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read(out: ChildStdout, to_us: &Sender<News>) {
    for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
        let news = match decode(&line) {
            Some(LogLine::Event(event)) => News::Event(Box::new(event)),
            Some(LogLine::Gap(_)) => News::Lost,
            None => continue,
        };
        if to_us.send(news).is_err() {
            return;
        }
    }
    to_us.send(News::Over).ok();
}

/// Makes a directory and takes it away.
fn flash(place: &Place, name: &str) -> anyhow::Result<()> {
    let path = place.inside().join(name);
    let doing = || format!("cannot work in {}", quoted(place.path()));
    fs::create_dir(&path).with_context(doing)?;
    fs::remove_dir(&path).with_context(doing)
}

/// Has a program of its own name do it; its pid, how long it lived, and whether it could.
fn perform(deed: Deed, place: &Place) -> anyhow::Result<(u32, Duration, bool)> {
    let link = place.inside().join(deed.program());
    symlink(OWN_PROGRAM, &link).context("cannot make a link")?;
    let begun = Instant::now();
    let mut program = Command::new(&link);
    program
        .args(["doctor-deed", deed.word()])
        .current_dir(place.inside())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = program.spawn().context("cannot start a program")?;
    let pid = child.id();
    let status = child.wait().context("cannot wait for a program")?;
    Ok((pid, begun.elapsed(), status.success()))
}

fn doer(pid: u32, cmd: String) -> Doer {
    let uid = effective_uid();
    let name = account(uid).map(|account| account.name.to_string_lossy().into_owned());
    Doer {
        pid,
        cmd,
        user: name.unwrap_or_else(|| uid.to_string()),
        ppid: process::id(),
    }
}

/// The name that a child has until it executes something.
fn own_name() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/thread-self/comm").context("cannot read /proc")?;
    Ok(name.trim_end_matches('\n').to_owned())
}

/// This program, also when its file was replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// So long anything may take on a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);
/// Another directory is made this often until one is told of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
