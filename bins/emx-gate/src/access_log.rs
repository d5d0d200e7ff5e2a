//! One line for each finished request: which ones are wanted, and what they say.

use std::borrow::Cow;
use std::time::Duration;

use gate_config::LogFormat;
use gate_server::{Attempt, RecordSink, RequestRecord, StepTimes};
use http::Method;
use jiff::Timestamp;
use log::{Level, LevelFilter};
use serde::{Serialize, Serializer};

use crate::log_writer::{Line, LogWriter};
use crate::logging::{level_name, timestamp};

/// The longest text of a client or a provider that a line repeats, in characters.
const MAX_FOREIGN_TEXT: usize = 200;

/// The sink that hands finished requests to the log.
pub(crate) struct AccessLog {
    level: LevelFilter,
    log: LogWriter,
}

impl AccessLog {
    /// Wants lines of at least this severity.
    pub(crate) fn new(level: LevelFilter, log: LogWriter) -> Self {
        Self { level, log }
    }
}

impl RecordSink for AccessLog {
    fn record(&self, record: &RequestRecord) {
        if level(record) <= self.level {
            self.log.push(Line::Record(Box::new(record.clone())));
        }
    }
}

/// Appends the line of a request.
pub(crate) fn write(batch: &mut Vec<u8>, format: LogFormat, record: &RequestRecord) {
    match format {
        LogFormat::Text => write_text(batch, record),
        LogFormat::Json => write_json(batch, record),
    }
}

/// The level of a line: what the gateway or a provider got wrong stands out.
fn level(record: &RequestRecord) -> Level {
    match record.status {
        Some(500..) => Level::Warn,
        _ => Level::Info,
    }
}

fn write_text(batch: &mut Vec<u8>, record: &RequestRecord) {
    let finished = finished_at(record);
    let mut line = format!(
        "{} {:<5} {} {} {} {}",
        timestamp(finished),
        level_name(level(record)),
        record.request_id,
        record.method.as_ref().map_or("-", Method::as_str),
        record.path.as_deref().map_or_else(|| "-".to_owned(), escaped),
        record.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
    );
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" {name}={value}"));
        }
    };
    field("provider", record.provider.as_deref().map(str::to_owned));
    field("model", record.model.as_deref().map(escaped));
    field("ms", Some(record.duration.as_millis().to_string()));
    field("ttfb_ms", record.ttfb.map(|ttfb| ttfb.as_millis().to_string()));
    field("tokens_in", record.usage.input_tokens.map(|tokens| tokens.to_string()));
    field("tokens_out", record.usage.output_tokens.map(|tokens| tokens.to_string()));
    field("usage", record.provider.as_ref().map(|_| record.usage_source.as_str().to_owned()));
    field("end", Some(record.end.as_str().to_owned()));
    field("error", record.error_code.map(str::to_owned));
    field(
        "attempts",
        Some(record.attempts).filter(|attempts| *attempts > 1).map(|attempts| attempts.to_string()),
    );
    // A value with spaces in it stands in quotes; neither a path nor a fault has any.
    let attempts: Vec<String> = tried(record).map(ToString::to_string).collect();
    field(
        "tried",
        Some(attempts).filter(|attempts| !attempts.is_empty()).map(|all| format!("\"{}\"", all.join(", "))),
    );
    field("sticky", sticky(record).map(str::to_owned));
    field("bytes_in", Some(record.bytes_in.to_string()));
    field("bytes_out", Some(record.bytes_out.to_string()));
    field("upstream_id", record.upstream_request_id.as_deref().map(escaped));
    line.push('\n');
    batch.extend_from_slice(line.as_bytes());
}

/// The fields of a JSON line; one that is not known is absent.
#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'static str,
    message: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttfb_ms: Option<u64>,
    #[serde(flatten)]
    steps: StepMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_source: Option<&'static str>,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    attempts: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tried: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
}

/// The times of the steps, in milliseconds with fractions: most of them take far less than one.
struct StepMillis(StepTimes);

impl Serialize for StepMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let taken = self.0.named().into_iter().filter_map(|(name, time)| Some((name, time?)));
        // Whole microseconds, so that no digit is noise.
        let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        serializer.collect_map(taken.map(|(name, time)| (format!("{name}_ms"), millis(time))))
    }
}

fn write_json(batch: &mut Vec<u8>, record: &RequestRecord) {
    let line = JsonLine {
        timestamp: timestamp(finished_at(record)),
        level: level_name(level(record)),
        message: "request",
        request_id: &record.request_id,
        upstream_request_id: record.upstream_request_id.as_deref().map(cut),
        method: record.method.as_ref().map(Method::as_str),
        path: record.path.as_deref().map(cut),
        provider: record.provider.as_deref(),
        model: record.model.as_deref().map(cut),
        status: record.status,
        duration_ms: millis(record.duration),
        ttfb_ms: record.ttfb.map(millis),
        steps: StepMillis(record.steps),
        input_tokens: record.usage.input_tokens,
        output_tokens: record.usage.output_tokens,
        usage_source: record.provider.as_ref().map(|_| record.usage_source.as_str()),
        end: record.end.as_str(),
        error: record.error_code,
        attempts: record.attempts,
        tried: tried(record).map(ToString::to_string).collect(),
        sticky: sticky(record),
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
    };
    // Strings and numbers always serialize, and a `Vec` takes every byte.
    let _ = serde_json::to_writer(&mut *batch, &line);
    batch.push(b'\n');
}

/// Returns the attempts where there was more than one.
fn tried(record: &RequestRecord) -> impl Iterator<Item = &Attempt> {
    record.tried.iter().filter(|_| record.tried.len() > 1)
}

fn sticky(record: &RequestRecord) -> Option<&'static str> {
    record.sticky_hit.map(|is_hit| if is_hit { "hit" } else { "miss" })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// When the answer ended; a time that no timestamp can hold shows as 1970.
fn finished_at(record: &RequestRecord) -> Timestamp {
    let end = record.started_at.checked_add(record.duration);
    end.and_then(|end| Timestamp::try_from(end).ok()).unwrap_or_default()
}

/// Cuts a text that is not ours.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_FOREIGN_TEXT) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Cuts a text that is not ours and escapes it, so that it can neither fake a field or a line nor
/// move a cursor.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in cut(text).chars() {
        if c.is_ascii_graphic() || c == '…' {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
