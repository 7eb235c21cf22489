//! The daemon's one owner of engine, watches and logs: takes messages, calls what is named.

mod account;
mod change;
mod downtime;
mod mounts;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::alarm::Alarm;
use super::control::{Answer, Command};
use super::downtime::{Ask, Keeper};
use super::engine::{Changes, Engine};
use super::feed::Feed;
use super::gate::Told;
use super::hooks::Ended;
use super::report::{Level, Reporter};
use super::roots::Roots;
use super::trim::Trimmer;
use super::vital::Began;
use super::writer::Writer;
use crate::clean::CleanReport;
use crate::config::Config;
use crate::event::WallTime;
use crate::log::chain::Link;
use crate::log::journal::Entry;
use crate::log::written::Written;
use crate::monitored::{GroupName, WatchSet};
use crate::pipeline::{Loss, Outcome};
use crate::sys::{clock, memory};

use self::change::note_watch;
use self::mounts::Mounts;

pub use account::say_bad_lines;

/// What the core is told.
#[derive(Debug)]
pub enum Message {
    /// Events were read.
    Wake,
    /// A client wants something.
    Command(Command, oneshot::Sender<Answer>),
    /// Something was mounted or unmounted.
    MountsChanged,
    /// A log was trimmed by `auto_clean`.
    Cleaned {
        /// The file name of the log.
        log: String,
        /// What went and what stayed.
        report: CleanReport,
    },
    /// A program that a rule called has ended.
    HookEnded(Ended),
    /// The thread that finds out what happened unseen wants something.
    Downtime(Ask),
    /// The gate has refused or asks something.
    Gate(Told),
    /// SIGHUP: read store, config and policy again, and say when that is done.
    Reload(oneshot::Sender<()>),
    /// A signal to stop, or a thread that failed.
    Stop(String),
}

/// The owner.
#[derive(Debug)]
pub struct Core {
    config: Config,
    feed: Arc<Feed>,
    engine: Engine,
    writer: Writer,
    watches: WatchSet,
    roots: Roots,
    trimmer: Trimmer,
    alarm: Alarm,
    keeper: Keeper,
    reporter: Arc<Reporter>,
    stats_at: Option<Instant>,
    began: Began,
    lost: u64,
    /// Mount points below watches that cannot be watched, or not wholly, and why.
    short: BTreeMap<Vec<u8>, String>,
    /// A directory above a mount point was renamed; the marks have to follow.
    mounts_moved: bool,
    mounts: Mounts,
}

/// While records wait for a neighbour, the queue is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// A stop waits so long for a disk that is full or a `clean` that is at work.
const LAST_TRIES: Duration = Duration::from_secs(5);

impl Core {
    /// Makes the core; nothing is watched until [`Core::begin`].
    pub fn new(
        config: Config,
        feed: Arc<Feed>,
        engine: Engine,
        writer: Writer,
        trimmer: Trimmer,
        alarm: Alarm,
        reporter: Arc<Reporter>,
    ) -> Self {
        let stats_at = reporter
            .is_debug()
            .then(|| Instant::now() + config.cache.stats_interval);
        Self {
            config,
            feed,
            engine,
            writer,
            watches: WatchSet::default(),
            roots: Roots::default(),
            trimmer,
            alarm,
            keeper: Keeper::default(),
            reporter,
            stats_at,
            began: Began::now(),
            lost: 0,
            short: BTreeMap::new(),
            mounts_moved: false,
            mounts: Mounts::begin(),
        }
    }

    /// Takes the watches of the store into force and begins the journal, behind the line that is the last of it.
    pub fn begin(
        &mut self,
        watches: WatchSet,
        last: Option<(Written, Link)>,
        after_crash: bool,
    ) -> anyhow::Result<()> {
        let entry = Entry::Start {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            after_crash,
        };
        self.writer.begin_journal(last, &entry);
        self.watches = watches;
        let changes = self.reconcile()?;
        self.say_changes(&changes);
        self.guard(true);
        self.note_policy();
        for watch in self.watches.iter() {
            note_watch(&mut self.writer, watch);
        }
        self.roots.look(&self.watches, &self.reporter);
        self.writer.flush(&self.reporter);
        Ok(())
    }

    /// Makes the marks fit what is watched and what the rules have to see.
    fn reconcile(&mut self) -> io::Result<Changes> {
        self.keeper.follow(&self.watches);
        let all = self.alarm.watchman.with_needs(&self.watches);
        let (mounts, since) = self.mounts.read()?;
        let mut changes = self.engine.reconcile(&all, mounts)?;
        changes.since = since;
        self.note_mounts(&changes);
        Ok(changes)
    }

