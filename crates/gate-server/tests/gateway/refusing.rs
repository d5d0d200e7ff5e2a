//! Bad requests: the right error in the caller's dialect, and nothing sent upstream.

use crate::support::{CONFIG, Rig, get, header, post};
use gate_testkit::mock::Reply;

/// Sends a request that must be refused, and checks the answer's parts and that no provider saw it.
pub(crate) async fn check(config: &str, request: &str, status: u16, code: &str, part: &str) {
    let (mut rig, mock) = Rig::with_mock(config, [Reply::json(200, "{}")]);
    let response = rig.send(request).await;
    let text = response.body.text();
    assert_eq!(
        (response.head.status, header(&response, "x-gateway-error")),
        (status, code),
        "{request}\n{text}"
    );
    assert!(text.contains(part), "{request}\n{text}");
    assert_eq!(header(&response, "content-type"), "application/json");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = header(&response, "x-gateway-request-id");
    if json["type"] == "error" {
        assert_eq!((json["request_id"].as_str(), header(&response, "request-id")), (Some(id), id));
        assert!(json["error"]["type"].is_string() && json["error"]["message"].is_string());
    } else {
        assert_eq!((json["error"]["code"].as_str(), header(&response, "x-request-id")), (Some(code), id));
        assert!(json["error"]["param"].is_null() && json["error"]["type"].is_string());
    }
    assert!(mock.requests().is_empty(), "{request}");
    let records = rig.records.all();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].status, records[0].error_code), (Some(status), Some(code)));
}

