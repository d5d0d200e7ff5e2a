//! What reaches the provider, and what comes back.

use std::time::Duration;

use crate::support::{CONFIG, Rig, get, header, post};
use gate_testkit::fixtures;
use gate_testkit::mock::Reply;

fn ok() -> Reply {
    Reply::json(200, "{}")
}

// Spec: api A-1, A-2, A-3, A-19; routing R-28, R-30.
#[tokio::test(start_paused = true)]
async fn each_operation_reaches_its_providers_url() {
    for (path, model, host, target, upstream_model) in [
        ("/v1/chat/completions", "gpt-4", "openai.test", "/v1/chat/completions", "gpt-4"),
        ("/v1/completions", "openai.gpt-4", "openai.test", "/v1/completions", "gpt-4"),
        ("/v1/responses", "anything-new", "openai.test", "/v1/responses", "anything-new"),
        ("/v1/responses/compact", "gpt-4", "openai.test", "/v1/responses/compact", "gpt-4"),
        (
            "/v1/embeddings?x=1",
            "openai.azure.small",
            "azure.test",
            "/openai/v1/embeddings?api-version=2024-10-21&region=eu%20north&x=1",
            "gpt-4-mini.2",
        ),
        ("/v1/messages", "claude-1", "anthropic.test", "/v1/messages", "claude-1"),
        (
            "/v1/messages?beta=true",
            "anthropic.glm-5",
            "glm.test",
            "/api/anthropic/v1/messages?beta=true",
            "GLM-5",
        ),
        (
            "/v1/messages/count_tokens",
            "glm-5",
            "glm.test",
            "/api/anthropic/v1/messages/count_tokens",
            "GLM-5",
        ),
        ("/v1/v1/messages", "claude-1", "anthropic.test", "/v1/messages", "claude-1"),
        ("/openai/v1/chat/completions", "gpt-4", "openai.test", "/v1/chat/completions", "gpt-4"),
        (
            "/openai/azure/v1/chat/completions",
            "small",
            "azure.test",
            "/openai/v1/chat/completions?api-version=2024-10-21&region=eu%20north",
            "gpt-4-mini.2",
        ),
        ("/anthropic/glm/v1/messages", "any.thing", "glm.test", "/api/anthropic/v1/messages", "any.thing"),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
        let response = rig.post(path, &format!(r#"{{"model":"{model}"}}"#)).await;
        assert_eq!(response.head.status, 200, "{path} {model}: {}", response.body.text());
        let request = mock.next_request().await;
        assert_eq!(request.header("host"), Some(host), "{path} {model}");
        assert_eq!(request.target, target, "{path} {model}");
        assert_eq!(request.text(), format!(r#"{{"model":"{upstream_model}"}}"#), "{path} {model}");
    }
}

// Spec: api A-12.
#[tokio::test(start_paused = true)]
async fn bodies_keep_every_other_byte() {
    for (path, body, name, upstream) in [
        ("/v1/chat/completions", fixtures::CHAT_REQUEST, "openai.azure.small", "gpt-4-mini.2"),
        ("/v1/responses", fixtures::RESPONSES_REQUEST, "openai.azure.small", "gpt-4-mini.2"),
        ("/v1/embeddings", fixtures::EMBEDDINGS_REQUEST, "openai.azure.small", "gpt-4-mini.2"),
        ("/v1/messages", fixtures::MESSAGES_REQUEST, "glm-5", "GLM-5"),
    ] {
        let (before, after) = around_model(body);
        let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
        let response = rig.post(path, &format!("{before}\"{name}\"{after}")).await;
        assert_eq!(response.head.status, 200, "{path}: {}", response.body.text());
        let request = mock.next_request().await;
        assert_eq!(request.text(), format!("{before}\"{upstream}\"{after}"), "{path}");
        assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
        assert_eq!(request.header("transfer-encoding"), None);
    }
}

/// Splits a fixture around its top-level model, whose first occurrence of that value it is.
fn around_model(body: &str) -> (&str, &str) {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    let literal = value["model"].to_string();
    body.split_once(&literal).unwrap()
}

// Spec: security S-15, S-16.
#[tokio::test(start_paused = true)]
async fn a_chunked_request_gets_a_length() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
    let request = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n8\r\n{\"model\"\r\n4;x=y\r\n:\"gl\r\n5\r\nm-5\"}\r\n0\r\n\
                   authorization: Bearer trailer\r\n\r\n";
    assert_eq!(rig.send(request).await.head.status, 200);
    let received = mock.next_request().await;
    assert_eq!(received.text(), r#"{"model":"GLM-5"}"#);
    assert_eq!(received.header("content-length"), Some("17"));
    assert_eq!(received.header("x-api-key"), Some("glm-key"));
    assert_eq!(received.header("authorization"), None);
}

// Spec: routing R-25; api A-11.
#[tokio::test(start_paused = true)]
async fn a_missing_model_is_the_default() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok(), ok()]);
    rig.post("/v1/chat/completions", r#"{ "messages":[] }"#).await;
    assert_eq!(mock.next_request().await.text(), r#"{"model":"gpt-4", "messages":[] }"#);
    rig.post("/v1/chat/completions", r#"{"model":"","n":1}"#).await;
    assert_eq!(mock.next_request().await.text(), r#"{"model":"gpt-4","n":1}"#);
}

// Spec: routing R-25.
#[tokio::test(start_paused = true)]
async fn a_stored_prompt_brings_its_own_model() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
    let body = r#"{"prompt":{"id":"pmpt_1"}}"#;
    assert_eq!(rig.post("/v1/responses", body).await.head.status, 200);
    assert_eq!(mock.next_request().await.text(), body);
}

// Spec: api A-8; routing R-26.
#[tokio::test(start_paused = true)]
async fn paths_without_a_model_go_to_the_pin_or_the_root() {
    for (method, path, headers, host, target) in [
        ("GET", "/v1/files?limit=2", &[][..], "openai.test", "/v1/files?limit=2"),
        ("GET", "/v1/files", &["anthropic-version: 2023-06-01"], "anthropic.test", "/v1/files"),
        ("GET", "/v1/responses/resp_1", &[], "openai.test", "/v1/responses/resp_1"),
        ("DELETE", "/v1/models/ft:gpt-4", &[], "openai.test", "/v1/models/ft:gpt-4"),
        ("GET", "/anthropic/glm/v1/files/x", &[], "glm.test", "/api/anthropic/v1/files/x"),
        ("POST", "/v1/responses/resp_1/cancel", &[], "openai.test", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/brand/new", &[], "openai.test", "/v1/brand/new"),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let response = rig.send(&format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n")).await;
        assert_eq!(response.head.status, 200, "{method} {path}: {}", response.body.text());
        let request = mock.next_request().await;
        assert_eq!(
            (request.method.as_str(), request.header("host"), request.target.as_str()),
            (method, Some(host), target)
        );
    }
}

// Spec: api A-15, A-16, A-18.
#[tokio::test(start_paused = true)]
async fn headers_pass_but_for_those_of_the_connection_and_the_account() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
    let request = post(
        "/v1/chat/completions",
        &[
            "Authorization: Bearer client-key",
            "Cookie: a=b",
            "OpenAI-Organization: org",
            "Accept-Encoding: gzip, br",
            "Accept: text/event-stream",
            "Connection: keep-alive, x-hop",
            "X-Hop: 1",
            "X-Stainless-Lang: python",
            "X-Gateway-Anything: 1",
            "User-Agent: test/1",
        ],
        r#"{"model":"openai.azure.small"}"#,
    );
    assert_eq!(rig.send(&request).await.head.status, 200);
    let received = mock.next_request().await;
    for (name, value) in [
        ("host", Some("azure.test")),
        ("api-key", Some("azure-key")),
        ("authorization", None),
        ("cookie", None),
        ("openai-organization", None),
        ("accept-encoding", Some("identity")),
        ("accept", Some("text/event-stream")),
        ("connection", None),
        ("x-hop", None),
        ("x-stainless-lang", Some("python")),
        ("x-gateway-anything", None),
        ("user-agent", Some("test/1")),
        ("content-type", Some("application/json")),
        ("x-team", Some("a")),
        ("anthropic-version", None),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
}

// Spec: api A-17.
#[tokio::test(start_paused = true)]
async fn each_provider_gets_its_credential_in_its_style() {
    for (path, model, header, value) in [
        ("/v1/chat/completions", "gpt-4", "authorization", "Bearer openai-key"),
        ("/v1/chat/completions", "openai.azure.small", "api-key", "azure-key"),
        ("/v1/messages", "claude-1", "x-api-key", "anthropic-key"),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [ok(), ok()]);
        let body = format!(r#"{{"model":"{model}"}}"#);
        rig.send(&post(path, &["x-api-key: client", "authorization: Bearer client"], &body)).await;
        let received = mock.next_request().await;
        assert_eq!(received.header(header), Some(value), "{model}");
        let others = ["authorization", "api-key", "x-api-key"].iter().filter(|name| **name != header);
        assert!(
            others.into_iter().all(|name| received.header(name).is_none()),
            "{model}: {:?}",
            received.headers
        );

        rig.send(&post(path, &["x-provider-api-key: theirs"], &body)).await;
        let received = mock.next_request().await;
        assert_eq!(
            received.header(header),
            Some(value.replace(value.rsplit(' ').next().unwrap(), "theirs").as_str())
        );
        assert_eq!(received.header("x-provider-api-key"), None);
    }
}

// Spec: api A-17.
#[tokio::test(start_paused = true)]
async fn a_provider_without_a_key_gets_the_clients_own() {
    let config = "[llm.provider.openai]\napi_base = \"http://openai.test/v1\"\n";
    let (mut rig, mock) = Rig::with_mock(config, [ok(), ok()]);
    let body = r#"{"model":"gpt-4"}"#;
    rig.send(&post("/v1/chat/completions", &["authorization: Bearer own"], body)).await;
    assert_eq!(mock.next_request().await.header("authorization"), Some("Bearer own"));
    let response = rig.post("/v1/chat/completions", body).await;
    assert_eq!(
        (response.head.status, header(&response, "x-gateway-error")),
        (500, "provider_not_configured")
    );
    assert!(response.body.text().contains("set `api_key` in `[llm.provider.openai]`"));
    assert_eq!(mock.requests().len(), 1);
}

// Spec: api A-18.
#[tokio::test(start_paused = true)]
async fn the_version_header_is_added_only_where_none_is() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok(), ok()]);
    let body = r#"{"model":"claude-1"}"#;
    rig.post("/v1/messages", body).await;
    assert_eq!(mock.next_request().await.header("anthropic-version"), Some("2023-06-01"));
    rig.send(&post("/v1/messages", &["anthropic-version: 2026-10-21", "anthropic-beta: a"], body)).await;
    let received = mock.next_request().await;
    assert_eq!(received.header("anthropic-version"), Some("2026-10-21"));
    assert_eq!(received.header_count("anthropic-version"), 1);
    assert_eq!(received.header("anthropic-beta"), Some("a"));
}

// Spec: api A-20, A-21.
#[tokio::test(start_paused = true)]
async fn answers_pass_with_status_headers_and_bytes() {
    for status in [200, 201, 400, 404, 422, 429, 500, 503, 529] {
        let reply = Reply::json(status, " {\"odd\" :\t1}\n")
            .header("retry-after", "7")
            .header("x-request-id", "req_up")
            .header("set-cookie", "__cf_bm=1")
            .header("x-ratelimit-remaining-tokens", "9");
        let (mut rig, _mock) = Rig::with_mock(&format!("{CONFIG}\n[llm.retry]\nmax_attempts = 1"), [reply]);
        let response = rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await;
        assert_eq!(response.head.status, status);
        assert_eq!(response.body.text(), " {\"odd\" :\t1}\n");
        for (name, value) in [
            ("content-length", "13"),
            ("retry-after", "7"),
            ("x-request-id", "req_up"),
            ("x-ratelimit-remaining-tokens", "9"),
            ("set-cookie", ""),
            ("x-gateway-error", ""),
            ("x-gateway-provider", "openai"),
            ("x-gateway-model", "gpt-4"),
        ] {
            assert_eq!(header(&response, name), value, "{status} {name}");
        }
        let id = header(&response, "x-gateway-request-id");
        assert!(id.starts_with("req-"), "{id}");
        let time = header(&response, "x-gateway-response-time");
        assert!(time.strip_suffix("ms").is_some_and(|ms| ms.parse::<u64>().is_ok()), "{time}");
        assert!(header(&response, "server-timing").starts_with("total;dur="));
    }
}

#[tokio::test(start_paused = true)]
async fn head_keeps_the_length_of_what_get_would_send() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::json(200, "0123456789")]);
    let mut client = rig.connect();
    client.send("HEAD /v1/files/f HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert!(client.read_to_close().await.unwrap().0.is_empty());
}

