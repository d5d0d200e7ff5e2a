//! WebSocket frames: messages, boundaries, refusals.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_server::fuzzing::frames(data));
