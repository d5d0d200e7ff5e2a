//! Parses names from the command line and shows how each can be read.
//!
//! `cargo run -p gate-model-ref --example parse -- openai.gpt-4.1 'gpt 4'`

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use gate_model_ref::ModelRef;

fn main() {
    for text in std::env::args().skip(1) {
        match ModelRef::parse(&text) {
            Ok(name) => {
                let kind = name.kind().map_or("none named", |kind| kind.as_str());
                println!("{name}: kind {kind}");
                for split in name.splits() {
                    println!("    provider path `{}`, rest `{}`", split.path, split.rest);
                }
            }
            Err(error) => println!("{text:?}: {error}"),
        }
    }
}
