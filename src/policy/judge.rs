//! Says of each event whether a rule has to alert.

use std::time::Duration;

use super::burst::{Windows, nanos};
use super::recent::Recent;
use super::rule::{Per, Rule, Touch, Trigger, Whom};
use super::{Policy, is_at_or_below};
use crate::event::FileEvent;

/// What has to be known about the process of an event, answered by whoever keeps the process table.
pub trait Acquaintance {
    /// A number for the process that no other process ever has.
    fn process(&self) -> u64;
    /// The number of its topmost ancestor, itself included, in one of the command groups.
    fn tree(&mut self, cmds: &[String]) -> u64;
    /// Whether the process is in the command group.
    fn is_in(&mut self, cmd: &str) -> bool;
    /// Whether it is the daemon itself or a hook.
    fn is_ours(&mut self) -> bool;
}

/// What there is to tell about an event, beside the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The place of the rule in the list.
    pub rule: u16,
    /// The kind of the rule.
    pub kind: &'static str,
    /// What happened.
    pub reason: &'static str,
    /// For a burst, how many events were in the window.
    pub count: Option<u64>,
    /// For a burst, the length of the window.
    pub window_ms: Option<u64>,
}

/// The variables that a hook finds in its environment; what is not known is empty.
pub fn hook_environment(alert: &Alert, event: &FileEvent) -> [(&'static str, Vec<u8>); 6] {
    let exe = event.exe.as_deref().unwrap_or_default();
    [
        ("FAN_KIND", alert.kind.into()),
        ("FAN_PID", event.pid.to_string().into()),
        ("FAN_COMM", event.cmd.as_bytes().to_vec()),
        ("FAN_EXE", exe.into()),
        ("FAN_PATH", event.path.clone()),
        ("FAN_REASON", alert.reason.into()),
    ]
}

/// A policy with what it remembers of the events before.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    /// What each rule remembers, in the order of the rules.
    memories: Vec<Memory>,
}

impl Judge {
    /// Remembers nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            memories: policy.rules.iter().map(Memory::new).collect(),
            policy,
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Puts another policy in force. Rules that stand in both keep what they remember.
    pub fn replace(&mut self, policy: Policy) {
        let mut old: Vec<_> = self.memories.drain(..).map(Some).collect();
        let memories = policy.rules.iter().map(|rule| {
            let mut same = self.policy.rules.iter().zip(&mut old);
            let kept = same.find_map(
                |(other, memory)| {
                    if other == rule { memory.take() } else { None }
                },
            );
            kept.unwrap_or_else(|| Memory::new(rule))
        });
        self.memories = memories.collect();
        self.policy = policy;
    }

    /// Judges an event by one rule, which is known by its place in the list.
    pub fn judge(
        &mut self,
        rule: u16,
        event: &FileEvent,
        who: &mut dyn Acquaintance,
    ) -> Option<Alert> {
        let number = rule;
        let rule = self.policy.rules.get(usize::from(number))?;
        let memory = self.memories.get_mut(usize::from(number))?;
        let reason = reason(rule, event)?;
        if !is_meant(&rule.whom, event, who) {
            return None;
        }
        let mut alert = Alert {
            rule: number,
            kind: rule.kind(),
            reason,
            count: None,
            window_ms: None,
        };
        let mut life = who.process();
        if let Trigger::Burst { per, window, .. } = &rule.trigger {
            if *per == Per::Tree {
                life = who.tree(&rule.whom.cmds);
            }
            alert.count = Some(memory.windows.as_mut()?.add(life, event.time.0)?);
            alert.window_ms = u64::try_from(window.as_millis()).ok();
        }
        memory
            .cooling
            .lets_pass(life, event.time.0)
            .then_some(alert)
    }
}

