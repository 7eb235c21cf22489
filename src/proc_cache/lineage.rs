//! From whom a process descends: its chain, and the command groups it belongs to.

use std::fmt::Write as _;

use smallvec::SmallVec;

use super::process::{Id, Process, Version, file_name};
use super::record::Comm;
use super::table::{Place, ProcTable, Who};

/// Whether a process is in a command group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Membership {
    /// It is not.
    No,
    /// It may have been at that moment, or may have been another process.
    Perhaps,
    /// It is.
    Yes,
}

impl ProcTable {
    /// Whether `who` or any of its ancestors has or had the comm `group` (cut at 15 bytes) or runs
    /// or ran a program of that file name.
    ///
    /// Each counts with all that it has been by then, dead or not: who execs does not leave its group.
    pub fn membership(&mut self, who: &Who, group: &str) -> Membership {
        let comm = Comm::from(group);
        let named = Named {
            group,
            comm: &comm.text(),
        };
        let first = self.membership_at(who.at, &named);
        let mut others = who.others.iter();
        if others.all(|other| self.membership_at(*other, &named) == first) {
            first
        } else {
            Membership::Perhaps
        }
    }

    fn membership_at(&mut self, at: Place, named: &Named<'_>) -> Membership {
        let mut line: SmallVec<[Id; 16]> = SmallVec::new();
        let mut next = self.place(at).and_then(|(life, _)| life.parent);
        while let Some((id, life)) = next.and_then(|id| Some((id, self.lives.get(id)?))) {
            line.push(id);
            next = life.parent;
        }
        // What ancestors exec'd in the same read of the queue may have been before the event or after.
        line.iter().for_each(|&id| self.stamp(id));
        let Some((life, version)) = self.place(at) else {
            return Membership::No;
        };
        if named.was_name_of(life, version.since) {
            return Membership::Yes;
        }
        let mut best = Membership::No;
        let (mut child, mut until) = (life, life.gone);
        for parent in line.into_iter().filter_map(|id| self.lives.get(id)) {
            // The child's first version is what its parent was then, kept as long as the child.
            let inherited = self.inherited(child);
            if inherited.is_some_and(|version| named.fits(version)) {
                return Membership::Yes;
            }
            best = best.max(named.was_name_by(parent, at, until));
            if best == Membership::Yes {
                return best;
            }
            until = until.min(parent.gone);
            child = parent;
        }
        best
    }

    /// The life of the topmost ancestor of `who`, itself included, that has or had the name of one of the
    /// groups.
    pub fn head_in(&self, who: &Who, groups: &[String]) -> Option<u64> {
        let comms: Vec<_> = groups
            .iter()
            .map(|group| Comm::from(group.as_str()))
            .collect();
        let names = groups.iter().zip(&comms);
        let names: Vec<_> = names.map(|(group, comm)| (group, comm.text())).collect();
        let is_one = |life: &Process, when: u64| {
            names.iter().any(|(group, comm)| {
                let named = Named { group, comm };
                named.was_name_of(life, when)
            })
        };
        let (life, _) = self.place(who.at)?;
        let mut head = is_one(life, who.at.span.to).then_some(life.serial);
        let mut next = life.parent;
        while let Some(life) = next.and_then(|id| self.lives.get(id)) {
            if is_one(life, who.at.span.to) {
                head = Some(life.serial);
            }
            next = life.parent;
        }
        head
    }

    /// Whether the process `pid`, which runs, is an ancestor of `who`.
    pub fn descends_from(&self, who: &Who, pid: u32) -> bool {
        let mut next = self.place(who.at).and_then(|(life, _)| life.parent);
        while let Some(life) = next.and_then(|id| self.lives.get(id)) {
            if life.pid == pid {
                return true;
            }
            next = life.parent;
        }
        false
    }

    /// Whether an ancestor of `who` became something else within the read of the event: then the answer
    /// about a group holds for that event alone.
    pub fn has_moving_ancestors(&self, who: &Who) -> bool {
        let mut next = self.place(who.at).and_then(|(life, _)| life.parent);
        while let Some(life) = next.and_then(|id| self.lives.get(id)) {
            if life.last().since > who.at.span.from {
                return true;
            }
            next = life.parent;
        }
        !who.others.is_empty()
    }

    /// Whether the process is certainly or perhaps in the group: see [`ProcTable::membership`].
    pub fn belongs(&mut self, who: &Who, group: &str) -> bool {
        self.membership(who, group) != Membership::No
    }

    /// [`ProcTable::belongs`] for the process `pid` at `when`.
    pub fn belongs_to(&mut self, pid: u32, when: u64, group: &str) -> bool {
        self.at(pid, when)
            .is_some_and(|who| self.belongs(&who, group))
    }

