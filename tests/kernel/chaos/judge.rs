//! Holds a log against all that was done: each operation is told exactly, or one of the holes that the
//! log itself names is where it should stand, and nothing else is told.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::lines::Line;
use crate::truth::{Due, Need, Object, Report};

use super::chronicle::{Chronicle, Span, Told};
use super::gaps::{Gap, Gaps};
use super::ledger::{Deed, Doer, Ledger};

/// How a log fares.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) lines: usize,
    /// Lines that had to come.
    pub(crate) expected: usize,
    pub(crate) right: usize,
    /// Merged by the kernel into another line of the same object and type.
    pub(crate) folded: usize,
    pub(crate) in_gaps: usize,
    /// Only the journal tells of the hole: nothing of the group was watched when it was noticed.
    pub(crate) in_journal: usize,
    /// Done while what is watched changed, or by a process that was killed meanwhile.
    pub(crate) unsure: usize,
    pub(crate) ambiguous: usize,
    pub(crate) unknown: usize,
    /// Renames whose other side nobody could place.
    pub(crate) one_sided: usize,
    /// Said to be at one of two places, and of these, told at the wrong one.
    pub(crate) adrift: usize,
    pub(crate) elsewhere: usize,
    /// Of what the conductor itself did.
    pub(crate) own: usize,
}

/// One log and what is known about it.
pub(crate) struct Judge<'a> {
    pub(crate) group: &'a str,
    pub(crate) chronicle: &'a Chronicle,
    pub(crate) ledger: &'a Ledger,
    lines: &'a [Line],
    told: Vec<Told>,
    /// The line of each due.
    at: Vec<Option<usize>>,
    pub(crate) figures: Figures,
    pub(crate) report: Report,
}

type Key<'a> = (&'static str, &'a [u8], Option<&'a [u8]>);

/// What must be told, by what its line says.
type Index<'a> = HashMap<Key<'a>, Vec<usize>>;

fn key_of(due: &Due) -> Key<'_> {
    (due.kind, due.path.as_slice(), due.other.as_deref())
}

/// What something untold can be excused with.
struct Excuses<'g> {
    gaps: &'g Gaps,
    journal: &'g [Gap],
    marks: HashMap<usize, Vec<Mark>>,
    sets: Sets,
}

