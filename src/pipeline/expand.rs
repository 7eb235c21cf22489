//! From records to single events, in an order in which they can have happened.
//!
//! The kernel adds the bits of a later event to a record that is still unread when process, name
//! and object are the same; the record keeps its old position. So bits that end something stand
//! too early: `CREATE|DELETE|ONDIR t` comes before what happened inside `t`, and a CLOSE_WRITE of
//! the process that opened a file before the MODIFY of the one that wrote to it. They are told
//! behind the last record that must have come before them.

use hashbrown::HashMap;

use super::nameless;
use super::names_then::{KnownNames, NamesThen};
use super::window::{At, Object, Rec, Window};
use crate::dir_cache::NodeId;
use crate::fid_parser::bits;

/// One record, or a part of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) rec: u32,
    pub(super) bits: u64,
    /// Those of the bits that stand where another record says that they happened.
    pub(super) placed: u64,
    /// The rename that took the last name of an object which ends here; 0 when it was not one.
    pub(super) over: u32,
}

/// Bits of a record that are told at another record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moved {
    spot: Spot,
    /// Among what moves to one spot: what lies in a directory ends before that.
    level: u32,
    /// The end of its use, of the object, of its name.
    rank: u8,
    rec: u32,
    bits: u64,
    /// What the record at that spot says is when it happened, and not only that it was not before.
    is_exact: bool,
    /// The rename that took the last name of the object, as in a [`Step`].
    over: u32,
}

impl Moved {
    fn to(spot: Spot, rec: u32, bits: u64) -> Self {
        Self {
            spot,
            level: 0,
            rank: 0,
            rec,
            bits,
            is_exact: false,
            over: 0,
        }
    }

    fn step(&self) -> Option<Step> {
        let step = Step::in_its_place(self.rec, self.bits)?;
        Some(Step {
            placed: if self.is_exact { self.bits } else { 0 },
            over: self.over,
            ..step
        })
    }
}

/// A place in the order of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    rec: u32,
    /// Behind that record, or just before its DELETE.
    behind: bool,
}

/// Puts the records from `window.next` to `end` in order.
///
/// `names` are those that a file is known to have before that.
pub(super) fn order(window: &Window, end: usize, names: &KnownNames<'_>) -> Vec<Step> {
    let moved = all_moved(window, end, names);
    let first = window.next as u32;
    let mut taken = vec![
        0;
        if moved.is_empty() {
            0
        } else {
            end - window.next
        }
    ];
    for part in &moved {
        taken[(part.rec - first) as usize] |= part.bits;
    }
    let mut steps = Vec::with_capacity(end - window.next + 2 * moved.len());
    let mut moved = moved.into_iter().peekable();
    for index in first..end as u32 {
        let taken = taken.get((index - first) as usize).copied().unwrap_or(0);
        let own = window.recs[index as usize].mask & !taken;
        let mut told = 0;
        while let Some(part) = moved.next_if(|part| {
            part.spot
                <= Spot {
                    rec: index,
                    behind: false,
                }
        }) {
            if told == 0 {
                told = own & !bits::DELETE;
                steps.extend(Step::in_its_place(index, told));
            }
            steps.extend(part.step());
        }
        steps.extend(Step::in_its_place(index, own & !told));
        while let Some(part) = moved.next_if(|part| part.spot.rec <= index) {
            steps.extend(part.step());
        }
    }
    steps
}

impl Step {
    fn in_its_place(rec: u32, bits: u64) -> Option<Self> {
        (bits & !bits::ONDIR != 0).then_some(Self {
            rec,
            bits,
            placed: 0,
            over: 0,
        })
    }
}

