#![no_main]
//! policy.toml.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::policy::body(bytes));
