//! Calls over WebRTC: their offer names no model, but their query may, and they are joined later.

use std::sync::Arc;

use gate_testkit::mock::{MockUpstream, Reply};
use gate_testkit::raw::RawScript;

use crate::support::{CONFIG, Rig, get, header, post};
use crate::websocket::{AGREED, open};

/// Writes a request with an offer.
fn offer(path: &str) -> String {
    post(path, &[], "v=0\r\n").replace("application/json", "application/sdp")
}

// Spec: api A-65.
#[tokio::test(start_paused = true)]
async fn a_call_goes_to_the_provider_of_the_model_in_its_query() {
    for (path, provider, model, target) in [
        ("/v1/realtime/calls?model=o-1", "openai", "o-1", "/v1/realtime/calls?model=o-1"),
        (
            "/v1/realtime/calls?a=%20&model=openai.o-1&b",
            "openai",
            "o-1",
            "/v1/realtime/calls?a=%20&model=o-1&b",
        ),
        ("/v1/realtime?model=openai%2Eo-1", "openai", "o-1", "/v1/realtime?model=o-1"),
        (
            "/v1/realtime/calls?api-version=1999&model=small",
            "openai.azure",
            "gpt-4-mini.2",
            "/openai/v1/realtime/calls?api-version=2024-10-21&region=eu%20north&model=gpt-4-mini.2",
        ),
        ("/v1/realtime/calls", "openai", "", "/v1/realtime/calls"),
        ("/v1/realtime/calls?model=", "openai", "", "/v1/realtime/calls?model="),
        // Elsewhere a query is the client's own.
        ("/v1/files?model=small", "openai", "", "/v1/files?model=small"),
        (
            "/v1/realtime/calls/rtc_1/hangup?model=small",
            "openai",
            "",
            "/v1/realtime/calls/rtc_1/hangup?model=small",
        ),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::text(201, "v=0\r\n")]);
        let response = rig.send(&offer(path)).await;
        let seen = (header(&response, "x-gateway-provider"), header(&response, "x-gateway-model"));
        assert_eq!((response.head.status, seen), (201, (provider, model)), "{path}");
        let request = &mock.requests()[0];
        assert_eq!((request.target.as_str(), &*request.text()), (target, "v=0\r\n"), "{path}");
    }
}

// Spec: api A-65.
#[tokio::test(start_paused = true)]
async fn a_call_whose_model_cannot_be_told_reaches_no_provider() {
    for (path, code) in [
        ("/v1/realtime/calls?model=a&model=b", "duplicate_key"),
        ("/v1/realtime/calls?model=%ff", "invalid_model_name"),
        ("/v1/realtime?model=claude-1", "model_kind_mismatch"),
        ("/openai/azure/v1/realtime/calls?model=openai.gpt-4", "bad_request"),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::text(201, "v=0\r\n")]);
        let response = rig.send(&offer(path)).await;
        assert_eq!((response.head.status, header(&response, "x-gateway-error")), (400, code), "{path}");
        assert!(mock.requests().is_empty(), "{path}");
    }
}

/// Writes a form with an offer and these parts behind it.
fn form(path: &str, parts: &[(&str, &str)]) -> (String, String) {
    let part = |(head, content): &(&str, &str)| {
        format!("--b\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n")
    };
    let parts: String = [("name=\"sdp\"", "v=0")].iter().chain(parts).map(part).collect();
    let body = format!("{parts}--b--\r\n");
    let request = post(path, &[], &body).replacen("application/json", "multipart/form-data; boundary=b", 1);
    (request, body)
}

const SESSION: &str = "name=\"session\"\r\ncontent-type: application/json";

