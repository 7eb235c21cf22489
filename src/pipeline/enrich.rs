//! Who did it and how large it is: asked for only when a line will be written, once a batch and process.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Pipeline;
use super::probe::Probe;
use super::select::Group;
use super::tell::Deed;
use super::window::{At, Object, Rec};
use crate::event::{Attribution, EventType, FileEvent, WallTime};
use crate::fid_parser::bits;
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
    /// The last line about it: what it says of the process stays for the next one.
    line: FileEvent,
}

/// What a line says beside the process.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) kind: EventType,
    pub(super) path: &'a [u8],
    pub(super) other: Option<Vec<u8>>,
    pub(super) file_size: u64,
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
        let who = procs
            .at_event(pid, moment)
            .or_else(|| procs.probe_proc(Path::new("/proc"), pid, moment.span.from));
        Self {
            line: line_of(who.as_ref(), pid),
            who,
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

    /// The line about a deed, with all that is known of its process, and the group it is for.
    pub(super) fn line(
        &mut self,
        told: Told<'_>,
        deed: Deed,
        group: u16,
    ) -> (&mut FileEvent, &Group) {
        let Self {
            people,
            procs,
            rules,
            settings,
            counts,
            ..
        } = self;
        let whose = &rules.groups[usize::from(group)];
        let person = people.person(procs, deed.pid, deed.moment(told.kind));
        let is_uncertain =
            deed.is_inferred || person.membership(group, deed.place) == Some(Membership::Perhaps);
        let Person {
            who, chain, line, ..
        } = person;
        line.time = deed.wall;
        line.kind = told.kind;
        line.path.clear();
        line.path.extend_from_slice(told.path);
        line.other_path = told.other;
        line.file_size = told.file_size;
        line.is_dir = deed.is_dir;
        line.is_adrift = deed.adrift & bits::bit_of(told.kind) != 0;
        line.job = None;
        line.attribution = match who.as_ref().map(|who| who.attribution) {
            None => Attribution::Unknown,
            Some(Attribution::Exact) if is_uncertain => Attribution::Ambiguous,
            Some(known) => known,
        };
        let chained = settings.chain_always || whose.rule.is_some() || !whose.name.is_global();
        match who.as_ref().filter(|_| chained) {
            Some(who) => {
                let chain = chain.get_or_insert_with(|| procs.chain_of(who).into());
                line.chain.clone_from(chain);
            }
            None if !line.chain.is_empty() => line.chain = Arc::default(),
            None => {}
        }
        match line.attribution {
            Attribution::Exact => {}
            Attribution::Ambiguous => counts.ambiguous += 1,
            Attribution::Unknown => counts.unknown += 1,
        }
        (line, whose)
    }

    /// The process of a deed, as [`Pipeline::line`] found it.
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
        let mut event = line_of(who.as_ref(), pid);
        event.time = time;
        event.kind = kind;
        event.path = path.to_vec();
        if let Some(who) = &who {
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
                let file = &self.window.files[number as usize];
                let (key, is_gone, stamp) = (file.key, file.is_gone, self.stamp);
                let known = match at {
                    Some(at) => self.see_file(number, at, rec.mask),
                    None => self.known_file(number),
                };
                let Some(known) = known else { return 0 };
                if is_gone && is_now {
                    // Not asked: whoever holds a removed file open, be it for a microsecond, moves
                    // its DELETE_SELF behind the DELETE and becomes the one who caused it.
                    return 0;
                }
                if is_now || kind == EventType::MovedFrom && known.size.is_none() && !is_gone {
                    if known.sized_in != stamp {
                        known.sized_in = stamp;
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

/// What a line says of a process, and nothing else yet.
fn line_of(who: Option<&Who>, pid: u32) -> FileEvent {
    let unknown = || Arc::from("unknown");
    FileEvent {
        time: WallTime(0),
        kind: EventType::Create,
        path: Vec::new(),
        pid,
        cmd: who.map_or_else(unknown, |who| who.comm.clone()),
        user: who.map_or_else(unknown, |who| who.user.clone()),
        file_size: 0,
        ppid: who.map_or(0, |who| who.ppid),
        tgid: who.map_or(0, |who| who.tgid),
        chain: Arc::default(),
        exe: who.and_then(|who| who.exe.clone()),
        other_path: None,
        attribution: who.map_or(Attribution::Unknown, |who| who.attribution),
        is_dir: false,
        is_adrift: false,
        job: None,
        inferred: None,
    }
}
