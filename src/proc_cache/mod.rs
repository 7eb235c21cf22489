//! Which process is who: versions of each process over time.
#![forbid(unsafe_code)]
