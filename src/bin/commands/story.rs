//! The life of a file as people read it: by day, by process, and what each of these did.
//!
//! What the kernel tells in several events and people call one deed is one row: both sides of a rename,
//! the end of what it replaced, and the three events of a removal.

mod who;

use std::io::{self, Write};

use fsmon::event::{EventType, FileEvent, WallTime};
use fsmon::filters::size::human_size;
use fsmon::log::line::{Gap, LogLine};

use super::look::{BOLD, CLOCK, CYAN, DIM, Look, MAGENTA, clock, day, harmless, in_full, word};
use who::Who;

/// A story that is being told.
pub(crate) struct Story<W> {
    out: W,
    look: Look,
    /// The paths that were asked for.
    roots: Vec<Vec<u8>>,
    has_begun: bool,
    /// The day and the time that were written last.
    day: String,
    time: WallTime,
    who: Option<Who>,
    /// Whether the process has its line.
    is_named: bool,
    /// What it did and was not written yet.
    rows: Vec<Row>,
    fate: Option<Fate>,
}

/// A deed.
#[derive(Clone, Debug)]
struct Row {
    time: WallTime,
    kind: EventType,
    path: Vec<u8>,
    /// Where a rename led.
    to: Option<Vec<u8>>,
    /// Whether that is one of two answers.
    is_adrift: bool,
    /// Whether the rename replaced what had the name.
    has_replaced: bool,
    size: u64,
    /// How often, and when for the last time.
    count: u64,
    last: WallTime,
}

/// What became of the file that was asked for.
enum Fate {
    Here,
    /// It is somewhere else, since when and by whom.
    Moved {
        to: Vec<u8>,
        on: String,
    },
    /// In words.
    Gone(String),
}

impl<W: Write> Story<W> {
    pub(crate) fn new(out: W, look: Look, roots: &[Vec<u8>]) -> Self {
        Self {
            out,
            look,
            roots: roots.to_vec(),
            has_begun: false,
            day: String::new(),
            time: WallTime(i64::MIN),
            who: None,
            is_named: false,
            rows: Vec::new(),
            fate: None,
        }
    }

    /// Goes on with a line that is not older than those before.
    pub(crate) fn take(&mut self, line: &LogLine) -> io::Result<()> {
        self.begin()?;
        match line {
            LogLine::Event(event) => self.take_event(event),
            LogLine::Gap(gap) => self.take_gap(gap),
        }
    }

    /// Ends the story; `exists` says whether the file is there now.
    pub(crate) fn end(&mut self, exists: Option<bool>) -> io::Result<()> {
        self.write_rows(0)?;
        let fate = match self.fate.take() {
            Some(Fate::Moved { to, on }) => {
                Some(Fate::Gone(format!("Moved to {} {on}", in_full(&to))))
            }
            fate => fate,
        };
        let words = match (fate, exists) {
            (Some(Fate::Gone(words)), Some(true)) => {
                format!("{words}\nIt is there again, and no log tells how it came back.")
            }
            (Some(Fate::Gone(words)), _) => words,
            (Some(Fate::Here), Some(false)) => {
                "It is there no more, and no log tells what became of it.".to_owned()
            }
            _ => return self.out.flush(),
        };
        writeln!(self.out)?;
        for line in words
            .lines()
            .flat_map(|line| wrapped(line, self.look.width))
        {
            writeln!(self.out, "{}", self.look.paint(BOLD, &line))?;
        }
        self.out.flush()
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.has_begun {
            return Ok(());
        }
        self.has_begun = true;
        let roots: Vec<String> = self.roots.iter().map(|root| in_full(root)).collect();
        let title = self.look.paint(BOLD, &roots.join(" = "));
        let zone = self.look.paint(DIM, "(times in UTC)");
        writeln!(self.out, "{title}  {zone}")
    }

    fn take_event(&mut self, event: &FileEvent) -> io::Result<()> {
        let who = Who::of(event);
        let is_same_day = self
            .rows
            .last()
            .is_none_or(|row| day(row.time) == day(event.time));
        match &mut self.who {
            Some(known) if is_same_day && known.is(&who) => known.learn(who),
            _ => {
                self.write_rows(0)?;
                self.who = Some(who);
                self.is_named = false;
            }
        }
        fold(event, &mut self.rows);
        self.write_rows(MOST_ROWS)
    }

    fn take_gap(&mut self, gap: &Gap<'_>) -> io::Result<()> {
        self.write_rows(0)?;
        (self.who, self.is_named) = (None, false);
        self.write_day(gap.time)?;
        let mut since = clock(gap.since);
        if day(gap.since) != day(gap.time) {
            since = format!("{} {since}", day(gap.since));
        }
        let cause = harmless(&gap.cause);
        let words = match (cause.strip_prefix(PROCESSES_LOST), gap.lost) {
            (Some(rest), 0..) => format!("{} {PROCESSES_LOST} since {since}{rest}", gap.lost),
            (None, 0..) => format!("{} events lost here since {since}: {cause}", gap.lost),
            _ => format!("events lost here since {since}, nobody knows how many: {cause}"),
        };
        let time = self.look.paint(DIM, &clock(gap.time));
        let mut margin = format!("  {time}  ");
        for line in wrapped(&words, self.look.width.saturating_sub(WHO)) {
            writeln!(self.out, "{margin}{}", self.look.paint(MAGENTA, &line))?;
            margin = " ".repeat(WHO);
        }
        Ok(())
    }

