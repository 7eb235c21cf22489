//! One event that stands in several logs, told once.
//!
//! When several groups watch a place, each log has a line of the event, with the same time. The n-th line
//! of a kind in one log is the n-th in another; of these the one is kept that has the ancestry.

use std::collections::HashMap;
use std::io;

use crate::event::{EventType, WallTime};
use crate::log::line::LogLine;

/// Whoever is told the lines: as stored, and as read.
pub(super) type Sink<'s> = dyn FnMut(&[u8], &LogLine) -> io::Result<()> + 's;

/// The lines of one time, until all logs have told theirs.
#[derive(Debug, Default)]
pub(super) struct Twins {
    time: WallTime,
    lines: Vec<Line>,
    /// The line told first; behind each another, so that lines can be put between.
    first: Option<usize>,
    places: HashMap<Key, Vec<usize>>,
    /// The log that is telling, how often it told each kind of line, and behind which line it stands.
    log: usize,
    counts: HashMap<Key, usize>,
    at: Option<usize>,
}

#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    line: LogLine,
    next: Option<usize>,
}

/// What the lines of one event have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Event(EventType, Vec<u8>, u32, Option<Vec<u8>>),
    Gap(String),
}

impl Key {
    fn of(line: &LogLine) -> Self {
        match line {
            LogLine::Event(event) => Self::Event(
                event.kind,
                event.path.clone(),
                event.pid,
                event.other_path.clone(),
            ),
            LogLine::Gap(gap) => Self::Gap(gap.cause.clone().into_owned()),
        }
    }
}

impl Twins {
    /// Takes a line; those of one time log by log. What is older goes to `sink`.
    pub(super) fn take(
        &mut self,
        log: usize,
        time: WallTime,
        bytes: &[u8],
        line: LogLine,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        if time != self.time || self.lines.len() >= MOST {
            self.flush(sink)?;
            self.time = time;
        }
        if log != self.log {
            self.log = log;
            self.counts.clear();
            self.at = None;
        }
        let key = Key::of(&line);
        let count = self.counts.entry(key.clone()).or_default();
        *count += 1;
        let places = self.places.entry(key).or_default();
        if let Some(twin) = places.get(*count - 1) {
            self.at = Some(*twin);
            let known = &mut self.lines[*twin];
            if has_chain(&line) && !has_chain(&known.line) {
                known.bytes = bytes.to_vec();
                known.line = line;
            }
            return Ok(());
        }
        let new = self.lines.len();
        places.push(new);
        let before = match self.at {
            Some(at) => &mut self.lines[at].next,
            None => &mut self.first,
        };
        let next = before.replace(new);
        self.at = Some(new);
        self.lines.push(Line {
            bytes: bytes.to_vec(),
            line,
            next,
        });
        Ok(())
    }

    /// Tells what is there.
    pub(super) fn flush(&mut self, sink: &mut Sink<'_>) -> io::Result<()> {
        let mut next = self.first.take();
        while let Some(at) = next {
            let line = &self.lines[at];
            sink(&line.bytes, &line.line)?;
            next = line.next;
        }
        self.lines.clear();
        self.places.clear();
        self.counts.clear();
        self.at = None;
        Ok(())
    }
}

fn has_chain(line: &LogLine) -> bool {
    matches!(line, LogLine::Event(event) if !event.chain.is_empty())
}

/// So many lines of one time are held: more than the kernel hands over at once.
const MOST: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::decode;

    /// `log KIND path chain` at one time; what comes out as `KIND path chain`.
    fn told(lines: &[&str]) -> Vec<String> {
        let mut twins = Twins::default();
        let mut told = Vec::new();
        let mut sink = |bytes: &[u8], _: &LogLine| {
            told.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(())
        };
        for line in lines {
            let (log, rest) = line.split_once(' ').unwrap();
            let mut words = rest.split(' ');
            let (kind, path) = (words.next().unwrap(), words.next().unwrap());
            let chain = words.next().unwrap_or_default();
            let json = format!(
                r#"{{"time":"1970-01-01T00:00:01Z","event_type":"{kind}","path":"{path}","chain":"{chain}"}}"#
            );
            let line = decode(json.as_bytes()).unwrap();
            let log = log.parse().unwrap();
            twins
                .take(log, WallTime(1), rest.as_bytes(), line, &mut sink)
                .unwrap();
        }
        twins.flush(&mut sink).unwrap();
        told
    }

    #[test]
    fn lines_of_one_event_are_told_once_with_the_ancestry() {
        assert_eq!(
            told(&[
                "0 CREATE /a",
                "0 DELETE /a",
                "0 CREATE /a",
                "1 CREATE /a 1|sh|root",
                "1 DELETE /a 1|sh|root",
                "1 CREATE /a",
                "2 CREATE /a"
            ]),
            ["CREATE /a 1|sh|root", "DELETE /a 1|sh|root", "CREATE /a"]
        );
    }

    #[test]
    fn what_one_log_has_alone_is_told_in_its_place() {
        assert_eq!(
            told(&[
                "0 CREATE /a",
                "0 DELETE /a",
                "1 CREATE /b",
                "1 CREATE /a",
                "1 ATTRIB /a",
                "1 DELETE /a",
                "1 DELETE /b"
            ]),
            [
                "CREATE /b",
                "CREATE /a",
                "ATTRIB /a",
                "DELETE /a",
                "DELETE /b"
            ]
        );
    }
}
