//! One line for each finished request: which ones are wanted, and what they say.

use std::borrow::Cow;
use std::time::Duration;

use gate_config::LogFormat;
use gate_server::{Attempt, RecordSink, RequestRecord, StepTimes};
use http::Method;
use jiff::Timestamp;
use jiff::tz::Offset;
use log::{Level, LevelFilter};

use crate::log_writer::LogWriter;
use crate::logging::level_name;

/// The longest text of a client or a provider that a line repeats, in characters.
const MAX_FOREIGN_TEXT: usize = 200;

/// Bytes that nearly every line fits in.
const USUAL_LINE: usize = 1024;

/// The sink that hands finished requests to the log.
pub(crate) struct AccessLog {
    level: LevelFilter,
    format: LogFormat,
    log: LogWriter,
}

impl AccessLog {
    /// Wants lines of at least this severity.
    pub(crate) fn new(level: LevelFilter, format: LogFormat, log: LogWriter) -> Self {
        Self { level, format, log }
    }
}

impl RecordSink for AccessLog {
    fn record(&self, record: &RequestRecord) {
        if level(record) <= self.level {
            let mut line = Vec::with_capacity(USUAL_LINE);
            write(&mut line, self.format, record);
            self.log.push(&line);
        }
    }
}

/// Appends the line of a request.
fn write(out: &mut Vec<u8>, format: LogFormat, record: &RequestRecord) {
    match format {
        LogFormat::Text => write_text(out, record),
        LogFormat::Json => write_json(out, record),
    }
}

/// The level of a line: what the gateway or a provider got wrong stands out.
fn level(record: &RequestRecord) -> Level {
    match record.status {
        Some(500..) => Level::Warn,
        _ => Level::Info,
    }
}

fn write_text(out: &mut Vec<u8>, record: &RequestRecord) {
    write_timestamp(out, finished_at(record));
    let mut line = TextLine(out);
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
    out.push(b'\n');
}

/// Words behind the time of a line, with a space before each; `fmt` would take most of the time that a line takes.
struct TextLine<'b>(&'b mut Vec<u8>);

impl TextLine<'_> {
    fn word(&mut self, word: &str) {
        self.text("", Some(word));
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.0.push(b' ');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value.as_bytes());
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        let mut digits = itoa::Buffer::new();
        self.text(name, value.map(|value| digits.format(value)));
    }
}

/// What stands before the value of a member that is not the first.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// The same before a string, with its first quote.
macro_rules! text_key {
    ($name:literal) => {
        concat!(",\"", $name, "\":\"").as_bytes()
    };
}

fn write_json(out: &mut Vec<u8>, record: &RequestRecord) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_timestamp(out, finished_at(record));
    out.push(b'"');
    let mut line = JsonLine(out);
    line.word(text_key!("level"), Some(level_name(level(record))));
    line.word(text_key!("message"), Some("request"));
    line.word(text_key!("request_id"), Some(&record.request_id));
    line.text(text_key!("upstream_request_id"), record.upstream_request_id.as_deref());
    line.text(text_key!("method"), record.method.as_ref().map(Method::as_str));
    line.text(text_key!("path"), record.path.as_deref());
    line.text(text_key!("provider"), record.provider.as_deref());
    line.text(text_key!("model"), record.model.as_deref());
    line.number(key!("status"), record.status.map(u64::from));
    line.number(key!("duration_ms"), Some(millis(record.duration)));
    line.number(key!("ttfb_ms"), record.ttfb.map(millis));
    let StepTimes { auth, receive, route, queue, connect, tls, upstream, gateway } = record.steps;
    line.step(key!("auth_ms"), auth);
    line.step(key!("receive_ms"), receive);
    line.step(key!("route_ms"), route);
    line.step(key!("queue_ms"), queue);
    line.step(key!("connect_ms"), connect);
    line.step(key!("tls_ms"), tls);
    line.step(key!("upstream_ms"), upstream);
    line.step(key!("gateway_ms"), gateway);
    line.number(key!("input_tokens"), record.usage.input_tokens);
    line.number(key!("output_tokens"), record.usage.output_tokens);
    line.word(text_key!("usage_source"), record.provider.as_ref().map(|_| record.usage_source.as_str()));
    line.word(text_key!("end"), Some(record.end.as_str()));
    line.word(text_key!("error"), record.error_code);
    line.number(key!("attempts"), Some(record.attempts.into()));
    line.words(key!("tried"), tried(record));
    line.word(text_key!("sticky"), sticky(record));
    line.number(key!("bytes_in"), Some(record.bytes_in));
    line.number(key!("bytes_out"), Some(record.bytes_out));
    out.extend_from_slice(b"}\n");
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

