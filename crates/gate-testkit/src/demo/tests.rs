//! The demo over an in-memory connection: both dialects, streams, faults.

use super::*;
use crate::raw::{BodyEnd, RawClient, RawResponse};
use serde_json::{Value, json};
use tokio::time::Instant;

mod anthropic;
mod openai;
mod sessions;
mod tools;

/// Sends one request to a new demo, over a connection that ends with the answer.
async fn exchange(pace: Pace, method: &str, path: &str, headers: &str, body: &str) -> RawResponse {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let mut client = RawClient::new(client);
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    let asked = async {
        client.send(head).await.unwrap();
        // The demo may answer before it has read all, so what it does not take may fail to be sent.
        let _ = client.send(body).await;
        client.read_response().await.unwrap()
    };
    tokio::join!(asked, Demo::new(pace).serve_stream(server)).0
}

async fn ask(method: &str, path: &str, headers: &str, body: &str) -> RawResponse {
    exchange(Pace::INSTANT, method, path, headers, body).await
}

async fn post(path: &str, body: &Value) -> RawResponse {
    ask("POST", path, "", &body.to_string()).await
}

fn json_of(response: &RawResponse) -> Value {
    assert_eq!(response.head.header("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body.bytes).unwrap()
}

async fn ok(path: &str, body: &Value) -> Value {
    let response = post(path, body).await;
    assert_eq!(response.head.status, 200, "{}", response.body.text());
    json_of(&response)
}

/// The events of a stream: name, if any, and data.
async fn events(path: &str, body: &Value) -> Vec<(Option<String>, String)> {
    let response = post(path, body).await;
    assert_eq!(response.head.status, 200, "{}", response.body.text());
    assert_eq!(response.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(response.body.end, BodyEnd::Complete);
    let text = response.body.text();
    let text = text.strip_suffix("\n\n").expect("the last event ends");
    text.split("\n\n")
        .map(|event| match event.split_once('\n') {
            Some((name, data)) => (Some(name.strip_prefix("event: ").unwrap().to_owned()), data),
            None => (None, event),
        })
        .map(|(name, data)| (name, data.strip_prefix("data: ").unwrap().to_owned()))
        .collect()
}

/// Parses the data of events and checks that each is named by its type.
fn named(events: &[(Option<String>, String)]) -> Vec<(String, Value)> {
    events
        .iter()
        .map(|(name, data)| {
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(name.as_deref(), data["type"].as_str());
            (name.clone().unwrap(), data)
        })
        .collect()
}

#[tokio::test]
async fn faults_on_demand_come_in_the_dialect_of_the_route() {
    async fn check(model: &str, status: u16, openai: (&str, Value), anthropic: &str) {
        let message = format!("the model `{model}` always answers this");
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"] {
            let response = post(path, &json!({ "model": model })).await;
            assert_eq!(response.head.status, status, "{path} {model}");
            let error = json!({ "message": message, "type": openai.0, "param": null, "code": openai.1 });
            assert_eq!(json_of(&response), json!({ "error": error }), "{path}");
            assert_eq!(response.head.header("x-request-id"), Some("req_demo00000001"));
            assert_eq!(response.head.header("retry-after"), (status == 429).then_some("1"));
        }
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            let response = post(path, &json!({ "model": model })).await;
            assert_eq!(response.head.status, status, "{path} {model}");
            let error = json!({ "type": anthropic, "message": message });
            let body = json!({ "type": "error", "error": error, "request_id": "req_demo00000001" });
            assert_eq!(json_of(&response), body, "{path}");
            assert_eq!(response.head.header("request-id"), Some("req_demo00000001"));
            assert_eq!(response.head.header("retry-after"), (status == 429).then_some("1"));
        }
    }
    check("error-400", 400, ("invalid_request_error", json!(null)), "invalid_request_error").await;
    check("error-401", 401, ("invalid_request_error", json!("invalid_api_key")), "authentication_error")
        .await;
    check("error-429", 429, ("requests", json!("rate_limit_exceeded")), "rate_limit_error").await;
    check("error-500", 500, ("server_error", json!(null)), "api_error").await;
    check("error-529", 529, ("server_error", json!(null)), "overloaded_error").await;
}

#[tokio::test]
async fn wrong_requests_are_refused_with_the_reason() {
    async fn check(path: &str, body: &str, status: u16, message: &str) {
        let response = ask("POST", path, "", body).await;
        let error = json_of(&response)["error"].clone();
        assert_eq!(
            (response.head.status, error["message"].as_str()),
            (status, Some(message)),
            "{path} {body}"
        );
        if let (Some(param), Some((name, _))) = (error["param"].as_str(), message.split_once(':')) {
            assert_eq!(param, name);
        }
    }
    const CHAT: &str = "/v1/chat/completions";
    check(CHAT, "{", 400, "the body is not valid JSON: EOF while parsing an object at line 1 column 1").await;
    check(CHAT, "[]", 400, "model: is required").await;
    check(CHAT, r#"{"model":7}"#, 400, "model: must be a non-empty string").await;
    check(CHAT, r#"{"model":"m"}"#, 400, "messages: is required").await;
    check(CHAT, r#"{"model":"m","messages":[]}"#, 400, "messages: must be a non-empty array").await;
    check(
        CHAT,
        r#"{"model":"m","messages":[{}],"max_tokens":0}"#,
        400,
        "max_tokens: must be a positive integer",
    )
    .await;
    check("/v1/completions", r#"{"model":"m"}"#, 400, "prompt: is required").await;
    check("/v1/completions", r#"{"model":"m","prompt":1}"#, 400, "prompt: must be a string or an array")
        .await;
    check("/v1/responses", r#"{"model":"m"}"#, 400, "input: is required").await;
    check("/v1/responses", r#"{"model":"m","input":1}"#, 400, "input: must be a string or an array").await;
    check("/v1/embeddings", r#"{"model":"m"}"#, 400, "input: is required").await;
    check(
        "/v1/embeddings",
        r#"{"model":"m","input":"a","dimensions":5000}"#,
        400,
        "dimensions: must be at most 4096",
    )
    .await;
    check(
        "/v1/embeddings",
        r#"{"model":"m","input":"a","encoding_format":"hex"}"#,
        400,
        "encoding_format: must be `float` or `base64`",
    )
    .await;
    check("/v1/messages", r#"{"model":"m","messages":[{}]}"#, 400, "max_tokens: is required").await;
    check("/v1/messages/count_tokens", r#"{"model":"m"}"#, 400, "messages: is required").await;
    check("/v1/nothing", "{}", 404, "the demo does not know the URL (POST /v1/nothing)").await;
    check("/v1/models", "{}", 405, "/v1/models takes GET, not POST").await;
    check("/v1/models/x", "{}", 405, "/v1/models/x takes GET, not POST").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let response = ask("POST", "/v1/messages", "", &" ".repeat(MAX_REQUEST_BYTES + 1)).await;
    assert_eq!(response.head.status, 413);
    assert_eq!(json_of(&response)["error"]["type"], "request_too_large");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let (client, server) = tokio::io::duplex(1024);
    // One second more, so that the demo is the first to lose patience.
    let mut client = RawClient::new(client).with_patience(PATIENCE + Duration::from_secs(1));
    let asked = async move {
        client.send("POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
        client.read_response().await.unwrap()
    };
    let (response, ()) = tokio::join!(asked, Demo::new(Pace::INSTANT).serve_stream(server));
    assert_eq!((response.head.status, &json_of(&response)["type"]), (408, &json!("error")));
}

#[tokio::test]
async fn cut_breaks_inside_the_body() {
    for (path, body) in [
        (
            "/v1/chat/completions",
            json!({ "model": "cut", "messages": [{ "role": "user", "content": "hi" }] }),
        ),
        (
            "/v1/messages",
            json!({ "model": "cut", "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] }),
        ),
        ("/v1/responses", json!({ "model": "cut", "input": "hi" })),
        ("/v1/embeddings", json!({ "model": "cut", "input": "hi" })),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = json!(stream);
            let response = post(path, &body).await;
            assert_eq!((response.head.status, response.body.end), (200, BodyEnd::Cut), "{path} {stream}");
            let text = response.body.text();
            let is_stream = response
                .head
                .header("content-type")
                .is_some_and(|value| value.starts_with("text/event-stream"));
            assert!(!text.is_empty() && !text.ends_with('}'), "{path} {text:?}");
            assert_eq!(text.ends_with("\n\n"), is_stream, "{path} {text:?}");
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{path} {text:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_waits_and_words_come_at_their_pace() {
    async fn timed(pace: Pace, model: &str, stream: bool) -> Duration {
        let body = json!({ "model": model, "prompt": "hi", "stream": stream }).to_string();
        let started = Instant::now();
        let response = exchange(pace, "POST", "/v1/completions", "", &body).await;
        assert!(response.body.is_clean());
        started.elapsed()
    }
    let pace = Pace { word: Duration::from_millis(20), slow: Duration::from_secs(2) };
    assert_eq!(Pace::default(), pace);
    assert_eq!(timed(pace, "m", false).await, Duration::ZERO);
    assert_eq!(timed(pace, "slow", false).await, pace.slow);
    // Eight words and the chunk that ends them.
    assert_eq!(timed(pace, "m", true).await, 9 * pace.word);
    assert_eq!(timed(Pace::INSTANT, "m", true).await, Duration::ZERO);
}

#[tokio::test]
async fn the_demo_serves_tcp_and_numbers_its_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let exchange = async {
        for id in ["req_demo00000001", "req_demo00000002"] {
            let mut client = RawClient::new(tokio::net::TcpStream::connect(addr).await.unwrap());
            client.send("GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let response = client.read_response().await.unwrap();
            assert_eq!(response.head.header("x-request-id"), Some(id));
        }
    };
    tokio::select! {
        () = exchange => {}
        _ = Demo::new(Pace::INSTANT).serve(listener) => {}
    }
}

#[test]
fn the_configuration_names_both_providers_and_the_address() {
    let text = config_toml("127.0.0.1:4711".parse().unwrap());
    for line in [
        "[llm.provider.openai.demo]",
        "api_base = \"http://127.0.0.1:4711/v1\"",
        "models = [\"gpt-demo\", \"text-embedding-demo\"]",
        "websocket = true",
        "[llm.provider.anthropic.demo]",
        "api_base = \"http://127.0.0.1:4711\"",
        "models = [\"claude-demo\"]",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}");
    }
}
