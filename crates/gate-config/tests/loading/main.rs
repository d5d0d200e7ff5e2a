//! Loading, seen from outside: sources in, a configuration or every problem out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod bad_input;
mod balancing;
mod certificates;
mod doubtful;
mod environment;
mod examples;
mod inheritance;
mod layering;
mod problems;
mod report;
mod secrets;
mod tree_problems;

use gate_config::{Loaded, Provider, Sources, load};

/// The file that texts in these tests stand for.
const FILE: &str = "a.toml";

/// A provider that raises neither problem nor warning.
const QUIET: &str = "[llm.provider.openai]\napi_key = \"k\"\n";

fn text(toml: &str) -> Sources {
    Sources::empty().with_text(FILE, toml)
}

#[track_caller]
fn loaded(sources: &Sources) -> Loaded {
    load(sources).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn provider(loaded: &Loaded, path: &str) -> Provider {
    let tree = &loaded.config.providers;
    let index = tree.find(path).unwrap_or_else(|| panic!("no provider {path}"));
    tree.provider(index).clone()
}

/// Returns every problem of a configuration, one line each.
#[track_caller]
fn problems(sources: &Sources) -> Vec<String> {
    match load(sources) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.as_slice().iter().map(ToString::to_string).collect(),
    }
}

/// Returns every warning of a configuration that can be used, one line each.
#[track_caller]
fn warnings(sources: &Sources) -> Vec<String> {
    loaded(sources).warnings.iter().map(ToString::to_string).collect()
}
