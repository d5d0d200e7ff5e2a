//! Answers of a provider as they come: relayed whole, or not as whole.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_server::fuzzing::answer(data));
