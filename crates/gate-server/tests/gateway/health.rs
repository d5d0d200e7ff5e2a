//! What `/health` and `/health/providers` show of what requests have shown.

use std::sync::Arc;
use std::time::Duration;

use gate_testkit::mock::{MockUpstream, ReceivedRequest, Reply};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Rig, get, header, post};

mod probes;

const CONFIG: &str = r#"
    [llm.provider.openai]
    [llm.provider.openai.east]
    api_base = "http://east.test/v1?signature=canary-query"
    api_key = "canary-east"
    weight = 1
    [llm.provider.openai.west]
    api_base = "http://west.test/v1"
    api_key = "canary-west"
    weight = 1
    [llm.provider.openai.keys]
    api_base = "http://keys.test/v1"
    api_keys = ["canary-one", "canary-two"]
    model = "keyed"
    [llm.provider.anthropic.lone]
    api_base = "http://lone.test"
    api_key = "canary-lone"
    model = "lonely"
"#;
const CHAT: &str = "/v1/chat/completions";
const ASKED: &str = r#"{"model":"openai.gpt-4"}"#;
const KEYED: &str = r#"{"model":"keyed"}"#;

fn host(request: &ReceivedRequest) -> String {
    request.header("host").unwrap_or_default().trim_end_matches(".test").to_owned()
}

/// A gateway before providers that answer as `script` says.
fn rig(
    config: &str,
    mut script: impl FnMut(&str, &ReceivedRequest) -> Reply + Send + 'static,
) -> (Rig, Arc<MockUpstream>) {
    let mock = Arc::new(MockUpstream::answering(move |request| script(&host(request), request)));
    (Rig::before(config, &mock), mock)
}

