//! Kernel bytes to values, no I/O.
#![forbid(unsafe_code)]
