//! Too much of something: requests at once, bytes of bodies in memory, time for a body, connections.

use std::sync::Arc;
use std::time::Duration;

use gate_testkit::mock::{Counts, MockUpstream, Reply};
use gate_testkit::raw::{RawResponse, RawScript};
use gate_usage::EndReason;
use tokio::time::Instant;

use crate::support::{CONFIG, Rig, get, header, post};
use crate::websocket::{AGREED, TEXT, frame, open};

const CHAT: &str = "/v1/chat/completions";

fn with(limits: &str) -> String {
    format!("[llm.limits]\n{limits}\n{CONFIG}")
}

#[track_caller]
fn assert_overloaded(response: &RawResponse, setting: &str) {
    let [code, retry, after] =
        ["x-gateway-error", "x-should-retry", "retry-after"].map(|name| header(response, name));
    assert_eq!((response.head.status, code, retry, after), (503, "overloaded", "true", "1"));
    assert!(response.body.text().contains(setting), "{}", response.body.text());
}

// Spec: security S-43, S-45; monitoring L-23.
#[tokio::test(start_paused = true)]
async fn a_request_beyond_the_places_is_refused_at_once_and_others_are_answered() {
    let slow = || Reply::json(200, "{}").after(Duration::from_secs(5));
    let (mut rig, mock) =
        Rig::with_mock(&with("max_in_flight = 2"), [slow(), slow(), Reply::json(200, "{}")]);
    let body = r#"{"model":"gpt-4"}"#;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = rig.connect();
        client.send(post(CHAT, &[], body)).await.unwrap();
        busy.push(client);
    }
    mock.wait_until("two requests", |counts: Counts| counts.requests == 2).await;

    let begin = Instant::now();
    let mut refused = rig.connect();
    refused.send(post(CHAT, &[], body)).await.unwrap();
    assert_overloaded(&refused.read_response().await.unwrap(), "max_in_flight");
    // The gateway's own endpoints have no need of a place, and a wrong path gets none.
    for (path, status) in [("/health", 200), ("/ready", 200), ("/v1/models", 200), ("/v2/x", 404)] {
        refused.send(get(path, &[])).await.unwrap();
        assert_eq!(refused.read_response().await.unwrap().head.status, status, "{path}");
    }
    // Before its body is read.
    let mut waiting = rig.connect();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    waiting.send(format!("{head}expect: 100-continue\r\ncontent-length: 17\r\n\r\n")).await.unwrap();
    assert_overloaded(&waiting.read_response().await.unwrap(), "max_in_flight");
    assert_eq!(begin.elapsed(), Duration::ZERO);
    // Also if part of it has come, and the rest does not.
    let mut halting = rig.connect();
    halting.send(format!("{head}content-length: 5000\r\n\r\n{{")).await.unwrap();
    assert_overloaded(&halting.read_response().await.unwrap(), "max_in_flight");
    assert!(begin.elapsed() < Duration::from_millis(50), "{:?}", begin.elapsed());

    for mut client in busy {
        assert_eq!(client.read_response().await.unwrap().head.status, 200);
    }
    // Their places are free again, also to the connection that was refused.
    refused.send(post(CHAT, &[], body)).await.unwrap();
    assert_eq!(refused.read_response().await.unwrap().head.status, 200);
    assert_eq!(mock.counts().requests, 3);
}

