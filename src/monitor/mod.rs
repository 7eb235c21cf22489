//! The machinery around the pipeline: feed, engine, marks, daemon.
#![forbid(unsafe_code)]

pub mod control;
