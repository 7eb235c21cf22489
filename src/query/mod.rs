//! Asking a log: a window of time and prefixes of paths in, stored bytes out. `why` follows one path
//! through renames.
#![forbid(unsafe_code)]

pub mod account;
mod changes;
mod hunt;
mod merge;
mod names;
mod newest;
pub mod plan;
mod run;
mod seen;
mod sift;
mod spill;
mod trail;
mod twins;
pub mod verify;
mod walk;
mod why;

pub use changes::changes;
pub use run::{QueryOutcome, QueryRequest, run};
pub use why::why;
