//! What holds for any bytes that the gateway reads, by fuzz target. Compiled for tests and fuzz
//! targets only. The properties of a module that need its insides stand beside it.

#[path = "../../../fuzz/shared/pieces.rs"]
pub(crate) mod pieces;

mod http1;
mod rig;
mod server;

pub use crate::extra_frame::property::extra_frame;
pub use crate::form::property::form;
pub use crate::head::property::request_head;
pub use crate::websocket::frames;
pub use server::{answer, server};

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

#[test]
fn the_corpus_of_request_heads_reads_as_another_reader_reads_it() {
    replay::replay("request_head", request_head);
}

#[test]
fn the_corpus_of_forms_reads_as_another_reader_reads_it() {
    replay::replay("form", form);
}

#[test]
fn the_corpus_of_streams_loses_only_the_extra_frame() {
    replay::replay("extra_frame", extra_frame);
}

#[test]
fn the_corpus_of_frames_reads_the_same_in_pieces() {
    replay::replay("frames", frames);
}

#[test]
fn the_corpus_of_requests_ends_and_sends_no_more_than_it_should() {
    replay::replay("server", server);
}

#[test]
fn the_corpus_of_answers_never_ends_cleanly_where_it_was_cut() {
    replay::replay("answer", answer);
}
