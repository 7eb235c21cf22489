//! Lines for logs and journal: time that never goes back, and what is said when a disk refuses.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::{Hub, Interest, Subscription};
use super::report::{Level, Reporter};
use crate::config::Sync;
use crate::event::{FileEvent, WallTime};
use crate::log::alert::{Note, encode_alert};
use crate::log::append::{Appender, AppenderConfig, FlushReport, WORTH_A_WRITE};
use crate::log::chain::{self, Link};
use crate::log::encoder::Encoder;
use crate::log::journal::{self, Entry};
use crate::log::line::{self, Gap};
use crate::log::recent::Recent;
use crate::log::written::Written;
use crate::monitored::GroupName;
use crate::pipeline::Loss;
use crate::socket::Health;
use crate::sys::clock;

/// All logs of the daemon.
#[derive(Debug)]
pub struct Writer {
    appender: Appender,
    encoder: Encoder,
    /// Lines are written out when so many bytes have gathered, also within a long step.
    flush_at: usize,
    logs: Recent<GroupName, Log>,
    journal_time: WallTime,
    /// The last line of the journal.
    last_link: Option<Link>,
    sync: Sync,
    unsynced_since: Option<Instant>,
    retry_at: Option<Instant>,
    handed_over_warned: bool,
    /// Wall clock minus the time since boot, to notice that the clock was set.
    offset: i64,
    /// Since when lines are given up, and how many.
    hole: Option<(WallTime, u64)>,
    /// Since when lines wait for a disk, as the journal says.
    held: Option<WallTime>,
    /// A time of which lines were given up, and which is over.
    ended_hole: Option<(WallTime, WallTime)>,
    /// Lines lost because a disk was full for too long.
    pub dropped: u64,
    /// Who listens to what is written.
    live: Live,
}

/// The way to those who listen.
#[derive(Debug)]
struct Live {
    hub: Arc<Hub>,
    /// Whether anybody did when it was last looked at.
    is_heard: bool,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Log {
    file_name: String,
    last: WallTime,
}

/// A smaller jump of the wall clock is its ordinary slewing.
const CLOCK_STEP: i64 = 1_000_000_000;
/// How soon a log is tried again that `clean` holds, or that a disk refused.
const RETRY_BUSY: Duration = Duration::from_millis(10);
const RETRY_FULL: Duration = Duration::from_millis(500);

impl Writer {
    /// Makes a writer; files are opened with the first line.
    pub fn new(config: AppenderConfig, sync: Sync, hub: Arc<Hub>) -> Self {
        Self {
            flush_at: WORTH_A_WRITE.min(config.ceiling_bytes / 4),
            appender: Appender::new(config),
            encoder: Encoder::default(),
            logs: Recent::default(),
            journal_time: WallTime(i64::MIN),
            last_link: None,
            sync,
            unsynced_since: None,
            retry_at: None,
            handed_over_warned: false,
            offset: wall_offset(),
            hole: None,
            held: None,
            ended_hole: None,
            dropped: 0,
            live: Live {
                hub,
                is_heard: false,
                line: Vec::new(),
            },
        }
    }

    /// Takes somebody in who is told of every line from here on. Every line before is in its file then;
    /// an error says why that cannot be.
    pub fn subscribe(
        &mut self,
        interest: Interest,
        reporter: &Reporter,
    ) -> Result<Subscription, &'static str> {
        self.flush(reporter);
        if self.is_waiting() {
            return Err("a log cannot be written just now");
        }
        let live = self.live.hub.subscribe(interest);
        self.live.is_heard = true;
        live.ok_or("too many are listening")
    }

    /// Changes what survives a power cut.
    pub fn set_sync(&mut self, sync: Sync) {
        self.sync = sync;
    }

