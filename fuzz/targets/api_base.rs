//! Base URLs: what is taken, and every join below it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_config::fuzzing::api_base(data));
