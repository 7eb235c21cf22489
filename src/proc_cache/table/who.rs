//! Who it was: which version of which life an event belongs to.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::{Hole, ProcTable};
use crate::event::Attribution;
use crate::proc_cache::marker::{self, Mark, Moment, Span, Stop};
use crate::proc_cache::process::{Id, Process, Traits, UID_UNKNOWN, Version};
use crate::proc_cache::record::Comm;

/// An exit of an ordinary process is over by then, and its pid can be another's.
const EXIT_LASTS: u64 = 50_000_000;

/// A process as it was at an event.
#[derive(Clone, Debug)]
pub struct Who {
    /// The process.
    pub pid: u32,
    /// Its thread group, the same: fanotify names processes, not threads.
    pub tgid: u32,
    /// The process that forked it, also when that has died since.
    pub ppid: u32,
    /// Its name, at most 15 bytes.
    pub comm: Arc<str>,
    /// Path of its program, seen from its own root directory.
    pub exe: Option<Arc<str>>,
    /// Name of its effective user, the number when it has none, or `unknown`.
    pub user: Arc<str>,
    /// How sure this is.
    pub attribution: Attribution,
    pub(in crate::proc_cache) at: Place,
    /// What else it may have been.
    pub(in crate::proc_cache) others: SmallVec<[Place; 1]>,
    /// The process stayed like this until the event had been read.
    pub lasts: bool,
    /// From which to which place of the event queue this is the same.
    places: (u64, u64),
}

impl Who {
    /// A number that no other process ever has.
    pub fn life(&self) -> u64 {
        self.at.serial
    }

    /// Whether the answer is the same for another event of that process at the place `place` that
    /// was read together with the one it was asked for.
    pub fn holds_at(&self, place: Option<u64>) -> bool {
        place.is_none_or(|place| (self.places.0..=self.places.1).contains(&place))
    }
}

/// Which version of which life a [`Who`] was made from.
#[derive(Clone, Copy, Debug)]
pub(in crate::proc_cache) struct Place {
    pub(in crate::proc_cache) id: Id,
    pub(in crate::proc_cache) serial: u64,
    pub(in crate::proc_cache) since: u64,
    /// When the event can have been.
    pub(in crate::proc_cache) span: Span,
    /// Where it stands in the queue.
    pub(in crate::proc_cache) place: Option<u64>,
}

/// The opening of a program by `pid`, read by the time `by`.
#[derive(Debug)]
pub(super) struct Opened {
    pid: u32,
    by: u64,
    mark: Mark,
}

impl ProcTable {
    /// The process `pid` as it was at `when`: the newest of what was known by then.
    ///
    /// Right where the time is known; for an event read in a batch see [`ProcTable::at_event`].
    pub fn at(&self, pid: u32, when: u64) -> Option<Who> {
        let (id, early) = match self.lives.born_by(pid, when) {
            Some(id) => (id, false),
            // Nothing is known so early: the first that is known is the likeliest.
            None => (self.lives.lives(pid).last()?.0, true),
        };
        let life = self.lives.get(id)?;
        if self.reused_unseen(life, when) {
            return None;
        }
        let index = life.index_at(when);
        let early = early || life.versions[index].since > when;
        Some(self.who(
            id,
            life,
            index,
            early,
            Span {
                from: when,
                to: when,
            },
        ))
    }

