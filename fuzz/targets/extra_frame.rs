//! Event streams that lose the usage which nobody asked for.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_server::fuzzing::extra_frame(data));
