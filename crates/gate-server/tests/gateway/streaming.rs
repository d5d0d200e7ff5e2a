//! Streams: every byte, as it comes, and never a broken one that looks whole.

use std::time::Duration;

use crate::support::{CONFIG, Rig, header, post};
use bytes::Bytes;
use gate_testkit::mock::Reply;
use gate_testkit::raw::{BodyEnd, RawScript};
use gate_testkit::{Step, fixtures};

const COMPLETE: &str = "complete";
const CLIENT_GONE: &str = "client_gone";
const CHAT: (&str, &str) = ("/v1/chat/completions", r#"{"model":"gpt-4","stream":true}"#);
const RESPONSES: (&str, &str) = ("/v1/responses", r#"{"model":"gpt-4","stream":true}"#);
const MESSAGES: (&str, &str) = ("/v1/messages", r#"{"model":"claude-1","stream":true}"#);

fn data(text: &str) -> Step {
    Step::Data(Bytes::copy_from_slice(text.as_bytes()))
}

fn stream(steps: impl IntoIterator<Item = Step>) -> Reply {
    Reply::steps(200, steps).header("content-type", "text/event-stream; charset=utf-8")
}

// Spec: api A-21.
#[tokio::test(start_paused = true)]
async fn a_stream_split_anywhere_arrives_identical() {
    for ((path, body), text) in [
        (CHAT, fixtures::CHAT_STREAM),
        (RESPONSES, fixtures::RESPONSES_STREAM),
        (MESSAGES, fixtures::MESSAGES_STREAM),
    ] {
        let replies = (1..text.len()).map(|at| {
            let (first, second) = text.as_bytes().split_at(at);
            stream([first, second].map(|part| Step::Data(Bytes::copy_from_slice(part))))
        });
        let (mut rig, _mock) = Rig::with_mock(CONFIG, replies);
        let mut client = rig.connect();
        for at in 1..text.len() {
            client.send(post(path, &[], body)).await.unwrap();
            let response = client.read_response().await.unwrap();
            assert_eq!(response.body.end, BodyEnd::Complete);
            assert_eq!(response.body.text(), text, "{path} split at {at}");
        }
    }
}

// Spec: api A-21.
#[tokio::test(start_paused = true)]
async fn pieces_are_passed_on_before_the_next_one_comes() {
    let (steps, reply) = Reply::live();
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply.header("content-type", "text/event-stream")]);
    let mut client = rig.connect();
    client.send(post(CHAT.0, &["accept: application/json"], CHAT.1)).await.unwrap();
    let head = client.read_head().await.unwrap();
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    for piece in ["data: 1\n\n", "data: 2\n", "\n", ": ping\n\n", "data: [DONE]\n\n"] {
        steps.send(data(piece)).await.unwrap();
        assert_eq!(client.read_chunk().await.unwrap().as_deref(), Some(piece.as_bytes()));
    }
    drop(steps);
    assert_eq!(client.read_chunk().await.unwrap(), None);
}

// Spec: api A-23.
#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_ends_with_an_error_event_and_uncleanly() {
    for ((path, body), sent, event) in [
        (CHAT, "data: {\"id\":1}\n\n", "data: {\"error\":{\"message\":\""),
        (CHAT, "data: {\"id\":1", "\n\ndata: {\"error\":{\"message\":\""),
        (
            RESPONSES,
            "event: a\ndata: {}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_closed\"",
        ),
        (
            MESSAGES,
            "event: ping\ndata: {}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"",
        ),
        (MESSAGES, "event: ping\n", "\n\nevent: error\ndata: {\"type\":\"error\""),
    ] {
        let (mut rig, _mock) = Rig::with_mock(CONFIG, [stream([data(sent), Step::Abort])]);
        let response = rig.post(path, body).await;
        assert!(!response.body.is_clean(), "{path} {sent:?}");
        let text = response.body.text();
        let tail = text.strip_prefix(sent).unwrap_or_else(|| panic!("{path}: {text:?}"));
        assert!(tail.starts_with(event), "{path}: {tail:?}");
        assert!(tail.ends_with("\n\n") && !text.contains("[DONE]") && !text.contains("message_stop"));
        let record = rig.records.first().await;
        assert_eq!((record.end.as_str(), record.error_code), ("upstream_closed", Some("upstream_closed")));
        assert_eq!(record.status, Some(200));
    }
}

