//! Requests that are served, each with secrets in all the places that a client has.

use gate_testkit::mock::{MockUpstream, Reply};

use crate::places::{CREDENTIALS, OTHERS};
use crate::rig::{Upstream, drive};

/// The bytes of a connection, and what they are.
pub(crate) struct Ask {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, bytes: bytes.into() }
    }
}

/// A chat whose content is a secret as well.
pub(crate) const CHAT: &str = r#"{"model":"gpt-4","messages":[{"role":"user","content":"canary-content"}]}"#;
pub(crate) const MESSAGE: &str =
    r#"{"model":"claude-1","max_tokens":9,"messages":[{"role":"user","content":"canary-content"}]}"#;

/// Writes a request with these headers, one in a line, and no others but `host` and the length.
pub(crate) fn request(line: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{length}{headers}\r\n{body}")
}

/// Writes a POST of JSON with all the headers that hold secrets, this credential among them.
pub(crate) fn json(path: &str, credential: &str, body: &str) -> String {
    let headers = [&["content-type: application/json", credential], &OTHERS[..]].concat();
    request(&format!("POST {path}?key=canary-client-query"), &headers, body)
}

fn served() -> Vec<Ask> {
    let mut asks = Vec::new();
    for credential in CREDENTIALS {
        asks.push(Ask::new("chat", json("/v1/chat/completions", credential, CHAT)));
        asks.push(Ask::new("messages", json("/v1/messages", credential, MESSAGE)));
        let stream = CHAT.replace("\"messages\"", "\"stream\":true,\"messages\"");
        asks.push(Ask::new("stream", json("/v1/chat/completions", credential, &stream)));
        let headers = [&[credential], &OTHERS[..]].concat();
        for path in ["/v1/models", "/v1/files/file-1?key=canary-q", "/health", "/health/providers", "/ready"]
        {
            asks.push(Ask::new("get", request(&format!("GET {path}"), &headers, "")));
        }
        let form = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ngpt-4\r\n\
                    --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\ncanary-file\r\n--b--\r\n";
        let typed = [&["content-type: multipart/form-data; boundary=b"], &headers[..]].concat();
        asks.push(Ask::new("form", request("POST /v1/audio/transcriptions", &typed, form)));
    }
    asks
}

// Spec: security S-22, S-67; api A-16.
#[tokio::test(start_paused = true)]
async fn requests_that_are_served_show_no_secret() {
    let asks = served();
    let upstream = MockUpstream::answering(|_| Reply::json(200, r#"{"id":"x","data":[]}"#));
    let statuses = drive(Upstream::Answers(upstream), &asks).await;
    for (ask, status) in asks.iter().zip(statuses) {
        assert_eq!(status, 200, "{}: {}", ask.name, String::from_utf8_lossy(&ask.bytes));
    }
    // The log was kept, the line with the address of the provider included.
    let lines = crate::logged::lines();
    assert!(lines.contains("http://openai.test/v1/chat/completions"), "{lines}");
}
