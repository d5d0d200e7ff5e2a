//! Secrets in every source that a process has, looked for in everything that it prints.

use std::net::SocketAddr;
use std::process::Command;

use gate_testkit::mock::{MockUpstream, Reply};
use tempfile::TempDir;

use crate::support::*;

/// Fails if a planted text shows, whole or cut: all hold this word, and nothing else does.
fn check(what: &str, shown: &str) {
    assert!(!shown.to_ascii_lowercase().contains("canary"), "{what}:\n{shown}");
}

/// Writes a configuration whose secrets are in text, in a file and in variables.
fn configure(home: &TempDir, upstream: SocketAddr) {
    let file = write(home, "azure.key", "canary-file\n");
    let config = format!(
        r#"
        [llm.provider.openai]
        api_base = "http://{upstream}/v1?code=canary-base-query"
        api_key = "canary-text"
        model = "gpt-4"
        query = {{ sig = "canary-query" }}
        headers = {{ x-team-token = "canary-header" }}
        [llm.provider.openai.azure]
        api_key = "file:{}"
        auth = "api-key"
        models = ["gpt-5"]
        [llm.provider.openai.third]
        api_key = "env:THIRD_KEY"
        models = ["gpt-6"]
        [llm.provider.anthropic]
        api_base = "http://{upstream}"
        models = ["claude-1"]
        "#,
        file.display(),
    );
    write(home, "config.toml", &config);
}

/// A command that finds that configuration, with its variables, and logs all there is.
fn with_secrets(home: &TempDir) -> Command {
    let mut command = command(home.path());
    command.envs([
        ("THIRD_KEY", "canary-reference"),
        ("ANTHROPIC_API_KEY", "canary-traditional"),
        ("OPENAI_API_KEY", "canary-overridden"),
        ("AWS_SECRET_ACCESS_KEY", "canary-of-others"),
        ("RUST_LOG", "trace"),
    ]);
    command
}

/// A provider that quotes whatever it was sent, and refuses every key but one.
fn quoting() -> MockUpstream {
    MockUpstream::answering(|request| {
        let sent = format!("{:?}", request.headers);
        match request.header("authorization") {
            Some("Bearer canary-text") => Reply::json(200, r#"{"data":[{"id":"a"}]}"#),
            _ => Reply::json(401, serde_json::json!({ "error": sent }).to_string()),
        }
    })
}

// Spec: security S-22, S-24, S-70.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_a_secret() {
    let home = TempDir::new().unwrap();
    let mock = quoting();
    configure(&home, mock.bind().await.unwrap());
    for (arguments, code) in [
        (&["--validate", "--port", "0"][..], 0),
        (&["explain", "gpt-4"], 0),
        (&["explain", "openai.azure.gpt-5"], 0),
        (&["explain", "anthropic.claude-1"], 0),
        (&["--validate-model", "gpt-6"], 0),
        (&["--validate-model", "openai.azure.nothing"], 1),
        (&["--test"], 1),
        (&["--test-provider", "openai.azure"], 1),
        (&["--help"], 0),
        (&["--nonsense"], 2),
    ] {
        let mut command = with_secrets(&home);
        let output = tokio::task::spawn_blocking(move || command.args(arguments).output().unwrap());
        let output = output.await.unwrap();
        let all = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {all}");
        assert!(!all.is_empty(), "{arguments:?}");
        check(&format!("{arguments:?}"), &all);
    }
    // The keys were there to be shown.
    let sent: Vec<_> = mock.requests().iter().map(|request| format!("{:?}", request.headers)).collect();
    for key in ["canary-text", "canary-file", "canary-reference", "canary-traditional", "canary-header"] {
        assert!(sent.iter().any(|headers| headers.contains(key)), "{key}");
    }
}

// Spec: security S-22, S-70.
#[test]
fn a_configuration_that_cannot_be_used_is_told_without_its_secrets() {
    for line in [
        "api_key = \"canary-not-closed",
        "api_key = canary",
        "api_key = [\"canary\"]",
        "apikey = \"canary\"",
        "api_key = \"env:\"\napi_key = \"canary\"",
        "api_key = \"canary\\nof two lines\"",
        "api_base = \"http://user:canary@x.test/v1\"",
        "headers = { authorization = \"Bearer canary\" }",
        "query = { key = [\"canary\"] }",
    ] {
        let home = TempDir::new().unwrap();
        write(&home, "config.toml", &format!("[llm.provider.openai]\n{line}\n"));
        for arguments in [&["--port", "0"][..], &["--validate"], &["explain", "gpt-4"], &["--test"]] {
            let output = with_secrets(&home).args(arguments).output().unwrap();
            let all = text(&output.stdout) + &text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{line} {arguments:?}: {all}");
            check(&format!("{line} {arguments:?}"), &all);
        }
    }
}

// Spec: security S-22, S-70; monitoring L-9.
#[tokio::test]
async fn a_gateway_that_runs_prints_no_secret_at_any_level() {
    for format in ["text", "json"] {
        let home = TempDir::new().unwrap();
        let mock = quoting();
        configure(&home, mock.bind().await.unwrap());
        let process = Process::start(with_secrets(&home).args(["--port", "0", "--log-format", format]));
        let get = "GET /v1/models?key=canary-target HTTP/1.1\r\nhost: localhost\r\n";
        for (request, status) in [
            (chat("gpt-4"), 200),
            (chat("gpt-5"), 401),
            (chat("gpt-6"), 401),
            (chat("openai.azure.nothing"), 404),
            (chat("gpt-4").replace("host: ", "x-api-key: canary-client\r\ncookie: canary\r\nhost: "), 200),
            (format!("{get}authorization: Bearer canary-one\r\nx-api-key: canary-two\r\n\r\n"), 400),
            (format!("{get}authorization Bearer canary\r\n\r\n"), 400),
            (format!("{get}\r\n").replace("/v1/models", "/nowhere"), 404),
        ] {
            let answer = process.send(&request).await;
            let body = answer.body.text();
            assert_eq!(answer.head.status, status, "{request}: {body}");
            // Of what it was sent the provider may quote all but the key (S-23).
            let key = ["canary-file", "canary-reference"].iter().find(|key| body.contains(**key));
            assert_eq!(key, None, "{body}");
        }
        process.signal("TERM");
        let (_, log) = process.wait();
        assert!(log.contains("/v1/chat/completions"), "{log}");
        check(format, &log);
    }
}
