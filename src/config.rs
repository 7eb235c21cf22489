//! fsmon.toml, flags and defaults become one Config; whose home, and where every file is.
#![forbid(unsafe_code)]
