//! The core's part in finding out what happened unseen: bringing the logs up to now, and writing lines.

use std::collections::HashSet;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::{Core, Message};
use crate::event::{EventType, FileEvent, WallTime};
use crate::log::journal::Entry;
use crate::monitor::downtime::{Ask, Keeper};
use crate::monitor::report::Level;
use crate::sys::clock;

impl Core {
    /// Has a manifest kept from now on, and told what happened since `since`, when recording ended. Marks are set.
    pub fn keep_manifest(&mut self, keeper: Keeper, since: Option<WallTime>) {
        self.keeper = keeper;
        self.keeper.follow(&self.watches);
        self.keeper.unseen(since, WallTime(clock::realtime()));
    }

    /// What lines that wait, or were given up, tell of is in no log.
    pub(super) fn follow_writer(&mut self) {
        self.keeper.hold(self.writer.is_waiting());
        if let Some((since, until)) = self.writer.take_ended_hole() {
            self.keeper.unseen(Some(since), until);
        }
    }

    pub(super) fn serve(&mut self, ask: Ask) {
        match ask {
            Ask::Settle(done) => {
                self.settle();
                self.writer.flush(&self.reporter);
                // A thread that has ended waits for nothing.
                done.send(()).ok();
            }
            Ask::Tell(events, done) => {
                let mut judged: HashSet<(EventType, Vec<u8>)> = HashSet::new();
                for (group, mut event) in events {
                    self.alarm.watchman.tag(&mut event);
                    self.writer.event(&group, &mut event, &self.reporter);
                    // The logs of several groups may tell it, and both sides of a rename.
                    if judged.insert(deed_of(&event)) {
                        self.alarm
                            .judge_unseen(&event, &mut self.writer, &self.reporter);
                    }
                }
                self.writer.flush(&self.reporter);
                done.send(()).ok();
            }
            Ask::Note { lines, compared } => {
                for place in &compared {
                    self.writer.journal(&Entry::Inferred(&place.entry()));
                }
                self.writer.flush(&self.reporter);
                if lines > 0 {
                    let text =
                        format!("{lines} lines tell of what happened while nothing was recorded");
                    self.reporter.say(Level::Info, &text);
                }
            }
            Ask::Written => {}
        }
    }

    /// Has the last manifest made, if that does not take long; what is in the logs by then need not be in it.
    pub fn make_last_manifest(&mut self, inbox: &Receiver<Message>) {
        self.settle();
        self.writer.flush(&self.reporter);
        // A manifest that knows what the logs do not know would hide it.
        if self.writer.is_waiting() || !self.keeper.last() {
            return;
        }
        let until = Instant::now() + LONGEST;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(left) {
                Ok(Message::Downtime(Ask::Written)) | Err(_) => return,
                Ok(Message::Downtime(ask)) => self.serve(ask),
                Ok(Message::Wake) => self.step(),
                Ok(Message::HookEnded(ended)) => self.note_hook(&ended),
                Ok(_) => {}
            }
        }
    }
}

/// What is one deed, whichever line tells it.
fn deed_of(event: &FileEvent) -> (EventType, Vec<u8>) {
    match (event.kind, &event.other_path) {
        (EventType::MovedTo, Some(from)) => (EventType::MovedFrom, from.clone()),
        (kind, _) => (kind, event.path.clone()),
    }
}

/// A stop waits no longer for a walk.
const LONGEST: Duration = Duration::from_secs(5);
