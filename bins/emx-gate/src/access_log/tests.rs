//! Lines as they are written.

use std::time::SystemTime;

use gate_server::{AttemptOutcome, RequestRecord};
use gate_usage::{EndReason, Usage, UsageSource};
use http::Method;

use super::*;

fn record() -> RequestRecord {
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut record = RequestRecord::new("req-1".into(), Method::POST, "/v1/messages".into(), started);
    record.end = EndReason::Complete;
    record.duration = Duration::from_millis(1234);
    record.status = Some(200);
    record
}

fn full() -> RequestRecord {
    let mut record = record();
    record.provider = Some("anthropic.glm".into());
    record.model = Some("GLM-5".into());
    record.ttfb = Some(Duration::from_millis(80));
    record.usage = Usage { input_tokens: Some(3), output_tokens: Some(4), ..Usage::default() };
    record.usage_source = UsageSource::Provider;
    record.attempts = 2;
    record.bytes_in = 10;
    record.bytes_out = 20;
    record.upstream_request_id = Some("up 1\n".into());
    record
}

fn text(record: &RequestRecord) -> String {
    let mut batch = Vec::new();
    write_text(&mut batch, record);
    String::from_utf8(batch).unwrap()
}

// Spec: monitoring L-5.
#[test]
fn a_text_line_shows_what_is_known() {
    assert_eq!(
        text(&full()),
        "2023-11-14T22:13:21.234Z INFO  req-1 POST /v1/messages 200 provider=anthropic.glm model=GLM-5 ms=1234 \
         ttfb_ms=80 tokens_in=3 tokens_out=4 usage=provider end=complete attempts=2 bytes_in=10 bytes_out=20 \
         upstream_id=up\\u{20}1\\u{a}\n"
    );
    assert_eq!(
        text(&record()),
        "2023-11-14T22:13:21.234Z INFO  req-1 POST /v1/messages 200 ms=1234 end=complete bytes_in=0 bytes_out=0\n"
    );
}

// Spec: monitoring L-33, L-34; load-balancing B-14.
#[test]
fn several_attempts_are_listed_and_one_is_not() {
    let attempts = |count: usize| {
        let mut record = record();
        for place in 0..count {
            record.tried.begin(format!("openai.p{place}").as_str().into(), 0);
            record.tried.settle(place, AttemptOutcome::Status(503), Duration::from_millis(7));
        }
        record.sticky_hit = Some(count == 1);
        let mut batch = Vec::new();
        write_json(&mut batch, &record);
        let json: serde_json::Value = serde_json::from_slice(&batch).unwrap();
        (text(&record), json.get("tried").cloned(), json["sticky"].clone())
    };
    let (line, tried, sticky) = attempts(1);
    assert!(!line.contains("tried=") && line.contains(" sticky=hit "), "{line}");
    assert_eq!((tried, sticky), (None, "hit".into()));
    let (line, tried, sticky) = attempts(2);
    assert!(line.contains(" tried=\"openai.p0=503 7ms, openai.p1=503 7ms\" sticky=miss "), "{line}");
    let expected = serde_json::json!(["openai.p0=503 7ms", "openai.p1=503 7ms"]);
    assert_eq!((tried, sticky), (Some(expected), "miss".into()));
}

// Spec: monitoring L-29.
#[test]
fn a_request_that_could_not_be_read_has_a_line_without_what_is_not_known() {
    let record = RequestRecord {
        method: None,
        path: None,
        status: Some(400),
        end: EndReason::GatewayError,
        error_code: Some("bad_request"),
        ..record()
    };
    let line = text(&record);
    assert!(line.contains(" req-1 - - 400 ms=1234 end=gateway_error error=bad_request "), "{line}");
    let mut batch = Vec::new();
    write(&mut batch, LogFormat::Json, &record);
    let line: serde_json::Value = serde_json::from_slice(&batch).unwrap();
    let members = line.as_object().unwrap();
    assert_eq!((members.get("method"), members.get("path")), (None, None));
    assert_eq!(
        (&line["status"], &line["error"]),
        (&serde_json::json!(400), &serde_json::json!("bad_request"))
    );
}

