//! Answers that are metered: in pieces as whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_usage::fuzzing::meter(data));
