//! What follows from an alert: its line, and the program that its rule calls.

use super::gate::Told;
use super::hooks::{Call, Hooks};
use super::report::{Level, Reporter};
use super::warden::Warden;
use super::watchman::{FOR_THE_GATE, Watchman};
use super::writer::Writer;
use crate::event::FileEvent;
use crate::log::alert::Note;
use crate::log::journal::Entry;
use crate::monitored::{GroupName, WatchSet};
use crate::pipeline::{Doer, Pipeline};
use crate::policy::{Alert, hook_environment};
use crate::socket::health::PolicyHealth;

/// The rules, the gate that they have, and the way to the programs that they call.
#[derive(Debug)]
pub struct Alarm {
    /// The rules.
    pub watchman: Watchman,
    warden: Warden,
    hooks: Hooks,
    /// How many were raised.
    alerts: u64,
}

impl Alarm {
    /// Puts both together.
    pub fn new(watchman: Watchman, warden: Warden, hooks: Hooks) -> Self {
        Self {
            watchman,
            warden,
            hooks,
            alerts: 0,
        }
    }

    /// Has the gate refuse what the rules say. To be called when the rules or the mounts have changed.
    pub fn guard(&mut self, wait: bool) -> anyhow::Result<()> {
        self.warden.guard(self.watchman.policy().guarded(), wait)
    }

    /// Whose logs there are: what is lost has to be said in each.
    pub fn logs_of(&self, watches: &WatchSet) -> Vec<GroupName> {
        let mut groups: Vec<GroupName> = Vec::new();
        if !self.watchman.policy().rules.is_empty() {
            groups.push(GroupName::alerts());
        }
        for watch in watches.iter() {
            if !groups.contains(&watch.group) {
                groups.push(watch.group.clone());
            }
        }
        groups
    }

    /// Which rules there are, and what they did.
    pub fn health(&self) -> PolicyHealth {
        let policy = self.watchman.policy();
        let gate = self.warden.tally();
        PolicyHealth {
            rules: policy.rules.len() as u64,
            jobs: policy.jobs.list().len() as u64,
            alerts: self.alerts,
            opens: gate.opens,
            refused: gate.refused,
            overdue: gate.overdue,
        }
    }

    /// Refuses nothing any more. What was refused before has been told when this returns.
    pub fn close_gate(&mut self) {
        self.warden.close();
    }

    /// Has a rule judge an event.
    pub fn judge(
        &mut self,
        rule: u16,
        event: &FileEvent,
        doer: &mut Doer<'_>,
        writer: &mut Writer,
        reporter: &Reporter,
    ) {
        if rule == FOR_THE_GATE {
            self.warden.saw(event);
        } else if let Some(alert) = self.watchman.judge(rule, event, doer) {
            self.raise(&alert, event, None, writer, reporter);
        }
    }

    /// Has the rules judge a change that was found out later.
    pub fn judge_unseen(&mut self, event: &FileEvent, writer: &mut Writer, reporter: &Reporter) {
        for alert in self.watchman.judge_unseen(event) {
            self.raise(&alert, event, None, writer, reporter);
        }
    }

    /// Deals with what the gate tells.
    pub fn hear(
        &mut self,
        told: Told,
        pipeline: &mut Pipeline,
        writer: &mut Writer,
        reporter: &Reporter,
    ) {
        let Some(verdict) = self.warden.hear(told, pipeline) else {
            return;
        };
        if let Some((event, alert)) = verdict.alert(&mut self.watchman, pipeline) {
            self.raise(&alert, &event, Some(verdict.decision), writer, reporter);
        }
    }

    /// Writes an alert down, and has its hook called.
    fn raise(
        &mut self,
        alert: &Alert,
        event: &FileEvent,
        decision: Option<&str>,
        writer: &mut Writer,
        reporter: &Reporter,
    ) {
        self.alerts += 1;
        let mut event = event.clone();
        self.watchman.tag(&mut event);
        let note = Note {
            decision: decision.map(Into::into),
            ..self.watchman.note(alert)
        };
        let line = writer.alert(&event, &note);
        let Some(call) = call_for(&self.watchman, alert, &event, line) else {
            return;
        };
        let rule = call.rule.clone();
        if !self.hooks.call(call) {
            let ended = "not called: too many hooks wait";
            let text = format!("hook of '{}' {ended}", rule.escape_debug());
            reporter.say_folded(Level::Warning, "hooks", &text);
            writer.journal(&Entry::Hook {
                rule: &rule,
                ended,
                output: b"",
            });
        }
    }
}

/// The program that is to be called for an alert, whose line is `line`.
pub(super) fn call_for(
    watchman: &Watchman,
    alert: &Alert,
    event: &FileEvent,
    line: Vec<u8>,
) -> Option<Call> {
    let rule = watchman.rule(alert.rule)?;
    Some(Call {
        rule: rule.name.clone(),
        hook: rule.hook.clone()?,
        environment: hook_environment(alert, event),
        alert: line,
    })
}