fn is_anthropic(text: &str) -> bool {
    text.starts_with(r#"{"type":"error""#)
}

// Spec: api A-13, A-14.
#[tokio::test(start_paused = true)]
async fn bad_bodies_are_refused_in_both_dialects() {
    for path in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/messages",
        "/v1/messages/count_tokens",
    ] {
        for (body, status, code, part) in [
            ("", 400, "invalid_json", "empty"),
            ("{\"model\":", 400, "invalid_json", "not valid JSON"),
            ("[\"gpt-4\"]", 400, "invalid_json", "must start with `{`"),
            ("\"gpt-4\"", 400, "invalid_json", "must start with `{`"),
            (r#"{"model":"gpt-4","model":"b"}"#, 400, "duplicate_key", "more than once"),
            (r#"{"model":"gpt-4","Model":"b"}"#, 400, "duplicate_key", "any case"),
            (r#"{"model":null}"#, 400, "bad_request", "must be a string"),
            (r#"{"model":7}"#, 400, "bad_request", "not a number"),
            (r#"{"model":"gpt 4"}"#, 400, "invalid_model_name", "cannot hold a space (byte 3)"),
            (r#"{"model":"gpt\u0000"}"#, 400, "invalid_model_name", "U+0000 (byte 3)"),
            (r#"{"model":"gpt-4","stream":"true"}"#, 400, "bad_request", "`stream` must be true or false"),
        ] {
            check(CONFIG, &post(path, &[], body), status, code, part).await;
        }
    }
}

// Spec: api A-14; security S-7.
#[tokio::test(start_paused = true)]
async fn a_body_must_say_that_it_is_json() {
    for (content_type, part) in [
        ("", "send the header `content-type: application/json`"),
        ("content-type: text/plain\r\n", "send the header `content-type: application/json`"),
        ("content-type: application/x-www-form-urlencoded\r\n", "must be JSON"),
        ("content-type: multipart/form-data; boundary=x\r\n", "reads no forms"),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", "compressed"),
    ] {
        let body = r#"{"model":"gpt-4"}"#;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{content_type}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        check(CONFIG, &request, 415, "unsupported_media_type", part).await;
    }
}

// Spec: routing R-10, R-11, R-17, R-20, R-21, R-24, R-25, R-29.
#[tokio::test(start_paused = true)]
async fn names_that_find_nothing_are_explained() {
    let closed = CONFIG.replace("open = true", "open = false");
    let two = format!(
        "{CONFIG}\n[llm.provider.openai.eu]\napi_base=\"http://eu.test/v1\"\napi_key=\"k\"\nmodels=[\"dup\"]\nopen=true\n\
         [llm.provider.openai.us]\napi_base=\"http://us.test/v1\"\napi_key=\"k\"\nmodels=[\"dup\"]\nopen=true\n"
    );
    for (config, path, name, status, code, part) in [
        (CONFIG, "/v1/messages", "gpt-4", 400, "model_kind_mismatch", "/v1/chat/completions"),
        (CONFIG, "/v1/messages", "openai.gpt-4", 400, "model_kind_mismatch", "/v1/chat/completions"),
        (CONFIG, "/v1/chat/completions", "anthropic.glm.glm-5", 400, "model_kind_mismatch", "/v1/messages"),
        (CONFIG, "/v1/chat/completions", "glm-5", 400, "model_kind_mismatch", "/v1/messages"),
        (closed.as_str(), "/v1/messages", "claude-2", 404, "model_not_found", "did you mean"),
        (
            two.as_str(),
            "/v1/chat/completions",
            "dup",
            400,
            "ambiguous_model",
            "`openai.eu.dup`, `openai.us.dup`",
        ),
        (
            CONFIG,
            "/anthropic/glm/v1/messages",
            "anthropic.claude-1",
            400,
            "bad_request",
            "pinned to `anthropic.glm`",
        ),
        (CONFIG, "/v1/messages", "", 400, "missing_model", "`[llm.provider] default`"),
    ] {
        let body = format!(r#"{{"model":"{name}"}}"#);
        check(config, &post(path, &[], &body), status, code, part).await;
    }
    check(
        CONFIG,
        &post("/openai/nowhere/v1/chat/completions", &[], "{}"),
        404,
        "not_found",
        "GET /v1/providers",
    )
    .await;
}

// Spec: api A-6, A-7, A-36.
#[tokio::test(start_paused = true)]
async fn paths_and_methods_that_nothing_answers() {
    for (request, status, code, part) in [
        (get("/nowhere", &[]), 404, "not_found", "below `/v1`"),
        (post("/chat/completions", &[], "{}"), 404, "not_found", "must end in `/v1`"),
        (post("/openai/gpt-4/chat/completions", &[], "{}"), 404, "not_found", "in the body as `model`"),
        (get("/v1/messages", &[]), 405, "method_not_allowed", "POST only"),
        (post("/health", &[], "{}"), 405, "method_not_allowed", "GET, HEAD"),
        (get("/v1/../x", &[]), 400, "bad_request", "dot segment"),
        (
            "OPTIONS /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            405,
            "method_not_allowed",
            "answers",
        ),
        (
            get("/v1/responses", &["connection: upgrade", "upgrade: websocket"]),
            426,
            "upgrade_required",
            "as POST",
        ),
    ] {
        check(CONFIG, &request, status, code, part).await;
    }
}

// Spec: security S-2, S-3.
#[tokio::test(start_paused = true)]
async fn hosts_that_are_not_ours() {
    check(
        CONFIG,
        "GET /health HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        421,
        "misdirected_request",
        "allowed_hosts",
    )
    .await;
    check(CONFIG, "GET /health HTTP/1.1\r\n\r\n", 400, "bad_request", "no `host`").await;
    check(CONFIG, "GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "bad_request", "two `host`")
        .await;
}

// Spec: security S-6.
#[tokio::test(start_paused = true)]
async fn credentials_that_contradict_each_other() {
    let headers = ["authorization: Bearer a", "x-api-key: b"];
    let request = post("/v1/messages", &headers, r#"{"model":"claude-1"}"#);
    check(CONFIG, &request, 400, "ambiguous_credentials", "send one of").await;
}

// Spec: security S-8.
#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let config = format!("[llm.limits]\nmax_request_size_mb = 1\n{CONFIG}");
    let (mut rig, mock) = Rig::with_mock(&config, []);
    let mut client = rig.connect();
    // The body never comes, and the client waits for permission to send it.
    client
        .send(
            "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: 1048577\r\n\r\n",
        )
        .await
        .unwrap();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (413, "request_too_large"));
    assert_eq!(header(&response, "connection"), "close");
    assert!(is_anthropic(&response.body.text()) && response.body.text().contains("max_request_size_mb"));
    client.read_to_close().await.unwrap();
    assert!(mock.requests().is_empty());
}

// Spec: api A-25.
#[tokio::test(start_paused = true)]
async fn errors_come_in_the_dialect_of_the_route() {
    for (request, anthropic) in [
        (post("/v1/messages", &[], "x"), true),
        (post("/v1/chat/completions", &["anthropic-version: 2023-06-01"], "x"), false),
        (post("/anthropic/v1/messages", &[], "x"), true),
        (get("/anthropic/nowhere", &[]), true),
        (get("/nowhere", &[]), false),
        (get("/nowhere", &["anthropic-version: 2023-06-01"]), true),
        (get("/v1/models/nope", &["anthropic-version: 2023-06-01"]), true),
        (get("/v1/models/nope", &[]), false),
    ] {
        let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
        let response = rig.send(&request).await;
        assert_eq!(is_anthropic(&response.body.text()), anthropic, "{request}\n{}", response.body.text());
    }
}

// Spec: api A-9.
#[tokio::test(start_paused = true)]
async fn of_several_faults_the_first_in_rank_is_the_answer() {
    for (head, status, code) in [
        ("POST /health HTTP/1.1\r\nhost: a\r\nhost: b", 400, "bad_request"),
        ("POST /health HTTP/1.1\r\nhost: evil.example", 405, "method_not_allowed"),
        ("GET /v1/messages HTTP/1.1\r\nhost: evil.example", 405, "method_not_allowed"),
        (
            "GET /nowhere HTTP/1.1\r\nhost: localhost\r\nx-api-key: a\r\napi-key: b",
            400,
            "ambiguous_credentials",
        ),
        (
            "GET /health HTTP/1.1\r\nhost: localhost\r\nx-api-key: a\r\napi-key: b",
            400,
            "ambiguous_credentials",
        ),
        ("PUT /health HTTP/1.1\r\nhost: localhost\r\nexpect: foo", 405, "method_not_allowed"),
        ("GET /health HTTP/1.1\r\nhost: evil.example\r\nexpect: foo", 421, "misdirected_request"),
        ("GET /health HTTP/1.1\r\nhost: localhost\r\nexpect: foo", 417, "expectation_failed"),
        ("GET /nowhere HTTP/1.1\r\nhost: evil.example", 421, "misdirected_request"),
        (
            "POST /v1/messages HTTP/1.1\r\nhost: evil.example\r\nx-api-key: a\r\napi-key: b",
            421,
            "misdirected_request",
        ),
        (
            "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: a\r\napi-key: b",
            400,
            "ambiguous_credentials",
        ),
    ] {
        check(CONFIG, &format!("{head}\r\ncontent-length: 2\r\n\r\n{{}}"), status, code, "").await;
    }
}

// Spec: security S-31.
#[tokio::test(start_paused = true)]
async fn a_page_of_another_site_cannot_spend_the_keys() {
    let request = "POST /v1/batches HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n\
                   content-type: text/plain\r\ncontent-length: 2\r\n\r\n{}";
    check(CONFIG, request, 403, "permission_denied", "web pages of other sites").await;
}

// Spec: api A-38.
#[tokio::test(start_paused = true)]
async fn what_is_no_request_ends_the_connection_with_an_empty_answer() {
    let long = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    for (bytes, status) in [
        ("this is no HTTP\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost : localhost\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nab", 400),
        (long.as_str(), 431),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, []);
        let mut client = rig.connect();
        // The gateway may close before the last byte is sent.
        let _ = client.send(bytes).await;
        let response = client.read_response().await.unwrap();
        assert_eq!((response.head.status, response.body.bytes.len()), (status, 0), "{bytes:.40}");
        client.read_to_close().await.unwrap();
        assert!(mock.requests().is_empty());
    }
}

// Spec: security S-13, S-47.
#[tokio::test(start_paused = true)]
async fn the_head_of_a_request_is_bounded() {
    let check = async |limits: &str, lines: usize, length: usize, expected: u16| {
        let mut rig = Rig::with_mock(&format!("[llm.limits]\n{limits}\n{CONFIG}"), []).0;
        let lines: String = (0..lines).map(|n| format!("x-{n}: {}\r\n", "x".repeat(length))).collect();
        let mut client = rig.connect();
        // The gateway may close before the last byte is sent.
        let _ = client.send(format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n")).await;
        let response = client.read_response().await.unwrap();
        assert_eq!(response.head.status, expected, "{limits}: {length} bytes in each line");
    };
    check("", 1, 60_000, 200).await;
    check("", 1, 70_000, 431).await;
    check("max_header_size_kb = 16", 1, 15_000, 200).await;
    check("max_header_size_kb = 16", 1, 17_000, 431).await;
    check("max_header_size_kb = 256", 1, 200_000, 200).await;
    check("", 99, 1, 200).await;
    check("", 100, 1, 431).await;
    check("max_headers = 20", 19, 1, 200).await;
    check("max_headers = 20", 20, 1, 431).await;
    check("max_headers = 200", 199, 1, 200).await;
}

// Spec: security S-14.
#[tokio::test(start_paused = true)]
async fn a_refused_body_is_read_to_its_end_or_ends_the_connection() {
    let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n";
    // A body that is read to its end leaves the connection usable.
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    let mut client = rig.connect();
    client.send(format!("{head}content-length: 5\r\n\r\nab").as_bytes()).await.unwrap();
    client.send("cde").await.unwrap();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "connection")), (415, ""));
    client.send(get("/health", &[])).await.unwrap();
    assert_eq!(client.read_response().await.unwrap().head.status, 200);

    // What is never sent, or too much, is not waited for; a request hidden in it is no request.
    for body in ["content-length: 5\r\n\r\nab".to_owned(), {
        let filler = "x".repeat(300 * 1024);
        format!(
            "content-length: {}\r\n\r\n{filler}GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
            filler.len() + 42
        )
    }] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, []);
        let mut client = rig.connect();
        let _ = client.send(format!("{head}{body}")).await;
        let response = client.read_response().await.unwrap();
        assert_eq!((response.head.status, header(&response, "connection")), (415, "close"));
        assert!(client.read_to_close().await.unwrap().0.is_empty());
        assert!(mock.requests().is_empty());
    }
}
