//! Events as they come, one a line, for people.

use std::sync::Arc;

use fsmon::event::{Attribution, EventType, FileEvent};
use fsmon::filters::size::human_size;
use fsmon::log::alert::Note;
use fsmon::log::line::Gap;

use super::look::{BOLD, CLOCK, DIM, Look, MAGENTA, RED, clock, day, harmless, in_full, word};

/// Draws one line after another.
#[derive(Debug)]
pub(crate) struct Ticker {
    look: Look,
    day: String,
    /// Whether programs are shown by their paths.
    shows_programs: bool,
    /// What was drawn last: the logs of several groups tell of one event once each.
    last: Option<FileEvent>,
}

impl Ticker {
    pub(crate) fn new(look: Look) -> Self {
        Self {
            look,
            day: String::new(),
            shows_programs: false,
            last: None,
        }
    }

    /// Shows programs by their paths.
    pub(crate) fn with_programs(mut self, wanted: bool) -> Self {
        self.shows_programs = wanted;
        self
    }

    /// `08:15:40.127  created     nginx 4211 (www-data)    /srv/www/index.html`
    pub(crate) fn event(&mut self, event: &FileEvent, out: &mut String) {
        if self.last.as_ref().is_some_and(|last| is_same(last, event)) {
            return;
        }
        self.last = Some(event.clone());
        self.begin(event, out);
        let (word, style) = word(event.kind);
        self.column(word, WORD, style, out);
        self.process(event, out);
        *out += &path_of(event);
        if let Some(size) = size_of(event) {
            *out += &self.look.paint(DIM, &format!("  {size}"));
        }
        out.push('\n');
    }

    /// The same for an alert, with its rule and its reason in front of the path.
    pub(crate) fn alert(&mut self, event: &FileEvent, note: &Note<'_>, out: &mut String) {
        self.begin(event, out);
        self.column("ALERT", WORD, &format!("{BOLD};{RED}"), out);
        self.process(event, out);
        let mut text = format!("{}: {}", harmless(&note.rule), harmless(&note.reason));
        if let (Some(count), Some(window)) = (note.count, note.window_ms) {
            text += &format!(" ({count} in {window} ms)");
        }
        if let Some(decision) = &note.decision {
            text += &format!(" [{}]", harmless(decision));
        }
        *out += &self.look.paint(BOLD, &text);
        *out += "  ";
        *out += &path_of(event);
        out.push('\n');
    }

    /// A hole.
    pub(crate) fn gap(&mut self, gap: &Gap<'_>, out: &mut String) {
        self.date(&day(gap.time), out);
        self.column(&clock(gap.time), CLOCK + 2, DIM, out);
        let lost = match gap.lost {
            0.. => gap.lost.to_string(),
            _ => "an unknown number of".to_owned(),
        };
        let text = format!("{lost} events are missing here: {}", harmless(&gap.cause));
        *out += &self.look.paint(MAGENTA, &text);
        out.push('\n');
    }

    fn begin(&mut self, event: &FileEvent, out: &mut String) {
        self.date(&day(event.time), out);
        let time = clock(event.time);
        let shown = if self.is_narrow() {
            &time[..SHORT_CLOCK]
        } else {
            &time
        };
        self.column(shown, shown.len() + 2, DIM, out);
    }

    /// Says which day it is when that changes.
    fn date(&mut self, day: &str, out: &mut String) {
        if self.day != day {
            *out += &self.look.paint(BOLD, day);
            *out += &self.look.paint(DIM, "  (times in UTC)");
            out.push('\n');
            day.clone_into(&mut self.day);
        }
    }

    fn process(&self, event: &FileEvent, out: &mut String) {
        if event.inferred.is_some() {
            let width = if self.is_narrow() {
                NARROW_PROCESS
            } else {
                PROCESS
            };
            return self.column("found out later", width, DIM, out);
        }
        let doubt = match event.attribution {
            Attribution::Exact => "",
            Attribution::Ambiguous | Attribution::Unknown => "?",
        };
        let cmd = match &event.exe {
            Some(exe) if self.shows_programs => harmless(exe),
            _ => harmless(&event.cmd),
        };
        let user = harmless(&event.user);
        if self.is_narrow() {
            self.column(
                &format!("{cmd}{doubt} {}", event.pid),
                NARROW_PROCESS,
                BOLD,
                out,
            );
        } else {
            let name = format!("{cmd}{doubt} {}", event.pid);
            let who = format!("{} ({user})", self.look.paint(BOLD, &name));
            *out += &who;
            let length = name.chars().count() + user.chars().count() + 3;
            *out += &" ".repeat(PROCESS.saturating_sub(length).max(2));
        }
    }

    /// Text in a column of that width, with at least one blank behind it.
    fn column(&self, text: &str, width: usize, style: &str, out: &mut String) {
        *out += &self.look.paint(style, text);
        *out += &" ".repeat(width.saturating_sub(text.chars().count()).max(1));
    }