    /// `pid|comm|user;...` from `who` up to pid 1, or for a kernel thread to kthreadd.
    ///
    /// Each ancestor is named as it was when it gave birth to the next one, so a chain does not
    /// change with what ancestors do later. In a comm or user name the bytes of `|`, `;`, `\` and
    /// control characters are written as `\xNN`, two lower-case hex digits. `0|...|unknown` stands for
    /// generations that were dropped from the middle of a very long line.
    pub fn chain_of(&self, who: &Who) -> String {
        let mut chain = String::with_capacity(128);
        link(&mut chain, who.pid, &who.comm, &who.user);
        let Some((mut child, _)) = self.place(who.at) else {
            return chain;
        };
        while child.pid != 1 && child.ppid != 0 {
            let Some(parent) = child.parent.and_then(|id| self.lives.get(id)) else {
                link(&mut chain, child.ppid, &self.unknown, &self.unknown);
                break;
            };
            if child.cut {
                link(&mut chain, 0, "...", &self.unknown);
            }
            let then = match self.inherited(child) {
                Some(version) if !child.cut => version,
                _ => &parent.versions[parent.index_at(child.born)],
            };
            link(&mut chain, parent.pid, &then.comm, &self.user_of(then.uid));
            child = parent;
        }
        chain
    }

    /// [`ProcTable::chain_of`] for the process `pid` at `when`; empty when it is not known.
    pub fn chain(&self, pid: u32, when: u64) -> String {
        self.at(pid, when)
            .map(|who| self.chain_of(&who))
            .unwrap_or_default()
    }

    fn place(&self, at: Place) -> Option<(&Process, &Version)> {
        let life = self
            .lives
            .get(at.id as Id)
            .filter(|life| life.serial == at.serial)?;
        Some((life, &life.versions[life.index_at(at.since)]))
    }

    /// What the parent was at the birth: the child's own first version, kept as long as the child.
    fn inherited<'a>(&self, child: &'a Process) -> Option<&'a Version> {
        let is_parents = child.birth_seen && !child.of_thread;
        child.versions.first().filter(|_| is_parents)
    }
}

struct Named<'a> {
    group: &'a str,
    comm: &'a str,
}

impl Named<'_> {
    fn fits(&self, version: &Version) -> bool {
        let program = version.exe_name();
        if program == Some(self.group) {
            return true;
        }
        // Of a long name a comm shows the beginning only, which other programs' names may have, too.
        let is_anothers =
            |program: &str| *Comm::from(program).text() == *self.comm && program != self.group;
        let is_cut = self.group.len() > self.comm.len();
        *version.comm == *self.comm && !(is_cut && program.is_some_and(is_anothers))
    }

    /// Whether the process had the name before an event of a descendant that ended at `until`.
    fn was_name_by(&self, life: &Process, at: Place, until: u64) -> Membership {
        let mut dropped = life.dropped.iter().flat_map(|dropped| &dropped.names);
        if dropped.any(|name| **name == *self.comm || file_name(name) == self.group) {
            return Membership::Yes;
        }
        let had = life
            .versions
            .iter()
            .take_while(|had| had.since <= at.span.to)
            .filter(|had| self.fits(had))
            .map(|had| match (at.place, had.stamp.place) {
                _ if had.since <= at.span.from => Membership::Yes,
                (Some(place), from) if from != 0 && place <= from => Membership::No,
                (Some(place), from) if from != 0 && place > had.stamp.upto => Membership::Yes,
                _ if had.since > until => Membership::No,
                _ => Membership::Perhaps,
            });
        had.max().unwrap_or(Membership::No)
    }

    /// Whether the process had the name at any time up to `when`.
    fn was_name_of(&self, life: &Process, when: u64) -> bool {
        let mut seen = life.versions.iter().take_while(|had| had.since <= when);
        let mut dropped = life.dropped.iter().flat_map(|dropped| &dropped.names);
        seen.any(|version| self.fits(version))
            || dropped.any(|name| **name == *self.comm || file_name(name) == self.group)
    }
}

fn link(chain: &mut String, pid: u32, comm: &str, user: &str) {
    if !chain.is_empty() {
        chain.push(';');
    }
    // Writing to a String cannot fail.
    let written = write!(chain, "{pid}|");
    debug_assert!(written.is_ok());
    escape(chain, comm);
    chain.push('|');
    escape(chain, user);
}

fn escape(chain: &mut String, name: &str) {
    for c in name.chars() {
        if c.is_control() || matches!(c, '|' | ';' | '\\') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let written = write!(chain, "\\x{byte:02x}");
                debug_assert!(written.is_ok());
            }
        } else {
            chain.push(c);
        }
    }
}
