//! What was told of a deed, beside what must be told: from values alone.

use std::time::Duration;

use fsmon::event::{Attribution, FileEvent};
use fsmon::monitor::doctor::State;
use serde::Serialize;

use super::deeds::Expected;
use crate::commands::look::in_full;

/// Who did something.
#[derive(Clone, Debug)]
pub(super) struct Doer {
    pub(super) pid: u32,
    pub(super) cmd: String,
    pub(super) user: String,
    pub(super) ppid: u32,
}

/// A deed, and what was told of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// What was done.
    pub(super) name: &'static str,
    pub(super) state: State,
    /// The process that did it.
    pub(super) pid: u32,
    pub(super) cmd: String,
    /// From before its start until its end was seen.
    pub(super) lived_ms: f64,
    /// How many events must be told.
    pub(super) expected: usize,
    /// How many were told with the right path and process.
    pub(super) right: usize,
    /// How many of these were told as `ambiguous`.
    pub(super) ambiguous: usize,
    /// What was wrong, a sentence each.
    pub(super) faults: Vec<String>,
}

/// Compares; `root` is where the deed was done.
pub(super) fn judge(
    name: &'static str,
    doer: &Doer,
    lived: Duration,
    truth: &[Expected],
    root: &[u8],
    seen: &[FileEvent],
) -> Step {
    let mut step = Step {
        name,
        state: State::Ok,
        pid: doer.pid,
        cmd: doer.cmd.clone(),
        lived_ms: (lived.as_secs_f64() * 1e5).round() / 1e2,
        expected: truth.len(),
        right: 0,
        ambiguous: 0,
        faults: Vec::new(),
    };
    let mut faults: Vec<(String, Vec<String>)> = Vec::new();
    let mut note = |expected: &Expected, fault: String| {
        let event = format!("{} of {}", expected.kind, in_full(&expected.path));
        match faults.iter_mut().find(|(same, _)| *same == fault) {
            Some((_, events)) => events.push(event),
            None => faults.push((fault, vec![event])),
        }
    };
    for expected in truth {
        let path = below(root, &expected.path);
        let same = |event: &&FileEvent| event.kind == expected.kind && event.path == path;
        let Some(event) = seen.iter().find(same) else {
            note(expected, "not told".to_owned());
            continue;
        };
        let differences = differences(event, doer, expected, root);
        if differences.is_empty() {
            step.right += 1;
            step.ambiguous += usize::from(event.attribution == Attribution::Ambiguous);
        } else {
            note(expected, format!("told with {}", differences.join(", ")));
        }
    }
    let told = |(fault, events): &(String, Vec<String>)| match events.as_slice() {
        [first, rest @ ..] if rest.len() > 1 => format!("{first} and {} more {fault}", rest.len()),
        few => format!("{} {fault}", few.join(" and ")),
    };
    step.faults = faults.iter().map(told).collect();
    step.state = if !step.faults.is_empty() {
        State::Missing
    } else if step.ambiguous > 0 {
        State::Limited
    } else {
        State::Ok
    };
    step
}

fn below(root: &[u8], path: &[u8]) -> Vec<u8> {
    [root, b"/", path].concat()
}

fn differences(event: &FileEvent, doer: &Doer, expected: &Expected, root: &[u8]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut differ = |what: &str, told: String, true_one: String| {
        if told != true_one {
            faults.push(format!("{what} {told} instead of {true_one}"));
        }
    };
    differ("pid", event.pid.to_string(), doer.pid.to_string());
    if event.attribution == Attribution::Unknown {
        faults.push("its process unknown".to_owned());
        return faults;
    }
    differ("cmd", format!("'{}'", event.cmd), format!("'{}'", doer.cmd));
    differ(
        "user",
        format!("'{}'", event.user),
        format!("'{}'", doer.user),
    );
    differ("ppid", event.ppid.to_string(), doer.ppid.to_string());
    if let Some(other) = &expected.other {
        let other = in_full(&below(root, other));
        let told = event
            .other_path
            .as_deref()
            .map_or_else(|| "nothing".to_owned(), in_full);
        differ("the other side", told, other);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::deeds::Deed;
    use fsmon::event::{EventType, WallTime};

    fn doer() -> Doer {
        Doer {
            pid: 77,
            cmd: "fsmon-mv".to_owned(),
            user: "root".to_owned(),
            ppid: 7,
        }
    }

    /// Exactly what must be told of a deed.
    fn told(deed: Deed) -> Vec<FileEvent> {
        let event = |expected: Expected| FileEvent {
            time: WallTime(0),
            kind: expected.kind,
            path: below(b"/t", &expected.path),
            pid: 77,
            cmd: "fsmon-mv".into(),
            user: "root".into(),
            file_size: 0,
            ppid: 7,
            tgid: 77,
            chain: "".into(),
            exe: None,
            other_path: expected.other.map(|other| below(b"/t", &other)),
            attribution: Attribution::Exact,
            is_dir: false,
            is_adrift: false,
            job: None,
            inferred: None,
        };
        deed.truth().into_iter().map(event).collect()
    }

    fn judged(deed: Deed, seen: &[FileEvent]) -> Step {
        let lived = Duration::from_micros(180);
        judge(deed.told(), &doer(), lived, &deed.truth(), b"/t", seen)
    }

    #[test]
    fn what_is_told_as_it_was_is_right() {
        for deed in Deed::ALL {
            let step = judged(deed, &told(deed));
            assert_eq!((step.state, step.right), (State::Ok, step.expected));
            assert_eq!((step.lived_ms, step.faults.len()), (0.18, 0));
        }
    }

    type Spoil = fn(&mut FileEvent);

    #[test]
    fn each_wrong_field_is_named() {
        let cases: [(Spoil, &str); 6] = [
            (|event| event.pid = 0, "pid 0 instead of 77"),
            (
                |event| event.cmd = "sh".into(),
                "cmd 'sh' instead of 'fsmon-mv'",
            ),
            (
                |event| event.user = "1".into(),
                "user '1' instead of 'root'",
            ),
            (|event| event.ppid = 1, "ppid 1 instead of 7"),
            (
                |event| event.other_path = None,
                "the other side nothing instead of /t/",
            ),
            (
                |event| event.attribution = Attribution::Unknown,
                "its process unknown",
            ),
        ];
        for (spoil, word) in cases {
            let mut seen = told(Deed::Rename);
            spoil(&mut seen[0]);
            let step = judged(Deed::Rename, &seen);
            assert_eq!((step.state, step.right), (State::Missing, 3));
            assert!(step.faults[0].contains(word), "{:?}", step.faults);
        }
    }

    #[test]
    fn what_is_not_told_or_under_another_name_is_missing() {
        let mut seen = told(Deed::Bytes);
        seen[0].path.pop();
        let step = judged(Deed::Bytes, &seen);
        assert_eq!(step.state, State::Missing);
        assert_eq!(step.faults, ["CREATE of fsmon-\\xff-\\xc3 not told"]);
        let none = judged(Deed::Remove, &[]);
        let first = "DELETE of fsmon-tree/renamed/b/file and 4 more not told";
        assert_eq!((none.right, none.faults), (0, vec![first.to_owned()]));
        assert_eq!(seen[1].kind, EventType::CloseWrite);
    }

    #[test]
    fn ambiguous_is_a_limit() {
        let mut seen = told(Deed::Make);
        seen[2].attribution = Attribution::Ambiguous;
        let step = judged(Deed::Make, &seen);
        assert_eq!(
            (step.state, step.right, step.ambiguous),
            (State::Limited, 5, 1)
        );
    }
}
