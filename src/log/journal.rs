//! What the recorder itself did: starts, stops, watches, holes and clock steps.
//!
//! `{"time":..,"event":"START",..}`, one a line, in `journal.jsonl` beside the logs. The lines go
//! through the same [`Appender`](super::append::Appender) as events do. Each carries its number and the hash of
//! the line before it, so that a line which is missing or was changed later shows ([`chain`](super::chain)).

use super::escape::{push_escaped, push_hex, push_number};
use super::line::write_time;
use crate::event::WallTime;

/// One thing that the recorder did or noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Recording begins.
    Start {
        /// Version of the program.
        version: &'a str,
        /// Process id of the daemon.
        pid: u32,
        /// Whether the run before ended without a STOP.
        after_crash: bool,
    },
    /// Recording ends in good order.
    Stop {
        /// Why: a signal's name, or an error.
        reason: &'a str,
        /// How large each log is then.
        logs: &'a [(String, u64)],
    },
    /// A watch is in force from here on, or goes on with other settings.
    Add {
        /// Whose, and where.
        subject: Subject<'a>,
        /// Its settings, a JSON object as in the store.
        settings: &'a str,
    },
    /// A watch is no longer in force.
    Remove(Subject<'a>),
    /// Something was lost.
    Gap {
        /// How many events, or -1 when nobody can know.
        lost: i64,
        /// Why, in words.
        cause: &'a str,
        /// When the hole began.
        since: WallTime,
    },
    /// Lines of logs wait in memory for a disk from here on; if the daemon dies before the next `Written`, they
    /// are lost.
    Held {
        /// The time of the first of them.
        since: WallTime,
    },
    /// All that waited stands in the logs, or its loss does.
    Written,
    /// The wall clock was set.
    Clock {
        /// By how many nanoseconds; negative when it went back.
        step: i64,
    },
    /// The recorder trimmed a log.
    Clean {
        /// The file name of the log.
        log: &'a str,
        /// Lines that went.
        deleted: u64,
        /// Its size before, in bytes.
        before: u64,
        /// Its size after.
        after: u64,
    },
    /// A log is not the file, or not as long, as the recorder left it.
    Log(&'a Changed),
    /// These rules and jobs are in force from here on.
    Policy {
        /// How many rules.
        rules: u64,
        /// How many jobs.
        jobs: u64,
    },
    /// A program that a rule called has ended.
    Hook {
        /// The name of the rule.
        rule: &'a str,
        /// How it ended, in words.
        ended: &'a str,
        /// The beginning of what it printed.
        output: &'a [u8],
    },
    /// What is mounted here cannot be watched though it is asked for, or not wholly.
    Short {
        /// The mount point.
        path: &'a [u8],
        /// Why not, or what can be missing.
        cause: &'a str,
        /// Since when that may be so, if not only from here on.
        since: Option<WallTime>,
    },
    /// What is mounted here is watched wholly now, or not asked for any more.
    Whole {
        /// The mount point.
        path: &'a [u8],
    },
    /// What lies below a watched path was compared with what must lie there by manifest and logs.
    Inferred(&'a Compared<'a>),
    /// A watched path was deleted or moved away.
    RootGone(Subject<'a>),
    /// A watched path is there again.
    RootBack(Subject<'a>),
}

/// A comparison of what was found below a watched path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared<'a> {
    /// The watched path.
    pub path: &'a [u8],
    /// How many changes were found that nobody saw; they stand in the logs.
    pub count: u64,
    /// After which time they happened.
    pub since: WallTime,
    /// Before which.
    pub until: WallTime,
    /// Whether all was there that a comparison goes by.
    pub is_whole: bool,
}

/// What somebody did to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The file name of the log.
    pub log: String,
    /// What was done.
    pub how: Change,
    /// How large it was.
    pub before: u64,
    /// How large it was found, 0 when it is gone.
    pub after: u64,
    /// The inode of the file that it was.
    pub inode: u64,
}

/// The ways in which a log can change hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its name was free: it was renamed or deleted.
    Moved,
    /// Another file has its name.
    Replaced,
    /// It is shorter.
    Cut,
}

impl Change {
    /// The words in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved away",
            Self::Replaced => "replaced",
            Self::Cut => "cut",
        }
    }
}

/// What an entry about a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The command group, `_global` for all processes.
    pub group: &'a str,
    /// The watched path, exact bytes.
    pub path: &'a [u8],
}