// Spec: security S-43.
#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_answer_has_ended() {
    let (sender, reply) = Reply::live();
    let (mut rig, _mock) = Rig::with_mock(&with("max_in_flight = 1"), [reply, Reply::json(200, "{}")]);
    let mut streaming = rig.connect();
    streaming.send(post(CHAT, &[], r#"{"model":"gpt-4","stream":true}"#)).await.unwrap();
    assert_eq!(streaming.read_head().await.unwrap().status, 200);
    assert_overloaded(&rig.post(CHAT, r#"{"model":"gpt-4"}"#).await, "max_in_flight");
    // Its client leaves.
    drop(streaming);
    rig.records.first().await;
    sender.closed().await;
    assert_eq!(rig.post(CHAT, r#"{"model":"gpt-4"}"#).await.head.status, 200);
}

/// Starts a request of which half a mebibyte of a whole one has come.
async fn half_read(rig: &mut Rig) -> gate_testkit::raw::RawClient<tokio::io::DuplexStream> {
    let mut client = rig.connect();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    client.send(format!("{head}content-length: 1048576\r\n\r\n")).await.unwrap();
    client.send("x".repeat(512 * 1024)).await.unwrap();
    // A turn for the gateway to take it all; time stands still.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    client
}

// Spec: security S-44, S-45.
#[tokio::test(start_paused = true)]
async fn bodies_that_would_take_too_much_memory_together_are_refused() {
    let limits = "max_request_size_mb = 1\nmax_body_memory_mb = 1\nbody_memory_wait = 0.5";
    let (mut rig, mock) = Rig::with_mock(&with(limits), [Reply::json(200, "{}"), Reply::json(200, "{}")]);
    // Of the two only one has room; the other is refused without a wait, and frees what it had.
    let mut first = half_read(&mut rig).await;
    let begin = Instant::now();
    let mut second = rig.connect();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    second.send(format!("{head}content-length: 1048576\r\n\r\n")).await.unwrap();
    let _ = second.send("x".repeat(600 * 1024)).await;
    assert_overloaded(&second.read_response().await.unwrap(), "max_body_memory_mb");
    assert!(begin.elapsed() <= Duration::from_millis(500), "no wait but for what is still sent");
    assert_eq!(rig.post(CHAT, r#"{"model":"gpt-4"}"#).await.head.status, 200);

    // While most of it is taken, even a small body waits, and not for long.
    first.send("x".repeat(400 * 1024)).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    assert_overloaded(&rig.post(CHAT, r#"{"model":"gpt-4"}"#).await, "max_body_memory_mb");
    assert_eq!(begin.elapsed(), Duration::from_millis(500));
    assert_eq!(rig.send(&get("/v1/models", &[])).await.head.status, 200);

    drop(first);
    assert_eq!(rig.post(CHAT, r#"{"model":"gpt-4"}"#).await.head.status, 200);
    assert_eq!(mock.counts().requests, 2);
}

// Spec: security S-44.
#[tokio::test(start_paused = true)]
async fn a_form_takes_memory_as_far_as_it_is_held() {
    let limits = "max_request_size_mb = 1\nmax_body_memory_mb = 1\nbody_memory_wait = 0";
    let (mut rig, _mock) = Rig::with_mock(&with(limits), [Reply::json(200, "{}")]);
    let _first = half_read(&mut rig).await;
    let form = "POST /v1/images/edits HTTP/1.1\r\nhost: localhost\r\n\
                content-type: multipart/form-data; boundary=x\r\ncontent-length: 1000000\r\n\r\n\
                --x\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\n";
    let mut client = rig.connect();
    client.send(form).await.unwrap();
    let _ = client.send("x".repeat(600 * 1024)).await;
    assert_overloaded(&client.read_response().await.unwrap(), "max_body_memory_mb");
}

// Spec: security S-44; api A-56.
#[tokio::test(start_paused = true)]
async fn a_large_message_takes_memory_like_a_body() {
    let config = with("max_request_size_mb = 1\nmax_body_memory_mb = 1")
        .replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nwebsocket = true");
    let (mut rig, _mock) = Rig::with_mock(&config, []);
    let _first = half_read(&mut rig).await;
    let mut session = rig.connect();
    session.send(open("/v1/responses", &[])).await.unwrap();
    assert_eq!(session.read_head().await.unwrap().status, 101);
    // Fragments of one message, until there is no room for more.
    let part = |first: u8| frame(first, "x".repeat(60_000).as_bytes());
    session.send(part(TEXT & 0x0f)).await.unwrap();
    for _ in 0..12 {
        let _ = session.send(part(0)).await;
    }
    let received = session.read_to_close().await.unwrap().0;
    let text = String::from_utf8_lossy(&received);
    assert!(text.contains("\"code\":\"overloaded\"") && text.contains("max_body_memory_mb"), "{text}");
    assert_eq!(rig.records.first().await.error_code, Some("overloaded"));
}

// Spec: security S-46.
#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_refused_whether_it_is_held_or_passed_on() {
    for path in [CHAT, "/v1/files"] {
        let (mut rig, _mock) = Rig::with_mock(&with("body_idle_timeout = 10"), [Reply::json(200, "{}")]);
        let mut client = rig.connect().with_patience(Duration::from_secs(600));
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
        client.send(format!("{head}content-length: 100000\r\n\r\n")).await.unwrap();
        let begin = Instant::now();
        let drip = async {
            // Each byte comes well before the longest pause.
            for _ in 0..3 {
                client.send("x").await.unwrap();
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
            client.read_response().await.unwrap()
        };
        let response = drip.await;
        let (status, code) = (response.head.status, header(&response, "x-gateway-error"));
        assert_eq!((status, code), (408, "request_timeout"), "{path}");
        assert!(response.body.text().contains("min_body_rate"), "{}", response.body.text());
        assert!(begin.elapsed() < Duration::from_secs(13), "{:?}", begin.elapsed());
    }
}

// Spec: security S-45, S-48; config C-65.
#[tokio::test(start_paused = true)]
async fn a_provider_gets_no_more_connections_than_it_may() {
    let config = CONFIG.replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nmax_connections = 2");
    let mock = Arc::new(MockUpstream::answering(|_| Reply::json(200, "{}").after(Duration::from_secs(5))));
    let mut rig = Rig::before(&config, &mock);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = rig.connect().with_patience(Duration::from_secs(60));
        client.send(post(CHAT, &[], r#"{"model":"gpt-4"}"#)).await.unwrap();
        clients.push(client);
    }
    let mut answered = 0;
    for mut client in clients {
        match client.read_response().await.unwrap() {
            response if response.head.status == 200 => answered += 1,
            response => assert_overloaded(&response, "no free connection to provider `openai`"),
        }
    }
    assert_eq!((answered, mock.counts().opened), (2, 2));
}

// Spec: api A-57.
#[tokio::test(start_paused = true)]
async fn a_session_whose_client_takes_nothing_is_given_up() {
    let config = CONFIG.replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\nwebsocket = true");
    // More than the client's buffers take.
    let script = RawScript::new().expect_head().send(AGREED).send(vec![0; 1 << 20]).stall();
    let (mut rig, mut transcripts) = Rig::with_scripts(&config, [script]);
    let mut client = rig.connect().with_patience(Duration::from_secs(600));
    client.send(open("/v1/realtime?model=gpt-4", &[])).await.unwrap();
    assert_eq!(client.read_head().await.unwrap().status, 101);
    let begin = Instant::now();
    transcripts.recv().await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 60);
    assert_eq!(rig.records.first().await.end, EndReason::ClientGone);
}
