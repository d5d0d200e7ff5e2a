//! WebSocket sessions: opened, refused, routed by their query or their messages, and ended.

use std::time::Duration;

use gate_testkit::mock::Reply;
use gate_testkit::raw::{RawClient, RawScript};
use gate_usage::{EndReason, UsageSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{CONFIG, Rig, get, header, post};

/// The key of RFC 6455 §1.3, and an agreement with its proof.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
pub(crate) const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                                 sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

pub(crate) const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// The usual providers, of which openai's own and azure speak WebSocket.
fn config() -> String {
    CONFIG.replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nwebsocket = true")
        + "[llm.provider.openai.plain]\napi_key = \"plain-key\"\nwebsocket = false\nmodels = [\"plain-1\"]\n"
}

/// Writes the request that opens a session; further headers come as lines.
pub(crate) fn open(path: &str, headers: &[&str]) -> String {
    let key = format!("sec-websocket-key: {KEY}");
    let mut all =
        vec!["connection: keep-alive, Upgrade", "upgrade: websocket", "sec-websocket-version: 13", &key];
    all.extend(headers);
    get(path, &all)
}

/// Writes a short masked frame of a client.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x11, 0x22, 0x33, 0x44];
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Returns the masked frames behind a request's head.
pub(crate) fn frames(received: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut rest = &received[end..];
    let mut frames = Vec::new();
    while let [first, length, after @ ..] = rest {
        assert!(length & 0x80 != 0, "a client masks");
        let (length, after) = match length & 0x7f {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            length => (usize::from(length), after),
        };
        let (key, after) = after.split_at(4);
        let (payload, after) = after.split_at(length);
        frames.push((*first, payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()));
        rest = after;
    }
    frames
}

/// Reads one frame of a server.
async fn read_frame(client: &mut RawClient<DuplexStream>) -> (u8, Vec<u8>) {
    let head = client.read_bytes(2).await.unwrap();
    let length = match head[1] {
        126 => {
            let length = client.read_bytes(2).await.unwrap();
            usize::from(u16::from_be_bytes([length[0], length[1]]))
        }
        length => {
            assert!(length < 126, "a server does not mask");
            usize::from(length)
        }
    };
    (head[0], client.read_bytes(length).await.unwrap())
}

/// Reads the error and the reason to close that end a session: `status type code close-code`.
async fn read_refusal(client: &mut RawClient<DuplexStream>) -> String {
    let (first, text) = read_frame(client).await;
    assert_eq!(first, TEXT);
    let event: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(event["type"], "error");
    let error = &event["error"];
    let part = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let close = read_close(client).await;
    format!("{} {} {} {close}", event["status"], part(&error["type"]), part(&error["code"]))
}

/// Reads the frame that closes a session, and the end of the connection.
async fn read_close(client: &mut RawClient<DuplexStream>) -> u16 {
    let (first, payload) = read_frame(client).await;
    assert_eq!(first, CLOSE);
    let (rest, _) = client.read_to_close().await.unwrap();
    assert!(rest.is_empty(), "nothing follows a close: {rest:?}");
    u16::from_be_bytes([payload[0], payload[1]])
}

/// Opens a session that the gateway agrees to.
async fn session(rig: &mut Rig, path: &str) -> RawClient<DuplexStream> {
    let mut client = rig.connect();
    client.send(open(path, &[])).await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.status, 101, "{head:?}");
    client
}

