#![no_main]
//! monitored.jsonl.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::store::body(bytes));
