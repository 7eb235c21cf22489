//! What can be known of processes, and what this one may: feeds, namespaces, capabilities.

use std::fs;

use super::{Check, Part, State, reason};
use crate::config::Config;
use crate::monitor::NoFanotify;
use crate::monitor::assembly::open_processes;
use crate::monitor::rights::{RIGHTS, Right, Weight};
use crate::monitor::ways::EPERM;
use crate::proc_cache::{About, Source};
use crate::sys::account::effective_uid;
use crate::sys::caps;

/// What was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether /proc is there.
    pub has_proc: bool,
    /// What the recorder would read from, or why it cannot.
    pub sources: Result<Vec<Source>, String>,
    /// The smallest perf ring and what it was to be, in bytes.
    pub rings: Option<(usize, usize)>,
    /// `kernel.perf_event_paranoid`.
    pub paranoid: Option<i64>,
    /// Whether the user namespace is the host's; `None` when nobody can say.
    pub is_host_user: Option<bool>,
}

/// Finds out what can be known of processes.
pub fn check(config: &Config) -> Vec<Check> {
    let feed = open_processes(config);
    let number = |path| -> Option<i64> {
        let text = fs::read_to_string(path).ok()?;
        text.trim().parse().ok()
    };
    judge(&Facts {
        has_proc: fs::read("/proc/self/mountinfo").is_ok(),
        rings: feed.as_ref().ok().and_then(|feed| feed.ring_bytes()),
        sources: feed
            .map(|feed| feed.sources().to_vec())
            .map_err(|error| error.to_string()),
        paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        is_host_user: is_host_user(),
    })
}

/// Capabilities of a user namespace of its own count only for what belongs to it.
fn is_host_user() -> Option<bool> {
    let name = fs::read_link("/proc/self/ns/user").ok()?;
    Some(name.as_os_str() == FIRST_USER_NAMESPACE)
}

/// Inode number of the first user namespace (`PROC_USER_INIT_INO`).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Says what it is worth.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let check = |name, state, text: String| Part::Processes.check(name, state, text);
    let mut checks = Vec::new();
    if !facts.has_proc {
        let text = "/proc is not mounted here: neither mounts nor running processes can be seen";
        checks
            .push(check("/proc", State::Missing, text.to_owned()).hint("mount -t proc proc /proc"));
        return checks;
    }
    let sources = match &facts.sources {
        Ok(sources) => sources,
        Err(error) => {
            let text = format!("processes that end quickly will be unknown: {error}");
            checks.push(check("names", State::Missing, text));
            return checks;
        }
    };
    for source in sources {
        let (name, lacking) = match source.about {
            About::Names => ("names", State::Missing),
            About::Users => ("users", State::Limited),
            About::Room => ("room for users", State::Limited),
            About::Namespace => ("pid namespace", State::Limited),
        };
        let mut text = source.text.clone();
        let mut state = if source.is_lacking {
            lacking
        } else {
            State::Ok
        };
        if source.about == About::Names {
            match facts.rings {
                Some((has, wanted)) if has < wanted => {
                    state = State::Limited;
                    text.push_str(&format!(
                        ", of {} KiB instead of {} KiB: losses are likelier",
                        has >> 10,
                        wanted >> 10
                    ));
                }
                Some((has, _)) => text.push_str(&format!(", {} KiB each", has >> 10)),
                None => {
                    let paranoid = facts.paranoid;
                    text.extend(
                        paranoid.map(|level| format!(" (kernel.perf_event_paranoid is {level})")),
                    );
                }
            }
        }
        checks.push(check(name, state, text));
    }
    if !sources
        .iter()
        .any(|source| source.about == About::Namespace)
    {
        let text = "the host's: every process has its pid here".to_owned();
        checks.push(check("pid namespace", State::Ok, text));
    }
    checks.push(user_namespace(facts.is_host_user));
    checks
}

fn user_namespace(is_host: Option<bool>) -> Check {
    let check = |state, text: &str| Part::Processes.check("user namespace", state, text);
    match is_host {
        Some(true) => check(State::Ok, "the host's: capabilities are what they say"),
        Some(false) => check(
            State::Limited,
            "one of its own: capabilities count only for what belongs to it, not for the filesystems, handles and processes of the host",
        )
        .hint("run fsmon in the host's user namespace"),
        None => check(State::Unknown, "/proc does not tell it"),
    }
}

