//! The account of what the HTTP parser refuses, which no other part of the gateway gets to see.

use gate_usage::EndReason;
use http::Method;

use crate::support::{CONFIG, Rig, get};

/// These bytes, on a connection of their own, get one answer, and the account of the request is this.
async fn check(bytes: &[u8], status: u16, code: &str, target: Option<(Method, &str)>) {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    let mut client = rig.connect();
    // The parser may have seen enough before the last byte is sent.
    let _ = client.send(bytes).await;
    let shown = bytes.get(..60).unwrap_or(bytes).escape_ascii();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, response.body.text().as_str()), (status, ""), "{shown}");
    client.read_to_close().await.unwrap();
    let records = rig.records.all();
    let [record] = &records[..] else { panic!("{shown}: {records:?}") };
    assert_eq!((record.status, record.error_code), (Some(status), Some(code)), "{shown}");
    assert_eq!((record.end, record.attempts, record.provider.as_ref()), (EndReason::GatewayError, 0, None));
    let known = record.method.clone().zip(record.path.as_deref());
    assert_eq!(known, target, "{shown}");
}

// Spec: monitoring L-4, L-14, L-29; api A-38.
#[tokio::test(start_paused = true)]
async fn what_the_parser_refuses_has_a_record_of_what_is_known() {
    let long = |bytes: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(bytes));
    let (path, many) = (format!("/{}", "x".repeat(251)), "a: b\r\n".repeat(200));
    check(
        b"POST /v1/messages?beta=true HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        400,
        "bad_request",
        Some((Method::POST, "/v1/messages")),
    )
    .await;
    check(
        b"GET /v1/files/\xff HTTP/1.1\r\n\r\n",
        400,
        "bad_request",
        Some((Method::GET, "/v1/files/\u{fffd}")),
    )
    .await;
    check(b"this is no HTTP\r\n\r\n", 400, "bad_request", None).await;
    check(b"authorization: Bearer sk-1\r\n\r\n", 400, "bad_request", None).await;
    check(long(70_000).as_bytes(), 431, "headers_too_large", Some((Method::GET, &path))).await;
    let head = format!("GET /health HTTP/1.1\r\n{many}\r\n");
    check(head.as_bytes(), 431, "headers_too_large", Some((Method::GET, "/health"))).await;
}

// Spec: monitoring L-29; api A-38.
#[tokio::test(start_paused = true)]
async fn a_target_too_long_for_the_parser_has_its_own_status() {
    let config = format!("[llm.limits]\nmax_header_size_kb = 256\n{CONFIG}");
    let (mut rig, _mock) = Rig::with_mock(&config, []);
    let mut client = rig.connect();
    let target = "x".repeat(66_000);
    client.send(format!("GET /{target} HTTP/1.1\r\nhost: a\r\n\r\n")).await.unwrap();
    assert_eq!(client.read_response().await.unwrap().head.status, 414);
    let record = rig.records.first().await;
    assert_eq!((record.status, record.error_code), (Some(414), Some("uri_too_long")));
}

// Spec: monitoring L-29.
#[tokio::test(start_paused = true)]
async fn behind_a_good_request_a_bad_one_has_an_account_of_its_own() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    let mut client = rig.connect();
    client.send(get("/health", &[])).await.unwrap();
    client.read_response().await.unwrap();
    client.send("GET /bad path HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(client.read_response().await.unwrap().head.status, 400);
    client.read_to_close().await.unwrap();
    // With its head in one piece with the request before, of which it is not the target.
    let mut client = rig.connect();
    client.send(get("/ready", &[]) + "GET /bad path HTTP/1.1\r\n\r\n").await.unwrap();
    client.read_response().await.unwrap();
    assert_eq!(client.read_response().await.unwrap().head.status, 400);
    client.read_to_close().await.unwrap();

    let records = rig.records.all();
    let seen: Vec<_> = records.iter().map(|record| (record.status, record.path.as_deref())).collect();
    let ok = |path| (Some(200), Some(path));
    assert_eq!(seen, [ok("/health"), (Some(400), Some("/bad")), ok("/ready"), (Some(400), None)]);
}

// Spec: monitoring L-29.
#[tokio::test(start_paused = true)]
async fn what_is_no_request_has_no_account() {
    // TLS on a plain port; half a head; nothing at all.
    for bytes in [&b"\x16\x03\x01\x02\x00\r\n\r\n"[..], b"GET /health HTTP/1.1\r\nhost", b""] {
        let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
        let mut client = rig.connect();
        client.send(bytes).await.unwrap();
        client.close_sending().await.unwrap();
        client.read_to_close().await.unwrap();
        assert_eq!(rig.records.all().len(), 0, "{}", bytes.escape_ascii());
    }
}

// Spec: monitoring L-29.
#[tokio::test(start_paused = true)]
async fn the_beginning_of_http2_on_a_connection_of_http1_has_an_account_without_a_status() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    let mut client = rig.connect();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(client.read_to_close().await.unwrap().0.is_empty());
    let record = rig.records.first().await;
    assert_eq!((record.status, record.error_code, record.method), (None, Some("bad_request"), None));
}