// Spec: api A-22; security S-20.
#[tokio::test(start_paused = true)]
async fn what_is_no_answer_becomes_a_protocol_error() {
    for (status, part) in
        [(301, "redirect (301)"), (307, "redirect (307)"), (600, "status 600"), (999, "status 999")]
    {
        let reply = Reply::status(status).header("location", "http://169.254.169.254/");
        let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
        let response = rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await;
        assert_eq!(
            (response.head.status, header(&response, "x-gateway-error")),
            (502, "upstream_protocol"),
            "{status}"
        );
        assert!(response.body.text().contains(part), "{}", response.body.text());
        assert_eq!(header(&response, "location"), "");
    }
    // "Not modified" is an answer to whoever asked whether it was.
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::status(304), Reply::status(304)]);
    assert_eq!(rig.send(&get("/v1/files/f", &[])).await.head.status, 502);
    assert_eq!(rig.send(&get("/v1/files/f", &["if-none-match: x"])).await.head.status, 304);
}

// Spec: api A-28; security S-23.
#[tokio::test(start_paused = true)]
async fn our_refused_key_is_marked_and_masked() {
    for status in [401, 403] {
        let body = r#"{"error":{"message":"Incorrect API key provided: openai-key."}}"#;
        let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::json(status, body)]);
        let response = rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await;
        assert_eq!((response.head.status, header(&response, "x-gateway-error")), (status, "upstream_auth"));
        assert_eq!(response.body.text(), body.replace("openai-key", "***"));
    }
    // The client's own key is the client's own business.
    let body = r#"{"error":{"message":"bad key theirs"}}"#;
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::json(401, body)]);
    let request = post("/v1/chat/completions", &["x-provider-api-key: theirs"], r#"{"model":"gpt-4"}"#);
    let response = rig.send(&request).await;
    assert_eq!((header(&response, "x-gateway-error"), response.body.text().as_str()), ("", body));
}