async fn fetch(rig: &mut Rig, path: &str) -> Value {
    let text = rig.send(&get(path, &[])).await.body.text();
    assert!(!text.contains("canary"), "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn provider(rig: &mut Rig, id: &str) -> Value {
    fetch(rig, "/health/providers").await["providers"][id].clone()
}

async fn word(rig: &mut Rig, id: &str) -> String {
    let word = provider(rig, id).await["status"].as_str().unwrap().to_owned();
    let short = fetch(rig, "/health").await["providers"][id].clone();
    assert_eq!(short["status"], word.as_str(), "`/health` tells the same");
    word
}

fn reload(rig: &Rig, config: &str) {
    let sources = gate_config::Sources::empty().with_text("test", config);
    rig.gateway.reload(gate_config::load(&sources).unwrap().config).unwrap();
}

/// How long before or after now a time of day is, in whole seconds.
fn seconds_from_now(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    (time.as_millisecond() - jiff::Timestamp::now().as_millisecond() + 500).div_euclid(1000)
}

// Spec: api A-39, A-41; monitoring L-22, L-39.
#[tokio::test(start_paused = true)]
async fn what_requests_showed_of_each_provider_is_there_to_read() {
    let (mut rig, _mock) = rig(CONFIG, |host, _| match host {
        "east" => Reply::json(500, "{}"),
        _ => Reply::json(200, "{}").after(Duration::from_millis(40)),
    });
    for _ in 0..4 {
        rig.post(CHAT, ASKED).await;
    }
    sleep(Duration::from_secs(7)).await;
    let east = provider(&mut rig, "openai.east").await;
    let expected = json!({
        "status": "DEGRADED", "consecutive_failures": 2, "last_error": "answered with status 500",
        "breaker": "closed", "requests": 2, "failures": 2, "in_flight": 0, "probes": 0
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&east[name], value, "{name}");
    }
    assert_eq!(east["next_probe"], Value::Null);
    assert_eq!((seconds_from_now(&east["last_check"]), seconds_from_now(&east["last_error_at"])), (-7, -7));
    let west = provider(&mut rig, "openai.west").await;
    assert_eq!(
        (&west["status"], &west["requests"], &west["latency_ms"]),
        (&json!("HEALTHY"), &json!(2), &json!(40))
    );
    assert_eq!(word(&mut rig, "openai.west").await, "HEALTHY");
    assert_eq!(word(&mut rig, "anthropic.lone").await, "UNKNOWN");
}

// Spec: load-balancing B-19; monitoring L-22, L-39.
#[tokio::test(start_paused = true)]
async fn an_open_breaker_and_a_rest_say_how_long() {
    let (mut rig, _mock) = rig(CONFIG, |host, _| match host {
        "lone" => Reply::json(500, "{}"),
        _ => Reply::json(429, "{}").header("retry-after", "60"),
    });
    for _ in 0..5 {
        rig.post("/v1/messages", r#"{"model":"lonely"}"#).await;
    }
    let lone = provider(&mut rig, "anthropic.lone").await;
    assert_eq!((&lone["status"], &lone["breaker"]), (&json!("UNHEALTHY"), &json!("open")));
    assert_eq!(seconds_from_now(&lone["next_probe"]), 30);
    rig.post(CHAT, ASKED).await;
    let east = provider(&mut rig, "openai.east").await;
    assert_eq!(
        (&east["status"], &east["last_error"]),
        (&json!("DEGRADED"), &json!("answered with status 429"))
    );
    assert_eq!((seconds_from_now(&east["resting_until"]), &east["failures"]), (60, &json!(0)));
    sleep(Duration::from_secs(31)).await;
    let lone = provider(&mut rig, "anthropic.lone").await;
    assert_eq!((&lone["status"], &lone["breaker"]), (&json!("UNHEALTHY"), &json!("half_open")));
    assert_eq!(lone["next_probe"], Value::Null);
}

// Spec: load-balancing B-19, B-41; monitoring L-39.
#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_state_and_is_told_by_its_place() {
    let (mut rig, _mock) = rig(CONFIG, |_, request| match request.header("authorization") {
        Some("Bearer canary-one") => Reply::json(401, "{}"),
        _ => Reply::json(200, "{}"),
    });
    rig.post(CHAT, KEYED).await;
    let keys = provider(&mut rig, "openai.keys").await;
    let shown: Vec<_> =
        keys["keys"].as_array().unwrap().iter().map(|key| (&key["key"], &key["status"])).collect();
    assert_eq!(shown, [(&json!(1), &json!("UNHEALTHY")), (&json!(2), &json!("HEALTHY"))]);
    assert_eq!((&keys["status"], &keys["requests"]), (&json!("DEGRADED"), &json!(2)));
    assert_eq!(keys["last_error"], "refused the gateway's key with status 401");
    // Where there is one key, there is no list.
    assert_eq!(provider(&mut rig, "openai.east").await["keys"], Value::Null);
}

// Spec: load-balancing B-43; monitoring L-22.
#[tokio::test(start_paused = true)]
async fn a_provider_that_a_reload_removes_drains_and_is_then_forgotten() {
    // Its head is late, so that the request still has its configuration, and with it all other targets.
    let (mut rig, mock) = rig(CONFIG, |_, _| Reply::json(200, "{}").after(Duration::from_secs(20)));
    let mut client = rig.connect();
    client.send(post("/v1/messages", &[], r#"{"model":"lonely"}"#)).await.unwrap();
    mock.next_request().await;
    let without = CONFIG.split("[llm.provider.anthropic.lone]").next().unwrap();
    reload(&rig, without);
    let lone = provider(&mut rig, "anthropic.lone").await;
    assert_eq!((&lone["status"], &lone["in_flight"]), (&json!("DRAINING"), &json!(1)));
    assert_eq!(word(&mut rig, "anthropic.lone").await, "DRAINING");
    // Only where requests run: the others that this request's configuration has are not shown.
    reload(&rig, without.split("[llm.provider.openai.keys]").next().unwrap());
    assert_eq!(provider(&mut rig, "openai.keys").await, Value::Null);
    assert_eq!(client.read_response().await.unwrap().head.status, 200);
    assert_eq!(provider(&mut rig, "anthropic.lone").await, Value::Null);
    // It comes back as one that nothing is known of.
    reload(&rig, CONFIG);
    let lone = provider(&mut rig, "anthropic.lone").await;
    assert_eq!((&lone["status"], &lone["requests"]), (&json!("UNKNOWN"), &json!(0)));
}

// Spec: load-balancing B-15, B-20; monitoring L-22.
#[tokio::test(start_paused = true)]
async fn a_reload_forgets_no_state() {
    let (mut rig, mock) = rig(CONFIG, |_, _| Reply::json(500, "{}"));
    for _ in 0..5 {
        rig.post("/v1/messages", r#"{"model":"lonely"}"#).await;
    }
    let before = provider(&mut rig, "anthropic.lone").await;
    reload(&rig, &format!("{CONFIG}\n[llm.timeout]\nread = 20"));
    let mut after = provider(&mut rig, "anthropic.lone").await;
    // These are told by the clock of the wall, and may differ in their last digit.
    for time in ["last_check", "last_error_at", "next_probe"] {
        assert_eq!(seconds_from_now(&after[time]), seconds_from_now(&before[time]));
        after[time] = before[time].clone();
    }
    assert_eq!(after, before);
    let response = rig.post("/v1/messages", r#"{"model":"lonely"}"#).await;
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (503, "provider_unavailable"));
    assert_eq!(mock.requests().len(), 5);
}
