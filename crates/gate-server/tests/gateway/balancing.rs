//! Pools, keys, fallbacks and retries: who is asked, how often, with what, and what the client gets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate_server::{AttemptOutcome, RequestRecord};
use gate_testkit::Step;
use gate_testkit::mock::{MockUpstream, ReceivedRequest, Reply};
use gate_testkit::raw::{RawResponse, RawScript};
use gate_upstream::Dialer;
use gate_usage::EndReason;
use tokio::time::Instant;

use crate::support::{Rig, header, post};
use crate::websocket::{AGREED, CLOSE, TEXT, frame, frames, open};

/// Two providers that share the requests of their parent, and a third that comes after them.
const POOL: &str = r#"
    [llm.provider.openai]
    fallback = "north"
    [llm.provider.openai.east]
    api_base = "http://east.test/v1"
    api_key = "east-key"
    weight = 1
    [llm.provider.openai.west]
    api_base = "http://west.test/v1"
    api_key = "west-key"
    weight = 1
    [llm.provider.openai.north]
    api_base = "http://north.test/v1"
    api_key = "north-key"
    model = "north-model"
    [llm.provider.openai.keys]
    api_base = "http://keys.test/v1"
    api_keys = ["key-one", "key-two", "key-three"]
    model = "keyed"
    [llm.provider.openai.lone]
    api_base = "http://lone.test/v1"
    api_key = "lone-key"
    model = "lonely"
"#;

const CHAT: &str = "/v1/chat/completions";
const ASKED: &str = r#"{"model":"openai.gpt-4","messages":[]}"#;

