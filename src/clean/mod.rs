//! Trimming a log by age or size.
#![forbid(unsafe_code)]
