//! The request protocol and its client.
#![forbid(unsafe_code)]
