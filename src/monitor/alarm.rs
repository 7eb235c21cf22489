//! What follows from an alert: its line, and the program that its rule calls.

use super::hooks::{Call, Hooks};
use super::report::{Level, Reporter};
use super::watchman::Watchman;
use super::writer::Writer;
use crate::event::FileEvent;
use crate::log::journal::Entry;
use crate::policy::{Alert, hook_environment};

/// The rules, and the way to the programs that they call.
#[derive(Debug)]
pub struct Alarm {
    /// The rules.
    pub watchman: Watchman,
    hooks: Hooks,
}

impl Alarm {
    /// Puts both together.
    pub fn new(watchman: Watchman, hooks: Hooks) -> Self {
        Self { watchman, hooks }
    }

    /// Writes an alert down, and has its hook called.
    pub fn raise(
        &mut self,
        alert: &Alert,
        event: &FileEvent,
        writer: &mut Writer,
        reporter: &Reporter,
    ) {
        let mut event = event.clone();
        self.watchman.tag(&mut event);
        let line = writer.alert(&event, &self.watchman.note(alert));
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