// Spec: api A-43, A-52, A-53.
#[tokio::test(start_paused = true)]
async fn a_session_goes_to_the_provider_of_the_model_in_its_query() {
    let agreed =
        AGREED.replace("\r\n\r\n", "\r\nsec-websocket-protocol: realtime\r\nset-cookie: a=b\r\n\r\n");
    // A message with bits that nobody agreed to: the gateway does not look into it.
    let script = RawScript::new()
        .expect_head()
        .send(format!("{agreed}\u{1}\u{5}early"))
        .expect_bytes(9)
        .send("\u{0}\u{2}ab")
        .expect_bytes(8);
    let script = script.send(b"\x88\x02\x03\xe8").stall();
    let (mut rig, mut transcripts) = Rig::with_scripts(&config(), [script]);
    let mut client = rig.connect();
    let headers = [
        "authorization: Bearer canary-own",
        "sec-websocket-protocol: realtime, openai-insecure-api-key.canary-own",
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        "openai-beta: realtime=v1",
        "cookie: canary-cookie",
        "origin: http://localhost:3000",
    ];
    client.send(open("/v1/realtime?a=1&model=openai.GPT-4&b=%20", &headers)).await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.status, 101);
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", PROOF),
        ("sec-websocket-protocol", "realtime"),
        ("x-gateway-provider", "openai"),
        ("x-gateway-model", "gpt-4"),
    ] {
        assert_eq!(head.header(name), Some(value), "{name}");
    }
    for name in ["set-cookie", "content-length", "transfer-encoding"] {
        assert_eq!(head.header(name), None, "{name}");
    }
    client.send(frame(0xc1, b"zip")).await.unwrap();
    assert_eq!(client.read_bytes(11).await.unwrap(), b"\x01\x05early\x00\x02ab");
    client.send(frame(CLOSE, b"\x03\xe8")).await.unwrap();
    assert_eq!(client.read_to_close().await.unwrap().0, b"\x88\x02\x03\xe8");

    let received = transcripts.recv().await.unwrap();
    let text = received.text();
    assert!(text.starts_with("GET /v1/realtime?a=1&model=gpt-4&b=%20 HTTP/1.1\r\n"), "{text}");
    for line in [
        "authorization: Bearer openai-key",
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-protocol: realtime",
        "openai-beta: realtime=v1",
    ] {
        assert!(text.contains(&format!("{line}\r\n")), "{line}: {text}");
    }
    assert!(!text.contains("canary") && !text.contains("permessage-deflate"), "{text}");
    assert_eq!(frames(&received.received), [(0xc1, b"zip".to_vec()), (CLOSE, b"\x03\xe8".to_vec())]);
    let record = rig.records.first().await;
    assert_eq!((record.status, record.end, record.error_code), (Some(101), EndReason::Complete, None));
    assert_eq!((record.bytes_in, record.bytes_out, record.attempts), (17, 15, 1));
    assert_eq!(record.model.as_deref(), Some("gpt-4"));
    assert_eq!(rig.gateway.in_flight(), 0);
}

// Spec: api A-53.
#[tokio::test(start_paused = true)]
async fn a_query_without_a_model_takes_the_default_or_joins_a_call() {
    for (path, line) in [
        ("/v1/realtime", "GET /v1/realtime?model=gpt-4 HTTP"),
        ("/v1/realtime?intent=x", "GET /v1/realtime?intent=x&model=gpt-4 HTTP"),
        ("/v1/realtime?call_id=rtc_1", "GET /v1/realtime?call_id=rtc_1 HTTP"),
        (
            "/openai/azure/v1/realtime?model=small",
            "GET /openai/v1/realtime?api-version=2024-10-21&region=eu%20north&model=gpt-4-mini.2 HTTP",
        ),
        ("/openai/v1/live/sessions?model=o-1", "GET /v1/live/sessions?model=o-1 HTTP"),
    ] {
        let (mut rig, mut transcripts) =
            Rig::with_scripts(&config(), [RawScript::new().expect_head().send(AGREED)]);
        let _client = session(&mut rig, path).await;
        let text = transcripts.recv().await.unwrap().text();
        assert!(text.starts_with(line), "{path}: {text}");
    }
}

// Spec: api A-36.
#[tokio::test(start_paused = true)]
async fn where_no_provider_has_it_the_answer_is_426_at_once() {
    for (config, path) in [
        (CONFIG.to_owned(), "/v1/responses"),
        (CONFIG.to_owned(), "/v1/realtime?model=gpt-4"),
        (CONFIG.to_owned(), "/v1/realtime?model=no-such%20name"),
        (config(), "/openai/plain/v1/responses"),
        (config(), "/v1/realtime?model=plain-1"),
        (config(), "/anthropic/v1/responses"),
    ] {
        let (mut rig, _) = Rig::with_scripts(&config, []);
        let mut client = rig.connect();
        client.send(open(path, &[])).await.unwrap();
        let response = client.read_response().await.unwrap();
        assert_eq!(
            (response.head.status, header(&response, "x-gateway-error")),
            (426, "upgrade_required"),
            "{path}"
        );
        // The connection serves the request that follows.
        client.send(get("/health", &[])).await.unwrap();
        assert_eq!(client.read_response().await.unwrap().head.status, 200);
    }
}

