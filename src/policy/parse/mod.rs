//! Reads policy.toml. Reading goes on behind a mistake, so that one look tells all of them.

mod fields;
mod words;

use std::num::NonZeroU32;

use toml::de::DeTable;

use super::rule::{Hook, HookCommand, Per, Rule, Touch, Trigger, Whom};
use super::{Job, Jobs, Mistake, Policy, Role, Root};
use fields::{Fields, Lines, in_words, tables};
use words::{Taken, directories, groups, name, not_zero, patterns, types, user_name, users};

/// The policy, or all mistakes in the order of their lines.
pub(super) fn policy(text: &str) -> Result<Policy, Vec<Mistake>> {
    let lines = Lines::of(text);
    let parsed = DeTable::parse(text).map_err(|error| {
        vec![Mistake {
            line: lines.at(error.span().map_or(0, |span| span.start)),
            what: error.message().replace('\n', ", "),
        }]
    })?;
    let mut root = Fields::new(&lines, parsed.get_ref(), 0..0);
    for key in root.keys() {
        if !["rule", "job"].contains(&key.value) {
            root.wrong(
                key.line,
                format!(
                    "'{}' is not known: a policy has [[rule]] and [[job]]",
                    key.value.escape_debug()
                ),
            );
        }
    }
    let mut rules = Vec::new();
    let mut taken = Taken::new();
    for (number, (table, span)) in tables(&mut root, "rule").into_iter().enumerate() {
        let mut fields = Fields::new(&lines, table, span);
        if u16::try_from(number).is_err() {
            root.wrong(fields.line, "there are too many rules: at most 65536");
            break;
        }
        rules.extend(rule(&mut fields, &mut taken));
        root.mistakes.append(&mut fields.mistakes);
    }
    let mut jobs = Vec::new();
    taken.clear();
    for (table, span) in tables(&mut root, "job") {
        let mut fields = Fields::new(&lines, table, span);
        jobs.extend(job(&mut fields, &mut taken));
        root.mistakes.append(&mut fields.mistakes);
    }
    if root.mistakes.is_empty() {
        return Ok(Policy {
            rules,
            jobs: Jobs::new(jobs),
        });
    }
    root.mistakes.sort();
    root.mistakes.dedup();
    Err(root.mistakes)
}

