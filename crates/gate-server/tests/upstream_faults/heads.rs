//! Rows 10 to 13, 15 to 18, 22, 30, 31 and 41: faults of the head, or none at all.

use std::time::Duration;

use gate_testkit::raw::{Flaw, RawScript};

use crate::rig::{Ask, Rig, config, paused};
use crate::row::{CLOSED, PROTOCOL, Row, Sees, TIMEOUT, Upstream, answer, json, sends};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";

/// SETTINGS and GOAWAY, as a server of HTTP/2 greets one that it does not understand.
const HTTP2_FRAMES: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn memory(bytes: impl Into<Vec<u8>>) -> Upstream {
    Upstream::Memory(sends(bytes))
}

/// Writes an answer with these lines in its head, and the body `ok`.
fn with_lines(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nok")
}

/// Sends interim responses for ever, one each 50 ms.
fn drip() -> RawScript {
    (0..100).fold(RawScript::new().expect_request(), |script, _| {
        script.wait(Duration::from_millis(50)).send(HINT)
    })
}

fn nothing_comes() -> Vec<Row> {
    let (asked, first_byte) = (RawScript::new().expect_request(), "first_byte = 0.2");
    let half = asked.clone().send("HTTP/1.1 200 OK\r\ncontent-le");
    let truncated = Upstream::Tls { flaw: Flaw::None, alpn: &[], is_trusted: true, script: asked.clone() };
    vec![
        Row::new(10, "a reset", Upstream::Tcp(asked.clone().reset()), CLOSED),
        Row::new(
            10,
            "a reset before the request is read",
            Upstream::Tcp(RawScript::new().expect_bytes(1).reset()),
            CLOSED,
        ),
        Row::new(10, "an end", Upstream::Tcp(asked.clone().close()), CLOSED),
        Row::new(10, "an end of TCP below TLS", truncated, CLOSED),
        Row::new(10, "a reset inside the head", Upstream::Tcp(half.clone().reset()), CLOSED),
        Row::new(10, "an end inside the head", Upstream::Memory(half.clone()), CLOSED),
        Row::story(11, "a kept connection that ends when it is used again", kept_connection_ends),
        Row::new(12, "silence", Upstream::Memory(asked.stall()), TIMEOUT).takes(first_byte, 200),
        Row::new(13, "silence inside the head", Upstream::Memory(half.stall()), TIMEOUT)
            .takes(first_byte, 200),
    ]
}

fn interim() -> Vec<Row> {
    vec![
        Row::new(
            15,
            "a hundred interim responses",
            memory(HINT.repeat(100) + &json(200, "{}")),
            answer(200, "{}"),
        ),
        Row::new(15, "a thousand", memory(HINT.repeat(1000) + &json(200, "{}")), PROTOCOL),
        Row::new(15, "megabytes of them", Upstream::Tcp(sends(HINT.repeat(100_000))), PROTOCOL),
        Row::new(15, "a drip of them", Upstream::Memory(drip()), TIMEOUT).takes("first_byte = 0.2", 200),
        Row::new(
            16,
            "a switch of protocols",
            memory("HTTP/1.1 101 X\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n"),
            PROTOCOL,
        )
        .header("upgrade", None),
    ]
}

