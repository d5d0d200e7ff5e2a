//! One row of the table: what a client sends, and what comes of it.

use gate_testkit::mock::ReceivedRequest;
use gate_testkit::raw::{BodyEnd, RawClient, RawResponse};
use gate_usage::EndReason;
use tokio::io::DuplexStream;

use crate::logged;
use crate::rig::{Rig, run};

/// What comes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// An error of the gateway; no provider is even connected to.
    Refused { status: u16, code: &'static str, closes: bool },
    /// The HTTP parser's answer before there is a request: no body, a record of what is known, and the
    /// end.
    Parser(u16),
    /// The provider gets exactly this body, once, and its answer comes back.
    Passes { body: Vec<u8>, closes: bool },
}

/// Expects an error on a connection that stays usable.
pub(crate) const fn refused(status: u16, code: &'static str) -> Expect {
    Expect::Refused { status, code, closes: false }
}

/// Expects an error that is the last of its connection.
pub(crate) const fn ended(status: u16, code: &'static str) -> Expect {
    Expect::Refused { status, code, closes: true }
}

/// Expects that the provider gets this body.
pub(crate) fn passes(body: impl Into<Vec<u8>>) -> Expect {
    Expect::Passes { body: body.into(), closes: false }
}

/// Expects that the provider gets this body, and that the connection ends after the answer.
pub(crate) fn passes_last(body: impl Into<Vec<u8>>) -> Expect {
    Expect::Passes { body: body.into(), closes: true }
}

/// Bytes on a connection of their own, and what comes of them.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    send: Vec<u8>,
    expect: Expect,
}

#[derive(Clone, Debug)]
enum Act {
    Cases(Vec<Case>),
    /// Something that one request and its answer cannot show.
    Story(fn()),
}

/// A bad input, in all its forms.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    number: u8,
    name: &'static str,
    act: Act,
}

/// What stands for the model of the route in a JSON body.
const MODEL: &str = "$M";

/// A route of each dialect, and a model that it knows.
pub(crate) const ROUTES: [(&str, &str); 2] =
    [("/v1/chat/completions", "gpt-4"), ("/v1/messages", "claude-1")];

impl Row {
    /// Makes a row of bytes as they are.
    pub(crate) fn raw<S: AsRef<[u8]>>(
        number: u8,
        name: &'static str,
        cases: impl IntoIterator<Item = (S, Expect)>,
    ) -> Self {
        let cases = cases.into_iter().map(|(send, expect)| Case { send: send.as_ref().to_vec(), expect });
        Self { number, name, act: Act::Cases(cases.collect()) }
    }

    /// Makes a row of JSON bodies: each goes to a route of each dialect, with its length and in chunks.
    pub(crate) fn bodies<B: AsRef<[u8]>>(
        number: u8,
        name: &'static str,
        cases: impl IntoIterator<Item = (B, Expect)>,
    ) -> Self {
        let mut all = Vec::new();
        for (body, expect) in cases {
            for (path, model) in ROUTES {
                let body = with_model(body.as_ref(), model);
                let expect = match &expect {
                    Expect::Passes { body, closes } => {
                        Expect::Passes { body: with_model(body, model), closes: *closes }
                    }
                    other => other.clone(),
                };
                let send = with_length(path, &["content-type: application/json"], &body);
                all.push(Case { send, expect: expect.clone() });
                let send = in_chunks(path, &["content-type: application/json"], &body);
                all.push(Case { send, expect });
            }
        }
        Self { number, name, act: Act::Cases(all) }
    }

    /// Makes a row of JSON bodies that are all refused alike.
    pub(crate) fn bad_bodies<B: AsRef<[u8]>>(
        number: u8,
        name: &'static str,
        expect: &Expect,
        bodies: impl IntoIterator<Item = B>,
    ) -> Self {
        Self::bodies(number, name, bodies.into_iter().map(|body| (body, expect.clone())))
    }

