//! Reads who wants to open what, and answers.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::ancestry::{Lineage, exe};
use super::opening::{Undecided, path_of, refuse};
use super::rules::{Applies, Rules};
use super::walk::split;
use super::{Gate, Overdue, Question, Seen, Told, UNREADABLE, locked};
use crate::sys::gatekeeper::{GateEvent, OVERFLOW};

impl Gate {
    /// Answers everybody, until [`Gate::stop`] is called or reading fails. After that the gate is closed, and
    /// nobody waits for it.
    ///
    /// `tell` is called on this thread, always behind the answer: it must not wait, and must not open files.
    pub fn pump(&self, tell: &dyn Fn(Told)) -> io::Result<()> {
        let _closed_at_the_end = Closing(self);
        let mut events = Vec::new();
        loop {
            self.poll.wait_at_most(self.next_deadline())?;
            if locked(&self.stop).is_none() {
                return Ok(());
            }
            if let Err(error) = self.group()?.read(&mut events, self.most_at_once) {
                if is_final(&error) {
                    return Err(error);
                }
                tell(Told::Lost(format!(
                    "the kernel could not tell of an event: {error}"
                )));
            }
            for event in events.drain(..) {
                // Whatever fails on the way, the event is dropped, and that lets the opener pass.
                if catch_unwind(AssertUnwindSafe(|| self.attend(event, tell))).is_err() {
                    self.tally.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.end_overdue(tell);
        }
    }

    fn attend(&self, mut event: GateEvent, tell: &dyn Fn(Told)) {
        if event.mask & OVERFLOW != 0 {
            tell(Told::Lost("the kernel's queue was full".to_owned()));
            return;
        }
        if event.pid == self.own_pid {
            return;
        }
        if event.is_waiting() {
            self.tally.opens.fetch_add(1, Ordering::Relaxed);
            let rules = self.rules();
            if !rules.is_empty() {
                match self.look_at(event, &rules, tell) {
                    Some(passes) => event = passes,
                    None => return,
                }
            }
            self.let_pass(&mut event);
        }
        if self.observes.load(Ordering::Relaxed) {
            let path = event.file().and_then(path_of);
            tell(Told::Seen(Seen {
                mask: event.mask,
                pid: event.pid,
                path: path.unwrap_or_else(|| UNREADABLE.to_vec()),
                exe: exe(event.pid),
            }));
        }
    }

    /// Refuses the open or asks about it, if a rule means it; gives back the event of one that passes.
    fn look_at(
        &self,
        mut event: GateEvent,
        rules: &Rules,
        tell: &dyn Fn(Told),
    ) -> Option<GateEvent> {
        let file = event.file()?;
        let subject = self.subject(rules, file);
        if subject.rules.is_empty() {
            self.let_pass(&mut event);
            if let Some(stray) = subject.stray
                && !self.observes.load(Ordering::Relaxed)
                // Somebody who is putting marks on is ahead of the list of them.
                && let Ok(_marking) = self.marking.try_lock()
            {
                locked(&self.places).forget_dir(stray.dir);
                // Whichever of the two marks there is.
                self.unmark(split(&subject.path).0, stray.dir).ok();
                self.unmark(&subject.path, stray.file).ok();
            }
            return Some(event);
        }
        let who = Lineage::read(event.pid);
        if self.is_exempt(event.pid, &who) {
            return Some(event);
        }
        let mut asked = Vec::new();
        for at in subject.rules {
            match rules.applies(at, &who) {
                Applies::No => {}
                Applies::Unknown => asked.extend(rules.asked(at)),
                Applies::Yes => {
                    let rule = rules.number(at)?;
                    if let Some(refusal) = refuse(&mut event, rule, subject.path, &who) {
                        self.tally.refused.fetch_add(1, Ordering::Relaxed);
                        tell(Told::Refused(refusal));
                    }
                    return None;
                }
            }
        }
        if asked.is_empty() {
            return Some(event);
        }
        let question = Question {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            pid: event.pid,
            path: subject.path,
            rules: asked,
        };
        self.ask(event, question, who, tell)
    }

    fn ask(
        &self,
        event: GateEvent,
        question: Question,
        who: Lineage,
        tell: &dyn Fn(Told),
    ) -> Option<GateEvent> {
        let mut undecided = locked(&self.undecided);
        if undecided.len() >= self.most_undecided {
            drop(undecided);
            drop(event);
            self.tell_overdue(question, true, tell);
            return None;
        }
        let id = question.id;
        let waiting = Undecided {
            event,
            question: question.clone(),
            who,
            until: Instant::now() + self.deadline,
        };
        // In the map before anybody can know the number.
        undecided.insert(id, waiting);
        drop(undecided);
        self.tally.asked.fetch_add(1, Ordering::Relaxed);
        tell(Told::Asked(question));
        None
    }

    fn let_pass(&self, event: &mut GateEvent) {
        if event.allow().is_err() {
            self.tally.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_exempt(&self, pid: u32, who: &Lineage) -> bool {
        let exempt = self.exempt.read().unwrap_or_else(PoisonError::into_inner);
        let is_named = |pid: u32| pid == self.own_pid || exempt.contains(&pid);
        is_named(pid) || who.chain.iter().any(|relative| is_named(relative.pid))
    }

    fn next_deadline(&self) -> Option<Duration> {
        let undecided = locked(&self.undecided);
        let (_, first) = undecided.first_key_value()?;
        Some(first.until.saturating_duration_since(Instant::now()))
    }

    fn end_overdue(&self, tell: &dyn Fn(Told)) {
        let now = Instant::now();
        loop {
            // The deadline is the same for all, so they end in the order of their numbers.
            let mut undecided = locked(&self.undecided);
            let Some(first) = undecided
                .first_entry()
                .filter(|first| first.get().until <= now)
            else {
                return;
            };
            let Undecided {
                event, question, ..
            } = first.remove();
            drop(undecided);
            drop(event);
            self.tell_overdue(question, false, tell);
        }
    }

    fn tell_overdue(&self, question: Question, crowded: bool, tell: &dyn Fn(Told)) {
        self.tally.overdue.fetch_add(1, Ordering::Relaxed);
        tell(Told::Overdue(Overdue { question, crowded }));
    }
}

/// Closes the gate when the pump ends, however it ends.
struct Closing<'a>(&'a Gate);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let group = &self.0.group;
        let last: Option<Arc<_>> = group.write().unwrap_or_else(PoisonError::into_inner).take();
        // Each that waits holds on to the group as well.
        locked(&self.0.undecided).clear();
        drop(last);
    }
}

/// Whether reading will not work again. Any other error is about one event.
fn is_final(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EBADF | EINVAL | EFAULT))
}

const EBADF: i32 = 9;
const EFAULT: i32 = 14;
const EINVAL: i32 = 22;
