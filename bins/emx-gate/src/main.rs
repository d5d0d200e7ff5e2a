//! emx-gate.
fn main() {}
