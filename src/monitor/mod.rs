//! The machinery around the pipeline: feed, engine, marks, daemon.
#![forbid(unsafe_code)]

pub mod alarm;
pub mod ask;
mod assembly;
pub mod control;
pub mod core;
pub mod daemon;
pub mod doctor;
pub mod downtime;
pub mod engine;
pub mod feed;
pub mod foreground;
pub mod gate;
pub mod hooks;
mod inodes;
mod links;
pub mod live;
pub mod lock;
pub mod marks;
mod notify;
mod programs;
pub mod report;
pub mod rights;
mod roots;
mod rounds;
pub mod trim;
mod viewers;
mod vital;
pub mod warden;
pub mod watchman;
pub mod ways;
pub mod writer;

pub use daemon::{NoFanotify, run_daemon};
