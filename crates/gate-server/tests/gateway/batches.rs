//! Batches of messages: each model is routed, all to one provider.

use gate_testkit::mock::Reply;

use crate::refusing::check;
use crate::support::{CONFIG, Rig, header, post};

const PATH: &str = "/v1/messages/batches";

fn batch(models: &[&str]) -> String {
    let requests: Vec<String> = models
        .iter()
        .map(|model| format!(r#"{{"custom_id":"model","params":{{ "max_tokens":1, "model": "{model}" }}}}"#))
        .collect();
    format!("{{\"requests\": [{}]}}", requests.join(" , "))
}

// Spec: api A-45.
#[tokio::test(start_paused = true)]
async fn every_model_of_a_batch_is_renamed_and_nothing_else() {
    async fn sent(path: &str, models: &[&str], provider: &str, expected: &[&str], model: &str) {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let response = rig.post(path, &batch(models)).await;
        assert_eq!(response.head.status, 200, "{models:?}: {}", response.body.text());
        assert_eq!(header(&response, "x-gateway-provider"), provider, "{models:?}");
        assert_eq!(header(&response, "x-gateway-model"), model, "{models:?}");
        let seen = mock.next_request().await;
        assert_eq!(seen.text(), batch(expected));
        assert_eq!(seen.header("content-length"), Some(&*batch(expected).len().to_string()));
        assert_eq!(rig.records.first().await.model.as_deref().unwrap_or_default(), model);
    }
    sent(PATH, &["glm-5", "anthropic.glm.glm-5", "GLM-5"], "anthropic.glm", &["GLM-5"; 3], "GLM-5").await;
    sent(PATH, &["claude-1", "anthropic.x"], "anthropic", &["claude-1", "x"], "").await;
    sent("/anthropic/glm/v1/messages/batches", &["a", "glm-5"], "anthropic.glm", &["a", "GLM-5"], "").await;
    sent(PATH, &[], "anthropic", &[], "").await;
}

// Spec: api A-45.
#[tokio::test(start_paused = true)]
async fn a_batch_of_two_providers_is_refused() {
    let request = post(PATH, &[], &batch(&["claude-1", "glm-5"]));
    let part = "its model `claude-1` is of `anthropic`, and `glm-5` of `anthropic.glm`";
    check(CONFIG, &request, 400, "bad_request", part).await;
    let request = post(PATH, &[], &batch(&["claude-1", "openai.gpt-4"]));
    check(CONFIG, &request, 400, "model_kind_mismatch", "belongs to an openai provider").await;
    let request = post(PATH, &[], r#"{"requests":[{"params":{}}]}"#);
    check(CONFIG, &request, 400, "missing_model", "requests[0]: `params` names no `model`").await;
    let request = post(PATH, &[], &batch(&["a b"]));
    check(CONFIG, &request, 400, "invalid_model_name", "no valid name").await;
}
