//! Providers that fail before their answer begins: status, code, deadline and record.

use crate::support::{CONFIG, Rig, header};
use gate_testkit::mock::Reply;
use gate_testkit::raw::RawScript;

const BODY: &str = r#"{"model":"gpt-4"}"#;

// Spec: api A-34, A-37; monitoring L-14.
#[tokio::test(start_paused = true)]
async fn each_fault_has_its_code() {
    let answers: [(&[u8], u16, &str); 4] = [
        (b"", 502, "upstream_closed"),
        (b"HTTP/1.1 200 OK\r\n", 502, "upstream_closed"),
        (b"this is no HTTP\r\n\r\n", 502, "upstream_protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", 502, "upstream_protocol"),
    ];
    for (answer, status, code) in answers {
        let (mut rig, _transcripts) =
            Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send(answer)]);
        let response = rig.post("/v1/chat/completions", BODY).await;
        assert_eq!(
            (response.head.status, header(&response, "x-gateway-error")),
            (status, code),
            "{answer:?}"
        );
        let text = response.body.text();
        assert!(text.contains("provider `openai`") && !text.contains("openai.test"), "{text}");
        let record = rig.records.first().await;
        assert_eq!((record.status, record.error_code, record.attempts), (Some(status), Some(code), 1));
        assert_eq!(record.provider.as_deref(), Some("openai"));
    }
}

// Spec: api A-34; config C-25.
#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_is_given_up_in_time() {
    for (config, seconds) in [
        (format!("[llm.timeout]\nfirst_byte = 9\n{CONFIG}"), 9),
        (CONFIG.replace("api_key = \"openai-key\"", "api_key = \"openai-key\"\ntimeout = 2.5"), 2),
    ] {
        let (mut rig, _mock) = Rig::with_mock(&config, [Reply::status(200).never()]);
        let started = tokio::time::Instant::now();
        let response = rig.post("/v1/chat/completions", BODY).await;
        assert_eq!((response.head.status, header(&response, "x-gateway-error")), (504, "upstream_timeout"));
        assert_eq!(started.elapsed().as_secs(), seconds);
        assert_eq!(header(&response, "x-should-retry"), "");
    }
}

#[tokio::test(start_paused = true)]
async fn interim_answers_are_swallowed() {
    let answer = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (mut rig, _transcripts) = Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send(answer)]);
    let response = rig.post("/v1/chat/completions", BODY).await;
    assert_eq!((response.head.status, response.body.text().as_str()), (200, "ok"));
}

// Spec: api A-20.
#[tokio::test(start_paused = true)]
async fn two_framings_in_an_answer_do_not_reach_the_client() {
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (mut rig, _transcripts) = Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send(answer)]);
    let response = rig.post("/v1/chat/completions", BODY).await;
    assert_eq!(response.body.text(), "ok");
    let framings = ["content-length", "transfer-encoding"].map(|name| response.head.header_count(name));
    assert_eq!(framings.iter().sum::<usize>(), 1, "{:?}", response.head);
}

// Spec: api A-42.
#[tokio::test(start_paused = true)]
async fn running_answers_end_when_the_gateway_must() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::status(200).never()]);
    let mut client = rig.connect();
    client.send(crate::support::post("/v1/chat/completions", &[], BODY)).await.unwrap();
    mock.next_request().await;
    rig.gateway.end_answers();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (503, "provider_unavailable"));
    assert_eq!((header(&response, "retry-after"), header(&response, "connection")), ("1", "close"));
}

// Spec: api A-35.
#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_has_closed_is_not_used() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    // Closed behind the first answer, while the connection waits for the next request.
    let closing = RawScript::new().expect_head().expect_bytes(BODY.len()).send(answer).close();
    let second = RawScript::new().expect_head().send(answer);
    let (mut rig, _transcripts) = Rig::with_scripts(CONFIG, [closing, second]);
    for _ in 0..2 {
        assert_eq!(rig.post("/v1/chat/completions", BODY).await.body.text(), "ok");
    }
    let attempts: Vec<u32> = rig.records.all().iter().map(|record| record.attempts).collect();
    assert_eq!(attempts, [1, 1], "it is found closed before anything is sent on it");
}
