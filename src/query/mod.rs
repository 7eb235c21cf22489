//! Asking a log.
#![forbid(unsafe_code)]