// Spec: api A-51, A-55.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_none_is_refused_before_anything_is_agreed() {
    let good = open("/v1/responses", &[]);
    let realtime = open("/v1/realtime?model=openai.gpt-4", &[]);
    for (request, status, part) in [
        (good.replace(&format!("sec-websocket-key: {KEY}\r\n"), ""), 400, "`sec-websocket-key` must be"),
        (realtime.replace(KEY, "short"), 400, "`sec-websocket-key` must be"),
        (good.replace("version: 13", "version: 8"), 400, "`sec-websocket-version` must be 13"),
        (good.replace("Upgrade", "close"), 400, "`connection` must name `upgrade`"),
        (open("/v1/realtime?model=a&model=b", &[]), 400, "`model` stands in the query more than once"),
        (open("/v1/realtime?model=a%20b", &[]), 400, "no valid name"),
        (open("/openai/none/v1/realtime", &[]), 404, "no provider `openai.none`"),
        (open("/v1/responses", &["origin: https://evil.example"]), 403, "allowed_hosts"),
        (open("/v1/responses", &["origin: null"]), 403, "allowed_hosts"),
        (
            open("/v1/realtime?model=openai.gpt-4", &["origin: http://localhost.evil.example"]),
            403,
            "other sites",
        ),
    ] {
        let (mut rig, _) = Rig::with_scripts(&config(), []);
        let response = rig.send(&request).await;
        assert_eq!(response.head.status, status, "{request}");
        assert!(response.body.text().contains(part), "{request}: {}", response.body.text());
        assert_eq!(rig.records.first().await.attempts, 0);
    }
}

