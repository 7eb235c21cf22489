//! The gate in the hands of its owner: opened when a rule refuses something, told of files that come and
//! go, and answered where only the process table knows.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

use super::core::Message;
use super::gate::{Asked, Gate, Guarded, Guarding, Question, Refusal, Scope, Tally, Told};
use super::report::{Level, Reporter};
use crate::event::{EventType, FileEvent, WallTime};
use crate::monitored::path::quoted;
use crate::pipeline::{Doer, Pipeline};
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
    to_owner: Sender<Message>,
    reporter: Arc<Reporter>,
}

impl Warden {
    /// Has no gate as long as nothing is to be refused.
    pub fn new(to_owner: Sender<Message>, reporter: Arc<Reporter>) -> Self {
        Self {
            gate: None,
            pump: None,
            to_owner,
            reporter,
        }
    }

    /// Refuses from now on what these rules mean, and nothing else.
    pub fn guard(&mut self, guarded: Vec<Guarded>) -> anyhow::Result<()> {
        if guarded.is_empty() && self.gate.is_none() {
            return Ok(());
        }
        let gate = match &self.gate {
            Some(gate) => gate.clone(),
            None => self.open()?,
        };
        let guarding = gate.guard(guarded).context("cannot guard files")?;
        self.say(&guarding);
        Ok(())
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
        let pump = thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || {
                let ended = pumped.pump(&|told| drop(to_owner.send(Message::Gate(told))));
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
        if let Some(gate) = self.gate.take() {
            gate.stop();
        }
        if let Some(pump) = self.pump.take() {
            // It has said why, if it ended before.
            pump.join().ok();
        }
    }

    fn say(&self, guarding: &Guarding) {
        for trouble in &guarding.troubles {
            let path = Path::new(std::ffi::OsStr::from_bytes(&trouble.path));
            let text = format!("{} cannot be guarded: {}", quoted(path), trouble.error);
            self.reporter.say_folded(Level::Warning, "guard", &text);
        }
        for user in &guarding.unknown_users {
            let text = format!(
                "a rule names the user '{}', whom nobody knows",
                user.escape_debug()
            );
            self.reporter.say(Level::Warning, &text);
        }
    }

    /// Follows what comes and goes where something is guarded.
    pub fn saw(&self, event: &FileEvent) {
        let Some(gate) = &self.gate else { return };
        match event.kind {
            EventType::Create | EventType::MovedTo => {
                let path = Path::new(std::ffi::OsStr::from_bytes(&event.path));
                let followed = match path.symlink_metadata() {
                    Ok(meta) if meta.is_dir() => gate
                        .directory_appeared(&event.path)
                        .map(|guarding| self.say(&guarding)),
                    Ok(_) => gate.file_appeared(&event.path),
                    // It has gone again.
                    Err(_) => Ok(()),
                };
                if let Err(error) = followed {
                    let text = format!("{} cannot be guarded: {error}", quoted(path));
                    self.reporter.say_folded(Level::Warning, "guard", &text);
                }
            }
            _ => gate.gone(&event.path),
        }
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
                self.reporter.say_folded(Level::Error, "overdue", &text);
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

/// An open that is not decided by then passes.
const DEADLINE: Duration = Duration::from_millis(500);
