//! Which directory is where: handle -> (parent, name).
#![forbid(unsafe_code)]
