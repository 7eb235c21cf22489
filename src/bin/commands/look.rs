//! How things look on a terminal: widths, colours, and the words for what happened.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use chrono::DateTime;
use fsmon::event::{EventType, WallTime};
use fsmon::monitored::path::escaped;
use fsmon::sys::terminal;

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) width: usize,
    pub(crate) colours: bool,
}

impl Look {
    /// That of the terminal on stdout.
    pub(crate) fn of_terminal() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let typed = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let width = typed.or_else(|| {
            terminal::columns(io::stdout().as_fd())
                .ok()
                .map(usize::from)
        });
        Self {
            width: width.filter(|width| *width > 0).unwrap_or(80),
            colours: !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// That of stdout: where it is no terminal, without colours and as wide as need be.
    pub(crate) fn of_stdout() -> Self {
        if io::stdout().is_terminal() {
            return Self::of_terminal();
        }
        Self {
            width: usize::MAX,
            colours: false,
        }
    }

    /// Writes text in as many lines as it takes, all but the first indented.
    pub(crate) fn wrap(self, said: &str, indent: usize, into: &mut String) {
        let room = self.width.saturating_sub(indent).max(NARROW);
        let mut used = 0;
        for word in said.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                into.push('\n');
                *into += &" ".repeat(indent);
                used = 0;
            } else if used > 0 {
                into.push(' ');
                used += 1;
            }
            *into += word;
            used += length;
        }
        into.push('\n');
    }

    pub(crate) fn paint(self, style: &str, text: &str) -> String {
        if self.colours && !style.is_empty() && !text.is_empty() {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The word for a kind of event, and its colour.
pub(crate) fn word(kind: EventType) -> (&'static str, &'static str) {
    match kind {
        EventType::Create => ("created", GREEN),
        EventType::CloseWrite => ("written", YELLOW),
        EventType::Modify => ("modified", YELLOW),
        EventType::Attrib => ("attributes", DIM),
        EventType::Delete => ("deleted", RED),
        EventType::DeleteSelf => ("gone", RED),
        EventType::MovedFrom => ("moved away", CYAN),
        EventType::MovedTo => ("moved here", CYAN),
        EventType::MoveSelf => ("renamed", CYAN),
        EventType::Open => ("opened", ""),
        EventType::Access => ("read", ""),
        EventType::OpenExec => ("executed", ""),
        EventType::CloseNowrite => ("closed", ""),
        EventType::FsError => ("damaged", RED),
    }
}

/// The text with control characters escaped, so that a terminal only shows it.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        // Also what turns the direction of text, or breaks lines, without being a control character.
        let is_turn = matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || is_turn {
            shown.extend(char.escape_debug());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// A path, whole and harmless.
pub(crate) fn in_full(path: &[u8]) -> String {
    escaped(Path::new(OsStr::from_bytes(path))).to_string()
}

pub(crate) fn day(time: WallTime) -> String {
    DateTime::from_timestamp_nanos(time.0)
        .format("%Y-%m-%d")
        .to_string()
}

pub(crate) fn clock(time: WallTime) -> String {
    DateTime::from_timestamp_nanos(time.0)
        .format("%H:%M:%S%.3f")
        .to_string()
}

/// A narrower terminal has to break lines itself.
const NARROW: usize = 24;
/// How long a time is.
pub(crate) const CLOCK: usize = 12;

pub(crate) const BOLD: &str = "1";
pub(crate) const DIM: &str = "2";
pub(crate) const RED: &str = "31";
pub(crate) const GREEN: &str = "32";
pub(crate) const YELLOW: &str = "33";
pub(crate) const MAGENTA: &str = "35";
pub(crate) const CYAN: &str = "36";
