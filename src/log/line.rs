//! One line of an event log: what the recorder writes, and reading it back.
//!
//! Encoding is the hot path and is written out by hand; the order of the keys is part of the
//! format. Reading takes all that 0.3.x wrote: offsets in `time`, no `ppid`, `tgid` or `chain`.

use std::borrow::Cow;
use std::str;
use std::sync::Arc;

use super::escape::{parse_hex, push_escaped, push_hex, push_number, unescape};
use super::form;
use super::scan::{self, Value};
pub use super::stamp::{parse_time, write_time};
use crate::event::{Attribution, EventType, FileEvent, JobPlace, WallTime};

/// A hole in a log: something was lost there, between `since` and `time`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// When the hole ended.
    pub time: WallTime,
    /// How many events, or -1 when nobody can know.
    pub lost: i64,
    /// Why, in words.
    pub cause: Cow<'a, str>,
    /// When the hole began.
    pub since: WallTime,
}

/// A line that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum LogLine {
    /// An event.
    Event(FileEvent),
    /// A hole.
    Gap(Gap<'static>),
}

/// What a query must know of a line, as slices of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    /// When it happened.
    pub time: WallTime,
    /// The name of the type; `GAP` for a hole.
    pub event_type: &'a [u8],
    /// For a hole: how many events, -1 when unknown.
    pub lost: Option<i64>,
    path: &'a [u8],
    path_raw: Option<&'a [u8]>,
}

/// Appends `event` as one line, newline included.
pub fn encode_event(event: &FileEvent, out: &mut Vec<u8>) {
    encode_parts(
        event,
        out,
        |out| write_time(event.time, out),
        |out| push_who(event, out),
        |out| push_descent(event, out),
    );
}

/// The same, with the parts of which those of the line before may be the same.
pub(super) fn encode_parts(
    event: &FileEvent,
    out: &mut Vec<u8>,
    time: impl FnOnce(&mut Vec<u8>),
    who: impl FnOnce(&mut Vec<u8>),
    descent: impl FnOnce(&mut Vec<u8>),
) {
    out.reserve(FIXED_LEN + event.path.len() + event.chain.len());
    push_head(time, event.kind.name(), &event.path, out);
    who(out);
    push_key(b"\",\"file_size\":", event.file_size, out);
    descent(out);
    push_where_known(event, out);
    out.extend_from_slice(b"}\n");
}

/// Process, command and user.
pub(super) fn push_who(event: &FileEvent, out: &mut Vec<u8>) {
    push_key(b"\",\"pid\":", u64::from(event.pid), out);
    out.extend_from_slice(b",\"cmd\":\"");
    push_escaped(event.cmd.as_bytes(), out);
    out.extend_from_slice(b"\",\"user\":\"");
    push_escaped(event.user.as_bytes(), out);
}

/// Where the process comes from, and its program.
pub(super) fn push_descent(event: &FileEvent, out: &mut Vec<u8>) {
    push_key(b",\"ppid\":", u64::from(event.ppid), out);
    push_key(b",\"tgid\":", u64::from(event.tgid), out);
    out.extend_from_slice(b",\"chain\":\"");
    push_escaped(event.chain.as_bytes(), out);
    out.push(b'"');
    if let Some(exe) = &event.exe {
        push_text(b"exe", exe.as_bytes(), out);
    }
}

/// Appends `gap` as one line, newline included. It has the ten keys of an event, too.
pub fn encode_gap(gap: &Gap<'_>, out: &mut Vec<u8>) {
    push_head(|out| write_time(gap.time, out), GAP, b"", out);
    out.extend_from_slice(
        br#"","pid":0,"cmd":"","user":"","file_size":0,"ppid":0,"tgid":0,"chain":"","lost":"#,
    );
    out.extend_from_slice(gap.lost.to_string().as_bytes());
    out.extend_from_slice(b",\"cause\":\"");
    push_escaped(gap.cause.as_bytes(), out);
    out.extend_from_slice(b"\",\"since\":\"");
    write_time(gap.since, out);
    out.extend_from_slice(b"\"}\n");
}

