//! Rows 19 to 21, 23 and 24: where the framing of a body is not what it seems.

use std::time::Duration;

use gate_testkit::raw::RawScript;

use crate::rig::{Ask, Rig, config, paused};
use crate::row::{CHUNKED_STREAM, PROTOCOL, Row, Upstream, answer, breaks, chunk, json, sends};

const EVENT: &str = "data: {\"a\":1}\n\n";
const HALF: &str = "{\"half\":";

fn row(number: u8, name: &'static str, asks: &'static [Ask], bytes: String, sees: crate::row::Sees) -> Row {
    Row::new(number, name, Upstream::Memory(sends(bytes)), sees).asks(asks)
}

pub(crate) fn rows() -> Vec<Row> {
    let sized = |kind: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 100\r\n\r\n{body}")
    };
    let (stream, whole) = (sized("text/event-stream", EVENT), sized("application/json", HALF));
    let chunked_json =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let events = |rest: &str| format!("{CHUNKED_STREAM}{}{rest}", chunk(EVENT));
    let pieces = |rest: &str| format!("{chunked_json}{}{rest}", chunk(HALF));
    let (closed, protocol) = ("upstream_closed", "upstream_protocol");
    let no_content = "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n";
    let both =
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    vec![
        row(19, "a short stream", Ask::STREAMS, stream.clone(), breaks(EVENT, closed))
            .header("content-length", None),
        row(19, "a short body", Ask::WHOLE, whole.clone(), breaks(HALF, closed)),
        Row::new(19, "a reset stream", Upstream::Tcp(sends(stream).reset()), breaks(EVENT, closed))
            .asks(Ask::STREAMS),
        Row::new(19, "a reset body", Upstream::Tcp(sends(whole).reset()), breaks(HALF, closed))
            .asks(Ask::WHOLE),
        Row::story(20, "more than the length says", excess_bytes),
        row(21, "a length and a coding", Ask::ALL, both.to_owned(), answer(200, "ok"))
            .header("content-length", None)
            .header("transfer-encoding", Some("chunked")),
        row(23, "204 with a length", Ask::ALL, no_content.to_owned(), answer(204, ""))
            .header("content-length", None),
        row(23, "204 with a body", Ask::ALL, format!("{no_content}ok"), answer(204, ""))
            .header("content-length", None),
        row(23, "304 to a request without a condition", Ask::ALL, json(304, "ok"), PROTOCOL),
        row(24, "a bad chunk in a stream", Ask::STREAMS, events("zz\r\n"), breaks(EVENT, protocol)),
        row(24, "a bad chunk", Ask::WHOLE, pieces("zz\r\n"), breaks(HALF, protocol)),
        row(
            24,
            "a stream cut in a chunk",
            Ask::STREAMS,
            events("ff\r\ndata: x"),
            breaks(EVENT.to_owned() + "data: x", closed),
        ),
        row(
            24,
            "a body cut in a chunk",
            Ask::WHOLE,
            pieces("ff\r\n1"),
            breaks(HALF.to_owned() + "1", closed),
        ),
        row(24, "a stream without its last chunk", Ask::STREAMS, events(""), breaks(EVENT, closed)),
        row(24, "a body without its last chunk", Ask::WHOLE, pieces(""), breaks(HALF, closed)),
        row(
            24,
            "a chunk that is too long to be one",
            Ask::STREAMS,
            events("fffffffffffffffff\r\n"),
            breaks(EVENT, protocol),
        ),
    ]
}

// Spec: api; security S-32, S-55.
#[test]
fn bodies_that_are_not_framed_as_they_should_be() {
    for row in rows() {
        row.check();
    }
}

/// What follows an answer is not taken for the next one, whether it comes with it or after it.
fn excess_bytes() {
    let forged = json(200, "forged");
    let at_once = sends(json(200, "1") + &forged).expect_request().stall();
    let later = sends(json(200, "1")).wait(Duration::from_millis(1)).send(forged).expect_request().stall();
    for script in [at_once, later] {
        paused().block_on(async {
            let text = config("http://upstream.test", "", "");
            let (mut rig, upstream) = Rig::in_memory(&text, [script, sends(json(200, "2"))]);
            for expected in ["1", "2"] {
                assert_eq!(rig.send(&Ask::Chat.request(0)).await.body.text(), expected);
                assert_eq!(
                    (rig.record().await.end.as_str(), upstream.connections().to_string().as_str()),
                    ("complete", expected)
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    // Nor is it passed on within the first.
    let alone: RawScript = sends(json(200, "1") + "excess");
    Row::new(20, "excess", Upstream::Memory(alone), answer(200, "1"))
        .header("content-length", Some("1"))
        .check();
}
