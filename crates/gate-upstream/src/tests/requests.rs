//! What a provider sees of a request.

use std::time::Duration;

use bytes::Bytes;
use gate_model_ref::ProviderKind;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::io::AsyncReadExt;

use super::support::{OK, Peer, config, endpoint, exchange, memory, post};
use crate::http1::Outgoing;
use crate::{
    AuthStyle, Credential, Endpoint, EndpointConfig, RequestBody, RequestCredential, Sent, UpstreamErrorKind,
    UpstreamRequest,
};

const CANARY: &str = "sk-canary-7f3a";

fn headers<const N: usize>(pairs: [(&'static str, &'static str); N]) -> HeaderMap {
    pairs
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect()
}

/// Sends a request and returns what arrived: its first line, its headers in order of name, its body.
async fn sent(endpoint: &Endpoint, request: UpstreamRequest) -> String {
    let (client, mut listener) = memory();
    let play = async { Peer::accept(&mut listener).await.serve(OK).await };
    let (outcome, seen) = tokio::join!(client.send(endpoint, request), play);
    outcome.unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    format!("{}\n\n{body}", lines.join("\n"))
}

// Spec: api A-16.
#[tokio::test(start_paused = true)]
async fn a_length_stands_where_there_is_a_body_to_speak_of() {
    async fn check(method: Method, body: &'static str, expected: &str) {
        let request = UpstreamRequest { method, path: "/x".to_owned(), ..post(body) };
        assert_eq!(sent(&endpoint(|_| {}), request).await, expected);
    }
    check(Method::POST, "{}", "POST /v1/x HTTP/1.1\ncontent-length: 2\nhost: api.test\n\n{}").await;
    check(Method::POST, "", "POST /v1/x HTTP/1.1\ncontent-length: 0\nhost: api.test\n\n").await;
    check(Method::PUT, "", "PUT /v1/x HTTP/1.1\ncontent-length: 0\nhost: api.test\n\n").await;
    check(Method::GET, "", "GET /v1/x HTTP/1.1\nhost: api.test\n\n").await;
    check(Method::HEAD, "", "HEAD /v1/x HTTP/1.1\nhost: api.test\n\n").await;
    check(Method::DELETE, "", "DELETE /v1/x HTTP/1.1\nhost: api.test\n\n").await;
    check(Method::DELETE, "{}", "DELETE /v1/x HTTP/1.1\ncontent-length: 2\nhost: api.test\n\n{}").await;
}

