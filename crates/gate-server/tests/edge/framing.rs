//! Rows 31 to 47: where a request begins and ends, and what two readers could see differently.

use gate_testkit::raw::RawResponse;
use gate_usage::EndReason;

use crate::rig::{Rig, run};
use crate::row::{Expect, Row, check_end, ended, passes, passes_last, post, refused, with_length};

const PATH: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"gpt-4"}"#;
const CHUNKS: &str = "11\r\n{\"model\":\"gpt-4\"}\r\n0\r\n\r\n";
const JSON: &str = "content-type: application/json";
const CHUNKED: &str = "transfer-encoding: chunked";

pub(crate) fn rows() -> Vec<Row> {
    [lengths(), codings(), chunks(), lines(), connections()].concat()
}

/// Writes a POST of JSON with this framing.
fn framed(framing: &[&str], body: &str) -> Vec<u8> {
    post(PATH, &[&[JSON], framing].concat(), body)
}

/// Writes one case for each framing.
fn each<const N: usize>(
    framings: [&[&str]; N],
    body: &'static str,
    expect: &Expect,
) -> [(Vec<u8>, Expect); N] {
    framings.map(|framing| (framed(framing, body), expect.clone()))
}

fn lengths() -> Vec<Row> {
    let values = ["17, 17", "+17", "0x11", "-1", "", "99999999999999999999", "1 7", "17;"];
    let no_number =
        values.map(|value| (framed(&[&format!("content-length: {value}")], BODY), Expect::Parser(400)));
    vec![
        // Taken as chunks, which is what an attacker's other reader may not do: so nothing that follows
        // is believed.
        Row::raw(
            31,
            "a length and chunks",
            each(
                [
                    &["content-length: 17", CHUNKED],
                    &[CHUNKED, "content-length: 17"],
                    &["content-length: 2", CHUNKED],
                ],
                CHUNKS,
                &passes_last(BODY),
            ),
        ),
        Row::raw(
            32,
            "two lengths",
            each(
                [
                    &["content-length: 17", "content-length: 18"],
                    &["content-length: 18", "content-length: 17"],
                ],
                BODY,
                &Expect::Parser(400),
            ),
        ),
        Row::raw(32, "a length that is no number", no_number),
        Row::raw(
            33,
            "one length, said twice or at length",
            each(
                [&["content-length: 17", "content-length: 17"], &["content-length: 0017"]],
                BODY,
                &passes(BODY),
            ),
        ),
        Row::raw(
            34,
            "a space before the colon",
            each(
                [&["content-length : 17"], &["content-length\t: 17"], &["transfer-encoding : chunked"]],
                BODY,
                &Expect::Parser(400),
            ),
        ),
        Row::raw(
            35,
            "names with `_`",
            each(
                [
                    &["content_length: 17"],
                    &["transfer_encoding: chunked"],
                    &["content-length: 17", "x_api_key: a"],
                ],
                BODY,
                &ended(400, "bad_request"),
            ),
        ),
    ]
}

fn codings() -> Vec<Row> {
    let unknown = ["identity", "xchunked", "chunked, gzip", "\x0bchunked", "chunked;a=b", "", ","];
    let unknown = unknown
        .map(|coding| (framed(&[&format!("transfer-encoding: {coding}")], CHUNKS), Expect::Parser(400)));
    let old = format!("POST {PATH} HTTP/1.0\r\nhost: localhost\r\n{JSON}\r\n{CHUNKED}\r\n\r\n{CHUNKS}");
    vec![
        Row::raw(
            36,
            "more than one coding",
            each(
                [&["transfer-encoding: chunked, chunked"], &["transfer-encoding: gzip, chunked"]],
                CHUNKS,
                &ended(501, "not_implemented"),
            ),
        ),
        Row::raw(
            36,
            "two headers of codings",
            each(
                [&[CHUNKED, CHUNKED], &["transfer-encoding: gzip", CHUNKED]],
                CHUNKS,
                &ended(400, "bad_request"),
            ),
        ),
        Row::raw(37, "codings that do not end in chunks", unknown),
        Row::raw(
            37,
            "a folded line",
            [(framed(&["transfer-encoding:\r\n chunked"], CHUNKS), Expect::Parser(400))],
        ),
        Row::raw(37, "chunks on HTTP/1.0", [(old, Expect::Parser(400))]),
    ]
}

