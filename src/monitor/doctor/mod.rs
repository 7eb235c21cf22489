//! What the machine lets the recorder do: found out by trying, then judged.
//!
//! Each part gathers facts and judges them by values alone, so that the judgement can be tested for machines
//! that are not at hand.

pub mod kernel;
pub mod limits;
pub mod paths;
pub mod places;
pub mod processes;

use std::io;

use serde::Serialize;

/// What a fact is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Something is less than it could be.
    Limited,
    /// Something is missing that one counts on.
    Missing,
    /// It could not be found out.
    Unknown,
}

impl State {
    /// The worse of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rank = |state| match state {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Limited => 2,
            Self::Missing => 3,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// What a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// What the kernel can.
    Kernel,
    /// What can be known of processes.
    Processes,
    /// What this user may.
    Rights,
    /// How much there may be of everything.
    Limits,
    /// The recorder's own files.
    Files,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it belongs to.
    pub part: Part,
    /// What it is.
    pub name: &'static str,
    /// What it is worth.
    pub state: State,
    /// What was found, as a sentence.
    pub text: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

impl Part {
    fn check(self, name: &'static str, state: State, text: impl Into<String>) -> Check {
        Check {
            part: self,
            name,
            state,
            text: text.into(),
            hint: None,
        }
    }
}

impl Check {
    fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Whether the kernel did what was tried, or the number of its error.
type Tried = Result<(), i32>;

fn tried<T>(done: io::Result<T>) -> Tried {
    match done {
        Ok(_) => Ok(()),
        Err(error) => Err(error.raw_os_error().unwrap_or(0)),
    }
}

fn reason(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_state_wins() {
        assert_eq!(State::Ok.and(State::Limited), State::Limited);
        assert_eq!(State::Missing.and(State::Unknown), State::Missing);
        assert_eq!(State::Unknown.and(State::Ok), State::Unknown);
    }
}
