//! The table as its callers see it: records in, answers out.

mod events;
mod lines;
mod losses;
mod model;
mod proc_tree;

use super::lineage::Membership;
use super::marker::{Moment, Part, Span};
use super::record::{ProcChange, ProcRecord};
use super::table::{ProcLimits, ProcTable, Who};
use crate::event::Attribution;

/// A millisecond.
const MS: u64 = 1_000_000;

fn table() -> ProcTable {
    ProcTable::new(ProcLimits::default())
}

fn record(time: u64, pid: u32, what: ProcChange) -> ProcRecord {
    ProcRecord {
        time,
        pid,
        tid: pid,
        what,
    }
}

fn fork(time: u64, pid: u32, ppid: u32) -> ProcRecord {
    record(time, pid, ProcChange::Fork { ppid, thread: ppid })
}

fn exec(time: u64, pid: u32, comm: &str) -> ProcRecord {
    let comm = comm.into();
    record(time, pid, ProcChange::Comm { comm, exec: true })
}

fn rename(time: u64, pid: u32, comm: &str) -> ProcRecord {
    let comm = comm.into();
    record(time, pid, ProcChange::Comm { comm, exec: false })
}

fn map(time: u64, pid: u32, path: &str) -> ProcRecord {
    let what = ProcChange::Exe { path: path.into() };
    record(time, pid, what)
}

fn euid(time: u64, pid: u32, uid: u32) -> ProcRecord {
    record(time, pid, ProcChange::Euid { uid })
}

fn exit(time: u64, pid: u32) -> ProcRecord {
    record(time, pid, ProcChange::Exit)
}

/// An event at a place of the queue.
fn moment(span: Span, place: u64) -> Moment {
    Moment {
        span,
        place: Some(place),
        part: Part::Whole,
    }
}

fn apply(table: &mut ProcTable, records: &[ProcRecord]) {
    records.iter().for_each(|record| table.apply(record));
}

/// The name and how sure it is.
fn named(who: Option<Who>) -> (String, Attribution) {
    let who = who.unwrap();
    (who.comm.to_string(), who.attribution)
}

fn exact(comm: &str) -> (String, Attribution) {
    (comm.to_owned(), Attribution::Exact)
}

fn ambiguous(comm: &str) -> (String, Attribution) {
    (comm.to_owned(), Attribution::Ambiguous)
}