    /// The process that caused an event of `pid`, told by the OPEN_EXEC events that stand before and
    /// behind it; all that was read together has to be known by [`ProcTable::exec_seen`] first.
    pub fn at_event(&mut self, pid: u32, moment: Moment) -> Option<Who> {
        let span = moment.span;
        let Some(newest) = self.lives.born_by(pid, span.to) else {
            return self.at(pid, span.to);
        };
        if self.reused_unseen(self.lives.get(newest)?, span.to) {
            return None;
        }
        if !self.fresh.is_empty() {
            self.deliver(false);
        }
        self.stamp(newest);
        let lives = self.candidates(newest, span.from);
        let mut line: SmallVec<[Stop<'_>; 4]> = SmallVec::new();
        let mut places: SmallVec<[(Id, usize); 4]> = SmallVec::new();
        for &id in &lives {
            let life = self.lives.get(id)?;
            let (low, high) = (life.index_at(span.from), life.index_at(span.to));
            for (index, version) in life.versions.iter().enumerate().take(high + 1).skip(low) {
                let is_birth = index == low && !line.is_empty();
                line.push(Stop {
                    version,
                    ppid: life.ppid,
                    is_birth,
                });
                places.push((id, index));
            }
        }
        let pick = marker::pick(&line, moment);
        let (id, index) = places[pick.index];
        let life = self.lives.get(id)?;
        let early = life.versions[index].since > span.to;
        let torn = life.dropped.as_ref();
        let doubtful = pick.is_doubtful || early || torn.is_some_and(|torn| torn.until > span.from);
        let who = self.who(id, life, index, doubtful, span);
        let of = |at: usize| {
            let (id, index) = places[at];
            let life = self.lives.get(id)?;
            let place = Place {
                id,
                serial: life.serial,
                since: life.versions[index].since,
                span,
                place: moment.place,
            };
            Some(place)
        };
        let (first, last) = pick.possible;
        let possible = (first..=last).filter(|_| pick.is_doubtful);
        let others = possible.filter(|at| *at != pick.index).filter_map(of);
        Some(Who {
            others: others.collect(),
            at: of(pick.index)?,
            places: pick.places,
            lasts: pick.lasts,
            ..who
        })
    }

    /// The lives of a pid that an event after `from` can belong to, the oldest first: the newest one,
    /// and those before it, if it was born so late.
    fn candidates(&self, newest: Id, from: u64) -> SmallVec<[Id; 2]> {
        let mut lives: SmallVec<[Id; 2]> = smallvec![newest];
        let mut life = self.lives.get(newest);
        while let Some(older) = life
            .filter(|life| life.born > from)
            .and_then(|life| life.older)
        {
            life = self.lives.get(older);
            if life.is_none_or(|life| life.gone.saturating_add(EXIT_LASTS) < from) {
                break;
            }
            lives.insert(0, older);
        }
        lives
    }

    /// Whether the pid may have got a life that we know nothing of, its birth being lost.
    fn reused_unseen(&self, life: &Process, when: u64) -> bool {
        !life.alive()
            && self
                .holes
                .iter()
                .any(|hole| hole.to >= life.gone && hole.from <= when)
    }

    fn who(&self, id: Id, life: &Process, index: usize, doubtful: bool, span: Span) -> Who {
        let version = &life.versions[index];
        let nameless = version.traits.has(Traits::NAMELESS);
        let doubtful = doubtful
            || life.provisional
            || version.uid == UID_UNKNOWN
            || version.doubtful()
            || marker::unsettled(version, span.from)
            || self.in_hole(version.since, span);
        Who {
            pid: life.pid,
            tgid: life.pid,
            ppid: life.ppid,
            comm: Arc::clone(&version.comm),
            exe: version.exe.clone(),
            user: self.user_of(version.uid),
            attribution: match (nameless, doubtful) {
                (true, _) => Attribution::Unknown,
                (false, true) => Attribution::Ambiguous,
                (false, false) => Attribution::Exact,
            },
            at: Place {
                id,
                serial: life.serial,
                since: version.since,
                span,
                place: None,
            },
            others: SmallVec::new(),
            places: (0, u64::MAX),
            lasts: true,
        }
    }

    pub(in crate::proc_cache) fn user_of(&self, uid: u32) -> Arc<str> {
        if uid == UID_UNKNOWN {
            return Arc::clone(&self.unknown);
        }
        self.users.of(uid)
    }

    /// Whether records are missing that might have changed a version before the event.
    fn in_hole(&self, since: u64, span: Span) -> bool {
        let hole =
            |hole: &Hole| span.to >= hole.from && span.from < hole.mended && since <= hole.to;
        self.holes.iter().any(hole)
    }

    /// An OPEN_EXEC event of `pid` stands at `place` of the queue and opened a file of this name.
    ///
    /// Places begin at 1. `is_merged` when the kernel added it to an older record of the same file.
    pub fn exec_seen(&mut self, pid: u32, name: &[u8], span: Span, place: u64, is_merged: bool) {
        let mark = Mark {
            name: self.comms.share(name),
            comm: Comm::new(name),
            from: span.from,
            by: span.to,
            place,
            is_merged,
        };
        self.fresh.push(Opened {
            pid,
            by: span.to,
            mark,
        });
    }

    /// Hands the OPEN_EXEC events to the lives that they belong to: all of them before anything is
    /// asked, and to those that go on when nothing was.
    fn deliver(&mut self, only_living: bool) {
        for opened in self.fresh.drain(..) {
            let id = self.lives.born_by(opened.pid, opened.by);
            let Some(life) = id.and_then(|id| self.lives.get_mut(id)) else {
                continue;
            };
            if life.alive() || !only_living {
                life.marks.get_or_insert_default().push(opened.mark);
            }
        }
    }

    /// Everything that was read is told: OPEN_EXEC events of processes that have ended since are of
    /// no use any more.
    pub fn all_told(&mut self) {
        self.deliver(true);
    }

    /// Finds the execs of the OPEN_EXEC events that are known of a life.
    pub(in crate::proc_cache) fn stamp(&mut self, id: Id) {
        let life = self.lives.get_mut(id);
        let Some(mut marks) = life.and_then(|life| life.marks.take()) else {
            return;
        };
        let lives = self.candidates(id, marks.since().unwrap_or(0));
        let versions: SmallVec<[&Version; 8]> = lives
            .iter()
            .filter_map(|&id| self.lives.get(id))
            .flat_map(|life| &life.versions)
            .collect();
        let found = marks.matched(&versions);
        drop(versions);
        let mut found = found.into_iter().peekable();
        let mut at = 0;
        for id in lives {
            let Some(life) = self.lives.get_mut(id) else {
                continue;
            };
            for version in &mut life.versions {
                if let Some((_, stamp)) = found.next_if(|(index, _)| *index == at) {
                    version.stamp = stamp;
                }
                at += 1;
            }
        }
        if let Some(life) = self.lives.get_mut(id) {
            life.marks = Some(marks);
        }
    }
}
