#![no_main]
//! The manifest that lies beside the logs.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::manifest::body(bytes));
