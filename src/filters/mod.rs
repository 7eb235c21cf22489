//! Time, size and path filters.
#![forbid(unsafe_code)]
