//! Trimming a log by age or size.
//!
//! The recorder may append all the while. What is kept is copied to a file beside the log without
//! holding anybody up; only for the last few lines and the rename is the directory's lock taken,
//! which the recorder holds while it writes (see [`crate::log::dir`]). So no line falls between.
#![forbid(unsafe_code)]

mod apply;
pub mod plan;
mod rewrite;
mod survey;
mod temp;

pub use apply::{CleanReport, CleanRequest, run};