// Spec: api A-28; security S-22.
#[tokio::test(start_paused = true)]
async fn our_refused_key_is_masked_in_headers_and_where_it_cannot_be_seen() {
    let quoting =
        Reply::json(401, "{}").header("www-authenticate", "Bearer key=x").header("x-seen", "k=openai-key");
    let packed = Reply::json(401, "openai-key").header("content-encoding", "gzip");
    let long = Reply::json(401, format!("{}openai-key", "x".repeat(300 * 1024)));
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [quoting, packed, long]);
    let body = r#"{"model":"gpt-4"}"#;
    let response = rig.post("/v1/chat/completions", body).await;
    assert_eq!(
        (response.head.status, header(&response, "www-authenticate"), header(&response, "x-seen")),
        (401, "", "")
    );
    for _ in 0..2 {
        let response = rig.post("/v1/chat/completions", body).await;
        assert_eq!((response.head.status, header(&response, "x-gateway-error")), (502, "upstream_auth"));
        assert!(!response.body.text().contains("openai-key"));
    }
}

// Spec: monitoring L-8.
#[tokio::test(start_paused = true)]
async fn the_providers_id_is_recorded() {
    for (path, model, name) in
        [("/v1/chat/completions", "gpt-4", "x-request-id"), ("/v1/messages", "claude-1", "request-id")]
    {
        let id = format!("req_{}", "x".repeat(200));
        let (mut rig, _mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}").header(name, &id)]);
        let response = rig.post(path, &format!(r#"{{"model":"{model}"}}"#)).await;
        assert_eq!(header(&response, name), id);
        assert_eq!(rig.records.first().await.upstream_request_id.as_deref(), id.get(..128));
    }
}

// Spec: api A-20.
#[tokio::test(start_paused = true)]
async fn timings_of_the_provider_stay_beside_ours() {
    let (mut rig, _mock) =
        Rig::with_mock(CONFIG, [Reply::json(200, "{}").header("server-timing", "up;dur=1")]);
    let response = rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await;
    assert_eq!(response.head.header_count("server-timing"), 2);
    assert_eq!(header(&response, "server-timing"), "up;dur=1");
}

// Spec: config C-37.
#[tokio::test(start_paused = true)]
async fn a_client_cannot_override_a_configured_parameter() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
    rig.post("/openai/azure/v1/embeddings?api-version=1999&x=1&region=us", r#"{"model":"small"}"#).await;
    let target = mock.next_request().await.target;
    assert_eq!(target, "/openai/v1/embeddings?api-version=2024-10-21&region=eu%20north&x=1");
}

// Spec: routing R-35.
#[tokio::test(start_paused = true)]
async fn a_pin_without_a_model_means_the_providers_own() {
    let config = format!(
        "{CONFIG}\n[llm.provider.openai.eu]\napi_base = \"http://eu.test/v1\"\napi_key = \"k\"\nmodel = \"own\"\n"
    );
    let (mut rig, mock) = Rig::with_mock(&config, [ok()]);
    rig.post("/openai/eu/v1/chat/completions", "{}").await;
    assert_eq!(mock.next_request().await.text(), r#"{"model":"own"}"#);
}

// Spec: config C-49.
#[tokio::test(start_paused = true)]
async fn a_reload_is_for_the_requests_after_it() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok().after(Duration::from_secs(5)), ok()]);
    let mut client = rig.connect();
    client.send(post("/v1/chat/completions", &[], r#"{"model":"gpt-4"}"#)).await.unwrap();
    assert_eq!(mock.next_request().await.header("authorization"), Some("Bearer openai-key"));
    let changed = CONFIG.replace("openai-key", "new-key");
    let changed =
        gate_config::load(&gate_config::Sources::empty().with_text("test", &changed)).unwrap().config;
    rig.gateway.reload(changed).unwrap();
    assert_eq!(client.read_response().await.unwrap().head.status, 200);
    rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await;
    assert_eq!(mock.next_request().await.header("authorization"), Some("Bearer new-key"));
    assert_eq!(mock.counts().opened, 1, "the connection is kept");
}

// Spec: api A-29.
#[tokio::test(start_paused = true)]
async fn a_request_that_comes_back_is_ended() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [ok()]);
    let body = r#"{"model":"gpt-4"}"#;
    rig.post("/v1/chat/completions", body).await;
    let hops = mock.next_request().await.header("x-gateway-hops").unwrap().to_owned();
    let response = rig.send(&post("/v1/chat/completions", &[&format!("x-gateway-hops: {hops}")], body)).await;
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (508, "loop_detected"));
}

