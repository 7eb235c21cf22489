//! A process as people read it: its name, its user, and where it came from.

use fsmon::event::{Attribution, FileEvent, WallTime};

use crate::commands::look::{BOLD, DIM, Look, clock, day, harmless};

/// Who did something.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pid: u32,
    cmd: String,
    user: String,
    ppid: u32,
    /// The executable, unless the name of the process says as much.
    program: Option<String>,
    /// `bash 4100 (alice)`, the parent first; the user where it is another than that of the one before.
    ancestors: Vec<String>,
    attribution: Attribution,
    /// Between which times it happened, if nobody saw it.
    unseen: Option<String>,
}

impl Who {
    pub(super) fn of(event: &FileEvent) -> Self {
        let program = event.exe.as_deref();
        let program = program.filter(|exe| !is_told_by(exe, &event.cmd));
        Self {
            pid: event.pid,
            cmd: harmless(&event.cmd),
            user: harmless(&event.user),
            ppid: event.ppid,
            program: program.map(harmless),
            ancestors: ancestors(&event.chain),
            attribution: event.attribution,
            unseen: event
                .inferred
                .map(|since| format!("between {} and {}", moment(since), moment(event.time))),
        }
    }

    /// Whether both are the same process, doing one thing after another.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_chain_same = self.ancestors == other.ancestors
            || self.ancestors.is_empty()
            || other.ancestors.is_empty();
        // What was found out in one go was written a line after the other.
        is_chain_same
            && self.unseen.is_some() == other.unseen.is_some()
            && (self.pid, self.ppid, self.attribution) == (other.pid, other.ppid, other.attribution)
            && (&self.cmd, &self.user, &self.program) == (&other.cmd, &other.user, &other.program)
    }

    /// Takes over what the same process is known to have come from.
    pub(super) fn learn(&mut self, other: Self) {
        if self.ancestors.is_empty() {
            self.ancestors = other.ancestors;
        }
    }

    /// `by rm 5120 as root`
    pub(super) fn blamed(&self) -> String {
        match &self.unseen {
            Some(times) => format!("while nobody recorded, {times}"),
            None => format!("by {}", self.shortly()),
        }
    }

    /// `rm 5120 as root`
    fn shortly(&self) -> String {
        let (before, cmd, after) = self.name();
        before + &cmd + &after
    }

    /// What can be said in `width` columns.
    pub(super) fn line(&self, width: usize, look: Look) -> String {
        let (before, cmd, after) = self.name();
        let room = width.saturating_sub(self.shortly().chars().count());
        let program = self.program_beside(width);
        let origin = self.origin(room - program.chars().count().min(room));
        let aside = look.paint(DIM, &(origin + &program));
        format!("{before}{}{after}{aside}", look.paint(BOLD, &cmd))
    }

    /// The executable, if it does not fit into the line.
    pub(super) fn program_apart(&self, width: usize) -> Option<&str> {
        let program = self.program.as_deref();
        program.filter(|_| self.program_beside(width).is_empty())
    }

    /// The executable, if it fits into the line behind all ancestors.
    fn program_beside(&self, width: usize) -> String {
        let program = self.program.as_ref();
        let program = program.map_or_else(String::new, |program| format!("  ({program})"));
        let whole = self.shortly() + &self.origin(usize::MAX) + &program;
        if whole.chars().count() > width {
            return String::new();
        }
        program
    }

    /// The name of the process, and what stands before and behind it.
    fn name(&self) -> (String, String, String) {
        if let Some(times) = &self.unseen {
            return (
                "while nobody recorded, ".to_owned() + times,
                String::new(),
                String::new(),
            );
        }
        let before = match self.attribution {
            Attribution::Exact => "",
            Attribution::Ambiguous => "perhaps ",
            Attribution::Unknown => "an unknown process",
        };
        let before = before.to_owned();
        match (self.attribution, self.pid) {
            (Attribution::Unknown, 0) => (before, String::new(), String::new()),
            (Attribution::Unknown, pid) => (before, String::new(), format!(" {pid}")),
            (_, pid) => (before, self.cmd.clone(), format!(" {pid} as {}", self.user)),
        }
    }

    /// The ancestors that fit into `width` columns.
    fn origin(&self, width: usize) -> String {
        let Some(parent) = self.ancestors.first() else {
            return match self.ppid {
                0 => String::new(),
                ppid => format!(", from process {ppid}"),
            };
        };
        let mut text = format!(", from {parent}");
        for (at, ancestor) in self.ancestors.iter().enumerate().skip(1) {
            let is_last = at + 1 == self.ancestors.len();
            let rest = if is_last { 0 } else { CUT.chars().count() };
            let next = ancestor.chars().count() + " < ".len();
            if text.chars().count() + next + rest > width {
                return text + CUT;
            }
            text += &format!(" < {ancestor}");
        }
        text
    }
}

/// Whether the name of the process leaves no doubt about its executable.
fn is_told_by(exe: &str, cmd: &str) -> bool {
    exe.rsplit_once('/')
        .is_some_and(|(dir, name)| name == cmd && USUAL.contains(&dir))
}

fn ancestors(chain: &str) -> Vec<String> {
    let mut links = chain.split(';').map(|link| link.splitn(3, '|'));
    let own = links.next().and_then(|mut link| link.nth(2));
    let mut user = own.unwrap_or_default();
    let mut ancestors = Vec::new();
    for mut link in links {
        let (Some(pid), Some(cmd)) = (link.next(), link.next()) else {
            continue;
        };
        let mut text = format!("{cmd} {pid}");
        if let Some(next) = link.next().filter(|next| *next != user) {
            text += &format!(" ({next})");
            user = next;
        }
        ancestors.push(harmless(&text));
    }
    ancestors
}

fn moment(time: WallTime) -> String {
    format!("{} {}", day(time), clock(time))
}

const CUT: &str = " < …";
/// Where a program stands that needs no mention.
const USUAL: [&str; 4] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