    /// Writes the rows that wait, but for the last `most`.
    fn write_rows(&mut self, most: usize) -> io::Result<()> {
        if self.rows.len() <= most {
            return Ok(());
        }
        let rest = self.rows.split_off(self.rows.len() - most);
        for row in std::mem::replace(&mut self.rows, rest) {
            self.write_day(row.time)?;
            self.write_who(row.time)?;
            self.write_row(&row)?;
            self.note_fate(&row);
        }
        Ok(())
    }

    fn write_day(&mut self, time: WallTime) -> io::Result<()> {
        let day = day(time);
        if day != self.day {
            writeln!(self.out, "\n{}", self.look.paint(BOLD, &day))?;
            self.day = day;
        }
        Ok(())
    }

    fn write_who(&mut self, time: WallTime) -> io::Result<()> {
        let Some(who) = self.who.as_ref().filter(|_| !self.is_named) else {
            return Ok(());
        };
        let shown = self.look.paint(DIM, &clock(time));
        let line = who.line(self.look.width.saturating_sub(WHO), self.look);
        writeln!(self.out, "  {shown}  {line}")?;
        if let Some(program) = who.program_apart(self.look.width.saturating_sub(WHO)) {
            let row = format!("{:<WORD$}{program}", "program");
            writeln!(self.out, "{:ROW$}{}", "", self.look.paint(DIM, &row))?;
        }
        self.is_named = true;
        self.time = time;
        Ok(())
    }

    fn write_row(&mut self, row: &Row) -> io::Result<()> {
        let mut margin = " ".repeat(ROW);
        if row.time.0 - self.time.0 >= SECOND {
            self.time = row.time;
            let time = self.look.paint(DIM, &clock(row.time));
            margin = format!("  {time}{:1$}", "", ROW - 2 - CLOCK);
        }
        let (word, style) = self.word(row);
        let word = self.look.paint(style, word) + &" ".repeat(WORD - word.len());
        let mut after = String::new();
        if row.size > 0 && has_size(row.kind) {
            after = format!(", {}", human_size(row.size));
        }
        if row.has_replaced {
            after += ", in place of what was there";
        }
        if row.count > 1 {
            after += &format!(", {} times", row.count);
            if row.last.0 - row.time.0 >= SECOND {
                after += &format!(" until {}", clock(row.last));
                self.time = row.last;
            }
        }
        let mut pieces = vec![self.name(&row.path)];
        pieces.extend(row.to.as_ref().map(|to| format!(" -> {}", self.name(to))));
        if row.is_adrift {
            after += ", or where a directory above went";
        }
        let is_aside = !after.is_empty();
        pieces.extend(is_aside.then_some(after));
        let text = self.lay_out(&pieces, is_aside);
        writeln!(self.out, "{margin}{word}{text}")
    }

    /// Puts the pieces of a row side by side, those that do not fit on a line of their own; the last may
    /// be an aside.
    fn lay_out(&self, pieces: &[String], is_aside: bool) -> String {
        let room = self.look.width.saturating_sub(ROW + WORD);
        let (mut text, mut column) = (String::new(), 0);
        for (at, piece) in pieces.iter().enumerate() {
            let mut piece = piece.as_str();
            // Behind a name that is too long for any line nothing is gained by another one.
            if (1..=room).contains(&column) && column + piece.chars().count() > room {
                text += &format!("\n{:1$}", "", ROW + WORD);
                piece = piece.trim_start_matches([',', ' ']);
                column = 0;
            }
            column += piece.chars().count();
            let is_aside = is_aside && at + 1 == pieces.len();
            text += &self.look.paint(if is_aside { DIM } else { "" }, piece);
        }
        text
    }

    fn word(&self, row: &Row) -> (&'static str, &'static str) {
        let stays = row.to.as_ref().map(|to| parent(to) == parent(&row.path));
        match row.kind {
            EventType::MovedFrom | EventType::MovedTo if stays == Some(false) => ("moved", CYAN),
            EventType::MovedFrom | EventType::MovedTo if stays.is_some() => ("renamed", CYAN),
            kind => word(kind),
        }
    }

    /// A name, without the directory of the path that was asked for.
    fn name(&self, path: &[u8]) -> String {
        let mut dirs = self.roots.iter().map(|root| parent(root));
        let rest = dirs.find_map(|dir| path.strip_prefix(dir)?.strip_prefix(b"/"));
        let is_root = path == b"/" || self.roots.iter().any(|root| root == b"/");
        in_full(rest.filter(|_| !is_root).unwrap_or(path))
    }

