//! What is written to stderr, and what happens when nobody reads it.

use gate_testkit::mock::{MockUpstream, Reply};
use tempfile::TempDir;

use crate::support::*;

// Spec: monitoring L-1, L-4, L-5, L-7, L-8, L-9.
#[tokio::test]
async fn json_lines_have_the_promised_fields_and_no_secret() {
    let home = TempDir::new().unwrap();
    let usage = r#"{"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    let mock = MockUpstream::replying([Reply::json(200, usage).header("x-request-id", "req_up")]);
    let config = config_for(mock.bind().await.unwrap());
    let process = Process::with_config(&home, &config, &["--log-format", "json"]);
    assert_eq!(process.send(&chat("gpt-4")).await.head.status, 200);
    assert_eq!(
        process.send("GET /nowhere?key=canary-query HTTP/1.1\r\nhost: localhost\r\n\r\n").await.head.status,
        404
    );
    process.signal("TERM");
    let (_, log) = process.wait();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{log}");
    let line = lines.iter().find(|line| line["path"] == "/v1/chat/completions").unwrap();
    for (field, value) in [
        ("method", serde_json::json!("POST")),
        ("level", "INFO".into()),
        ("provider", "openai".into()),
        ("model", "gpt-4".into()),
        ("status", 200.into()),
        ("input_tokens", 3.into()),
        ("output_tokens", 5.into()),
        ("usage_source", "provider".into()),
        ("end", "complete".into()),
        ("attempts", 1.into()),
        ("bytes_in", chat("gpt-4").split_once("\r\n\r\n").unwrap().1.len().into()),
        ("bytes_out", 51.into()),
        ("upstream_request_id", "req_up".into()),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert!(line["request_id"].as_str().unwrap().starts_with("req-"));
    assert!(line["duration_ms"].is_u64() && line["ttfb_ms"].is_u64());
    let refused = lines.iter().find(|line| line["path"] == "/nowhere").unwrap();
    assert_eq!((&refused["status"], &refused["error"]), (&404.into(), &"not_found".into()));
    assert!(refused.get("provider").is_none() && refused.get("input_tokens").is_none());
    assert!(!log.contains("canary"), "{log}");
}

// Spec: monitoring L-2, L-10.
#[tokio::test]
async fn the_level_is_that_of_the_configuration_unless_rust_log_says_otherwise() {
    let home = TempDir::new().unwrap();
    for (variables, has_debug, has_info) in [
        (&[][..], false, true),
        (&[("EMX_LLM_LOG_LEVEL", "debug")], true, true),
        (&[("EMX_LLM_LOG_LEVEL", "debug"), ("RUST_LOG", "info")], false, true),
        (&[("EMX_LLM_LOG_LEVEL", "info"), ("RUST_LOG", "emx_gate=info,gate_server=debug")], true, false),
    ] {
        let mock = MockUpstream::replying([Reply::json(200, "{}")]);
        let config = config_for(mock.bind().await.unwrap());
        let path = write(&home, "gate.toml", &config);
        let mut command = command(home.path());
        command.arg("--config").arg(path).args(["--port", "0"]).envs(variables.iter().copied());
        let process = Process::start(&mut command);
        process.send(&chat("gpt-4")).await;
        process.signal("TERM");
        let (_, log) = process.wait();
        let url = format!("http://{}/v1/chat/completions", mock_address(&config));
        assert_eq!(log.contains(&url), has_debug, "{variables:?}\n{log}");
        assert_eq!(log.contains("POST /v1/chat/completions 200"), has_info, "{variables:?}\n{log}");
    }
}

fn mock_address(config: &str) -> &str {
    config.split_once("http://").unwrap().1.split('/').next().unwrap()
}

/// Requests that fail, so that each is worth a warning and a line: many times what a pipe holds.
const FAILURES: usize = 2000;

// Spec: monitoring L-11; mvp M-11.
#[tokio::test]
async fn a_stderr_that_nobody_reads_holds_nothing_up() {
    let home = TempDir::new().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Each is sent, and once.
    let config = "[llm.retry]\nmax_attempts = 1\n[llm.circuit_breaker]\nenabled = false\n";
    let process = Process::with_config(&home, &format!("{}\n{config}", config_for(nobody)), &[]);
    let request = chat("gpt-4");
    let mut client = process.connect().await;
    for sent in 0..FAILURES {
        client.send(request.as_str()).await.unwrap();
        let answer = client.read_response().await;
        let answer = answer.unwrap_or_else(|error| panic!("request {sent}: {error}"));
        assert_eq!(answer.head.status, 502, "{}", answer.body.text());
    }
    let health = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(process.send(health).await.head.status, 200);
    process.signal("TERM");
    assert_eq!(process.wait_unread().code(), Some(0));
}

// Spec: monitoring L-40, L-41; load-balancing B-41.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_state_are_lines_and_a_refused_key_is_one_error() {
    let home = TempDir::new().unwrap();
    let mut status = [200, 401, 401, 401].into_iter();
    let mock = MockUpstream::answering(move |_| Reply::json(status.next().unwrap_or(200), "{}"));
    let config = format!(
        "{}[llm.health_check]\nactive = true\ninterval = 0.1\n",
        config_for(mock.bind().await.unwrap())
    );
    let mut command = command(home.path());
    let path = write(&home, "gate.toml", &config);
    command.arg("--config").arg(path).args(["--port", "0"]).env("EMX_LLM_LOG_LEVEL", "debug");
    let mut process = Process::start(&mut command);
    process.wait_for("provider `openai` is HEALTHY, was UNHEALTHY: it answers (seen by a probe)");
    process.signal("TERM");
    let (_, log) = process.wait();
    let count = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    let refused = log.lines().find(|line| line.contains("is UNHEALTHY, was HEALTHY")).unwrap();
    assert!(
        refused.contains("WARN") && refused.contains("refused the gateway's key with status 401"),
        "{refused}"
    );
    let error = log.lines().find(|line| line.contains("ERROR")).unwrap();
    assert!(
        error.contains("probe: provider `openai` refused the configured key with 401: check `api_key`"),
        "{error}"
    );
    assert_eq!(count("ERROR"), 1, "{log}");
    assert_eq!(count("probe of `openai`: status 401 after"), 3, "{log}");
    // Probes are no requests.
    assert_eq!(count("/v1/models") + count("canary"), 0, "{log}");
}
