//! Objects that a body names by their ids: they are with the provider that made them.

use std::sync::Arc;

use gate_config::{Sources, load};
use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::RawScript;

use crate::support::{CONFIG, Rig, get, header, post};
use crate::websocket::{AGREED, TEXT, frame, frames, open};

/// The usual providers, and one more that takes any name.
fn config() -> String {
    let other = "[llm.provider.openai.other]\napi_base = \"http://other.test/v1\"\napi_key = \"other-key\"\n";
    format!("{CONFIG}{other}")
}

/// A mock whose every answer is an object, with the id `id_` and the key that the provider was given.
fn makers() -> Arc<MockUpstream> {
    Arc::new(MockUpstream::answering(|request| {
        let keys = ["authorization", "api-key", "x-api-key"];
        let key = request.headers.iter().find(|(name, _)| keys.contains(&name.as_str()));
        let key = key.map_or("", |(_, value)| value.trim_start_matches("Bearer "));
        Reply::json(200, format!("{{\"id\":\"id_{key}\"}}"))
    }))
}

/// Sends a request and returns who answered, and its model.
async fn ask(rig: &mut Rig, request: &str) -> String {
    let response = rig.send(request).await;
    assert_eq!(response.head.status, 200, "{request}: {}", response.body.text());
    format!("{} {}", header(&response, "x-gateway-provider"), header(&response, "x-gateway-model"))
}