// Spec: api A-23.
#[tokio::test(start_paused = true)]
async fn any_other_body_that_breaks_ends_uncleanly() {
    let whole =
        Reply::steps(200, [data("{\"half\":"), Step::Abort]).header("content-type", "application/json");
    let sized = Reply::steps(200, [data("{\"half\":"), Step::Abort]).header("content-length", "100");
    for reply in [whole, sized] {
        let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
        let response = rig.post(CHAT.0, CHAT.1).await;
        assert!(!response.body.is_clean());
        assert_eq!(response.body.text(), "{\"half\":");
    }
}

// Spec: api A-24.
#[tokio::test(start_paused = true)]
async fn only_a_marker_or_a_last_chunk_ends_a_stream() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n";
    for (answer, is_clean) in [
        // Closed behind the marker: whole. Closed before it: who knows.
        (format!("{head}connection: close\r\n\r\ndata: 1\n\ndata: [DONE]\n\n"), true),
        (format!("{head}connection: close\r\n\r\ndata: 1\n\n"), false),
        (format!("{head}connection: close\r\n\r\ndata: 1"), false),
        // A proper last chunk is the upstream's word, with or without a marker.
        (format!("{head}{chunked}"), true),
    ] {
        let (mut rig, _transcripts) =
            Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send(answer.as_bytes())]);
        let response = rig.post(CHAT.0, CHAT.1).await;
        assert_eq!(response.body.is_clean(), is_clean, "{answer:?}: {:?}", response.body);
        assert_eq!(response.body.text().contains("\"error\""), !is_clean, "{answer:?}");
        let end = if is_clean { COMPLETE } else { "upstream_incomplete" };
        assert_eq!(rig.records.first().await.end.as_str(), end);
    }
}

// Spec: api A-24.
#[tokio::test(start_paused = true)]
async fn json_that_ends_with_the_connection_must_be_whole() {
    for (body, is_clean) in [("{\"a\":[1,{}]}\n", true), ("{\"a\":[1,", false), ("", false)] {
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{body}");
        let (mut rig, _scripts) = Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send(answer)]);
        let response = rig.post(CHAT.0, CHAT.1).await;
        assert_eq!((response.body.text().as_str(), response.body.is_clean()), (body, is_clean));
    }
}

// Spec: api A-24.
#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_ended_after_the_read_timeout() {
    let config = format!("[llm.timeout]\nread = 7\n{CONFIG}");
    let (mut rig, _mock) = Rig::with_mock(&config, [stream([data("data: 1\n\n"), Step::Stall])]);
    let started = tokio::time::Instant::now();
    let response = rig.post(CHAT.0, CHAT.1).await;
    assert_eq!(started.elapsed().as_secs(), 7);
    assert!(!response.body.is_clean());
    assert!(response.body.text().contains("upstream_timeout"), "{}", response.body.text());
    assert_eq!(rig.records.first().await.end.as_str(), "upstream_timeout");
}

// Spec: api A-31; monitoring L-14.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_cancels_the_upstream() {
    // While the answer streams.
    let (mut rig, mock) = Rig::with_mock(CONFIG, [stream([data("data: 1\n\n"), Step::Stall])]);
    let mut client = rig.connect();
    client.send(post(CHAT.0, &[], CHAT.1)).await.unwrap();
    client.read_head().await.unwrap();
    client.read_chunk().await.unwrap();
    drop(client);
    let left = tokio::time::Instant::now();
    mock.wait_until("the reply is cancelled", |counts| counts.cancelled == 1).await;
    assert!(left.elapsed() < Duration::from_secs(1));
    let record = rig.records.first().await;
    assert_eq!((record.end.as_str(), record.bytes_out), (CLIENT_GONE, 9));

    // While the upstream thinks.
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::status(200).never()]);
    let mut client = rig.connect();
    client.send(post(CHAT.0, &[], CHAT.1)).await.unwrap();
    mock.next_request().await;
    drop(client);
    mock.wait_until("the request is cancelled", |counts| counts.closed == 1).await;
    let record = rig.records.first().await;
    assert_eq!((record.end.as_str(), record.status), (CLIENT_GONE, None));
}

