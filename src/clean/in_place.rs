//! Cutting a log without touching what stays.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::layout::{Layout, Way};
use crate::log::front;

/// The three steps. After each of them, and when the next is never taken, the lines that stay are
/// whole, and before them stand whole lines and blank ones only.
#[derive(Debug)]
pub(super) struct InPlace<'a> {
    /// The log, open for writing.
    pub(super) file: &'a File,
    /// Where its new front comes to lie.
    pub(super) layout: Layout,
    /// Where the line begins in which that is.
    pub(super) line: u64,
    /// Lines that are written anew in front of what stays.
    pub(super) saved: &'a [u8],
}

impl InPlace<'_> {
    /// Takes all steps. False when this file cannot be cut after all; then only lines that were to
    /// go have been blanked.
    pub(super) fn run(&self) -> io::Result<bool> {
        if self.layout.way == Way::Empty {
            self.file.set_len(0)?;
            return Ok(true);
        }
        self.blank()?;
        if self.layout.way == Way::Collapse && !self.collapse()? {
            return Ok(false);
        }
        self.join()?;
        Ok(true)
    }

    /// Makes one blank line of the last lines that go, and puts the saved ones behind it: what is
    /// left of these bytes by the next step is no torn line.
    pub(super) fn blank(&self) -> io::Result<()> {
        let Layout { from, lead, .. } = self.layout;
        let mut bytes = vec![b' '; (from + lead - self.line) as usize];
        if let Some(last) = bytes.last_mut() {
            *last = b'\n';
        }
        bytes.extend_from_slice(self.saved);
        self.file.write_all_at(&bytes, self.line)
    }

    /// Takes the blocks out.
    pub(super) fn collapse(&self) -> io::Result<bool> {
        // ext4 and XFS write the file out from here on before they change where its blocks are, so
        // that a power cut finds the blank line with the new front, too.
        front::cut_off(self.file, self.layout.from)
    }

    /// Makes the blank line the beginning of the line behind it.
    pub(super) fn join(&self) -> io::Result<()> {
        match self.layout.lead.checked_sub(1) {
            Some(end) => self.file.write_all_at(b" ", end),
            None => Ok(()),
        }
    }
}
