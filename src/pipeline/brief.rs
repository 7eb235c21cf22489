//! Where files were last seen: those that outlive the records at hand in the table of files, the others here.
//!
//! A file whose end has been read already needs no place in the table: nobody will ask for its size any more,
//! and its names stand in the window. Only when the recorder held it open then, others may still end it, too.

use smallvec::SmallVec;

use super::Pipeline;
use super::locate::Location;
use super::names_then::STATES_NAME;
use super::returns::Spot;
use super::window::{At, WindowFile};
use crate::dir_cache::files::KnownFile;

/// What the table would know of a file that is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brief {
    at: At,
    /// Where it was seen before, if it is not known to have lost that name.
    also: Option<At>,
    /// The name is gone and no other one is known.
    is_lost: bool,
}

/// Where a file was last seen.
pub(super) struct LastSeen {
    pub(super) location: Location,
    /// It has lost that name, and no other one is known.
    pub(super) is_lost: bool,
    /// As for a file of the table.
    pub(super) unnamed_until: u64,
}

impl Pipeline {
    /// Notes that a file was seen at a place in a record with that mask; `None` for one that is gone and was not
    /// known before.
    ///
    /// Who opened it by a name that is gone goes on using it by that name.
    pub(super) fn see_file(&mut self, number: u32, at: At, mask: u64) -> Option<&mut KnownFile> {
        let file = &self.window.files[number as usize];
        let key = file.key;
        let is_stated = mask & STATES_NAME != 0;
        if file.brief.is_some() && !is_stated && self.has_left(file, at) {
            return None;
        }
        let brief = match file.brief {
            Some(brief) if self.window.is_same(brief.at, at) => Some(Brief {
                is_lost: false,
                ..brief
            }),
            Some(Brief {
                at: before,
                is_lost,
                ..
            }) => Some(Brief {
                at,
                also: Some(before).filter(|_| !is_lost),
                is_lost: false,
            }),
            None if file.is_gone && !file.is_held && self.files.find(&key).is_none() => {
                Some(Brief {
                    at,
                    also: None,
                    is_lost: false,
                })
            }
            None => None,
        };
        if brief.is_some() {
            self.window.files[number as usize].brief = brief;
            return None;
        }
        let Self {
            files,
            tree,
            window,
            ..
        } = self;
        Some(files.see(tree, &key, at.dir, window.name(at.name), is_stated))
    }

    /// Whether the name that a record took from a file last is that one.
    fn has_left(&self, file: &WindowFile, at: At) -> bool {
        let by = file.unnamed_by.map(|by| &self.window.recs[by as usize]);
        let left = by.and_then(|by| by.at);
        left.is_some_and(|left| self.window.is_same(left, at))
    }

    /// What is known of a file, if that outlives the window.
    pub(super) fn known_file(&mut self, number: u32) -> Option<&mut KnownFile> {
        let file = &self.window.files[number as usize];
        if file.brief.is_some() {
            return None;
        }
        self.files.find_mut(&file.key)
    }

    /// Where a file was last seen.
    pub(super) fn last_seen(&self, number: u32) -> Option<LastSeen> {
        let file = &self.window.files[number as usize];
        let (dir, name, is_lost, unnamed_until) = match file.brief {
            Some(Brief { at, is_lost, .. }) => (at.dir, self.window.name(at.name), is_lost, 0),
            None => {
                let known = self.files.find(&file.key)?;
                let KnownFile {
                    dir,
                    name,
                    is_lost,
                    unnamed_until,
                    ..
                } = known;
                (*dir, &**name, *is_lost, *unnamed_until)
            }
        };
        let location = Location::Entry {
            dir,
            name: SmallVec::from_slice(name),
        };
        Some(LastSeen {
            location,
            is_lost,
            unnamed_until,
        })
    }

    /// The names that are known of a file; `None` when it has lost all that were.
    pub(super) fn names_of(&self, number: u32) -> Option<SmallVec<[Spot; 2]>> {
        let file = &self.window.files[number as usize];
        let Some(brief) = file.brief else {
            let Some(known) = self.files.find(&file.key) else {
                return Some(SmallVec::new());
            };
            let names = known.names().map(|(dir, name)| (dir, name.into()));
            return (!known.is_lost).then(|| names.collect());
        };
        let names = std::iter::once(brief.at).chain(brief.also);
        (!brief.is_lost).then(|| names.map(|at| self.spot_of(at)).collect())
    }

    /// A file went from one place, and was seen at another since.
    pub(super) fn leave_name(&mut self, number: u32, at: At) {
        let Some(Brief {
            at: now,
            also: Some(also),
            is_lost,
        }) = self.window.files[number as usize].brief
        else {
            return self.lose_name(number, at);
        };
        if self.window.is_same(also, at) {
            let brief = Brief {
                at: now,
                also: None,
                is_lost,
            };
            self.window.files[number as usize].brief = Some(brief);
        } else {
            self.lose_name(number, at);
        }
    }

    /// A file lost a name, and may have another.
    pub(super) fn lose_name(&mut self, number: u32, at: At) {
        let Self {
            files,
            tree,
            window,
            ..
        } = self;
        let file = &window.files[number as usize];
        let key = file.key;
        match file.brief {
            Some(Brief {
                at: last,
                also: None,
                is_lost,
            }) => {
                if !is_lost && window.is_same(last, at) {
                    window.files[number as usize].brief = Some(Brief {
                        at: last,
                        also: None,
                        is_lost: true,
                    });
                }
                return;
            }
            Some(Brief {
                at: last,
                also: Some(first),
                ..
            }) => {
                // Of a file with two names the kernel can tell the end twice, once for each in its cache,
                // and the second when this window is over.
                window.files[number as usize].brief = None;
                for at in [first, last] {
                    files.see(tree, &key, at.dir, window.name(at.name), true);
                }
            }
            None => {}
        }
        files.lose(tree, &key, at.dir, window.name(at.name));
    }
}
