//! Rows 14 and 25 to 29: streams that stall, end early, look odd, or carry errors.

use std::time::Duration;

use gate_testkit::raw::Flaw;

use crate::rig::Ask;
use crate::row::{CHUNKED_STREAM, CLOSING_STREAM, Row, Upstream, answer, breaks, chunk, json, sends};

const EVENT: &str = "data: {\"a\":1}\n\n";
const DONE: &str = "data: {\"a\":1}\n\ndata: [DONE]\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

const CHAT: &[Ask] = &[Ask::ChatStream];
const MESSAGES: &[Ask] = &[Ask::MessagesStream];

/// An event stream in one chunk, ended as it should be.
fn chunked(body: &str) -> Upstream {
    Upstream::Memory(sends(format!("{CHUNKED_STREAM}{}0\r\n\r\n", chunk(body))))
}

/// An event stream that ends with its connection.
fn closing(body: &str) -> Upstream {
    Upstream::Memory(sends(format!("{CLOSING_STREAM}{body}")))
}

/// An answer that ends with its connection, over TLS without the end that TLS has for it.
fn truncated_tls(answer: String) -> Upstream {
    Upstream::Tls { flaw: Flaw::None, alpn: &[], is_trusted: true, script: sends(answer) }
}

fn silent() -> Vec<Row> {
    let begun = sends(format!("{CHUNKED_STREAM}{}", chunk(EVENT)));
    let lively = (0..4)
        .fold(begun.clone(), |script, _| script.wait(Duration::from_millis(150)).send(chunk(": ping\n\n")));
    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let pings = EVENT.to_owned() + &": ping\n\n".repeat(4);
    let timeout = "upstream_timeout";
    vec![
        Row::new(14, "a stream falls silent", Upstream::Memory(begun.stall()), breaks(EVENT, timeout))
            .asks(Ask::STREAMS)
            .takes("read = 0.2", 200),
        Row::new(14, "comments are signs of life", Upstream::Memory(lively.stall()), breaks(pings, timeout))
            .asks(Ask::STREAMS)
            .takes("read = 0.2", 800),
        Row::new(14, "a body falls silent", Upstream::Memory(sends(half).stall()), breaks("{", timeout))
            .asks(Ask::WHOLE)
            .takes("read = 0.2", 200),
    ]
}

fn ended() -> Vec<Row> {
    let closed = "upstream_closed";
    let cut = "data: {\"a\":";
    let close_json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let over_tls = |body: &str| truncated_tls(format!("{CLOSING_STREAM}{body}"));
    vec![
        Row::new(25, "half an event at the end", closing(cut), breaks(cut, closed))
            .asks(Ask::STREAMS)
            .end("upstream_incomplete"),
        Row::new(25, "half an event at the end of TLS", over_tls(cut), breaks(cut, closed))
            .asks(Ask::STREAMS),
        Row::new(25, "a marker at the end of TLS", over_tls(DONE), answer(200, DONE)).asks(CHAT),
        Row::new(25, "a stop at the end of TLS", over_tls(STOP), answer(200, STOP)).asks(MESSAGES),
        Row::new(
            25,
            "whole JSON at the end of TLS",
            truncated_tls(format!("{close_json}{{}}")),
            answer(200, "{}"),
        )
        .asks(Ask::WHOLE),
        Row::new(
            25,
            "half of JSON at the end of TLS",
            truncated_tls(format!("{close_json}{{")),
            breaks("{", closed),
        )
        .asks(Ask::WHOLE),
        Row::new(26, "a last chunk and no marker", chunked(EVENT), answer(200, EVENT)).asks(Ask::STREAMS),
        Row::new(26, "a close and no marker", closing(EVENT), breaks(EVENT, closed))
            .asks(Ask::STREAMS)
            .end("upstream_incomplete"),
        Row::new(26, "a close behind the marker", closing(DONE), answer(200, DONE)).asks(CHAT),
        Row::new(26, "a close behind the stop", closing(STOP), answer(200, STOP)).asks(MESSAGES),
    ]
}

fn odd() -> Vec<Row> {
    let same = |name, body: String| Row::new(27, name, chunked(&body), answer(200, body)).asks(Ask::STREAMS);
    let bytes: String = "data: {\"a\":\"\u{e9}\u{1f600}\"}\n\ndata: [DONE]\n\n".into();
    let by_byte = bytes.as_bytes().iter().fold(sends(CHUNKED_STREAM), |script, byte| {
        script.send([b"1\r\n".as_slice(), &[*byte], b"\r\n"].concat())
    });
    vec![
        same("lines that end in CRLF", "data: {\"a\":1}\r\n\r\ndata: [DONE]\r\n\r\n".into()),
        same("lines that end in CR", "data: {\"a\":1}\r\rdata: [DONE]\r\r".into()),
        same("a byte order mark", "\u{feff}data: {\"a\":1}\n\ndata: [DONE]\n\n".into()),
        same("comments", ": a\n\n: b\n\ndata: [DONE]\n\n".into()),
        same("no space behind the colon", "data:{\"a\":1}\n\ndata:[DONE]\n\n".into()),
        same("a line of 1 MB", format!("data: {{\"a\":\"{}\"}}\n\ndata: [DONE]\n\n", "x".repeat(1_000_000))),
        same("two usages", "data: {\"usage\":{\"prompt_tokens\":1}}\n\n".repeat(2)),
        Row::new(
            27,
            "a chunk for every byte",
            Upstream::Memory(by_byte.send("0\r\n\r\n")),
            answer(200, bytes),
        )
        .asks(Ask::STREAMS),
    ]
}

fn erring() -> Vec<Row> {
    let error = "{\"error\":{\"message\":\"overloaded\"}}";
    let html = "<html>sign in</html>";
    let portal =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{html}", html.len());
    let chat = format!("data: {error}\n\n");
    let messages = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    vec![
        Row::new(
            28,
            "an error with status 200",
            Upstream::Memory(sends(json(200, error))),
            answer(200, error),
        ),
        Row::new(28, "a page of a captive portal", Upstream::Memory(sends(portal)), answer(200, html)),
        Row::new(29, "an error as first event", chunked(&chat), answer(200, chat))
            .asks(CHAT)
            .end("upstream_error"),
        Row::new(29, "an error as first event", chunked(messages), answer(200, messages))
            .asks(MESSAGES)
            .end("upstream_error"),
    ]
}

pub(crate) fn rows() -> Vec<Row> {
    [silent(), ended(), odd(), erring()].concat()
}

// Spec: api A-23, A-24.
#[test]
fn streams_that_fall_silent() {
    for row in silent() {
        row.check();
    }
}

// Spec: api A-24, A-76.
#[test]
fn streams_that_just_end() {
    for row in ended() {
        row.check();
    }
}

// Spec: api A-21.
#[test]
fn streams_that_are_written_in_odd_ways() {
    for row in odd() {
        row.check();
    }
}

// Spec: monitoring L-6.
#[test]
fn answers_that_carry_an_error() {
    for row in erring() {
        row.check();
    }
}
