//! What is refused before anything is read.

use http::Request;

use super::*;

fn guard() -> HostGuard {
    HostGuard::LoopbackAnd(vec!["gate.internal".to_owned()])
}

/// Checks a request given as method, target and header lines.
fn check_parts(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    guard: &HostGuard,
) -> Result<(), ApiError> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let parts = request.body(()).unwrap().into_parts().0;
    let headers = ClientHeaders::of(&parts.headers);
    let host = check(&parts, headers)?;
    guard.check(host)?;
    check_rest(&parts, headers, guard)
}

fn host(host: &str) -> Result<(), ErrorCode> {
    check_parts("GET", "/health", &[("host", host)], &guard()).map_err(|error| error.code)
}

// Spec: security S-2, S-58.
#[test]
fn only_loopback_names_and_allowed_ones_are_answered() {
    for name in [
        "localhost",
        "LOCALHOST:8848",
        "127.0.0.1",
        "127.0.0.1:8848",
        "127.8.9.10:1",
        "[::1]",
        "[::1]:8848",
        "[::ffff:127.0.0.1]:80",
        "localhost.",
        "localhost.:8848",
        "gate.internal",
        "Gate.Internal:443",
        "localhost:",
    ] {
        assert_eq!(host(name), Ok(()), "{name}");
    }
    for name in [
        "evil.example",
        "evil.example:8848",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "128.0.0.1",
        "0.0.0.0",
        "[::2]",
        "[::]",
        "localhost..",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0",
    ] {
        assert_eq!(host(name), Err(ErrorCode::MisdirectedRequest), "{name}");
    }
    assert!(check_parts("GET", "/health", &[("host", "evil.example")], &HostGuard::Open).is_ok());
}

// Spec: security S-3.
#[test]
fn a_host_that_is_none_is_refused() {
    for name in [
        "",
        "a/b",
        "a?b",
        "a#b",
        "u:p@a",
        "u@localhost",
        "a b",
        "[::1",
        "[x]",
        "localhost:x",
        "localhost:99999",
        ":80",
    ] {
        assert_eq!(host(name), Err(ErrorCode::BadRequest), "{name:?}");
    }
    let two = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(check_parts("GET", "/", &two, &guard()).unwrap_err().code, ErrorCode::BadRequest);
    let none = check_parts("GET", "/", &[], &guard()).unwrap_err();
    assert!(none.close && none.message.contains("no `host` header"), "{none:?}");
}

// Spec: security S-3.
#[test]
fn the_authority_of_an_absolute_target_is_ignored() {
    let local = [("host", "localhost")];
    assert!(check_parts("GET", "http://evil.example/health", &local, &guard()).is_ok());
    let evil = [("host", "evil.example")];
    let error = check_parts("GET", "http://localhost/health", &evil, &guard()).unwrap_err();
    assert_eq!(error.code, ErrorCode::MisdirectedRequest);
}

// Spec: security S-5, S-12.
#[test]
fn doubtful_framing_ends_the_connection() {
    fn check_framing(headers: &[(&str, &str)], code: ErrorCode) {
        let mut all = vec![("host", "localhost")];
        all.extend_from_slice(headers);
        let error = check_parts("POST", "/v1/messages", &all, &guard()).unwrap_err();
        assert_eq!((error.code, error.close), (code, true), "{headers:?}");
    }
    check_framing(
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ErrorCode::BadRequest,
    );
    check_framing(&[("transfer-encoding", "gzip, chunked")], ErrorCode::NotImplemented);
    check_framing(&[("transfer-encoding", "chunked, chunked")], ErrorCode::NotImplemented);
    check_framing(&[("content_length", "2")], ErrorCode::BadRequest);
    check_framing(&[("transfer_encoding", "chunked")], ErrorCode::BadRequest);
    for name in GUARDED {
        check_framing(&[(&name.replacen('-', "_", 1), "1")], ErrorCode::BadRequest);
    }
    check_framing(&[("expect", "foo")], ErrorCode::ExpectationFailed);
    let fine = [
        ("host", "localhost"),
        ("transfer-encoding", "Chunked"),
        ("expect", "100-continue"),
        ("x_mine", "1"),
    ];
    assert!(check_parts("POST", "/v1/messages", &fine, &guard()).is_ok());
}

// Spec: api A-6; security S-5.
#[test]
fn connect_opens_no_tunnel() {
    let error = check_parts("CONNECT", "localhost:80", &[("host", "localhost")], &guard()).unwrap_err();
    assert_eq!((error.code, error.close), (ErrorCode::MethodNotAllowed, true));
}

// Spec: security S-31.
#[test]
fn pages_of_other_sites_are_refused() {
    for (origin, is_fine) in [
        ("http://localhost:3000", true),
        ("https://127.0.0.1", true),
        ("https://gate.internal", true),
        ("vscode-webview://abc", true),
        ("chrome-extension://abc", true),
        ("https://evil.example", false),
        ("https://localhost.evil.example", false),
        ("null", false),
        ("", false),
    ] {
        let headers = [("host", "localhost"), ("origin", origin)];
        let outcome = check_parts("POST", "/v1/files", &headers, &guard());
        assert_eq!(outcome.is_ok(), is_fine, "{origin}");
        assert!(outcome.is_ok() || outcome.unwrap_err().code == ErrorCode::PermissionDenied);
        assert!(check_parts("POST", "/v1/files", &headers, &HostGuard::Open).is_ok());
    }
}

// Spec: security S-13.
#[test]
fn a_target_has_a_size_and_a_path() {
    let headers = [("host", "localhost")];
    let long = format!("/v1/models?{}", "x".repeat(9000));
    assert_eq!(check_parts("GET", &long, &headers, &guard()).unwrap_err().code, ErrorCode::UriTooLong);
    assert_eq!(check_parts("GET", "*", &headers, &guard()).unwrap_err().code, ErrorCode::BadRequest);
}