fn chunks() -> Vec<Row> {
    let bad = ["0x11", "+11", "-1", " 11", "0_11", "10000000000000011", "", "g"];
    let sizes = bad.map(|size| format!("{size}\r\n{BODY}\r\n0\r\n\r\n"));
    let ends = [
        format!("11\n{BODY}\r\n0\r\n\r\n"),
        format!("11\r\n{BODY}\n0\r\n\r\n"),
        format!("11\r\n{BODY}0\r\n\r\n"),
        format!("11;a\nb\r\n{BODY}\r\n0\r\n\r\n"),
        format!("11;{}\r\n{BODY}\r\n0\r\n\r\n", "x".repeat(20 * 1024)),
    ];
    let broken = |body: &String| (framed(&[CHUNKED], body), ended(400, "bad_request"));
    let odd = ["11 \r\n", "11;a=b\r\n", "11 ; a=\"b\"\r\n", "00011\r\n"];
    vec![
        Row::raw(38, "sizes that are none", sizes.iter().map(broken)),
        Row::raw(38, "ends of chunks that are none", ends.iter().map(broken)),
        Row::raw(
            39,
            "sizes that are written oddly",
            odd.map(|size| (framed(&[CHUNKED], &format!("{size}{BODY}\r\n0\r\n\r\n")), passes(BODY))),
        ),
        Row::story(40, "trailers are dropped", trailers),
        Row::story(41, "a body that ends early", early_ends),
    ]
}

fn lines() -> Vec<Row> {
    let request = |text: &str| (text.as_bytes().to_vec(), Expect::Parser(400));
    vec![
        Row::raw(
            42,
            "ends of lines without CR",
            [(
                format!("POST {PATH} HTTP/1.1\nhost: localhost\n{JSON}\ncontent-length: 17\n\n{BODY}"),
                passes(BODY),
            )],
        ),
        Row::raw(
            43,
            "lines that are none",
            [
                request("GET /health HTTP/1.1\r\nhost: localhost\r\nx: a\rb\r\n\r\n"),
                request("GET /health HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n"),
                request("GET /health HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n"),
                request("GET /health HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n"),
                request("GET /health HTTP/1.1\r\nhost: localhost\r\n: a\r\n\r\n"),
                request("GET /health HTTP/1.1\r\n host: localhost\r\n\r\n"),
            ],
        ),
    ]
}

fn connections() -> Vec<Row> {
    let length = "content-length: 17";
    let waits = "expect: 100-continue";
    let smuggled = format!("{}GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(300 * 1024));
    vec![
        // Without the interim answer: `read_response` would have taken it for the answer.
        Row::raw(
            44,
            "a body that is waiting to be sent is not asked for",
            [
                (
                    framed(&[length, waits, "x-api-key: a", "api-key: b"], ""),
                    ended(400, "ambiguous_credentials"),
                ),
                (
                    post("/v1/messages", &[length, waits, "content-type: text/plain"], ""),
                    ended(415, "unsupported_media_type"),
                ),
            ],
        ),
        Row::raw(
            44,
            "another expectation",
            each(
                [&[length, "expect: foo"], &[length, "expect: 100-continue, foo"]],
                BODY,
                &ended(417, "expectation_failed"),
            ),
        ),
        Row::story(45, "requests that do not wait for answers", pipelined),
        Row::raw(
            46,
            "a request within a body that nobody reads",
            [
                (
                    with_length(PATH, &["content-type: text/plain"], &smuggled),
                    ended(415, "unsupported_media_type"),
                ),
                (
                    with_length("/v1/messages", &[JSON, "x-api-key: a", "api-key: b"], &smuggled),
                    ended(400, "ambiguous_credentials"),
                ),
            ],
        ),
        Row::raw(
            46,
            "a request within a body that is read away",
            [(
                with_length(
                    PATH,
                    &["content-type: text/plain"],
                    "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
                ),
                refused(415, "unsupported_media_type"),
            )],
        ),
        Row::story(47, "upgrades that nobody offers", upgrades),
    ]
}

fn trailers() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        let body = format!(
            "11\r\n{BODY}\r\n0\r\nauthorization: Bearer evil\r\ncontent-length: 1\r\nhost: evil.test\r\nx-evil: 1\r\n\r\n"
        );
        client.send(framed(&[CHUNKED, "trailer: x-evil"], &body)).await.unwrap();
        let response: RawResponse = client.read_response().await.unwrap();
        assert_eq!(response.head.status, 200);
        let request = &rig.upstream.requests()[0];
        assert_eq!(request.text(), BODY);
        assert_eq!(request.header("authorization"), Some("Bearer openai-canary"));
        assert_eq!(
            (request.header("host"), request.header("content-length")),
            (Some("openai.test"), Some("17"))
        );
        assert_eq!((request.header("x-evil"), request.header("trailer")), (None, None));
        check_end(client, &response, false, "trailers").await;
    });
}

