//! Requests that are refused, for every reason there is, with secrets wherever they have room for one.

use gate_testkit::mock::{MockUpstream, Reply};

use crate::places::{CREDENTIALS, OTHERS};
use crate::requests::{Ask, CHAT, json, request};
use crate::rig::{Upstream, drive};

const KEY: &str = CREDENTIALS[0];
const CHATS: &str = "/v1/chat/completions";

/// Bodies that are refused on a route that takes JSON.
fn bodies() -> Vec<Ask> {
    [
        ("no JSON", "canary-body"),
        ("cut JSON", r#"{"model":"gpt-4","x":"canary-body"#),
        ("an array", r#"["canary-body"]"#),
        ("more than one object", r#"{"model":"gpt-4"}{"key":"canary-body"}"#),
        ("a byte order mark", "\u{feff}{\"x\":\"canary-body\"}"),
        ("a bad escape", r#"{"model":"gpt-4","x":"canary-body\q"}"#),
        ("two models", r#"{"model":"gpt-4","x":"canary-body","model":"gpt-5"}"#),
        ("two streams", r#"{"model":"gpt-4","stream":true,"x":"canary-body","stream":false}"#),
        ("a stream of text", r#"{"model":"gpt-4","stream":"canary-body"}"#),
        ("a model of the wrong type", r#"{"model":{"key":"canary-body"}}"#),
        ("an unknown model", r#"{"model":"openai.azure.nothing","x":"canary-body"}"#),
        ("a model of the other kind", r#"{"model":"anthropic.claude-1","x":"canary-body"}"#),
        ("an invalid name", r#"{"model":"no name","x":"canary-body"}"#),
    ]
    .map(|(name, body)| Ask::new(name, json(CHATS, KEY, body)))
    .into()
}

/// Request lines and headers that are refused.
fn heads() -> Vec<Ask> {
    let with = |name, header: &str| {
        let headers = [&["content-type: application/json", header, KEY], &OTHERS[..]].concat();
        Ask::new(name, request(&format!("POST {CHATS}"), &headers, CHAT))
    };
    let typed = |name, header| {
        Ask::new(name, request(&format!("POST {CHATS}"), &[&[header, KEY], &OTHERS[..]].concat(), CHAT))
    };
    let line = |name, line: &str| Ask::new(name, request(line, &[&[KEY], &OTHERS[..]].concat(), ""));
    let long = "x".repeat(9000);
    let many: Vec<String> = (0..150).map(|number| format!("x-{number}: canary-many")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    vec![
        with("two credentials", "x-api-key: canary-other"),
        with("a second host", "host: localhost"),
        with("an origin on the web", "origin: http://evil.test"),
        with("an unknown expectation", "expect: canary-expectation"),
        with("an unknown coding", "transfer-encoding: gzip"),
        with("a second length", "content-length: 7"),
        with("a coded body", "content-encoding: gzip"),
        with("a name with _", "x_api_key: canary-underscore"),
        with("too many gateways", "x-gateway-hops: 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        with("no colon", "authorization Bearer canary-no-colon"),
        with("a folded line", "x-a: b\r\n canary-folded"),
        with("a NUL", "x-a: canary\0nul"),
        with("a head that is too large", &format!("x-a: canary{}", "x".repeat(70_000))),
        typed("text", "content-type: text/plain"),
        typed("a form on a JSON route", "content-type: multipart/form-data; boundary=canary"),
        typed("no type", "x-a: b"),
        Ask::new("too many headers", request("GET /v1/models", &many, "")),
        line("an unknown path", "GET /nowhere?key=canary-query"),
        line("an unknown method", "FETCH /v1/models?key=canary-query"),
        line("a tunnel", "CONNECT evil.test:443"),
        line("userinfo", "GET http://canary-user:canary-password@localhost/nowhere?k=canary"),
        line("a dot segment", "GET /v1/../models?key=canary-query"),
        line("an encoded letter", "GET /v1/%6dodels?key=canary-query"),
        line("a target that is too long", &format!("GET /v1/models?key=canary{long}")),
        line("administration", "GET /v1/organization/admin_api_keys?key=canary-query"),
    ]
}

/// Bytes that do not make a request.
fn wires() -> Vec<Ask> {
    let chunked = |chunks: &str| {
        let headers = ["content-type: application/json", "transfer-encoding: chunked", KEY];
        request(&format!("POST {CHATS}"), &headers, "").replace("content-length: 0\r\n", "") + chunks
    };
    vec![
        Ask::new("no host", format!("GET /v1/models HTTP/1.1\r\n{KEY}\r\n\r\n")),
        Ask::new("a foreign host", format!("GET /v1/models HTTP/1.1\r\nhost: evil.test\r\n{KEY}\r\n\r\n")),
        Ask::new("HTTP/0.9", "GET /v1/models?key=canary-old\r\n\r\n"),
        Ask::new("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ncanary-two"),
        Ask::new("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03canary-hello".to_vec()),
        Ask::new("a chunk without a size", chunked("canary\r\n")),
        Ask::new("a chunk that is too long", chunked("2\r\n{canary}\r\n0\r\n\r\n")),
        Ask::new("a trailer", chunked("3\r\n{a}\r\n0\r\nauthorization: canary-trailer\r\n\r\n")),
        Ask::new(
            "a body that does not come",
            json(CHATS, KEY, CHAT).replace("canary-content\"}]}", "canary"),
        ),
        Ask::new(
            "a body that is too large",
            json(CHATS, KEY, "{}").replace("length: 2", "length: 99999999999"),
        ),
    ]
}

// Spec: security S-22, S-67.
#[tokio::test(start_paused = true)]
async fn requests_that_are_refused_show_no_secret() {
    let asks = [bodies(), heads(), wires()].into_iter().flatten().collect::<Vec<_>>();
    let upstream = MockUpstream::answering(|_| Reply::json(200, "{}"));
    let statuses = drive(Upstream::Answers(upstream), &asks).await;
    let taken: Vec<_> = asks.iter().zip(statuses).filter(|(_, status)| (100..400).contains(status)).collect();
    assert!(
        taken.is_empty(),
        "{:?}",
        taken.iter().map(|(ask, status)| (ask.name, status)).collect::<Vec<_>>()
    );
}
