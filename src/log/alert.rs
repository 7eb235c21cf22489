//! A line of the log of alerts: an event, and what a rule says of it.

use std::borrow::Cow;
use std::str;

use super::escape::{push_escaped, push_number, unescape};
use super::line::encode_event;
use super::scan::{self, Value};
use crate::event::FileEvent;

/// What a rule says of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note<'a> {
    /// The name of the rule.
    pub rule: Cow<'a, str>,
    /// What kind of rule it is.
    pub kind: Cow<'a, str>,
    /// Why, in words.
    pub reason: Cow<'a, str>,
    /// How many events it took.
    pub count: Option<u64>,
    /// Within which time, in milliseconds.
    pub window_ms: Option<u64>,
    /// `deny` when the rule had the deed refused.
    pub decision: Option<Cow<'a, str>>,
}

/// Appends the event with the note as one line, newline included.
pub fn encode_alert(event: &FileEvent, note: &Note<'_>, out: &mut Vec<u8>) {
    encode_event(event, out);
    // The end of the line comes behind the note.
    out.truncate(out.len() - END.len());
    push_text(b"rule", &note.rule, out);
    push_text(b"kind", &note.kind, out);
    for (key, number) in [(&b"count"[..], note.count), (b"window_ms", note.window_ms)] {
        if let Some(number) = number {
            push_key(key, out);
            push_number(number, out);
        }
    }
    if let Some(decision) = &note.decision {
        push_text(b"decision", decision, out);
    }
    push_text(b"reason", &note.reason, out);
    out.extend_from_slice(END);
}

/// The note in a line; `None` when it is no alert.
pub fn note_of(line: &[u8]) -> Option<Note<'static>> {
    let mut note = Note::default();
    let is_whole = scan::members(line, |key, value| match (key, value) {
        (b"rule", Value::Text(raw)) => note.rule = text(raw),
        (b"kind", Value::Text(raw)) => note.kind = text(raw),
        (b"reason", Value::Text(raw)) => note.reason = text(raw),
        (b"decision", Value::Text(raw)) => note.decision = Some(text(raw)),
        (b"count", Value::Other(raw)) => note.count = number(raw),
        (b"window_ms", Value::Other(raw)) => note.window_ms = number(raw),
        _ => {}
    });
    (is_whole && !note.rule.is_empty()).then_some(note)
}

fn push_key(key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":");
}

fn push_text(key: &[u8], value: &str, out: &mut Vec<u8>) {
    push_key(key, out);
    out.push(b'"');
    push_escaped(value.as_bytes(), out);
    out.push(b'"');
}

fn text(raw: &[u8]) -> Cow<'static, str> {
    String::from_utf8_lossy(&unescape(raw)).into_owned().into()
}

fn number(raw: &[u8]) -> Option<u64> {
    str::from_utf8(raw).ok()?.parse().ok()
}

/// The name of the log of alerts.
pub const LOG_NAME: &str = "_alerts_log.jsonl";

/// How a line ends.
const END: &[u8] = b"}\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Attribution, EventType, WallTime};
    use crate::log::form;
    use crate::log::line::{LogLine, decode};

    #[test]
    fn an_alert_is_an_event_with_a_note() {
        let event = FileEvent {
            time: WallTime(5),
            kind: EventType::Delete,
            path: b"/a\"\n".to_vec(),
            pid: 7,
            cmd: "rm".into(),
            user: "root".into(),
            file_size: 3,
            ppid: 1,
            tgid: 7,
            chain: "7|rm|root".into(),
            exe: Some("/bin/rm".into()),
            other_path: None,
            attribution: Attribution::Ambiguous,
            is_dir: false,
            is_adrift: false,
            job: None,
            inferred: None,
        };
        let note = Note {
            rule: "keys \"1\"".into(),
            kind: "burst".into(),
            reason: "too\nmany".into(),
            count: Some(100),
            window_ms: Some(250),
            decision: None,
        };
        let mut line = Vec::new();
        encode_alert(&event, &note, &mut line);
        let text = str::from_utf8(&line).unwrap();
        assert!(
            text.ends_with(
                ",\"rule\":\"keys \\\"1\\\"\",\"kind\":\"burst\",\"count\":100,\"window_ms\":250,\"reason\":\"too\\nmany\"}\n"
            ),
            "{text}"
        );
        assert_eq!(note_of(&line), Some(note));
        assert_eq!(decode(&line), Some(LogLine::Event(event.clone())));
        assert!(
            form::own(&line).is_some(),
            "a query must not have to read it"
        );
        line.clear();
        encode_event(&event, &mut line);
        assert_eq!(note_of(&line), None);
    }
}
