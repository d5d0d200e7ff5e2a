//! The probes that are made where they are wanted, and what they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate_testkit::Step;
use gate_testkit::mock::{MockUpstream, Reply};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{ASKED, CHAT, CONFIG, host, provider, reload, rig, seconds_from_now, word};
use crate::serving::{self, Server};
use crate::support::{Rig, post};

/// These two alone, probed every ten seconds.
const PROBED: &str = r#"
    [llm.provider.openai]
    [llm.provider.openai.east]
    api_base = "http://east.test/v1"
    api_key = "east-key"
    weight = 1
    [llm.provider.openai.west]
    api_base = "http://west.test/v1"
    api_key = "west-key"
    weight = 1
    [llm.health_check]
    active = true
    interval = 10
    timeout = 2
"#;

/// The same where the providers are watched, and those named get another status than 200.
fn watched(config: &str, statuses: &Statuses) -> (Rig, Arc<MockUpstream>) {
    let statuses = Arc::clone(&statuses.0);
    let (mut rig, mock) = rig(config, move |host, _| {
        Reply::json(statuses.lock().unwrap().get(host).copied().unwrap_or(200), r#"{"data":[]}"#)
    });
    rig.watch();
    (rig, mock)
}

/// What providers answer from now on.
#[derive(Clone, Default)]
struct Statuses(Arc<Mutex<BTreeMap<&'static str, u16>>>);

impl Statuses {
    fn set(&self, host: &'static str, status: u16) {
        self.0.lock().unwrap().insert(host, status);
    }
}

// Spec: load-balancing B-40; monitoring L-41; config C-73.
#[tokio::test(start_paused = true)]
async fn providers_are_probed_with_their_key_and_without_a_record() {
    let config =
        format!("{CONFIG}\n[llm.health_check]\nactive = true\ninterval = 60\nendpoint = \"/models?limit=1\"");
    let (mut rig, mock) = watched(&config, &Statuses::default());
    sleep(Duration::from_millis(5100)).await;
    let mut asked: Vec<_> = mock
        .requests()
        .iter()
        .map(|request| {
            let key = request.header("authorization").or(request.header("x-api-key")).unwrap();
            (format!("{} {}{}", request.method, host(request), request.target), key.to_owned())
        })
        .collect();
    asked.sort_unstable();
    let asked: Vec<_> = asked.iter().map(|(what, key)| (what.as_str(), key.as_str())).collect();
    assert_eq!(
        asked,
        [
            ("GET east/v1/models?signature=canary-query&limit=1", "Bearer canary-east"),
            ("GET keys/v1/models?limit=1", "Bearer canary-one"),
            ("GET lone/v1/models?limit=1", "canary-lone"),
            ("GET west/v1/models?limit=1", "Bearer canary-west"),
        ]
    );
    assert!(
        mock.requests().iter().all(|request| request.header("user-agent").unwrap().starts_with("emx-gate/"))
    );
    let lone = mock.requests().into_iter().find(|request| host(request) == "lone").unwrap();
    assert_eq!(lone.header("anthropic-version"), Some("2023-06-01"));
    assert!(rig.records.all().is_empty());
    for id in ["openai.east", "openai.keys", "anthropic.lone"] {
        let shown = provider(&mut rig, id).await;
        assert_eq!(
            (&shown["status"], &shown["requests"], &shown["probes"]),
            (&json!("HEALTHY"), &json!(0), &json!(1)),
            "{id}"
        );
        assert!((48..=66).contains(&seconds_from_now(&shown["next_probe"])), "{shown}");
    }
    // Every one again, once in an interval.
    sleep(Duration::from_secs(66)).await;
    assert_eq!(mock.requests().len(), 8);
    sleep(Duration::from_secs(600)).await;
    assert!((4 * 10..=4 * 13).contains(&mock.requests().len()), "{}", mock.requests().len());
}

// Spec: load-balancing B-40.
#[tokio::test(start_paused = true)]
async fn who_is_not_asked_itself_is_not_probed() {
    let check = async |parent: &str, expected: &[&str]| {
        let config =
            PROBED.replacen("[llm.provider.openai]\n", &format!("[llm.provider.openai]\n{parent}\n"), 1);
        let (_rig, mock) = watched(&config, &Statuses::default());
        sleep(Duration::from_secs(30)).await;
        let asked: BTreeSet<_> = mock.requests().iter().map(host).collect();
        assert_eq!(Vec::from_iter(asked), expected, "{parent}");
    };
    check("model = 'gpt-4'", &["east", "west"]).await;
    check("api_base = 'http://own.test/v1'", &["east", "own", "west"]).await;
}

// Spec: load-balancing B-40; config C-73.
#[tokio::test(start_paused = true)]
async fn without_the_wish_nobody_is_probed() {
    let (_rig, mock) = watched(CONFIG, &Statuses::default());
    sleep(Duration::from_secs(3600)).await;
    assert!(mock.requests().is_empty());
}

// Spec: load-balancing B-41; config C-73.
#[tokio::test(start_paused = true)]
async fn an_answer_shows_that_somebody_is_there() {
    let check = async |status: u16, probes: u64, expected: &str, error: Value| {
        let statuses = Statuses::default();
        statuses.set("east", status);
        let (mut rig, _mock) = watched(PROBED, &statuses);
        sleep(Duration::from_secs(5 + 11 * (probes - 1))).await;
        let shown = provider(&mut rig, "openai.east").await;
        assert_eq!((&shown["status"], &shown["last_error"]), (&json!(expected), &error), "{status}");
        assert_eq!(word(&mut rig, "openai.west").await, "HEALTHY");
    };
    for status in [200, 204, 400, 404, 405, 429, 501] {
        check(status, 1, "HEALTHY", Value::Null).await;
    }
    check(401, 1, "UNHEALTHY", json!("refused the gateway's key with status 401")).await;
    check(403, 4, "DEGRADED", json!("refused the gateway's key with status 403")).await;
    check(500, 1, "DEGRADED", json!("answered with status 500")).await;
    check(500, 3, "UNHEALTHY", json!("answered with status 500")).await;
    check(529, 3, "UNHEALTHY", json!("answered with status 529")).await;
}

// Spec: load-balancing B-41.
#[tokio::test(start_paused = true)]
async fn the_first_key_is_asked_and_its_refusal_is_its_own() {
    let config = format!("{CONFIG}\n[llm.health_check]\nactive = true");
    let check = async |status: u16, expected: [&str; 2]| {
        let statuses = Statuses::default();
        statuses.set("keys", status);
        let (mut rig, mock) = watched(&config, &statuses);
        sleep(Duration::from_secs(5)).await;
        let keys = provider(&mut rig, "openai.keys").await;
        let words = [&keys["keys"][0]["status"], &keys["keys"][1]["status"]];
        assert_eq!(words, expected, "{status}");
        assert_eq!(mock.requests().iter().filter(|request| host(request) == "keys").count(), 1);
    };
    check(200, ["HEALTHY", "HEALTHY"]).await;
    check(401, ["UNHEALTHY", "HEALTHY"]).await;
    check(403, ["DEGRADED", "HEALTHY"]).await;
    check(500, ["DEGRADED", "DEGRADED"]).await;
}

// Spec: load-balancing B-41.
#[tokio::test(start_paused = true)]
async fn who_has_no_key_cannot_have_it_refused() {
    let statuses = Statuses::default();
    statuses.set("east", 401);
    let config = PROBED.replace("api_key = \"east-key\"", "auth = \"none\"");
    let (mut rig, _mock) = watched(&config, &statuses);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(word(&mut rig, "openai.east").await, "HEALTHY");
}

// Spec: load-balancing B-40, B-41; config C-73.
#[tokio::test(start_paused = true)]
async fn who_does_not_answer_in_time_fails_and_is_asked_again() {
    let (mut rig, mock) = rig(PROBED, |host, _| match host {
        "east" => Reply::json(200, "{}").never(),
        // The head is enough: it is there, whatever becomes of the rest.
        _ => Reply::steps(200, [Step::Data("{".into()), Step::Stall]),
    });
    rig.watch();
    let begin = Instant::now();
    mock.wait_until("both are cancelled", |counts| counts.cancelled >= 2).await;
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
    sleep(Duration::from_secs(35)).await;
    let east = provider(&mut rig, "openai.east").await;
    assert_eq!((&east["status"], &east["last_error"]), (&json!("UNHEALTHY"), &json!("did not answer")));
    assert_eq!(word(&mut rig, "openai.west").await, "HEALTHY");
}

// Spec: load-balancing B-41.
#[tokio::test(start_paused = true)]
async fn a_lack_of_free_connections_is_not_the_providers_fault() {
    let config = PROBED.replace("\"east-key\"", "\"east-key\"\nmax_connections = 1\nmodel = \"busy\"");
    let (mut rig, mock) = rig(&config, |_, request| match request.method.as_str() {
        "POST" => Reply::json(200, "{}").never(),
        _ => Reply::json(200, "{}"),
    });
    let mut client = rig.connect();
    client.send(post(CHAT, &[], r#"{"model":"busy"}"#)).await.unwrap();
    mock.next_request().await;
    rig.watch();
    sleep(Duration::from_secs(60)).await;
    let east = provider(&mut rig, "openai.east").await;
    assert_eq!((&east["status"], &east["consecutive_failures"]), (&json!("UNKNOWN"), &json!(0)));
    assert!(east["probes"].as_u64().unwrap() > 3, "{east}");
}

// Spec: load-balancing B-19, B-42; monitoring L-22.
#[tokio::test(start_paused = true)]
async fn probes_keep_requests_away_as_long_as_somebody_else_is_left() {
    let statuses = Statuses::default();
    statuses.set("east", 500);
    let (mut rig, mock) = watched(PROBED, &statuses);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(word(&mut rig, "openai.east").await, "UNHEALTHY");
    let posts = |mock: &MockUpstream, host_name: &str| {
        mock.requests()
            .iter()
            .filter(|request| request.method == "POST" && host(request) == host_name)
            .count()
    };
    for _ in 0..4 {
        assert_eq!(rig.post(CHAT, ASKED).await.head.status, 200);
    }
    assert_eq!((posts(&mock, "east"), posts(&mock, "west")), (0, 4));
    // Nobody is left, and probes may be wrong.
    statuses.set("west", 500);
    sleep(Duration::from_secs(40)).await;
    assert_eq!(word(&mut rig, "openai.west").await, "UNHEALTHY");
    assert_eq!(rig.post(CHAT, ASKED).await.head.status, 500);
    // They are back, without a request.
    statuses.set("east", 200);
    statuses.set("west", 200);
    sleep(Duration::from_secs(25)).await;
    assert_eq!(word(&mut rig, "openai.east").await, "HEALTHY");
    assert_eq!(rig.post(CHAT, ASKED).await.head.status, 200);
}

// Spec: load-balancing B-42.
#[tokio::test(start_paused = true)]
async fn a_half_open_breaker_is_tried_by_a_probe_before_its_time_in_the_interval() {
    let statuses = Statuses::default();
    let config = PROBED.replace("interval = 10", "interval = 3000");
    let config = format!("{config}\n[llm.circuit_breaker]\nfailure_threshold = 1\nhalf_open_max_calls = 1");
    let (mut rig, mock) = watched(&config, &statuses);
    sleep(Duration::from_secs(60)).await;
    statuses.set("east", 500);
    rig.post(CHAT, ASKED).await;
    rig.post(CHAT, ASKED).await;
    assert_eq!(provider(&mut rig, "openai.east").await["breaker"], "open");
    let before = mock.requests().len();
    sleep(Duration::from_secs(31)).await;
    // The probe failed, and the breaker is open again: no request was risked.
    let asked: Vec<_> =
        mock.requests().iter().skip(before).map(|r| format!("{} {}", r.method, host(r))).collect();
    assert_eq!(asked, ["GET east"]);
    assert_eq!(provider(&mut rig, "openai.east").await["breaker"], "open");
    statuses.set("east", 200);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(mock.requests().len(), before + 2);
    assert_eq!(provider(&mut rig, "openai.east").await["breaker"], "closed");
}

// Spec: load-balancing B-40; config C-73.
#[tokio::test(start_paused = true)]
async fn probes_follow_a_reload() {
    let (mut rig, mock) = watched(PROBED, &Statuses::default());
    sleep(Duration::from_secs(6)).await;
    let asked = |mock: &MockUpstream, seen: &mut usize| -> Vec<String> {
        let requests = mock.requests();
        let mut hosts: Vec<_> =
            requests.iter().skip(std::mem::replace(seen, requests.len())).map(host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    };
    let mut seen = 0;
    assert_eq!(asked(&mock, &mut seen), ["east", "west"]);
    let other = PROBED.replace("openai.west]", "openai.north]").replace("west", "north");
    reload(&rig, &other);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(asked(&mock, &mut seen), ["east", "north"]);
    assert_eq!(word(&mut rig, "openai.north").await, "HEALTHY");
    reload(&rig, &other.replace("active = true", "active = false"));
    sleep(Duration::from_secs(60)).await;
    assert!(asked(&mock, &mut seen).is_empty());
    // At once, and not after what was left of another wait.
    reload(&rig, &PROBED.replace("interval = 10", "interval = 0.5"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(asked(&mock, &mut seen), ["east", "west"]);
}

// Spec: load-balancing B-40.
#[tokio::test(start_paused = true)]
async fn many_providers_are_spread_and_bounded() {
    let mut config = "[llm.health_check]\nactive = true\ninterval = 1000\ntimeout = 100\n".to_owned();
    for n in 0..80 {
        config.push_str(&format!(
            "[llm.provider.openai.p{n}]\napi_base = \"http://p{n}.test/v1\"\napi_key = \"k\"\nmodel = \"m{n}\"\n"
        ));
    }
    let (mut rig, mock) = rig(&config, |_, _| Reply::json(200, "{}").never());
    rig.watch();
    sleep(Duration::from_millis(500)).await;
    let early = mock.requests().len();
    assert!((1..30).contains(&early), "{early}");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(mock.requests().len(), 32);
    // Each that ends makes room for the next.
    sleep(Duration::from_secs(300)).await;
    assert_eq!(mock.requests().len(), 80);
}

// Spec: load-balancing B-40.
#[tokio::test]
async fn a_server_watches_and_a_shutdown_ends_the_probes() {
    let mock = MockUpstream::answering(|_| Reply::json(200, "{}").never());
    let config = format!(
        "{}\n[llm.health_check]\nactive = true\ninterval = 0.01\n",
        serving::config(mock.bind().await.unwrap())
    );
    let server = Server::start(&config).await;
    assert_eq!(mock.next_request().await.target, "/v1/models");
    let drained = server.stop().await;
    assert_eq!((drained.in_flight, drained.ended), (0, 0));
    mock.wait_until("the probe is cancelled", |counts| counts.cancelled == 1).await;
}
