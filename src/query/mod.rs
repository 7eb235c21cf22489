//! Asking a log: a window of time and prefixes of paths in, stored bytes out.
#![forbid(unsafe_code)]

mod merge;
pub mod plan;
mod run;
pub mod search;
mod sift;

pub use run::{QueryOutcome, QueryRequest, run};
