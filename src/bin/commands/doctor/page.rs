//! What was found, as people read it.

use std::io::{self, Write};

use fsmon::monitor::doctor::paths::Outlook;
use fsmon::monitor::doctor::{Check, State};
use fsmon::monitored::path::escaped;

use super::Source;
use super::trial::Trial;
use super::verdict::Step;
use crate::commands::look::{BOLD, DIM, GREEN, Look, RED, YELLOW, harmless};

/// Findings on their way to the reader, each part as soon as it is known.
pub(super) struct Page<W> {
    out: W,
    look: Look,
}

impl Page<io::Stdout> {
    /// Begins to write on stdout.
    pub(super) fn begin() -> Self {
        Self {
            out: io::stdout(),
            look: Look::of_stdout(),
        }
    }
}

impl<W: Write> Page<W> {
    /// One part of the checks.
    pub(super) fn checks(&mut self, title: &str, checks: &[Check]) -> io::Result<()> {
        let mut text = self.title(title, "");
        for check in checks {
            let (hint, found) = (check.hint.as_deref(), harmless(&check.text));
            self.row(check.state, check.name, &found, hint, &mut text);
        }
        self.hand_out(&text)
    }

    /// How each path would be watched.
    pub(super) fn paths(&mut self, from: Source, paths: &[Outlook]) -> io::Result<()> {
        let whose = match from {
            Source::Arguments => "",
            Source::Store => "those that are watched",
            Source::Nobody => "nothing is watched yet, so / and all below",
        };
        let mut text = self.title("Paths", whose);
        for outlook in paths {
            text += &format!(
                "  {}\n",
                self.look.paint(BOLD, &escaped(&outlook.path).to_string())
            );
            if let Some(said) = &outlook.text {
                let state = if outlook.filesystems.is_empty() {
                    outlook.state
                } else {
                    State::Ok
                };
                self.line(state, &harmless(said), &mut text);
            }
            for filesystem in &outlook.filesystems {
                let lack = match (&filesystem.lack, filesystem.way) {
                    (Some(lack), _) => format!("; {lack}"),
                    (None, Some(_)) => "; nothing is missing".to_owned(),
                    (None, None) => String::new(),
                };
                let said = format!(
                    "{} ({}, {}) {}{lack}",
                    escaped(&filesystem.point),
                    harmless(&filesystem.fstype),
                    harmless(&filesystem.options),
                    harmless(&filesystem.text),
                );
                self.line(filesystem.state, &said, &mut text);
            }
            if !outlook.passed_over.is_empty() {
                let points = outlook.passed_over.iter();
                let points: Vec<String> = points.map(|point| escaped(point).to_string()).collect();
                let said = format!(
                    "passed over, as nothing is stored there: {}",
                    points.join(", ")
                );
                self.line(State::Ok, &said, &mut text);
            }
        }
        self.hand_out(&text)
    }

    /// How the self-test went.
    pub(super) fn trial(&mut self, trial: &Trial) -> io::Result<()> {
        let mut text = self.title("Self-test", &format!("in {}", harmless(&trial.dir)));
        if let Some(said) = &trial.text {
            self.line(trial.state, &harmless(said), &mut text);
        }
        for step in &trial.steps {
            self.row(step.state, step.name, &told(step), None, &mut text);
        }
        self.hand_out(&text)
    }

    /// The last line: how much is not as it should be.
    pub(super) fn end(&mut self, states: impl Iterator<Item = State>) -> io::Result<()> {
        let states: Vec<State> = states.collect();
        let count = |state| states.iter().filter(|other| **other == state).count();
        let parts = [
            (count(State::Missing), "missing"),
            (count(State::Limited), "limited"),
            (count(State::Unknown), "unknown"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let said = if parts.is_empty() {
            "Nothing is missing.".to_owned()
        } else {
            format!("{}; the rest is as it should be.", parts.join(", "))
        };
        let style = if count(State::Missing) > 0 { RED } else { BOLD };
        let text = format!("\n{}\n", self.look.paint(style, &said));
        self.hand_out(&text)
    }

    fn title(&self, title: &str, more: &str) -> String {
        let head = self.look.paint(BOLD, title);
        if more.is_empty() {
            format!("{head}\n")
        } else {
            format!("{head} {}\n", self.look.paint(DIM, &format!("({more})")))
        }
    }

    /// `  ok       name                 what was found`, and the way out below.
    fn row(&self, state: State, name: &str, said: &str, hint: Option<&str>, into: &mut String) {
        *into += &format!("  {} {name:<NAME$} ", self.word(state));
        let indent = 2 + WORD + 1 + NAME + 1;
        self.look.wrap(said, indent, into);
        if let Some(hint) = hint {
            *into += &" ".repeat(indent);
            self.look.wrap(&format!("hint: {hint}"), indent, into);
        }
    }

    /// `    ok       what was found`.
    fn line(&self, state: State, said: &str, into: &mut String) {
        *into += &format!("    {} ", self.word(state));
        self.look.wrap(said, 4 + WORD + 1, into);
    }

    fn word(&self, state: State) -> String {
        let style = match state {
            State::Ok => GREEN,
            State::Limited => YELLOW,
            State::Missing => RED,
            State::Unknown => DIM,
        };
        let word = state.word();
        let padding = " ".repeat(WORD - word.len());
        format!("{}{padding}", self.look.paint(style, word))
    }

    fn hand_out(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

fn told(step: &Step) -> String {
    let mut said = format!(
        "{} of {} events right: process {} ('{}'), which lived {} ms",
        step.right,
        step.expected,
        step.pid,
        harmless(&step.cmd),
        step.lived_ms
    );
    if step.ambiguous > 0 {
        said += &format!("; {} told as ambiguous", step.ambiguous);
    }
    for fault in &step.faults {
        said += &format!("; {}", harmless(fault));
    }
    said
}

/// The longest word for a state.
const WORD: usize = 7;
/// The longest name of a check.
const NAME: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;
    use fsmon::monitor::doctor::Part;

    fn page(width: usize) -> Page<Vec<u8>> {
        Page {
            out: Vec::new(),
            look: Look {
                width,
                colours: false,
            },
        }
    }

    #[test]
    fn rows_are_wrapped_below_their_text() {
        let mut page = page(60);
        let check = Check {
            part: Part::Limits,
            name: "open files",
            state: State::Limited,
            text: "so many words that they take more than one line".to_owned(),
            hint: Some("raise it".to_owned()),
        };
        page.checks("Limits", &[check]).unwrap();
        let text = String::from_utf8(page.out).unwrap();
        assert_eq!(
            text,
            "Limits\n  limited open files          so many words that they take\n\
             \x20                             more than one line\n\
             \x20                             hint: raise it\n"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 60));
    }

    #[test]
    fn the_end_counts_what_is_not_as_it_should_be() {
        let mut good = page(80);
        good.end([State::Ok, State::Ok].into_iter()).unwrap();
        assert_eq!(good.out, b"\nNothing is missing.\n");
        let mut bad = page(80);
        bad.end([State::Limited, State::Missing, State::Limited].into_iter())
            .unwrap();
        assert!(bad.out.starts_with(b"\n1 missing, 2 limited; "));
    }
}
