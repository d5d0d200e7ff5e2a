//! Tells, event by event, whether a stream has begun to say something, or has failed before. It reads
//! the few events before the first content in whole, which are small and bounded by whoever calls.

use serde::Deserialize;
use serde_json::Value;

use crate::error::StreamDialect;

/// What has been seen of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nothing but events that every stream begins with.
    Nothing,
    /// Content, or anything that is not known to be none.
    Content,
    /// An error event; with the status that it stands for.
    Error(u16),
}

/// The state of one stream.
#[derive(Debug)]
pub(super) struct Beginning {
    dialect: StreamDialect,
    line: Vec<u8>,
    /// The name of the event that is being read.
    event: Vec<u8>,
    data: Vec<u8>,
    is_behind_cr: bool,
    is_first_line: bool,
}

impl Beginning {
    pub(super) fn new(dialect: StreamDialect) -> Self {
        Self {
            dialect,
            line: Vec::new(),
            event: Vec::new(),
            data: Vec::new(),
            is_behind_cr: false,
            is_first_line: true,
        }
    }

    /// Reads the next bytes. After anything but [`Sight::Nothing`] there is no more to be read.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Sight {
        for &byte in bytes {
            let is_half_of_crlf = std::mem::replace(&mut self.is_behind_cr, byte == b'\r') && byte == b'\n';
            match byte {
                _ if is_half_of_crlf => {}
                b'\r' | b'\n' => match self.end_line() {
                    Sight::Nothing => {}
                    sight => return sight,
                },
                _ => self.line.push(byte),
            }
        }
        Sight::Nothing
    }

    fn end_line(&mut self) -> Sight {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.is_first_line) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.event = value.to_vec(),
            b"data" => {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            _ => {}
        }
        Sight::Nothing
    }

    fn end_event(&mut self) -> Sight {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return Sight::Nothing;
        }
        let Ok(Event { kind, code, error, response, choices }) = serde_json::from_slice(&data) else {
            return Sight::Content;
        };
        let name = std::str::from_utf8(&event).ok().filter(|name| !name.is_empty());
        let name = name.or(kind.as_deref()).unwrap_or_default();
        let failed = response.and_then(|response| response.error).filter(|_| name == "response.failed");
        if let Some(error) = error.or(failed).filter(|error| !error.is_null()) {
            return Sight::Error(status_of(&error));
        }
        let is_nothing = match self.dialect {
            StreamDialect::Messages => matches!(name, "message_start" | "ping" | "content_block_start"),
            StreamDialect::Responses => matches!(
                name,
                "response.created"
                    | "response.queued"
                    | "response.in_progress"
                    | "response.output_item.added"
                    | "response.content_part.added"
            ),
            StreamDialect::Chat => choices.is_some_and(|choices| choices.iter().all(Choice::is_nothing)),
        };
        match name {
            // OpenAI's has what an error object has at its top.
            "error" | "response.failed" => Sight::Error(status_of(&serde_json::json!({ "code": code }))),
            _ if is_nothing => Sight::Nothing,
            _ => Sight::Content,
        }
    }
}

/// What of an event's data tells.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<Value>,
    error: Option<Value>,
    response: Option<Response>,
    choices: Option<Vec<Choice>>,
}

#[derive(Deserialize)]
struct Response {
    error: Option<Value>,
}

/// A choice of a chat completion, or of a text completion.
#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: serde_json::Map<String, Value>,
    text: Option<Value>,
    finish_reason: Option<Value>,
}

impl Choice {
    /// Tells whether there is nothing in it but whose turn it is.
    fn is_nothing(&self) -> bool {
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        let is_delta_empty = self.delta.iter().all(|(name, value)| name == "role" || is_empty(value));
        is_delta_empty
            && self.text.as_ref().is_none_or(is_empty)
            && self.finish_reason.as_ref().is_none_or(Value::is_null)
    }
}

/// Returns the status that an error in a stream stands for. The vendors' words for what the client did
/// wrong would be the same elsewhere; everything else is a provider that failed before it said anything.
fn status_of(error: &Value) -> u16 {
    let code = error.get("code");
    let number = code.and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()));
    if let Some(status) =
        number.and_then(|number| u16::try_from(number).ok()).filter(|s| (400..600).contains(s))
    {
        return status;
    }
    let words = [error.get("type"), code].into_iter().flatten().filter_map(Value::as_str);
    let known = |word: &str| {
        Some(match word {
            "invalid_request_error" | "invalid_prompt" | "context_length_exceeded" => 400,
            "authentication_error" | "invalid_api_key" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" | "model_not_found" => 404,
            "request_too_large" => 413,
            "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "tokens" | "requests" => 429,
            "overloaded_error" => 529,
            _ => return None,
        })
    };
    words.filter_map(known).next().unwrap_or(502)
}

#[cfg(test)]
mod tests;