    /// Makes a row that is told by a function.
    pub(crate) fn story(number: u8, name: &'static str, story: fn()) -> Self {
        Self { number, name, act: Act::Story(story) }
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// Runs the row.
    pub(crate) fn check(&self) {
        match &self.act {
            Act::Story(story) => story(),
            Act::Cases(cases) => {
                for case in cases {
                    let label = format!("row {}, {}: {}", self.number, self.name, shown(&case.send));
                    run(case.check(&label));
                }
            }
        }
    }
}

impl Case {
    async fn check(&self, label: &str) {
        let mut rig = Rig::new();
        let mut client = rig.connect();
        // The gateway may answer and close before the last byte is sent.
        let _ = client.send(&self.send).await;
        let response = client.read_response().await.unwrap_or_else(|error| panic!("{label}: {error}"));
        let text = response.body.text();
        let head = String::from_utf8_lossy(&response.head.bytes);
        for shown in [&text, &*head, &format!("{:?}", rig.seen()), &logged::lines()] {
            let at = shown.find(SECRET);
            assert_eq!(at.map(|at| &shown[at.saturating_sub(80)..]), None, "{label} shows a secret");
        }
        let status = response.head.status;
        match &self.expect {
            Expect::Refused { status: expected, code, closes } => {
                let seen = response.head.header("x-gateway-error").unwrap_or_default();
                assert_eq!((status, seen), (*expected, *code), "{label}: {text}");
                check_error(&self.send, &response, code, label);
                let record = &rig.records(1).await[0];
                assert_eq!((record.status, record.error_code), (Some(status), Some(*code)), "{label}");
                assert_eq!(record.end, EndReason::GatewayError, "{label}");
                assert_eq!(rig.upstream.counts().opened, 0, "{label}: a provider was connected to");
                check_end(client, &response, *closes, label).await;
            }
            Expect::Parser(expected) => {
                assert_eq!((status, text.as_str()), (*expected, ""), "{label}");
                check_end(client, &response, true, label).await;
                // A hello of TLS is no request, and has no account.
                let is_hello = self.send.starts_with(&[0x16]);
                let code = if *expected == 431 { "headers_too_large" } else { "bad_request" };
                for record in rig.records(usize::from(!is_hello)).await {
                    assert_eq!((record.status, record.error_code), (Some(status), Some(code)), "{label}");
                    assert_eq!((record.end, record.attempts), (EndReason::GatewayError, 0), "{label}");
                }
                assert_eq!(rig.upstream.counts().opened, 0, "{label}: a provider was connected to");
            }
            Expect::Passes { body, closes } => {
                assert_eq!((status, text.as_str()), (200, "{}"), "{label}");
                let received = rig.upstream.requests();
                let [request] = &received[..] else { panic!("{label}: {} requests", received.len()) };
                assert!(&request.body[..] == body, "{label}: the provider got {}", shown(&request.body));
                check_framing(request, label);
                assert_eq!(rig.records(1).await[0].end, EndReason::Complete, "{label}");
                check_end(client, &response, *closes, label).await;
            }
        }
    }
}

/// Checks an error of the gateway: its id, and the dialect of its route.
pub(crate) fn check_error(sent: &[u8], response: &RawResponse, code: &str, label: &str) {
    let head = &response.head;
    let id = head.header("x-gateway-request-id");
    assert!(id.is_some_and(|id| !id.is_empty()), "{label}: no id");
    assert_eq!(head.header("content-type"), Some("application/json"), "{label}");
    assert_eq!(head.header("x-should-retry"), Some("false").filter(|_| code != "request_timeout"), "{label}");
    let json: serde_json::Value = serde_json::from_slice(&response.body.bytes).unwrap();
    let line = sent.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if String::from_utf8_lossy(line).contains("/v1/messages") {
        assert_eq!((json["type"].as_str(), json["request_id"].as_str()), (Some("error"), id), "{label}");
        assert_eq!(head.header("request-id"), id, "{label}");
    } else {
        assert_eq!(
            (json["error"]["code"].as_str(), head.header("x-request-id")),
            (Some(code), id),
            "{label}"
        );
        assert!(json["error"]["param"].is_null(), "{label}");
    }
    assert!(json["error"]["type"].is_string() && json["error"]["message"].is_string(), "{label}");
}

/// Checks that a request to a provider is framed once, and in one way.
fn check_framing(request: &ReceivedRequest, label: &str) {
    assert_eq!(request.header_count("transfer-encoding"), 0, "{label}");
    assert_eq!(request.header_count("content-length"), 1, "{label}");
    let length = request.body.len().to_string();
    assert_eq!(request.header("content-length"), Some(length.as_str()), "{label}");
}

/// Checks that a connection takes one more request, or none: nothing that was sent is left to be one.
pub(crate) async fn check_end(
    mut client: RawClient<DuplexStream>,
    response: &RawResponse,
    closes: bool,
    label: &str,
) {
    if closes {
        assert_eq!(response.head.header("connection"), Some("close"), "{label}");
        let (rest, end) = client.read_to_close().await.unwrap();
        assert_eq!((shown(&rest).as_str(), end), ("", BodyEnd::Closed), "{label}");
    } else {
        assert_eq!(response.head.header("connection"), None, "{label}");
        client.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let next = client.read_response().await.unwrap_or_else(|error| panic!("{label}: then {error}"));
        assert_eq!(next.head.status, 200, "{label}: the next request");
    }
}

fn with_model(body: &[u8], model: &str) -> Vec<u8> {
    match std::str::from_utf8(body) {
        Ok(text) => text.replace(MODEL, model).into_bytes(),
        Err(_) => body.to_vec(),
    }
}

/// The word in every secret.
const SECRET: &str = "canary";

/// A secret of the client's, which every request has.
const COOKIE: &str = "cookie: session=client-canary\r\n";

/// Writes a POST with these header lines and none that is not named, but for `host` and a cookie.
pub(crate) fn post(path: &str, lines: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{COOKIE}{lines}\r\n").into_bytes();
    request.extend_from_slice(body.as_ref());
    request
}

/// Writes a POST with the length of its body.
pub(crate) fn with_length(path: &str, lines: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = format!("content-length: {}", body.as_ref().len());
    post(path, &[lines, &[length.as_str()]].concat(), body)
}

/// Writes a POST with its body in one chunk.
pub(crate) fn in_chunks(path: &str, lines: &[&str], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut chunks = Vec::new();
    if !body.is_empty() {
        chunks.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        chunks.extend_from_slice(body);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    post(path, &[lines, &["transfer-encoding: chunked"]].concat(), chunks)
}

/// Shows the beginning of some bytes.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}
