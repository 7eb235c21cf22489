//! The fsmon binary as a user meets it: help, errors, exit codes, store edits, a daemon played on a socket.
//!
//! Nothing here needs root. Each test has a home of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(missing_docs, reason = "nobody imports a test")]

#[path = "cli/sandbox.rs"]
mod sandbox;

// Help, usage errors, exit codes, closed pipes.
#[path = "cli/arguments.rs"]
mod arguments;

// add, remove, monitored, and the store they edit.
#[path = "cli/store.rs"]
mod store;

// What add and remove do with the answers of a daemon.
#[path = "cli/socket.rs"]
mod socket;

// init, cd, and where files are.
#[path = "cli/places.rs"]
mod places;

// query and clean on logs made by hand.
#[path = "cli/logs.rs"]
mod logs;

// doctor, as far as it needs no rights.
#[path = "cli/doctor.rs"]
mod doctor;

// why on logs made by hand.
#[path = "cli/why.rs"]
mod why;

// init --completions and --man.
#[path = "cli/shell.rs"]
mod shell;

// The Debian package, without building it.
#[path = "cli/package.rs"]
mod package;
