//! What the daemon says on its terminal: one line each, repeats folded.
//!
//! `error`: events were lost or never will be recorded. `warning`: unexpected, nothing lost.
//! `info`: start, stop, a watch. `debug`: only with `--debug`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Events were lost or never will be recorded.
    Error,
    /// Unexpected, nothing lost.
    Warning,
    /// Start, stop, a watch.
    Info,
}

/// Prints for the daemon.
#[derive(Debug, Default)]
pub struct Reporter {
    debug: AtomicBool,
    repeats: Mutex<HashMap<String, Repeat>>,
}

#[derive(Debug)]
struct Repeat {
    said: Instant,
    unsaid: u64,
}

/// A message of the same kind is said once in this time, with the number of those not said.
const FOLD: Duration = Duration::from_mins(1);

impl Reporter {
    /// Makes a reporter; `debug` lets debug messages through.
    pub fn new(debug: bool) -> Self {
        Self {
            debug: AtomicBool::new(debug),
            repeats: Mutex::default(),
        }
    }

    /// Says one line on stderr.
    pub fn say(&self, level: Level, message: &str) {
        let level = match level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
            Level::Info => "",
        };
        line(std::io::stderr(), &format!("fsmon: {level}{message}"));
    }

    /// Says one line on stderr, at most once a minute for each `kind`.
    pub fn say_folded(&self, level: Level, kind: &str, message: &str) {
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        match repeats.get_mut(kind) {
            Some(repeat) if repeat.said.elapsed() < FOLD => repeat.unsaid += 1,
            Some(repeat) => {
                let more = repeat.unsaid;
                *repeat = Repeat {
                    said: Instant::now(),
                    unsaid: 0,
                };
                self.say(
                    level,
                    &if more > 0 {
                        format!("{message} ({more} more since the last time)")
                    } else {
                        message.to_owned()
                    },
                );
            }
            None => {
                repeats.insert(
                    kind.to_owned(),
                    Repeat {
                        said: Instant::now(),
                        unsaid: 0,
                    },
                );
                self.say(level, message);
            }
        }
    }

    /// Whether debug messages are asked for.
    pub fn is_debug(&self) -> bool {
        self.debug.load(Ordering::Relaxed)
    }

    /// Says one line on stderr when debugging.
    pub fn debug(&self, message: impl FnOnce() -> String) {
        if self.is_debug() {
            line(std::io::stderr(), &format!("fsmon: debug: {}", message()));
        }
    }

    /// Says one line as it is on stderr.
    pub fn plain(&self, text: &str) {
        line(std::io::stderr(), text);
    }

    /// Says one line on stdout, at once.
    pub fn announce(&self, text: &str) {
        line(std::io::stdout(), text);
    }
}

/// Nobody may be there to read it, and recording goes on all the same.
fn line(mut to: impl std::io::Write, text: &str) {
    to.write_all(format!("{text}\n").as_bytes())
        .and_then(|()| to.flush())
        .ok();
}
