//! Takes the values of a TOML table, and notes what is wrong with each and on what line.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::filters::time::parse_span;
use crate::policy::Mistake;

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self([0].into_iter().chain(breaks).collect())
    }

    /// The line, counted from 1, of a place in the text.
    pub(super) fn at(&self, place: usize) -> usize {
        self.0.partition_point(|start| *start <= place)
    }
}

/// A value with its line.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// One table while it is read.
pub(super) struct Fields<'t> {
    lines: &'t Lines,
    table: &'t DeTable<'t>,
    /// The line of the table itself, to report what is not in it.
    pub(super) line: usize,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'t> Fields<'t> {
    pub(super) fn new(lines: &'t Lines, table: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Self {
            lines,
            table,
            line: lines.at(span.start),
            mistakes: Vec::new(),
        }
    }

    /// Notes a mistake.
    pub(super) fn wrong(&mut self, line: usize, what: impl Into<String>) {
        self.mistakes.push(Mistake {
            line,
            what: what.into(),
        });
    }

    /// Notes that something is not there.
    pub(super) fn missing(&mut self, what: impl Into<String>) {
        self.wrong(self.line, what);
    }

    /// The keys that are there, with their lines.
    pub(super) fn keys(&self) -> Vec<Placed<&'t str>> {
        let keys = self.table.keys().map(|key| Placed {
            line: self.lines.at(key.span().start),
            value: key.get_ref().as_ref(),
        });
        keys.collect()
    }

    /// Whether there is such a key, be its value right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The line of a key, or that of the table.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let found = self.table.get_key_value(key);
        found.map_or(self.line, |(key, _)| self.lines.at(key.span().start))
    }

    pub(super) fn text(&mut self, key: &str) -> Option<Placed<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(self.placed(value, text.to_string())),
            _ => self.unfit(key, value, "text"),
        }
    }

    /// Text, or a whole number taken as text.
    pub(super) fn text_or_number(&mut self, key: &str) -> Option<Placed<String>> {
        let value = self.get(key)?;
        match text_or_number(value.get_ref()) {
            Some(text) => Some(self.placed(value, text)),
            None => self.unfit(key, value, "a name or a number"),
        }
    }

    /// One text or a list of them; a list that is there has at least one member.
    pub(super) fn texts(&mut self, key: &str) -> Vec<Placed<String>> {
        self.several(key, "text or a list of texts", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    /// One name or number or a list of them.
    pub(super) fn texts_or_numbers(&mut self, key: &str) -> Vec<Placed<String>> {
        self.several(key, "a name, a number or a list of them", text_or_number)
    }

    pub(super) fn number(&mut self, key: &str) -> Option<Placed<u64>> {
        let value = self.get(key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        match number {
            Some(number) => Some(self.placed(value, number)),
            None => self.unfit(key, value, "a whole number that is not negative"),
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref().as_bool() {
            Some(flag) => Some(flag),
            None => self.unfit(key, value, "true or false"),
        }
    }

    pub(super) fn span(&mut self, key: &str) -> Option<Placed<Duration>> {
        let value = self.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            return self.unfit(key, value, "a span of time in quotes, such as \"5s\"");
        };
        match parse_span(text) {
            Ok(span) => Some(self.placed(value, span)),
            Err(error) => {
                self.wrong(self.lines.at(value.span().start), format!("{key}: {error}"));
                None
            }
        }
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|value| value.get_ref().is_array())
    }

    fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    fn placed<T>(&self, at: &Spanned<DeValue<'_>>, value: T) -> Placed<T> {
        Placed {
            line: self.lines.at(at.span().start),
            value,
        }
    }

    fn several(
        &mut self,
        key: &str,
        wanted: &str,
        read: impl Fn(&DeValue<'_>) -> Option<String>,
    ) -> Vec<Placed<String>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let list = match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        if list.is_empty() {
            self.wrong(
                self.lines.at(value.span().start),
                format!("'{key}' is an empty list: name at least one, or leave '{key}' out"),
            );
        }
        let mut found = Vec::new();
        for member in list {
            match read(member.get_ref()) {
                Some(text) => found.push(self.placed(member, text)),
                None => {
                    self.unfit::<()>(key, member, wanted);
                }
            }
        }
        found
    }

    fn unfit<T>(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> Option<T> {
        let kind = match value.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong(
            self.lines.at(value.span().start),
            format!("'{key}' has to be {wanted}, not {kind}"),
        );
        None
    }
}

/// The tables of a list such as `[[rule]]`, in the order of the file.
pub(super) fn tables<'t>(root: &mut Fields<'t>, key: &str) -> Vec<(&'t DeTable<'t>, Range<usize>)> {
    let Some(value) = root.get(key) else {
        return Vec::new();
    };
    let DeValue::Array(list) = value.get_ref() else {
        let line = root.line_of(key);
        root.wrong(
            line,
            format!("write [[{key}]], with two brackets on each side"),
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for member in list {
        match member.get_ref() {
            DeValue::Table(table) => found.push((table, member.span())),
            _ => {
                root.unfit::<()>(key, member, "a table");
            }
        }
    }
    found
}

/// Keys in words: `a, b, c`.
pub(super) fn in_words<'k>(keys: impl IntoIterator<Item = &'k str>) -> String {
    let sorted: BTreeSet<&str> = keys.into_iter().collect();
    sorted.into_iter().collect::<Vec<_>>().join(", ")
}

fn text_or_number(value: &DeValue<'_>) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let integer = value.as_integer()?;
    let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    Some(number.to_string())
}