impl Judge {
    /// What rules say of a change that was found out later, done by nobody knows whom: canaries that watch
    /// everybody. Each is told, for it is found out once.
    pub fn judge_unseen<'a>(&'a self, event: &'a FileEvent) -> impl Iterator<Item = Alert> + 'a {
        (0..).zip(&self.policy.rules).filter_map(|(number, rule)| {
            let Trigger::Canary { .. } = &rule.trigger else {
                return None;
            };
            let is_for_all = rule.whom.users.is_empty() && rule.whom.cmds.is_empty();
            Some(Alert {
                rule: number,
                kind: rule.kind(),
                reason: reason(rule, event).filter(|_| is_for_all)?,
                count: None,
                window_ms: None,
            })
        })
    }
}

/// What one rule remembers.
#[derive(Debug)]
struct Memory {
    windows: Option<Windows>,
    cooling: Cooling,
}

impl Memory {
    fn new(rule: &Rule) -> Self {
        let windows = match &rule.trigger {
            Trigger::Burst { count, window, .. } => Some(Windows::new(*count, *window)),
            _ => None,
        };
        Self {
            windows,
            cooling: Cooling::new(rule.cooldown),
        }
    }
}

/// When each process last caused an alert.
#[derive(Debug)]
struct Cooling {
    cooldown: i64,
    alerts: Recent<()>,
}

impl Cooling {
    fn new(cooldown: Duration) -> Self {
        let cooldown = nanos(cooldown);
        Self {
            cooldown,
            alerts: Recent::new(cooldown),
        }
    }

    /// Whether an alert is to be told now; then the next ones are not, for a while.
    fn lets_pass(&mut self, life: u64, time: i64) -> bool {
        if self.cooldown == 0 {
            return true;
        }
        // A clock that was set back far must not silence anybody until it has caught up.
        let is_warm = |last: i64| last.abs_diff(time) < self.cooldown.unsigned_abs();
        if self
            .alerts
            .find(life)
            .is_some_and(|alert| is_warm(alert.last))
        {
            return false;
        }
        self.alerts.make_room(life, time);
        self.alerts.entry(life, time).last = time;
        true
    }
}

/// What the event is to the rule, whoever did it; `None` when it is nothing.
fn reason(rule: &Rule, event: &FileEvent) -> Option<&'static str> {
    if !rule.types().contains(event.kind) {
        return None;
    }
    let mut sides = [Some(&event.path), event.other_path.as_ref()]
        .into_iter()
        .flatten();
    match &rule.trigger {
        Trigger::Canary { patterns, .. } => {
            let touch = Touch::of(event.kind)?;
            let reason = match touch {
                Touch::Opened => "canary opened",
                Touch::Modified => "canary modified",
                Touch::Renamed => "canary renamed",
                Touch::Deleted => "canary deleted",
            };
            sides
                .any(|path| patterns.iter().any(|pattern| pattern.matches(path)))
                .then_some(reason)
        }
        Trigger::Secret { patterns, .. } => patterns
            .iter()
            .any(|pattern| pattern.matches(&event.path))
            .then_some("secret opened"),
        // One side of a rename is in the place, the other side counts if it is there itself.
        Trigger::Burst { below, .. } => (below.is_empty() || is_in_any(&event.path, below))
            .then_some("mutating-event burst exceeded threshold"),
        Trigger::Outside { inside, below, .. } => {
            // A rename across the border of the place concerns it, whichever side the event is told for.
            let concerns = sides.clone().any(|path| is_in_any(path, below));
            (concerns && sides.any(|path| !is_in_any(path, inside)))
                .then_some("change outside the allowed directories")
        }
    }
}

/// Whether the rule looks at events of this process at all.
fn is_meant(whom: &Whom, event: &FileEvent, who: &mut dyn Acquaintance) -> bool {
    let user_fits = whom.users.is_empty() || whom.users.iter().any(|user| **user == *event.user);
    user_fits
        && !who.is_ours()
        && (whom.cmds.is_empty() || whom.cmds.iter().any(|cmd| who.is_in(cmd)))
        && !whom.except_cmds.iter().any(|cmd| who.is_in(cmd))
}

fn is_in_any(path: &[u8], dirs: &[Vec<u8>]) -> bool {
    dirs.iter().any(|dir| is_at_or_below(path, dir))
}

#[cfg(test)]
mod tests;
