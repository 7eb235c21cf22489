//! From the lines of the journal to what each watch has recorded, and where it has holes. Values only.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::event::WallTime;
use crate::filters::scope::{is_at_or_below, trim_slashes};
use crate::log::journal::{Change, Changed};
use crate::log::written::Written;

/// What the journal holds, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A line that stands where it belongs.
    Line(Box<Written>),
    /// Lines are missing or were changed here.
    Break,
}

/// How the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A daemon records, and this is now.
    Running(WallTime),
    /// No daemon records. If the journal does not end with a STOP, this is when recording is last known.
    Silent(WallTime),
}

/// All that the journal tells.
#[derive(Debug, Default)]
pub struct Account {
    /// Each watched path of each group.
    pub stories: Vec<Story>,
    /// When the clock was set, and by how many nanoseconds.
    pub clock: Vec<(WallTime, i64)>,
    /// What was done to the logs by others, and what `clean` did.
    pub logs: Vec<LogChange>,
    /// What was compared afterwards where nothing, or not everything, was recorded.
    pub compared: Vec<Comparison>,
}

/// What lay below a watched path, compared with what had to lie there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The watched path.
    pub path: Vec<u8>,
    /// How many changes were found that nobody saw.
    pub count: u64,
    /// Whether all was there that it goes by.
    pub is_whole: bool,
    between: (WallTime, WallTime),
}

impl Comparison {
    /// Whether it is about what was not recorded then.
    pub fn is_about(&self, piece: &Piece) -> bool {
        let is_unseen = matches!(
            piece.state,
            State::Stopped(_) | State::Died | State::Lost(..)
        );
        is_unseen && piece.from < self.between.1 && piece.to > self.between.0
    }
}

/// What was recorded of one path for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The group.
    pub group: String,
    /// The watched path.
    pub path: Vec<u8>,
    /// The settings last in force, a JSON object.
    pub settings: String,
    /// From the first moment that it was watched on, without a break in time.
    pub pieces: Vec<Piece>,
    /// Why there is nothing after the last piece; `None` when recording goes on.
    pub after: Option<State>,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its beginning.
    pub from: WallTime,
    /// Its end.
    pub to: WallTime,
    /// How the record is there.
    pub state: State,
}

/// How the record is over a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All that the kernel reports is there.
    Complete,
    /// Events were lost, -1 for nobody knows how many.
    Lost(i64, String),
    /// Process records were lost: who did something may be missing, and with it events of a command group.
    Doers(i64, String),
    /// Lines wait in the memory of the daemon for a disk that cannot be written.
    Held,
    /// No daemon ran: it was stopped, and why.
    Stopped(String),
    /// No daemon ran: it ended without saying so.
    Died,
    /// Nobody asked for it.
    Unasked,
    /// What is mounted at a place cannot be watched, or not wholly.
    Short(Vec<u8>, String),
    /// The journal does not tell: it is broken.
    Untold,
    /// It was recorded, but the log does not hold it any more.
    Gone(String),
}

/// Something that happened to the file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChange {
    /// When it was noticed.
    pub time: WallTime,
    /// The file name of the log.
    pub log: String,
    /// What was done, `None` when `clean` did it.
    pub how: Option<String>,
    /// The inode of the file that the log was, 0 when unknown.
    pub inode: u64,
    sizes: (u64, u64),
}

impl LogChange {
    /// What others did, as it is found out at `time`.
    pub fn noticed(time: WallTime, changed: Changed) -> Self {
        Self {
            time,
            how: Some(changed.how.name().to_owned()),
            inode: changed.inode,
            sizes: (changed.before, changed.after),
            log: changed.log,
        }
    }

    /// Whether the file that the log was may lie under another name.
    pub fn is_elsewhere(&self) -> bool {
        self.how
            .as_deref()
            .is_some_and(|how| how != Change::Cut.name())
            && self.inode != 0
    }

    /// How large the log was.
    pub fn before(&self) -> u64 {
        self.sizes.0
    }
}

/// Tells from the journal what is complete.
pub fn account(items: &[Item], end: End) -> Account {
    let mut teller = Teller::default();
    let mut last = WallTime(i64::MIN);
    for (at, item) in items.iter().enumerate() {
        match item {
            Item::Break => teller.end_all(last, &State::Untold),
            Item::Line(line) => {
                teller.line(line, &items[at + 1..], last);
                last = line.time;
            }
        }
    }
    teller.finish(end, last)
}

type Key = (String, Vec<u8>);

