//! Where the time to the head of an answer went: in `server-timing` and in the record.

use std::time::Duration;

use crate::support::{CONFIG, Rig, get, header, post};
use gate_testkit::mock::Reply;
use gate_testkit::raw::RawResponse;
use gate_upstream::{Dialer, MemoryDialer};

/// Returns the steps that an answer names, with their times in milliseconds.
fn steps_of(response: &RawResponse) -> Vec<(String, f64)> {
    let text = header(response, "server-timing");
    let steps = text.split(", ").map(|step| step.split_once(";dur=").unwrap());
    steps.map(|(name, time)| (name.to_owned(), time.parse().unwrap())).collect()
}

// Spec: api A-60; monitoring L-24.
#[tokio::test(start_paused = true)]
async fn the_time_of_each_step_is_in_the_answer_and_in_the_record() {
    let reply = Reply::json(200, "{}").after(Duration::from_millis(250));
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
    let mut client = rig.connect();
    let request = post("/v1/chat/completions", &[], r#"{"model":"gpt-4"}"#);
    let (head, body) = request.split_at(request.len() - 5);
    client.send(head).await.unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    client.send(body).await.unwrap();
    let response = client.read_response().await.unwrap();
    let expected = [
        ("total", 290.0),
        ("auth", 0.0),
        ("receive", 40.0),
        ("route", 0.0),
        ("queue", 0.0),
        ("upstream", 250.0),
        ("gateway", 0.0),
    ];
    assert_eq!(steps_of(&response), expected.map(|(name, time)| (name.to_owned(), time)));
    let steps = rig.records.first().await.steps;
    let times = [steps.receive, steps.upstream, steps.gateway, steps.connect, steps.tls];
    let millis = |time| Some(Duration::from_millis(time));
    assert_eq!(times, [millis(40), millis(250), millis(0), None, None]);
}

// Spec: api A-60.
#[tokio::test(start_paused = true)]
async fn answers_of_the_gateways_own_name_the_steps_that_they_took() {
    let config = format!("[llm.timeout]\nfirst_byte = 7\n{CONFIG}");
    let (mut rig, _mock) = Rig::with_mock(&config, [Reply::status(200).never()]);
    let names =
        |response: &RawResponse| -> Vec<_> { steps_of(response).into_iter().map(|step| step.0).collect() };
    let health = rig.send(&get("/health", &[])).await;
    assert_eq!(names(&health), ["total", "auth", "gateway"]);
    let refused = rig.post("/v1/chat/completions", "{").await;
    assert_eq!(names(&refused), ["total", "auth", "receive", "gateway"]);
    // What a provider wasted is not the gateway's.
    let late = rig.post("/v1/chat/completions", r#"{"model":"gpt-4"}"#).await;
    assert_eq!((late.head.status, header(&late, "x-gateway-error")), (504, "upstream_timeout"));
    let steps = steps_of(&late);
    assert_eq!(steps.first().unwrap().1, 7000.0);
    assert_eq!(steps.last().unwrap(), &("gateway".to_owned(), 0.0));
}

/// Returns what an answer names, without `auth` and `route`, which take no time here.
fn waits_of(response: &RawResponse) -> Vec<(String, f64)> {
    let mut steps = steps_of(response);
    steps.retain(|(name, _)| !matches!(name.as_str(), "auth" | "route"));
    steps
}

#[track_caller]
fn check(response: &RawResponse, status: u16, expected: &[(&str, f64)]) {
    assert_eq!(response.head.status, status);
    let expected: Vec<_> = expected.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect();
    assert_eq!(waits_of(response), expected);
}

const ASKED: &str = r#"{"model":"gpt-4"}"#;
const MILLIS: fn(u64) -> Option<Duration> = |time| Some(Duration::from_millis(time));

// Spec: monitoring L-28; api A-60.
#[tokio::test(start_paused = true)]
async fn a_provider_without_an_answer_leaves_the_time_that_it_was_waited_for() {
    let config = format!("[llm.timeout]\nfirst_byte = 7\n{CONFIG}");
    let (mut rig, _mock) = Rig::with_mock(&config, [Reply::status(200).never()]);
    let late = rig.post("/v1/chat/completions", ASKED).await;
    let (queue, receive) = (("queue", 0.0), ("receive", 0.0));
    check(&late, 504, &[("total", 7000.0), receive, queue, ("upstream", 7000.0), ("gateway", 0.0)]);
    let record = rig.records.first().await;
    assert_eq!((record.steps.queue, record.steps.upstream, record.ttfb), (MILLIS(0), MILLIS(7000), None));
}

// Spec: monitoring L-28; api A-60.
#[tokio::test(start_paused = true)]
async fn a_connect_that_fails_is_a_step_and_what_comes_behind_it_is_none() {
    let (dialer, _listener) = MemoryDialer::with_backlog(1);
    let config =
        format!("[llm.retry]\nmax_attempts = 1\n[llm.timeout]\nconnection = 3\nfirst_byte = 60\n{CONFIG}");
    let mut rig = Rig::dialing(&config, Dialer::Memory(dialer));
    let mut fills_the_backlog = rig.connect();
    fills_the_backlog.send(post("/v1/chat/completions", &[], ASKED)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let response = rig.post("/v1/chat/completions", ASKED).await;
    let expected =
        [("total", 3000.0), ("receive", 0.0), ("queue", 0.0), ("connect", 3000.0), ("gateway", 0.0)];
    check(&response, 504, &expected);
    let steps = rig.records.first().await.steps;
    assert_eq!((steps.connect, steps.tls, steps.upstream), (MILLIS(3000), None, None));
}

// Spec: monitoring L-28.
#[tokio::test(start_paused = true)]
async fn a_session_that_the_provider_does_not_answer_has_its_steps() {
    let config = CONFIG.replacen("model = \"gpt-4\"", "model = \"gpt-4\"\nwebsocket = true", 1);
    let config = format!("[llm.timeout]\nfirst_byte = 7\n{config}");
    let (mut rig, _mock) = Rig::with_mock(&config, [Reply::status(200).never()]);
    let upgrade = [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    let late = rig.send(&get("/v1/realtime?model=gpt-4", &upgrade)).await;
    check(&late, 504, &[("total", 7000.0), ("queue", 0.0), ("upstream", 7000.0), ("gateway", 0.0)]);
}

// Spec: monitoring L-28.
#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_late_is_a_wait_for_the_client() {
    let config = format!("[llm.limits]\nbody_idle_timeout = 4\n{CONFIG}");
    let (mut rig, _mock) = Rig::with_mock(&config, []);
    let request = post("/v1/chat/completions", &[], ASKED);
    let late = rig.send(request.get(..request.len() - 3).unwrap()).await;
    assert_eq!(late.head.status, 408);
    let record = rig.records.first().await;
    // Reading away what is left of the body is a wait as well.
    assert_eq!((record.steps.receive, record.steps.gateway), (MILLIS(4000), MILLIS(0)));
}

// Spec: monitoring L-28.
#[tokio::test(start_paused = true)]
async fn to_read_a_refused_body_away_is_no_time_of_the_gateways_own() {
    let (mut rig, _mock) = Rig::with_mock(CONFIG, []);
    // The body never comes, and is waited for only shortly.
    let head = "POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
    let refused = rig.send(head).await;
    check(&refused, 404, &[("total", 20.0), ("gateway", 0.0)]);

    // Nor is the reading of a refusal that could quote our key.
    let pieces =
        [gate_testkit::Step::Wait(Duration::from_millis(250)), gate_testkit::Step::Data("{}".into())];
    let reply = Reply::steps(401, pieces);
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
    let refused = rig.post("/v1/chat/completions", ASKED).await;
    let expected = [("total", 250.0), ("receive", 0.0), ("queue", 0.0), ("upstream", 0.0), ("gateway", 0.0)];
    check(&refused, 401, &expected);
}
