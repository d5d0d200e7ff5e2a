//! Secrets are planted wherever one can enter, and looked for wherever one could show.
//!
//! Each planted text holds the word `canary` and nothing else does, so one search finds any of them,
//! whole or cut. This is a binary of its own for the sake of its logger, which takes everything that
//! anything in the process says, at the finest level.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod debug;
mod faults;
mod logged;
mod places;
mod refusals;
mod requests;
mod rig;
mod sessions;

/// Fails if a planted text is in what was seen `at` some place.
fn check(at: &str, seen: &str) {
    if let Some(position) = seen.to_ascii_lowercase().find("canary") {
        // What is around it tells where it came from; cuts must not fall into a character.
        let start = seen.floor_char_boundary(position.saturating_sub(200));
        let end = seen.ceil_char_boundary((position + 60).min(seen.len()));
        panic!("{at}: {}", &seen[start..end]);
    }
}

#[test]
#[should_panic(expected = "a place: the key is sk-Canary-1")]
fn a_planted_text_is_found() {
    check("a place", "the key is sk-Canary-1");
}
