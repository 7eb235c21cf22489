//! Kernel bytes to values: records of a fanotify read, no I/O, never a panic.
#![forbid(unsafe_code)]

pub mod bits;
pub mod raw;
pub mod wire;
