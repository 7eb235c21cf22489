//! Log lines and the files they stand in.
#![forbid(unsafe_code)]

pub mod escape;
pub mod line;
pub mod scan;
pub mod stamp;
