//! Forms: the `model` part, and the splice.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_server::fuzzing::form(data));
