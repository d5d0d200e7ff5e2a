//! The whole server between a client and providers, both of the input.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_server::fuzzing::server(data));
