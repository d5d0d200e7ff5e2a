//! What a panic leaves in the log. The hook is the process's, so there is one test that sets it.

use std::io::{self, Write};
use std::panic::{catch_unwind, take_hook};
use std::sync::{Mutex, PoisonError};

use gate_config::{Sources, load};
use gate_server::{Gateway, RecordSink, RequestRecord};
use http::Request;
use http_body_util::Empty;

use super::*;

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Panics with a secret in its text.
struct BadSink;

impl RecordSink for BadSink {
    fn record(&self, _: &RequestRecord) {
        panic!("sk-canary-in-a-panic");
    }
}

// Spec: security S-22, S-26.
#[tokio::test]
async fn a_panic_is_logged_with_its_place_and_request_and_without_its_text() {
    let output = Output::default();
    let log = LogWriter::start(LogFormat::Json, output.clone()).unwrap();
    let before = take_hook();
    install(log.clone(), LogFormat::Json);
    let config = load(&Sources::empty()).unwrap().config;
    let gateway = Gateway::builder(config).sink(BadSink).build().unwrap();
    let request = Request::get("/health").header("host", "localhost").body(Empty::new()).unwrap();
    let response = gateway.handle(request).await;
    let id = response.headers()["x-gateway-request-id"].to_str().unwrap().to_owned();
    drop(response);
    let outside = catch_unwind(|| std::panic::panic_any(5)).is_err();
    std::panic::set_hook(before);
    assert!(outside && log.wait_until_written());

    let text = output.text();
    let own: Vec<&str> = text.lines().filter(|line| line.contains(file!())).collect();
    assert_eq!(own.len(), 2, "{text}");
    for (line, request) in own.iter().zip([Some(&id), None]) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let message = line["message"].as_str().unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(message.starts_with("req-"), request.is_some(), "{message}");
        assert!(request.is_none_or(|id| message.contains(id.as_str())), "{message}");
        assert!(message.contains("a panic at ") && message.contains("(thread "), "{message}");
    }
    assert!(!text.contains("canary"), "{text}");
}