// Spec: api A-63.
#[tokio::test(start_paused = true)]
async fn a_handshake_where_there_is_no_websocket_is_refused() {
    let upgrade = ["connection: upgrade", "upgrade: websocket"];
    let message = "there is no WebSocket here, only at `GET /v1/responses`, `GET /v1/realtime`, \
                   `GET /v1/realtime/translations`, `GET /v1/live/sessions`; send a plain request without `upgrade`";
    for request in [
        open("/v1/chat/completions", &[]),
        open("/v1/files", &[]),
        open("/v1/something/new", &[]),
        open("/openai/azure/v1/responses/resp_1", &[]),
        open("/anthropic/v1/messages/batches", &[]),
        open("/health", &[]),
        open("/v1/models", &[]),
        post("/v1/chat/completions", &upgrade, r#"{"model":"gpt-4"}"#),
        post("/v1/responses", &upgrade, r#"{"model":"gpt-4"}"#),
        post("/v1/files", &["connection: Keep-Alive, UPGRADE", "upgrade: h2c, WebSocket"], "{}"),
    ] {
        let (mut rig, mock) = Rig::with_mock(&config(), [Reply::json(200, "{}")]);
        let response = rig.send(&request).await;
        assert_eq!(
            (response.head.status, header(&response, "x-gateway-error")),
            (400, "bad_request"),
            "{request}"
        );
        assert!(response.body.text().contains(message), "{request}: {}", response.body.text());
        assert!(mock.requests().is_empty(), "{request}");
    }
    // What is wrong before it is told first.
    let (mut rig, _mock) = Rig::with_mock(&config(), [Reply::json(200, "{}")]);
    assert_eq!(rig.send(&open("/elsewhere", &[])).await.head.status, 404);
    assert_eq!(rig.send(&open("/v1/messages", &[])).await.head.status, 405);
}

// Spec: api A-43, A-63.
#[tokio::test(start_paused = true)]
async fn any_other_upgrade_is_a_header_of_the_connection() {
    let body = r#"{"model":"gpt-4"}"#;
    for request in [
        post(
            "/v1/chat/completions",
            &["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AA"],
            body,
        ),
        post("/v1/chat/completions", &["upgrade: websocket"], body),
        post("/v1/chat/completions", &["connection: upgrade"], body),
        post("/v1/chat/completions", &["connection: upgrade", "upgrade: websocket"], body)
            .replace("HTTP/1.1", "HTTP/1.0"),
        get("/v1/files", &["connection: upgrade", "upgrade: h2c"]),
    ] {
        let (mut rig, mock) = Rig::with_mock(&config(), [Reply::json(200, "{}")]);
        assert_eq!(rig.send(&request).await.head.status, 200, "{request}");
        assert!(mock.requests()[0].headers.iter().all(|(name, _)| name != "upgrade"));
    }
}

// Spec: api A-54.
#[tokio::test(start_paused = true)]
async fn every_message_that_asks_for_an_answer_is_routed() {
    let create = |model: &str| format!(r#"{{"type":"response.create","model":"{model}","input":"model"}}"#);
    let nested = |model: &str| format!(r#"{{"response": {{"model":"{model}"}} ,"type":"response.create"}}"#);
    let sent = [
        create("openai.gpt-4"),
        r#"{"type":"response.cancel"}"#.to_owned(),
        nested("openai.gpt-4"),
        create("gpt-4"),
        r#"{"type":"response.create"}"#.to_owned(),
        r#"{"type":"response.create","response":{}}"#.to_owned(),
    ];
    let expected = [
        create("gpt-4"),
        r#"{"type":"response.cancel"}"#.to_owned(),
        nested("gpt-4"),
        create("gpt-4"),
        r#"{"model":"gpt-4","type":"response.create"}"#.to_owned(),
        r#"{"type":"response.create","response":{"model":"gpt-4"}}"#.to_owned(),
    ];
    let size = expected.iter().map(|text| text.len() + 6).sum::<usize>() + 7 + 8;
    let script = RawScript::new().expect_head().send(format!("{AGREED}\u{1}\u{2}do"));
    let script = script.expect_bytes(size).send(b"\x80\x02ne\x88\x02\x03\xe8").stall();
    let (mut rig, mut transcripts) = Rig::with_scripts(&config(), [script]);
    let mut client = rig.connect();
    let headers = [
        "authorization: Bearer canary-own",
        "openai-beta: responses_websockets=2026-02-06",
        "sec-websocket-extensions: permessage-deflate",
        "sec-websocket-protocol: openai-insecure-api-key.canary-own, responses",
    ];
    client.send(open("/v1/responses?beta=true", &headers)).await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!((head.status, head.header("sec-websocket-accept")), (101, Some(PROOF)));
    assert_eq!(head.header("sec-websocket-extensions"), None);
    assert_eq!(head.header("sec-websocket-protocol"), Some("responses"));
    // The first one in parts and bytes, with a ping before it, which the gateway answers itself.
    let mut bytes = frame(PING, b"early");
    let (start, end) = sent[0].as_bytes().split_at(9);
    bytes.extend(frame(0x01, start));
    bytes.extend(frame(0x80, end));
    for piece in bytes.chunks(7) {
        client.send(piece).await.unwrap();
    }
    assert_eq!(read_frame(&mut client).await, (0x8a, b"early".to_vec()));
    for text in &sent[1..] {
        client.send(frame(TEXT, text.as_bytes())).await.unwrap();
    }
    client.send(frame(PING, b"p")).await.unwrap();
    client.send(frame(CLOSE, b"\x03\xe8")).await.unwrap();
    assert_eq!(client.read_to_close().await.unwrap().0, b"\x01\x02do\x80\x02ne\x88\x02\x03\xe8");

    let received = transcripts.recv().await.unwrap();
    let text = received.text();
    assert!(text.starts_with("GET /v1/responses?beta=true HTTP/1.1\r\n"), "{text}");
    assert!(text.contains("authorization: Bearer openai-key\r\n") && !text.contains("canary"), "{text}");
    assert!(text.contains("openai-beta: responses_websockets=2026-02-06\r\n"), "{text}");
    assert!(!text.contains("permessage-deflate"), "{text}");
    let mut all: Vec<_> = expected.iter().map(|text| (TEXT, text.clone().into_bytes())).collect();
    all.extend([(PING, b"p".to_vec()), (CLOSE, b"\x03\xe8".to_vec())]);
    assert_eq!(frames(&received.received), all);
    let record = rig.records.first().await;
    assert_eq!((record.status, record.end, record.error_code), (Some(101), EndReason::Complete, None));
    assert_eq!((record.provider.as_deref(), record.model.as_deref()), (Some("openai"), Some("gpt-4")));
    assert!(record.bytes_in > 300 && record.bytes_out == 19, "{record:?}");
}

// Spec: api A-54.
#[tokio::test(start_paused = true)]
async fn a_first_message_that_cannot_be_routed_ends_the_session() {
    async fn check(bytes: &[u8], expected: &str) {
        let config = format!(
            "[llm.limits]\nmax_request_size_mb = 1\n{}",
            config().replace("default = \"openai.gpt-4\"", "")
        );
        let (mut rig, _) = Rig::with_scripts(&config, []);
        let mut client = session(&mut rig, "/v1/responses").await;
        client.send(bytes).await.unwrap();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(read_refusal(&mut client).await, expected, "{shown}");
        let record = rig.records.first().await;
        assert_eq!((record.status, record.end, record.attempts), (Some(101), EndReason::GatewayError, 0));
        assert!(expected.contains(record.error_code.unwrap()));
        assert_eq!(rig.gateway.in_flight(), 0);
    }
    let text = |text: &str| frame(TEXT, text.as_bytes());
    let invalid = |code: &str, close: u16| format!("400 invalid_request_error {code} {close}");
    check(b"\x81\x02{}", &invalid("bad_request", 1002)).await;
    check(&frame(0xc1, b"{}"), &invalid("bad_request", 1002)).await;
    check(&frame(BINARY, b"{}"), &invalid("bad_request", 1003)).await;
    check(b"\x81\xff\0\0\0\0\0\x10\0\x01mask", "413 invalid_request_error request_too_large 1009").await;
    check(&text("hello"), &invalid("invalid_json", 1007)).await;
    check(&text(""), &invalid("invalid_json", 1007)).await;
    check(&frame(TEXT, b"{\"a\":\"\xff\"}"), &invalid("invalid_json", 1007)).await;
    check(&text("{}"), &invalid("bad_request", 1008)).await;
    check(&text(r#"{"type":1}"#), &invalid("bad_request", 1008)).await;
    check(&text(r#"{"type":"session.update","model":"gpt-4"}"#), &invalid("bad_request", 1008)).await;
    check(&text(r#"{"type":"response.create"}"#), &invalid("missing_model", 1008)).await;
    check(&text(r#"{"type":"response.create","response":{}}"#), &invalid("missing_model", 1008)).await;
    check(&text(r#"{"type":"response.create","model":1}"#), &invalid("bad_request", 1008)).await;
    let twice = r#"{"type":"response.create","model":"gpt-4","response":{"model":"gpt-4"}}"#;
    check(&text(twice), &invalid("duplicate_key", 1008)).await;
    check(&text(r#"{"type":"response.create","model":"a","model":"a"}"#), &invalid("duplicate_key", 1008))
        .await;
    check(&text(r#"{"type":"response.create","model":"a b"}"#), &invalid("invalid_model_name", 1008)).await;
    let other_kind = text(r#"{"type":"response.create","model":"claude-1"}"#);
    check(&other_kind, &invalid("model_kind_mismatch", 1008)).await;
    let plain = text(r#"{"type":"response.create","model":"plain-1"}"#);
    check(&plain, "426 invalid_request_error upgrade_required 1008").await;
}

// Spec: api A-54.
#[tokio::test(start_paused = true)]
async fn a_later_message_for_another_provider_ends_the_session() {
    let first = r#"{"type":"response.create","model":"gpt-4"}"#;
    for (later, expected) in [
        (
            r#"{"type":"response.create","model":"openai.azure.small"}"#,
            "400 invalid_request_error bad_request 1008",
        ),
        (r#"{"type":"response.create","model":"plain-2x"}"#, ""),
        ("[]", "400 invalid_request_error invalid_json 1007"),
    ] {
        let script = RawScript::new().expect_head().send(AGREED).expect_bytes(first.len() + 6).stall();
        let (mut rig, mut transcripts) = Rig::with_scripts(&config(), [script]);
        let mut client = session(&mut rig, "/v1/responses").await;
        client.send(frame(TEXT, first.as_bytes())).await.unwrap();
        client.send(frame(TEXT, later.as_bytes())).await.unwrap();
        if expected.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Passed through: openai's own provider is open, and is the one of the session.
            drop(client);
            assert_eq!(frames(&transcripts.recv().await.unwrap().received).len(), 2);
            continue;
        }
        assert_eq!(read_refusal(&mut client).await, expected, "{later}");
        let seen = frames(&transcripts.recv().await.unwrap().received);
        assert_eq!(seen, [(TEXT, first.as_bytes().to_vec())], "{later}");
    }
}

// Spec: api A-58.
#[tokio::test(start_paused = true)]
async fn the_tokens_of_a_session_are_in_its_record() {
    let first = r#"{"type":"response.create","model":"gpt-4"}"#;
    let done = r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":2}}}"#;
    let done = [&[TEXT, u8::try_from(done.len()).unwrap()], done.as_bytes()].concat();
    let answers = [AGREED.as_bytes(), &done, &done, b"\x88\x02\x03\xe8"].concat();
    let (mut rig, _transcripts) =
        Rig::with_scripts(&config(), [RawScript::new().expect_head().send(answers).stall()]);
    let mut client = session(&mut rig, "/v1/responses").await;
    client.send(frame(TEXT, first.as_bytes())).await.unwrap();
    assert_eq!(client.read_bytes(2 * done.len() + 4).await.unwrap().len(), 2 * done.len() + 4);
    drop(client);
    let record = rig.records.first().await;
    assert_eq!((record.usage.input_tokens, record.usage.output_tokens), (Some(6), Some(4)));
    assert_eq!((record.usage_source, record.end), (UsageSource::Provider, EndReason::Complete));
}

// Spec: api A-54.
#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go() {
    let (mut rig, _) = Rig::with_scripts(&config(), []);
    let begin = tokio::time::Instant::now();
    let mut client = session(&mut rig, "/v1/responses").await.with_patience(Duration::from_secs(600));
    assert_eq!(read_refusal(&mut client).await, "408 invalid_request_error request_timeout 1008");
    assert_eq!(begin.elapsed().as_secs(), 75);
    // One that closes, or leaves, needs no farewell.
    for (bytes, answer, end) in [
        (frame(CLOSE, b"\x03\xe8"), &b"\x88\x02\x03\xe8"[..], EndReason::Complete),
        (frame(0x8a, b""), b"", EndReason::ClientGone),
    ] {
        let (mut rig, _) = Rig::with_scripts(&config(), []);
        let mut client = session(&mut rig, "/v1/responses").await;
        client.send(bytes).await.unwrap();
        client.close_sending().await.unwrap();
        assert_eq!(client.read_to_close().await.unwrap().0, answer);
        assert_eq!(rig.records.first().await.end, end);
    }
}

// Spec: api A-56.
#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_is_told_as_an_error_and_a_close() {
    let first = r#"{"type":"response.create","model":"gpt-4"}"#;
    let answer = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let limit = r#"{"error": {"type":"usage_limit","code":"limit","resets_in":9} }"#;
    for (answer, expected, code) in [
        (answer("429 Too Many", limit), "429 usage_limit limit 1011", "upstream_protocol"),
        (answer("500 Oops", "oops"), "502 server_error upstream_protocol 1011", "upstream_protocol"),
        (answer("401 No", "openai-key"), "502 server_error upstream_auth 1011", "upstream_auth"),
        (answer("301 Gone", ""), "502 server_error upstream_protocol 1011", "upstream_protocol"),
        (AGREED.replace("s3pP", "xxxx"), "502 server_error upstream_protocol 1011", "upstream_protocol"),
        (
            AGREED.replace("\r\n\r\n", "\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n"),
            "502 server_error upstream_protocol 1011",
            "upstream_protocol",
        ),
        (String::new(), "502 server_error upstream_closed 1011", "upstream_closed"),
    ] {
        let (mut rig, _transcripts) =
            Rig::with_scripts(&config(), [RawScript::new().expect_head().send(&*answer)]);
        // A message that comes right behind the request is not lost.
        let mut client = rig.connect();
        let request = [open("/v1/responses", &[]).into_bytes(), frame(TEXT, first.as_bytes())].concat();
        client.send(request).await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 101);
        assert_eq!(read_refusal(&mut client).await, expected, "{answer}");
        let record = rig.records.first().await;
        assert_eq!((record.end, record.error_code), (EndReason::GatewayError, Some(code)), "{answer}");
    }
    // Where the client was told nothing yet, the provider's answer is passed on.
    for (status, body, code) in [("429 Too Many", limit, ""), ("401 No", "openai-key", "upstream_auth")] {
        let script = RawScript::new().expect_head().send(answer(status, body));
        let (mut rig, _transcripts) = Rig::with_scripts(&config(), [script]);
        let response = rig.send(&open("/v1/realtime?model=gpt-4", &[])).await;
        assert_eq!(response.head.status.to_string(), status[..3]);
        assert_eq!(header(&response, "x-gateway-error"), code);
        assert_eq!(response.body.text(), body.replace("openai-key", "***"));
    }
}

// Spec: api A-56.
#[tokio::test(start_paused = true)]
async fn a_session_that_breaks_is_never_shown_as_closed_in_due_form() {
    // Between frames the client is told why; within one the connection just ends.
    for (sent, last) in [
        (&b"\x81\x02hi"[..], &b"\x81\x02hi\x88\x11\x03\xf3upstream_closed"[..]),
        (b"\x81\x02h", b"\x81\x02h"),
    ] {
        let script = RawScript::new().expect_head().send([AGREED.as_bytes(), sent].concat());
        let (mut rig, _transcripts) = Rig::with_scripts(&config(), [script]);
        let mut client = session(&mut rig, "/v1/realtime?model=gpt-4").await;
        assert_eq!(client.read_to_close().await.unwrap().0, last);
        assert_eq!(rig.records.first().await.end, EndReason::UpstreamClosed);
    }
}

// Spec: api A-31.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_the_session_at_the_provider() {
    for path in ["/v1/realtime?model=gpt-4", "/v1/responses"] {
        let script = RawScript::new().expect_head().send(AGREED).stall();
        let (mut rig, mut transcripts) = Rig::with_scripts(&config(), [script]);
        let mut client = session(&mut rig, path).await;
        client.send(frame(TEXT, br#"{"type":"response.create","model":"gpt-4"}"#)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(client);
        assert!(transcripts.recv().await.unwrap().error.is_none());
        assert_eq!(rig.records.first().await.end, EndReason::ClientGone, "{path}");
    }
    // Also while the provider thinks about it.
    let (mut rig, mut transcripts) = Rig::with_scripts(&config(), [RawScript::new().expect_head().stall()]);
    let mut client = session(&mut rig, "/v1/responses").await;
    client.send(frame(TEXT, br#"{"type":"response.create","model":"gpt-4"}"#)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(client);
    assert!(transcripts.recv().await.unwrap().error.is_none());
    assert_eq!(rig.records.first().await.end, EndReason::ClientGone);
}

// Spec: api A-56.
#[tokio::test(start_paused = true)]
async fn a_shutdown_says_that_it_goes_away() {
    let script = || RawScript::new().expect_head().send(AGREED).stall();
    for (path, script) in [
        ("/v1/realtime?model=gpt-4", script()),
        ("/v1/responses", script()),
        (
            "/v1/realtime?model=gpt-4",
            RawScript::new().expect_head().send([AGREED.as_bytes(), b"\x81\x05part"].concat()).stall(),
        ),
    ] {
        let (mut rig, _transcripts) = Rig::with_scripts(&config(), [script]);
        let mut client = session(&mut rig, path).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.gateway.end_answers();
        let (last, _) = client.read_to_close().await.unwrap();
        assert!(matches!(&*last, b"\x88\x18\x03\xe9the gateway shuts down" | b"\x81\x05part"), "{last:?}");
        assert_eq!(rig.records.first().await.end, EndReason::Shutdown, "{path}");
    }
}

// Spec: api A-57.
#[tokio::test(start_paused = true)]
async fn a_session_may_be_silent_for_long_and_takes_much() {
    let (mut rig, mut listener) = Rig::new(&config());
    let mut client = rig.connect().with_patience(Duration::from_secs(3 * 3600));
    client.send(open("/v1/realtime?model=gpt-4", &[])).await.unwrap();
    let mut provider = listener.accept().await.unwrap();
    let mut head = [0; 8192];
    let length = provider.read(&mut head).await.unwrap();
    assert!(head[..length].ends_with(b"\r\n\r\n"));
    provider.write_all(AGREED.as_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 101);
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;

    // A frame of a megabyte: more than every buffer on the way.
    let payload = vec![b'x'; 1 << 20];
    let down = [&b"\x82\x7f\0\0\0\0\0\x10\0\0"[..], &payload].concat();
    let up = [&b"\x82\xff\0\0\0\0\0\x10\0\0\0\0\0\0"[..], &payload].concat();
    let (mut read, mut write) = tokio::io::split(provider);
    let (mut seen_up, mut seen_down) = (vec![0; up.len()], Vec::new());
    tokio::join!(
        async { write.write_all(&down).await.unwrap() },
        async { read.read_exact(&mut seen_up).await.map(drop).unwrap() },
        async {
            client.send(&up).await.unwrap();
            seen_down = client.read_bytes(down.len()).await.unwrap();
        },
    );
    assert!(seen_up == up && seen_down == down);
    drop(client);
    let record = rig.records.first().await;
    assert_eq!((record.bytes_in, record.bytes_out), (up.len() as u64, down.len() as u64));
}

// Spec: api A-57.
#[tokio::test(start_paused = true)]
async fn a_provider_that_takes_nothing_is_given_up() {
    let (mut rig, mut listener) = Rig::new(&config());
    let mut client = rig.connect().with_patience(Duration::from_secs(600));
    client.send(open("/v1/realtime?model=gpt-4", &[])).await.unwrap();
    let mut provider = listener.accept().await.unwrap();
    provider.write_all(AGREED.as_bytes()).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 101);
    let begin = tokio::time::Instant::now();
    let _ = client.send(vec![0; 1 << 20]).await;
    assert_eq!(read_close(&mut client).await, 1011);
    assert!((60..=66).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!(rig.records.first().await.end, EndReason::UpstreamClosed);
}

// Spec: api A-81.
#[tokio::test(start_paused = true)]
async fn a_close_that_nobody_may_send_is_neither_echoed_nor_passed_on() {
    let first = r#"{"type":"response.create","model":"gpt-4"}"#;
    for (payload, expected) in [
        (&b"\x03"[..], "400 invalid_request_error bad_request 1002"),
        (b"\x03\xed", "400 invalid_request_error bad_request 1002"),
        (b"\x03\xe8\xff", "400 invalid_request_error bad_request 1007"),
    ] {
        // Before the first message, where the gateway answers it.
        let (mut rig, _) = Rig::with_scripts(&config(), []);
        let mut client = session(&mut rig, "/v1/responses").await;
        client.send(frame(CLOSE, payload)).await.unwrap();
        assert_eq!(read_refusal(&mut client).await, expected);
        assert_eq!(rig.records.first().await.end, EndReason::GatewayError);

        // Behind it, where the provider would.
        let script = RawScript::new().expect_head().send(AGREED).expect_bytes(first.len() + 6).stall();
        let (mut rig, mut transcripts) = Rig::with_scripts(&config(), [script]);
        let mut client = session(&mut rig, "/v1/responses").await;
        client.send(frame(TEXT, first.as_bytes())).await.unwrap();
        client.send(frame(CLOSE, payload)).await.unwrap();
        assert_eq!(read_refusal(&mut client).await, expected);
        let seen = frames(&transcripts.recv().await.unwrap().received);
        assert_eq!(seen, [(TEXT, first.as_bytes().to_vec())], "{payload:x?}");
    }
}
