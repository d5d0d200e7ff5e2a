//! How it starts, drains and ends.

use gate_testkit::Step;
use gate_testkit::mock::{MockUpstream, Reply};
use tempfile::TempDir;

use crate::support::*;

// Spec: mvp M-3; monitoring L-1, L-3; config C-6, C-16.
#[tokio::test]
async fn it_starts_on_any_port_and_says_where() {
    let home = TempDir::new().unwrap();
    let config = "[llm.provider.openai]\napi_key = \"k\"\nmodels = [\"a\", \"b\"]\n[llm.provider.anthropic]\napi_key = \"k\"\n";
    let process = Process::with_config(&home, config, &[]);
    assert_ne!(process.address.port(), 0);
    assert_eq!(process.send(READY).await.head.status, 200);
    let start = process.seen.last().unwrap();
    assert!(start.contains("emx-gate 0.1.0 on http://127.0.0.1:"), "{start}");
    assert!(start.contains("(2 providers, 2 models; read: ") && start.contains("gate.toml"), "{start}");
}

// Spec: mvp M-1, M-2.
#[tokio::test]
async fn the_demo_answers_both_dialects_without_a_key() {
    let home = TempDir::new().unwrap();
    // Neither a broken file nor a key of the user matters to the demo.
    write(&home, "config.toml", "this is no TOML");
    let mut command = command(home.path());
    command.args(["--demo", "--port", "0"]).env("OPENAI_API_KEY", "canary-key");
    let process = Process::start(&mut command);
    let stream = process.send(&chat("gpt-demo")).await;
    assert_eq!(stream.head.status, 200, "{}", stream.body.text());
    assert!(stream.body.is_clean() && stream.body.text().ends_with("data: [DONE]\n\n"));
    let body = r#"{"model":"claude-demo","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let messages = process
        .send(&format!(
            "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert!(messages.body.text().contains("\"type\":\"message\""), "{}", messages.body.text());
    process.signal("INT");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("canary-key"), "{log}");
}

// Spec: mvp M-11, M-12; api A-42; monitoring L-10.
#[tokio::test]
async fn sigterm_drains_a_running_stream() {
    let home = TempDir::new().unwrap();
    let (steps, reply) = Reply::live();
    let mock = MockUpstream::replying([reply.header("content-type", "text/event-stream")]);
    let config = format!("[llm.timeout]\ndrain_delay = 3\n{}", config_for(mock.bind().await.unwrap()));
    let mut process = Process::with_config(&home, &config, &[]);
    let mut client = process.connect().await;
    client.send(chat("gpt-4")).await.unwrap();
    client.read_head().await.unwrap();
    steps.send(Step::Data("data: 1\n\n".into())).await.unwrap();
    assert_eq!(client.read_chunk().await.unwrap().as_deref(), Some(&b"data: 1\n\n"[..]));

    process.signal("TERM");
    process.wait_for("SIGTERM: draining, 1 requests in flight");
    assert_eq!(process.send(READY).await.head.status, 503);
    steps.send(Step::Data("data: [DONE]\n\n".into())).await.unwrap();
    drop(steps);
    assert_eq!(client.read_chunk().await.unwrap().as_deref(), Some(&b"data: [DONE]\n\n"[..]));
    assert_eq!(client.read_chunk().await.unwrap(), None, "the stream ends cleanly");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("0 of them were ended"), "{log}");
    assert!(log.contains("end=complete"), "{log}");
}

// Spec: mvp M-11, M-12; api A-42; monitoring L-10.
#[tokio::test]
async fn a_stream_that_outlasts_the_drain_ends_with_an_error_event() {
    let home = TempDir::new().unwrap();
    let reply = Reply::steps(200, [Step::Data("data: 1\n\n".into()), Step::Stall]);
    let mock = MockUpstream::replying([reply.header("content-type", "text/event-stream")]);
    let config = format!("[llm.timeout]\ndrain = 0.2\n{}", config_for(mock.bind().await.unwrap()));
    let process = Process::with_config(&home, &config, &[]);
    let mut client = process.connect().await;
    client.send(chat("gpt-4")).await.unwrap();
    let head = client.read_head().await.unwrap();
    process.signal("TERM");
    let body = client.read_body(&head).await.unwrap();
    assert!(!body.is_clean());
    assert!(body.text().starts_with("data: 1\n\ndata: {\"error\":"), "{}", body.text());
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("1 requests were in flight, 1 of them were ended"), "{log}");
    assert!(log.contains("end=shutdown"), "{log}");
}

// Spec: mvp M-11, M-12; api A-42; monitoring L-10.
#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let home = TempDir::new().unwrap();
    let mock = MockUpstream::replying([Reply::status(200).never()]);
    let mut process = Process::with_config(&home, &config_for(mock.bind().await.unwrap()), &[]);
    let mut client = process.connect().await;
    client.send(chat("gpt-4")).await.unwrap();
    mock.next_request().await;
    process.signal("TERM");
    process.wait_for("SIGTERM: draining");
    process.signal("INT");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("SIGINT again: ending at once"), "{log}");
}

// Spec: mvp M-12, M-15.
#[test]
fn an_address_in_use_ends_with_1_and_says_so() {
    let home = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&home, &["--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    let told = format!("cannot listen on 127.0.0.1:{port}");
    assert!(log.matches(&told).count() == 1 && log.contains("--port"), "{log}");
}
