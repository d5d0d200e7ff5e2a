//! Which beginnings are none yet, and which are errors, however the stream is cut.

use proptest::prelude::*;

use super::*;

const CREATED: &str =
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n";
const STARTED: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
const OVERLOADED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

/// Each stream with what is seen of it in the end.
fn streams() -> Vec<(StreamDialect, String, Sight)> {
    use StreamDialect::{Chat, Messages, Responses};
    let cases = |dialect, rows: &[(&str, Sight)]| -> Vec<_> {
        rows.iter().map(|(text, sight)| (dialect, (*text).to_owned(), *sight)).collect()
    };
    let started = |rest: &str| format!("{STARTED}{rest}");
    let created = |rest: &str| format!("{CREATED}{rest}");
    [
        cases(Messages, &[
            ("", Sight::Nothing),
            (": ping\n\n", Sight::Nothing),
            (STARTED, Sight::Nothing),
            (OVERLOADED, Sight::Error(529)),
            (&started(OVERLOADED), Sight::Error(529)),
            (&started("event: ping\ndata: {\"type\":\"ping\"}\n\n"), Sight::Nothing),
            (&started("event: content_block_start\ndata: {\"type\":\"content_block_start\"}\n\n"), Sight::Nothing),
            (&started("event: content_block_delta\ndata: {\"delta\":{\"text\":\"a\"}}\n\n"), Sight::Content),
            (&started("event: message_stop\ndata: {}\n\n"), Sight::Content),
            (&started("event: new_thing\ndata: {}\n\n"), Sight::Content),
            // Where the line is left out, the type is the name.
            ("data: {\"type\":\"message_start\"}\n\n", Sight::Nothing),
            ("data: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\"}}\n\n", Sight::Error(400)),
            ("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"}}\n\n", Sight::Error(502)),
            ("event: error\ndata: {}\n\n", Sight::Error(502)),
            // A half event says nothing.
            ("event: error\ndata: {\"error\":{}}\n", Sight::Nothing),
            ("data: no JSON\n\n", Sight::Content),
        ]),
        cases(Chat, &[
            ("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n", Sight::Nothing),
            ("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"refusal\":null,\"tool_calls\":[]},\"finish_reason\":null}]}\n\n", Sight::Nothing),
            ("data: {\"choices\":[]}\n\n", Sight::Nothing),
            ("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", Sight::Content),
            ("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}\n\n", Sight::Content),
            ("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", Sight::Content),
            ("data: {\"choices\":[{\"text\":\"\"}]}\n\n", Sight::Nothing),
            ("data: {\"choices\":[{\"text\":\"a\"}]}\n\n", Sight::Content),
            ("data: {}\n\n", Sight::Content),
            ("data: [DONE]\n\n", Sight::Content),
            ("data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"code\":null}}\n\n", Sight::Error(502)),
            ("data: {\"error\":{\"code\":429}}\n\n", Sight::Error(429)),
            ("data: {\"error\":{\"code\":\"503\"}}\n\n", Sight::Error(503)),
            ("data: {\"error\":{\"code\":7,\"type\":\"tokens\"}}\n\n", Sight::Error(429)),
            ("data: {\"error\":{\"code\":\"insufficient_quota\"}}\n\n", Sight::Error(429)),
            ("data: {\"error\":\"broken\"}\n\n", Sight::Error(502)),
            (": OPENROUTER PROCESSING\r\n\r\ndata: {\"error\":{\"code\":502}}\r\n\r\n", Sight::Error(502)),
            ("data: {\"error\":\rdata: {\"code\":400}}\r\r", Sight::Error(400)),
            ("\u{feff}data: {\"error\":{\"code\":401}}\n\n", Sight::Error(401)),
        ]),
        cases(Responses, &[
            (CREATED, Sight::Nothing),
            (&created("event: response.output_item.added\ndata: {}\n\n"), Sight::Nothing),
            (&created("event: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n"), Sight::Content),
            (&created("event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\"}\n\n"), Sight::Error(429)),
            (&created("event: error\ndata: {\"type\":\"error\",\"code\":null}\n\n"), Sight::Error(502)),
            (
                &created("event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n"),
                Sight::Error(502),
            ),
            (
                &created("event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"invalid_prompt\"}}}\n\n"),
                Sight::Error(400),
            ),
        ]),
    ]
    .concat()
}

/// Reads pieces until something is seen.
fn sight_of<'p>(dialect: StreamDialect, mut pieces: impl Iterator<Item = &'p [u8]>) -> Sight {
    let mut beginning = Beginning::new(dialect);
    pieces
        .find_map(|piece| Some(beginning.push(piece)).filter(|s| *s != Sight::Nothing))
        .unwrap_or(Sight::Nothing)
}

// Spec: load-balancing B-10, B-24.
#[test]
fn a_stream_has_begun_once_it_says_something() {
    for (dialect, text, expected) in streams() {
        assert_eq!(sight_of(dialect, [text.as_bytes()].into_iter()), expected, "{text}");
        assert_eq!(sight_of(dialect, text.as_bytes().chunks(1)), expected, "byte by byte: {text}");
    }
}

proptest! {
    // Spec: load-balancing B-10.
    #[test]
    fn however_a_stream_is_cut_the_same_is_seen(
        of in 0..streams().len(),
        mut cuts in prop::collection::vec(0.0..1.0, 0..6),
    ) {
        let (dialect, text, expected) = streams().swap_remove(of);
        cuts.sort_by(f64::total_cmp);
        let mut start = 0;
        let mut pieces = Vec::new();
        for cut in cuts.into_iter().chain([1.0]) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short text")]
            let end = (cut * text.len() as f64) as usize;
            pieces.push(&text.as_bytes()[start..end]);
            start = end;
        }
        prop_assert_eq!(sight_of(dialect, pieces.into_iter()), expected, "{}", text);
    }
}