// Spec: api A-80.
#[tokio::test(start_paused = true)]
async fn a_call_goes_to_the_provider_of_the_model_in_its_session() {
    let blob = "name=\"session\"; filename=\"blob\"\r\ncontent-type: application/json";
    let nested = r#"{"type":"transcription","audio":{"input":{"transcription":{"model":"small"}}}}"#;
    for (path, head, session, provider, sent) in [
        ("", SESSION, r#"{"type":"realtime","model":"o-1"}"#, "openai", None),
        ("", SESSION, r#"{"model":"openai.o-1"}"#, "openai", Some(r#"{"model":"o-1"}"#)),
        (
            "",
            SESSION,
            "{ \"audio\":{}, \"mod\\u0065l\" : \"small\" }",
            "openai.azure",
            Some("{ \"audio\":{}, \"mod\\u0065l\" : \"gpt-4-mini.2\" }"),
        ),
        ("", blob, r#"{"model":"small"}"#, "openai.azure", Some(r#"{"model":"gpt-4-mini.2"}"#)),
        // What names none goes where such a request goes, and its query may name one.
        ("", SESSION, nested, "openai", None),
        ("", SESSION, r#"{"model":""}"#, "openai", None),
        ("?model=o-1", SESSION, "{}", "openai", None),
        ("?model=azure.o-1", SESSION, "{}", "openai.azure", None),
        ("", "name=\"other\"", r#"{"model":"small"}"#, "openai", None),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::text(201, "v=0\r\n")]);
        let (request, body) = form(&format!("/v1/realtime/calls{path}"), &[(head, session)]);
        let response = rig.send(&request).await;
        let seen = (response.head.status, header(&response, "x-gateway-provider"));
        assert_eq!(seen, (201, provider), "{session} {}", response.body.text());
        let expected = sent.map_or(body.clone(), |sent| body.replace(session, sent));
        assert_eq!(mock.requests()[0].text(), expected, "{session}");
    }
}

// Spec: api A-80.
#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_routed_reaches_no_provider() {
    let model = r#"{"model":"o-1"}"#;
    let long = format!("{{\"instructions\":\"{}\"}}", "x".repeat(256 * 1024));
    let encoded = "name=\"session\"\r\ncontent-transfer-encoding: base64";
    for (path, parts, status, code) in [
        ("", &[(SESSION, "{")][..], 400, "invalid_json"),
        ("", &[(SESSION, "model=o-1")], 400, "invalid_json"),
        ("", &[(SESSION, "{\"to\nols\":1,\"model\":\"o-1\"}")], 400, "invalid_json"),
        ("", &[(SESSION, r#"{"model":7}"#)], 400, "bad_request"),
        ("", &[(SESSION, r#"{"model":"a","model":"b"}"#)], 400, "duplicate_key"),
        ("", &[(SESSION, r#"{"model":"claude-1"}"#)], 400, "model_kind_mismatch"),
        ("", &[(SESSION, model), (SESSION, model)], 400, "duplicate_key"),
        ("", &[(SESSION, model), ("name=\"Session\"", model)], 400, "duplicate_key"),
        ("?model=o-1", &[(SESSION, model)], 400, "duplicate_key"),
        ("", &[(encoded, model)], 400, "bad_request"),
        ("", &[(SESSION, &*long)], 413, "request_too_large"),
    ] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::text(201, "v=0\r\n")]);
        let (request, _) = form(&format!("/v1/realtime/calls{path}"), parts);
        let response = rig.send(&request).await;
        let seen = (response.head.status, header(&response, "x-gateway-error"));
        assert_eq!(seen, (status, code), "{}", response.body.text());
        assert!(mock.requests().is_empty(), "{code}");
    }
}

// Spec: api A-66.
#[tokio::test(start_paused = true)]
async fn a_call_stays_with_its_provider() {
    let mock = Arc::new(MockUpstream::answering(|request| match request.method.as_str() {
        "POST" => Reply::text(201, "v=0\r\n").header("location", "/v1/realtime/calls/rtc_azure1?x=1"),
        _ => Reply::json(404, "{}"),
    }));
    let config = CONFIG.replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nwebsocket = true");
    let mut rig = Rig::before(&config, &mock);
    assert_eq!(rig.send(&offer("/v1/realtime/calls?model=small")).await.head.status, 201);
    for (request, provider) in [
        (post("/v1/realtime/calls/rtc_azure1/hangup", &[], ""), "openai.azure"),
        // No session here, but what the provider answers to the handshake shows where it went.
        (open("/v1/realtime?call_id=rtc_azure1", &[]), "openai.azure"),
        (open("/v1/realtime?call_id=rtc_unknown", &[]), "openai"),
        (open("/v1/realtime?call_id=rtc_azure1", &["x-gateway-provider: openai"]), "openai"),
        (get("/v1/realtime/calls/rtc_azure2", &[]), "openai"),
    ] {
        let response = rig.send(&request).await;
        assert_eq!(header(&response, "x-gateway-provider"), provider, "{request}");
    }
}

// Spec: config C-37.
#[tokio::test(start_paused = true)]
async fn a_session_cannot_override_a_configured_parameter_either() {
    let config = CONFIG.replace("api_key = \"azure-key\"", "api_key = \"azure-key\"\nwebsocket = true");
    let (mut rig, mut transcripts) =
        Rig::with_scripts(&config, [RawScript::new().expect_head().send(AGREED)]);
    let mut client = rig.connect();
    client.send(open("/v1/realtime?api-version=1999&model=small&region=us", &[])).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 101);
    drop(client);
    let target = "GET /openai/v1/realtime?api-version=2024-10-21&region=eu%20north&model=gpt-4-mini.2 HTTP";
    let text = transcripts.recv().await.unwrap().text();
    assert!(text.starts_with(target), "{text}");
}
