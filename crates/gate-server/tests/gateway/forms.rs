//! Forms: routed by their `model` part, and otherwise untouched.

use std::time::Duration;

use gate_testkit::mock::{Counts, Reply};

use crate::refusing::check;
use crate::support::{CONFIG, Rig, header};

const PATH: &str = "/v1/audio/transcriptions";
const FILE: &str = "--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\n";

fn model(name: &str) -> String {
    format!("--b-1\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{name}\r\n")
}

fn head(path: &str, framing: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=\"b-1\"\r\n{framing}\r\n\r\n"
    )
}

fn form(path: &str, body: &str) -> String {
    head(path, &format!("content-length: {}", body.len())) + body
}

// Spec: api A-44.
#[tokio::test(start_paused = true)]
async fn the_model_is_renamed_in_any_order_of_the_parts() {
    async fn sent(request: &str, provider: &str, upstream_model: &str, expected: &str) {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let response = rig.send(request).await;
        assert_eq!(response.head.status, 200, "{request}: {}", response.body.text());
        assert_eq!(header(&response, "x-gateway-provider"), provider, "{request}");
        assert_eq!(header(&response, "x-gateway-model"), upstream_model, "{request}");
        let seen = mock.next_request().await;
        assert_eq!(seen.text(), expected);
        assert_eq!(seen.header("content-length"), Some(&*expected.len().to_string()));
        assert_eq!(seen.header("content-type"), Some("multipart/form-data; boundary=\"b-1\""));
    }
    let file = format!("{FILE}\0\r\n--b\r\n\u{ff}\r\n");
    let end = "--b-1--\r\n";
    for (name, provider, upstream) in [
        ("small", "openai.azure", "gpt-4-mini.2"),
        ("openai.azure.small", "openai.azure", "gpt-4-mini.2"),
        ("whisper-1", "openai", "whisper-1"),
        ("openai.whisper-1", "openai", "whisper-1"),
    ] {
        for (before, after) in [("", file.as_str()), (file.as_str(), "")] {
            let body = format!("{before}{}{after}{end}", model(name));
            let expected = format!("{before}{}{after}{end}", model(upstream));
            sent(&form(PATH, &body), provider, upstream, &expected).await;
        }
    }
    for body in [format!("{file}{end}"), format!("{}{file}{end}", model(""))] {
        sent(&form(PATH, &body), "openai", "", &body).await;
        sent(&form("/openai/azure/v1/images/edits", &body), "openai.azure", "", &body).await;
    }
    // JSON on the same route is what it was.
    let json = r#"{"model":"small"}"#;
    let request = crate::support::post("/v1/images/edits", &[], json);
    sent_json(&request).await;

    async fn sent_json(request: &str) {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        assert_eq!(rig.send(request).await.head.status, 200);
        assert_eq!(mock.next_request().await.text(), r#"{"model":"gpt-4-mini.2"}"#);
    }
}

// Spec: api A-44.
#[tokio::test(start_paused = true)]
async fn a_bad_form_is_refused_and_nothing_is_sent() {
    async fn refused(body: &str, code: &str, part: &str) {
        check(CONFIG, &form(PATH, body), 400, code, part).await;
    }
    let (one, end) = (model("gpt-4"), "--b-1--\r\n");
    refused("", "invalid_json", "the body is empty").await;
    refused("no form", "bad_request", "does not begin with the boundary").await;
    refused(&format!("{one}{FILE}x"), "bad_request", "without its closing boundary").await;
    refused(&format!("{one}{one}{end}"), "duplicate_key", "more than one part `model`").await;
    refused(&format!("{}{end}", model("a b")), "invalid_model_name", "no valid name").await;
    refused(&format!("--b-1\r\nname=model\r\n\r\nx\r\n{end}"), "bad_request", "a part without a plain head")
        .await;
    let encoded = one.replace("\"model\"", "\"model\"; filename=\"m\"");
    refused(&format!("{encoded}{end}"), "bad_request", "must be plain text").await;
    let no_boundary = form(PATH, &format!("{one}{end}")).replace("; boundary=\"b-1\"", "");
    check(CONFIG, &no_boundary, 400, "bad_request", "the form has no boundary").await;
    let compressed = form(PATH, "x").replace("host:", "content-encoding: gzip\r\nhost:");
    check(CONFIG, &compressed, 415, "unsupported_media_type", "compressed").await;
    let unknown = form(PATH, &format!("{}{end}", model("anthropic.claude-1")));
    check(CONFIG, &unknown, 400, "model_kind_mismatch", "POST /v1/messages").await;
}

// Spec: api A-44.
#[tokio::test(start_paused = true)]
async fn a_form_goes_up_as_soon_as_its_model_is_known() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
    let mut client = rig.connect();
    let piece = "x".repeat(100_000);
    let rest = piece.len() * 20;
    let start = format!("{}{FILE}", model("small"));
    let end = "\r\n--b-1--\r\n";
    let length = start.len() + rest + end.len();
    client.send(head(PATH, &format!("content-length: {length}")) + &start).await.unwrap();
    // The provider is asked while most of the form is still to come.
    mock.wait_until("a connection", |counts: Counts| counts.opened == 1).await;
    for _ in 0..20 {
        client.send(&piece).await.unwrap();
    }
    client.send(end).await.unwrap();
    assert_eq!(client.read_response().await.unwrap().head.status, 200);
    let seen = mock.next_request().await;
    let renamed = start.replace("small", "gpt-4-mini.2");
    assert_eq!(seen.text(), format!("{renamed}{}{end}", piece.repeat(20)));
    assert_eq!(seen.header("content-length"), Some(&*(length + 7).to_string()));
    assert_eq!(rig.records.first().await.bytes_in, length as u64);
}