// Spec: api A-16.
// Spec: security S-18.
#[tokio::test(start_paused = true)]
async fn framing_and_keys_are_never_the_callers() {
    let request = UpstreamRequest {
        headers: headers([
            ("content-length", "999"),
            ("transfer-encoding", "chunked"),
            ("host", "evil.test"),
            ("connection", "close"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("proxy-connection", "close"),
            ("authorization", "Bearer mine"),
            ("x-api-key", "mine"),
            ("api-key", "mine"),
            ("x-other", "stays"),
        ])
        .into(),
        ..post("{}")
    };
    let expected =
        "POST /v1/chat/completions HTTP/1.1\ncontent-length: 2\nhost: api.test\nx-other: stays\n\n{}";
    assert_eq!(sent(&endpoint(|_| {}), request).await, expected);
}

// Spec: api A-17.
#[tokio::test(start_paused = true)]
async fn the_key_is_written_as_the_endpoint_wants_it() {
    async fn check(auth: AuthStyle, configured: bool, credential: RequestCredential, expected: Option<&str>) {
        let endpoint = endpoint(|config| {
            config.auth = auth;
            config.credential = configured.then(|| Credential::new("sk-ours"));
        });
        assert_eq!(endpoint.has_credential(), configured && auth != AuthStyle::None);
        let shown = format!("{auth:?} {configured} {credential:?}");
        let seen = sent(&endpoint, UpstreamRequest { credential, ..post("{}") }).await;
        let mut keys = seen.lines().filter(|line| line.contains("key") || line.contains("authorization"));
        assert_eq!((keys.next(), keys.next()), (expected, None), "{shown}");
    }
    use RequestCredential::{AsSent, Configured, Key};
    let key = || Key(Credential::new("sk-theirs"));
    let as_sent = || AsSent(HeaderName::from_static("x-api-key"), HeaderValue::from_static("sk-client"));
    check(AuthStyle::Bearer, true, Configured, Some("authorization: Bearer sk-ours")).await;
    check(AuthStyle::XApiKey, true, Configured, Some("x-api-key: sk-ours")).await;
    check(AuthStyle::ApiKey, true, Configured, Some("api-key: sk-ours")).await;
    check(AuthStyle::None, true, Configured, None).await;
    check(AuthStyle::Bearer, false, Configured, None).await;
    check(AuthStyle::Bearer, true, key(), Some("authorization: Bearer sk-theirs")).await;
    check(AuthStyle::ApiKey, false, key(), Some("api-key: sk-theirs")).await;
    check(AuthStyle::None, false, key(), None).await;
    check(AuthStyle::Bearer, true, as_sent(), Some("x-api-key: sk-client")).await;
    check(AuthStyle::Bearer, true, RequestCredential::None, None).await;
}

// Spec: api A-18.
// Spec: config C-27.
#[tokio::test(start_paused = true)]
async fn a_version_is_added_only_where_an_anthropic_request_has_none() {
    async fn check(
        kind: ProviderKind,
        configured: Option<&'static str>,
        client: Option<&'static str>,
        expected: Option<&str>,
    ) {
        let endpoint = endpoint(|config| {
            config.kind = kind;
            config.default_version = configured.map(HeaderValue::from_static);
        });
        let headers = client.map_or_else(HeaderMap::new, |version| headers([("anthropic-version", version)]));
        let seen = sent(&endpoint, UpstreamRequest { headers: headers.into(), ..post("{}") }).await;
        let version = seen.lines().find_map(|line| line.strip_prefix("anthropic-version: "));
        assert_eq!(version, expected, "{kind} {configured:?} {client:?}");
    }
    use ProviderKind::{Anthropic, OpenAi};
    check(Anthropic, None, None, Some("2023-06-01")).await;
    check(Anthropic, Some("2025-01-01"), None, Some("2025-01-01")).await;
    check(Anthropic, Some("2025-01-01"), Some("2023-01-01"), Some("2023-01-01")).await;
    check(OpenAi, Some("2025-01-01"), None, None).await;
}

#[tokio::test(start_paused = true)]
async fn configured_headers_replace_the_clients() {
    let endpoint = endpoint(|config| config.headers = headers([("x-team", "ours"), ("x-new", "1")]));
    let request = UpstreamRequest { headers: headers([("x-team", "theirs")]).into(), ..post("") };
    let expected =
        "POST /v1/chat/completions HTTP/1.1\ncontent-length: 0\nhost: api.test\nx-new: 1\nx-team: ours\n\n";
    assert_eq!(sent(&endpoint, request).await, expected);
}

#[tokio::test(start_paused = true)]
async fn three_slices_arrive_as_one_body() {
    async fn check(slices: [&'static str; 3]) {
        let body = RequestBody::spliced(slices.map(|slice| Bytes::from_static(slice.as_bytes())));
        let whole = slices.concat();
        assert_eq!((body.len(), body.is_empty()), (Some(whole.len() as u64), whole.is_empty()));
        let seen = sent(&endpoint(|_| {}), UpstreamRequest { body, ..post("") }).await;
        assert_eq!(seen.split_once("\n\n").unwrap().1, whole, "{slices:?}");
        assert!(seen.contains(&format!("content-length: {}\n", whole.len())), "{seen}");
    }
    check(["{\"model\":", "\"gpt-4\"", "}"]).await;
    check(["", "{}", ""]).await;
    check(["{", "", "}"]).await;
    check(["", "", "{}"]).await;
    check(["", "", ""]).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_larger_than_every_buffer_arrives_unchanged() {
    let (client, mut listener) = memory();
    let body: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let play = async {
        let mut peer = Peer::accept(&mut listener).await;
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(peer.stream.read_u8().await.unwrap());
        }
        let mut received = vec![0; body.len()];
        peer.stream.read_exact(&mut received).await.unwrap();
        peer.write(OK).await;
        received
    };
    let endpoint = endpoint(|_| {});
    let (outcome, received) = tokio::join!(client.send(&endpoint, post(body.clone())), play);
    outcome.unwrap();
    assert!(received == body);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_as_http_is_refused_unsent() {
    let (client, mut listener) = memory();
    for request in [
        UpstreamRequest { path: "/a b".to_owned(), ..post("") },
        UpstreamRequest { path: "/a\r\nx: y".to_owned(), ..post("") },
        UpstreamRequest { query: Some("a\nb".to_owned()), ..post("") },
        UpstreamRequest { credential: RequestCredential::Key(Credential::new("a\r\nb")), ..post("") },
    ] {
        let error = client.send(&endpoint(|_| {}), request).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::InvalidRequest, Sent::Nothing));
    }
    assert!(listener.try_accept().is_none());
}

// Spec: security S-20.
#[tokio::test(start_paused = true)]
async fn no_debug_output_shows_a_key() {
    let secret = HeaderValue::from_static(CANARY);
    let config = EndpointConfig {
        credential: Some(Credential::new(CANARY)),
        headers: HeaderMap::from_iter([(HeaderName::from_static("x-secret"), secret.clone())]),
        query: Some(format!("key={CANARY}")),
        ..config()
    };
    let endpoint = Endpoint::try_new(config.clone()).unwrap();
    let key = RequestCredential::Key(Credential::new(CANARY));
    let as_sent = RequestCredential::AsSent(HeaderName::from_static("x-api-key"), secret);
    let (client, mut listener) = memory();
    let (response, _peer) = exchange(&client, &mut listener, &endpoint, OK).await;
    let mut shown = format!("{config:?} {endpoint:?} {client:?} {response:?} {key:?}");
    for credential in [RequestCredential::Configured, key, as_sent] {
        let request = UpstreamRequest { credential, ..post("{}") }.write(&endpoint).unwrap();
        shown += &format!(" {request:?}");
        let mut outgoing = Outgoing::default();
        outgoing.begin(request);
        shown += &format!(" {outgoing:?}");
    }
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("x-secret"), "names are shown: {shown}");

    let refused = EndpointConfig { credential: Some(Credential::new(format!("{CANARY}\n"))), ..config };
    let error = Endpoint::try_new(refused).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY));
}

#[tokio::test(start_paused = true)]
async fn a_dialer_whose_listener_is_gone_refuses() {
    let (client, listener) = memory();
    drop(listener);
    let endpoint = endpoint(|config| config.timeouts.connection = Some(Duration::from_secs(5)));
    let error = client.send(&endpoint, post("{}")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::Connect, Sent::Nothing));
}
