//! Tells one step: where it was, for whom it is logged, and what it changes in the tree.

use super::before_loss::BeforeLoss;
use super::enrich::Told;
use super::expand::{self, Step};
use super::found::Found;
use super::locate::Location;
use super::nameless;
use super::parked::{PARKED_AT_MOST, ParkedRecord};
use super::probe::Probe;
use super::select::{Ahead, Hit};
use super::window::{At, Object, Rec};
use super::{Outcome, Pipeline};
use crate::dir_cache::Place;
use crate::event::{EventType, WallTime};
use crate::fid_parser::bits;
use crate::fid_parser::raw::HandleKey;
use crate::proc_cache::{Moment, Part, Span};

/// Whose and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub(super) pid: u32,
    pub(super) span: Span,
    pub(super) wall: WallTime,
    /// Where its record stands, if programs being opened stand in the same queue.
    pub(super) place: Option<u64>,
    /// The bits of its record, if there can be later events among them.
    pub(super) merged: u64,
    /// It is certain that it happened, but not when, so not by whom either.
    pub(super) is_inferred: bool,
    /// It was done to a directory.
    pub(super) is_dir: bool,
    /// The bits of its record that may have happened when a directory above was elsewhere.
    pub(super) adrift: u64,
}

impl Deed {
    /// What is known of when the process did this kind of it.
    pub(super) fn moment(&self, kind: EventType) -> Moment {
        let first = || {
            let mut order = bits::POSSIBLE_ORDER.into_iter();
            order.find(|kind| self.merged & bits::bit_of(*kind) != 0)
        };
        Moment {
            span: self.span,
            place: self.place,
            part: match kind {
                // Nothing happens to an entry before it is made.
                EventType::Create => Part::Whole,
                // Who opens a program to become it is still what it was.
                EventType::Open | EventType::OpenExec if self.merged & bits::OPEN_EXEC != 0 => {
                    Part::Whole
                }
                _ if self.merged == 0 => Part::Whole,
                _ if first() == Some(kind) => Part::First,
                _ => Part::Later,
            },
        }
    }
}

impl Pipeline {
    /// Tells the records of the window up to `end`.
    pub(super) fn tell_until(
        &mut self,
        end: usize,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        self.counts.records += (end - self.window.next) as u64;
        if self.settings.legacy {
            self.window.attach_files();
        }
        if !self.behind_loss.is_empty() {
            self.before_loss = BeforeLoss::of(&self.window);
        }
        for step in expand::order(&self.window, end, &|file| self.names_of(file)) {
            self.tell(step, probe, sink);
        }
        self.window.next = end;
    }

