//! Configuration texts: loading, problems, explanations.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_config::fuzzing::config(data));
