//! The life of one path across all logs.

use std::io;

use anyhow::Result;

use super::hunt::text_of;
use super::run::{QueryOutcome, QueryRequest, block_for, open_logs};
use super::trail::{Deed, Lives, Origins, Trail};
use super::twins::{Sink, Twins};
use super::walk::{Follow, Log, Met, Way, walk};
use crate::event::WallTime;
use crate::filters::time::TimeWindow;
use crate::log::escape::push_escaped;
use crate::log::form::own_gist;
use crate::log::line::LogLine;

/// Shows `each` what happened to the paths of `request`, oldest first: each line as stored and as read.
///
/// A file is followed through renames of its own and of directories above it, to its earlier names and to
/// its later ones. With `below`, whatever lies below the paths is part of it. An event that stands in
/// several logs is shown once. Holes are shown from the first event on. Of a time window, only what stands
/// in it counts, as if the logs had no more.
pub fn why(
    request: &QueryRequest,
    below: bool,
    each: &mut dyn FnMut(&[u8], &LogLine) -> io::Result<()>,
) -> Result<QueryOutcome> {
    let mut outcome = QueryOutcome::default();
    let files = open_logs(request, &mut outcome)?;
    if request.window.is_empty() {
        return Ok(outcome);
    }
    let block = block_for(files.len());
    let logs = files.into_iter().map(|(name, file)| Log { name, file });
    let logs: Vec<Log> = logs.collect();
    tell(&logs, request, below, block, &mut outcome, each)?;
    Ok(outcome)
}

fn tell(
    logs: &[Log],
    request: &QueryRequest,
    below: bool,
    block: usize,
    outcome: &mut QueryOutcome,
    each: &mut Sink<'_>,
) -> io::Result<()> {
    let (roots, window) = (&request.paths, request.window);
    let lives = earlier_names(logs, roots, window, block)?;
    let mut story = Story {
        trail: Trail::new(roots, below, lives),
        below,
        has_begun: false,
        twins: Twins::default(),
        sink: &mut |bytes, line| {
            let lost = match line {
                LogLine::Gap(gap) => Some(gap.lost),
                LogLine::Event(_) => None,
            };
            outcome.count(1, lost.as_slice());
            each(bytes, line)
        },
    };
    let seen = walk(logs, window, Way::Forth, block, &mut story)?;
    story.twins.flush(story.sink)?;
    outcome.names_left_out = story.trail.is_cut;
    outcome.unreadable = seen.unreadable;
    for log in seen.unsorted {
        outcome.note_unsorted(&logs[log].name);
    }
    Ok(())
}

fn earlier_names(
    logs: &[Log],
    roots: &[Vec<u8>],
    window: TimeWindow,
    block: usize,
) -> io::Result<Lives> {
    let mut past = Past(Origins::new(roots));
    // What is wrong with the logs is noticed on the way back as well as on the way forth.
    walk(logs, window, Way::Back, block, &mut past)?;
    Ok(past.0.end())
}

/// Looks for earlier names.
struct Past(Origins);

impl Follow for Past {
    fn texts(&mut self, _: WallTime, _: WallTime) -> Option<Vec<Vec<u8>>> {
        if self.0.count() > MOST_TEXTS {
            return None;
        }
        let names = self.0.names().map(|name| text_in_quotes(name, true));
        Some(names.chain([MOVED.to_vec()]).collect())
    }

    fn is_worth(&mut self, _: WallTime, line: &[u8]) -> bool {
        let Some(gist) = own_gist(line) else {
            return true;
        };
        if !gist.event_type.starts_with(b"MOVED_") {
            return self.0.concerns(gist.path);
        }
        let mut sides = [Some(gist.path), gist.other].into_iter().flatten();
        sides.any(|path| self.0.concerns_moved(path))
    }

    fn meet(&mut self, met: Met<'_>) -> io::Result<bool> {
        Ok(match &met.line {
            LogLine::Event(event) => self.0.meet(&Deed::of(event, met.time)),
            LogLine::Gap(_) => false,
        })
    }
}

/// Tells what belongs to the story.
struct Story<'s> {
    trail: Trail,
    below: bool,
    has_begun: bool,
    twins: Twins,
    sink: &'s mut Sink<'s>,
}

impl Follow for Story<'_> {
    fn texts(&mut self, _: WallTime, last: WallTime) -> Option<Vec<Vec<u8>>> {
        let names = self.trail.names(last, MOST_TEXTS)?;
        let names = names.iter().map(|name| text_in_quotes(name, !self.below));
        Some(names.chain([MOVED.to_vec(), GAP.to_vec()]).collect())
    }

    fn is_worth(&mut self, time: WallTime, line: &[u8]) -> bool {
        let Some(gist) = own_gist(line) else {
            return true;
        };
        if gist.path.is_empty() {
            return self.has_begun;
        }
        self.trail.advance(time);
        if !gist.event_type.starts_with(b"MOVED_") {
            return self.trail.concerns(gist.path);
        }
        let mut sides = [Some(gist.path), gist.other].into_iter().flatten();
        sides.any(|path| self.trail.concerns_moved(path))
    }

    fn meet(&mut self, met: Met<'_>) -> io::Result<bool> {
        let (is_told, is_more) = match &met.line {
            LogLine::Event(event) => {
                let deed = Deed::of(event, met.time);
                (self.trail.tells(&deed), self.trail.meet(&deed))
            }
            LogLine::Gap(_) => (self.has_begun, false),
        };
        self.has_begun |= is_told;
        if is_told {
            self.twins
                .take(met.log, met.time, met.bytes, met.line, self.sink)?;
        }
        Ok(is_more)
    }
}

/// What a line holds that names `name`, or, unless it is `whole`, something below it.
fn text_in_quotes(name: &[u8], whole: bool) -> Vec<u8> {
    if str::from_utf8(name).is_err() {
        return text_of(name);
    }
    let mut text = vec![b'"'];
    push_escaped(name, &mut text);
    if whole {
        text.push(b'"');
    }
    text
}

/// So many names are searched for at a time before each line is looked at.
const MOST_TEXTS: usize = 8;
const MOVED: &[u8] = b"\"MOVED_";
const GAP: &[u8] = b"\"GAP\"";

#[cfg(test)]
mod tests;