fn all_moved(window: &Window, end: usize, names: &KnownNames<'_>) -> Vec<Moved> {
    let mut view = View {
        window,
        names: NamesThen::new(window, end, names),
        end: end as u32,
        inside: last_use_of_removed(window, end),
    };
    view.follow_removals();
    let mut moved = Vec::new();
    for index in window.next as u32..view.end {
        let rec = &window.recs[index as usize];
        if nameless::is_suspect(window, rec) && !view.names.is_called_so(rec) {
            let named = view
                .later_of_same(rec)
                .find(|(_, later)| later.mask & bits::CREATE != 0);
            let spot = named.map(|(rec, _)| Spot { rec, behind: true });
            moved.extend(spot.map(|spot| Moved::to(spot, index, rec.mask)));
            continue;
        }
        let late =
            rec.mask & (bits::DELETE | bits::CLOSE_WRITE | bits::DELETE_SELF | bits::MOVE_SELF);
        if late == 0 || rec.mask & bits::RENAME != 0 {
            continue;
        }
        if rec.at.is_none() && rec.mask & bits::MOVE_SELF != 0 && is_merged(rec) {
            let rename = view.rename_of_move(rec);
            let spot = rename.map(|rec| Spot { rec, behind: true });
            moved.extend(spot.map(|spot| Moved::to(spot, index, bits::MOVE_SELF)));
        }
        if rec.at.is_none() && rec.mask & bits::DELETE_SELF != 0 {
            let bits = rec.mask & (bits::DELETE_SELF | bits::ATTRIB);
            moved.extend(view.end_of_object(index, rec).map(|(spot, over)| Moved {
                level: view.level_of(rec),
                rank: 1,
                over,
                ..Moved::to(spot, index, bits)
            }));
        }
        if rec.at.is_some() && is_merged(rec) {
            if late & bits::CLOSE_WRITE != 0 {
                let spot = view.last_use(rec);
                moved.extend(spot.map(|spot| Moved::to(spot, index, bits::CLOSE_WRITE)));
            }
            if late & bits::DELETE != 0 {
                let spot = Some(view.spot_of_delete(index)).filter(|spot| spot.rec > index);
                moved.extend(spot.map(|spot| Moved {
                    level: view.level_of(rec),
                    // What has another name has not ended.
                    rank: if spot.behind { 2 } else { 0 },
                    is_exact: view.is_own_end(rec, spot),
                    ..Moved::to(spot, index, bits::DELETE)
                }));
            }
        }
    }
    moved.sort_unstable();
    moved
}

pub(super) fn is_merged(rec: &Rec) -> bool {
    rec.was_split || (rec.mask & !bits::ONDIR).count_ones() > 1
}

/// Whether everything in `rec` happened before anything in `other`: the queue was seen empty between
/// the two, and the kernel adds nothing to a record that has been read.
pub(super) fn is_over_before(window: &Window, rec: &Rec, other: &Rec) -> bool {
    window.span(other).from >= window.span(rec).to
}

fn is_only_an_end(rec: &Rec) -> bool {
    rec.mask & !bits::ONDIR == bits::DELETE_SELF
}

/// Whether `other` says that the last who had the object of `remover` open closed it: that was after
/// the removal of its name, which does not wait for it.
fn is_last_close(remover: &Rec, other: &Rec) -> bool {
    other.pid != remover.pid && is_only_an_end(other)
}

/// What happened inside a directory that a merged record removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Inside {
    /// Behind which record it was over.
    last: u32,
    /// How deep that went where all of it is told at that record.
    level: u32,
}

/// The last record inside each directory that is removed by a merged record.
fn last_use_of_removed(window: &Window, end: usize) -> HashMap<NodeId, (u32, Inside)> {
    let range = window.next..end;
    let untold = || (range.start as u32..).zip(&window.recs[range.clone()]);
    let removed = untold().filter_map(|(index, rec)| match rec.object {
        Object::Dir(dir) if rec.mask & bits::DELETE != 0 && is_merged(rec) => {
            let last = Inside {
                last: index,
                level: 0,
            };
            Some((dir, (index, last)))
        }
        _ => None,
    });
    let mut removed: HashMap<NodeId, (u32, Inside)> = removed.collect();
    if removed.is_empty() {
        return removed;
    }
    for (index, rec) in untold() {
        let itself = match rec.object {
            Object::Dir(dir) => Some(dir),
            _ => None,
        };
        for dir in rec.at.iter().chain(&rec.to).map(|at| at.dir).chain(itself) {
            if let Some((remover, inside)) = removed.get_mut(&dir) {
                let remover = &window.recs[*remover as usize];
                if !is_last_close(remover, rec) && !is_over_before(window, remover, rec) {
                    inside.last = inside.last.max(index);
                }
            }
        }
    }
    removed
}