#[tokio::test(start_paused = true)]
async fn one_connection_serves_many_requests() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, (0..5).map(|n| Reply::json(200, format!("{{\"n\":{n}}}"))));
    let mut client = rig.connect();
    for n in 0..5 {
        client.send(post("/v1/chat/completions", &[], r#"{"model":"gpt-4"}"#)).await.unwrap();
        assert_eq!(client.read_response().await.unwrap().body.text(), format!("{{\"n\":{n}}}"));
    }
    assert_eq!(mock.counts().opened, 1, "upstream connections are reused");
}

/// Azure's older form: the model is in the path.
const DEPLOYMENTS: &str = r#"
    [llm.provider.openai]
    api_base = "http://azure.test/openai/deployments/{model}"
    api_key = "azure-key"
    auth = "api-key"
    query = { api-version = "2024-10-21" }

    [llm.provider.openai.small]
    model = "gpt-4-mini/2"
"#;

// Spec: config C-56.
#[tokio::test(start_paused = true)]
async fn the_model_names_the_deployment_in_the_path() {
    for (path, model, target) in [
        ("/v1/chat/completions", "gpt-4", "/openai/deployments/gpt-4/chat/completions"),
        ("/v1/chat/completions", "small", "/openai/deployments/gpt-4-mini%2F2/chat/completions"),
        ("/v1/completions", "gpt-4", "/openai/deployments/gpt-4/completions"),
        ("/v1/embeddings", "gpt-4.1", "/openai/deployments/gpt-4.1/embeddings"),
        ("/v1/images/generations", "d", "/openai/deployments/d/images/generations"),
        ("/v1/audio/speech", "d", "/openai/deployments/d/audio/speech"),
        ("/v1/responses", "gpt-4", "/openai/responses"),
        ("/v1/fine_tuning/jobs", "gpt-4", "/openai/fine_tuning/jobs"),
        ("/v1/files", "not read", "/openai/files"),
    ] {
        let (mut rig, mock) = Rig::with_mock(DEPLOYMENTS, [ok()]);
        let response = rig.post(path, &format!(r#"{{"model":"{model}"}}"#)).await;
        assert_eq!(response.head.status, 200, "{path} {model}: {}", response.body.text());
        let request = mock.next_request().await;
        assert_eq!(request.target, format!("{target}?api-version=2024-10-21"), "{path} {model}");
        assert_eq!(request.header("api-key"), Some("azure-key"), "{path} {model}");
    }
}

// Spec: config C-56.
#[tokio::test(start_paused = true)]
async fn a_deployment_that_cannot_stand_in_a_path_is_refused() {
    let no_name = "`model` is no valid name at provider `openai`, which has it in its URL";
    let missing = "provider `openai` has the model in its URL, so the body must name a `model`";
    for (path, body, code, message) in [
        ("/v1/embeddings", r#"{"model":".."}"#, "invalid_model_name", no_name),
        ("/v1/embeddings", r#"{"model":"."}"#, "invalid_model_name", no_name),
        ("/v1/images/generations", r#"{"prompt":"a"}"#, "missing_model", missing),
    ] {
        let (mut rig, mock) = Rig::with_mock(DEPLOYMENTS, [ok()]);
        let response = rig.post(path, body).await;
        assert_eq!(response.head.status, 400, "{path} {body}");
        assert_eq!(response.head.header("x-gateway-error"), Some(code), "{path} {body}");
        assert!(response.body.text().contains(message), "{}", response.body.text());
        assert!(mock.requests().is_empty(), "{path} {body}");
    }
}
