//! Reading a request: which operation, which model, stream or not. It does not answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::Value;

use super::refusal::{Dialect, Refusal};

/// What a path asks for. A `&str` is the id of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Messages,
    CountTokens,
    ListOpenAiModels,
    ListAnthropicModels,
    OpenAiModel(&'a str),
    AnthropicModel(&'a str),
    Unknown,
}

impl<'a> Operation<'a> {
    pub(super) fn parse(path: &'a str, is_anthropic: bool) -> Self {
        match path.strip_prefix("/v1/") {
            Some("chat/completions") => Self::Chat,
            Some("completions") => Self::Completions,
            Some("responses") => Self::Responses,
            Some("embeddings") => Self::Embeddings,
            Some("messages") => Self::Messages,
            Some("messages/count_tokens") => Self::CountTokens,
            Some("models") if is_anthropic => Self::ListAnthropicModels,
            Some("models") => Self::ListOpenAiModels,
            Some(other) => match other.strip_prefix("models/") {
                Some(id) if is_anthropic => Self::AnthropicModel(id),
                Some(id) => Self::OpenAiModel(id),
                None => Self::Unknown,
            },
            None => Self::Unknown,
        }
    }

    /// The dialect of the answer; where the path does not tell, the `anthropic-version` header does.
    pub(super) fn dialect(self, is_anthropic: bool) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens | Self::ListAnthropicModels | Self::AnthropicModel(_) => {
                Dialect::Anthropic
            }
            Self::Unknown if is_anthropic => Dialect::Anthropic,
            _ => Dialect::OpenAi,
        }
    }

    pub(super) fn method(self) -> Method {
        match self {
            Self::ListOpenAiModels
            | Self::ListAnthropicModels
            | Self::OpenAiModel(_)
            | Self::AnthropicModel(_) => Method::GET,
            _ => Method::POST,
        }
    }
}

/// A request to a model, as far as all operations share it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) body: Value,
    pub(super) model: String,
    /// The number of this request, from 1: the ids are made of it.
    pub(super) serial: u64,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// The pause before each word of a stream.
    pub(super) word_delay: Duration,
}

impl Ask {
    pub(super) fn parse(body: &[u8], serial: u64, word_delay: Duration) -> Result<Self, Refusal> {
        let body = serde_json::from_slice(body)
            .map_err(|error| Refusal::invalid(format!("the body is not valid JSON: {error}")))?;
        Self::of(body, serial, word_delay)
    }

    pub(super) fn of(body: Value, serial: u64, word_delay: Duration) -> Result<Self, Refusal> {
        let model = match body.get("model") {
            Some(Value::String(model)) if !model.is_empty() => model.clone(),
            Some(_) => return Err(Refusal::parameter("model", "must be a non-empty string")),
            None => return Err(Refusal::parameter("model", "is required")),
        };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        Ok(Self { body, model, serial, created, word_delay })
    }

    pub(super) fn streams(&self) -> bool {
        self.body.get("stream").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Returns the array of this name, which must be there and not be empty.
    pub(super) fn list(&self, name: &'static str) -> Result<&[Value], Refusal> {
        match self.body.get(name) {
            Some(Value::Array(items)) if !items.is_empty() => Ok(items),
            Some(_) => Err(Refusal::parameter(name, "must be a non-empty array")),
            None => Err(Refusal::parameter(name, "is required")),
        }
    }

    /// Returns the count of this name, a positive integer; `None` where it is absent or null.
    pub(super) fn count(&self, name: &'static str) -> Result<Option<usize>, Refusal> {
        match self.body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
                Some(count) if count > 0 => Ok(Some(count)),
                _ => Err(Refusal::parameter(name, "must be a positive integer")),
            },
        }
    }

    /// Makes an id such as `msg_demo00000001`.
    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}demo{:08}", self.serial)
    }
}
