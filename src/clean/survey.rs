//! Judging a log line by line: what goes, what stays, and what that comes to.

use std::fs::File;
use std::io;

use super::apply::{CleanReport, CleanRequest};
use super::plan::{Doomed, Fate, Keep};
use super::progress::Progress;
use crate::log::source::{Line, Lines};

/// What a first reading found.
pub(super) struct Survey {
    pub(super) end: u64,
    by_time: u64,
    pub(super) surplus: u64,
    first_kept: u64,
}

impl Survey {
    pub(super) fn take(
        file: &File,
        end: u64,
        request: &CleanRequest,
        progress: &mut Progress<'_, '_>,
    ) -> io::Result<Self> {
        let mut survey = Self {
            end,
            by_time: 0,
            surplus: 0,
            first_kept: 0,
        };
        let mut kept = 0;
        let mut told = 0;
        let mut lines = Lines::new(file, 0, end, BLOCK);
        while let Some(line) = lines.next_line()? {
            match judge(&request.keep, &line) {
                Fate::Outside(time) => {
                    survey.by_time += 1;
                    if request.dry_run {
                        progress.show(Doomed::new(time, line.bytes))?;
                    }
                }
                Fate::Kept | Fate::Unreadable => {
                    if kept == 0 {
                        survey.first_kept = line.end - line.start;
                    }
                    kept += line.end - line.start;
                }
                Fate::Blank => {}
            }
            if line.end - told >= STEP {
                progress.advance(line.end - told)?;
                told = line.end;
            }
        }
        survey.surplus = request.keep.surplus(kept);
        Ok(survey)
    }

    pub(super) fn any(&self) -> bool {
        self.by_time > 0 || (self.first_kept > 0 && self.first_kept <= self.surplus)
    }

    /// What a rewrite would report.
    pub(super) fn forecast(&self, file: &File, keep: &Keep) -> io::Result<CleanReport> {
        let mut sieve = Sieve::new(*keep, self.surplus);
        let mut lines = Lines::new(file, 0, self.end, BLOCK);
        while let Some(line) = lines.next_line()? {
            sieve.passes(&line);
        }
        let torn = self.end - lines.offset();
        let after = if self.any() {
            sieve.report.after + torn
        } else {
            self.end
        };
        Ok(CleanReport {
            before: self.end,
            after,
            ..sieve.report
        })
    }
}

/// Says of one line after the other whether it stays, and counts.
pub(super) struct Sieve {
    keep: Keep,
    surplus: u64,
    /// Bytes that the time let pass so far.
    passed: u64,
    pub(super) report: CleanReport,
}

impl Sieve {
    pub(super) fn new(keep: Keep, surplus: u64) -> Self {
        Self {
            keep,
            surplus,
            passed: 0,
            report: CleanReport::default(),
        }
    }

    pub(super) fn passes(&mut self, line: &Line<'_>) -> bool {
        let fate = judge(&self.keep, line);
        match fate {
            Fate::Outside(_) => self.report.by_time += 1,
            Fate::Blank => {}
            Fate::Kept | Fate::Unreadable => {
                self.passed += line.end - line.start;
                if self.passed > self.surplus {
                    self.report.after += line.end - line.start;
                    self.report.unreadable += u64::from(fate == Fate::Unreadable);
                    return true;
                }
                self.report.by_size += 1;
            }
        }
        false
    }
}

pub(super) fn judge(keep: &Keep, line: &Line<'_>) -> Fate {
    if line.overlong {
        Fate::Unreadable
    } else {
        keep.judge(line.bytes)
    }
}

const STEP: u64 = 1 << 20;
const BLOCK: usize = 256 * 1024;