// Spec: api A-44.
#[tokio::test(start_paused = true)]
async fn a_small_form_without_a_length_is_held_to_its_end_too() {
    async fn send(rest: &str) -> (u16, String, Option<String>) {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let mut client = rig.connect();
        let start = format!("{}{FILE}", model("small"));
        client.send(head(PATH, "transfer-encoding: chunked")).await.unwrap();
        for piece in [start.as_str(), rest] {
            client.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(mock.requests().is_empty(), "{rest}");
        }
        client.send("0\r\n\r\n").await.unwrap();
        let response = client.read_response().await.unwrap();
        let error = header(&response, "x-gateway-error").to_owned();
        (response.head.status, error, mock.requests().first().map(|seen| seen.text().to_string()))
    }
    for (rest, code) in [
        (format!("x\r\n{}--b-1--\r\n", model("other")), "duplicate_key"),
        ("x".to_owned(), "bad_request"),
        ("x\r\n--b-1--\r\nmore".to_owned(), "bad_request"),
    ] {
        assert_eq!(send(&rest).await, (400, code.to_owned(), None), "{rest}");
    }
    let end = "x\r\n--b-1--\r\n";
    let sent = format!("{}{FILE}{end}", model("gpt-4-mini.2"));
    assert_eq!(send(end).await, (200, String::new(), Some(sent)));
}

// Spec: api A-44.
#[tokio::test(start_paused = true)]
async fn a_form_that_turns_out_bad_on_its_way_is_cut_off() {
    async fn cut(rest: &str, status: u16, code: &str) {
        let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
        let mut client = rig.connect().with_patience(Duration::from_secs(600));
        // More than what is held.
        let start = format!("{}{FILE}{}", model("small"), "x".repeat(1024 * 1024));
        client.send(head(PATH, "transfer-encoding: chunked")).await.unwrap();
        for piece in [start.as_str(), rest] {
            client.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client.send("0\r\n\r\n").await.unwrap();
        let response = client.read_response().await.unwrap();
        assert_eq!((response.head.status, header(&response, "x-gateway-error")), (status, code), "{rest}");
        assert_eq!(header(&response, "connection"), "close");
        let seen = mock.next_request().await;
        assert!(!seen.is_complete, "{rest}");
    }
    cut(&format!("x\r\n{}--b-1--\r\n", model("other")), 400, "duplicate_key").await;
    cut("x", 400, "bad_request").await;
    cut("x\r\n--b-1--\r\nmore", 400, "bad_request").await;
}

// Spec: api A-44.
#[tokio::test(start_paused = true)]
async fn a_large_form_without_its_end_is_never_whole_to_the_provider() {
    let (mut rig, mock) = Rig::with_mock(CONFIG, [Reply::json(200, "{}")]);
    let mut client = rig.connect();
    let body = format!("{}{FILE}{}", model("small"), "x".repeat(1_200_000));
    client.send(form(PATH, &body)).await.unwrap();
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (400, "bad_request"));
    assert!(response.body.text().contains("without its closing boundary"), "{}", response.body.text());
    assert!(!mock.next_request().await.is_complete);
}

// Spec: api A-44.
#[tokio::test(start_paused = true)]
async fn a_model_behind_a_huge_file_is_asked_for_first() {
    let config = format!("[llm.limits]\nmax_request_size_mb = 1\n{CONFIG}");
    let (mut rig, mock) = Rig::with_mock(&config, []);
    let mut client = rig.connect();
    client.send(head(PATH, "content-length: 9000000") + FILE).await.unwrap();
    let piece = "x".repeat(64 * 1024);
    for _ in 0..17 {
        client.send(&piece).await.unwrap();
    }
    let response = client.read_response().await.unwrap();
    assert_eq!((response.head.status, header(&response, "x-gateway-error")), (413, "request_too_large"));
    assert!(
        response.body.text().contains("send the part `model` before the files"),
        "{}",
        response.body.text()
    );
    assert!(mock.requests().is_empty());
}