fn ok() -> Reply {
    Reply::json(200, r#"{"id":"1"}"#)
}

/// The provider that a request came to, by its host.
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

fn hosts(mock: &MockUpstream) -> Vec<String> {
    mock.requests().iter().map(host).collect()
}

fn outcomes(record: &RequestRecord) -> Vec<(String, AttemptOutcome)> {
    record.tried.iter().map(|tried| (tried.provider.to_string(), tried.outcome)).collect()
}

fn answer(response: &RawResponse) -> (u16, &str) {
    (response.head.status, header(response, "x-gateway-provider"))
}

// Spec: load-balancing B-1, B-2; routing R-43; config C-70, C-74.
#[tokio::test(start_paused = true)]
async fn a_pool_shares_the_requests_by_weight() {
    let config = POOL.replacen("weight = 1", "weight = 3", 1);
    let (mut rig, mock) = rig(&config, |_, _| ok());
    for _ in 0..8 {
        let response = rig.post(CHAT, ASKED).await;
        assert_eq!((response.head.status, header(&response, "x-gateway-attempts")), (200, "1"));
    }
    let east = hosts(&mock).iter().filter(|host| *host == "east").count();
    assert_eq!((east, mock.requests().len()), (6, 8));
    assert!(mock.requests().iter().all(|request| request.text() == ASKED.replace("openai.gpt-4", "gpt-4")));
}

// Spec: load-balancing B-6, B-8, B-14, B-16, B-22; routing R-34, R-45; api A-69; config C-71, C-76.
#[tokio::test(start_paused = true)]
async fn who_fails_is_replaced_by_who_is_left() {
    type Case = (&'static [(&'static str, u16)], (u16, &'static str), &'static [&'static str]);
    let cases: [Case; 6] = [
        (&[], (200, "openai.east"), &["east"]),
        (&[("east", 503)], (200, "openai.west"), &["east", "west"]),
        (&[("east", 429), ("west", 529)], (200, "openai.north"), &["east", "west", "north"]),
        // All three attempts are used: the last answer is the client's.
        (&[("east", 503), ("west", 529), ("north", 502)], (502, "openai.north"), &["east", "west", "north"]),
        // These say that the work may have been done, or that the request is at fault.
        (&[("east", 500)], (500, "openai.east"), &["east"]),
        (&[("east", 400)], (400, "openai.east"), &["east"]),
    ];
    for (failing, expected, asked) in cases {
        let (mut rig, mock) = rig(POOL, move |host, _| {
            let status =
                failing.iter().find(|(failing, _)| *failing == host).map_or(200, |(_, status)| *status);
            Reply::json(status, format!("{{\"from\":\"{host}\"}}"))
        });
        let response = rig.post(CHAT, ASKED).await;
        assert_eq!(answer(&response), expected, "{failing:?}");
        assert_eq!(hosts(&mock), asked, "{failing:?}");
        let last = asked.last().unwrap();
        assert_eq!(response.body.text(), format!("{{\"from\":\"{last}\"}}"), "{failing:?}");
        let is_north = *last == "north";
        assert_eq!(header(&response, "x-gateway-model"), if is_north { "north-model" } else { "gpt-4" });
        for (request, host) in mock.requests().iter().zip(asked) {
            let model = if *host == "north" { "north-model" } else { "gpt-4" };
            assert_eq!(request.text(), ASKED.replace("openai.gpt-4", model));
            assert_eq!(request.header("authorization"), Some(format!("Bearer {host}-key").as_str()));
        }
        let record = rig.records.first().await;
        let tried: Vec<_> = asked
            .iter()
            .map(|host| {
                let status =
                    failing.iter().find(|(failing, _)| failing == host).map_or(200, |(_, status)| *status);
                (format!("openai.{host}"), AttemptOutcome::Status(status))
            })
            .collect();
        assert_eq!((outcomes(&record), record.attempts as usize), (tried, asked.len()));
        assert_eq!(record.provider.as_deref(), Some(expected.1));
    }
}

// Spec: load-balancing B-14; api A-69.
#[tokio::test(start_paused = true)]
async fn the_answer_says_what_became_of_each_attempt() {
    let (mut rig, _mock) = rig(POOL, |host, _| match host {
        "east" => Reply::json(503, "{}").after(Duration::from_millis(12)),
        _ => ok().after(Duration::from_millis(340)),
    });
    let response = rig.post(CHAT, ASKED).await;
    assert_eq!(header(&response, "x-gateway-attempts"), "2; openai.east=503 12ms, openai.west=200 340ms");
    // It is the answer's own, whatever a provider says.
    assert_eq!(response.head.header_count("x-gateway-attempts"), 1);
}

// Spec: load-balancing B-4, B-9, B-22; config C-75; security S-22.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_is_followed_by_another() {
    let body = r#"{"model":"keyed"}"#;
    let check = async |refused: &'static [&'static str], status: u16, expected: (u16, usize, &str)| {
        let (mut rig, mock) = rig(POOL, move |_, request| {
            let key = request.header("authorization").unwrap_or_default().replace("Bearer ", "");
            let is_refused = refused.contains(&key.as_str());
            Reply::json(if is_refused { status } else { 200 }, format!("{{\"key\":\"{key}\"}}"))
        });
        let response = rig.post(CHAT, body).await;
        let got = (response.head.status, mock.requests().len(), header(&response, "x-gateway-error"));
        assert_eq!(got, expected, "{refused:?}");
        if expected.0 != 200 {
            assert_eq!(response.body.text(), r#"{"key":"***"}"#);
        }
    };
    check(&[], 401, (200, 1, "")).await;
    check(&["key-one"], 401, (200, 2, "")).await;
    check(&["key-one", "key-two"], 403, (200, 3, "")).await;
    check(&["key-one", "key-two", "key-three"], 401, (401, 3, "upstream_auth")).await;
}

// Spec: load-balancing B-4, B-9.
#[tokio::test(start_paused = true)]
async fn a_key_that_had_too_many_requests_rests_and_the_others_work() {
    let (mut rig, mock) = rig(POOL, |_, request| match request.header("authorization") {
        Some("Bearer key-one") => Reply::json(429, "{}").header("retry-after", "60"),
        _ => ok(),
    });
    for _ in 0..6 {
        assert_eq!(rig.post(CHAT, r#"{"model":"keyed"}"#).await.head.status, 200);
    }
    let first =
        mock.requests().iter().filter(|r| r.header("authorization") == Some("Bearer key-one")).count();
    assert_eq!((first, mock.requests().len()), (1, 7));
}

// Spec: load-balancing B-7; config C-71.
#[tokio::test(start_paused = true)]
async fn who_is_alone_is_asked_again_after_the_wait_that_he_names() {
    let check =
        async |name: &'static str, value: &'static str, (least, most): (u64, u64), requests: usize| {
            let mut is_first = true;
            let (mut rig, mock) = rig(POOL, move |_, _| match std::mem::take(&mut is_first) {
                true => Reply::json(429, "{}").header(name, value),
                false => ok(),
            });
            let begin = Instant::now();
            let response = rig.post(CHAT, r#"{"model":"lonely"}"#).await;
            let waited = begin.elapsed();
            let range = Duration::from_millis(least)..=Duration::from_millis(most);
            assert!(range.contains(&waited), "{name}: {value}: {waited:?}");
            assert_eq!(mock.requests().len(), requests, "{name}: {value}");
            assert_eq!(response.head.status, if requests == 2 { 200 } else { 429 });
        };
    // The wait that was asked for, and a backoff of up to 250 ms.
    check("retry-after", "3", (3000, 3250), 2).await;
    check("retry-after-ms", "1500", (1500, 1750), 2).await;
    check("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", (0, 1300), 2).await;
    // Nobody waits so long: the client gets the answer, which says it.
    check("retry-after", "9", (0, 0), 1).await;
}

// Spec: load-balancing B-12, B-15, B-20; api A-70.
#[tokio::test(start_paused = true)]
async fn where_all_are_down_the_answer_is_there_at_once_and_a_reload_forgets_nothing() {
    let config = format!("{POOL}\n[llm.circuit_breaker]\nfailure_threshold = 2\nrecovery_timeout = 20");
    let (mut rig, mock) = rig(&config, |_, _| Reply::json(500, "{}"));
    for _ in 0..2 {
        assert_eq!(rig.post(CHAT, r#"{"model":"lonely"}"#).await.head.status, 500);
    }
    let loaded = gate_config::load(&gate_config::Sources::empty().with_text("test", &config)).unwrap();
    rig.gateway.reload(loaded.config).unwrap();
    let begin = Instant::now();
    let response = rig.post(CHAT, r#"{"model":"lonely"}"#).await;
    assert!(begin.elapsed() < Duration::from_millis(50));
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (503, "provider_unavailable"));
    assert_eq!(header(&response, "retry-after"), "20");
    assert_eq!((mock.requests().len(), header(&response, "x-gateway-attempts")), (2, ""));
    // Once its time has come it is tried.
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!(rig.post(CHAT, r#"{"model":"lonely"}"#).await.head.status, 500);
}

// Spec: load-balancing B-6; api A-35.
#[tokio::test(start_paused = true)]
async fn what_passes_only_once_is_sent_once() {
    let (mut rig, mock) = rig(POOL, |_, _| Reply::json(503, "{}"));
    let body = "x".repeat(100 * 1024);
    let head = "POST /openai/lone/v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\n";
    let response = rig.send(&format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
    assert_eq!((response.head.status, mock.requests().len()), (503, 1));
    assert_eq!(mock.requests()[0].body.len(), body.len());
}

// Spec: load-balancing B-23.
#[tokio::test(start_paused = true)]
async fn a_key_of_the_client_goes_to_one_provider_and_its_limits_are_its_own() {
    let own = post(CHAT, &["x-provider-api-key: mine"], ASKED);
    let check = async |status: u16, asked: &[&str]| {
        let (mut rig, mock) = rig(POOL, move |_, request| match request.header("authorization") {
            Some("Bearer mine") => Reply::json(status, "{}"),
            _ => ok(),
        });
        assert_eq!(answer(&rig.send(&own).await), (status, "openai.east"));
        assert_eq!(hosts(&mock), asked);
        // What another client's key is told says nothing about ours.
        assert_eq!(answer(&rig.post(CHAT, ASKED).await), (200, "openai.east"));
    };
    check(429, &["east"]).await;
    check(401, &["east"]).await;
    let keyless = POOL.replace("api_key = \"east-key\"", "").replace("api_key = \"west-key\"", "");
    let (mut rig, mock) = rig(&keyless, |_, _| Reply::json(503, "{}"));
    let response = rig.send(&post(CHAT, &["authorization: Bearer mine"], ASKED)).await;
    assert_eq!(answer(&response), (503, "openai.east"));
    assert_eq!(hosts(&mock), ["east"]);
}

// Spec: load-balancing B-5; monitoring L-33.
#[tokio::test(start_paused = true)]
async fn a_session_stays_where_it_is() {
    let keyed = r#"{"model":"openai.gpt-4","prompt_cache_key":"one","messages":[]}"#;
    let rows = [
        post(CHAT, &["x-claude-code-session-id: a"], ASKED),
        post(CHAT, &["session-id: b"], ASKED),
        post(CHAT, &["x-session-affinity: c"], ASKED),
        post(CHAT, &[], keyed),
    ];
    for request in rows {
        let (mut rig, mock) = rig(POOL, |_, _| ok());
        for _ in 0..6 {
            rig.send(&request).await;
        }
        let hosts = hosts(&mock);
        assert!(hosts.iter().all(|host| *host == hosts[0]), "{request}: {hosts:?}");
        assert!(rig.records.all().iter().all(|record| record.sticky_hit == Some(true)), "{request}");
    }
    let not_sticky = format!("{POOL}\n[llm.load_balancing]\nsticky = false");
    let (mut rig, mock) = rig(&not_sticky, |_, _| ok());
    for _ in 0..2 {
        rig.send(&post(CHAT, &["session-id: b"], ASKED)).await;
    }
    assert_eq!(hosts(&mock), ["east", "west"]);
    assert_eq!(rig.records.first().await.sticky_hit, None);
}

const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const WORD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const ERROR: &str = "data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\"}}\n\n";
const REFUSED: &str = "data: {\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no\"}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn events(steps: Vec<Step>) -> Reply {
    Reply::steps(200, steps).header("content-type", "text/event-stream")
}

fn data(text: &str) -> Step {
    Step::Data(text.to_owned().into())
}

// Spec: load-balancing B-10, B-24; api A-24.
#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_before_its_first_content_is_replaced_and_no_other() {
    let stream = r#"{"model":"openai.gpt-4","stream":true,"messages":[]}"#;
    let good = format!("{ROLE}{WORD}{DONE}");
    let check = async |first: fn() -> Vec<Step>, expected: &str, asked: &[&str], end: EndReason| {
        let (mut rig, mock) = rig(POOL, move |host, _| match host {
            "east" => events(first()),
            _ => events(vec![data(ROLE), data(WORD), data(DONE)]),
        });
        let response = rig.post(CHAT, stream).await;
        let text = response.body.text();
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(
            (hosts(&mock), response.head.status),
            (asked.iter().map(|h| (*h).to_owned()).collect(), 200)
        );
        assert_eq!(rig.records.first().await.end, end, "{text}");
    };
    let both = &["east", "west"][..];
    let one = &["east"][..];
    check(|| vec![data(ROLE), data(WORD), data(DONE)], &good, one, EndReason::Complete).await;
    check(|| vec![data(ERROR)], &good, both, EndReason::Complete).await;
    check(|| vec![data(ROLE), data(": ping\n\n"), data(ERROR)], &good, both, EndReason::Complete).await;
    // Cut before its first content, and behind it.
    check(|| vec![data(ROLE), Step::Abort], &good, both, EndReason::Complete).await;
    let broken = format!("{ROLE}{WORD}data: {{\"error\":");
    check(|| vec![data(ROLE), data(WORD), Step::Abort], &broken, one, EndReason::UpstreamClosed).await;
    let failed = format!("{ROLE}{WORD}{ERROR}");
    check(|| vec![data(ROLE), data(WORD), data(ERROR)], &failed, one, EndReason::UpstreamError).await;
    // What the client did wrong is wrong everywhere.
    let refused = format!("{ROLE}{REFUSED}");
    check(|| vec![data(ROLE), data(REFUSED)], &refused, one, EndReason::UpstreamError).await;
    // At the limits it is the client's.
    let late = format!("{ROLE}{ERROR}");
    let slow = || vec![data(ROLE), Step::Wait(Duration::from_secs(6)), data(ERROR)];
    check(slow, &late, one, EndReason::UpstreamError).await;
    let large = format!(": {}\n\n{ERROR}", "x".repeat(16 * 1024));
    // Apart, so that the limit is reached before the error is read.
    let much = || {
        let comment = format!(": {}\n\n", "x".repeat(16 * 1024));
        vec![data(&comment), Step::Wait(Duration::from_millis(1)), data(ERROR)]
    };
    check(much, &large, one, EndReason::UpstreamError).await;
}

// Spec: load-balancing B-10.
#[tokio::test(start_paused = true)]
async fn the_last_stream_passes_with_its_error_and_a_lone_one_is_not_held() {
    let stream = r#"{"model":"openai.gpt-4","stream":true}"#;
    let (mut rig_of_all, mock) = rig(POOL, |_, _| events(vec![data(ROLE), data(ERROR)]));
    let response = rig_of_all.post(CHAT, stream).await;
    assert_eq!(answer(&response), (200, "openai.north"));
    assert_eq!((response.body.text(), mock.requests().len()), (format!("{ROLE}{ERROR}"), 3));

    let (mut rig, _mock) =
        rig(POOL, |_, _| events(vec![data(ROLE), Step::Wait(Duration::from_secs(2)), data(DONE)]));
    let mut client = rig.connect();
    let begin = Instant::now();
    client.send(&post(CHAT, &[], r#"{"model":"lonely","stream":true}"#)).await.unwrap();
    client.read_head().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

// Spec: load-balancing B-13; config C-77; monitoring L-34.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_raced_by_another_target_and_the_slower_one_cancelled() {
    let config = format!(
        "[llm.provider.openai]\nhedge_after_ms = 500\n{}",
        POOL.replace("[llm.provider.openai]\n", "")
    );
    let delays = Arc::new(Mutex::new(HashMap::<String, u64>::new()));
    let script = Arc::clone(&delays);
    let (mut rig, mock) = rig(&config, move |host, _| {
        ok().after(Duration::from_millis(script.lock().unwrap().get(host).copied().unwrap_or(0)))
    });
    let request = post(CHAT, &["session-id: one"], ASKED);
    let home = header(&rig.send(&request).await, "x-gateway-provider").replace("openai.", "");
    let other = if home == "east" { "west" } else { "east" };
    let mut check = async |quick: usize, (at_home, elsewhere): (u64, u64), waits: u64, attempts: String| {
        delays.lock().unwrap().clear();
        for _ in 0..quick {
            assert_eq!(header(&rig.send(&request).await, "x-gateway-attempts"), "1");
        }
        *delays.lock().unwrap() = [(home.clone(), at_home), (other.to_owned(), elsewhere)].into();
        let begin = Instant::now();
        let response = rig.send(&request).await;
        assert_eq!((begin.elapsed().as_millis(), response.head.status), (waits.into(), 200), "{attempts}");
        assert_eq!(header(&response, "x-gateway-attempts"), attempts);
    };
    // Twenty requests pay for one, the late one among them.
    let raced = format!("2; openai.{home}=given_up 600ms, openai.{other}=200 100ms");
    check(18, (5000, 100), 600, raced).await;
    // That share is used up.
    check(0, (5000, 100), 5000, "1".to_owned()).await;
    // The first may still be the faster one, and one that fails counts for nothing.
    let won = format!("2; openai.{home}=200 700ms, openai.{other}=given_up 200ms");
    check(18, (700, 1000), 700, won).await;
    mock.wait_until("both losers are cancelled", |counts| counts.cancelled == 2).await;
}

// Spec: load-balancing B-25; api A-46.
#[tokio::test(start_paused = true)]
async fn what_only_one_provider_has_goes_to_no_other() {
    let (mut rig, mock) = rig(POOL, |host, request| match request.target.as_str() {
        "/v1/responses" if host == "east" && request.text().contains("first") => {
            Reply::json(200, r#"{"id":"resp_of_east","object":"response"}"#)
        }
        _ => Reply::json(503, "{}"),
    });
    // An object of east stays with it, although west takes the model too and would be next.
    rig.post("/v1/responses", r#"{"model":"openai.gpt-4","input":"first"}"#).await;
    let of_east = r#"{"model":"gpt-4","previous_response_id":"resp_of_east","input":"second"}"#;
    assert_eq!(answer(&rig.post("/v1/responses", of_east).await), (503, "openai.east"));
    // A request without a model is its provider's alone.
    assert_eq!(rig.post("/openai/lone/v1/moderations", "{}").await.head.status, 503);
    let asked = hosts(&mock);
    assert_eq!(
        (asked.iter().filter(|host| *host == "west").count(), asked[0].as_str()),
        (0, "east"),
        "{asked:?}"
    );
    assert!(asked.iter().filter(|host| *host == "lone").count() > 1, "it is asked again: {asked:?}");
}

// Spec: load-balancing B-26; api A-43, A-53, A-54.
#[tokio::test(start_paused = true)]
async fn a_session_goes_to_one_of_the_pool_that_speaks_websocket() {
    let config = POOL.replace("api_key = \"west-key\"", "api_key = \"west-key\"\nwebsocket = true");
    let create = |model: &str| format!(r#"{{"type":"response.create","model":"{model}"}}"#);
    let sent = (create("gpt-4").len() + 6) * 2;
    let script = || {
        let agreed = RawScript::new().expect_head().send(AGREED);
        agreed.expect_bytes(sent).send([CLOSE, 2, 3, 0xe8]).stall()
    };
    let (mut rig, mut transcripts) = Rig::with_scripts(&config, [script(), script()]);
    let mut by_query = rig.connect();
    by_query.send(open("/v1/realtime?model=openai.gpt-4", &[])).await.unwrap();
    let head = by_query.read_head().await.unwrap();
    assert_eq!((head.status, head.header("x-gateway-provider")), (101, Some("openai.west")));
    assert_eq!(
        (head.header("x-gateway-model"), head.header("x-gateway-attempts")),
        (Some("gpt-4"), Some("1"))
    );
    by_query.send(vec![0; sent]).await.unwrap();
    let text = transcripts.recv().await.unwrap().text();
    assert!(text.contains("/v1/realtime?model=gpt-4 ") && text.contains("host: west.test"), "{text}");

    // Each message is the provider's of the session, though its name could lead elsewhere too.
    let mut by_message = rig.connect();
    by_message.send(open("/v1/responses", &[])).await.unwrap();
    assert_eq!(by_message.read_head().await.unwrap().status, 101);
    for _ in 0..2 {
        by_message.send(frame(TEXT, create("openai.gpt-4").as_bytes())).await.unwrap();
    }
    by_message.read_to_close().await.unwrap();
    let received = transcripts.recv().await.unwrap();
    assert!(received.text().contains("host: west.test"), "{}", received.text());
    let expected = vec![(TEXT, create("gpt-4").into_bytes()); 2];
    assert_eq!(frames(&received.received), expected);
}

// Spec: load-balancing B-27; api A-42.
#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_wait_between_two_attempts() {
    let (mut rig, mock) = rig(POOL, |_, _| Reply::json(429, "{}").header("retry-after", "5"));
    let mut client = rig.connect();
    client.send(&post(CHAT, &[], r#"{"model":"lonely"}"#)).await.unwrap();
    mock.next_request().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    rig.gateway.end_answers();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (503, "provider_unavailable"));
    assert_eq!((begin.elapsed(), mock.requests().len()), (Duration::ZERO, 1));
}

// Spec: load-balancing B-11, B-18, B-28.
#[tokio::test(start_paused = true)]
async fn answers_that_break_open_the_breaker_and_good_trials_close_it() {
    let config = format!("{POOL}\n[llm.circuit_breaker]\nrecovery_timeout = 20\nhalf_open_max_calls = 1");
    let reply = Arc::new(Mutex::new(Vec::new as fn() -> Vec<Step>));
    let script = Arc::clone(&reply);
    let (mut rig, _mock) = rig(&config, move |_, _| match script.lock().unwrap()() {
        steps if steps.is_empty() => Reply::json(500, "{}"),
        steps => events(steps),
    });
    let stream = post(CHAT, &[], r#"{"model":"lonely","stream":true}"#);
    let mut check = async |expected: &[u16]| {
        for expected in expected {
            assert_eq!(rig.send(&stream).await.head.status, *expected);
        }
    };
    let broken = || vec![data(ROLE), data(WORD), Step::Abort];
    let whole = || vec![data(ROLE), data(WORD), data(DONE)];
    // A good head makes no success: one good answer, and five in a row that break.
    *reply.lock().unwrap() = whole;
    check(&[200]).await;
    *reply.lock().unwrap() = broken;
    check(&[200, 200, 200, 200, 200, 503]).await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    // The trial breaks too, and the rest is twice as long.
    check(&[200, 503]).await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    check(&[503]).await;
    *reply.lock().unwrap() = whole;
    tokio::time::sleep(Duration::from_secs(20)).await;
    check(&[200, 200, 200]).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    // Three of four break: never five in a row, but more than half of ten.
    for reply_now in [broken, broken, broken, whole, broken, broken, broken, whole, broken, broken] {
        *reply.lock().unwrap() = reply_now;
        check(&[200]).await;
    }
    check(&[503]).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    // So does one error in a trial.
    *reply.lock().unwrap() = Vec::new;
    check(&[500, 503]).await;
}

// Spec: load-balancing B-11, B-28; api A-22.
#[tokio::test(start_paused = true)]
async fn who_only_redirects_is_left_alone() {
    let (mut rig, mock) = rig(POOL, |_, _| Reply::status(302));
    for expected in [502, 502, 502, 502, 502, 503] {
        let response = rig.post(CHAT, r#"{"model":"lonely"}"#).await;
        assert_eq!(response.head.status, expected);
    }
    assert_eq!(mock.requests().len(), 5);
}

// Spec: load-balancing B-6, B-16, B-22; api A-35.
#[tokio::test]
async fn who_cannot_be_reached_is_replaced_and_who_has_read_is_not() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mock = MockUpstream::answering(|_| ok());
    let somebody = mock.bind().await.unwrap();
    let config = |east: &str| {
        format!(
            "[llm.provider.openai.east]\nweight = 1\napi_key = 'e'\napi_base = 'http://{east}/v1'\n\
             [llm.provider.openai.west]\nweight = 1\napi_key = 'w'\napi_base = 'http://{somebody}/v1'\n"
        )
    };
    let mut rig = Rig::dialing(&config(&nobody.to_string()), Dialer::System);
    let response = rig.post(CHAT, ASKED).await;
    assert_eq!(answer(&response), (200, "openai.west"));
    let attempts = header(&response, "x-gateway-attempts");
    assert!(attempts.starts_with("2; openai.east=connect "), "{attempts}");

    // One that takes the request and hangs up may have done it.
    let taker = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taker.local_addr().unwrap();
    let taking = tokio::spawn(async move {
        let (mut stream, _) = taker.accept().await.unwrap();
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
        assert!(read > 0);
    });
    let mut rig = Rig::dialing(&config(&address.to_string()), Dialer::System);
    let response = rig.post(CHAT, ASKED).await;
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (502, "upstream_closed"));
    assert_eq!((header(&response, "x-gateway-attempts"), mock.requests().len()), ("1", 1));
    taking.await.unwrap();
}