/// Reads one line, with or without its newline; `None` when it is neither event nor hole.
pub fn decode(line: &[u8]) -> Option<LogLine> {
    let mut fields = Fields::default();
    if !scan::members(line, |key, value| fields.take(key, value)) {
        return None;
    }
    let time = parse_time(fields.time)?;
    if fields.event_type == GAP.as_bytes() {
        return Some(LogLine::Gap(Gap {
            time,
            lost: number(fields.lost).unwrap_or(-1),
            cause: Cow::Owned(text(fields.cause).to_string()),
            since: parse_time(fields.since).unwrap_or(time),
        }));
    }
    let path = fields.path?;
    Some(LogLine::Event(FileEvent {
        time,
        kind: str::from_utf8(fields.event_type).ok()?.parse().ok()?,
        path: exact(path, fields.path_raw).into_owned(),
        pid: number(fields.pid).unwrap_or(0),
        cmd: text(fields.cmd),
        user: text(fields.user),
        file_size: number(fields.file_size).unwrap_or(0),
        ppid: number(fields.ppid).unwrap_or(0),
        tgid: number(fields.tgid).unwrap_or(0),
        chain: text(fields.chain),
        exe: fields.exe.map(text),
        other_path: fields
            .other
            .map(|other| exact(other, fields.other_raw).into_owned()),
        attribution: match fields.attribution {
            b"ambiguous" => Attribution::Ambiguous,
            b"unknown" => Attribution::Unknown,
            _ => Attribution::Exact,
        },
        is_dir: fields.object == b"dir",
        is_adrift: fields.placed == b"ambiguous",
        job: fields
            .job_id
            .zip(fields.path_role)
            .map(|(id, role)| JobPlace {
                id: text(id),
                role: text(role),
            }),
        inferred: (fields.inferred == b"true").then(|| parse_time(fields.since).unwrap_or(time)),
    }))
}

/// Looks at a line without building anything; `None` when it is not a whole JSON object with a
/// time, a type and a path. Types that this version does not know are let through.
pub fn glance(line: &[u8]) -> Option<Glance<'_>> {
    let mut fields = Fields::default();
    if !scan::members(line, |key, value| fields.take(key, value)) || fields.event_type.is_empty() {
        return None;
    }
    Some(Glance {
        time: parse_time(fields.time)?,
        event_type: fields.event_type,
        lost: (fields.event_type == GAP.as_bytes()).then(|| number(fields.lost).unwrap_or(-1)),
        path: fields.path?,
        path_raw: fields.path_raw,
    })
}

/// The exact bytes of the path of a line; `None` when it is not a whole JSON object with a path.
pub fn path_of(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    match form::own_path(line) {
        Some(path) => Some(Cow::Borrowed(path)),
        None => glance(line).map(|seen| seen.path()),
    }
}

/// The time of a line; `None` when it has none or is not a whole JSON object.
pub fn time_of(line: &[u8]) -> Option<WallTime> {
    let mut time: &[u8] = b"";
    let whole = scan::members(line, |key, value| {
        if let (b"time", Value::Text(raw)) = (key, value) {
            time = raw;
        }
    });
    if whole { parse_time(time) } else { None }
}

impl<'a> Glance<'a> {
    /// The exact bytes of the path.
    pub fn path(&self) -> Cow<'a, [u8]> {
        exact(self.path, self.path_raw)
    }

    /// Whether the line is a hole and not an event.
    pub fn is_gap(&self) -> bool {
        self.lost.is_some()
    }
}

