//! The gate in the hands of its owner: opened when a rule refuses something, told of files that come and
//! go, and answered where only the process table knows.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

use super::core::Message;
use super::gate::{Asked, Gate, Guarded, Overdue, Question, Refusal, Scope, Tally, Told};
use super::report::{Level, Reporter};
use super::rounds::Rounds;
use super::watchman::Watchman;
use crate::event::{EventType, FileEvent, WallTime};
use crate::monitored::path::quoted;
use crate::pipeline::{Doer, Pipeline};
use crate::policy::Alert;
use crate::sys::clock;

/// An opening that a rule is about, and what became of it.
#[derive(Debug)]
pub struct Verdict {
    /// Which rule.
    pub rule: u16,
    /// The process.
    pub pid: u32,
    /// What was opened.
    pub path: Vec<u8>,
    /// When, on both clocks.
    pub moment: (WallTime, u64),
    /// As it stands in the line of the alert.
    pub decision: &'static str,
}

impl Verdict {
    /// The event of it, and what its rule has to say of that. The verdict came from the match; only what is
    /// told waits for the cooldown.
    pub fn alert(
        &self,
        watchman: &mut Watchman,
        pipeline: &mut Pipeline,
    ) -> Option<(FileEvent, Alert)> {
        let (event, mut doer) =
            pipeline.describe(EventType::Open, &self.path, self.pid, self.moment);
        let alert = watchman.judge(self.rule, &event, &mut doer)?;
        Some((event, alert))
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self {
            rule: refusal.rule,
            pid: refusal.pid,
            path: refusal.path,
            moment: (refusal.wall, refusal.mono),
            decision: "deny",
        }
    }
}

/// The owner of the gate.
#[derive(Debug)]
pub struct Warden {
    gate: Option<Arc<Gate>>,
    pump: Option<JoinHandle<()>>,
    rounds: Option<Rounds>,
    observed: Arc<Observing>,
    to_owner: Sender<Message>,
    reporter: Arc<Reporter>,
}

/// What was seen at the gate and waits to be shown.
#[derive(Debug, Default)]
struct Observing {
    waiting: AtomicUsize,
    missed: AtomicU64,
}

impl Warden {
    /// Has no gate as long as nothing is to be refused.
    pub fn new(to_owner: Sender<Message>, reporter: Arc<Reporter>) -> Self {
        Self {
            gate: None,
            pump: None,
            rounds: None,
            observed: Arc::default(),
            to_owner,
            reporter,
        }
    }

    /// Refuses what these rules mean, and nothing else: when this returns, or soon if it need not wait.
    pub fn guard(&mut self, guarded: Vec<Guarded>, wait: bool) -> anyhow::Result<()> {
        if guarded.is_empty() && self.gate.is_none() {
            return Ok(());
        }
        let gate = match &self.gate {
            Some(gate) => gate.clone(),
            None => self.open()?,
        };
        let rounds = match &self.rounds {
            Some(rounds) => rounds,
            None => self
                .rounds
                .insert(Rounds::begin(gate, self.reporter.clone())?),
        };
        rounds.guard(guarded, wait)
    }

    /// Observes openings, too; an error in the answer says why it is less than asked for.
    pub fn observe(&mut self, dir: &Path, scope: Scope) -> anyhow::Result<Option<io::Error>> {
        let gate = match &self.gate {
            Some(gate) => gate.clone(),
            None => self.open()?,
        };
        let observed = gate
            .observe(dir, scope)
            .with_context(|| format!("cannot observe {}", quoted(dir)))?;
        Ok(observed.fell_back)
    }

