//! Who did it and how large it is: asked for only when a line will be written, once a batch and process.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Pipeline;
use super::probe::Probe;
use super::tell::Deed;
use super::window::{At, Object, Rec};
use crate::event::{Attribution, EventType, FileEvent, WallTime};
use crate::proc_cache::{Membership, Moment, Part, ProcTable, Span, Who};

/// What was already found out about the processes of the batch at hand.
#[derive(Debug)]
pub(super) struct People {
    span: Span,
    known: HashMap<u32, Person>,
    /// Those of events that were merged into an older record, where that makes a difference.
    later: HashMap<(u32, Part), Person>,
}

impl Default for People {
    fn default() -> Self {
        Self {
            span: Span { from: 0, to: 0 },
            known: HashMap::new(),
            later: HashMap::new(),
        }
    }
}

#[derive(Debug)]
struct Person {
    who: Option<Who>,
    chain: Option<Arc<str>>,
    groups: SmallVec<[InGroup; 2]>,
}

/// Whether somebody is in a group.
#[derive(Clone, Copy, Debug)]
struct InGroup {
    group: u16,
    membership: Membership,
    /// This was found out for the event at this place alone.
    only_at: Option<Option<u64>>,
}

impl Person {
    fn at(procs: &mut ProcTable, pid: u32, moment: Moment) -> Self {
        Self {
            who: procs
                .at_event(pid, moment)
                .or_else(|| procs.probe_proc(Path::new("/proc"), pid, moment.span.from)),
            chain: None,
            groups: SmallVec::new(),
        }
    }

    fn membership(&self, group: u16, place: Option<u64>) -> Option<Membership> {
        let holds = |known: &&InGroup| {
            known.group == group && known.only_at.is_none_or(|only| only == place)
        };
        self.groups.iter().find(holds).map(|known| known.membership)
    }

    fn holds_at(&self, moment: Moment) -> bool {
        self.who
            .as_ref()
            .is_none_or(|who| who.holds_at(moment.place))
    }
}

impl People {
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.later.clear();
    }

    fn person(&mut self, procs: &mut ProcTable, pid: u32, moment: Moment) -> &mut Person {
        if self.span != moment.span {
            self.span = moment.span;
            self.forget();
        }
        let whole = Moment {
            part: Part::Whole,
            ..moment
        };
        let known = self
            .known
            .entry(pid)
            .or_insert_with(|| Person::at(procs, pid, whole));
        if !known.holds_at(moment) {
            *known = Person::at(procs, pid, whole);
        }
        let lasts = known.who.as_ref().is_none_or(|who| who.lasts);
        if moment.part == Part::Whole || lasts {
            return known;
        }
        let later = self
            .later
            .entry((pid, moment.part))
            .or_insert_with(|| Person::at(procs, pid, moment));
        if !later.holds_at(moment) {
            *later = Person::at(procs, pid, moment);
        }
        later
    }
}

/// The process of an event, for whoever has to know more of it than stands in the line.
#[derive(Debug)]
pub struct Doer<'a> {
    procs: &'a mut ProcTable,
    who: Option<Who>,
    pid: u32,
    own_pid: u32,
}

impl Doer<'_> {
    /// A number that no other process ever has, as far as it is known at all.
    pub fn life(&self) -> u64 {
        let unknown = UNKNOWN_LIVES + u64::from(self.pid);
        self.who.as_ref().map_or(unknown, Who::life)
    }

    /// That of its topmost ancestor, itself included, in one of the command groups.
    pub fn head(&mut self, groups: &[String]) -> u64 {
        let head = self.who.as_ref();
        let head = head.and_then(|who| self.procs.head_in(who, groups));
        head.unwrap_or_else(|| self.life())
    }

    /// Whether it is in a command group, or may be.
    pub fn is_in(&mut self, group: &str) -> bool {
        let who = self.who.as_ref();
        who.is_some_and(|who| self.procs.belongs(who, group))
    }

    /// Whether it is the recorder or was started by it.
    pub fn is_ours(&mut self) -> bool {
        let who = self.who.as_ref();
        self.pid == self.own_pid
            || who.is_some_and(|who| self.procs.descends_from(who, self.own_pid))
    }
}

/// Processes that are not known have numbers from here on.
const UNKNOWN_LIVES: u64 = 1 << 63;

