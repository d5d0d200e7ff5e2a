//! Names of models: the grammar and the readings.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_model_ref::fuzzing::model_ref(data));
