//! The request protocol and its client.
//!
//! One request a connection: a TOML document, ended by an empty line or by closing the
//! sending side. The answer is a TOML document and one more newline; then the daemon closes.
#![forbid(unsafe_code)]

pub mod client;
pub mod health;
pub mod proto;

pub use client::{CallError, call, subscribe};
pub use health::Health;
pub use proto::{ErrorKind, Reply, Request};