struct View<'a> {
    window: &'a Window,
    names: NamesThen<'a>,
    end: u32,
    /// Directories that a merged record removes: which one, and until when they were used.
    inside: HashMap<NodeId, (u32, Inside)>,
}

/// So many times it is looked whether a removal inside a directory goes behind what was its last use; once is enough
/// where directories were made before what is in them.
const LOOKS_AT_MOST: usize = 64;

impl View<'_> {
    /// Lets the removal of a directory wait for the removals in it, which may be told behind other records themselves.
    fn follow_removals(&mut self) {
        if self.inside.is_empty() {
            return;
        }
        let (window, first) = (self.window, self.window.next as u32);
        for _ in 0..LOOKS_AT_MOST {
            let mut is_settled = true;
            for index in (first..self.end).rev() {
                let rec = &window.recs[index as usize];
                let Some(at) = rec.at.filter(|_| rec.mask & bits::DELETE != 0) else {
                    continue;
                };
                let Some((remover, inside)) = self.inside.get(&at.dir).copied() else {
                    continue;
                };
                if is_over_before(window, &window.recs[remover as usize], rec) {
                    continue;
                }
                let removal = Inside {
                    last: self.spot_of_delete(index).rec,
                    level: self.level_of(rec) + 1,
                };
                if removal > inside {
                    self.inside.insert(at.dir, (remover, removal));
                    is_settled = false;
                }
            }
            if is_settled {
                return;
            }
        }
    }

    fn level_of(&self, rec: &Rec) -> u32 {
        match rec.object {
            Object::Dir(dir) => self.inside.get(&dir).map_or(0, |(_, inside)| inside.level),
            _ => 0,
        }
    }

    fn later_of_same<'a>(&'a self, rec: &Rec) -> impl Iterator<Item = (u32, &'a Rec)> {
        let told_now = |(index, _): &(u32, &Rec)| *index < self.end;
        self.window.later_of_same(rec).take_while(told_now)
    }

    fn is_at(&self, at: Option<At>, place: At) -> bool {
        at.is_some_and(|at| self.window.is_same(at, place))
    }

    /// The records about the object of `rec` that can have happened before what was merged into it.
    fn later_than_its_place<'a>(&'a self, rec: &'a Rec) -> impl Iterator<Item = (u32, &'a Rec)> {
        let can_be_before = |(_, later): &(u32, &Rec)| !is_over_before(self.window, rec, later);
        self.later_of_same(rec).take_while(can_be_before)
    }

    /// Where the CLOSE_WRITE of a merged record belongs: behind the last use by another process.
    ///
    /// `sort < a > b` in a shell: the shell creates and closes `b`, `sort` writes in between. What
    /// the same process did later stands in its own later record, in order.
    fn last_use(&self, rec: &Rec) -> Option<Spot> {
        let place = rec.at?;
        let mut spot = None;
        for (index, later) in self.later_than_its_place(rec) {
            if later.mask & bits::RENAME != 0 {
                break;
            }
            if later.pid != rec.pid && later.mask & bits::USE != 0 && self.is_at(later.at, place) {
                spot = Some(Spot {
                    rec: index,
                    behind: later.mask & bits::DELETE == 0,
                });
            }
        }
        spot
    }

    /// The rename whose MOVE_SELF was merged into an older record about the same object, if one was.
    fn rename_of_move(&self, rec: &Rec) -> Option<u32> {
        let mut renames = 0;
        let mut first = None;
        for (index, later) in self.later_than_its_place(rec) {
            if later.pid != rec.pid {
                continue;
            }
            if later.mask & bits::RENAME != 0 {
                renames += 1;
                first = first.or(Some(index));
            } else if later.at.is_none() && later.mask & bits::MOVE_SELF != 0 {
                // The older record had been read by then: the last rename before this one has it.
                return first.filter(|_| renames > 1);
            }
        }
        first
    }

    /// Where the DELETE of a record belongs: behind everything else of that object and that name.
    fn spot_of_delete(&self, index: u32) -> Spot {
        let rec = &self.window.recs[index as usize];
        let mut spot = Spot {
            rec: index,
            behind: true,
        };
        let Some(place) = rec.at.filter(|_| is_merged(rec)) else {
            return spot;
        };
        if let Object::Dir(dir) = rec.object {
            let inside = self.inside.get(&dir).map_or(0, |(_, inside)| inside.last);
            spot.rec = spot.rec.max(inside);
        }
        let mut has_another_name = None;
        let mut named_by = index;
        for (index, later) in self.later_than_its_place(rec) {
            if is_last_close(rec, later) {
                continue;
            }
            let back = later.mask & bits::RENAME != 0 && self.is_at(later.to, place);
            if later.mask & bits::CREATE != 0 {
                if self.is_at(later.at, place) {
                    // The name was free.
                    break;
                }
                // A file gets one more name while it has one.
                let had = has_another_name.replace(true);
                if !had.unwrap_or_else(|| self.names.has_another(rec, place)) {
                    spot = Spot {
                        rec: index,
                        behind: later.mask & bits::DELETE == 0,
                    };
                }
            } else if back
                || later.mask & bits::RENAME == 0
                    && (later.at.is_none() || self.is_at(later.at, place))
            {
                spot = Spot {
                    rec: index,
                    behind: true,
                };
                named_by = if back { index } else { named_by };
            }
        }
        // Who still has it open goes on using it when the name is something else's.
        match self
            .names
            .given_to_another(rec.object, place, named_by, spot.rec)
        {
            Some(giver) => Spot {
                rec: giver - 1,
                behind: true,
            },
            None => spot,
        }
    }

    /// Whether a removal is put where another record says that it happened.
    fn is_own_end(&self, rec: &Rec, spot: Spot) -> bool {
        let end = &self.window.recs[spot.rec as usize];
        end.object == rec.object && end.pid == rec.pid && self.window.says_when_unnamed(end)
    }

    /// Where the DELETE_SELF of a record without a name belongs, if not at its own place, and behind which rename.
    ///
    /// It was merged into an older record of the same object: nothing of the object comes behind
    /// it but the DELETE of its last name, and its end once more, where the recorder held it open.
    fn end_of_object(&self, index: u32, rec: &Rec) -> Option<(Spot, u32)> {
        let mut last = None;
        let mut delete = None;
        for (index, later) in self.later_of_same(rec) {
            if is_only_an_end(later) {
                continue;
            }
            last = Some(index);
            if later.mask & bits::DELETE != 0 && later.at.is_some() {
                delete = Some(index);
            }
        }
        if let Some(over) = self.names.rename_over(rec) {
            let rec = last.map_or(over, |last| last.max(over));
            return Some((Spot { rec, behind: true }, over));
        }
        if let Some(delete) = delete {
            let spot = self.spot_of_delete(delete);
            let in_order = rec.next_same == delete
                && spot.rec == delete
                && !is_merged(&self.window.recs[delete as usize]);
            let before = Spot {
                rec: delete,
                behind: false,
            };
            return (!in_order).then_some((if spot.rec == delete { before } else { spot }, 0));
        }
        last.filter(|last| *last > index)
            .map(|rec| (Spot { rec, behind: true }, 0))
    }
}
