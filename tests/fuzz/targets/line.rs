#![no_main]
//! Lines of a log.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::line::body(bytes));