    fn note_policy(&mut self) {
        let policy = self.alarm.watchman.policy();
        let (rules, jobs) = (policy.rules.len(), policy.jobs.list().len());
        if rules + jobs > 0 {
            self.writer.journal(&Entry::Policy {
                rules: rules as u64,
                jobs: jobs as u64,
            });
            let text = format!("policy in force: rules {rules}, jobs {jobs}");
            self.reporter.say(Level::Info, &text);
        }
    }

    /// The time of the last line in a group's log.
    pub fn last_time(&mut self, group: &GroupName) -> WallTime {
        self.writer.last_time(group)
    }

    /// Says, in the journal and in each log, that nothing was recorded from `since` to now.
    pub fn note_downtime(&mut self, since: WallTime) {
        let until = WallTime(clock::realtime());
        let loss = Loss {
            count: None,
            since,
            until,
            cause: "downtime",
        };
        self.writer.loss(&self.alarm.logs_of(&self.watches), &loss);
        self.writer.flush(&self.reporter);
    }

    fn hear(&mut self, told: Told) {
        // Whoever waits at the gate has been forked by now, and the records of it have to be known.
        self.read_and_step();
        let Self {
            alarm,
            engine,
            writer,
            reporter,
            ..
        } = self;
        alarm.hear(told, engine.pipeline(), writer, reporter);
        self.writer.flush(&self.reporter);
    }

    /// Ends the gate, and takes down what it still had to tell.
    pub fn close_gate(&mut self, inbox: &Receiver<Message>) {
        self.alarm.close_gate();
        while let Ok(message) = inbox.try_recv() {
            match message {
                Message::Gate(told) => self.hear(told),
                Message::HookEnded(ended) => self.note_hook(&ended),
                _ => {}
            }
        }
    }

    /// Puts the rules that refuse something in force.
    fn guard(&mut self, wait: bool) {
        if let Err(error) = self.alarm.guard(wait) {
            let text = format!("what rules refuse is not refused: {error:#}");
            self.reporter.say(Level::Error, &text);
        }
    }

    fn note_hook(&mut self, ended: &Ended) {
        self.writer.journal(&Entry::Hook {
            rule: &ended.rule,
            ended: &ended.how,
            output: &ended.output,
        });
        self.writer.flush(&self.reporter);
    }

    fn note_cleaning(&mut self, log: &str, deleted: u64, (before, after): (u64, u64)) {
        self.writer.journal(&Entry::Clean {
            log,
            deleted,
            before,
            after,
        });
        self.writer.flush(&self.reporter);
    }

    /// Works until a message says stop; returns why.
    pub fn run(&mut self, inbox: &Receiver<Message>) -> String {
        self.trimmer.follow(&self.config.logging);
        memory::give_back();
        loop {
            let message = match self.due() {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(Message::Wake) => self.step(),
                Ok(Message::Command(command, reply)) => {
                    let answer = self.obey(command);
                    // A client that has gone does not want its answer.
                    reply.send(answer).ok();
                }
                Ok(Message::MountsChanged) => self.follow_mounts(),
                Ok(Message::Cleaned { log, report }) => {
                    let sizes = (report.before, report.after);
                    self.note_cleaning(&log, report.by_time + report.by_size, sizes);
                }
                Ok(Message::Downtime(ask)) => self.serve(ask),
                Ok(Message::Gate(told)) => self.hear(told),
                Ok(Message::HookEnded(ended)) => self.note_hook(&ended),
                Ok(Message::Reload(done)) => {
                    self.reload();
                    // Nobody asks any more while the daemon ends.
                    done.send(()).ok();
                }
                Ok(Message::Stop(reason)) => return reason,
                Err(RecvTimeoutError::Timeout) => self.tend(),
                Err(RecvTimeoutError::Disconnected) => {
                    return "every other thread has ended".to_owned();
                }
            }
            self.mounts.look();
            self.follow_writer();
        }
    }

    /// Writes everything captured and ends the journal; says whether all of it could be written.
    ///
    /// Without a STOP the next start knows that something is missing, and says so.
    pub fn end(&mut self, reason: &str) -> bool {
        // What happens from here on may be read or not; what happened before is.
        let looked = WallTime(clock::realtime());
        self.settle();
        self.writer.flush(&self.reporter);
        let until = Instant::now() + LAST_TRIES;
        while self.writer.is_waiting() && Instant::now() < until {
            std::thread::park_timeout(LOOK_AGAIN * 10);
            self.writer.flush(&self.reporter);
        }
        let all = !self.writer.is_waiting();
        if all {
            self.writer.end_journal(looked, reason);
            self.writer.flush(&self.reporter);
        } else {
            let held = self.writer.pending_bytes();
            let text = format!("{held} bytes of lines could not be written and are lost");
            self.reporter.say(Level::Error, &text);
        }
        self.writer.sync_now(&self.reporter);
        all
    }

