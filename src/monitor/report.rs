//! What the daemon says on its terminal: one line each, repeats folded.
//!
//! `error`: events were lost or never will be recorded. `warning`: unexpected, nothing lost.
//! `info`: start, stop, a watch. `debug`: only with `--debug`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::caps;

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

/// Prints for the daemon, from a thread of its own: a terminal that nobody reads must not stop recording.
#[derive(Debug)]
pub struct Reporter {
    debug: AtomicBool,
    /// Only what is wrong is said.
    quiet: bool,
    repeats: Mutex<HashMap<String, Repeat>>,
    lines: SyncSender<Printed>,
    unsaid: AtomicU64,
}

/// What the printer is given.
#[derive(Debug)]
enum Printed {
    Stdout(String),
    Stderr(String),
    /// Everything before was printed when this is answered.
    Done(SyncSender<()>),
}

/// So many lines wait for a terminal; more are counted and left out.
const WAITING: usize = 512;
/// The last lines are waited for so long.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
        let (lines, printed) = sync_channel(WAITING);
        let printing = std::thread::Builder::new()
            .name("printer".to_owned())
            .spawn(move || {
                // To print takes no rights.
                caps::keep_only(&[]).ok();
                print(&printed);
            });
        // Without a thread nothing is printed, and recording goes on.
        drop(printing);
        Self {
            debug: AtomicBool::new(debug),
            quiet: false,
            repeats: Mutex::default(),
            lines,
            unsaid: AtomicU64::new(0),
        }
    }

    /// Makes a reporter that says only what is wrong.
    pub fn quiet() -> Self {
        Self {
            quiet: true,
            ..Self::new(false)
        }
    }

    /// Says one line on stderr.
    pub fn say(&self, level: Level, message: &str) {
        if self.quiet && level == Level::Info {
            return;
        }
        let level = match level {
            Level::Error => "error: ",
            Level::Warning => "warning: ",
            Level::Info => "",
        };
        self.hand_over(Printed::Stderr(format!("fsmon: {level}{message}")));
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
            self.hand_over(Printed::Stderr(format!("fsmon: debug: {}", message())));
        }
    }

    /// Says one line as it is on stderr.
    pub fn plain(&self, text: &str) {
        self.hand_over(Printed::Stderr(text.to_owned()));
    }

    /// Says one line on stdout, at once.
    pub fn announce(&self, text: &str) {
        self.hand_over(Printed::Stdout(text.to_owned()));
    }

    /// Waits a moment for what was said last.
    pub fn finish(&self) {
        let (done, printed) = sync_channel(1);
        if self.lines.try_send(Printed::Done(done)).is_ok() {
            printed.recv_timeout(LAST_WORDS).ok();
        }
    }

    fn hand_over(&self, line: Printed) {
        if self.lines.try_send(line).is_err() {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unsaid = self.unsaid.swap(0, Ordering::Relaxed);
        if unsaid > 0 {
            let text = format!(
                "fsmon: warning: {unsaid} lines left out here: nobody read the ones before"
            );
            self.lines.try_send(Printed::Stderr(text)).ok();
        }
    }
}

fn print(lines: &Receiver<Printed>) {
    while let Ok(line) = lines.recv() {
        match line {
            Printed::Stdout(text) => write_line(std::io::stdout(), &text),
            Printed::Stderr(text) => write_line(std::io::stderr(), &text),
            Printed::Done(done) => {
                done.try_send(()).ok();
            }
        }
    }
}

/// Nobody may be there to read it, and recording goes on all the same.
fn write_line(mut to: impl std::io::Write, text: &str) {
    to.write_all(format!("{text}\n").as_bytes())
        .and_then(|()| to.flush())
        .ok();
}
