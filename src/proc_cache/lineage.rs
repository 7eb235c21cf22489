//! From whom a process descends: its chain, and the command groups it belongs to.

use std::fmt::Write as _;

use super::process::{Id, Process, Version, file_name};
use super::record::Comm;
use super::table::{Place, ProcTable, Who};

impl ProcTable {
    /// Whether `who` or any of its ancestors has or had the comm `group` (cut at 15 bytes) or runs
    /// or ran a program of that file name.
    ///
    /// Each counts with all that it has been, dead or not: who execs does not leave its group.
    pub fn belongs(&self, who: &Who, group: &str) -> bool {
        let comm = Comm::from(group);
        let named = Named {
            group,
            comm: &comm.text(),
        };
        let Some((life, version)) = self.place(who.at) else {
            return false;
        };
        if named.was_name_of(life, version.since) {
            return true;
        }
        let mut child = life;
        while let Some(parent) = child.parent.and_then(|id| self.lives.get(id)) {
            // The child's first version is what its parent was then, kept as long as the child.
            if self
                .inherited(child)
                .is_some_and(|version| named.fits(version))
                || named.was_name_of(parent, who.at.when)
            {
                return true;
            }
            child = parent;
        }
        false
    }

    /// [`ProcTable::belongs`] for the process `pid` at `when`.
    pub fn belongs_to(&self, pid: u32, when: u64, group: &str) -> bool {
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
        child.versions.first().filter(|_| child.birth_seen)
    }
}

struct Named<'a> {
    group: &'a str,
    comm: &'a str,
}

impl Named<'_> {
    fn fits(&self, version: &Version) -> bool {
        *version.comm == *self.comm || version.exe_name() == Some(self.group)
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
