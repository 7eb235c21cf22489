//! What must hold for any bytes, one function for each edge at which bytes come in from outside.
//!
//! Each is called by a fuzz target of `tests/fuzz/targets` and, with the kept seeds and with bytes made up by
//! proptest, by `tests/hostile.rs`. A claim that fails is a panic; what comes in is only ever bytes, so that a
//! finding of either is a file that the other can run.

use fsmon::proc_cache::{ProcRecord, ProcTable};

pub mod config;
mod draw;
pub mod fanotify;
pub mod filters;
mod globbing;
pub mod journal;
pub mod line;
pub mod log;
pub mod manifest;
pub mod netlink;
pub mod pipeline;
pub mod policy;
mod records;
pub mod request;
pub mod ring;
pub mod store;

/// Whatever is said of processes, the table can be asked about them afterwards.
fn remember(table: &mut ProcTable, record: &ProcRecord) {
    table.apply(record);
    if record.time.is_multiple_of(8) {
        table.forget(record.time);
    }
    if let Some(who) = table.at(record.pid, record.time) {
        let chain = table.chain_of(&who);
        assert!(!chain.contains(char::is_control), "{chain:?}");
        table.belongs(&who, "sh");
        table.descends_from(&who, 1);
    }
}