impl JsonLine<'_> {
    /// Writes a list of words of ours; an empty one is absent.
    fn words(&mut self, key: &[u8], words: impl Iterator<Item = impl ToString>) {
        let mut is_empty = true;
        for word in words {
            if is_empty {
                self.0.extend_from_slice(key);
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
    #[inline]
    fn word(&mut self, key: &[u8], word: Option<&str>) {
        let Some(word) = word else { return };
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(word.as_bytes());
        self.0.push(b'"');
    }

    /// Writes a text that may hold anything, cut.
    fn text(&mut self, key: &[u8], text: Option<&str>) {
        let Some(text) = text else { return };
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        // Without a branch for each byte, for the compiler to make vectors of.
        let is_all_plain = |text: &[u8]| text.iter().fold(true, |all, byte| all & is_plain(byte));
        if text.len() <= MAX_FOREIGN_TEXT && is_all_plain(text.as_bytes()) {
            return self.word(key, Some(text));
        }
        // The quote comes with what is written here.
        self.0.extend_from_slice(key.strip_suffix(b"\"").unwrap_or(key));
        // Strings always serialize, and a `Vec` takes every byte.
        let _ = serde_json::to_writer(&mut *self.0, &cut(text));
    }

    #[inline]
    fn number(&mut self, key: &[u8], number: Option<u64>) {
        let Some(number) = number else { return };
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes the time of a step in milliseconds with three decimals: most steps take far less than
    /// one, and no further digit says anything.
    fn step(&mut self, key: &[u8], time: Option<Duration>) {
        let Some(time) = time else { return };
        let micros = u64::from((time.subsec_nanos() + 500) / 1000);
        let micros = time.as_secs().saturating_mul(1_000_000).saturating_add(micros);
        self.0.extend_from_slice(key);
        if micros >= 10_000 {
            self.0.extend_from_slice(itoa::Buffer::new().format(micros / 10_000).as_bytes());
        }
        let [ones, tenths, hundredths, thousandths] =
            digits(u16::try_from(micros % 10_000).unwrap_or_default());
        self.0.extend_from_slice(&[ones, b'.', tenths, hundredths, thousandths]);
    }
}

/// Writes a time as every line has it, without what `fmt` takes for it.
fn write_timestamp(out: &mut Vec<u8>, at: Timestamp) {
    let at = Offset::UTC.to_datetime(at);
    out.extend_from_slice(&digits::<4>(at.year().unsigned_abs()));
    let parts =
        [(b'-', at.month()), (b'-', at.day()), (b'T', at.hour()), (b':', at.minute()), (b':', at.second())];
    for (mark, number) in parts {
        let [tens, ones] = digits(number.unsigned_abs().into());
        out.extend_from_slice(&[mark, tens, ones]);
    }
    let [hundreds, tens, ones] = digits(at.millisecond().unsigned_abs());
    out.extend_from_slice(&[b'.', hundreds, tens, ones, b'Z']);
}

/// Returns the last digits of a number, with zeros before them.
fn digits<const N: usize>(mut number: u16) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    digits
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
