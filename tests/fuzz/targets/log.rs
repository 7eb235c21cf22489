#![no_main]
//! Whole logs, asked and cleaned.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::log::body(bytes));
