//! Time, size and path filters: values that say yes or no, and their parsers.
#![forbid(unsafe_code)]

pub mod glob;
pub mod pattern;
pub mod scope;
pub mod size;
pub mod time;

use std::fmt;

/// A comparison, written before a size or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `>=`, also meant when no operator is written.
    AtLeast,
    /// `>`
    Over,
    /// `<=`
    AtMost,
    /// `<`
    Under,
    /// `=`
    Exactly,
}

impl Op {
    /// Splits `>1h` into the operator and what follows it, blanks removed.
    fn split(text: &str) -> (Self, &str) {
        let text = text.trim();
        let written = [
            (">=", Self::AtLeast),
            ("<=", Self::AtMost),
            (">", Self::Over),
            ("<", Self::Under),
            ("=", Self::Exactly),
        ];
        for (sign, op) in written {
            if let Some(rest) = text.strip_prefix(sign) {
                return (op, rest.trim_start());
            }
        }
        (Self::AtLeast, text)
    }

    /// Whether `left op right` is true.
    pub fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::AtLeast => left >= right,
            Self::Over => left > right,
            Self::AtMost => left <= right,
            Self::Under => left < right,
            Self::Exactly => left == right,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeast => ">=",
            Self::Over => ">",
            Self::AtMost => "<=",
            Self::Under => "<",
            Self::Exactly => "=",
        })
    }
}

/// A filter that cannot be read: what was typed, what it should have been, and why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    text: String,
    wanted: &'static str,
    why: String,
}

impl ParseError {
    fn new(text: &str, wanted: &'static str, why: impl Into<String>) -> Self {
        Self {
            text: text.to_owned(),
            wanted,
            why: why.into(),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not {}: {}",
            self.text.escape_debug(),
            self.wanted,
            self.why
        )
    }
}

impl std::error::Error for ParseError {}
