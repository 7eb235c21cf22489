//! Rules about what may happen, read from policy.toml or from flags, and the judgement of events by them.
//!
//! Nothing here asks the machine or looks at a clock: what has to be known about
//! a process comes through [`Acquaintance`], and time is that of the events.
#![forbid(unsafe_code)]

mod burst;
mod explain;
mod job;
mod judge;
mod need;
mod parse;
mod recent;
mod rule;

use std::fmt;

use crate::filters::pattern::PathPattern;

pub use job::{Job, Jobs, Role, Root, Tag};
pub use judge::{Acquaintance, Alert, Judge, hook_environment};
pub use need::{Ground, Need};
pub use rule::{Hook, HookCommand, MUTATING, Per, Rule, Touch, Trigger, Whom};

/// All rules and jobs. A rule is known by its place in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// The jobs whose directories events are tagged with.
    pub jobs: Jobs,
}

impl Policy {
    /// Reads the text of a policy.toml; tells every mistake in it.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        parse::policy(text)
    }

    /// What has to be seen for each rule. `watched` is what is watched anyway; a burst rule that names no
    /// place counts there.
    pub fn needs(&self, watched: &[Ground]) -> Vec<Need> {
        numbered(&self.rules)
            .flat_map(|(number, rule)| need::of(number, rule, watched))
            .collect()
    }

    /// What the gate has to refuse.
    pub fn guarded(&self) -> Vec<Guarded> {
        numbered(&self.rules)
            .filter_map(|(number, rule)| {
                Some(Guarded {
                    rule: number,
                    patterns: rule.refused()?.to_vec(),
                    cmds: rule.whom.cmds.clone(),
                    except_cmds: rule.whom.except_cmds.clone(),
                    users: rule.whom.users.clone(),
                })
            })
            .collect()
    }

    /// The job and the role of the deepest job directory that `path` is, or lies below.
    pub fn tag(&self, path: &[u8]) -> Option<Tag<'_>> {
        self.jobs.tag(path)
    }

    /// Tells in plain sentences what each rule does, and lists the jobs.
    pub fn explain(&self) -> String {
        explain::policy(self)
    }
}

/// The opens that a rule refuses: of these paths, by these processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The place of the rule in the list.
    pub rule: u16,
    /// Which paths.
    pub patterns: Vec<PathPattern>,
    /// Only for processes in one of these command groups; empty is all.
    pub cmds: Vec<String>,
    /// For no process in one of these.
    pub except_cmds: Vec<String>,
    /// Only for these users; empty is all.
    pub users: Vec<String>,
}

/// Something wrong in a policy.toml.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where, counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Mistake {}

/// The rules with their numbers; what does not fit the number is refused when the file is read.
fn numbered(rules: &[Rule]) -> impl Iterator<Item = (u16, &Rule)> {
    (0..=u16::MAX).zip(rules)
}

/// Whether `path` is `dir` or below it, by whole components. `dir` is clean.
fn is_at_or_below(path: &[u8], dir: &[u8]) -> bool {
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}
