#![no_main]
//! Bytes of a fanotify queue.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::fanotify::body(bytes));
