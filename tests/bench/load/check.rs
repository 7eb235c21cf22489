//! A log held against what is known of the workload.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::lines::{self, Line, MARKER, contains};
use crate::truth::Truth;

/// How a log fares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    /// Lines that must be there.
    pub(crate) expected: usize,
    /// Those that are.
    pub(crate) captured: usize,
    pub(crate) lines: usize,
    /// Lines that tell of something that happened, there and then.
    pub(crate) path_right: usize,
    /// Lines whose pid, cmd, user and ppid are those of the one who did it.
    pub(crate) who_right: usize,
    /// The first differences.
    pub(crate) first: Vec<String>,
}

impl Score {
    fn note(&mut self, what: &str, line: &Line) {
        if self.first.len() < 5 {
            self.first.push(format!(
                "{what}: {} (ppid {}) {}",
                line.show(),
                line.ppid,
                line.attribution
            ));
        }
    }
}

/// What must be in the log.
pub(crate) enum Expected {
    /// As a book says.
    Book(Truth),
    /// Of each of so many files in each of so many directories `root/wN`: made and removed.
    Flood {
        root: Vec<u8>,
        workers: usize,
        files: usize,
        /// Lines of each.
        each: usize,
    },
    /// Of so many files that carry their maker's number in their name: made, written and removed.
    Deeds {
        made: Vec<u8>,
        files: usize,
        /// Lines of each.
        each: usize,
    },
    /// Each of these so often; any other type of line, if it is below the second.
    Known(HashMap<(&'static str, Vec<u8>), u32>, Vec<u8>),
    /// What leads from the first set of paths to the second.
    Replay(BTreeSet<Vec<u8>>, BTreeSet<Vec<u8>>),
}

impl Expected {
    /// Asks for no more than what is made, removed and renamed.
    pub(crate) fn keep_names(&mut self) {
        match self {
            Self::Book(truth) => truth.ask_only(&NAMES),
            Self::Flood { each, .. } | Self::Deeds { each, .. } => *each = 2,
            Self::Known(left, _) => left.retain(|(kind, _), _| NAMES.contains(kind)),
            Self::Replay(..) => {}
        }
    }
}

/// Who did it.
pub(crate) enum Doers {
    /// One of these processes.
    Listed(HashMap<u32, Doer>),
    /// The names of the files say it: name.number.pid.ppid.euid.
    InNames,
    /// One that descends from the process, under one of these names.
    Family(u32, HashSet<&'static str>),
}

/// What a line must say of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doer {
    pub(crate) cmd: String,
    pub(crate) user: &'static str,
    pub(crate) ppid: u32,
}

/// Types that the making, writing and removing of a file leads to, by their bit in a set.
pub(crate) const LIFE: [&str; 5] = ["CREATE", "CLOSE_WRITE", "ATTRIB", "DELETE_SELF", "DELETE"];
/// Types that tell what came to a name, or left it.
const NAMES: [&str; 4] = ["CREATE", "MOVED_FROM", "MOVED_TO", "DELETE"];

/// Reads the log and compares; one that is `own` must keep to its format in every byte.
pub(crate) fn compare(log: &Path, own: bool, expected: Expected, doers: &Doers) -> Score {
    let mut score = Score::default();
    let mut who = Who::new(doers);
    let mut state = State::of(expected);
    let Ok(file) = File::open(log) else {
        return state.end(score);
    };
    let mut rows = BufReader::with_capacity(1 << 20, file);
    let mut row = String::new();
    loop {
        row.clear();
        // What is not text or ends in its middle is no line.
        match rows.read_line(&mut row) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => continue,
        }
        let text = row.trim_end_matches('\n');
        let read = if own { lines::one(text) } else { loosely(text) };
        let line = match read {
            Ok(line) if contains(&line.path, MARKER.as_bytes()) => continue,
            Ok(line) => line,
            Err(why) => {
                score.lines += 1;
                score.first.push(format!("{why}: {text}"));
                continue;
            }
        };
        score.lines += 1;
        who.see(&line, &mut score);
        state.see(line, &mut score);
    }
    who.end(&mut score);
    state.end(score)
}

/// A line of whatever version.
fn loosely(row: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(row).map_err(|error| error.to_string())?;
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    Ok(Line {
        time: text("time"),
        kind: lines::kind_named(&text("event_type"))?,
        path: text("path").trim_end_matches("/.").into(),
        pid: number("pid") as u32,
        ppid: number("ppid") as u32,
        cmd: text("cmd"),
        user: text("user"),
        attribution: text("attribution"),
        other: value["other_path"].as_str().map(Into::into),
        ..Line::default()
    })
}

struct Who<'a> {
    doers: &'a Doers,
    /// Of a family: parents, and how many lines of each process say nothing wrong.
    parents: HashMap<u32, u32>,
    lines: HashMap<u32, usize>,
}

