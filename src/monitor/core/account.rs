//! What the core says and writes of itself: which marks it has, what they miss, and its statistics.

use std::ffi::OsStr;
use std::path::Path;

use super::Core;
use crate::log::journal::Entry;
use crate::monitor::engine::{Changes, Shortfall};
use crate::monitor::report::{Level, Reporter};
use crate::monitored::BadLine;
use crate::monitored::path::quoted;
use crate::socket::Health;

impl Core {
    /// How everything is, without telling anything first; only at the logs it looks, so that whoever reads the
    /// journal then finds there what was done to them.
    pub(super) fn health(&mut self) -> Health {
        self.writer.look(&self.reporter);
        let mut health = Health {
            queues: self.feed.fullness(),
            policy: self.alarm.health(),
            ..Health::default()
        };
        self.engine.tell_health(&mut health);
        self.writer.tell_health(&mut health);
        health.watches = self.engine.tell_watches(&self.watches, &self.roots);
        health.known.watches = self.watches.iter().count() as u64;
        health.losses.events = self.lost;
        health.queues.held_ceiling_bytes = self.config.capture.ceiling;
        health.queues.pending_ceiling_bytes = self.config.capture.write_ceiling;
        self.began.tell(&mut health);
        health
    }

    pub(super) fn say_changes(&mut self, changes: &Changes) {
        for note in &changes.notes {
            self.reporter.say(Level::Info, note);
        }
        let is_known = |short: &&Shortfall| self.short.get(&short.point) == Some(&short.why);
        let (_, new): (Vec<_>, Vec<_>) = changes.shortfalls.iter().partition(is_known);
        self.note_shortfalls(changes);
        for short in new {
            let point = Path::new(OsStr::new(std::str::from_utf8(&short.point).unwrap_or("?")));
            self.reporter.say(
                Level::Error,
                &format!("{} is not watched: {}", quoted(point), short.why),
            );
        }
    }

    /// Lets the journal tell where something may be missing from now on, and where no longer.
    fn note_shortfalls(&mut self, changes: &Changes) {
        let all = || changes.shortfalls.iter().chain(&changes.weak);
        let is_short = |point: &Vec<u8>| all().any(|short| short.point == *point);
        self.short.retain(|point, _| {
            let still = is_short(point);
            if !still {
                self.writer.journal(&Entry::Whole { path: point });
            }
            still
        });
        for short in all() {
            let known = self.short.insert(short.point.clone(), short.why.clone());
            if known.as_ref() != Some(&short.why) {
                self.writer.journal(&Entry::Short {
                    path: &short.point,
                    cause: &short.why,
                    since: changes.since,
                });
            }
        }
    }

    pub(super) fn say_statistics(&mut self) {
        let pipeline = self.engine.pipeline();
        let (directories, bytes) = pipeline.directories();
        let (files, counts) = (pipeline.files(), pipeline.counts());
        let processes = pipeline.processes().stats();
        let proc_ttl = self.config.cache.proc_ttl.as_secs();
        let (held, dropped, lost) = (self.feed.most_held(), self.writer.dropped, self.lost);
        self.reporter.debug(|| {
            format!(
                "statistics: {directories} directories in {bytes} bytes, {files} files, {} records, {} lines, {} own, {} asked, {} unplaced, \
                 {} exact, {} ambiguous, {} unknown, {} malformed, {lost} lost, {dropped} dropped, {held} bytes held at most; \
                 {} processes alive, {} dead ones remembered for up to {proc_ttl} s, {} process records, {} of them lost",
                counts.records, counts.told, counts.own, counts.asked, counts.unplaced,
                counts.told - counts.ambiguous - counts.unknown, counts.ambiguous, counts.unknown, counts.malformed,
                processes.alive, processes.dead, processes.records, processes.lost
            )
        });
    }
}

/// Says which lines of the store could not be read; the others are in force.
pub fn say_bad_lines(reporter: &Reporter, bad: &[BadLine]) {
    for line in bad {
        reporter.say(
            Level::Warning,
            &format!(
                "line {} of the store cannot be read and is left alone: {}",
                line.number, line.why
            ),
        );
    }
}
