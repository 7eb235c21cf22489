#![no_main]
//! Times, sizes and patterns.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::filters::body(bytes));
