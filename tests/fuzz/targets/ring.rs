#![no_main]
//! Bytes of a perf ring.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::ring::body(bytes));
