//! Who did it and how large it is: asked for only when a line will be written, once a batch and process.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Pipeline;
use super::probe::Probe;
use super::window::{At, Object, Rec};
use crate::event::{Attribution, EventType, FileEvent};
use crate::monitored::GroupName;
use crate::proc_cache::{ProcTable, Who};

/// What was already found out about the processes of the batch at hand.
#[derive(Debug, Default)]
pub(super) struct People {
    when: u64,
    known: HashMap<u32, Person>,
}

#[derive(Debug)]
struct Person {
    who: Who,
    chain: Option<Arc<str>>,
    groups: SmallVec<[(u16, bool); 2]>,
}

impl People {
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    fn person(&mut self, procs: &mut ProcTable, pid: u32, when: u64) -> &mut Person {
        if self.when != when {
            self.when = when;
            self.known.clear();
        }
        self.known.entry(pid).or_insert_with(|| Person {
            who: procs.identify(pid, when),
            chain: None,
            groups: SmallVec::new(),
        })
    }
}

impl Pipeline {
    /// Whether the process of a record belongs to a group.
    pub(super) fn is_in_group(&mut self, pid: u32, when: u64, number: u16) -> bool {
        let group = &self.rules.groups[usize::from(number)];
        if group.is_global() {
            return true;
        }
        let person = self.people.person(&mut self.procs, pid, when);
        if let Some((_, belongs)) = person.groups.iter().find(|(known, _)| *known == number) {
            return *belongs;
        }
        let belongs = self.procs.belongs_to(pid, when, group.as_str());
        person.groups.push((number, belongs));
        belongs
    }

    /// Fills in the fields about the process.
    pub(super) fn name_process(&mut self, event: &mut FileEvent, pid: u32, when: u64, group: u16) {
        let chained = self.settings.chain_always
            || !self
                .rules
                .groups
                .get(usize::from(group))
                .is_some_and(GroupName::is_global);
        let person = self.people.person(&mut self.procs, pid, when);
        event.pid = pid;
        event.cmd = person.who.comm.clone();
        event.user = person.who.user.clone();
        event.ppid = person.who.ppid;
        event.tgid = person.who.tgid;
        event.exe = person.who.exe.clone();
        event.attribution = person.who.attribution;
        event.chain = if chained {
            let procs = &self.procs;
            person
                .chain
                .get_or_insert_with(|| procs.chain(pid, when).into())
                .clone()
        } else {
            Arc::default()
        };
        match event.attribution {
            Attribution::Exact => {}
            Attribution::Ambiguous => self.counts.ambiguous += 1,
            Attribution::Unknown => self.counts.unknown += 1,
        }
    }

    /// The size to be logged: what it is now for what made or changed the object, else the last one known.
    pub(super) fn size(
        &mut self,
        kind: EventType,
        rec: &Rec,
        at: Option<At>,
        path: &[u8],
        probe: &mut dyn Probe,
    ) -> u64 {
        let is_now = matches!(
            kind,
            EventType::Create
                | EventType::Modify
                | EventType::CloseWrite
                | EventType::Attrib
                | EventType::MovedTo
        );
        match rec.object {
            Object::File(number) => {
                let key = self.window.files[number as usize].key;
                let Self {
                    files,
                    tree,
                    window,
                    stamp,
                    ..
                } = self;
                let known = match at {
                    Some(at) => Some(files.see(tree, &key, at.dir, window.name(at.name))),
                    None => files.find_mut(&key),
                };
                let Some(known) = known else { return 0 };
                if is_now || kind == EventType::MovedFrom && known.size.is_none() {
                    if known.sized_in != *stamp {
                        known.sized_in = *stamp;
                        let now = probe.size_of(Some(&key), path);
                        known.now = now.unwrap_or(0);
                        known.size = now.or(known.size);
                    }
                    if is_now {
                        return known.now;
                    }
                }
                known.size.unwrap_or(0)
            }
            Object::Dir(dir) if is_now => {
                probe.size_of(Some(&self.tree.key(dir)), path).unwrap_or(0)
            }
            Object::None if is_now => probe.size_of(None, path).unwrap_or(0),
            Object::Dir(_) | Object::None => 0,
        }
    }
}