// Spec: monitoring L-9.
#[test]
fn text_of_a_client_can_fake_nothing() {
    let mut record = record();
    record.path = Some(format!("/v1/\u{1b}[31m\r\n{}", "x".repeat(300)).as_str().into());
    let line = text(&record);
    assert_eq!(line.lines().count(), 1);
    assert!(line.contains("/v1/\\u{1b}[31m\\u{d}\\u{a}xxx") && line.contains("x… 200"), "{line}");
    assert!(line.len() < 400);
}

// Spec: monitoring L-5.
#[test]
fn a_json_line_leaves_out_what_is_unknown() {
    let mut batch = Vec::new();
    write_json(&mut batch, &record());
    let line: serde_json::Value = serde_json::from_slice(&batch).unwrap();
    let expected = serde_json::json!({
        "timestamp": "2023-11-14T22:13:21.234Z", "level": "INFO", "message": "request", "request_id": "req-1",
        "method": "POST", "path": "/v1/messages", "status": 200, "duration_ms": 1234, "end": "complete",
        "attempts": 0, "bytes_in": 0, "bytes_out": 0,
    });
    assert_eq!(line, expected);
}

// Spec: monitoring L-5, L-24.
#[test]
fn a_json_line_has_the_time_of_each_step_that_was_taken() {
    let mut record = full();
    record.steps.auth = Some(Duration::from_nanos(1_700));
    record.steps.queue = Some(Duration::ZERO);
    record.steps.upstream = Some(Duration::from_micros(78_250));
    record.steps.gateway = Some(Duration::from_nanos(61_499));
    let mut batch = Vec::new();
    write_json(&mut batch, &record);
    let line: serde_json::Value = serde_json::from_slice(&batch).unwrap();
    let names = [
        "auth_ms",
        "receive_ms",
        "route_ms",
        "queue_ms",
        "connect_ms",
        "tls_ms",
        "upstream_ms",
        "gateway_ms",
    ];
    let times = names.map(|name| line.get(name).and_then(serde_json::Value::as_f64));
    let expected = [Some(0.002), None, None, Some(0.0), None, None, Some(78.25), Some(0.061)];
    assert_eq!(times, expected, "{line}");
}

// Spec: monitoring L-9.
#[test]
fn foreign_text_is_cut_in_json_too() {
    let long: std::sync::Arc<str> = "ü".repeat(300).into();
    let record = RequestRecord {
        path: Some(long.clone()),
        model: Some(long.clone()),
        upstream_request_id: Some(long),
        ..record()
    };
    let mut batch = Vec::new();
    write(&mut batch, LogFormat::Json, &record);
    let line: serde_json::Value = serde_json::from_slice(&batch).unwrap();
    for field in ["path", "model", "upstream_request_id"] {
        assert_eq!(line[field], "ü".repeat(200) + "…", "{field}");
    }
}

// Spec: monitoring L-5.
#[test]
fn a_time_beyond_all_timestamps_is_no_panic() {
    let record = RequestRecord { duration: Duration::MAX, ..record() };
    assert!(text(&record).starts_with("1970-01-01T00:00:00.000Z INFO  req-1 POST "), "{}", text(&record));
}

// Spec: monitoring L-5.
#[test]
fn a_request_has_the_time_of_every_other_line() {
    for milli in [0_i64, 1, 999, 951_782_400_000, 1_709_164_799_999, 4_102_444_800_010, 253_402_207_199_999] {
        let at = Timestamp::from_nanosecond(i128::from(milli) * 1_000_000 + 999_999).unwrap();
        let mut written = Vec::new();
        write_timestamp(&mut written, at);
        assert_eq!(String::from_utf8(written).unwrap(), crate::logging::timestamp(at));
    }
}
