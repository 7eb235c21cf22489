//! Log lines and the files they stand in.
#![forbid(unsafe_code)]
