//! A gateway that speaks TLS, and one whose certificate cannot be used.

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

use crate::support::*;

/// Writes a certificate, its key, another's key, and the configuration that names these two.
fn config(home: &TempDir, key_file: &str) -> String {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(home, "cert.pem", &certified.cert.pem());
    write(home, "key.pem", &certified.signing_key.serialize_pem());
    write(home, "other.pem", &other.signing_key.serialize_pem());
    format!(
        "[llm.provider.openai]\napi_key = \"k\"\n[llm.tls]\ncert_file = \"cert.pem\"\nkey_file = \"{key_file}\"\n"
    )
}

// Spec: security S-28.
#[tokio::test]
async fn the_start_up_line_says_https_and_the_port_speaks_it() {
    let home = TempDir::new().unwrap();
    let process = Process::with_config(&home, &config(&home, "key.pem"), &[]);
    assert!(process.seen.last().unwrap().contains(" on https://127.0.0.1:"), "{:?}", process.seen);
    let response = process.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!((response.head.status, response.body.text().contains("TLS port")), (400, true));
}

// Spec: config C-58.
#[test]
fn a_key_of_another_certificate_is_found_by_the_check_and_at_the_start() {
    let home = TempDir::new().unwrap();
    for (key_file, code) in [("key.pem", 0), ("other.pem", 1)] {
        let path = write(&home, "gate.toml", &config(&home, key_file));
        let output = run(&home, &["--validate", "--port", "0", "--config", path.to_str().unwrap()]);
        let report = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{report}");
        assert!(report.contains("address:  https://127.0.0.1 (any free port)"), "{report}");
        let cannot = "other.pem` cannot be used together";
        assert_eq!(report.contains(cannot), code == 1, "{report}");
    }
    let output = run(&home, &["--port", "0", "--config", home.path().join("gate.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("`[llm.tls]`: "), "{}", text(&output.stderr));
}
