//! JSON bodies: the model that is read, and the splice.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_server::fuzzing::request_head(data));