/// What was found of rights.
#[derive(Clone, Copy, Debug)]
pub struct RightsFacts<'a> {
    /// Which capabilities are in force, in the order of [`RIGHTS`].
    pub held: &'a [bool],
    /// Whether this runs as root.
    pub is_root: bool,
    /// As in [`Facts`].
    pub is_host_user: Option<bool>,
}

/// Looks at each capability that the recorder uses.
pub fn check_rights() -> Vec<Check> {
    let held: Vec<bool> = RIGHTS.iter().map(|right| caps::has(right.cap)).collect();
    judge_rights(RightsFacts {
        held: &held,
        is_root: effective_uid() == 0,
        is_host_user: is_host_user(),
    })
}

/// Says what each capability, or the lack of it, is worth.
pub fn judge_rights(facts: RightsFacts<'_>) -> Vec<Check> {
    let all = RIGHTS.iter().zip(facts.held);
    all.map(|(right, held)| judge_right(right, *held, facts))
        .collect()
}

fn judge_right(right: &Right, held: bool, facts: RightsFacts<'_>) -> Check {
    let check = |state, text: String| Part::Rights.check(right.name, state, text);
    if held && facts.is_host_user == Some(false) {
        let text = format!("{}: in this user namespace only", right.purpose);
        return check(State::Limited, text);
    }
    if held {
        return check(State::Ok, right.purpose.to_owned());
    }
    match right.weight {
        Weight::ForRoot if !facts.is_root => {
            let text = format!(
                "{}: only needed by a daemon that runs as root",
                right.purpose
            );
            check(State::Ok, text)
        }
        Weight::ForRoot | Weight::Useful => check(State::Limited, right.lack()),
        Weight::Needed => {
            let way_out = NoFanotify(reason(EPERM)).hint();
            check(State::Missing, right.lack()).hint(way_out.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(about: About, is_lacking: bool) -> Source {
        Source {
            about,
            text: "said".to_owned(),
            is_lacking,
        }
    }

    fn facts(sources: Vec<Source>) -> Facts {
        Facts {
            has_proc: true,
            sources: Ok(sources),
            rings: Some((512 << 10, 512 << 10)),
            paranoid: Some(2),
            is_host_user: Some(true),
        }
    }

    fn states(checks: &[Check]) -> Vec<(&'static str, State)> {
        checks
            .iter()
            .map(|check| (check.name, check.state))
            .collect()
    }

    #[test]
    fn names_are_counted_on_and_users_are_good_to_have() {
        let both = vec![source(About::Names, false), source(About::Users, false)];
        let checks = judge(&facts(both));
        assert!(checks.iter().all(|check| check.state == State::Ok));
        let mut without = facts(vec![
            source(About::Names, true),
            source(About::Users, true),
            source(About::Namespace, true),
        ]);
        without.rings = None;
        let checks = judge(&without);
        assert_eq!(
            states(&checks),
            [
                ("names", State::Missing),
                ("users", State::Limited),
                ("pid namespace", State::Limited),
                ("user namespace", State::Ok)
            ]
        );
        assert!(checks[0].text.contains("perf_event_paranoid is 2"));
    }

    #[test]
    fn a_small_ring_is_a_limit() {
        let mut small = facts(vec![source(About::Names, false)]);
        small.rings = Some((64 << 10, 512 << 10));
        let checks = judge(&small);
        assert_eq!(checks[0].state, State::Limited);
        assert!(checks[0].text.contains("64 KiB instead of 512 KiB"));
    }

    #[test]
    fn without_proc_one_thing_is_said() {
        let mut blind = facts(Vec::new());
        blind.has_proc = false;
        assert_eq!(states(&judge(&blind)), [("/proc", State::Missing)]);
    }

    #[test]
    fn a_capability_is_worth_what_it_is_for() {
        let none = [false; RIGHTS.len()];
        let all = [true; RIGHTS.len()];
        let count = |held: &[bool], is_root, is_host_user| {
            let checks = judge_rights(RightsFacts {
                held,
                is_root,
                is_host_user,
            });
            let of = |state| checks.iter().filter(|check| check.state == state).count();
            (of(State::Ok), of(State::Limited), of(State::Missing))
        };
        assert_eq!(count(&all, true, Some(true)), (8, 0, 0));
        assert_eq!(count(&none, false, Some(true)), (4, 2, 2));
        assert_eq!(count(&none, true, Some(true)), (0, 6, 2));
        assert_eq!(count(&all, true, Some(false)), (0, 8, 0));
    }
}
