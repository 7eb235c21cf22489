//! Encoding many lines: what was written of a process stays for its next line.
//!
//! Events come in runs of a few processes, and those of one read have one time; so most of a line is the same as in
//! one just before it.

use std::sync::Arc;

use super::line::{encode_parts, push_descent, push_who, write_time};
use crate::event::{FileEvent, WallTime};

/// Encodes events one after the other.
#[derive(Debug, Default)]
pub struct Encoder {
    time: Option<WallTime>,
    time_text: Vec<u8>,
    /// Each process has one place, which it shares with others.
    people: [Option<Person>; PLACES],
}

/// What was written of a process.
#[derive(Debug)]
struct Person {
    pid: u32,
    ppid: u32,
    tgid: u32,
    cmd: Arc<str>,
    user: Arc<str>,
    chain: Arc<str>,
    exe: Option<Arc<str>>,
    who: Vec<u8>,
    descent: Vec<u8>,
}

impl Person {
    fn of(event: &FileEvent) -> Self {
        let (mut who, mut descent) = (Vec::new(), Vec::new());
        push_who(event, &mut who);
        push_descent(event, &mut descent);
        Self {
            pid: event.pid,
            ppid: event.ppid,
            tgid: event.tgid,
            cmd: event.cmd.clone(),
            user: event.user.clone(),
            chain: event.chain.clone(),
            exe: event.exe.clone(),
            who,
            descent,
        }
    }

    fn is_of(&self, event: &FileEvent) -> bool {
        let same = |one: &Arc<str>, other: &Arc<str>| Arc::ptr_eq(one, other) || one == other;
        (self.pid, self.ppid, self.tgid) == (event.pid, event.ppid, event.tgid)
            && same(&self.cmd, &event.cmd)
            && same(&self.user, &event.user)
            && same(&self.chain, &event.chain)
            && match (&self.exe, &event.exe) {
                (Some(one), Some(other)) => same(one, other),
                (one, other) => one.is_none() && other.is_none(),
            }
    }
}

impl Encoder {
    /// Appends `event` as one line, newline included, as [`encode_event`](super::line::encode_event) does.
    pub fn encode(&mut self, event: &FileEvent, out: &mut Vec<u8>) {
        if self.time != Some(event.time) {
            self.time = Some(event.time);
            self.time_text.clear();
            write_time(event.time, &mut self.time_text);
        }
        let place = &mut self.people[event.pid as usize % PLACES];
        if !place.as_ref().is_some_and(|known| known.is_of(event)) {
            *place = None;
        }
        let person = place.get_or_insert_with(|| Person::of(event));
        encode_parts(
            event,
            out,
            |out| out.extend_from_slice(&self.time_text),
            |out| out.extend_from_slice(&person.who),
            |out| out.extend_from_slice(&person.descent),
        );
    }
}

/// So many processes at work at a time are told apart.
const PLACES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Attribution, EventType};
    use crate::log::line::encode_event;
    use proptest::prelude::*;

    fn event(parts: (u32, u32, u32, [u8; 4], i64)) -> FileEvent {
        let (pid, ppid, tgid, texts, time) = parts;
        let text = |number: u8| Arc::from(["a", "b\"", ""][usize::from(number % 3)]);
        FileEvent {
            time: WallTime(time),
            kind: EventType::Create,
            path: format!("/p{time}").into_bytes(),
            pid,
            cmd: text(texts[0]),
            user: text(texts[1]),
            file_size: 7,
            ppid,
            tgid,
            chain: text(texts[2]),
            exe: (texts[3] % 4 != 3).then(|| text(texts[3])),
            other_path: None,
            attribution: Attribution::Exact,
            is_dir: false,
            is_adrift: false,
            job: None,
            inferred: None,
        }
    }

    proptest! {
        #[test]
        fn lines_are_as_if_each_were_the_first(
            parts in proptest::collection::vec((0..20_u32, 0..3_u32, 0..3_u32, any::<[u8; 4]>(), 0..3_i64), 1..60),
        ) {
            let mut encoder = Encoder::default();
            for event in parts.into_iter().map(event) {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                encoder.encode(&event, &mut one);
                encode_event(&event, &mut other);
                prop_assert_eq!(one, other);
            }
        }
    }
}