/// Appends `entry` as one line, newline included.
pub fn encode_entry(time: WallTime, entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    write_time(time, out);
    out.extend_from_slice(b"\",\"event\":\"");
    out.extend_from_slice(entry.name().as_bytes());
    out.push(b'"');
    match entry {
        Entry::Start {
            version,
            pid,
            after_crash,
        } => {
            push_text("version", version.as_bytes(), out);
            push_numbers(&[("pid", u64::from(*pid))], out);
            push_flag("after_crash", *after_crash, out);
        }
        Entry::Stop { reason, logs } => {
            push_text("reason", reason.as_bytes(), out);
            push_sizes(logs, out);
        }
        Entry::Log(changed) => push_change(changed, out),
        Entry::Add { subject, settings } => {
            push_subject(subject, out);
            push_key("watch", out);
            out.extend_from_slice(settings.as_bytes());
        }
        Entry::Remove(subject) | Entry::RootGone(subject) | Entry::RootBack(subject) => {
            push_subject(subject, out);
        }
        Entry::Short { path, cause, since } => {
            push_path(path, out);
            push_text("cause", cause.as_bytes(), out);
            since.iter().for_each(|since| push_since(*since, out));
        }
        Entry::Whole { path } => push_path(path, out),
        Entry::Gap { lost, cause, since } => push_gap(*lost, cause, *since, out),
        Entry::Policy { rules, jobs } => {
            push_numbers(&[("rules", *rules), ("jobs", *jobs)], out);
        }
        Entry::Hook {
            rule,
            ended,
            output,
        } => {
            push_text("rule", rule.as_bytes(), out);
            push_text("ended", ended.as_bytes(), out);
            push_text("output", output, out);
        }
        Entry::Clean {
            log,
            deleted,
            before,
            after,
        } => {
            push_text("log", log.as_bytes(), out);
            push_numbers(
                &[
                    ("deleted", *deleted),
                    ("before", *before),
                    ("after", *after),
                ],
                out,
            );
        }
        Entry::Inferred(compared) => {
            push_path(compared.path, out);
            push_numbers(&[("count", compared.count)], out);
            push_since(compared.since, out);
            push_moment("until", compared.until, out);
            push_flag("whole", compared.is_whole, out);
        }
        Entry::Held { since } => push_since(*since, out),
        Entry::Written => {}
        Entry::Clock { step } => {
            push_key("step_ns", out);
            out.extend_from_slice(step.to_string().as_bytes());
        }
    }
    out.extend_from_slice(b"}\n");
}

impl Entry<'_> {
    /// The word that stands in the journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "START",
            Self::Stop { .. } => "STOP",
            Self::Add { .. } => "ADD",
            Self::Remove(_) => "REMOVE",
            Self::Gap { .. } => "GAP",
            Self::Held { .. } => "HELD",
            Self::Written => "WRITTEN",
            Self::Clock { .. } => "CLOCK",
            Self::Clean { .. } => "CLEAN",
            Self::Log(_) => "LOG",
            Self::Policy { .. } => "POLICY",
            Self::Hook { .. } => "HOOK",
            Self::Short { .. } => "SHORT",
            Self::Whole { .. } => "WHOLE",
            Self::Inferred(_) => "INFERRED",
            Self::RootGone(_) => "ROOT_GONE",
            Self::RootBack(_) => "ROOT_BACK",
        }
    }

    /// Whether it is needed to tell what is complete. There are few of these, and none is ever given up; of the
    /// others, whoever makes and removes files can cause any number.
    pub fn is_account(&self) -> bool {
        match self {
            Self::Start { .. }
            | Self::Stop { .. }
            | Self::Add { .. }
            | Self::Remove(_)
            | Self::Short { .. }
            | Self::Whole { .. }
            | Self::Gap { .. }
            | Self::Inferred(_)
            | Self::Held { .. }
            | Self::Written
            | Self::Clock { .. }
            | Self::Clean { .. } => true,
            Self::Log(_)
            | Self::Policy { .. }
            | Self::Hook { .. }
            | Self::RootGone(_)
            | Self::RootBack(_) => false,
        }
    }
}

fn push_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_gap(lost: i64, cause: &str, since: WallTime, out: &mut Vec<u8>) {
    push_key("lost", out);
    out.extend_from_slice(lost.to_string().as_bytes());
    push_text("cause", cause.as_bytes(), out);
    push_since(since, out);
}

fn push_since(since: WallTime, out: &mut Vec<u8>) {
    push_moment("since", since, out);
}

fn push_moment(key: &str, time: WallTime, out: &mut Vec<u8>) {
    push_key(key, out);
    out.push(b'"');
    write_time(time, out);
    out.push(b'"');
}

fn push_flag(key: &str, is_so: bool, out: &mut Vec<u8>) {
    push_key(key, out);
    out.extend_from_slice(if is_so { b"true" } else { b"false" });
}

fn push_change(changed: &Changed, out: &mut Vec<u8>) {
    push_text("log", changed.log.as_bytes(), out);
    push_text("how", changed.how.name().as_bytes(), out);
    push_numbers(
        &[
            ("before", changed.before),
            ("after", changed.after),
            ("inode", changed.inode),
        ],
        out,
    );
}

fn push_numbers(numbers: &[(&str, u64)], out: &mut Vec<u8>) {
    for (key, number) in numbers {
        push_key(key, out);
        push_number(*number, out);
    }
}

fn push_sizes(logs: &[(String, u64)], out: &mut Vec<u8>) {
    push_key("logs", out);
    out.push(b'{');
    for (at, (name, size)) in logs.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        push_escaped(name.as_bytes(), out);
        out.extend_from_slice(b"\":");
        push_number(*size, out);
    }
    out.push(b'}');
}

fn push_text(key: &str, value: &[u8], out: &mut Vec<u8>) {
    push_key(key, out);
    out.push(b'"');
    push_escaped(value, out);
    out.push(b'"');
}

fn push_subject(subject: &Subject<'_>, out: &mut Vec<u8>) {
    push_text("cmd", subject.group.as_bytes(), out);
    push_path(subject.path, out);
}

fn push_path(path: &[u8], out: &mut Vec<u8>) {
    push_text("path", path, out);
    if str::from_utf8(path).is_err() {
        push_key("path_raw", out);
        out.push(b'"');
        push_hex(path, out);
        out.push(b'"');
    }
}

/// Name of the journal in the log directory.
pub const FILE_NAME: &str = "journal.jsonl";