    fn note_fate(&mut self, row: &Row) {
        let by = self.who.as_ref().map(Who::blamed).unwrap_or_default();
        let on = if by.starts_with("while") {
            format!("{by}.")
        } else {
            format!("on {} at {} {by}.", day(row.time), clock(row.time))
        };
        // Where the file is by now, if it was moved.
        let now = match &self.fate {
            Some(Fate::Moved { to, .. }) => Some(to),
            _ => None,
        };
        let mut places = self.roots.iter().chain(now);
        let fate = match &row.to {
            Some(to) if self.roots.contains(to) => Fate::Here,
            Some(to) => {
                let moved = |place: &Vec<u8>| {
                    let rest = place.strip_prefix(row.path.as_slice())?;
                    matches!(rest.first(), None | Some(b'/')).then(|| [to, rest].concat())
                };
                let Some(to) = places.find_map(moved) else {
                    return;
                };
                Fate::Moved { to, on }
            }
            None if !places.any(|place| *place == row.path) => return,
            None => match row.kind {
                EventType::Delete | EventType::DeleteSelf => {
                    let name = (!self.roots.contains(&row.path)).then(|| in_full(&row.path));
                    let name = name.map_or_else(String::new, |name| format!("as {name} "));
                    Fate::Gone(format!("Deleted {name}{on}"))
                }
                EventType::MovedFrom => Fate::Gone(format!("Moved away {on}")),
                _ if self.roots.contains(&row.path) => Fate::Here,
                _ => return,
            },
        };
        self.fate = Some(fate);
    }
}

/// Adds an event to the rows of its process.
fn fold(event: &FileEvent, rows: &mut Vec<Row>) {
    let path = &event.path;
    let other = event.other_path.clone();
    let (from, to) = match (event.kind, other) {
        (EventType::MovedTo, Some(from)) => (from, Some(path.clone())),
        (_, other) => (path.clone(), other),
    };
    let new = Row {
        time: event.time,
        kind: event.kind,
        path: from,
        to,
        is_adrift: event.is_adrift,
        has_replaced: false,
        size: event.file_size,
        count: 1,
        last: event.time,
    };
    let arrived = |row: &Row| row.to.as_ref() == Some(path) && row.time == event.time;
    match event.kind {
        EventType::MovedTo if new.to.is_some() => {
            let is_other_side = |row: &Row| {
                row.kind == EventType::MovedFrom && (&row.path, &row.to) == (&new.path, &new.to)
            };
            match rows.iter_mut().rev().find(|row| is_other_side(row)) {
                Some(row) => row.kind = EventType::MovedTo,
                None => rows.push(new),
            }
        }
        EventType::MoveSelf if rows.iter().any(arrived) => {}
        EventType::DeleteSelf => {
            drop_attributes(event, rows);
            if let Some(row) = rows.iter_mut().rev().find(|row| arrived(row)) {
                row.has_replaced = true;
            } else if !is_deleted(path, rows) {
                rows.push(new);
            }
        }
        EventType::Delete => {
            drop_attributes(event, rows);
            match rows.last_mut().filter(|row| is_removal(row, path)) {
                Some(row) if row.kind == EventType::DeleteSelf => row.kind = EventType::Delete,
                _ => rows.push(new),
            }
        }
        _ => match rows.last_mut() {
            Some(last) if (last.kind, &last.path, &last.to) == (new.kind, &new.path, &new.to) => {
                last.count += 1;
                last.size = new.size;
                last.last = new.time;
            }
            _ => rows.push(new),
        },
    }
}

/// The number of links of a file that ends has changed: that is no news.
fn drop_attributes(event: &FileEvent, rows: &mut Vec<Row>) {
    let is_it = |row: &Row| {
        row.kind == EventType::Attrib && row.path == event.path && row.last == event.time
    };
    if let Some(at) = rows.iter().rposition(is_it) {
        rows[at].count -= 1;
        if rows[at].count == 0 {
            rows.remove(at);
        }
    }
}

/// Whether the last that was told of `path` is that its name went.
fn is_deleted(path: &[u8], rows: &[Row]) -> bool {
    let mut rows = rows.iter().rev();
    let last = rows.find(|row| row.path == path || row.to.as_deref() == Some(path));
    last.is_some_and(|row| row.kind == EventType::Delete)
}

fn is_removal(row: &Row, path: &[u8]) -> bool {
    matches!(row.kind, EventType::Delete | EventType::DeleteSelf) && row.path == path
}

fn has_size(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::Create | EventType::CloseWrite | EventType::Modify | EventType::Delete
    )
}

/// The directory that `path` is in; nothing for the root.
fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &path[..end]
}

/// `text` in lines of at most `width`, cut between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

const SECOND: i64 = 1_000_000_000;
/// Where the name of a process stands, and where its deeds do.
const WHO: usize = 2 + CLOCK + 2;
const ROW: usize = WHO + 2;
/// The words for the deeds are that wide.
const WORD: usize = 12;
/// So many deeds wait for others to be folded into them.
const MOST_ROWS: usize = 64;
/// How the cause begins when processes were lost and not events.
const PROCESSES_LOST: &str = "process records lost";

#[cfg(test)]
mod tests;
