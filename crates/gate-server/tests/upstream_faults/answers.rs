//! Rows 32 to 37: answers that are whole, and not what the client hoped for.

use crate::rig::Ask;
use crate::row::{PROTOCOL, Row, Sees, Upstream, answer, json, sends};

const ERROR: &str = "{\"error\": {\"message\" : \"no\"}}";

fn memory(bytes: impl Into<Vec<u8>>) -> Upstream {
    Upstream::Memory(sends(bytes))
}

fn redirect(number: u16, location: &str) -> Row {
    let answer = format!("HTTP/1.1 {number} X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    Row::new(32, "a redirect", memory(answer), PROTOCOL).header("location", None)
}

/// An answer 429 that asks for patience in this way, which is passed on as it is.
fn limited(name: &'static str, value: &'static str) -> Row {
    let line = if value.is_empty() { String::new() } else { format!("{name}: {value}\r\n") };
    let length = ERROR.len();
    let bytes = format!("HTTP/1.1 429 X\r\n{line}content-length: {length}\r\n\r\n{ERROR}");
    let expected = Some(value).filter(|value| !value.is_empty());
    Row::new(33, "a limit of the provider", memory(bytes), answer(429, ERROR)).header(name, expected)
}

fn passed(number: u8, status: u16) -> Row {
    Row::new(number, "an error of the provider", memory(json(status, ERROR)), answer(status, ERROR))
        .header("x-should-retry", None)
}

fn refused_key(status: u16, ask: &'static [Ask], key: &str) -> Row {
    let said = format!("{{\"error\":\"key {key} is bad\"}}");
    let body = "{\"error\":\"key *** is bad\"}".to_owned();
    let sees = Sees::Answer { status, body, code: Some("upstream_auth") };
    Row::new(34, "a refusal of the gateway's key", memory(json(status, &said)), sees).asks(ask)
}

pub(crate) fn rows() -> Vec<Row> {
    let openai: &[Ask] = &[Ask::Chat, Ask::ResponsesStream];
    let anthropic: &[Ask] = &[Ask::Messages, Ask::MessagesStream];
    let zipped = |body: &[u8]| {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let mut rows = vec![
        redirect(301, "http://169.254.169.254/latest/"),
        redirect(302, "https://other.test/v1/chat/completions"),
        redirect(307, "/v1/elsewhere"),
        redirect(308, "//other.test/"),
        limited("retry-after", "7"),
        limited("retry-after", "Wed, 21 Oct 2065 07:28:00 GMT"),
        limited("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
        limited("retry-after", "1000000000000"),
        limited("retry-after-ms", "250"),
        limited("x-ratelimit-reset-requests", "1s"),
        limited("retry-after", ""),
        refused_key(401, openai, "openai-canary"),
        refused_key(403, openai, "openai-canary"),
        refused_key(401, anthropic, "anthropic-canary"),
        refused_key(403, anthropic, "anthropic-canary"),
        Row::new(
            37,
            "a coding that is a lie",
            memory(zipped(b"{\"plain\":1}")),
            answer(200, "{\"plain\":1}"),
        )
        .header("content-encoding", Some("gzip")),
        Row::new(
            37,
            "a coding that is broken",
            memory(zipped(b"\x1f\x8b\x08\x00cut")),
            answer(200, "\u{1f}\u{fffd}\u{8}\0cut"),
        ),
    ];
    rows.extend([400, 404, 413, 422].map(|status| passed(35, status)));
    rows.extend([500, 502, 503, 504, 529].map(|status| passed(36, status)));
    rows
}

// Spec: api; security S-20, S-23.
#[test]
fn answers_that_are_not_what_the_client_hoped_for() {
    for row in rows() {
        row.check();
    }
}
