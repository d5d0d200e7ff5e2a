//! `emx-gate doctor` as a process, against gateways that run.

use std::net::SocketAddr;

use gate_testkit::mock::{MockUpstream, Reply};
use tempfile::TempDir;

use crate::support::*;

/// Runs `doctor` against a gateway, and returns its exit code and what it says.
fn doctor(home: &TempDir, gateway: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{gateway}");
    let output = run(home, &[&["doctor", "--url", &url], arguments].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

// Spec: mvp M-16.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_nothing_wrong_with_the_demo() {
    let home = TempDir::new().unwrap();
    let process = Process::start(command(home.path()).args(["--demo", "--port", "0"]));
    for (flags, sum) in [
        (&[][..], "23 passed, 0 failed, 0 not tried"),
        (&["--codex"], "8 passed, 0 failed, 0 not tried"),
        (&["--claude-code"], "11 passed, 0 failed, 0 not tried"),
    ] {
        let (code, said) = doctor(&home, process.address, flags);
        assert!(said.contains(sum), "{flags:?}:\n{said}");
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = doctor(&home, process.address, &["--model", "gpt-demo"]);
    assert!(said.contains("`--model gpt-demo` says no kind"), "{said}");
    assert_eq!(code, Some(1));
}

// Spec: api A-83.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_a_gateway_behind_tls_whose_authority_is_known() {
    let home = TempDir::new().unwrap();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = write(&home, "cert.pem", &certified.cert.pem());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = write(&home, "other.pem", &other.cert.pem());
    write(&home, "key.pem", &certified.signing_key.serialize_pem());
    let tls = "[llm.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n";
    let mock = MockUpstream::answering(|_| Reply::json(200, "{}"));
    let config = config_for(mock.bind().await.unwrap()) + tls;
    let process = Process::with_config(&home, &config, &[]);
    let ask = |host: &str, authorities: &std::path::Path| {
        let url = format!("https://{host}:{}", process.address.port());
        let mut doctor = command(home.path());
        doctor.env("SSL_CERT_FILE", authorities).args(["doctor", "--openai", "--url", &url]);
        let output = doctor.output().unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = ask("localhost", &certificate);
    assert!(said.contains(" asks https://localhost:") && said.contains(", 0 failed"), "{said}");
    assert_eq!(code, Some(0), "{said}");
    // Another's authority, and another name.
    for (host, authorities) in [("localhost", &stranger), ("127.0.0.1", &certificate)] {
        let (code, said) = ask(host, authorities);
        assert!(
            said.contains("no TLS: invalid peer certificate") && said.contains("SSL_CERT_FILE"),
            "{said}"
        );
        assert_eq!(code, Some(1), "{said}");
    }
}

// Spec: mvp M-17.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_no_provider_unless_told() {
    let home = TempDir::new().unwrap();
    let mock = MockUpstream::answering(|_| Reply::json(200, "{}"));
    let process = Process::with_config(&home, &config_for(mock.bind().await.unwrap()), &[]);
    let (code, said) = doctor(&home, process.address, &["--openai"]);
    assert!(said.contains("not tried: `openai.gpt-4` would be asked; --live allows it"), "{said}");
    assert_eq!((code, mock.requests().len()), (Some(0), 0), "{said}");

    let (code, said) = doctor(&home, process.address, &["--openai", "--live"]);
    assert!(said.contains("requests for `openai.gpt-4` go to its provider and may cost money"), "{said}");
    assert!(said.contains("FAIL  stream flushed, chat"), "{said}");
    assert!(
        said.contains("the answer is `application/json`, no event stream; users would see nothing"),
        "{said}"
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(!mock.requests().is_empty());
}

// Spec: mvp M-16.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_when_it_finds_no_gateway() {
    let home = TempDir::new().unwrap();
    let (code, said) = doctor(&home, ([127, 0, 0, 1], 1).into(), &[]);
    assert!(said.contains("no gateway answers at http://127.0.0.1:1: no connection"), "{said}");
    assert_eq!(code, Some(1));
    let stranger = MockUpstream::answering(|_| Reply::json(200, "{}"));
    let (code, said) = doctor(&home, stranger.bind().await.unwrap(), &[]);
    assert!(said.contains("GET /v1/models answers without a list `data`: is this emx-gate?"), "{said}");
    assert_eq!(code, Some(1));
}
