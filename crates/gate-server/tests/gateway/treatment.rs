//! What the configuration can have done to an answer besides relaying it.

use std::time::Duration;

use bytes::Bytes;
use gate_testkit::Step;
use gate_testkit::mock::Reply;

use crate::support::{CONFIG, Rig, header, post};

const CHAT: (&str, &str) = ("/v1/chat/completions", r#"{"model":"gpt-4","stream":true}"#);
const KEEPALIVE: &str = ": keep-alive\n\n";

fn data(text: &str) -> Step {
    Step::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn stream(steps: impl IntoIterator<Item = Step>) -> Reply {
    Reply::steps(200, steps).header("content-type", "text/event-stream")
}

fn wait(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

// Spec: api A-48.
#[tokio::test(start_paused = true)]
async fn a_silent_stream_gets_comments_between_its_events_and_never_inside_one() {
    let config = format!("[llm]\nsse_keepalive_sec = 5\n{CONFIG}");
    for (steps, expected) in [
        // Right behind the head, as a model that thinks is silent.
        (vec![wait(12), data("data: 1\n\n")], format!("{KEEPALIVE}{KEEPALIVE}data: 1\n\n")),
        (
            vec![data("data: 1\n\n"), wait(6), data("data: 2\n\n")],
            format!("data: 1\n\n{KEEPALIVE}data: 2\n\n"),
        ),
        (vec![data("data: 1\r\n\r"), wait(6), data("\n")], format!("data: 1\r\n\r{KEEPALIVE}\n")),
        // An open event, an open line, an open comment.
        (vec![data("data: 1\n"), wait(60), data("\n")], "data: 1\n\n".to_owned()),
        (vec![data("data: 1"), wait(60), data("\n\n")], "data: 1\n\n".to_owned()),
        (vec![data(": pi"), wait(60), data("ng\n\n")], ": ping\n\n".to_owned()),
        // The wait starts anew with each piece.
        (
            vec![data("data: 1\n\n"), wait(4), data(": ping\n\n"), wait(4), data("data: 2\n\n")],
            "data: 1\n\n: ping\n\ndata: 2\n\n".to_owned(),
        ),
    ] {
        let (mut rig, _mock) = Rig::with_mock(&config, [stream(steps.clone())]);
        let mut client = rig.connect().with_patience(Duration::from_secs(100));
        client.send(post(CHAT.0, &[], CHAT.1)).await.unwrap();
        let response = client.read_response().await.unwrap();
        assert_eq!((response.body.text(), response.body.is_clean()), (expected.clone(), true), "{steps:?}");
        let bytes_out = u64::try_from(expected.len()).unwrap();
        assert_eq!(rig.records.first().await.bytes_out, bytes_out, "{steps:?}");
    }
}

// Spec: api A-48.
#[tokio::test(start_paused = true)]
async fn a_comment_is_no_sign_of_life_of_the_provider() {
    let config = format!("[llm]\nsse_keepalive_sec = 5\n[llm.timeout]\nread = 12\n{CONFIG}");
    let (mut rig, _mock) = Rig::with_mock(&config, [stream([data("data: 1\n\n"), Step::Stall])]);
    let started = tokio::time::Instant::now();
    let response = rig.post(CHAT.0, CHAT.1).await;
    assert_eq!(started.elapsed().as_secs(), 12);
    let text = response.body.text();
    let error = text.strip_prefix(&format!("data: 1\n\n{KEEPALIVE}{KEEPALIVE}data: {{\"error\"")).unwrap();
    assert!(error.contains("upstream_timeout"), "{error}");
}

// Spec: api A-48.
#[tokio::test(start_paused = true)]
async fn only_event_streams_get_comments_and_only_where_they_are_wanted() {
    let on = format!("[llm]\nsse_keepalive_sec = 5\n{CONFIG}");
    let steps = || [data("{"), wait(12), data("}")];
    for (config, reply, expected) in [
        (on.as_str(), Reply::steps(200, steps()).header("content-type", "application/json"), "{}"),
        (on.as_str(), stream(steps()).header("content-encoding", "gzip"), "{}"),
        (CONFIG, stream([wait(12), data("data: 1\n\n")]), "data: 1\n\n"),
    ] {
        let (mut rig, _mock) = Rig::with_mock(config, [reply]);
        assert_eq!(rig.post(CHAT.0, CHAT.1).await.body.text(), expected);
    }
}

/// Usage that comes with the last event of a stream.
const LAST: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n";

/// Asks for a stream, reads its first piece and leaves.
async fn leave_early(rig: &mut Rig) {
    let mut client = rig.connect();
    client.send(post(CHAT.0, &[], CHAT.1)).await.unwrap();
    client.read_head().await.unwrap();
    client.read_chunk().await.unwrap();
}

fn draining() -> String {
    CONFIG.replacen("model = \"gpt-4\"", "model = \"gpt-4\"\non_disconnect = \"drain\"", 1)
}

// Spec: monitoring L-19.
#[tokio::test(start_paused = true)]
async fn an_answer_whose_client_left_is_read_on_for_its_usage() {
    for (config, tokens, source) in
        [(draining(), (Some(3), Some(4)), "provider"), (CONFIG.to_owned(), (None, None), "none")]
    {
        let steps = [data("data: 1\n\n"), wait(10), data("data: 2\n\n"), wait(10), data(LAST)];
        let (mut rig, _mock) = Rig::with_mock(&config, [stream(steps)]);
        leave_early(&mut rig).await;
        // The wait of `first` is 10 s: the record comes when all is read.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let record = rig.records.first().await;
        assert_eq!((record.usage.input_tokens, record.usage.output_tokens), tokens, "{source}");
        assert_eq!((record.usage_source.as_str(), record.end.as_str()), (source, "client_gone"));
        assert_eq!((record.bytes_out, record.error_code), (9, None), "{source}");
        assert!(record.duration < Duration::from_secs(1), "{:?}", record.duration);
    }
}

// Spec: monitoring L-19.
#[tokio::test(start_paused = true)]
async fn reading_on_is_bounded_in_time() {
    let (mut rig, mock) = Rig::with_mock(&draining(), [stream([data("data: 1\n\n"), Step::Stall])]);
    leave_early(&mut rig).await;
    let left = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(
        (rig.records.all().len(), rig.gateway.left_answers(), rig.gateway.in_flight()),
        (0, (1, 0), 0)
    );
    mock.wait_until("the reply is cancelled", |counts| counts.cancelled == 1).await;
    assert_eq!(left.elapsed().as_secs(), 30);
    let record = rig.records.first().await;
    assert_eq!((record.end.as_str(), record.error_code), ("client_gone", None));
    assert_eq!(rig.gateway.left_answers(), (0, 0));
}

// Spec: monitoring L-19.
#[tokio::test(start_paused = true)]
async fn reading_on_is_bounded_in_number() {
    let replies = (0..65).map(|_| stream([data("data: 1\n\n"), Step::Stall]));
    let (mut rig, mock) = Rig::with_mock(&draining(), replies);
    for _ in 0..65 {
        leave_early(&mut rig).await;
    }
    mock.wait_until("one reply is cancelled", |counts| counts.cancelled == 1).await;
    rig.records.first().await;
    assert_eq!((rig.records.all().len(), rig.gateway.left_answers()), (1, (64, 1)));
}

// Spec: monitoring L-19, L-14.
#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_reading_and_each_answer_is_recorded() {
    for is_stopped in [true, false] {
        let steps = [data(&LAST.replace("data: [DONE]\n\n", "")), Step::Stall];
        let (mut rig, mock) = Rig::with_mock(&draining(), [stream(steps)]);
        leave_early(&mut rig).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.records.all().len(), 0);
        if is_stopped {
            rig.gateway.end_left_answers().await;
            assert_eq!(rig.records.all().len(), 1, "the account is settled before the call returns");
        } else {
            rig.gateway.end_answers();
        }
        mock.wait_until("the reply is cancelled", |counts| counts.cancelled == 1).await;
        let record = rig.records.first().await;
        assert_eq!((record.end.as_str(), record.usage.output_tokens), ("client_gone", Some(4)));
        assert_eq!(record.error_code, None);
    }
}

fn injecting() -> String {
    CONFIG.replacen("model = \"gpt-4\"", "model = \"gpt-4\"\ninject_stream_usage = true", 1)
}

// Spec: api A-47, A-21.
#[tokio::test(start_paused = true)]
async fn usage_that_the_gateway_asked_for_is_recorded_and_not_passed_on() {
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
    let done = "data: [DONE]\n\n";
    let all = [first, usage, done].concat();
    let replies = (1..all.len()).map(|at| {
        let (first, second) = all.split_at(at);
        stream([data(first), wait(1), data(second)])
    });
    let (mut rig, mock) = Rig::with_mock(&injecting(), replies);
    let mut client = rig.connect();
    for at in 1..all.len() {
        client.send(post(CHAT.0, &[], CHAT.1)).await.unwrap();
        let response = client.read_response().await.unwrap();
        assert!(response.body.is_clean(), "cut at {at}");
        assert_eq!(response.body.text(), [first, done].concat(), "cut at {at}");
        let sent = mock.next_request().await;
        assert_eq!(
            String::from_utf8_lossy(&sent.body),
            r#"{"model":"gpt-4","stream_options":{"include_usage":true},"stream":true}"#
        );
    }
    rig.records.first().await;
    let bytes_out = u64::try_from(first.len() + done.len()).unwrap();
    for record in rig.records.all() {
        assert_eq!((record.usage.input_tokens, record.usage.output_tokens), (Some(3), Some(4)));
        assert_eq!((record.end.as_str(), record.bytes_out), ("complete", bytes_out));
    }
}

// Spec: api A-47.
#[tokio::test(start_paused = true)]
async fn usage_that_the_client_decided_on_is_left_alone() {
    let asking = r#"{"model":"gpt-4","stream":true,"stream_options":{"include_usage":true}}"#;
    let refusing = r#"{"model":"gpt-4","stream":true,"stream_options":{"include_usage":false}}"#;
    let injecting = injecting();
    for (config, path, body) in [
        (injecting.as_str(), CHAT.0, asking),
        (&injecting, CHAT.0, refusing),
        (&injecting, CHAT.0, r#"{"model":"gpt-4"}"#),
        (&injecting, "/v1/responses", CHAT.1),
        (CONFIG, CHAT.0, CHAT.1),
    ] {
        let (mut rig, mock) = Rig::with_mock(config, [stream([data(LAST)])]);
        assert_eq!(rig.post(path, body).await.body.text(), LAST, "{body}");
        assert_eq!(mock.next_request().await.body, body, "{path}");
    }
}

// Spec: api A-47, A-23.
#[tokio::test(start_paused = true)]
async fn a_break_within_a_held_event_shows_what_came_of_it() {
    let (mut rig, _mock) = Rig::with_mock(&injecting(), [stream([data("data: 1\n\ndata: {"), Step::Abort])]);
    let response = rig.post(CHAT.0, CHAT.1).await;
    assert!(!response.body.is_clean());
    let text = response.body.text();
    assert!(text.starts_with("data: 1\n\ndata: {\n\ndata: {\"error\":"), "{text}");

    // What is no stream is not filtered, and keeps its length.
    let body = LAST.trim_end();
    let (mut rig, _mock) = Rig::with_mock(&injecting(), [Reply::json(200, body)]);
    let response = rig.post(CHAT.0, CHAT.1).await;
    assert_eq!(
        (response.body.text(), header(&response, "content-length")),
        (body.to_owned(), body.len().to_string().as_str())
    );

    // A stream of known length loses the length with the frame.
    let (mut rig, _mock) =
        Rig::with_mock(&injecting(), [Reply::json(200, LAST).header("content-type", "text/event-stream")]);
    let response = rig.post(CHAT.0, CHAT.1).await;
    assert_eq!(
        (response.body.text().as_str(), header(&response, "content-length")),
        ("data: [DONE]\n\n", "")
    );
    assert!(response.body.is_clean());
}

// Spec: monitoring L-25, L-17.
#[tokio::test(start_paused = true)]
async fn usage_that_nobody_reports_is_estimated_and_says_so() {
    let on = format!("[llm]\nestimate_usage = true\n{CONFIG}");
    let body = r#"{"model":"gpt-4","stream":true,"messages":[{"role":"user","content":"12345678"}]}"#;
    let silent = "data: {\"choices\":[{\"delta\":{\"content\":\"123456789\"}}]}\n\ndata: [DONE]\n\n";
    let json = r#"{"choices":[{"message":{"content":"1234"}}]}"#;
    for (config, reply, expected) in [
        (on.as_str(), stream([data(silent)]), (Some(2), Some(3), "estimate")),
        (&on, Reply::json(200, json), (Some(2), Some(1), "estimate")),
        // What the provider says counts, even where it says little.
        (&on, stream([data(LAST)]), (Some(3), Some(4), "provider")),
        (&on, stream([data("data: {\"usage\":{\"prompt_tokens\":7}}\n\n")]), (Some(7), None, "provider")),
        // Errors and what cannot be read cost nothing that could be known.
        (&on, Reply::json(429, json), (None, None, "none")),
        (&on, Reply::text(200, json), (None, None, "none")),
        (CONFIG, stream([data(silent)]), (None, None, "none")),
    ] {
        let (mut rig, _mock) = Rig::with_mock(config, [reply]);
        rig.post(CHAT.0, body).await;
        let record = rig.records.first().await;
        let found = (record.usage.input_tokens, record.usage.output_tokens, record.usage_source.as_str());
        assert_eq!(found, expected);
    }

    // A client that leaves has used what came until then.
    let first = silent.trim_end_matches("data: [DONE]\n\n");
    let (mut rig, _mock) = Rig::with_mock(&on, [stream([data(first), Step::Stall])]);
    let mut client = rig.connect();
    client.send(post(CHAT.0, &[], body)).await.unwrap();
    client.read_head().await.unwrap();
    client.read_chunk().await.unwrap();
    drop(client);
    let record = rig.records.first().await;
    assert_eq!((record.usage.output_tokens, record.usage_source.as_str()), (Some(3), "estimate"));
}