    fn open(&mut self) -> anyhow::Result<Arc<Gate>> {
        let gate = Gate::open(std::process::id(), DEADLINE).context("cannot open a gate")?;
        let gate = Arc::new(gate);
        let (pumped, to_owner, reporter) =
            (gate.clone(), self.to_owner.clone(), self.reporter.clone());
        let observed = self.observed.clone();
        let pump = thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || {
                let ended = pumped.pump(&|told| {
                    match &told {
                        Told::Seen(_) if !observed.has_room() => return,
                        // Said here, as the owner may be what could not decide.
                        Told::Overdue(overdue) => say_overdue(overdue, &reporter),
                        _ => {}
                    }
                    to_owner.send(Message::Gate(told)).ok();
                });
                if let Err(error) = ended {
                    let text = format!("the gate has ended, nothing is refused any more: {error}");
                    reporter.say(Level::Error, &text);
                }
            })
            .context("cannot start the gate")?;
        self.pump = Some(pump);
        self.gate = Some(gate.clone());
        Ok(gate)
    }

    /// What the gate did so far.
    pub fn tally(&self) -> Tally {
        self.gate
            .as_ref()
            .map(|gate| gate.tally())
            .unwrap_or_default()
    }

    /// Ends the gate: everything passes from now on.
    pub fn close(&mut self) {
        // It may be in the middle of a round; that is not waited for.
        self.rounds = None;
        if let Some(gate) = self.gate.take() {
            gate.stop();
        }
        if let Some(pump) = self.pump.take() {
            // It has said why, if it ended before.
            pump.join().ok();
        }
    }

    /// Follows what comes and goes where something is guarded.
    pub fn saw(&self, event: &FileEvent) {
        if let Some(rounds) = &self.rounds {
            let appears = matches!(event.kind, EventType::Create | EventType::MovedTo);
            rounds.saw(&event.path, appears);
        }
    }

    /// Takes note that something seen was shown; how much could not be kept, if anything was missed before it.
    pub fn shown(&self) -> Option<u64> {
        self.observed.waiting.fetch_sub(1, Ordering::Relaxed);
        let missed = self.observed.missed.swap(0, Ordering::Relaxed);
        (missed > 0).then_some(missed)
    }

    /// Deals with what the gate tells: answers a question, says what went wrong. What a rule has to say
    /// something of comes back; everything that processes did before it has to be known to `pipeline`.
    pub fn hear(&self, told: Told, pipeline: &mut Pipeline) -> Option<Verdict> {
        match told {
            Told::Refused(refusal) => Some(refusal.into()),
            Told::Asked(question) => {
                let (_, mut doer) =
                    pipeline.describe(EventType::Open, &question.path, question.pid, now());
                let rule = refusing(&question, &mut doer);
                let refusal = self.gate.as_ref()?.decide(question.id, rule);
                refusal.map(Verdict::from)
            }
            Told::Overdue(overdue) => {
                let (_, mut doer) = pipeline.describe(
                    EventType::Open,
                    &overdue.question.path,
                    overdue.question.pid,
                    now(),
                );
                let rule = refusing(&overdue.question, &mut doer)?;
                Some(Verdict {
                    rule,
                    pid: overdue.question.pid,
                    path: overdue.question.path,
                    moment: now(),
                    decision: "overdue",
                })
            }
            Told::Lost(why) => {
                let text = format!("the gate missed something: {why}");
                self.reporter.say_folded(Level::Error, "gate", &text);
                None
            }
            Told::Seen(_) => None,
        }
    }
}

impl Observing {
    /// Whether one more can be kept; counts it either way.
    fn has_room(&self) -> bool {
        let has_room = self.waiting.load(Ordering::Relaxed) < MOST_SEEN;
        if has_room {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }
}

/// So much of what was seen at the gate waits to be shown.
const MOST_SEEN: usize = 64 * 1024;

fn say_overdue(overdue: &Overdue, reporter: &Reporter) {
    let path = Path::new(std::ffi::OsStr::from_bytes(&overdue.question.path));
    let why = if overdue.crowded {
        "too many waited"
    } else {
        "it was not decided in time"
    };
    let text = format!(
        "process {} could open {}, which a rule may refuse: {why}",
        overdue.question.pid,
        quoted(path)
    );
    reporter.say_folded(Level::Error, "overdue", &text);
}

/// Which of the rules that are in question refuses it.
fn refusing(question: &Question, doer: &mut Doer<'_>) -> Option<u16> {
    let mut applies = |asked: &&Asked| {
        let is_meant = asked.cmds.is_empty() || asked.cmds.iter().any(|cmd| doer.is_in(cmd));
        is_meant && !asked.except_cmds.iter().any(|cmd| doer.is_in(cmd))
    };
    let rule = question.rules.iter().find(|asked| applies(asked));
    rule.map(|asked| asked.rule)
}

/// The moment at hand, on both clocks.
pub(super) fn now() -> (WallTime, u64) {
    (WallTime(clock::realtime()), clock::monotonic())
}

/// An open that is not decided by then passes. It is as long as it takes to work off about as many events as
/// the memory for them holds: who floods the daemon does not get past a rule by it.
const DEADLINE: Duration = Duration::from_secs(5);
