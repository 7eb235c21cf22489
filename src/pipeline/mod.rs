//! One event through its stages, pure.
#![forbid(unsafe_code)]