    /// Notices what others did to the logs, and notes it in the journal.
    pub fn look(&mut self, reporter: &Reporter) {
        let changed = self.appender.look();
        for changed in &changed {
            self.journal(&Entry::Log(changed));
        }
        if !changed.is_empty() {
            self.flush(reporter);
        }
    }

    /// Fills in what waits to be written, and who listens.
    pub fn tell_health(&self, health: &mut Health) {
        health.losses.lines = self.dropped;
        health.queues.pending_bytes = self.pending_bytes() as u64;
        let is_written = !self.appender.is_pending(journal::FILE_NAME);
        let link = self.last_link.filter(|_| is_written);
        health.journal = link.map(|link| link.to_string());
        health.queues.readers = self.live.hub.readers() as u64;
    }

    /// Between which times lines were given up, once, when they can be written again.
    pub fn take_ended_hole(&mut self) -> Option<(WallTime, WallTime)> {
        self.ended_hole.take()
    }

    /// Queues the line of an event.
    pub fn event(&mut self, group: &GroupName, event: &mut FileEvent, reporter: &Reporter) {
        let Self {
            logs,
            appender,
            encoder,
            live,
            ..
        } = self;
        let log = open(logs, appender, group);
        event.time = event.time.max(log.last);
        log.last = event.time;
        live.queue(
            appender,
            &log.file_name,
            (group, Some(event)),
            event.time,
            |out| encoder.encode(event, out),
        );
        if appender.pending_bytes() >= self.flush_at && self.retry_at.is_none() {
            self.flush(reporter);
        }
    }

    /// Queues the line of an alert.
    pub fn alert(&mut self, event: &FileEvent, note: &Note<'_>) -> Vec<u8> {
        let Self {
            logs,
            appender,
            live,
            ..
        } = self;
        let group = GroupName::alerts();
        let log = open(logs, appender, &group);
        let mut event = event.clone();
        event.time = event.time.max(log.last);
        log.last = event.time;
        let mut line = Vec::new();
        encode_alert(&event, note, &mut line);
        live.queue(
            appender,
            &log.file_name,
            (&group, Some(&event)),
            event.time,
            |out| out.extend_from_slice(&line),
        );
        line
    }

