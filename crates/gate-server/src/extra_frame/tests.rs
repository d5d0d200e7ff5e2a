//! What is taken out, and that nothing else is, wherever the stream is cut.

use proptest::prelude::*;

use super::*;

const CHUNK: &str =
    "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
const EXTRA: &str =
    "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// Returns what a stream that comes in these pieces becomes.
fn filtered<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    let mut filter = ExtraFrame::default();
    let mut passed = Vec::new();
    for piece in pieces {
        passed.extend_from_slice(&filter.push(Bytes::copy_from_slice(piece)));
        assert!(filter.held.len() <= MAX_HELD_BYTES);
    }
    passed.extend_from_slice(&filter.finish());
    passed
}

/// Checks a stream as a whole, in single bytes, and in every two halves.
#[track_caller]
fn check(stream: &str, expected: &str) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert_eq!(text(filtered([stream.as_bytes()])), expected, "whole: {stream:?}");
    assert_eq!(text(filtered(stream.as_bytes().chunks(1))), expected, "in bytes: {stream:?}");
    for at in 0..=stream.len() {
        let (first, second) = stream.as_bytes().split_at(at);
        assert_eq!(text(filtered([first, second])), expected, "cut at {at}: {stream:?}");
    }
}

// Spec: api A-47.
#[test]
fn exactly_the_usage_frame_is_taken_out() {
    check(&[CHUNK, EXTRA, DONE].concat(), &[CHUNK, DONE].concat());
    check(&[EXTRA, CHUNK, EXTRA, DONE].concat(), &[CHUNK, DONE].concat());
    check(&[CHUNK, DONE].concat(), &[CHUNK, DONE].concat());
    check("", "");
    for line_end in ["\r\n", "\r"] {
        let stream = [CHUNK, EXTRA, ": ping\n\n", DONE].concat().replace('\n', line_end);
        check(&stream, &[CHUNK, ": ping\n\n", DONE].concat().replace('\n', line_end));
    }
    // At the end, without its blank line.
    check(&[CHUNK, EXTRA.trim_end()].concat(), CHUNK);
    check(&[CHUNK, EXTRA.trim_end(), "\n"].concat(), CHUNK);
    // Written otherwise.
    check("data:{\"usage\" : {} , \"choices\" : [ ]}\n\n", "");
    check("event: chunk\nid: 7\ndata: {\"choices\":[],\ndata: \"usage\":{}}\n\n", "");
}

// Spec: api A-47.
#[test]
fn what_only_looks_like_the_frame_passes() {
    for stream in [
        // Usage beside a choice, no usage, a choice whose text talks about it.
        "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":3}}\n\n",
        "data: {\"choices\":[ {\"delta\":{}}],\"usage\":{\"prompt_tokens\":3}}\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n",
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"choices\\\":[],\\\"usage\\\":{}\"}}]}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":3}}\n\n",
        "data: {\"x\":{\"choices\":[],\"usage\":{}}}\n\n",
        // Not what a client would read either.
        "data: {\"choices\":[],\"usage\":{}\n\n",
        "data: [{\"choices\":[],\"usage\":{}}]\n\n",
        ": data: {\"choices\":[],\"usage\":{}}\n\n",
        "\n\n\n: ping\n\nretry: 3\n\n",
        "\r\n\r\n\r\r\ndata: x\r\r\n",
        "data: \u{1f600}\n\n",
        "data: {\"choices\":[{",
        // Passes before its end, and goes on with what would be a comment at its beginning.
        "data: {\"choices\":[{\"index\":0}]}\ndata: {\"choices\":[],\"usage\":{}}\n\n",
    ] {
        check(stream, stream);
    }
}

// Spec: api A-47.
#[test]
fn only_an_open_event_that_may_be_the_frame_is_held_back() {
    let mut filter = ExtraFrame::default();
    let mut push = |text: &'static str| filter.push(Bytes::from_static(text.as_bytes()));
    assert_eq!(push("data: 1\n\ndata: {\"choi"), "data: 1\n\n");
    assert_eq!(push("ces\":[{\"delta\""), "data: {\"choices\":[{\"delta\"");
    assert_eq!(push(":{}}]}"), ":{}}]}");
    assert_eq!(push("\n\ndata: "), "\n\n");
    assert_eq!(push("2\n"), "");
    assert_eq!(push("\n: ping\nid"), "data: 2\n\n: ping\n");
    assert_eq!(filter.release(), "id", "a break shows what came");
}

// Spec: api A-47.
#[test]
fn an_event_that_is_too_long_to_be_the_frame_passes_in_bounded_memory() {
    let long = format!("data: {{\"choices\":[],\"usage\":{{\"x\":\"{}\"}}}}\n\n", "x".repeat(100_000));
    let stream = format!("{CHUNK}{long}{EXTRA}{DONE}");
    let passed = filtered(stream.as_bytes().chunks(1000));
    assert_eq!(String::from_utf8(passed).unwrap(), format!("{CHUNK}{long}{DONE}"));
}

#[test]
fn what_passes_whole_is_not_copied() {
    let data = Bytes::from([CHUNK, CHUNK].concat());
    assert_eq!(ExtraFrame::default().push(data.clone()).as_ptr(), data.as_ptr());
    let data = Bytes::from([CHUNK, EXTRA].concat());
    assert_eq!(ExtraFrame::default().push(data.clone()).as_ptr(), data.as_ptr());
}

proptest! {
    // Spec: api A-47.
    #[test]
    fn however_a_stream_is_cut_the_same_is_taken_out(
        events in prop::collection::vec(prop::sample::select(vec![CHUNK, EXTRA, DONE, ": ping\n\n", "\n", "event: x\ndata: 1\ndata\n\n"]), 0..12),
        line_end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = events.concat().replace('\n', line_end);
        let kept: Vec<_> = events.iter().copied().filter(|event| *event != EXTRA).collect();
        let expected = kept.concat().replace('\n', line_end);
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for at in places.into_iter().chain([stream.len()]) {
            pieces.push(&stream.as_bytes()[from..at]);
            from = at;
        }
        prop_assert_eq!(String::from_utf8(filtered(pieces)).unwrap(), expected);
    }

    // Spec: api A-47.
    #[test]
    fn no_other_byte_is_lost_or_changed(stream in "[a-z:\\[\\]{}\" \r\n]{0,200}", size in 1_usize..9) {
        prop_assert_eq!(filtered(stream.as_bytes().chunks(size)), stream.as_bytes());
    }
}