// Spec: api A-46, A-61.
#[tokio::test(start_paused = true)]
async fn a_request_goes_to_the_maker_of_the_object_in_its_body() {
    let mut rig = Rig::before(&config(), &makers());
    for pin in ["/openai", "/openai/azure", "/openai/other", "/anthropic/glm"] {
        ask(&mut rig, &post(&format!("{pin}/v1/files"), &[], "{}")).await;
    }
    for (path, body, expected) in [
        // A name that only the maker has, that nobody has, and that another has too.
        (
            "responses",
            r#"{"model":"small","previous_response_id":"id_azure-key"}"#,
            "openai.azure gpt-4-mini.2",
        ),
        ("responses", r#"{"model":"gpt-9","previous_response_id":"id_azure-key"}"#, "openai.azure gpt-9"),
        ("responses", r#"{"model":"gpt-4","previous_response_id":"id_azure-key"}"#, "openai.azure gpt-4"),
        ("responses", r#"{"model":"gpt-4","previous_response_id":"id_unknown"}"#, "openai gpt-4"),
        ("responses", r#"{"model":"gpt-4","previous_response_id":"id_openai-key"}"#, "openai gpt-4"),
        // What says by itself where it belongs goes there, whatever the maker would take.
        (
            "responses",
            r#"{"model":"openai.other.gpt-4","previous_response_id":"id_azure-key"}"#,
            "openai.other gpt-4",
        ),
        (
            "responses",
            r#"{"model":"other.gpt-4","previous_response_id":"id_azure-key"}"#,
            "openai.other gpt-4",
        ),
        ("responses", r#"{"model":"openai.gpt-9","previous_response_id":"id_azure-key"}"#, "openai gpt-9"),
        (
            "responses",
            r#"{"model":"azure.gpt-9","previous_response_id":"id_azure-key"}"#,
            "openai.azure gpt-9",
        ),
        ("responses", r#"{"model":"small","previous_response_id":"id_other-key"}"#, "openai.other small"),
        (
            "responses",
            r#"{"model":"small","previous_response_id":"id_openai-key"}"#,
            "openai.azure gpt-4-mini.2",
        ),
        // Without a name it goes to the maker: with its default model, or as it is.
        ("responses", r#"{"previous_response_id":"id_azure-key"}"#, "openai.azure "),
        ("responses", r#"{"previous_response_id":"id_openai-key"}"#, "openai gpt-4"),
        ("responses", r#"{"prompt":{"id":"p"},"conversation":{"id":"id_azure-key"}}"#, "openai.azure "),
        ("batches", r#"{"input_file_id":"id_azure-key","endpoint":"/v1/responses"}"#, "openai.azure "),
        ("batches", r#"{"input_file_id":"id_unknown"}"#, "openai "),
        ("fine_tuning/jobs", r#"{"model":"gpt-9","training_file":"id_other-key"}"#, "openai.other gpt-9"),
        ("threads/runs", r#"{"assistant_id":"id_other-key"}"#, "openai.other "),
        ("messages", r#"{"model":"claude-1","container":"id_glm-key"}"#, "anthropic.glm claude-1"),
        (
            "messages",
            r#"{"model":"claude-9","thread":{"type":"continue","previous_message_id":"id_glm-key"}}"#,
            "anthropic.glm claude-9",
        ),
        // An object of the other kind is none here.
        ("responses", r#"{"model":"gpt-9","previous_response_id":"id_glm-key"}"#, "openai gpt-9"),
    ] {
        let request = post(&format!("/v1/{path}"), &[], body);
        assert_eq!(ask(&mut rig, &request).await, expected, "{request}");
    }
    // A pin outranks the object.
    let named = r#"{"model":"gpt-9","previous_response_id":"id_azure-key"}"#;
    assert_eq!(ask(&mut rig, &post("/openai/other/v1/responses", &[], named)).await, "openai.other gpt-9");
    let pinned = post("/v1/responses", &["x-gateway-provider: openai"], named);
    assert_eq!(ask(&mut rig, &pinned).await, "openai gpt-9");
    // A name of the other kind is refused as ever.
    let claude = r#"{"model":"claude-1","previous_response_id":"id_azure-key"}"#;
    let refused = rig.post("/v1/responses", claude).await;
    assert_eq!(header(&refused, "x-gateway-error"), "model_kind_mismatch");
}

// Spec: api A-61.
#[tokio::test(start_paused = true)]
async fn a_maker_that_a_reload_took_away_is_forgotten() {
    let mut rig = Rig::before(&config(), &makers());
    ask(&mut rig, &post("/openai/other/v1/files", &[], "{}")).await;
    let request = post("/v1/responses", &[], r#"{"model":"gpt-4","previous_response_id":"id_other-key"}"#);
    assert_eq!(ask(&mut rig, &request).await, "openai.other gpt-4");
    let without = load(&Sources::empty().with_text("test", CONFIG)).unwrap().config;
    rig.gateway.reload(without).unwrap();
    assert_eq!(ask(&mut rig, &request).await, "openai gpt-4");
}

// Spec: api A-62.
#[tokio::test(start_paused = true)]
async fn only_what_can_be_named_later_is_remembered() {
    async fn check(path: &str, body: &str, later: &str, expected: &str) {
        let mut rig = Rig::before(&config(), &makers());
        ask(&mut rig, &post(path, &[], body)).await;
        let provider = ask(&mut rig, &get(later, &[])).await;
        assert_eq!(provider.trim_end(), expected, "{path} {body}");
    }
    let chat = "/v1/chat/completions/id_azure-key";
    let path = "/openai/azure/v1/chat/completions";
    check(path, r#"{"model":"x","store":true}"#, chat, "openai.azure").await;
    check(path, r#"{"model":"x"}"#, chat, "openai").await;
    let path = "/openai/azure/v1/responses";
    check(path, r#"{"model":"x"}"#, "/v1/responses/id_azure-key", "openai.azure").await;
    check(path, r#"{"model":"x","store":false}"#, "/v1/responses/id_azure-key", "openai").await;
    let (path, later) = ("/anthropic/glm/v1/messages", "/anthropic/v1/x/id_glm-key");
    check(path, r#"{"model":"x"}"#, later, "anthropic").await;

    let mut rig = Rig::before(&config(), &makers());
    ask(&mut rig, &post(path, &[], r#"{"model":"x","thread":{"type":"new"}}"#)).await;
    let next = r#"{"model":"x","thread":{"type":"continue","previous_message_id":"id_glm-key"}}"#;
    assert_eq!(ask(&mut rig, &post("/v1/messages", &[], next)).await, "anthropic.glm x");
}

// Spec: api A-79.
#[tokio::test(start_paused = true)]
async fn a_batch_goes_to_the_maker_of_the_objects_in_its_requests() {
    let mut rig = Rig::before(&config(), &makers());
    for pin in ["/anthropic", "/anthropic/glm"] {
        ask(&mut rig, &post(&format!("{pin}/v1/files"), &[], "{}")).await;
    }
    let batch = |params: &[&str]| {
        let params: Vec<_> = params.iter().map(|params| format!("{{\"params\":{{{params}}}}}")).collect();
        format!("{{\"requests\":[{}]}}", params.join(","))
    };
    let plain = r#""model":"claude-1""#;
    let (ours, glms, unknown) = ("id_anthropic-key", "id_glm-key", "id_unknown");
    let of = |id: &str| format!(r#""model":"claude-1","container":"{id}""#);
    let threaded = format!(r#""model":"claude-1","thread":{{"previous_message_id":"{glms}"}}"#);
    let check = async |rig: &mut Rig, path: &str, params: &[&str], expected: &str| {
        assert_eq!(ask(rig, &post(path, &[], &batch(params))).await, expected, "{params:?}");
    };
    let path = "/v1/messages/batches";
    check(&mut rig, path, &[plain, plain], "anthropic claude-1").await;
    check(&mut rig, path, &[plain, &of(glms)], "anthropic.glm claude-1").await;
    check(&mut rig, path, &[&of(unknown), &threaded, &of(glms)], "anthropic.glm claude-1").await;
    check(&mut rig, path, &[&of(ours), &of(unknown)], "anthropic claude-1").await;
    // A pin outranks them all.
    check(&mut rig, "/anthropic/v1/messages/batches", &[&of(glms)], "anthropic.glm claude-1").await;
    check(&mut rig, "/anthropic/glm/v1/messages/batches", &[&of(ours), &of(glms)], "anthropic.glm claude-1")
        .await;

    let refused = rig.post(path, &batch(&[plain, &of(glms), &of(ours)])).await;
    assert_eq!((refused.head.status, header(&refused, "x-gateway-error")), (400, "bad_request"));
    let text = refused.body.text();
    assert!(
        text.contains("`id_glm-key` is of `anthropic.glm`, and `id_anthropic-key` of `anthropic`"),
        "{text}"
    );
    // So are two of one request.
    let both = format!(r#"{},"thread":{{"previous_message_id":"{ours}"}}"#, of(glms));
    assert_eq!(rig.post(path, &batch(&[&both])).await.head.status, 400);
}

// Spec: api A-78.
#[tokio::test(start_paused = true)]
async fn a_container_stays_with_the_provider_whose_answer_told_of_it() {
    let json = r#"{"id":"msg_first","content":[],"container":{"id":"container_1"},"usage":{}}"#;
    let stream = [
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_first\"}}\n\nevent: mess",
        "age_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"container\":{\"id\":\"container_1\"}}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ];
    let cut = Reply::steps(200, [gate_testkit::Step::Data(json.into()), gate_testkit::Step::Abort])
        .header("content-type", "application/json");
    let next = r#"{"model":"claude-1","container":"container_1"}"#;
    for (answer, expected) in [
        (Reply::json(200, json), "anthropic.glm claude-1"),
        (Reply::events(stream), "anthropic.glm claude-1"),
        (Reply::json(400, json), "anthropic claude-1"),
        (cut, "anthropic claude-1"),
    ] {
        let (mut rig, _mock) =
            Rig::with_mock(&config(), [answer, Reply::json(200, "{}"), Reply::json(200, "{}")]);
        let mut client = rig.connect();
        client.send(post("/anthropic/glm/v1/messages", &[], r#"{"model":"x"}"#)).await.unwrap();
        let _ = client.read_response().await;
        assert_eq!(ask(&mut rig, &post("/v1/messages", &[], next)).await, expected);
        // The answer itself is nothing that a later request can name.
        let thread = r#"{"model":"claude-1","thread":{"previous_message_id":"msg_first"}}"#;
        assert_eq!(ask(&mut rig, &post("/v1/messages", &[], thread)).await, "anthropic claude-1");
    }
}

// Spec: api A-61.
#[tokio::test(start_paused = true)]
async fn a_message_of_a_session_goes_to_the_maker_too() {
    let config = config().replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nwebsocket = true");
    let first = r#"{"type":"response.create","model":"gpt-9","previous_response_id":"resp_azure1"}"#;
    let made = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\nconnection: close\r\n\r\n{\"id\":\"resp_azure1\"}";
    let scripts = [
        RawScript::new().expect_head().expect_bytes(2).send(made),
        RawScript::new().expect_head().send(AGREED).expect_bytes(first.len() + 6).stall(),
    ];
    let (mut rig, mut transcripts) = Rig::with_scripts(&config, scripts);
    ask(&mut rig, &post("/openai/azure/v1/files", &[], "{}")).await;
    transcripts.recv().await.unwrap();
    let mut client = rig.connect();
    client.send(open("/v1/responses", &[])).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 101);
    client.send(frame(TEXT, first.as_bytes())).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    drop(client);
    let received = transcripts.recv().await.unwrap().received;
    assert!(String::from_utf8_lossy(&received).contains("api-key: azure-key"));
    assert_eq!(frames(&received), [(TEXT, first.as_bytes().to_vec())]);
}

// Spec: api A-64.
#[tokio::test(start_paused = true)]
async fn what_a_session_made_stays_with_its_provider() {
    async fn check(first: &str, expected: &str) {
        let config =
            config().replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nwebsocket = true");
        let event = r#"{"type":"response.created","response":{"id":"resp_azure1"}}"#;
        let event = [&[TEXT, u8::try_from(event.len()).unwrap()], event.as_bytes()].concat();
        let made = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let scripts = [
            RawScript::new()
                .expect_head()
                .send(AGREED)
                .expect_bytes(first.len() + 6)
                .send(event.clone())
                .stall(),
            RawScript::new().expect_head().send(made).stall(),
        ];
        let (mut rig, _transcripts) = Rig::with_scripts(&config, scripts);
        let mut client = rig.connect();
        client.send(open("/openai/azure/v1/responses", &[])).await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 101);
        client.send(frame(TEXT, first.as_bytes())).await.unwrap();
        assert_eq!(client.read_bytes(event.len()).await.unwrap(), event);
        drop(client);
        let provider = ask(&mut rig, &get("/v1/responses/resp_azure1", &[])).await;
        assert_eq!(provider.trim_end(), expected, "{first}");
    }
    check(r#"{"type":"response.create","model":"gpt-9"}"#, "openai.azure").await;
    check(r#"{"type":"response.create","model":"gpt-9","store":false}"#, "openai").await;
}