    /// Queues what was lost: a line in the log of each group and one in the journal.
    pub fn loss(&mut self, groups: &[GroupName], loss: &Loss) {
        let lost = loss
            .count
            .map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX));
        for group in groups {
            let Self {
                logs,
                appender,
                live,
                ..
            } = self;
            let log = open(logs, appender, group);
            log.last = log.last.max(loss.until);
            let gap = Gap {
                time: log.last,
                lost,
                cause: Cow::Borrowed(loss.cause),
                since: loss.since,
            };
            live.queue(appender, &log.file_name, (group, None), gap.time, |out| {
                line::encode_gap(&gap, out)
            });
        }
        self.journal(&Entry::Gap {
            lost,
            cause: loss.cause,
            since: loss.since,
        });
    }

    /// Queues a line of the journal, tied to the one before.
    pub fn journal(&mut self, entry: &Entry<'_>) {
        self.journal_at(WallTime(clock::realtime()), entry);
    }

    /// Queues a line of the journal about an earlier moment.
    fn journal_at(&mut self, time: WallTime, entry: &Entry<'_>) {
        let time = time.max(self.journal_time);
        let mut line = Vec::new();
        journal::encode_entry(time, entry, &mut line);
        let link = chain::seal(self.last_link, &mut line);
        let taken = if entry.is_account() {
            self.appender.queue_always(journal::FILE_NAME, &line);
            true
        } else {
            self.appender
                .queue(journal::FILE_NAME, |out| out.extend_from_slice(&line))
        };
        if taken {
            self.journal_time = time;
            self.last_link = Some(link);
        }
    }

    /// Goes on behind the last line of an earlier run, and begins with `start`. Says what was done to the logs
    /// since that run stopped, and whether the clock was set back.
    pub fn begin_journal(&mut self, last: Option<(Written, Link)>, start: &Entry<'_>) {
        let Some((last, link)) = last else {
            return self.journal(start);
        };
        self.last_link = Some(link);
        self.journal_time = last.time;
        let step = clock::realtime() - last.time.0;
        self.journal(start);
        if step < 0 {
            self.journal(&Entry::Clock { step });
        }
        for changed in self.appender.changed_since(&last.logs) {
            self.journal(&Entry::Log(&changed));
        }
    }

    /// Ends the journal in good order: all that happened before `looked` has been read and written.
    pub fn end_journal(&mut self, looked: WallTime, reason: &str) {
        let names: Vec<&str> = self.logs.values().map(|log| &*log.file_name).collect();
        let (mut logs, changed) = self.appender.survey(&names);
        logs.sort();
        for changed in changed {
            self.journal(&Entry::Log(&changed));
        }
        // Nothing in a log is later than the end of recording, also where the clock was set back.
        let lines = self.logs.values().map(|log| log.last);
        let looked = lines.max().unwrap_or(looked).max(looked);
        self.journal_at(
            looked,
            &Entry::Stop {
                reason,
                logs: &logs,
            },
        );
    }

    /// Queues a CLOCK line when the wall clock was set since the last call.
    pub fn watch_clock(&mut self) {
        let now = wall_offset();
        let step = now - self.offset;
        if step.abs() >= CLOCK_STEP {
            self.offset = now;
            self.journal(&Entry::Clock { step });
        }
    }

    /// The time of the last line in the log of a group, from this run or an earlier one.
    pub fn last_time(&mut self, group: &GroupName) -> WallTime {
        let Self { logs, appender, .. } = self;
        open(logs, appender, group).last
    }

    /// Writes what is queued and says what failed.
    pub fn flush(&mut self, reporter: &Reporter) {
        self.live.flush();
        if self.appender.is_idle() {
            self.retry_at = None;
            return;
        }
        self.appender.set_held(self.held.is_some());
        let report = self.appender.flush();
        if report.written_bytes > 0 {
            match self.sync {
                Sync::Off => {}
                Sync::Always => self.sync_now(reporter),
                Sync::EverySecond => {
                    self.unsynced_since.get_or_insert_with(Instant::now);
                }
            }
        }
        for changed in &report.changed {
            self.journal(&Entry::Log(changed));
        }
        self.say(&report, reporter);
        self.note_held(&report);
        if !report.busy && report.pending_bytes == 0 && !self.appender.is_idle() {
            // What the journal tells of this flush. That writes no other log, so nothing more comes of it.
            return self.flush(reporter);
        }
        self.retry_at = if report.busy {
            Some(Instant::now() + RETRY_BUSY)
        } else if report.pending_bytes > 0 {
            Some(Instant::now() + RETRY_FULL)
        } else {
            None
        };
    }

    /// Has the journal say that lines wait, or that they do no longer.
    fn note_held(&mut self, report: &FlushReport) {
        match (self.held, report.held_since) {
            (None, Some(since)) => {
                self.held = Some(since);
                self.journal(&Entry::Held { since });
            }
            (Some(_), None) if report.pending_bytes == 0 => {
                self.held = None;
                self.journal(&Entry::Written);
            }
            _ => {}
        }
    }

    /// Whether lines wait for a disk or for `clean`.
    pub fn is_waiting(&self) -> bool {
        self.retry_at.is_some()
    }

    /// Bytes of lines that are not in their files yet.
    pub fn pending_bytes(&self) -> usize {
        self.appender.pending_bytes()
    }

    /// Does what is due by now: another try, a sync.
    pub fn tend(&mut self, reporter: &Reporter) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.flush(reporter);
        }
        if self
            .unsynced_since
            .is_some_and(|since| since + SYNC_EVERY <= now)
        {
            self.sync_now(reporter);
        }
    }

    /// When something will be due; `None` lets the daemon sleep.
    pub fn due(&self) -> Option<Instant> {
        self.retry_at
            .into_iter()
            .chain(self.unsynced_since.map(|since| since + SYNC_EVERY))
            .min()
    }

    /// Brings everything written to the disk.
    pub fn sync_now(&mut self, reporter: &Reporter) {
        self.unsynced_since = None;
        for (file, error) in self.appender.sync() {
            reporter.say_folded(
                Level::Warning,
                "sync",
                &format!("cannot sync '{file}': {error}"),
            );
        }
    }

    fn say(&mut self, report: &FlushReport, reporter: &Reporter) {
        for (file, error) in &report.errors {
            let held = report.pending_bytes;
            let text = format!(
                "cannot write '{}': {error}; {held} bytes of lines are held in memory",
                file.escape_debug()
            );
            reporter.say_folded(Level::Warning, file, &text);
        }
        if report.dropped > 0 {
            self.dropped += report.dropped;
            let text = format!(
                "{} events lost: the memory for lines that cannot be written is full",
                report.dropped
            );
            reporter.say_folded(Level::Error, "dropped", &text);
            self.hole.get_or_insert((report.dropped_since, 0)).1 += report.dropped;
        } else if report.pending_bytes == 0
            && let Some((since, dropped)) = self.hole.take()
        {
            // Once, when it is over: its length is known then, and there is room for the line.
            let lost = i64::try_from(dropped).unwrap_or(i64::MAX);
            let cause = "lines could not be written: the memory for them was full";
            self.journal(&Entry::Gap { lost, cause, since });
            let before = self.ended_hole.map_or(since, |(before, _)| before);
            self.ended_hole = Some((before.min(since), WallTime(clock::realtime())));
        }
        if let Some((file, error)) = report.not_handed_over.first()
            && !self.handed_over_warned
        {
            self.handed_over_warned = true;
            reporter.say(
                Level::Warning,
                &format!(
                    "'{}' cannot be handed to its user: {error}; it stays with root",
                    file.escape_debug()
                ),
            );
        }
    }
}