impl<'a> Who<'a> {
    fn new(doers: &'a Doers) -> Self {
        Self {
            doers,
            parents: HashMap::new(),
            lines: HashMap::new(),
        }
    }

    fn see(&mut self, line: &Line, score: &mut Score) {
        let right = line.attribution.is_empty()
            && match self.doers {
                Doers::Listed(known) => known.get(&line.pid).is_some_and(|doer| {
                    (&line.cmd, line.user.as_str(), line.ppid) == (&doer.cmd, doer.user, doer.ppid)
                }),
                Doers::InNames => said_by_name(line).is_some(),
                Doers::Family(_, names) => names.contains(line.cmd.as_str()) && line.user == "root",
            };
        if !right {
            score.note("not who did it", line);
        } else if let Doers::Family(..) = self.doers {
            self.parents.insert(line.pid, line.ppid);
            *self.lines.entry(line.pid).or_default() += 1;
        } else {
            score.who_right += 1;
        }
    }

    fn end(self, score: &mut Score) {
        let Doers::Family(eldest, _) = self.doers else {
            return;
        };
        for (pid, lines) in self.lines {
            let (mut at, mut steps) = (pid, 0);
            while at != *eldest && steps < 50 {
                at = self.parents.get(&at).copied().unwrap_or(0);
                steps += 1;
            }
            if at == *eldest {
                score.who_right += lines;
            } else {
                score
                    .first
                    .push(format!("{pid} does not descend from {eldest}"));
            }
        }
    }
}

/// Whether a line says of its process what the name of the file says.
fn said_by_name(line: &Line) -> Option<()> {
    let path = str::from_utf8(&line.path).ok()?;
    let words: Vec<&str> = path.rsplit('/').next()?.split('.').collect();
    let [cmd, _, pid, ppid, euid] = words[..] else {
        return None;
    };
    let user = if euid == "0" { "root" } else { "nobody" };
    let says = [line.pid.to_string(), line.ppid.to_string()];
    let right = says == [pid, ppid] && line.cmd == cmd && line.user == user;
    right.then_some(())
}

enum State {
    Book(Truth, Vec<Line>),
    Flood {
        root: Vec<u8>,
        seen: Vec<Vec<u8>>,
        each: usize,
    },
    Deeds {
        made: Vec<u8>,
        seen: HashMap<Vec<u8>, u8>,
        due: usize,
    },
    Known {
        left: HashMap<(&'static str, Vec<u8>), u32>,
        below: Vec<u8>,
        due: usize,
    },
    Replay {
        now: BTreeSet<Vec<u8>>,
        before: BTreeSet<Vec<u8>>,
        after: BTreeSet<Vec<u8>>,
        carried: BTreeSet<Vec<u8>>,
    },
}

impl State {
    fn of(expected: Expected) -> Self {
        match expected {
            Expected::Book(truth) => Self::Book(truth, Vec::new()),
            Expected::Flood {
                root,
                workers,
                files,
                each,
            } => Self::Flood {
                root,
                seen: vec![vec![0; files]; workers],
                each,
            },
            Expected::Deeds { made, files, each } => Self::Deeds {
                made,
                due: files * each,
                seen: HashMap::new(),
            },
            Expected::Known(left, below) => Self::Known {
                due: left.values().map(|count| *count as usize).sum(),
                left,
                below,
            },
            Expected::Replay(before, after) => Self::Replay {
                now: before.clone(),
                before,
                after,
                carried: BTreeSet::new(),
            },
        }
    }

    fn see(&mut self, line: Line, score: &mut Score) {
        let right = match self {
            Self::Book(_, all) => return all.push(line),
            Self::Flood { root, seen, .. } => life_of(&line.path, root)
                .and_then(|(worker, file)| seen.get_mut(worker)?.get_mut(file))
                .is_some_and(|seen| live(seen, line.kind)),
            Self::Deeds { made, seen, .. } => {
                let is_there = line.path.starts_with(made);
                is_there && live(seen.entry(line.path.clone()).or_default(), line.kind)
            }
            Self::Known { left, below, .. } => {
                let key = (line.kind, line.path);
                let right = match left.get_mut(&key) {
                    Some(count) => {
                        let is_due = *count > 0;
                        *count = count.saturating_sub(1);
                        is_due
                    }
                    // What nothing is known of: the last times and rights of what was made, and git's own files.
                    None if key.0 == "ATTRIB" => {
                        left.contains_key(&("CREATE", key.1.clone())) || key.1.starts_with(below)
                    }
                    None => {
                        key.1.starts_with(below)
                            || key.0 == "DELETE_SELF"
                                && left.contains_key(&("DELETE", key.1.clone()))
                    }
                };
                return score_path(right, (key.0, &key.1), score);
            }
            Self::Replay { now, carried, .. } => replayed(now, carried, &line),
        };
        score_path(right, (line.kind, &line.path), score);
    }

