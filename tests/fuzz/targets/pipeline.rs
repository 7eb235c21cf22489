#![no_main]
//! Records of the kernel, from the queue to the line.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::pipeline::body(bytes));