/// The raw slices of all members that mean something to us.
#[derive(Default)]
struct Fields<'a> {
    time: &'a [u8],
    event_type: &'a [u8],
    path: Option<&'a [u8]>,
    path_raw: Option<&'a [u8]>,
    pid: &'a [u8],
    cmd: &'a [u8],
    user: &'a [u8],
    file_size: &'a [u8],
    ppid: &'a [u8],
    tgid: &'a [u8],
    chain: &'a [u8],
    exe: Option<&'a [u8]>,
    other: Option<&'a [u8]>,
    other_raw: Option<&'a [u8]>,
    attribution: &'a [u8],
    object: &'a [u8],
    placed: &'a [u8],
    job_id: Option<&'a [u8]>,
    path_role: Option<&'a [u8]>,
    inferred: &'a [u8],
    lost: &'a [u8],
    cause: &'a [u8],
    since: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, key: &[u8], value: Value<'a>) {
        match (key, value) {
            (b"time", Value::Text(raw)) => self.time = raw,
            (b"event_type", Value::Text(raw)) => self.event_type = raw,
            (b"path", Value::Text(raw)) => self.path = Some(raw),
            (b"path_raw", Value::Text(raw)) => self.path_raw = Some(raw),
            (b"pid", Value::Other(raw)) => self.pid = raw,
            (b"cmd", Value::Text(raw)) => self.cmd = raw,
            (b"user", Value::Text(raw)) => self.user = raw,
            (b"file_size", Value::Other(raw)) => self.file_size = raw,
            (b"ppid", Value::Other(raw)) => self.ppid = raw,
            (b"tgid", Value::Other(raw)) => self.tgid = raw,
            (b"chain", Value::Text(raw)) => self.chain = raw,
            (b"exe", Value::Text(raw)) => self.exe = Some(raw),
            (b"from" | b"to", Value::Text(raw)) => self.other = Some(raw),
            (b"from_raw" | b"to_raw", Value::Text(raw)) => self.other_raw = Some(raw),
            (b"attribution", Value::Text(raw)) => self.attribution = raw,
            (b"object", Value::Text(raw)) => self.object = raw,
            (b"placed", Value::Text(raw)) => self.placed = raw,
            (b"job_id", Value::Text(raw)) => self.job_id = Some(raw),
            (b"path_role", Value::Text(raw)) => self.path_role = Some(raw),
            (b"inferred", Value::Other(raw)) => self.inferred = raw,
            (b"lost", Value::Other(raw)) => self.lost = raw,
            (b"cause", Value::Text(raw)) => self.cause = raw,
            (b"since", Value::Text(raw)) => self.since = raw,
            _ => {}
        }
    }
}

fn push_head(time: impl FnOnce(&mut Vec<u8>), event_type: &str, path: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    time(out);
    out.extend_from_slice(b"\",\"event_type\":\"");
    out.extend_from_slice(event_type.as_bytes());
    out.extend_from_slice(b"\",\"path\":\"");
    push_escaped(path, out);
}

fn push_key(key: &[u8], number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    push_number(number, out);
}

/// The keys that stand only where they say something.
fn push_where_known(event: &FileEvent, out: &mut Vec<u8>) {
    let from = event.kind == EventType::MovedTo;
    if let Some(other) = &event.other_path {
        push_text(if from { b"from" } else { b"to" }, other, out);
    }
    push_raw(b"path_raw", &event.path, out);
    if let Some(other) = &event.other_path {
        push_raw(if from { b"from_raw" } else { b"to_raw" }, other, out);
    }
    match event.attribution {
        Attribution::Exact => {}
        Attribution::Ambiguous => push_text(b"attribution", b"ambiguous", out),
        Attribution::Unknown => push_text(b"attribution", b"unknown", out),
    }
    if event.is_dir {
        push_text(b"object", b"dir", out);
    }
    if event.is_adrift {
        push_text(b"placed", b"ambiguous", out);
    }
    if let Some(job) = &event.job {
        push_text(b"job_id", job.id.as_bytes(), out);
        push_text(b"path_role", job.role.as_bytes(), out);
    }
    if let Some(since) = event.inferred {
        out.extend_from_slice(b",\"inferred\":true,\"since\":\"");
        write_time(since, out);
        out.push(b'"');
    }
}

fn push_text(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":\"");
    push_escaped(value, out);
    out.push(b'"');
}

fn push_raw(key: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    if str::from_utf8(bytes).is_ok() {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":\"");
    push_hex(bytes, out);
    out.push(b'"');
}

fn exact<'a>(shown: &'a [u8], raw: Option<&[u8]>) -> Cow<'a, [u8]> {
    match raw.and_then(parse_hex) {
        Some(bytes) => Cow::Owned(bytes),
        None => unescape(shown),
    }
}

fn text(raw: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(&unescape(raw)).into()
}

fn number<T: str::FromStr>(raw: &[u8]) -> Option<T> {
    str::from_utf8(raw).ok()?.parse().ok()
}

/// The type of a line that tells of a hole.
pub const GAP: &str = "GAP";

/// An event line without its path and chain is about this long.
const FIXED_LEN: usize = 224;

#[cfg(test)]
mod tests;
