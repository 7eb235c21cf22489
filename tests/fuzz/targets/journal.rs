#![no_main]
//! The journal, whoever wrote it.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::journal::body(bytes));
