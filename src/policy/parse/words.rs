//! Names, users, paths and types: what the values of a rule may be.

use std::collections::HashMap;
use std::time::Duration;

use super::fields::{Fields, Placed};
use crate::event::TypeSet;
use crate::filters::pattern::PathPattern;
use crate::policy::rule::MUTATING;

/// Names that are taken, with the line of each.
pub(super) type Taken = HashMap<String, usize>;

/// A name that is there, printable, not too long and not taken.
pub(super) fn name(
    fields: &mut Fields<'_>,
    key: &str,
    whose: &str,
    most: usize,
    taken: &mut Taken,
) -> Option<String> {
    if !fields.has(key) {
        fields.missing(format!("{whose} needs '{key}': what it is called"));
    }
    let Placed { line, value } = fields.text(key)?;
    let length = value.chars().count();
    if value.trim().is_empty() || length > most || value.chars().any(char::is_control) {
        fields.wrong(
            line,
            format!("'{key}' has to have 1 to {most} printable characters"),
        );
        return None;
    }
    if let Some(first) = taken.get(&value) {
        let what = format!(
            "'{}' is the {key} of {whose} already, on line {first}",
            value.escape_debug()
        );
        fields.wrong(line, what);
        return None;
    }
    taken.insert(value.clone(), line);
    Some(value)
}

/// Names of command groups.
pub(super) fn groups(fields: &mut Fields<'_>, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    for Placed { line, value } in fields.texts(key) {
        let why = if value.is_empty() || value.len() > 200 {
            "it has to have 1 to 200 bytes"
        } else if value.contains('/') || value.chars().any(char::is_control) {
            "it is the name of a program, without '/' and control characters"
        } else if value.starts_with('.') {
            "it must not begin with '.'"
        } else if value.starts_with('_') {
            "names that begin with '_' are fsmon's own; for every process leave it out"
        } else {
            found.push(value);
            continue;
        };
        fields.wrong(
            line,
            format!("'{}' is not a command group: {why}", value.escape_debug()),
        );
    }
    found
}

pub(super) fn users(fields: &mut Fields<'_>) -> Vec<String> {
    let words = fields.texts_or_numbers("user");
    words
        .into_iter()
        .filter_map(|word| user_name(fields, word))
        .collect()
}

pub(super) fn user_name(fields: &mut Fields<'_>, word: Placed<String>) -> Option<String> {
    let name = word.value;
    if name.is_empty()
        || name
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == ':')
    {
        fields.wrong(
            word.line,
            format!(
                "'{}' is not the name or number of a user",
                name.escape_debug()
            ),
        );
        return None;
    }
    Some(name)
}

pub(super) fn patterns(fields: &mut Fields<'_>) -> Option<Vec<PathPattern>> {
    if !fields.has("paths") {
        fields.missing("the rule needs 'paths': which paths are meant");
        return None;
    }
    let mut found = Vec::new();
    for word in fields.texts("paths") {
        match PathPattern::parse(&word.value) {
            Ok(pattern) => found.push(pattern),
            Err(error) => fields.wrong(word.line, error.to_string()),
        }
    }
    Some(found)
}

pub(super) fn directories(fields: &mut Fields<'_>, key: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for Placed { line, value } in fields.texts(key) {
        let body = value
            .strip_prefix('/')
            .map(|body| body.strip_suffix('/').unwrap_or(body));
        let is_clean = |body: &str| {
            let mut names = body.split('/');
            body.is_empty()
                || names.all(|name| !["", ".", ".."].contains(&name) && !name.contains('\0'))
        };
        match body {
            Some(body) if is_clean(body) => found.push(format!("/{body}").into_bytes()),
            _ => {
                let what = format!(
                    "'{}' is not a directory for '{key}': it has to be absolute, without '.', '..' and empty components",
                    value.escape_debug()
                );
                fields.wrong(line, what);
            }
        }
    }
    found
}

pub(super) fn types(fields: &mut Fields<'_>) -> TypeSet {
    let mut set = TypeSet::EMPTY;
    for word in fields.texts("types") {
        match TypeSet::parse([&word.value]) {
            Ok(types) => set = set.union(types),
            Err(error) => fields.wrong(word.line, error.to_string()),
        }
    }
    if fields.has("types") { set } else { MUTATING }
}

pub(super) fn not_zero(
    fields: &mut Fields<'_>,
    key: &str,
    span: &Placed<Duration>,
) -> Option<Duration> {
    if span.value.is_zero() {
        fields.wrong(span.line, format!("'{key}' has to be longer than nothing"));
        return None;
    }
    Some(span.value)
}