    fn is_narrow(&self) -> bool {
        self.look.width < WIDE
    }
}

/// Whether both lines tell of one event. The logs of groups have the chain, that of all processes has not.
fn is_same(one: &FileEvent, other: &FileEvent) -> bool {
    let apart = |event: &FileEvent| FileEvent {
        chain: Arc::default(),
        ..event.clone()
    };
    apart(one) == apart(other)
}

fn path_of(event: &FileEvent) -> String {
    let path = in_full(&event.path);
    let shown = match (event.kind, &event.other_path) {
        (EventType::MovedTo, Some(from)) => format!("{path} <- {}", in_full(from)),
        (_, Some(to)) => format!("{path} -> {}", in_full(to)),
        _ => path,
    };
    if event.is_adrift {
        shown + "  (or where a directory above went)"
    } else {
        shown
    }
}

fn size_of(event: &FileEvent) -> Option<String> {
    let has_size = matches!(
        event.kind,
        EventType::CloseWrite | EventType::Modify | EventType::Delete
    );
    (has_size && event.file_size > 0).then(|| human_size(event.file_size))
}

/// From this many columns on there is room for everything.
const WIDE: usize = 110;
/// Widths of columns.
const WORD: usize = 12;
const PROCESS: usize = 32;
const NARROW_PROCESS: usize = 24;
/// The time without fractions of a second.
const SHORT_CLOCK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use fsmon::event::WallTime;

    fn event(kind: EventType) -> FileEvent {
        FileEvent {
            time: WallTime(1_778_148_001_550_764_698),
            kind,
            path: b"/srv/a\x1b[31m".to_vec(),
            pid: 4211,
            cmd: "ng\tinx".into(),
            user: "www-data".into(),
            file_size: 2048,
            ppid: 1,
            tgid: 4211,
            chain: "".into(),
            exe: None,
            other_path: None,
            attribution: Attribution::Exact,
            is_dir: false,
            is_adrift: false,
            job: None,
            inferred: None,
        }
    }

    fn drawn(width: usize, events: &[FileEvent]) -> String {
        let mut ticker = Ticker::new(Look {
            width,
            colours: false,
        });
        let mut out = String::new();
        for event in events {
            ticker.event(event, &mut out);
        }
        out
    }

    #[test]
    fn columns_stand_under_each_other_and_the_path_comes_last() {
        let moved = FileEvent {
            other_path: Some(b"/srv/b".to_vec()),
            attribution: Attribution::Ambiguous,
            ..event(EventType::MovedFrom)
        };
        let adrift = FileEvent {
            is_adrift: true,
            ..event(EventType::Create)
        };
        assert!(
            drawn(200, &[adrift])
                .ends_with("/srv/a\\u{1b}[31m  (or where a directory above went)\n")
        );
        assert_eq!(
            drawn(200, &[event(EventType::CloseWrite), moved.clone()]),
            "2026-05-07  (times in UTC)\n\
             10:00:01.550  written     ng\\tinx 4211 (www-data)         /srv/a\\u{1b}[31m  2.0KB\n\
             10:00:01.550  moved away  ng\\tinx? 4211 (www-data)        /srv/a\\u{1b}[31m -> /srv/b\n"
        );
        assert_eq!(
            drawn(80, &[event(EventType::Create), moved]),
            "2026-05-07  (times in UTC)\n\
             10:00:01  created     ng\\tinx 4211            /srv/a\\u{1b}[31m\n\
             10:00:01  moved away  ng\\tinx? 4211           /srv/a\\u{1b}[31m -> /srv/b\n"
        );
    }

    #[test]
    fn the_same_event_in_another_log_is_drawn_once() {
        let chained = FileEvent {
            chain: "4211|nginx|root".into(),
            ..event(EventType::Create)
        };
        let created = event(EventType::Create);
        assert_eq!(
            drawn(200, &[chained, created.clone()]),
            drawn(200, std::slice::from_ref(&created))
        );
        // With chains in all logs they are the same to the letter.
        assert_eq!(drawn(200, &[created.clone(), created]).lines().count(), 2);
    }

    #[test]
    fn alerts_say_which_rule_and_why() {
        let mut ticker = Ticker::new(Look {
            width: 200,
            colours: false,
        });
        let note = Note {
            rule: "mass change".into(),
            kind: "burst".into(),
            reason: "too many changes".into(),
            count: Some(100),
            window_ms: Some(1000),
            decision: None,
        };
        let mut out = String::new();
        ticker.alert(&event(EventType::Create), &note, &mut out);
        assert!(
            out.ends_with("mass change: too many changes (100 in 1000 ms)  /srv/a\\u{1b}[31m\n"),
            "{out}"
        );
    }
}