    fn end(self, mut score: Score) -> Score {
        match self {
            Self::Book(truth, all) => {
                let report = truth.compare(&all);
                let count = |wanted: &[&str]| -> usize {
                    let kinds = report.kinds.iter();
                    let kinds = kinds.filter(|(kind, ..)| wanted.contains(kind));
                    kinds.map(|(_, count, _)| count).sum()
                };
                score.expected = report.due;
                score.captured = report.due - count(&["missing"]);
                let wrong = count(&["never happened", "told too often", "told too late"]);
                score.path_right = all.len() - wrong.min(all.len());
                for (kind, _, first) in &report.kinds {
                    score
                        .first
                        .extend(first.iter().take(3).map(|what| format!("{kind}: {what}")));
                }
            }
            Self::Flood { seen, each, .. } => {
                score.expected = seen.iter().map(|seen| seen.len() * each).sum();
                score.captured = seen
                    .iter()
                    .flatten()
                    .map(|seen| seen.count_ones() as usize)
                    .sum();
            }
            Self::Deeds { seen, due, .. } => {
                score.expected = due;
                score.captured = seen.values().map(|seen| seen.count_ones() as usize).sum();
            }
            Self::Known { left, due, .. } => {
                score.expected = due;
                score.captured = due - left.values().map(|count| *count as usize).sum::<usize>();
                let missing = left.iter().filter(|(_, count)| **count > 0).take(3);
                score.first.extend(missing.map(|((kind, path), count)| {
                    format!("missing {count} times: {kind} {}", path.escape_ascii())
                }));
            }
            Self::Replay {
                now, before, after, ..
            } => {
                score.expected = before.symmetric_difference(&after).count();
                let amiss: Vec<_> = now.symmetric_difference(&after).collect();
                score.captured = score.expected.saturating_sub(amiss.len());
                let amiss = amiss.iter().take(3).map(|path| {
                    let is_there = after.contains(*path);
                    format!(
                        "in the tree {is_there}, by the log not so: {}",
                        path.escape_ascii()
                    )
                });
                score.first.extend(amiss);
            }
        }
        score
    }
}

fn score_path(right: bool, (kind, path): (&str, &[u8]), score: &mut Score) {
    if right {
        score.path_right += 1;
    } else if score.first.len() < 5 {
        score
            .first
            .push(format!("did not happen: {kind} {}", path.escape_ascii()));
    }
}

/// Notes one of the things that happen once to a file; whether it had not happened before.
fn live(seen: &mut u8, kind: &str) -> bool {
    let Some(at) = LIFE.iter().position(|known| *known == kind) else {
        return false;
    };
    let is_new = *seen & 1 << at == 0;
    *seen |= 1 << at;
    is_new
}

/// The worker and the number of ROOT/w2/1234.
fn life_of(path: &[u8], root: &[u8]) -> Option<(usize, usize)> {
    let rest = str::from_utf8(path.strip_prefix(root)?).ok()?;
    let (worker, file) = rest.strip_prefix("/w")?.split_once('/')?;
    Some((worker.parse().ok()?, file.parse().ok()?))
}

/// Does to the set of paths what a line says; whether that was possible.
fn replayed(now: &mut BTreeSet<Vec<u8>>, carried: &mut BTreeSet<Vec<u8>>, line: &Line) -> bool {
    match line.kind {
        "CREATE" => now.insert(line.path.clone()),
        "DELETE" => now.remove(&line.path),
        "MOVED_FROM" => {
            carried.clear();
            let below = [&line.path[..], b"/"].concat();
            let taken: Vec<_> = now
                .range(line.path.clone()..)
                .take_while(|path| path.starts_with(&line.path))
                .filter(|path| **path == line.path || path.starts_with(&below))
                .cloned()
                .collect();
            for path in taken {
                now.remove(&path);
                carried.insert(path[line.path.len()..].to_vec());
            }
            !carried.is_empty()
        }
        "MOVED_TO" => {
            let replaced_or_new = std::mem::take(carried);
            let known = !replaced_or_new.is_empty();
            now.extend(
                replaced_or_new
                    .into_iter()
                    .map(|rest| [&line.path[..], &rest].concat()),
            );
            now.insert(line.path.clone());
            known
        }
        // Told after its name may have gone.
        _ => true,
    }
}