#[derive(Default)]
struct Teller {
    told: BTreeMap<Key, Told>,
    /// Watches in force: since when.
    open: BTreeMap<Key, WallTime>,
    holes: Vec<Hole>,
    /// Mount points that cannot be watched wholly: since when, and why.
    short: BTreeMap<Vec<u8>, (WallTime, String)>,
    is_running: bool,
    /// Since when lines wait for a disk.
    held: Option<WallTime>,
    clock: Vec<(WallTime, i64)>,
    logs: Vec<LogChange>,
    compared: Vec<Comparison>,
}

#[derive(Default)]
struct Told {
    settings: String,
    pieces: Vec<Piece>,
    /// Since when it is not in force, and why.
    ended: Option<(WallTime, State)>,
}

struct Hole {
    from: WallTime,
    to: WallTime,
    state: State,
}

impl Teller {
    fn line(&mut self, line: &Written, later: &[Item], before: WallTime) {
        match line.event.as_str() {
            "START" => {
                if self.is_running {
                    let alive = last_alive(later).unwrap_or(before);
                    let whole = self.held.map_or(alive, |held| alive.min(held));
                    self.end_all(whole, &State::Died);
                }
                self.held = None;
                self.is_running = true;
            }
            "STOP" => {
                self.is_running = false;
                self.held = None;
                let why = line.reason.clone().unwrap_or_default();
                self.end_all(line.time, &State::Stopped(why));
            }
            "ADD" => {
                if let Some(key) = key_of(line) {
                    self.begin(key, line);
                }
            }
            "REMOVE" => {
                if let Some(key) = key_of(line) {
                    self.end(&key, line.time, &State::Unasked);
                }
            }
            "GAP" => self.gap(line),
            "HELD" => self.held = line.since,
            "WRITTEN" => self.held = None,
            "INFERRED" => self.compared.extend(comparison_of(line)),
            "CLOCK" => self.clock.push((line.time, line.step_ns.unwrap_or(0))),
            "SHORT" => {
                if let Some(path) = &line.path {
                    let why = line.cause.clone().unwrap_or_default();
                    let from = line.since.unwrap_or(line.time).min(line.time);
                    // It was short before, for another reason.
                    self.accepted(path, from);
                    self.short.insert(path.clone(), (from, why));
                }
            }
            "WHOLE" => {
                if let Some(path) = &line.path {
                    self.accepted(path, line.time);
                }
            }
            "CLEAN" | "LOG" => self.logs.extend(change_of(line)),
            _ => {}
        }
    }

    fn begin(&mut self, key: Key, line: &Written) {
        let told = self.told.entry(key.clone()).or_default();
        if let Some(settings) = &line.watch {
            told.settings.clone_from(settings);
        }
        if let Some((since, state)) = told.ended.take() {
            told.pieces.push(Piece {
                from: since,
                to: line.time.max(since),
                state,
            });
        }
        self.open.entry(key).or_insert(line.time);
    }

    fn end(&mut self, key: &Key, at: WallTime, why: &State) {
        if let Some(from) = self.open.remove(key) {
            let told = self.told.entry(key.clone()).or_default();
            let to = at.max(from);
            told.pieces.push(Piece {
                from,
                to,
                state: State::Complete,
            });
            told.ended = Some((to, why.clone()));
        }
    }

    fn end_all(&mut self, at: WallTime, why: &State) {
        for key in self.open.keys().cloned().collect::<Vec<_>>() {
            self.end(&key, at, why);
        }
        for path in self.short.keys().cloned().collect::<Vec<_>>() {
            self.accepted(&path, at);
        }
    }

    fn accepted(&mut self, point: &[u8], at: WallTime) {
        if let Some((from, why)) = self.short.remove(point) {
            self.holes.push(Hole {
                from,
                to: at.max(from),
                state: State::Short(point.to_vec(), why),
            });
        }
    }

    fn gap(&mut self, line: &Written) {
        let cause = line.cause.clone().unwrap_or_default();
        // It is the time between two runs, which is told by the START.
        if cause == "downtime" {
            return;
        }
        let lost = line.lost.unwrap_or(-1);
        let state = if cause.starts_with("process records lost") {
            State::Doers(lost, cause)
        } else {
            State::Lost(lost, cause)
        };
        self.holes.push(Hole {
            from: line.since.unwrap_or(line.time).min(line.time),
            to: line.time,
            state,
        });
    }