fn early_ends() {
    let check = |bytes: Vec<u8>| {
        run(async move {
            let mut rig = Rig::new();
            let mut client = rig.connect();
            client.send(&bytes).await.unwrap();
            client.close_sending().await.unwrap();
            client.read_to_close().await.unwrap();
            let record = &rig.records(1).await[0];
            assert!(matches!(record.end, EndReason::ClientGone | EndReason::GatewayError), "{record:?}");
            assert_eq!(rig.upstream.counts().opened, 0);
            assert_eq!(rig.gateway.in_flight(), 0);
        });
    };
    check(framed(&["content-length: 18"], BODY));
    check(framed(&[CHUNKED], "11\r\n{\"model\":\"gpt-4\"}\r\n"));
    check(framed(&[CHUNKED], "11\r\n{\"model\""));
    check(framed(&[CHUNKED], "11\r\n{\"model\":\"gpt-4\"}\r\n0\r\n"));
}

fn pipelined() {
    run(async {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        let body = |n: usize| format!(r#"{{"model":"gpt-4","n":{n}}}"#);
        for n in 0..200 {
            client.send(with_length(PATH, &[JSON], body(n))).await.unwrap();
        }
        for _ in 0..200 {
            let response = client.read_response().await.unwrap();
            assert_eq!((response.head.status, response.body.text().as_str()), (200, "{}"));
        }
        let received: Vec<String> = rig.upstream.requests().iter().map(|request| request.text()).collect();
        assert_eq!(received, (0..200).map(body).collect::<Vec<_>>());
        // The body of a GET belongs to it, whatever it looks like.
        let hidden = "GET /v1/nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let length = hidden.len();
        let head = format!("GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        client.send(format!("{head}{hidden}GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")).await.unwrap();
        for part in ["\"status\":\"ok\"", "\"ready\":true"] {
            let response = client.read_response().await.unwrap();
            assert!(response.body.text().contains(part), "{}", response.body.text());
        }
    });
}

fn upgrades() {
    run(async {
        let hops = ["x-mine: 1", "keep-alive: 5", "te: trailers", JSON];
        // A protocol that is not spoken here is ignored, with all that belongs to the connection.
        let mut rig = Rig::new();
        let mut client = rig.connect();
        let upgrade =
            ["connection: upgrade, http2-settings, x-mine", "upgrade: h2c", "http2-settings: AAMAAABkAAQ"];
        client.send(with_length(PATH, &[&upgrade[..], &hops].concat(), BODY)).await.unwrap();
        let response = client.read_response().await.unwrap();
        assert_eq!((response.head.status, response.head.header("upgrade")), (200, None));
        let request = &rig.upstream.requests()[0];
        for name in ["upgrade", "http2-settings", "x-mine", "keep-alive", "te"] {
            assert_eq!(request.header(name), None, "{name}");
        }
        check_end(client, &response, false, "h2c").await;
        // One that is, but not on this path.
        let mut client = rig.connect();
        let upgrade = ["connection: Upgrade, X-Mine", "upgrade: websocket", "sec-websocket-version: 13"];
        client.send(with_length(PATH, &[&upgrade[..], &hops].concat(), BODY)).await.unwrap();
        let response = client.read_response().await.unwrap();
        assert_eq!(
            (response.head.status, response.head.header("x-gateway-error")),
            (400, Some("bad_request")),
            "{}",
            response.body.text()
        );
        assert_eq!(rig.upstream.requests().len(), 1, "nothing more went upstream");
    });
}

// Spec: api A-16, A-36, A-38, A-63; security S-5, S-12, S-14, S-15, S-16, S-60, S-61.
#[test]
fn a_request_ends_in_one_place_or_ends_the_connection() {
    rows().iter().for_each(Row::check);
}
