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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::clean::cut::line_start;
    use crate::log::front::Ground;
    use crate::log::line::time_of;

    fn line(number: usize) -> Vec<u8> {
        let path = "p".repeat(number * 37 % 211);
        format!(
            "{{\"time\":\"1970-01-01T00:00:00.{number:09}Z\",\"event_type\":\"CREATE\",\"path\":\"/{path}\"}}\n"
        )
        .into_bytes()
    }

    /// Takes the blocks out as the kernel would, where this one does not.
    fn collapse(steps: &InPlace<'_>, path: &std::path::Path) {
        if !steps.collapse().unwrap() {
            let bytes = fs::read(path).unwrap();
            steps
                .file
                .write_all_at(&bytes[steps.layout.from as usize..], 0)
                .unwrap();
            let length = bytes.len() as u64 - steps.layout.from;
            steps.file.set_len(length).unwrap();
        }
    }

    /// What stays must be the end of the log, and before it whole lines of those given or blanks.
    fn assert_whole(path: &std::path::Path, before: &[Vec<u8>], kept: &[u8], when: &str) {
        let bytes = fs::read(path).unwrap();
        assert!(bytes.ends_with(kept), "{when}");
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let mut seen = 0;
        while seen + kept.len() < bytes.len() {
            let line = lines.next().unwrap();
            seen += line.len();
            let blank = line.trim_ascii().is_empty();
            let stays = kept.starts_with(line.trim_ascii_start());
            assert!(
                blank || stays || before.iter().any(|whole| whole == line),
                "{when}: {}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn a_stop_after_any_step_leaves_whole_lines() {
        let block = 4096;
        let place = tempfile::tempdir_in("/tmp").unwrap();
        let path = place.path().join("x");
        let all: Vec<_> = (0..200).map(line).collect();
        for cut in 28..140 {
            for saved in [&b""[..], b"garbage\nmore of it\n"] {
                let at = all[..cut].concat().len() as u64;
                let kept = all[cut..].concat();
                let mut file = File::create_new(&path).unwrap();
                file.write_all(&all.concat()).unwrap();
                let file = fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .unwrap();
                let ground = Ground::Collapses(block);
                let layout = Layout::of(ground, at, saved.len() as u64, at + kept.len() as u64);
                assert_eq!(layout.way, Way::Collapse);
                let steps = InPlace {
                    file: &file,
                    layout,
                    line: line_start(&file, 0, layout.from).unwrap(),
                    saved,
                };
                let kept = [saved, &kept].concat();
                steps.blank().unwrap();
                assert_whole(&path, &all[..cut], &kept, "blanked");
                collapse(&steps, &path);
                assert_whole(&path, &[], &kept, "collapsed");
                steps.join().unwrap();
                let bytes = fs::read(&path).unwrap();
                assert_eq!(bytes, [layout.front(b""), kept.clone()].concat());
                assert_eq!(
                    bytes.len() as u64,
                    layout.size(at + kept.len() as u64 - saved.len() as u64)
                );
                let first = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap();
                assert_eq!(time_of(first).is_some(), saved.is_empty());
                fs::remove_file(&path).unwrap();
            }
        }
    }
}