impl Pipeline {
    /// Whether the process of a deed belongs to a group.
    pub(super) fn is_in_group(&mut self, kind: EventType, deed: Deed, number: u16) -> bool {
        let group = &self.rules.groups[usize::from(number)];
        if group.members.is_empty() {
            return true;
        }
        let person = self
            .people
            .person(&mut self.procs, deed.pid, deed.moment(kind));
        if let Some(known) = person.membership(number, deed.place) {
            return known != Membership::No;
        }
        let (membership, only_at) = match &person.who {
            Some(who) => {
                let moving = self.procs.has_moving_ancestors(who);
                let found = group.members.iter();
                let found = found.map(|member| self.procs.membership(who, member)).max();
                (
                    found.unwrap_or(Membership::No),
                    moving.then_some(deed.place),
                )
            }
            None => (Membership::No, None),
        };
        person.groups.retain(|known| known.group != number);
        person.groups.push(InGroup {
            group: number,
            membership,
            only_at,
        });
        membership != Membership::No
    }

    /// Fills in the fields about the process.
    pub(super) fn name_process(&mut self, event: &mut FileEvent, deed: Deed, group: u16) {
        let told = self.rules.groups.get(usize::from(group));
        let chained = self.settings.chain_always
            || told.is_none_or(|told| told.rule.is_some() || !told.name.is_global());
        let moment = deed.moment(event.kind);
        let person = self.people.person(&mut self.procs, deed.pid, moment);
        event.pid = deed.pid;
        let Some(who) = &person.who else {
            event.cmd = "unknown".into();
            event.user = "unknown".into();
            event.attribution = Attribution::Unknown;
            self.counts.unknown += 1;
            return;
        };
        event.cmd = who.comm.clone();
        event.user = who.user.clone();
        event.ppid = who.ppid;
        event.tgid = who.tgid;
        event.exe = who.exe.clone();
        event.attribution = who.attribution;
        let is_uncertain =
            deed.is_inferred || person.membership(group, deed.place) == Some(Membership::Perhaps);
        if is_uncertain && event.attribution == Attribution::Exact {
            event.attribution = Attribution::Ambiguous;
        }
        if chained {
            let procs = &self.procs;
            let chain = person
                .chain
                .get_or_insert_with(|| procs.chain_of(who).into());
            event.chain = chain.clone();
        }
        match event.attribution {
            Attribution::Exact => {}
            Attribution::Ambiguous => self.counts.ambiguous += 1,
            Attribution::Unknown => self.counts.unknown += 1,
        }
    }

    /// The process of a deed, as [`Pipeline::name_process`] found it.
    pub(super) fn doer(&mut self, kind: EventType, deed: Deed) -> Doer<'_> {
        let person = self
            .people
            .person(&mut self.procs, deed.pid, deed.moment(kind));
        Doer {
            who: person.who.clone(),
            pid: deed.pid,
            own_pid: self.settings.own_pid,
            procs: &mut self.procs,
        }
    }

    /// An event that no record tells of, by a process as it is at that moment on the wall clock and on
    /// CLOCK_MONOTONIC.
    pub fn describe(
        &mut self,
        kind: EventType,
        path: &[u8],
        pid: u32,
        (time, when): (WallTime, u64),
    ) -> (FileEvent, Doer<'_>) {
        let known = self.procs.at(pid, when);
        let who = known.or_else(|| self.procs.probe_proc(Path::new("/proc"), pid, when));
        let unknown: Arc<str> = "unknown".into();
        let mut event = FileEvent {
            time,
            kind,
            path: path.to_vec(),
            pid,
            cmd: unknown.clone(),
            user: unknown,
            file_size: 0,
            ppid: 0,
            tgid: 0,
            chain: Arc::default(),
            exe: None,
            other_path: None,
            attribution: Attribution::Unknown,
            is_dir: false,
            job: None,
        };
        if let Some(who) = &who {
            event.cmd = who.comm.clone();
            event.user = who.user.clone();
            event.ppid = who.ppid;
            event.tgid = who.tgid;
            event.exe = who.exe.clone();
            event.attribution = who.attribution;
            event.chain = self.procs.chain_of(who).into();
        }
        let doer = Doer {
            procs: &mut self.procs,
            who,
            pid,
            own_pid: self.settings.own_pid,
        };
        (event, doer)
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
                let is_gone = window.files[number as usize].is_gone;
                if is_gone && is_now {
                    // Not asked: whoever holds a removed file open, be it for a microsecond, moves
                    // its DELETE_SELF behind the DELETE and becomes the one who caused it.
                    return 0;
                }
                if is_now || kind == EventType::MovedFrom && known.size.is_none() && !is_gone {
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
