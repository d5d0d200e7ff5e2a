//! What the command line refuses, and the checks that answer without serving.

use std::io::Read;
use std::process::Stdio;

use gate_testkit::mock::{MockUpstream, Reply};
use tempfile::TempDir;

use crate::support::*;

// Spec: mvp M-12; config C-43, C-44.
#[test]
fn a_bad_configuration_ends_with_1_and_names_the_keys() {
    let home = TempDir::new().unwrap();
    let path = write(&home, "gate.toml", "[llm]\nprot = 1\n[llm.limits]\nmax_connections = \"many\"\n");
    for arguments in
        [&["--config", path.to_str().unwrap()][..], &["--validate", "--config", path.to_str().unwrap()]]
    {
        let output = run(&home, arguments);
        assert_eq!(output.status.code(), Some(1));
        let all = text(&output.stdout) + &text(&output.stderr);
        for part in ["llm.prot", "did you mean `port`", "llm.limits.max_connections", "gate.toml"] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
    let output = run(&home, &["--config", "missing.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("missing.toml"));
}

// Spec: mvp M-5, M-10, M-12.
#[test]
fn wrong_usage_ends_with_2() {
    let home = TempDir::new().unwrap();
    for (arguments, told) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--validate", "explain", "x"], "`explain` and `doctor` cannot be used with --validate"),
        (&["--demo", "--config", "x"], "--demo cannot be used with --config"),
    ] {
        let output = run(&home, arguments);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{arguments:?}");
        assert!(text(&output.stderr).contains(told), "{arguments:?}: {}", text(&output.stderr));
    }
    let version = run(&home, &["--version"]);
    assert_eq!((version.status.code(), text(&version.stdout).trim()), (Some(0), "emx-gate 0.1.0"));
    let help = text(&run(&home, &["--help"]).stdout);
    for flag in [
        "--config",
        "--host",
        "--port",
        "--timeout",
        "--log-format",
        "--validate",
        "--test",
        "--test-provider",
        "--validate-model",
        "explain",
        "--demo",
        "--insecure-allow-unauthenticated",
        "--version",
        "Exit codes: 0 clean end; 1 problem of the configuration or the address, failed --test",
        "name that\nresolves to nothing, or second signal; 2 wrong usage",
    ] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
}

// Spec: mvp M-6, M-9; config C-46.
#[test]
fn checks_answer_without_starting() {
    let home = TempDir::new().unwrap();
    let config = "[llm]\nport = 0\n[llm.provider.openai]\napi_key = \"canary-key\"\nmodel = \"gpt-4\"\n";
    write(&home, "config.toml", config);
    let output = run(&home, &["--validate"]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}{}", text(&output.stderr));
    assert!(
        report.contains("https://api.openai.com/v1/chat/completions") && report.contains("gpt-4"),
        "{report}"
    );

    let explained = run(&home, &["explain", "openai.gpt-4"]);
    let explanation = text(&explained.stdout);
    assert_eq!(explained.status.code(), Some(0), "{explanation}");
    assert!(explanation.contains("https://api.openai.com/v1/chat/completions"), "{explanation}");
    let unknown = run(&home, &["--validate-model", "anthropic.nope.x y"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(!(report + &explanation).contains("canary-key"));

    // Nothing configured at all is fine to start with, and nothing to validate.
    let empty = TempDir::new().unwrap();
    let output = run(&empty, &["--validate"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("--demo"), "{}", text(&output.stdout));
}

// Spec: mvp M-8.
#[tokio::test(flavor = "multi_thread")]
async fn providers_are_tested_with_one_request_each() {
    let home = TempDir::new().unwrap();
    let mock = MockUpstream::answering(|request| match request.header("authorization") {
        Some("Bearer canary-key") => Reply::json(200, r#"{"data":[{"id":"a"},{"id":"b"}]}"#),
        _ => Reply::json(401, "{}"),
    });
    let address = mock.bind().await.unwrap();
    let config = config_for(address)
        + &format!("[llm.provider.openai.bad]\napi_base = \"http://{address}/v1\"\napi_key = \"wrong\"\n");
    let path = write(&home, "gate.toml", &config);
    let path = path.to_str().unwrap().to_owned();
    let run = |arguments: Vec<String>| {
        let mut command = command(home.path());
        tokio::task::spawn_blocking(move || command.args(arguments).output().unwrap())
    };
    let all = run(["--test", "--config", &path].map(str::to_owned).to_vec()).await.unwrap();
    let table = text(&all.stdout);
    assert_eq!(all.status.code(), Some(1), "{table}");
    assert!(
        table.contains("ok, ") && table.contains("2 models") && table.contains("the key is refused (401)"),
        "{table}"
    );
    let one =
        run(["--test-provider", "openai", "--config", &path].map(str::to_owned).to_vec()).await.unwrap();
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stdout));
    assert!(mock.requests().iter().all(|request| request.target == "/v1/models" && request.method == "GET"));
    let none = run(["--test-provider", "nope", "--config", &path].map(str::to_owned).to_vec()).await.unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("no provider `nope`"), "{}", text(&none.stderr));
}

/// The stderr of a process whose stdout is what counts must still be read, or it could block.
#[test]
fn output_is_plain_without_a_terminal() {
    let home = TempDir::new().unwrap();
    let mut child = command(home.path()).arg("--validate").stdout(Stdio::piped()).spawn().unwrap();
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    child.wait().unwrap();
    assert!(!out.contains(&0x1b), "{}", text(&out));
}

// Spec: mvp M-2, M-9.
#[test]
fn the_demo_explains_its_own_names() {
    let home = TempDir::new().unwrap();
    write(&home, "config.toml", "[llm.provider.openai]\napi_key = \"k\"\nmodel = \"mine\"\n");
    for (arguments, code, part) in [
        (&["--demo", "explain", "gpt-demo"][..], 0, "openai.demo"),
        (&["--demo", "--validate-model", "claude-demo"], 0, "anthropic.demo"),
        (&["--demo", "explain", "mine"], 1, "mine"),
    ] {
        let output = run(&home, arguments);
        let explanation = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {explanation}{}", text(&output.stderr));
        assert!(explanation.contains(part), "{arguments:?}: {explanation}");
    }
}
