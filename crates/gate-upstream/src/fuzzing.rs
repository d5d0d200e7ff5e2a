//! The properties that fuzz targets run. Compiled for tests and fuzz targets only.

#[path = "../../../fuzz/shared/pieces.rs"]
pub(crate) mod pieces;

pub use crate::http1::property::upstream_answer;

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

// Spec: security S-16.
#[test]
fn the_corpus_of_answers_is_read_the_same_however_it_is_cut() {
    replay::replay("upstream_answer", upstream_answer);
}