// Spec: monitoring L-6.
#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_with_the_providers_error_is_no_whole_answer() {
    let chat = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let messages = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    for ((path, body), sent) in [(CHAT, chat), (MESSAGES, messages)] {
        let (mut rig, _mock) = Rig::with_mock(CONFIG, [stream([data(sent)])]);
        let response = rig.post(path, body).await;
        assert_eq!((response.body.text().as_str(), response.body.is_clean()), (sent, true), "{path}");
        let record = rig.records.first().await;
        assert_eq!((record.end.as_str(), record.error_code), ("upstream_error", None), "{path}");
    }

    // Clients close as soon as they have read it.
    let (mut rig, _mock) = Rig::with_mock(CONFIG, [stream([data(chat), Step::Stall])]);
    let mut client = rig.connect();
    client.send(post(CHAT.0, &[], CHAT.1)).await.unwrap();
    client.read_head().await.unwrap();
    client.read_chunk().await.unwrap();
    drop(client);
    assert_eq!(rig.records.first().await.end.as_str(), "upstream_error");
}

// Spec: monitoring L-15.
#[tokio::test(start_paused = true)]
async fn streams_of_images_and_speech_report_their_usage_and_their_end() {
    let image = "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\
                 \"usage\":{\"input_tokens\":5,\"output_tokens\":70}}\n\n";
    let speech = "event: speech.audio.done\ndata: {\"type\":\"speech.audio.done\",\
                  \"usage\":{\"input_tokens\":5,\"output_tokens\":70}}\n\n";
    for (path, sent) in [("/v1/images/generations", image), ("/v1/audio/speech", speech)] {
        // Closed without a last chunk: only the event says that the answer is whole.
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let answer = format!("{head}{sent}");
        let (mut rig, _transcripts) =
            Rig::with_scripts(CONFIG, [RawScript::new().expect_head().send(answer.as_bytes())]);
        let response = rig.post(path, CHAT.1).await;
        assert!(response.body.is_clean(), "{path}");
        let record = rig.records.first().await;
        assert_eq!((record.usage.input_tokens, record.usage.output_tokens), (Some(5), Some(70)), "{path}");
    }
}

// Spec: monitoring L-15, L-17.
#[tokio::test(start_paused = true)]
async fn usage_is_read_from_what_passes() {
    for ((path, body), reply, tokens) in [
        (CHAT, stream([data(fixtures::CHAT_STREAM)]), (Some(14), Some(11))),
        (RESPONSES, stream([data(fixtures::RESPONSES_STREAM)]), (Some(17), Some(6))),
        (CHAT, stream([data("data: {\"choices\":[]}\n\ndata: [DONE]\n\n")]), (None, None)),
    ] {
        let (mut rig, _mock) = Rig::with_mock(CONFIG, [reply]);
        let response = rig.post(path, body).await;
        assert_eq!(header(&response, "content-type"), "text/event-stream; charset=utf-8");
        let record = rig.records.first().await;
        assert_eq!((record.usage.input_tokens, record.usage.output_tokens), tokens, "{path}");
        let source = if tokens.0.is_some() { "provider" } else { "none" };
        assert_eq!((record.usage_source.as_str(), record.end.as_str()), (source, COMPLETE));
    }
}

// Spec: api A-31.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_behind_surplus_bytes_cancels_too() {
    for surplus in ["\r\n", "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::status(200).never()]);
        let mut client = rig.connect();
        client.send(post(CHAT.0, &[], CHAT.1)).await.unwrap();
        mock.next_request().await;
        client.send(surplus).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let left = tokio::time::Instant::now();
        drop(client);
        mock.wait_until("the request is cancelled", |counts| counts.closed == 1).await;
        assert!(left.elapsed() < Duration::from_secs(1), "{surplus:?}");
        assert_eq!(rig.records.first().await.end.as_str(), CLIENT_GONE);
    }
}
