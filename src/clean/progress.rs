//! What is told while a log is cleaned.

use std::io;

use super::plan::Doomed;

/// Something to tell.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// On a dry run: a line that is outside the wanted time.
    Doomed(Doomed<'a>),
    /// How far the work is.
    Progress {
        /// Bytes read and copied.
        done: u64,
        /// Bytes to be read and copied, as far as that is known.
        total: u64,
    },
}

/// Who is told. An error ends the work, and the log is what it was.
pub type Listener<'l> = dyn FnMut(Notice<'_>) -> io::Result<()> + 'l;

/// How far the work is.
pub(super) struct Progress<'p, 'l> {
    listener: &'p mut Listener<'l>,
    done: u64,
    total: u64,
}

impl<'p, 'l> Progress<'p, 'l> {
    pub(super) fn new(listener: &'p mut Listener<'l>, total: u64) -> Self {
        Self {
            listener,
            done: 0,
            total,
        }
    }

    /// So many more bytes are done.
    pub(super) fn advance(&mut self, bytes: u64) -> io::Result<()> {
        self.done += bytes;
        let Self { done, total, .. } = *self;
        (self.listener)(Notice::Progress {
            done: done.min(total),
            total,
        })
    }

    /// It turns out that so many bytes are to do, besides what is done.
    pub(super) fn expect_more(&mut self, bytes: u64) {
        self.total = self.done + bytes;
    }

    pub(super) fn show(&mut self, doomed: Doomed<'_>) -> io::Result<()> {
        (self.listener)(Notice::Doomed(doomed))
    }
}
