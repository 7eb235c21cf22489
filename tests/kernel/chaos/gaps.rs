//! The holes that a log names itself.

use serde_json::Value;

use crate::lines::Line;
use crate::truth::Report;

use super::chronicle::{Chronicle, Fault, Span, nanos};
use super::judge::SLEW;

/// A hole.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    /// Which line of the log says so; none of the journal's.
    pub(crate) position: usize,
    pub(crate) span: Span,
    pub(crate) cause: String,
    pub(crate) lost: i64,
}

/// All of a log.
#[derive(Debug, Default)]
pub(crate) struct Gaps(pub(crate) Vec<Gap>);

impl Line {
    /// Its time in nanoseconds since 1970.
    pub(crate) fn wall(&self) -> i64 {
        nanos(&self.time)
    }
}

impl Gap {
    /// The holes of a journal.
    pub(crate) fn of_journal(journal: &[Value], chronicle: &Chronicle) -> Vec<Self> {
        let gaps = journal.iter().filter(|entry| entry["event"] == "GAP");
        gaps.map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            Self {
                position: 0,
                span: Span {
                    from: chronicle.monotonic_of(nanos(&text("since"))),
                    to: chronicle.monotonic_of(nanos(&text("time"))),
                },
                cause: text("cause"),
                lost: entry["lost"].as_i64().unwrap(),
            }
        })
        .collect()
    }

    /// Whether it is about what could not be placed: that stands before all that was read with it, and says with
    /// its times where in that it was.
    fn is_of_places(&self) -> bool {
        self.cause.starts_with("the directory was gone")
    }

    fn is_of_processes(&self) -> bool {
        self.cause.starts_with("process records lost")
    }

    /// Whether what was done in `span` can be what is missing.
    pub(crate) fn is_about(&self, span: Span, chronicle: &Chronicle) -> bool {
        if !chronicle.is_clock_sane(self.span.to) || !chronicle.is_clock_sane(span.to) {
            return true;
        }
        let read_by = chronicle.caught_by(span.to);
        self.span.from <= read_by && self.span.to + SLEW >= span.from
    }
}

impl Gaps {
    pub(crate) fn of(lines: &[Line], chronicle: &Chronicle) -> Self {
        let gaps = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.kind == "GAP");
        let gap = |(position, line): (usize, &Line)| Gap {
            position,
            span: Span {
                from: chronicle.monotonic_of(nanos(line.since.as_ref().unwrap())),
                to: chronicle.monotonic_of(line.wall()),
            },
            cause: line.cause.clone().unwrap(),
            lost: line.lost.unwrap(),
        };
        Self(gaps.map(gap).collect())
    }

    /// Whether a hole stands between these two lines, about that time.
    pub(crate) fn cover(
        &self,
        from: Option<usize>,
        to: Option<usize>,
        span: Span,
        chronicle: &Chronicle,
    ) -> bool {
        self.0.iter().any(|gap| {
            let stands_there = from.is_none_or(|from| from < gap.position)
                && to.is_none_or(|to| gap.position < to);
            (stands_there || gap.is_of_places()) && gap.is_about(span, chronicle)
        })
    }

    /// Whether the log itself tells of a hole of the journal.
    pub(crate) fn have(&self, other: &Gap) -> bool {
        self.0
            .iter()
            .any(|gap| gap.span.from == other.span.from && gap.cause == other.cause)
    }

    /// The time that lies in holes; process records apart.
    pub(crate) fn total(&self) -> u64 {
        let mut spans: Vec<Span> = self
            .0
            .iter()
            .filter(|gap| !gap.is_of_processes())
            .map(|gap| gap.span)
            .collect();
        spans.sort_by_key(|span| span.from);
        let (mut total, mut reached) = (0, 0);
        for span in spans {
            let from = span.from.max(reached);
            total += span.to.saturating_sub(from);
            reached = reached.max(span.to);
        }
        total
    }

    /// Each has a reason.
    pub(crate) fn check(&self, chronicle: &Chronicle, report: &mut Report) {
        for gap in self
            .0
            .iter()
            .filter(|gap| chronicle.is_clock_sane(gap.span.to.max(gap.span.from)))
        {
            let may_lose = |fault: &Fault| match fault {
                Fault::Down => gap.cause == "downtime",
                Fault::Stopped | Fault::CpuOffline => gap.cause != "downtime",
                Fault::DiskFull | Fault::Clean => gap.cause != "downtime" && !gap.is_of_processes(),
                _ => false,
            };
            let reason = chronicle.faults.iter().any(|(fault, span)| {
                let to = chronicle.caught_by(span.to);
                may_lose(fault)
                    && gap.span.meets(Span {
                        from: span.from,
                        to,
                    })
            });
            if !reason {
                report.add("a GAP without a reason", format!("{gap:?}"));
            }
        }
    }
}
