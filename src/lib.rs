//! fsmon: a flight recorder for a Linux filesystem.
//!
//! Kernel bytes come in at one edge, log lines and answers go out at the other;
//! between them are plain values and plain functions. Who may see whom:
//!
//! - `monitor` sees every module below it.
//! - `pipeline` sees `dir_cache`, `proc_cache`, `fid_parser`, `filters`,
//!   `monitored` and `event`; never `sys`, `log` or tokio.
//! - `policy` sees `filters` and `event`.
//! - `manifest` sees `log`, `filters`, `event` and `sys`.
//! - `query` and `clean` see `log`, `filters` and `event`.
//! - `dir_cache` and `proc_cache` see `fid_parser`, `sys` and `event`.
//! - `log`, `socket`, `monitored` and `config` see `filters` and `event`
//!   (`config`, `monitored` and `log` also `sys`; `socket` also `monitored`).
//! - `filters` and `fid_parser` see `event`; `event` and `sys` see nothing.
//!
//! `tests/tidy.rs` keeps this table true.

pub mod clean;
pub mod config;
pub mod dir_cache;
pub mod event;
pub mod fid_parser;
pub mod filters;
pub mod log;
pub mod manifest;
pub mod monitor;
pub mod monitored;
pub mod pipeline;
pub mod policy;
pub mod proc_cache;
pub mod query;
pub mod socket;
pub mod sys;
