//! The endpoints that the gateway answers by itself.

use crate::support::{CONFIG, Rig, get, header};
use serde_json::{Value, json};

async fn fetch(path: &str, headers: &[&str]) -> (u16, Value) {
    let (mut rig, mock) = Rig::with_mock(CONFIG, []);
    let response = rig.send(&get(path, headers)).await;
    assert_eq!(header(&response, "content-type"), "application/json");
    assert!(mock.requests().is_empty());
    (response.head.status, serde_json::from_slice(&response.body.bytes).unwrap())
}

// Spec: api A-5.
#[tokio::test(start_paused = true)]
async fn probes_are_answered() {
    let expected = json!({"name": "emx-gate", "version": env!("CARGO_PKG_VERSION")});
    for path in ["/", "/api/hello"] {
        assert_eq!(fetch(path, &[]).await, (200, expected.clone()));
        let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
        let mut client = rig.connect();
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.send(request).await.unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 200);
        assert!(client.read_to_close().await.unwrap().0.is_empty());
        assert_eq!(rig.records.first().await.bytes_out, 0);
    }
}

// Spec: api.
#[tokio::test(start_paused = true)]
async fn health_and_readiness() {
    let (status, health) = fetch("/health", &[]).await;
    assert_eq!(
        (status, &health["status"], &health["version"]),
        (200, &json!("ok"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let timestamp = health["timestamp"].as_str().unwrap();
    assert!(timestamp.contains('T') && timestamp.ends_with('Z'), "{timestamp}");
    let providers: Vec<_> = health["providers"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(providers, ["anthropic", "anthropic.glm", "openai", "openai.azure"]);
    assert_eq!(health["providers"]["openai"], json!({"status": "UNKNOWN", "last_check": null}));

    let ready = json!({"ready": true, "checks": {"config_loaded": true, "providers_configured": true}});
    assert_eq!(fetch("/ready", &[]).await, (200, ready));

    let (_, providers) = fetch("/health/providers", &[]).await;
    let unknown = json!({
        "status": "UNKNOWN", "consecutive_failures": 0, "last_check": null, "last_error": null,
        "last_error_at": null, "next_probe": null, "breaker": "closed", "resting_until": null,
        "requests": 0, "failures": 0, "probes": 0, "in_flight": 0, "latency_ms": null
    });
    assert_eq!(providers["providers"]["anthropic.glm"], unknown);
}

// Spec: api A-40; monitoring L-21.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_drains_or_has_no_provider_is_not_ready() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    rig.gateway.start_draining();
    assert_eq!(rig.send(&get("/ready", &[])).await.head.status, 503);
    assert_eq!(rig.send(&get("/health", &[])).await.head.status, 200);

    let (mut rig, _mock) = Rig::with_mock("", []);
    let response = rig.send(&get("/ready", &[])).await;
    assert_eq!(response.head.status, 503);
    let expected = json!({"ready": false, "checks": {"config_loaded": true, "providers_configured": false}});
    assert_eq!(serde_json::from_slice::<Value>(&response.body.bytes).unwrap(), expected);
}

// Spec: api A-30.
#[tokio::test(start_paused = true)]
async fn models_are_listed_in_both_shapes() {
    let all = ["openai.gpt-4", "anthropic.claude-1", "openai.azure.small", "anthropic.glm.glm-5"];
    for (path, expected) in [
        ("/v1/models", &all[..]),
        ("/openai/v1/models", &["openai.gpt-4", "openai.azure.small"]),
        ("/openai/models", &["openai.gpt-4", "openai.azure.small"]),
        ("/anthropic/glm/v1/models", &["anthropic.glm.glm-5"]),
    ] {
        let (_, list) = fetch(path, &[]).await;
        assert_eq!(list["object"], "list");
        assert_eq!(sorted_ids(&list), sorted(expected), "{path}");
        let (_, list) = fetch(path, &["anthropic-version: 2023-06-01"]).await;
        assert_eq!(sorted_ids(&list), sorted(expected), "{path}");
        let data = list["data"].as_array().unwrap();
        assert_eq!(list["has_more"], false);
        assert_eq!((&list["first_id"], &list["last_id"]), (&data[0]["id"], &data[data.len() - 1]["id"]));
        assert_eq!(
            (&data[0]["type"], &data[0]["created_at"]),
            (&json!("model"), &json!("2026-01-01T00:00:00Z"))
        );
    }
}

fn sorted_ids(list: &Value) -> Vec<String> {
    let mut ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    ids
}

fn sorted(ids: &[&str]) -> Vec<String> {
    let mut ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
    ids.sort_unstable();
    ids
}

// Spec: api A-33.
#[tokio::test(start_paused = true)]
async fn one_model_is_found_by_its_id() {
    let expected = json!({
        "id": "openai.azure.small", "object": "model", "created": 1_767_225_600, "owned_by": "azure", "permission": []
    });
    assert_eq!(fetch("/v1/models/openai.azure.small", &[]).await, (200, expected.clone()));
    assert_eq!(fetch("/v1/models/OpenAI.Azure.Small", &[]).await, (200, expected));
    let (status, error) = fetch("/v1/models/openai%2Fnone", &[]).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(fetch("/anthropic/v1/models/openai.gpt-4", &[]).await.0, 404);
}

// Spec: api A-32.
#[tokio::test(start_paused = true)]
async fn providers_are_listed_without_their_keys() {
    let (_, list) = fetch("/v1/providers", &[]).await;
    let azure =
        list["data"].as_array().unwrap().iter().find(|provider| provider["id"] == "openai.azure").unwrap();
    let expected = json!({
        "id": "openai.azure", "type": "openai", "models": ["small"], "api_base": "http://azure.test/openai/v1"
    });
    assert_eq!(azure, &expected);
    assert!(!list.to_string().contains("-key"), "{list}");
}
