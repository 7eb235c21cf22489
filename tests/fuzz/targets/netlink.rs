#![no_main]
//! Datagrams of the proc connector.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::netlink::body(bytes));
