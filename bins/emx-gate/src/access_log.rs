//! One line for each finished request: which ones are wanted, and what they say.

use std::borrow::Cow;
use std::time::Duration;

use gate_config::LogFormat;
use gate_server::{Attempt, RecordSink, RequestRecord};
use http::Method;
use jiff::Timestamp;
use log::{Level, LevelFilter};

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
    let mut line = TextLine(batch);
    line.word(timestamp(finished_at(record)).as_str());
    line.word(level_name(level(record)));
    // Levels are aligned.
    line.0.extend(std::iter::repeat_n(b' ', 5_usize.saturating_sub(level_name(level(record)).len())));
    line.word(&record.request_id);
    line.word(record.method.as_ref().map_or("-", Method::as_str));
    line.word(&record.path.as_deref().map_or(Cow::Borrowed("-"), escaped));
    match record.status {
        Some(status) => line.number("", Some(status.into())),
        None => line.word("-"),
    }
    line.text("provider=", record.provider.as_deref());
    line.text("model=", record.model.as_deref().map(escaped).as_deref());
    line.number("ms=", Some(millis(record.duration)));
    line.number("ttfb_ms=", record.ttfb.map(millis));
    line.number("tokens_in=", record.usage.input_tokens);
    line.number("tokens_out=", record.usage.output_tokens);
    line.text("usage=", record.provider.as_ref().map(|_| record.usage_source.as_str()));
    line.text("end=", Some(record.end.as_str()));
    line.text("error=", record.error_code);
    line.number("attempts=", Some(record.attempts.into()).filter(|attempts| *attempts > 1));
    // A value with spaces in it stands in quotes; neither a path nor a fault has one.
    let attempts: Vec<String> = tried(record).map(ToString::to_string).collect();
    let attempts = (!attempts.is_empty()).then(|| format!("\"{}\"", attempts.join(", ")));
    line.text("tried=", attempts.as_deref());
    line.text("sticky=", sticky(record));
    line.number("bytes_in=", Some(record.bytes_in));
    line.number("bytes_out=", Some(record.bytes_out));
    line.text("upstream_id=", record.upstream_request_id.as_deref().map(escaped).as_deref());
    batch.push(b'\n');
}

/// A line of words with a space between them; `fmt` would take most of the time that a line takes.
struct TextLine<'b>(&'b mut Vec<u8>);

impl TextLine<'_> {
    fn word(&mut self, word: &str) {
        self.text("", Some(word));
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if self.0.last().is_some_and(|last| *last != b'\n') {
            self.0.push(b' ');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value.as_bytes());
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        self.text(name, value.map(|value| itoa::Buffer::new().format(value).to_owned()).as_deref());
    }
}

fn write_json(batch: &mut Vec<u8>, record: &RequestRecord) {
    let mut line = JsonLine::begin(batch);
    line.word("timestamp", Some(&timestamp(finished_at(record))));
    line.word("level", Some(level_name(level(record))));
    line.word("message", Some("request"));
    line.word("request_id", Some(&record.request_id));
    line.text("upstream_request_id", record.upstream_request_id.as_deref());
    line.text("method", record.method.as_ref().map(Method::as_str));
    line.text("path", record.path.as_deref());
    line.text("provider", record.provider.as_deref());
    line.text("model", record.model.as_deref());
    line.number("status", record.status.map(u64::from));
    line.number("duration_ms", Some(millis(record.duration)));
    line.number("ttfb_ms", record.ttfb.map(millis));
    for (name, time) in record.steps.named() {
        line.step(name, time);
    }
    line.number("input_tokens", record.usage.input_tokens);
    line.number("output_tokens", record.usage.output_tokens);
    line.word("usage_source", record.provider.as_ref().map(|_| record.usage_source.as_str()));
    line.word("end", Some(record.end.as_str()));
    line.word("error", record.error_code);
    line.number("attempts", Some(record.attempts.into()));
    line.words("tried", tried(record));
    line.word("sticky", sticky(record));
    line.number("bytes_in", Some(record.bytes_in));
    line.number("bytes_out", Some(record.bytes_out));
    line.end();
}

/// Returns the attempts where there was more than one.
fn tried(record: &RequestRecord) -> impl Iterator<Item = &Attempt> {
    record.tried.iter().filter(|_| record.tried.len() > 1)
}

fn sticky(record: &RequestRecord) -> Option<&'static str> {
    record.sticky_hit.map(|is_hit| if is_hit { "hit" } else { "miss" })
}

/// A line that is one JSON object; a field that is not known is absent.
struct JsonLine<'b>(&'b mut Vec<u8>);

impl<'b> JsonLine<'b> {
    fn begin(batch: &'b mut Vec<u8>) -> Self {
        batch.push(b'{');
        Self(batch)
    }

    fn name(&mut self, name: &str, suffix: &str) {
        if self.0.last().is_some_and(|last| *last != b'{') {
            self.0.push(b',');
        }
        for piece in ["\"", name, suffix, "\":"] {
            self.0.extend_from_slice(piece.as_bytes());
        }
    }

    /// Writes a list of words of ours; an empty one is absent.
    fn words(&mut self, name: &str, words: impl Iterator<Item = impl ToString>) {
        let mut is_empty = true;
        for word in words {
            if is_empty {
                self.name(name, "");
            }
            self.0.extend_from_slice(if is_empty { b"[\"" } else { b",\"" });
            self.0.extend_from_slice(word.to_string().as_bytes());
            self.0.push(b'"');
            is_empty = false;
        }
        if !is_empty {
            self.0.push(b']');
        }
    }

    /// Writes a word of ours, in which nothing is to be escaped.
    fn word(&mut self, name: &str, word: Option<&str>) {
        let Some(word) = word else { return };
        self.name(name, "");
        for piece in ["\"", word, "\""] {
            self.0.extend_from_slice(piece.as_bytes());
        }
    }

    /// Writes a text that may hold anything, cut.
    fn text(&mut self, name: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        self.name(name, "");
        // Strings always serialize, and a `Vec` takes every byte.
        let _ = serde_json::to_writer(&mut *self.0, &cut(text));
    }

    fn number(&mut self, name: &str, number: Option<u64>) {
        let Some(number) = number else { return };
        self.name(name, "");
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes the time of a step in milliseconds with three decimals: most steps take far less than
    /// one, and no further digit says anything.
    fn step(&mut self, name: &str, time: Option<Duration>) {
        let Some(time) = time else { return };
        self.name(name, "_ms");
        let micros = u64::try_from((time.as_nanos() + 500) / 1000).unwrap_or(u64::MAX);
        let mut digits = itoa::Buffer::new();
        self.0.extend_from_slice(digits.format(micros / 1000).as_bytes());
        // A leading one keeps the zeros behind the point.
        let decimals = digits.format(1000 + micros % 1000).as_bytes();
        self.0.push(b'.');
        self.0.extend_from_slice(decimals.get(1..).unwrap_or_default());
    }

    fn end(self) {
        self.0.extend_from_slice(b"}\n");
    }
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
    if text.len() <= MAX_FOREIGN_TEXT {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(MAX_FOREIGN_TEXT) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Cuts a text that is not ours and escapes it, so that it can neither fake a field or a line nor
/// move a cursor.
fn escaped(text: &str) -> Cow<'_, str> {
    let text = cut(text);
    let is_plain = |c: char| c.is_ascii_graphic() || c == '…';
    if text.chars().all(is_plain) {
        return text;
    }
    let mut escaped = String::new();
    for c in text.chars() {
        if is_plain(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_unicode());
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests;