impl Live {
    fn queue(
        &mut self,
        appender: &mut Appender,
        file: &str,
        (group, event): (&GroupName, Option<&FileEvent>),
        time: WallTime,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.is_heard {
            appender.queue(file, encode);
            return;
        }
        self.line.clear();
        encode(&mut self.line);
        self.hub.tell(group, event, time, &self.line);
        appender.queue(file, |out| out.extend_from_slice(&self.line));
    }

    fn flush(&mut self) {
        if self.is_heard {
            self.hub.flush();
            self.is_heard = self.hub.is_heard();
        }
    }
}

/// How often written lines are synced when `sync = "1s"`.
const SYNC_EVERY: Duration = Duration::from_secs(1);

fn open<'a>(
    logs: &'a mut Recent<GroupName, Log>,
    appender: &mut Appender,
    group: &GroupName,
) -> &'a mut Log {
    logs.get_or_insert_with(group, || {
        let file_name = group.log_file_name();
        // A log that cannot be read now has no time to go back behind.
        let last = appender
            .last_time(&file_name)
            .ok()
            .flatten()
            .unwrap_or(WallTime(i64::MIN));
        (group.clone(), Log { file_name, last })
    })
}

fn wall_offset() -> i64 {
    clock::realtime() - clock::boottime().cast_signed()
}

/// Up to when the logs of the run before are known to be whole, if it did not end in good order: up to its last
/// line anywhere, or up to the first of the lines that waited for a disk then.
pub fn crashed_at(
    last: Option<&Written>,
    held: Option<WallTime>,
    last_lines: impl IntoIterator<Item = WallTime>,
) -> Option<WallTime> {
    let last = last.filter(|last| !last.is_stop())?;
    held.or_else(|| last_lines.into_iter().chain([last.time]).max())
}

#[cfg(test)]
mod tests;
