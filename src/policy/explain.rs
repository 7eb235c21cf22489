//! Tells in plain sentences what a policy does.
//!
//! Names and paths come from a file that others may have written, so each is
//! quoted with its control characters escaped.

use std::fmt::Write as _;
use std::time::Duration;

use super::rule::{Hook, HookCommand, Per, Rule, Touch, Trigger, Whom};
use super::{Job, Policy};
use crate::event::TypeSet;
use crate::filters::pattern::PathPattern;

/// A paragraph a rule, then the jobs.
pub(super) fn policy(policy: &Policy) -> String {
    let mut paragraphs: Vec<String> = policy
        .rules
        .iter()
        .enumerate()
        .map(|(at, rule)| paragraph(at + 1, rule))
        .collect();
    if !policy.jobs.list().is_empty() {
        paragraphs.push(jobs(policy.jobs.list()));
    }
    if paragraphs.is_empty() {
        return "There are no rules and no jobs: nothing alerts.\n".to_owned();
    }
    paragraphs.join("\n")
}

fn paragraph(number: usize, rule: &Rule) -> String {
    let name = quoted(&rule.name);
    let mut sentences = vec![
        format!("Rule {number}, {name}, {}.", rule.kind()),
        alerts_when(rule),
        silence(rule),
        action(rule.hook.as_ref()),
    ];
    if let Some(patterns) = rule.refused() {
        sentences.push(refusal(patterns, &rule.whom));
    }
    sentences.extend(notes(rule));
    sentences.join(" ") + "\n"
}

fn alerts_when(rule: &Rule) -> String {
    let who = actor(&rule.whom);
    match &rule.trigger {
        Trigger::Canary { patterns, on, .. } => {
            let (paths, verbs) = (
                either(patterns),
                listed(on.iter().map(|touch| verb(*touch)), "or"),
            );
            format!("Alerts when {who} {verbs} {paths}.")
        }
        Trigger::Secret { patterns, .. } => {
            format!("Alerts when {who} opens {}.", either(patterns))
        }
        Trigger::Burst {
            count,
            window,
            per,
            below,
            types,
        } => {
            let place = match below.as_slice() {
                [] => "anywhere in what is watched".to_owned(),
                dirs => format!("at or below {}", directories(dirs)),
            };
            let together = match per {
                Per::Process => "Each process is counted alone.",
                Per::Tree => {
                    "The topmost process of the group and everything that descends from it are counted as one."
                }
            };
            format!(
                "Alerts when {who} causes {count} or more events within {}, {place}. {together} What counts: {}.",
                length(*window),
                type_names(*types)
            )
        }
        Trigger::Outside {
            inside,
            below,
            types,
        } => format!(
            "Looks at what happens at or below {}. Alerts when {who} changes something that is not at or below {}; \
             a rename across the border counts in either direction. What counts: {}.",
            directories(below),
            directories(inside),
            type_names(*types)
        ),
    }
}

fn silence(rule: &Rule) -> String {
    if rule.cooldown.is_zero() {
        return "There is no cooldown: every event that fits is an alert.".to_owned();
    }
    let whose = match rule.trigger {
        Trigger::Burst { per: Per::Tree, .. } => "processes counted as one",
        _ => "the same process",
    };
    format!(
        "Repeats by {whose} are silenced for {} after an alert.",
        length(rule.cooldown)
    )
}

fn action(hook: Option<&Hook>) -> String {
    let Some(hook) = hook else {
        return "The alert is recorded; no hook is run.".to_owned();
    };
    let run = match &hook.run {
        HookCommand::Argv(words) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("the hook {} is run", words.join(" "))
        }
        HookCommand::Shell(line) => format!("the hook {} is run by /bin/sh", quoted(line)),
    };
    let user = match &hook.user {
        Some(user) => format!("as {}", quoted(user)),
        None => "as the user that fsmon runs as".to_owned(),
    };
    format!(
        "The alert is recorded, and {run} {user}; it is ended after {}. What the hook does itself never alerts.",
        length(hook.timeout)
    )
}