    fn due(&self) -> Option<Instant> {
        if self.engine.is_walking() {
            return Some(Instant::now());
        }
        let again = self
            .engine
            .is_waiting()
            .then(|| Instant::now() + LOOK_AGAIN);
        again
            .into_iter()
            .chain(self.writer.due())
            .chain(self.stats_at)
            .min()
    }

    fn tend(&mut self) {
        if self.engine.is_waiting() {
            self.read_and_step();
        } else if self.engine.is_walking() {
            self.engine.walk_on(&self.reporter);
            self.step();
        }
        self.writer.tend(&self.reporter);
        if self.stats_at.is_some_and(|at| at <= Instant::now()) {
            self.stats_at = Some(Instant::now() + self.config.cache.stats_interval);
            self.say_statistics();
        }
    }

    /// Tells what was read.
    fn step(&mut self) {
        self.step_engine(false);
        if std::mem::take(&mut self.mounts_moved) {
            match self.reconcile() {
                Ok(changes) => self.say_changes(&changes),
                Err(error) => self.reporter.say(
                    Level::Warning,
                    &format!("cannot follow a mount point that moved: {error}"),
                ),
            }
        }
        self.writer.watch_clock();
        self.writer.flush(&self.reporter);
        self.writer.tend(&self.reporter);
    }

    fn read_and_step(&mut self) {
        if let Err(error) = self.feed.drain() {
            self.reporter.say_folded(
                Level::Error,
                "drain",
                &format!("cannot read events: {error}"),
            );
        }
        self.step();
    }

    /// Tells everything that happened up to now, with the watches that are in force.
    fn settle(&mut self) {
        let until = Instant::now() + SETTLE;
        self.read_and_step();
        while self.engine.is_waiting() && Instant::now() < until {
            std::thread::park_timeout(LOOK_AGAIN);
            self.read_and_step();
        }
        if self.engine.is_waiting() {
            self.step_engine(true);
            self.writer.flush(&self.reporter);
        }
    }

    fn step_engine(&mut self, all: bool) {
        let Self {
            engine,
            writer,
            watches,
            roots,
            reporter,
            lost,
            mounts_moved,
            alarm,
            keeper,
            ..
        } = self;
        let stepped = engine.step(all, reporter, &mut |outcome| match outcome {
            Outcome::Log { group, event } => {
                reporter.debug(|| {
                    format!(
                        "{} {} {}",
                        group,
                        event.kind,
                        String::from_utf8_lossy(&event.path).escape_debug()
                    )
                });
                keeper.stir();
                alarm.watchman.tag(event);
                writer.event(group, event, reporter);
            }
            Outcome::Rule {
                rule,
                event,
                mut doer,
            } => alarm.judge(rule, event, &mut doer, writer, reporter),
            Outcome::RootMayBeGone { root } => roots.gone(watches, writer, reporter, root),
            Outcome::RootMayBeBack { root } => roots.back(watches, writer, reporter, root),
            Outcome::MountsMoved => *mounts_moved = true,
            Outcome::NewDirectory { .. } => {}
            Outcome::Lost(loss) => {
                *lost += loss.count.unwrap_or(1);
                keeper.unseen(Some(loss.since), loss.until);
                writer.loss(&alarm.logs_of(watches), &loss);
                let count = number_of(&loss);
                reporter.say_folded(
                    Level::Error,
                    "lost",
                    &format!("{count} events lost ({}); {lost} since start", loss.cause),
                );
            }
            Outcome::ProcessesLost(loss) => {
                writer.loss(&alarm.logs_of(watches), &loss);
                let count = number_of(&loss);
                let what = format!(
                    "{count} process records lost: who did something may be unknown, and missing in the log of a command group"
                );
                reporter.say_folded(Level::Error, "processes", &what);
            }
        });
        if let Err(error) = stepped {
            reporter.say_folded(
                Level::Error,
                "drain",
                &format!("cannot read events: {error}"),
            );
        }
    }
}

/// How long a settling core waits for what is still missing; then it tells the rest as it is. Never
/// longer, however fast others change files.
const SETTLE: Duration = Duration::from_millis(150);

fn number_of(loss: &Loss) -> String {
    loss.count.map_or_else(
        || "an unknown number of".to_owned(),
        |count| count.to_string(),
    )
}
