//! Secrets and destinations: what a request can neither see nor change.

use std::fmt::Write;

use gate_testkit::mock::Reply;
use gate_testkit::raw::RawScript;

use crate::support::{CONFIG, Rig, get, post};

/// The keys of the test configuration, and those that the requests below bring along.
const CANARIES: [&str; 9] = [
    "openai-key",
    "azure-key",
    "anthropic-key",
    "glm-key",
    "canary-own",
    "canary-provider",
    "canary-query",
    "canary-cookie",
    "canary-body",
];

// Spec: security S-22, S-23.
#[tokio::test(start_paused = true)]
async fn no_secret_comes_back_or_shows() {
    let mut seen = String::new();
    let chat = r#"{"model":"gpt-4","x":"canary-body"}"#;
    let headers = [
        "authorization: Bearer canary-own",
        "cookie: s=canary-cookie",
        "x-provider-api-key: canary-provider",
    ];
    let requests = [
        post("/v1/chat/completions?key=canary-query", &headers[..2], chat),
        post("/v1/chat/completions", &headers, chat),
        post("/v1/messages", &headers, r#"{"model":"openai.gpt-4"}"#),
        post("/v1/chat/completions", &headers, r#"{"model":"no name"}"#),
        post("/v1/nowhere", &["authorization: Bearer canary-own", "x-api-key: canary-provider"], "{}"),
        post("/chat/completions", &headers, chat),
        get("/v1/models", &headers),
        get("/v1/providers", &headers),
        get("/health", &headers),
        get("/health/providers", &headers),
    ];
    let quoting = format!(r#"{{"error":{{"message":"{} is refused"}}}}"#, "openai-key");
    for request in &requests {
        for reply in [Reply::json(401, quoting.clone()), Reply::status(301), Reply::status(200).never()] {
            let config = format!("[llm.timeout]\nfirst_byte = 1\n{CONFIG}");
            let (mut rig, _mock) = Rig::with_mock(&config, [reply]);
            // A client's own key is its own: an answer to it passes as it is.
            let response = rig.send(request).await;
            write!(seen, "{response:?} {:?} {:?} {}", rig.records.all(), rig.gateway, response.body.text())
                .unwrap();
        }
        let (mut rig, _scripts) =
            Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send("nonsense\r\n\r\n")]);
        write!(seen, "{:?}", rig.send(request).await).unwrap();
    }
    let config = gate_config::load(&gate_config::Sources::empty().with_text("test", CONFIG)).unwrap();
    write!(seen, "{config:?} {:?}", gate_server::Gateway::builder(config.config.clone())).unwrap();
    // An upstream that quotes our key to a client that brought another one is not masked, and no
    // upstream could know ours then.
    let seen = seen.replace("openai-key is refused", "");
    for canary in CANARIES {
        let at = seen.find(canary);
        assert!(at.is_none(), "{canary}: {}", at.map_or("", |at| &seen[at.saturating_sub(200)..at + 40]));
    }
}

// Spec: security S-17.
#[tokio::test(start_paused = true)]
async fn nothing_in_a_request_changes_where_it_goes() {
    let body = r#"{"model":"gpt-4","api_base":"http://evil.test","base_url":"http://evil.test","custom_host":"evil.test"}"#;
    let headers = [
        "x-base-url: http://evil.test",
        "x-portkey-custom-host: evil.test",
        "x-forwarded-host: evil.test",
        "forwarded: host=evil.test",
    ];
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
    let request =
        post("/v1/chat/completions", &headers, body).replace("POST /v1", "POST http://evil.test/v1");
    assert_eq!(rig.send(&request).await.head.status, 200);
    let received = mock.next_request().await;
    assert_eq!(
        (received.header("host"), received.target.as_str()),
        (Some("openai.test"), "/v1/chat/completions")
    );
    assert_eq!(received.text(), body);
}

// Spec: config C-26.
#[tokio::test(start_paused = true)]
async fn an_estimate_is_never_written_into_a_body() {
    let config = CONFIG.replace("model = \"gpt-4\"", "model = \"gpt-4\"\nmax_tokens = 4096");
    let (mut rig, mock) = Rig::with_mock(&config, [Reply::json(200, "{}")]);
    rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await;
    assert_eq!(mock.next_request().await.text(), r#"{"model":"gpt-4"}"#);
}
