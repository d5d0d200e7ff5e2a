//! Providers that fail, and put the gateway's secrets into their failure.

use gate_testkit::raw::RawScript;

use crate::places::{ANTHROPIC_KEY, OPENAI_KEY};
use crate::requests::{Ask, request};
use crate::rig::{Upstream, drive};

/// Requests without a credential of their own, so that the gateway's keys go to the provider.
fn asks() -> Vec<Ask> {
    let typed = ["content-type: application/json"];
    [
        ("chat", "/v1/chat/completions", r#"{"model":"gpt-4"}"#),
        ("stream", "/v1/chat/completions", r#"{"model":"gpt-4","stream":true}"#),
        ("responses", "/v1/responses", r#"{"model":"gpt-5","stream":true}"#),
        ("messages", "/v1/messages", r#"{"model":"claude-1"}"#),
        ("stream of messages", "/v1/messages", r#"{"model":"claude-1","stream":true}"#),
    ]
    .map(|(name, path, body)| Ask::new(name, request(&format!("POST {path}"), &typed, body)))
    .into()
}

async fn check(name: &str, answer: &str, expected: u16) {
    let script = RawScript::new().expect_request().send(answer).close();
    let statuses = drive(Upstream::Plays(script), &asks()).await;
    assert_eq!(statuses, [expected; 5], "{name}");
}

// Spec: security S-22, S-23, S-67; api A-22, A-28.
#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_shows_no_secret() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let rows = [
        ("nothing", "", 502),
        ("no HTTP", "canary-banner\r\n\r\n", 502),
        ("a status that is none", "HTTP/1.1 canary-status\r\n\r\n", 502),
        ("another version", "HTTP/9.9 200 canary-reason\r\n\r\n", 502),
        ("a header without a colon", "HTTP/1.1 200 OK\r\ncanary-header\r\n\r\n", 502),
        ("a header name that is none", "HTTP/1.1 200 OK\r\ncanary header: x\r\n\r\n", 502),
        ("a cut head", "HTTP/1.1 200 OK\r\nx-secret: canary", 502),
        ("a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: canary\r\n\r\n", 502),
        ("a coding that is none", "HTTP/1.1 200 OK\r\ntransfer-encoding: canary\r\n\r\n", 502),
        (
            "a redirect",
            "HTTP/1.1 302 X\r\nlocation: http://x.test/?k=canary\r\ncontent-length: 0\r\n\r\n",
            502,
        ),
        ("a cookie", "HTTP/1.1 200 OK\r\nset-cookie: s=canary\r\ncontent-length: 2\r\n\r\n{}", 200),
        ("a challenge", "HTTP/1.1 401 X\r\nwww-authenticate: canary\r\ncontent-length: 0\r\n\r\n", 401),
        ("HTTP/2", "\0\0\x06\x04\0\0\0\0\0canary", 502),
    ];
    for (name, answer, expected) in rows {
        check(name, answer, expected).await;
    }
    for broken in ["canary\r\n", "5\r\ncanary", "2\r\n: \r\n0\r\nx-key: canary\x00\r\n\r\n"] {
        check("a broken stream", &format!("{stream}{broken}"), 200).await;
    }
}

// Spec: security S-23, S-67; api A-28.
#[tokio::test(start_paused = true)]
async fn a_provider_that_quotes_the_keys_of_the_gateway_is_not_passed_on_as_it_is() {
    let escaped = ANTHROPIC_KEY.replace('/', "\\/");
    for (status, headers) in [
        (401, "www-authenticate: Bearer error=\"{}\"\r\n"),
        (403, "x-debug: {}\r\n"),
        (401, "content-encoding: gzip\r\n"),
    ] {
        for (key, ask) in [(OPENAI_KEY, 0), ("canary-file", 2), (ANTHROPIC_KEY, 3), (escaped.as_str(), 4)] {
            let body = format!("{{\"error\":\"the key {key} is refused\"}}");
            let answer = format!(
                "HTTP/1.1 {status} X\r\n{}content-length: {}\r\n\r\n{body}",
                headers.replace("{}", key),
                body.len()
            );
            let script = RawScript::new().expect_request().send(answer).close();
            let asks = [asks().swap_remove(ask)];
            let statuses = drive(Upstream::Plays(script), &asks).await;
            assert!(matches!(statuses[..], [401 | 403 | 502]), "{key}: {statuses:?}");
        }
    }
}
