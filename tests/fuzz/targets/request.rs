#![no_main]
//! Requests and replies.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::request::body(bytes));