    fn tell(&mut self, step: Step, probe: &mut dyn Probe, sink: &mut dyn FnMut(Outcome<'_>)) {
        let rec = self.window.recs[step.rec as usize];
        let deed = self.deed_of(&rec);
        self.tell_unseen_file_move(&rec, deed, sink);
        if rec.mask & bits::RENAME != 0 {
            self.tell_unseen_move(&rec, deed, sink);
            if !self.overlay_work.is_empty() && self.tell_overlay(&rec, deed, probe, sink) {
                self.keep_tree(&rec, step.bits, deed, probe, sink);
                return;
            }
            self.tell_rename(&rec, deed, probe, sink);
            self.note_file_move(&rec);
        } else if rec.mask & bits::FS_ERROR != 0 {
            self.tell_error(&rec, deed, sink);
        } else {
            if step.bits & bits::CREATE != 0 {
                self.tell_unseen_leave(&rec, deed, sink);
            }
            if let (Object::Dir(dir), true) = (rec.object, step.bits & bits::DELETE != 0) {
                self.tell_unseen_move(&rec, deed, sink);
                self.adrift.set(dir, false);
            }
            self.tell_kinds(&rec, step, deed, probe, sink);
        }
        self.keep_tree(&rec, step.bits, deed, probe, sink);
    }

    pub(super) fn deed_of(&self, rec: &Rec) -> Deed {
        Deed {
            is_dir: rec.mask & bits::ONDIR != 0,
            pid: rec.pid,
            span: self.window.span(rec),
            wall: self.window.wall(rec),
            place: self.window.place(rec),
            merged: if expand::is_merged(rec) { rec.mask } else { 0 },
            is_inferred: false,
            adrift: 0,
        }
    }

    fn tell_kinds(
        &mut self,
        rec: &Rec,
        step: Step,
        deed: Deed,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let ends = step.bits & bits::DELETE_SELF != 0;
        let location = match (rec.object, rec.at) {
            _ if step.over != 0 => {
                let taken = self.window.recs[step.over as usize].to;
                taken.map(|at| {
                    let name = self.window.name(at.name).into();
                    Location::Entry { dir: at.dir, name }
                })
            }
            (Object::File(_), None) if ends && rec.next_same != 0 => {
                self.last_name(rec).or_else(|| self.location_of_file(rec))
            }
            (Object::File(_), None) => self.location_of_file(rec),
            _ if nameless::is_suspect(&self.window, rec) => match self.real_place(rec, probe) {
                Some(place) => Some(place),
                None => return,
            },
            _ => self.location(rec),
        };
        let kinds = step.bits & !self.bits_behind_loss(rec, location.as_ref());
        if let (Object::File(number), None, true) = (rec.object, rec.at, kinds & bits::ATTRIB != 0)
        {
            let Self {
                files,
                tree,
                window,
                replaced,
                ..
            } = self;
            let key = window.files[number as usize].key;
            if let Some((dir, name)) = replaced.bind(rec.pid, key) {
                files.lose(tree, &key, dir, name);
            }
        } else if let (Object::File(number), None, bits::MOVE_SELF) = (rec.object, rec.at, rec.mask)
        {
            let key = self.window.files[number as usize].key;
            self.replaced.moved(rec.pid, key);
        }
        let (mut deed, kinds, paths) = self.true_deed(rec, kinds, location.as_ref(), deed);
        let Some(location) = paths.map(Location::Paths).or(location) else {
            if let Object::File(number) = rec.object {
                self.park(number, kinds, deed);
            }
            return;
        };
        deed.adrift = self.bits_adrift(rec, step, &location);
        if let Object::File(number) = rec.object {
            if let Location::Seen(at) = location {
                self.window.files[number as usize].told = Some(at);
            }
            self.tell_parked(rec, number, &location, deed, probe, sink);
        }
        if kinds & bits::DELETE != 0 {
            self.note_removal(rec, deed);
        }
        if rec.at.is_some() && !self.replaced.places.is_empty() {
            self.replaced.end(rec.pid);
        }
        self.tell_at(rec, kinds, &location, deed, probe, sink);
        if let (Object::File(number), Some(at), true) =
            (rec.object, rec.at, kinds & bits::DELETE != 0)
        {
            self.window.files[number as usize].unnamed_by = Some(rec.place);
            self.lose_name(number, at);
            if deed.merged != 0
                && let Some(known) = self.known_file(number)
            {
                known.unnamed_until = deed.span.to;
            }
        }
    }

    fn park(&mut self, number: u32, kinds: u64, deed: Deed) {
        if self.parked.records.len() >= PARKED_AT_MOST {
            self.parked.expire(&mut self.counts, deed.span.to);
        }
        if self.parked.records.len() >= PARKED_AT_MOST {
            self.counts.unplaced += 1;
            return;
        }
        let record = ParkedRecord { bits: kinds, deed };
        let key = self.window.files[number as usize].key;
        self.parked.records.entry(key).or_default().push(record);
    }

    fn tell_parked(
        &mut self,
        rec: &Rec,
        number: u32,
        location: &Location,
        now: Deed,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        if self.parked.records.is_empty() {
            return;
        }
        let key = self.window.files[number as usize].key;
        for record in self.parked.records.remove(&key).unwrap_or_default() {
            // Parked without knowing the remover, who is here now.
            let deed = Deed {
                wall: record.deed.wall,
                ..if record.deed.pid == 0 {
                    now
                } else {
                    record.deed
                }
            };
            self.tell_at(rec, record.bits, location, deed, probe, sink);
        }
    }

    /// Logs the kinds in `kinds` at one place, for every group that is concerned.
    pub(super) fn tell_at(
        &mut self,
        rec: &Rec,
        kinds: u64,
        location: &Location,
        deed: Deed,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let is_dir = rec.mask & bits::ONDIR != 0;
        let found = self.found(location, is_dir);
        let mut deed = deed;
        let merged = (deed.adrift & kinds != 0).then_some(rec);
        if self.is_location_adrift(location) {
            deed.adrift = u64::MAX;
        }
        let elsewhere = if deed.adrift & kinds == 0 {
            None
        } else {
            self.found_elsewhere(location, merged, is_dir, found.as_ref())
        };
        if let Some(found) = &found {
            self.watch_roots(found, self.name_in(location), kinds, sink);
        } else if elsewhere.is_none() {
            return;
        }
        if self.is_left_out(deed.pid, deed.span.to) {
            self.counts.own += 1;
            return;
        }
        let seen = match location {
            Location::Seen(at) => Some(*at),
            Location::Entry { .. } | Location::Itself(_) | Location::Paths(_) => None,
        };
        // One buffer for the paths of all lines.
        let mut path = std::mem::take(&mut self.path);
        for kind in bits::POSSIBLE_ORDER
            .into_iter()
            .filter(|kind| kinds & bits::bit_of(*kind) != 0)
        {
            let there = elsewhere.as_ref();
            let there = there.filter(|_| deed.adrift & bits::bit_of(kind) != 0);
            for found in found.iter().chain(there) {
                for hit in &found.hits {
                    found.write_path(*hit, self.name_in(location), &mut path);
                    self.log(kind, *hit, &path, None, rec, seen, deed, probe, sink);
                }
            }
        }
        self.path = path;
    }

    fn tell_rename(
        &mut self,
        rec: &Rec,
        deed: Deed,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let is_dir = rec.mask & bits::ONDIR != 0;
        let old = rec
            .at
            .and_then(|at| self.found(&Location::Seen(at), is_dir));
        let new = rec
            .to
            .and_then(|to| self.found(&Location::Seen(to), is_dir));
        if let (Some(old), Some(at)) = (&old, rec.at) {
            self.watch_roots(old, self.window.name(at.name), bits::MOVED_FROM, sink);
        }
        if let (Some(new), Some(to)) = (&new, rec.to) {
            self.watch_roots(new, self.window.name(to.name), bits::MOVED_TO, sink);
        }
        if old.is_some() || new.is_some() {
            self.note_overwriting(rec, deed);
        }
        if let (Object::File(number), Some(to)) = (rec.object, rec.to) {
            self.window.files[number as usize].told = Some(to);
            let Self {
                replaced, window, ..
            } = self;
            let moved = window.files[number as usize].key;
            replaced.note(rec.pid, (to.dir, window.name(to.name)), moved);
        }
        if self.is_left_out(deed.pid, deed.span.to) {
            self.counts.own += 1;
            return;
        }
        let mut deed = deed;
        let mut sides = rec.at.iter().chain(&rec.to);
        if sides.any(|side| self.is_adrift(side.dir)) {
            deed.adrift = u64::MAX;
        }
        let elsewhere = |at: Option<At>, found: &Option<Found>| {
            let entry = Location::Seen(at.filter(|_| deed.adrift != 0)?);
            self.found_elsewhere(&entry, None, is_dir, found.as_ref())
        };
        let (old_elsewhere, new_elsewhere) = (elsewhere(rec.at, &old), elsewhere(rec.to, &new));
        for (kind, here, seen, there) in [
            (EventType::MovedFrom, &old, rec.at, rec.to),
            (EventType::MovedFrom, &old_elsewhere, rec.at, rec.to),
            (EventType::MovedTo, &new, rec.to, rec.at),
            (EventType::MovedTo, &new_elsewhere, rec.to, rec.at),
        ] {
            let (Some(here), Some(at)) = (here, seen) else {
                continue;
            };
            for hit in &here.hits {
                let path = here.path(*hit, self.window.name(at.name));
                let stays = rec.at.map(|at| at.dir) == rec.to.map(|to| to.dir);
                let other = there.and_then(|there| {
                    let beside = stays.then(|| here.beside(*hit, self.window.name(there.name)));
                    beside.flatten().or_else(|| {
                        let is_elsewhere = here.routes.is_none();
                        self.other_side(there, &path, is_elsewhere)
                    })
                });
                self.log(kind, *hit, &path, other, rec, seen, deed, probe, sink);
            }
        }
        // A file that left every watch is known no longer, one that stayed is known by its new name.
        if let (Object::File(number), Some(to), true) =
            (rec.object, rec.to, old.is_some() || new.is_some())
        {
            self.see_file(number, to, rec.mask);
            if let Some(at) = rec.at {
                self.leave_name(number, at);
            }
        }
    }

    /// An error of a filesystem: at the object if its place is known, else at the watched roots on it.
    fn tell_error(&mut self, rec: &Rec, deed: Deed, sink: &mut dyn FnMut(Outcome<'_>)) {
        // It looks at everything that is watched, over and over, and did nothing to what it stumbles upon.
        if deed.pid == self.settings.own_pid {
            return;
        }
        let location = match rec.object {
            Object::File(number) => self.locate_file(number, rec),
            Object::Dir(dir) if !self.tree.is_unknown(dir) => Some(Location::Itself(dir)),
            _ => None,
        };
        let found = location
            .as_ref()
            .and_then(|location| self.found(location, false));
        let Some(found) = found.or_else(|| self.mount_points_of(rec.fs)) else {
            return;
        };
        let entry = location
            .as_ref()
            .and_then(|location| self.entry_of(location));
        let name = entry.map_or_else(Vec::new, |(_, name)| name.to_vec());
        for hit in &found.hits {
            if self.rules.rules[usize::from(hit.rule)]
                .types
                .contains(EventType::FsError)
            {
                self.write(
                    EventType::FsError,
                    *hit,
                    &found.path(*hit, &name),
                    None,
                    0,
                    deed,
                    sink,
                );
            }
        }
    }

    /// Says when a watched path, or a directory on the way to it, comes or goes.
    fn watch_roots(
        &self,
        found: &Found,
        name: &[u8],
        kinds: u64,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let gone = kinds & (bits::DELETE | bits::MOVED_FROM) != 0;
        let back = kinds & (bits::CREATE | bits::MOVED_TO) != 0;
        let Some(routes) = found.routes.as_ref().filter(|_| gone || back) else {
            return;
        };
        for Ahead { rule, next, .. } in routes.ways.iter().flat_map(|route| &route.below) {
            if **next == *name {
                let root = &self.rules.rules[usize::from(*rule)].scope.root;
                sink(if gone {
                    Outcome::RootMayBeGone { root }
                } else {
                    Outcome::RootMayBeBack { root }
                });
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one line has that many sources; a struct would only rename them"
    )]
    fn log(
        &mut self,
        kind: EventType,
        hit: Hit,
        path: &[u8],
        other: Option<Vec<u8>>,
        rec: &Rec,
        seen: Option<At>,
        deed: Deed,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let rule = &self.rules.rules[usize::from(hit.rule)];
        let is_meant = !rule.files_only || rec.mask & bits::ONDIR == 0;
        let wanted = rule.types.contains(kind) && is_meant;
        let (filter, group) = (rule.size, rule.group);
        if !wanted {
            self.counts.left_out.types += 1;
            self.remember(rec, seen);
            return;
        }
        if !self.is_in_group(kind, deed, group) {
            self.counts.left_out.group += 1;
            self.remember(rec, seen);
            return;
        }
        let size = self.size(kind, rec, seen, path, probe);
        if filter.is_some_and(|filter| !filter.matches(size)) {
            self.counts.left_out.size += 1;
            return;
        }
        self.write(kind, hit, path, other, size, deed, sink);
    }

    /// Remembers where a file is of which nobody is told: a later record may carry its handle only.
    fn remember(&mut self, rec: &Rec, seen: Option<At>) {
        if let (Object::File(number), Some(at)) = (rec.object, seen) {
            self.see_file(number, at, rec.mask);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one line has that many sources; a struct would only rename them"
    )]
    pub(super) fn write(
        &mut self,
        kind: EventType,
        hit: Hit,
        path: &[u8],
        other: Option<Vec<u8>>,
        file_size: u64,
        deed: Deed,
        sink: &mut dyn FnMut(Outcome<'_>),
    ) {
        let group = self.rules.rules[usize::from(hit.rule)].group;
        let told = Told {
            kind,
            path,
            other,
            file_size,
        };
        let (event, whose) = self.line(told, deed, group);
        match whose.rule {
            Some(rule) => {
                let event = event.clone();
                sink(Outcome::Rule {
                    rule,
                    event: &event,
                    doer: self.doer(kind, deed),
                });
            }
            None => {
                sink(Outcome::Log {
                    group: &whose.name,
                    event,
                });
                self.counts.told += 1;
            }
        }
    }

    /// The directories of a path, for tests and statistics.
    pub fn is_known(&self, dir: &HandleKey) -> bool {
        self.tree
            .find(dir)
            .is_some_and(|dir| self.tree.place(dir) != Place::Unknown)
    }
}
