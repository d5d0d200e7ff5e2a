//! Answers of a provider, as they are read from its connection: in pieces as whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_upstream::fuzzing::upstream_answer(data));