fn rule(fields: &mut Fields<'_>, taken: &mut Taken) -> Option<Rule> {
    let name = name(fields, "name", "a rule", 64, taken);
    let kind = kind(fields);
    unknown_keys(fields, kind);
    let whom = Whom {
        cmds: groups(fields, "cmd"),
        except_cmds: groups(fields, "except_cmd"),
        users: users(fields),
    };
    let cooldown = fields.span("cooldown");
    let hook = hook(fields);
    let trigger = match kind? {
        Kind::Canary => canary(fields),
        Kind::Secret => secret(fields),
        Kind::Burst => burst(fields),
        Kind::Outside => outside(fields),
    };
    Some(Rule {
        name: name?,
        trigger: trigger?,
        whom,
        cooldown: cooldown.map_or(Rule::DEFAULT_COOLDOWN, |span| span.value),
        hook,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Canary,
    Burst,
    Outside,
    Secret,
}

impl Kind {
    const ALL: [(&'static str, Self); 4] = [
        ("canary", Self::Canary),
        ("burst", Self::Burst),
        ("outside", Self::Outside),
        ("secret", Self::Secret),
    ];

    /// The keys that this kind has beside those that all have.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Canary | Self::Secret => &["paths", "on", "deny"],
            Self::Burst => &["below", "count", "window", "per", "types"],
            Self::Outside => &["below", "inside", "types"],
        }
    }
}

fn kind(fields: &mut Fields<'_>) -> Option<Kind> {
    if !fields.has("kind") {
        fields.missing("the rule has no kind: canary, burst, outside or secret");
    }
    let word = fields.text("kind")?;
    let found = Kind::ALL.iter().find(|(name, _)| *name == word.value);
    if found.is_none() {
        let what = format!(
            "'{}' is not a kind of rule: canary, burst, outside or secret",
            word.value.escape_debug()
        );
        fields.wrong(word.line, what);
    }
    found.map(|(_, kind)| *kind)
}

/// Without a kind only those keys are unknown that no kind has.
fn unknown_keys(fields: &mut Fields<'_>, kind: Option<Kind>) {
    for key in fields.keys() {
        let owners: Vec<&str> = Kind::ALL
            .iter()
            .filter(|(_, kind)| kind.keys().contains(&key.value))
            .map(|(name, _)| *name)
            .collect();
        let own = kind.map_or(!owners.is_empty(), |kind| kind.keys().contains(&key.value));
        if own || COMMON_KEYS.contains(&key.value) {
            continue;
        }
        let name = kind.and_then(|kind| Kind::ALL.iter().find(|(_, other)| *other == kind));
        let name = name.map_or("any", |(name, _)| name);
        let what = if key.value == "deny" {
            format!(
                "'deny' cannot be part of the kind '{name}': fanotify can refuse opens and reads only, not create, unlink and rename"
            )
        } else if owners.is_empty() {
            let known = COMMON_KEYS.iter().chain(kind.map_or(&[][..], Kind::keys));
            format!(
                "'{}' is not known; a rule can have {}",
                key.value.escape_debug(),
                in_words(known.copied())
            )
        } else {
            format!(
                "'{}' means nothing in the kind '{name}'; it belongs to {}",
                key.value,
                in_words(owners)
            )
        };
        fields.wrong(key.line, what);
    }
}

fn canary(fields: &mut Fields<'_>) -> Option<Trigger> {
    let patterns = patterns(fields);
    let mut on = Vec::new();
    for word in fields.texts("on") {
        match Touch::ALL.iter().find(|touch| touch.name() == word.value) {
            Some(touch) => on.push(*touch),
            None => {
                let what = format!(
                    "'{}' is not a way to touch a canary: opened, modified, renamed or deleted",
                    word.value.escape_debug()
                );
                fields.wrong(word.line, what);
            }
        }
    }
    on.sort();
    on.dedup();
    let deny = fields.flag("deny").unwrap_or(false);
    // Words that are wrong have been told; what was meant by them is not known.
    if !fields.has("on") {
        on = Touch::ALL.to_vec();
    } else if deny && !on.is_empty() && !on.contains(&Touch::Opened) {
        let line = fields.line_of("deny");
        fields.wrong(line, "'deny' refuses opens, so 'on' has to have \"opened\"");
    }
    Some(Trigger::Canary {
        patterns: patterns?,
        on,
        deny,
    })
}

fn secret(fields: &mut Fields<'_>) -> Option<Trigger> {
    let patterns = patterns(fields);
    for word in fields.texts("on") {
        if word.value != Touch::Opened.name() {
            let what = format!(
                "a secret rule alerts on \"opened\" alone, not on '{}'; a canary rule can",
                word.value.escape_debug()
            );
            fields.wrong(word.line, what);
        }
    }
    if !fields.has("cmd") && !fields.has("user") {
        fields.missing("a secret rule needs 'cmd' or 'user': whose opens are meant");
    }
    Some(Trigger::Secret {
        patterns: patterns?,
        deny: fields.flag("deny").unwrap_or(false),
    })
}

fn burst(fields: &mut Fields<'_>) -> Option<Trigger> {
    if !fields.has("count") {
        fields.missing("a burst rule needs 'count': how many events are too many");
    }
    let count = fields.number("count").and_then(|count| {
        let fit = u32::try_from(count.value).ok().and_then(NonZeroU32::new);
        if fit.is_none() {
            fields.wrong(
                count.line,
                format!("'count' has to be from 1 to {}", u32::MAX),
            );
        }
        fit
    });
    if !fields.has("window") {
        fields.missing("a burst rule needs 'window': within how long a time, such as \"1s\"");
    }
    let window = fields.span("window");
    let window = window.and_then(|window| not_zero(fields, "window", &window));
    let mut per = Per::Process;
    if let Some(word) = fields.text("per") {
        match word.value.as_str() {
            "process" => {}
            "tree" => per = Per::Tree,
            _ => fields.wrong(
                word.line,
                format!(
                    "'{}' cannot be counted by: process or tree",
                    word.value.escape_debug()
                ),
            ),
        }
        if per == Per::Tree && !fields.has("cmd") {
            fields.wrong(
                word.line,
                "per = \"tree\" needs 'cmd': whose descent counts as one",
            );
        }
    }
    Some(Trigger::Burst {
        count: count?,
        window: window?,
        per,
        below: directories(fields, "below"),
        types: types(fields),
    })
}

fn outside(fields: &mut Fields<'_>) -> Option<Trigger> {
    if !fields.has("inside") {
        fields.missing("an outside rule needs 'inside': the directories that are allowed");
    }
    if !fields.has("cmd") {
        fields.missing("an outside rule needs 'cmd': who has to stay inside");
    }
    let below = if fields.has("below") {
        directories(fields, "below")
    } else {
        vec![b"/".to_vec()]
    };
    Some(Trigger::Outside {
        inside: directories(fields, "inside"),
        below,
        types: types(fields),
    })
}

fn hook(fields: &mut Fields<'_>) -> Option<Hook> {
    for key in ["hook_user", "hook_timeout"] {
        if fields.has(key) && !fields.has("hook") {
            let line = fields.line_of(key);
            fields.wrong(line, format!("'{key}' without a 'hook' means nothing"));
        }
    }
    let words = fields.texts("hook");
    if let Some(first) = words.first().filter(|first| first.value.trim().is_empty()) {
        fields.wrong(first.line, "'hook' names no program");
    }
    for word in words.iter().filter(|word| word.value.contains('\0')) {
        fields.wrong(word.line, "'hook' holds a NUL");
    }
    let user = fields.text_or_number("hook_user");
    let user = user.and_then(|user| user_name(fields, user));
    let timeout = fields.span("hook_timeout");
    let timeout = timeout.and_then(|timeout| not_zero(fields, "hook_timeout", &timeout));
    let mut words = words.into_iter().map(|word| word.value);
    let run = if fields.is_list("hook") {
        HookCommand::Argv(words.collect())
    } else {
        HookCommand::Shell(words.next()?)
    };
    Some(Hook {
        run,
        user,
        timeout: timeout.unwrap_or(Hook::DEFAULT_TIMEOUT),
    })
}

fn job(fields: &mut Fields<'_>, taken: &mut Taken) -> Option<Job> {
    let id = name(fields, "id", "a job", 200, taken);
    for key in fields.keys() {
        if key.value != "id" && Role::ALL.iter().all(|role| role.name() != key.value) {
            let what = format!(
                "'{}' is not known; a job can have id, rootfs, workspace, export, cache",
                key.value.escape_debug()
            );
            fields.wrong(key.line, what);
        }
    }
    if !Role::ALL.iter().any(|role| fields.has(role.name())) {
        fields.missing("the job has no directory: rootfs, workspace, export or cache");
    }
    let mut roles = Role::ALL;
    // The order of the file decides between equal directories; keys on one line keep the order of `ALL`.
    roles.sort_by_key(|role| fields.line_of(role.name()));
    let mut roots = Vec::new();
    for role in roles {
        let paths = directories(fields, role.name()).into_iter();
        roots.extend(paths.map(|path| Root { role, path }));
    }
    Some(Job { id: id?, roots })
}

/// The keys that every rule can have.
const COMMON_KEYS: [&str; 9] = [
    "name",
    "kind",
    "cmd",
    "except_cmd",
    "user",
    "cooldown",
    "hook",
    "hook_user",
    "hook_timeout",
];

#[cfg(test)]
mod tests;
