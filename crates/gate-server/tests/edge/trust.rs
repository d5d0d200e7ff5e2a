//! Rows 65 to 77: who a client says that it is, and what it must not see.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use gate_testkit::mock::Reply;
use http::Request;
use http_body::{Body, Frame};

use crate::logged;
use crate::rig::{Rig, run};
use crate::row::{Expect, ROUTES, Row, passes, refused, with_length};

const JSON: &str = "content-type: application/json";
const BODY: &str = r#"{"model":"gpt-4"}"#;

pub(crate) fn rows() -> Vec<Row> {
    let keys =
        |lines: &[&str], expect: Expect| (with_length(ROUTES[0].0, &[lines, &[JSON]].concat(), BODY), expect);
    let two = refused(400, "ambiguous_credentials");
    let gone = refused(404, "not_found");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    vec![
        // What is no key at all is told from one that is wrong once the gateway issues keys.
        Row::raw(
            65,
            "one key in two headers, the scheme in any case",
            [
                keys(&["authorization: bearer a", "x-api-key: a"], passes(BODY)),
                keys(&["authorization: BEARER a", "api-key: a"], passes(BODY)),
            ],
        ),
        Row::raw(
            66,
            "two keys",
            [
                keys(&["authorization: Bearer a", "authorization: Bearer b"], two.clone()),
                keys(&["authorization: Bearer a", "x-api-key: b"], two.clone()),
                keys(&["authorization: Bearer a", "api-key: A"], two.clone()),
                keys(&["x-api-key: a", "api-key: b"], two.clone()),
                keys(&["x-api-key: a", "x-api-key: b"], two.clone()),
                keys(&["x-gateway-api-key: a", "x-api-key: b"], two),
            ],
        ),
        Row::story(73, "forged ids and hostile texts", forged),
        Row::raw(
            73,
            "control characters in a header",
            ["\x1b[31m", "a\x07", "a\x7f"].map(|value| {
                (
                    format!("GET /health HTTP/1.1\r\nhost: localhost\r\nuser-agent: {value}\r\n\r\n"),
                    Expect::Parser(400),
                )
            }),
        ),
        Row::story(75, "what a provider's error quotes", quoted),
        Row::story(76, "a panic in the handler", panics),
        Row::raw(
            77,
            "paths that only others have",
            ["/metrics", "/admin", "/debug", "/debug/pprof"].map(|path| (get(path), gone.clone())),
        ),
        Row::story(77, "a preflight", preflight),
    ]
}

fn forged() {
    run(async {
        for value in ["../../etc", "x y", "a\u{e4}", &"x".repeat(10_000)] {
            let mut rig = Rig::new();
            let mut client = rig.connect();
            let forged =
                ["x-request-id", "x-gateway-request-id", "user-agent"].map(|name| format!("{name}: {value}"));
            let lines = [JSON, &forged[0], &forged[1], &forged[2]];
            client.send(with_length(ROUTES[0].0, &lines, BODY)).await.unwrap();
            let response = client.read_response().await.unwrap();
            assert_eq!(response.head.status, 200, "{value:?}");
            let id = response.head.header("x-gateway-request-id").unwrap();
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{id}");
            assert!(id.len() <= 64 && !id.contains(value), "{id}");
            assert_eq!(&*rig.records(1).await[0].request_id, id);
        }
    });
}

fn quoted() {
    run(async {
        let text = r#"{"error":{"message":"openai-canary is wrong"}}"#;
        let reply =
            move || Reply::json(401, text).header("set-cookie", "a=b").header("x-request-id", "theirs");
        let mut rig = Rig::answering(reply);
        let mut client = rig.connect();
        client.send(with_length(ROUTES[0].0, &[JSON], BODY)).await.unwrap();
        let response = client.read_response().await.unwrap();
        let text = response.body.text();
        assert!(text.contains("is wrong") && !text.contains("openai-canary"), "{text}");
        assert_eq!(response.head.status, 401);
        assert_eq!(response.head.header("x-gateway-error"), Some("upstream_auth"));
        assert_eq!(
            (response.head.header("set-cookie"), response.head.header_count("x-gateway-request-id")),
            (None, 1)
        );
    });
}

/// A body whose reading panics.
struct Bomb;

impl Body for Bomb {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a text that nobody may see");
    }
}

fn panics() {
    run(async {
        for (path, _) in ROUTES {
            let rig = Rig::new();
            let request =
                Request::post(path).header("host", "localhost").header("content-type", "application/json");
            let response = rig.gateway.handle(request.body(Bomb).unwrap()).await;
            assert_eq!(response.status(), 500, "{path}");
            assert_eq!(response.headers()["x-gateway-error"], "internal_error", "{path}");
            drop(response);
            assert_eq!(rig.records(1).await[0].error_code, Some("internal_error"), "{path}");
            assert_eq!((rig.upstream.counts().opened, rig.gateway.in_flight()), (0, 0), "{path}");
        }
    });
}

fn preflight() {
    run(async {
        for path in ["/health", "/v1/messages", ROUTES[0].0] {
            let mut rig = Rig::new();
            let mut client = rig.connect();
            client
                .send(format!(
                    "OPTIONS {path} HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n\
                     access-control-request-method: POST\r\n\r\n"
                ))
                .await
                .unwrap();
            let response = client.read_response().await.unwrap();
            assert_eq!(response.head.status, 405, "{path}");
            let given = response.head.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
            assert_eq!(given, None, "{path}");
        }
    });
}

// Spec: api A-7, A-28; security S-6, S-21, S-23, S-26.
#[test]
fn clients_are_not_believed_and_see_no_secret() {
    rows().iter().for_each(Row::check);
}

// Spec: monitoring L-27.
#[test]
fn what_is_no_request_is_told_of_now_and_then() {
    const TIMES: usize = 3;
    let told = || logged::lines().matches("what is no HTTP request").count();
    let before = told();
    run(async {
        let mut rig = Rig::new();
        for _ in 0..TIMES {
            let mut client = rig.connect();
            client.send("\x16\x03\x01 no request\r\n\r\n").await.unwrap();
            assert_eq!(client.read_response().await.unwrap().head.status, 400);
            client.read_to_close().await.unwrap();
        }
        rig.records(0).await;
    });
    // Other tests of this program send such bytes as well, and the clock of the log is the real one.
    assert!(told() > 0 && told() - before < TIMES, "{before}, then {}", told());
}
