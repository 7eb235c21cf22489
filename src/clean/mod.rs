//! Trimming a log by age or size.
//!
//! The recorder may append all the while. Usually only old lines go, and all that stays lies behind
//! one place (`cut.rs`). A filesystem that can do so takes the blocks before it out of the log
//! (`in_place.rs`); elsewhere what stays is copied to a file beside the log that then takes its name
//! (`rewrite.rs`). Everything else is judged line by line (`survey.rs`) and copied, too.
//!
//! Only for the last step is the directory's lock taken, which the recorder holds while it writes
//! (see [`crate::log::dir`]). So no line falls between.
#![forbid(unsafe_code)]

mod apply;
mod cut;
mod in_place;
mod layout;
pub mod plan;
mod progress;
mod rewrite;
mod survey;
mod temp;

pub use apply::{CleanReport, CleanRequest, run};
pub use progress::{Listener, Notice};
