#![no_main]
//! fsmon.toml.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::config::body(bytes));