type Sets = HashMap<(Object, &'static str), Vec<usize>>;

/// Why something need not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    None,
    NotDue,
    Unsure,
    Folded,
    InGap,
    InJournal,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        group: &'a str,
        chronicle: &'a Chronicle,
        ledger: &'a Ledger,
        lines: &'a [Line],
    ) -> Self {
        let mut judge = Self {
            group,
            chronicle,
            ledger,
            lines,
            told: Vec::with_capacity(ledger.dues.len()),
            at: vec![None; ledger.dues.len()],
            figures: Figures::default(),
            report: Report::default(),
        };
        judge.told = ledger
            .dues
            .iter()
            .map(|(deed, due)| judge.told(*deed, due))
            .collect();
        judge
    }

    fn deed(&self, due: usize) -> &'a Deed {
        &self.ledger.deeds[self.ledger.dues[due].0]
    }

    fn doer(&self, due: usize) -> &'a Doer {
        &self.ledger.doers[self.deed(due).doer]
    }

    fn told(&self, deed: usize, due: &Due) -> Told {
        let deed = &self.ledger.deeds[deed];
        let doer = &self.ledger.doers[deed.doer];
        let is_member = self.group == "_global"
            || doer.comm == self.group
            || doer.above.as_deref() == Some(self.group);
        if !is_member {
            return Told::Never;
        }
        if deed.is_half {
            return Told::Unsure;
        }
        let path = Path::new(OsStr::from_bytes(&due.path));
        self.chronicle.told(self.group, path, deed.span)
    }

    /// Everything, for the log whose holes are these and the journal's.
    pub(crate) fn judge(&mut self, journal: &[Gap]) -> Gaps {
        let gaps = Gaps::of(self.lines, self.chronicle);
        let mut index: Index<'a> = HashMap::new();
        for (at, (_, due)) in self.ledger.dues.iter().enumerate() {
            index.entry(key_of(due)).or_default().push(at);
        }
        let adrift = self.assign(&index);
        self.assign_elsewhere(adrift);
        let marks = self.marks();
        self.check_order(&marks);
        let excuses = Excuses {
            gaps: &gaps,
            journal,
            marks,
            sets: self.sets(),
        };
        for due in 0..self.at.len() {
            if self.at[due].is_none() && self.excuse(due, &excuses) == Excuse::None {
                self.take_over(due, &index, &excuses, &mut Vec::new());
            }
        }
        self.count(&excuses);
        gaps.check(self.chronicle, &mut self.report);
        gaps
    }

    /// Finds the operation of each line; left are those that say that they may be at another place, and those that
    /// do not know the other side.
    fn assign(&mut self, index: &Index<'a>) -> Vec<usize> {
        let me = std::process::id();
        let mut adrift = Vec::new();
        for (position, line) in self.lines.iter().enumerate() {
            if line.kind == "GAP" || line.is_inferred {
                continue;
            }
            self.figures.lines += 1;
            if line.pid == me || self.is_nameless(line) {
                self.figures.own += 1;
                continue;
            }
            self.figures.adrift += usize::from(line.is_adrift);
            let key = (line.kind, line.path.as_slice(), line.other.as_deref());
            match index.get(&key) {
                None if line.is_adrift || is_one_sided(line) => adrift.push(position),
                None => {
                    let text = format!("{} {}", line.attribution, line.show());
                    self.report.add("never happened", text);
                }
                Some(dues) if line.is_adrift && self.free_for(line, dues).is_none() => {
                    adrift.push(position);
                }
                Some(dues) => self.assign_one(position, line, dues),
            }
        }
        adrift
    }

    /// Finds operations by the last part of their names for lines that may be at another place.
    fn assign_elsewhere(&mut self, lines: Vec<usize>) {
        let mut free: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, (_, due)) in self.ledger.dues.iter().enumerate() {
            if self.at[at].is_none() {
                let key = (due.kind, last_name(&due.path), self.doer(at).pid);
                free.entry(key).or_default().push(at);
            }
        }
        let (dues, told) = (&self.ledger.dues, &self.told);
        let marks = self.marks();
        for position in lines {
            let line = &self.lines[position];
            let other = line.other.as_deref().map(last_name);
            let caught = self.chronicle.monotonic_of(line.wall());
            let is_sane = self.chronicle.is_clock_sane(caught);
            let fits = |due: &usize| {
                if is_sane && self.deed(*due).span.from > caught + SLEW {
                    return false;
                }
                let is_told = told[*due] != Told::Never;
                let due = &dues[*due].1;
                (line.is_adrift || is_told && due.path == line.path)
                    && (is_one_sided(line) || due.other.as_deref().map(last_name) == other)
            };
            let likely = free.get_mut(&(line.kind, last_name(&line.path), line.pid));
            let is_in_order = |due: &usize| {
                let (before, after) = self.around(*due, &marks);
                before.is_none_or(|before| before < position)
                    && after.is_none_or(|after| position < after)
            };
            let found = likely.and_then(|likely| {
                let in_order = likely.iter().rposition(|due| fits(due) && is_in_order(due));
                let at = in_order.or_else(|| likely.iter().rposition(fits))?;
                Some(likely.remove(at))
            });
            let Some(due) = found else {
                self.report.add("never happened anywhere", line.show());
                continue;
            };
            self.at[due] = Some(position);
            self.figures.elsewhere += usize::from(dues[due].1.path != line.path);
            self.figures.one_sided += usize::from(is_one_sided(line));
        }
    }

    /// Of those that read like it, the operation that a line is taken to be of.
    fn free_for(&self, line: &Line, dues: &[usize]) -> Option<usize> {
        let free = |due: &&usize| self.at[**due].is_none() && self.doer(**due).pid == line.pid;
        let caught = self.chronicle.monotonic_of(line.wall());
        let is_sane = self.chronicle.is_clock_sane(caught);
        // What it was read after, the latest first: of several merged ones the last is told.
        let fits = |due: &&usize| !is_sane || self.deed(**due).span.from <= caught + SLEW;
        let wanted = |due: &&usize| self.told[**due] != Told::Never;
        dues.iter().filter(free).filter(fits).rfind(wanted).copied()
    }

    fn assign_one(&mut self, position: usize, line: &Line, dues: &[usize]) {
        let caught = self.chronicle.monotonic_of(line.wall());
        let is_sane = self.chronicle.is_clock_sane(caught);
        let Some(due) = self.free_for(line, dues) else {
            let why = if !dues.iter().any(|due| self.doer(*due).pid == line.pid) {
                "told of the wrong process"
            } else if dues.iter().all(|due| self.told[*due] == Told::Never) {
                "told though nobody watched"
            } else if dues.iter().any(|due| self.at[*due].is_none()) {
                "told before it happened"
            } else {
                "told too often"
            };
            let times: Vec<String> = dues.iter().map(|due| self.show_due(*due)).collect();
            return self.report.add(
                why,
                format!("{}\n      {}", line.show(), times.join("\n      ")),
            );
        };
        self.at[due] = Some(position);
        let read_by = self.chronicle.caught_by(self.deed(due).span.to);
        if self.ledger.dues[due].1.need == Need::Instead && is_sane && caught > read_by {
            let text = format!("{}\n      {}", line.show(), self.show_due(due));
            self.report.add("told by a name of long before", text);
        }
        let doer = self.doer(due);
        match line.attribution.as_str() {
            "" => {
                let is_right = line.ppid == doer.ppid
                    && line.tgid == doer.pid
                    && line.cmd == doer.comm
                    && line.user == doer.user;
                if !is_right {
                    let text = format!("{} ppid {}, not {doer:?}", line.show(), line.ppid);
                    self.report.add("wrong about who did it", text);
                }
            }
            "ambiguous" => self.figures.ambiguous += 1,
            _ => self.figures.unknown += 1,
        }
    }

    /// Made by a short life whose pid nobody could write down.
    fn is_nameless(&self, line: &Line) -> bool {
        self.ledger.nameless.iter().any(|file| {
            let rest = line.path.strip_prefix(file.as_os_str().as_bytes());
            rest.is_some_and(|rest| rest.first() == Some(&b'.'))
        })
    }

    /// Why a due needs no line.
    fn excuse(&self, due: usize, excuses: &Excuses<'_>) -> Excuse {
        let need = self.ledger.dues[due].1.need;
        if !matches!(need, Need::Must | Need::Some) {
            return Excuse::NotDue;
        }
        match self.told[due] {
            Told::Never => return Excuse::NotDue,
            Told::Unsure => return Excuse::Unsure,
            Told::Must => {}
        }
        if need == Need::Some && self.is_folded(due, &excuses.sets) {
            return Excuse::Folded;
        }
        let span = self.deed(due).span;
        let (from, to) = self.around(due, &excuses.marks);
        // What the kernel merged is told behind the last record that must have come before it, which may be in a hole.
        let kind = self.ledger.dues[due].1.kind;
        let to = to.filter(|_| !TOLD_LATER.contains(&kind));
        let in_journal = |gap: &Gap| gap.is_about(span, self.chronicle) && !excuses.gaps.have(gap);
        if excuses.gaps.cover(from, to, span, self.chronicle) {
            Excuse::InGap
        } else if excuses.journal.iter().any(in_journal) {
            Excuse::InJournal
        } else {
            Excuse::None
        }
    }

    /// The lines between which a due would stand for certain.
    fn around(
        &self,
        due: usize,
        marks: &HashMap<usize, Vec<Mark>>,
    ) -> (Option<usize>, Option<usize>) {
        let marks = &marks[&self.doer(due).line];
        let number = self.deed(due).number;
        let before = marks.partition_point(|mark| mark.number < number);
        let after = marks.partition_point(|mark| mark.number <= number);
        let from = before.checked_sub(1).map(|at| marks[at].last);
        (from, marks.get(after).map(|mark| mark.first))
    }

    /// Gives a due the line of another that reads the same and can do without, or can get another one itself: when
    /// an object takes the name of another, a line does not say which of the two it is about.
    fn take_over(
        &mut self,
        due: usize,
        index: &Index<'a>,
        excuses: &Excuses<'_>,
        asked: &mut Vec<usize>,
    ) -> bool {
        if asked.len() > MOST_ASKED {
            return false;
        }
        asked.push(due);
        let (_, wanted) = &self.ledger.dues[due];
        for other in &index[&key_of(wanted)] {
            let Some(position) = self.at[*other].filter(|_| !asked.contains(other)) else {
                continue;
            };
            let is_same = self.doer(*other).pid == self.doer(due).pid;
            let caught = self.chronicle.monotonic_of(self.lines[position].wall());
            let span = self.deed(due).span;
            let fits = !self.chronicle.is_clock_sane(caught)
                || span.from <= caught + SLEW && caught <= self.chronicle.caught_by(span.to);
            if !is_same || !fits {
                continue;
            }
            self.at[*other] = None;
            self.at[due] = Some(position);
            if self.excuse(*other, excuses) != Excuse::None
                || self.take_over(*other, index, excuses, asked)
            {
                return true;
            }
            self.at[*other] = Some(position);
            self.at[due] = None;
        }
        self.can_be_folded(due, index, excuses, asked)
    }

    /// Whether another record of the same object, into which it can have been merged, can get a line.
    fn can_be_folded(
        &mut self,
        due: usize,
        index: &Index<'a>,
        excuses: &Excuses<'_>,
        asked: &mut Vec<usize>,
    ) -> bool {
        let Due {
            object, kind, need, ..
        } = self.ledger.dues[due].1;
        if need != Need::Some {
            return false;
        }
        excuses.sets[&(object, kind)].iter().any(|other| {
            let has_line = if self.at[*other].is_some() {
                self.takes_a_later(*other, index)
            } else {
                self.told[*other] == Told::Must
                    && !asked.contains(other)
                    && self.take_over(*other, index, excuses, asked)
            };
            has_line && self.is_folded(due, &excuses.sets)
        })
    }

    /// Changes the line of a due for the last one that reads the same, if what that is taken to be of can be told by
    /// the earlier one.
    fn takes_a_later(&mut self, due: usize, index: &Index<'a>) -> bool {
        let Some(early) = self.at[due] else {
            return false;
        };
        let caught = self.chronicle.monotonic_of(self.lines[early].wall());
        let others = &index[&key_of(&self.ledger.dues[due].1)];
        let fits = |other: &&usize| {
            self.doer(**other).pid == self.doer(due).pid
                && self.at[**other].is_some_and(|late| late > early)
                && self.deed(**other).span.from <= caught + SLEW
        };
        let last = others
            .iter()
            .filter(fits)
            .max_by_key(|other| self.at[**other]);
        if let Some(other) = last.copied() {
            self.at[due] = self.at[other].replace(early);
        }
        last.is_some()
    }

    /// Looks at what was not told.
    fn count(&mut self, excuses: &Excuses<'_>) {
        for due in 0..self.ledger.dues.len() {
            let need = self.ledger.dues[due].1.need;
            if !matches!(need, Need::Must | Need::Some) {
                continue;
            }
            let told = self.told[due];
            if told == Told::Must {
                self.figures.expected += 1;
            }
            if told == Told::Must && self.at[due].is_some() {
                self.figures.right += 1;
                continue;
            }
            match self.excuse(due, excuses) {
                Excuse::NotDue => {}
                Excuse::Unsure => self.figures.unsure += 1,
                Excuse::Folded => self.figures.folded += 1,
                Excuse::InGap => self.figures.in_gaps += 1,
                Excuse::InJournal => self.figures.in_journal += 1,
                Excuse::None => {
                    let (from, to) = self.around(due, &excuses.marks);
                    let mut text =
                        format!("{} between lines {from:?} and {to:?}", self.show_due(due));
                    if need == Need::Some {
                        let key = &self.ledger.dues[due].1;
                        for other in &excuses.sets[&(key.object, key.kind)] {
                            let line = self.at[*other].map(|at| self.lines[at].show());
                            text += &format!("\n      or {} {line:?}", self.show_due(*other));
                        }
                    }
                    for at in from.unwrap_or(0)..to.unwrap_or(0).min(from.unwrap_or(0) + SHOWN) {
                        text += &format!("\n        {at} {}", self.lines[at].show());
                    }
                    self.report.add("missing", text);
                }
            }
        }
    }

    fn show_due(&self, due: usize) -> String {
        let Deed { span, number, .. } = *self.deed(due);
        let begin = self.chronicle.runs[0].spawned;
        let millis = |at: u64| at.wrapping_sub(begin).cast_signed() as f64 / 1e6;
        let near = Span {
            from: span.from.saturating_sub(NEAR),
            to: span.to.saturating_add(NEAR),
        };
        let faults: Vec<String> = self
            .chronicle
            .faults
            .iter()
            .filter(|(_, when)| when.meets(near))
            .map(|(fault, when)| {
                format!("{fault:?} {:.0}..{:.0}", millis(when.from), millis(when.to))
            })
            .collect();
        let (
            _,
            Due {
                kind,
                path,
                other,
                need,
                ..
            },
        ) = &self.ledger.dues[due];
        let other = other.as_ref().map(|other| other.escape_ascii().to_string());
        format!(
            "{need:?} {:?} {kind} \"{}\" {other:?} as {number} of {} at {:.3}..{:.3} ms, {faults:?}",
            self.told[due],
            path.escape_ascii(),
            self.doer(due).pid,
            millis(span.from),
            millis(span.to),
        )
    }

    /// The lines, by those who did it, that stand where they must: of what the kernel never merges.
    fn marks(&self) -> HashMap<usize, Vec<Mark>> {
        let mut marks: HashMap<usize, Vec<Mark>> = HashMap::new();
        for doer in &self.ledger.doers {
            marks.entry(doer.line).or_default();
        }
        for (due, at) in self.at.iter().enumerate() {
            let Some(position) = *at else { continue };
            let (deed, Due { kind, need, .. }) = &self.ledger.dues[due];
            if *need != Need::Must || !matches!(*kind, "CREATE" | "MOVED_FROM" | "MOVED_TO") {
                continue;
            }
            let number = self.ledger.deeds[*deed].number;
            let marks = marks.entry(self.doer(due).line).or_default();
            match marks.last_mut().filter(|mark| mark.number == number) {
                Some(mark) => {
                    mark.first = mark.first.min(position);
                    mark.last = mark.last.max(position);
                }
                None => marks.push(Mark {
                    number,
                    first: position,
                    last: position,
                }),
            }
        }
        marks
    }

    fn check_order(&mut self, marks: &HashMap<usize, Vec<Mark>>) {
        for marks in marks.values() {
            for pair in marks.windows(2).filter(|pair| pair[0].last > pair[1].first) {
                let (late, early) = (&self.lines[pair[0].last], &self.lines[pair[1].first]);
                let text = format!("{}\n      behind {}", late.show(), early.show());
                self.report
                    .add("not in the order in which it happened", text);
            }
        }
    }

    /// What may be merged, by object and type.
    fn sets(&self) -> Sets {
        let mut sets = Sets::new();
        for (at, (_, due)) in self.ledger.dues.iter().enumerate() {
            if matches!(due.need, Need::Some | Need::Instead) {
                sets.entry((due.object, due.kind)).or_default().push(at);
            }
        }
        sets
    }

    /// Whether another record of the same object and type was still unread, so that it went into that.
    fn is_folded(&self, due: usize, sets: &Sets) -> bool {
        let key = &self.ledger.dues[due].1;
        let from = self.deed(due).span.from;
        sets[&(key.object, key.kind)].iter().any(|other| {
            let deed = self.deed(*other);
            match self.at[*other] {
                Some(position) => {
                    let caught = self.chronicle.monotonic_of(self.lines[position].wall());
                    !self.chronicle.is_clock_sane(caught) || caught + SLEW >= from
                }
                // Told, if at all, where nobody watched at that moment.
                None => {
                    self.told[*other] != Told::Must
                        && deed.span.from <= from
                        && self.chronicle.caught_by(deed.span.to.min(from)) >= from
                }
            }
        })
    }
}

/// Where in the log an operation stands for certain.
struct Mark {
    number: u32,
    first: usize,
    last: usize,
}

/// A rename of which a line tells one side only, though the other has to be known as well.
fn is_one_sided(line: &Line) -> bool {
    line.other.is_none() && matches!(line.kind, "MOVED_FROM" | "MOVED_TO")
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Kinds of which a merged one is told at the place of a later record.
const TOLD_LATER: [&str; 5] = [
    "CLOSE_WRITE",
    "DELETE",
    "DELETE_SELF",
    "ATTRIB",
    "MOVE_SELF",
];

/// What the two clocks may drift apart in a run, in nanoseconds.
pub(crate) const SLEW: u64 = 20_000_000;
/// How many lines that read the same may change hands for one that is missing.
const MOST_ASKED: usize = 40;
/// How many lines are shown around one that is missing.
const SHOWN: usize = 12;
/// What is shown around a difference.
const NEAR: u64 = 1_500_000_000;