    fn finish(mut self, end: End, last: WallTime) -> Account {
        match end {
            End::Running(now) => {
                // Recording goes on; only the telling ends.
                let open = self.open.clone();
                self.end_all(now.max(last), &State::Complete);
                if let Some(held) = self.held {
                    self.holes.push(Hole {
                        from: held,
                        to: now.max(last),
                        state: State::Held,
                    });
                }
                for key in open.keys() {
                    if let Some(told) = self.told.get_mut(key) {
                        told.ended = None;
                    }
                }
            }
            End::Silent(known) => {
                let known = known.max(last);
                let whole = self.held.map_or(known, |held| known.min(held));
                self.end_all(whole, &State::Died);
            }
        }
        self.holes.sort_by_key(|hole| hole.from);
        let holes = &self.holes;
        let stories = self.told.into_iter().map(|((group, path), told)| Story {
            pieces: with_holes(&told.pieces, holes, &path, &told.settings),
            after: told.ended.map(|(_, state)| state),
            settings: told.settings,
            group,
            path,
        });
        Account {
            stories: stories.collect(),
            clock: self.clock,
            compared: self.compared,
            logs: without_cleans(self.logs),
        }
    }
}

fn comparison_of(line: &Written) -> Option<Comparison> {
    Some(Comparison {
        path: line.path.clone()?,
        count: line.count?,
        is_whole: line.whole?,
        between: (line.since?, line.until?),
    })
}

fn key_of(line: &Written) -> Option<Key> {
    Some((line.cmd.clone()?, line.path.clone()?))
}

/// When the run before this START is known to have been alive: its own GAP tells.
fn last_alive(later: &[Item]) -> Option<WallTime> {
    let lines = later.iter().map_while(|item| match item {
        Item::Line(line) if line.event != "START" && line.event != "STOP" => Some(line),
        _ => None,
    });
    lines
        .filter(|line| line.event == "GAP" && line.cause.as_deref() == Some("downtime"))
        .find_map(|line| line.since)
}

fn change_of(line: &Written) -> Option<LogChange> {
    Some(LogChange {
        time: line.time,
        log: line.log.clone()?,
        how: (line.event == "LOG").then(|| line.how.clone().unwrap_or_default()),
        inode: line.inode.unwrap_or(0),
        sizes: (line.before?, line.after?),
    })
}

/// `clean` makes a log shorter as well; what it did is told by its own line.
fn without_cleans(changes: Vec<LogChange>) -> Vec<LogChange> {
    let is_clean = |change: &LogChange| {
        change.how.is_some()
            && changes.iter().any(|other| {
                other.how.is_none() && other.log == change.log && other.sizes == change.sizes
            })
    };
    let kept = changes.iter().filter(|change| !is_clean(change));
    kept.cloned().collect()
}

/// Puts the holes that concern a watch into its pieces.
fn with_holes(pieces: &[Piece], holes: &[Hole], path: &[u8], settings: &str) -> Vec<Piece> {
    let holes = || holes.iter().filter(|hole| concerns(hole, path, settings));
    let mut cut = Vec::new();
    for piece in pieces {
        if piece.state != State::Complete {
            cut.push(piece.clone());
            continue;
        }
        let mut from = piece.from;
        for hole in holes().filter(|hole| hole.from <= piece.to && hole.to >= piece.from) {
            let (begin, end) = (hole.from.max(from), hole.to.min(piece.to));
            if end < from {
                // It lies in one that has been told.
                continue;
            }
            if begin > from {
                cut.push(Piece {
                    from,
                    to: begin,
                    state: State::Complete,
                });
            }
            cut.push(Piece {
                from: begin.min(end),
                to: end,
                state: hole.state.clone(),
            });
            from = from.max(end);
        }
        let is_whole = from == piece.from;
        if from < piece.to || (is_whole && piece.from == piece.to) {
            cut.push(Piece {
                from,
                to: piece.to,
                state: State::Complete,
            });
        }
    }
    cut
}

fn concerns(hole: &Hole, path: &[u8], settings: &str) -> bool {
    #[derive(Deserialize)]
    struct Reach {
        recursive: Option<bool>,
    }
    let State::Short(point, _) = &hole.state else {
        return true;
    };
    let reach: Option<Reach> = serde_json::from_str(settings).ok();
    // Settings that cannot be read must not hide a hole.
    let is_recursive = reach.is_none_or(|reach| reach.recursive == Some(true));
    is_at_or_below(path, trim_slashes(point))
        || (is_recursive && is_at_or_below(point, trim_slashes(path)))
}

#[cfg(test)]
mod tests;
