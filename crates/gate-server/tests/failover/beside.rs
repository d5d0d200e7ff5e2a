//! Targets that stand in for each other: in a race, for a provider without a free connection, and for one
//! that refuses the gateway's key. And how long each took.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate_testkit::Step;
use gate_testkit::mock::Reply;
use tokio::time::{Instant, sleep};

use crate::rig::{Provider, Rig, ok_after, post};

const CONFIG: &str = "
    [llm.circuit_breaker]
    enabled = false
    [llm.retry]
    max_attempts = 2
    [llm.provider.openai.east]
    api_base = 'http://east.test/v1'
    api_key = 'e'
    model = 'gpt-4'
    fallback = 'west'
    EAST
    [llm.provider.openai.west]
    api_base = 'http://west.test/v1'
    api_key = 'w'
    models = ['gpt-4']
";

const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const WORD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const ERROR: &str = "data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\"}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A request to east, or in its absence to west.
fn chat() -> String {
    post("/v1/chat/completions", r#"{"model":"openai.east.gpt-4","stream":true,"messages":[]}"#)
}

/// A stream of events, each so many milliseconds after the one before.
fn stream(events: &[(u64, &'static str)]) -> Reply {
    let steps = events.iter().flat_map(|(millis, event)| {
        [Step::Wait(Duration::from_millis(*millis)), Step::Data((*event).into())]
    });
    Reply::steps(200, steps).header("content-type", "text/event-stream")
}

// Spec: load-balancing B-13, B-14, B-24, B-51, B-53.
#[tokio::test(start_paused = true)]
async fn of_two_streams_the_first_with_a_good_beginning_is_the_clients() {
    type Events = &'static [(u64, &'static str)];
    let check = async |east: Events, west: Events, expected: &[&str], attempts: &str| {
        let mut rig = Rig::new(&CONFIG.replace("EAST", "hedge_after_ms = 500"));
        let script = Arc::new(Mutex::new(&[(0, WORD), (0, DONE)][..]));
        let now = Arc::clone(&script);
        let _east = Provider::up(&rig, "east.test", move |_| stream(*now.lock().unwrap()));
        let _west = Provider::up(&rig, "west.test", move |_| stream(west));
        // Twenty requests pay for one race, the late one among them.
        for _ in 0..19 {
            assert_eq!(rig.send(&chat()).await.head.header("x-gateway-attempts"), Some("1"));
        }
        *script.lock().unwrap() = east;
        let response = rig.send(&chat()).await;
        assert_eq!(response.head.header("x-gateway-attempts"), Some(attempts));
        assert_eq!((response.body.text(), response.body.is_clean()), (expected.concat(), true), "{attempts}");
    };
    let good = &[ROLE, WORD, DONE];
    let late: Events = &[(0, ROLE), (1000, WORD), (0, DONE)];
    let at_once: Events = &[(0, ROLE), (0, WORD), (0, DONE)];
    // One that begins with an error is none, as long as another runs.
    let fails: Events = &[(100, ROLE), (0, ERROR)];
    check(late, fails, good, "2; openai.east=200 1000ms, openai.west=502 100ms").await;
    check(late, at_once, good, "2; openai.east=given_up 500ms, openai.west=200 0ms").await;
    // Nor is one that has only begun.
    let begins: Events = &[(0, ROLE), (4000, WORD), (0, DONE)];
    check(late, begins, good, "2; openai.east=200 1000ms, openai.west=given_up 500ms").await;
    // If both fail the client gets the later one, as it came.
    let fails_late: Events = &[(1000, ERROR), (0, DONE)];
    let failed = &[ERROR, DONE];
    check(fails_late, fails, failed, "2; openai.east=502 1000ms, openai.west=502 100ms").await;
    check(fails_late, at_once, good, "2; openai.east=given_up 500ms, openai.west=200 0ms").await;
}

// Spec: load-balancing B-14, B-53.
#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_is_until_it_was_known_whether_it_is_good() {
    let mut rig = Rig::new(&CONFIG.replace("EAST", ""));
    let _east = Provider::up(&rig, "east.test", |_| {
        stream(&[(3000, ROLE), (5, ERROR)]).after(Duration::from_millis(4))
    });
    let _west = Provider::up(&rig, "west.test", |_| stream(&[(20, WORD), (0, DONE)]));
    let response = rig.send(&chat()).await;
    // West is the last, and not held.
    let attempts = "2; openai.east=502 3009ms, openai.west=200 0ms";
    assert_eq!(response.head.header("x-gateway-attempts"), Some(attempts));
}

// Spec: load-balancing B-52; security S-48.
#[tokio::test(start_paused = true)]
async fn who_has_no_connection_free_is_stood_in_for() {
    let mut rig = Rig::new(&CONFIG.replace("EAST", "max_connections = 1"));
    let east = Provider::up(&rig, "east.test", |_| ok_after(5000));
    let _west = Provider::up(&rig, "west.test", |_| ok_after(7));
    let mut first = rig.connect();
    first.send(chat()).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    // More than would open a breaker: it says nothing of east.
    for _ in 0..2 {
        let begin = Instant::now();
        let response = rig.send(&chat()).await;
        let attempts = response.head.header("x-gateway-attempts");
        assert_eq!(attempts, Some("2; openai.east=pool_full 2000ms, openai.west=200 7ms"));
        assert_eq!((response.head.status, begin.elapsed().as_millis()), (200, 2007));
    }
    assert_eq!(first.read_response().await.unwrap().head.header("x-gateway-provider"), Some("openai.east"));
    assert_eq!(rig.send(&chat()).await.head.header("x-gateway-attempts"), Some("1"));
    assert_eq!(east.asked(0..60), 2);
}

// Spec: load-balancing B-9, B-22.
#[tokio::test(start_paused = true)]
async fn where_no_key_is_left_a_fallback_stands_in() {
    let check = async |east: u16, west: u16, status: u16, error: Option<&str>, attempts: [&str; 2]| {
        let mut rig = Rig::new(&CONFIG.replace("EAST", ""));
        let _east = Provider::up(&rig, "east.test", move |_| Reply::json(east, "{}"));
        let _west = Provider::up(&rig, "west.test", move |_| Reply::json(west, "{}"));
        for attempts in attempts {
            let head = rig.send(&chat()).await.head;
            let got = (head.status, head.header("x-gateway-error"), head.header("x-gateway-attempts"));
            assert_eq!(got, (status, error, Some(attempts)));
        }
    };
    // A key that is refused with 401 is left out afterwards; 403 may be about this client.
    check(401, 200, 200, None, ["2; openai.east=401 0ms, openai.west=200 0ms", "1"]).await;
    let both = "2; openai.east=403 0ms, openai.west=200 0ms";
    check(403, 200, 200, None, [both, both]).await;
    let refused = "2; openai.east=403 0ms, openai.west=403 0ms";
    check(403, 403, 403, Some("upstream_auth"), [refused, refused]).await;
}