fn not_http() -> Vec<Row> {
    let fields = |count| "x-a: b\r\n".repeat(count);
    let large = |bytes| with_lines(&format!("content-length: 2\r\nx-large: {}", "y".repeat(bytes)));
    vec![
        Row::new(17, "garbage", memory("\u{1}\u{2}\u{3}\r\n\r\n"), PROTOCOL),
        Row::new(
            17,
            "a banner",
            Upstream::Tcp(RawScript::new().send("SSH-2.0-OpenSSH_9.9\r\n").stall()),
            PROTOCOL,
        ),
        Row::new(17, "HTTP/0.9", memory("<html>hello</html>\r\n"), PROTOCOL),
        Row::new(17, "status 099", memory("HTTP/1.1 099 X\r\n\r\n"), PROTOCOL),
        Row::new(18, "status 600", memory("HTTP/1.1 600 X\r\ncontent-length: 0\r\n\r\n"), PROTOCOL),
        Row::new(18, "status 999", memory("HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n"), PROTOCOL),
        Row::new(
            22,
            "a length twice in one line",
            memory(with_lines("content-length: 2, 2")),
            answer(200, "ok"),
        )
        .header("content-length", Some("2")),
        Row::new(22, "two lengths", memory(with_lines("content-length: 2\r\ncontent-length: 3")), PROTOCOL),
        Row::new(22, "a negative length", memory(with_lines("content-length: -1")), PROTOCOL),
        Row::new(30, "a head of 60 KB", memory(large(60_000)), answer(200, "ok")),
        Row::new(30, "a head of 300 KB", memory(large(300_000)), PROTOCOL),
        Row::new(30, "a head of 1 MB", Upstream::Tcp(sends(large(1_000_000))), PROTOCOL),
        Row::new(
            30,
            "150 fields",
            memory(with_lines(&format!("{}content-length: 2", fields(150)))),
            PROTOCOL,
        ),
        Row::new(31, "a NUL in a field", memory(with_lines("x-a: b\0c\r\ncontent-length: 2")), PROTOCOL),
        Row::new(31, "a folded field", memory(with_lines("x-a: b\r\n c\r\ncontent-length: 2")), PROTOCOL),
        Row::new(
            31,
            "lines that end in LF",
            memory("HTTP/1.1 200 OK\nx-a: b\ncontent-length: 2\n\nok"),
            answer(200, "ok"),
        )
        .header("x-a", Some("b")),
        Row::new(41, "HTTP/2 in the clear", memory(HTTP2_FRAMES), PROTOCOL),
        Row::new(41, "a version that is not spoken", memory("HTTP/2.0 200 OK\r\n\r\n"), PROTOCOL),
    ]
}

pub(crate) fn rows() -> Vec<Row> {
    [nothing_comes(), interim(), not_http()].concat()
}

// Spec: api; monitoring L-14.
#[test]
fn answers_that_do_not_begin() {
    for row in nothing_comes() {
        row.check();
    }
}

// Spec: api; security S-32, S-53.
#[test]
fn answers_that_only_seem_to_begin() {
    for row in interim() {
        row.check();
    }
}

// Spec: api; security S-32, S-53, S-54.
#[test]
fn heads_that_are_not_those_of_an_answer() {
    for row in not_http() {
        row.check();
    }
}

/// Closed while idle, nothing of the request is written and a new connection serves it. Closed
/// under the request, it may have been seen, and is not sent again.
fn kept_connection_ends() {
    let served = sends(json(200, "1"));
    for (first, sees, connections) in [
        (served.clone().close(), Ok("2"), 2),
        (served.clone().expect_request().close(), Err(CLOSED), 1),
        (served.clone().expect_bytes(1).close(), Err(CLOSED), 1),
    ] {
        paused().block_on(async {
            let text = config("http://upstream.test", "", "");
            let (mut rig, upstream) = Rig::in_memory(&text, [first, sends(json(200, "2"))]);
            let request = Ask::Chat.request(0);
            assert_eq!(rig.send(&request).await.body.text(), "1");
            rig.record().await;
            // The clock moves on only once the script has closed, if it does.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let response = rig.send(&request).await;
            match sees {
                Ok(body) => assert_eq!(response.body.text(), body),
                Err(Sees::Error { status, code, .. }) => {
                    let seen = (response.head.status, response.head.header("x-gateway-error"));
                    assert_eq!(seen, (status, Some(code)));
                }
                Err(other) => panic!("{other:?}"),
            }
            assert_eq!((rig.record().await.attempts, upstream.connections()), (1, connections));
        });
    }
}