fn refusal(patterns: &[PathPattern], whom: &Whom) -> String {
    format!(
        "Opens of {} by {} are refused, every time: the cooldown silences the alert only. \
         fsmon's own opens and those of its hooks are let pass.",
        either(patterns),
        actor(whom)
    )
}

fn notes(rule: &Rule) -> Vec<String> {
    let mut notes = Vec::new();
    match &rule.trigger {
        Trigger::Canary { on, deny, .. } => {
            let only_told: Vec<&str> = [Touch::Renamed, Touch::Deleted]
                .into_iter()
                .filter(|touch| on.contains(touch))
                .map(noun)
                .collect();
            if *deny && !only_told.is_empty() {
                notes.push(format!(
                    "NOTE: {} cannot be refused, for fanotify can refuse opens and reads only; this is only told.",
                    only_told.join(" and ")
                ));
            }
            if on.contains(&Touch::Renamed) {
                notes.push("NOTE: to rename a directory above such a path is not to rename the path; it does not alert.".to_owned());
            }
        }
        Trigger::Outside { below, .. } if below.iter().any(|dir| dir == b"/") => {
            notes.push(
                "NOTE: every filesystem has to be watched for this; 'below' makes it less."
                    .to_owned(),
            );
        }
        _ => {}
    }
    notes
}

fn jobs(list: &[Job]) -> String {
    let mut text = "Jobs. Events at or below these directories carry the job and the role; of several the longest counts.\n".to_owned();
    for job in list {
        let roots = job.roots.iter().map(|root| {
            format!(
                "{} {}",
                root.role,
                quoted(&String::from_utf8_lossy(&root.path))
            )
        });
        let roots: Vec<String> = roots.collect();
        // Writing to a String cannot fail.
        writeln!(text, "  {}: {}", quoted(&job.id), roots.join(", ")).ok();
    }
    text
}

/// `a process of 'agent', but not of 'backup', of the user 'alice'`.
fn actor(whom: &Whom) -> String {
    let mut text = match whom.cmds.as_slice() {
        [] => "any process".to_owned(),
        cmds => format!("a process of {} or its descent", texts(cmds)),
    };
    if !whom.users.is_empty() {
        text += &format!(" run by the user {}", texts(&whom.users));
    }
    if !whom.except_cmds.is_empty() {
        text += &format!(
            ", except those of {} and their descent,",
            texts(&whom.except_cmds)
        );
    }
    text
}

fn verb(touch: Touch) -> &'static str {
    match touch {
        Touch::Opened => "opens",
        Touch::Modified => "modifies",
        Touch::Renamed => "renames",
        Touch::Deleted => "deletes",
    }
}

fn noun(touch: Touch) -> &'static str {
    match touch {
        Touch::Opened => "opening",
        Touch::Modified => "writing",
        Touch::Renamed => "renaming",
        Touch::Deleted => "deleting",
    }
}

fn either(patterns: &[PathPattern]) -> String {
    let quoted = patterns.iter().map(|pattern| quoted(&pattern.to_string()));
    listed(quoted, "or")
}

fn directories(dirs: &[Vec<u8>]) -> String {
    let quoted = dirs.iter().map(|dir| quoted(&String::from_utf8_lossy(dir)));
    listed(quoted, "or")
}

fn texts(words: &[String]) -> String {
    listed(words.iter().map(|word| quoted(word)), "or")
}

fn type_names(types: TypeSet) -> String {
    listed(types.iter().map(|kind| kind.name()), "and")
}

/// `a`, `a or b`, `a, b or c`.
fn listed<S: AsRef<str>>(words: impl IntoIterator<Item = S>, last: &str) -> String {
    let words: Vec<S> = words.into_iter().collect();
    let mut text = String::new();
    for (at, word) in words.iter().enumerate() {
        if at > 0 && at + 1 == words.len() {
            text += &format!(" {last} ");
        } else if at > 0 {
            text += ", ";
        }
        text += word.as_ref();
    }
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.escape_debug())
}

/// `250ms`, `90s`, `2m`: one unit, the greatest that needs no fraction.
fn length(span: Duration) -> String {
    let millis = span.as_millis();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis > 0 && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests;
