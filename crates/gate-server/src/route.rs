//! What a method and a path mean. Pure: it looks at nothing but its arguments.

use std::borrow::Cow;

use gate_model_ref::ProviderKind;
use http::Method;

use crate::error::{ApiError, ErrorCode};

mod path;

use path::{contains_ignore_case, unsafe_path};

/// The meaning of a request's method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'p> {
    /// The gateway answers by itself.
    Own(Own<'p>),
    /// A provider answers.
    Forward(Forward<'p>),
}

/// An endpoint of the gateway's own; all of them answer GET and HEAD only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own<'p> {
    /// `/` and `/api/hello`: clients look whether somebody is there.
    Probe,
    /// `/health`
    Health,
    /// `/ready`
    Ready,
    /// `/health/providers`
    ProviderHealth,
    /// `…/v1/models`
    Models(Pin<'p>),
    /// `…/v1/models/{id}`; the id is still percent-encoded.
    Model(Pin<'p>, &'p str),
    /// `/v1/providers`
    Providers,
}

/// What the path says about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin<'p> {
    /// Nothing: `/v1/…`
    None,
    /// The kind: `/openai/v1/…`
    Kind(ProviderKind),
    /// The provider: `/openai/azure/v1/…` names `azure` below the kind, segments joined by `/`.
    Provider(ProviderKind, &'p str),
}

/// A request for a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forward<'p> {
    /// What the path pins.
    pub(crate) pin: Pin<'p>,
    /// The kind whose API this is.
    pub(crate) kind: ProviderKind,
    /// The path below `/v1`, with its leading slash, exactly as it came.
    pub(crate) tail: &'p str,
    /// The operation.
    pub(crate) operation: Operation,
}

impl<'p> Forward<'p> {
    /// Reads the path of an operation that needs a model, written as vendors do: nearly all requests have one,
    /// and nothing of what is looked for in other paths can be in it.
    fn of_operation(method: &Method, path: &'p str) -> Option<Self> {
        let tail = path.strip_prefix("/v1").filter(|_| *method == Method::POST)?;
        let operation = Operation::of_tail(tail)?;
        Some(Self { pin: Pin::None, kind: kind_of(tail, false), tail, operation })
    }

    /// Tells whether the path says by itself whose API it is.
    pub(crate) fn is_of_one_kind(&self) -> bool {
        self.pin != Pin::None || kind_of(self.tail, true) == kind_of(self.tail, false)
    }

    /// Tells whether the path administers the account that the key belongs to. Escapes are read, as
    /// a provider would, and what follows the word in its segment is not: some servers take
    /// `organization;x` and a word with blanks behind it for the word.
    pub(crate) fn is_admin(&self) -> bool {
        // Where a model is needed, the path is known to the letter.
        if self.operation.needs_model() {
            return false;
        }
        let first = self.tail.split('/').nth(1).unwrap_or_default();
        let first =
            if first.contains('%') { Cow::Owned(decoded(first)) } else { Cow::Borrowed(first.as_bytes()) };
        let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let word = first.split(|byte| !is_of_word(byte)).find(|word| !word.is_empty()).unwrap_or_default();
        ["organization", "organizations", "projects"]
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Tells whether the query may name the model, as it does for calls over WebRTC whose body is the
    /// offer alone.
    pub(crate) fn has_model_in_query(&self) -> bool {
        matches!(self.tail, "/realtime" | "/realtime/calls")
    }

    /// Tells whether the vendor's API answers a WebSocket upgrade on this path.
    pub(crate) fn can_upgrade(&self) -> bool {
        WEBSOCKET_TAILS.contains(&self.tail)
    }
}

/// An operation of the vendors' APIs, as far as the gateway treats it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `/chat/completions`
    ChatCompletions,
    /// `/completions`
    Completions,
    /// `/responses`
    Responses,
    /// `/embeddings`
    Embeddings,
    /// `/messages`
    Messages,
    /// `/messages/count_tokens`
    CountTokens,
    /// `/messages/batches`, whose JSON body holds many requests.
    MessageBatch,
    /// Any other POST whose JSON body may name a model.
    OtherJson,
    /// A POST whose form or JSON body may name a model.
    Form,
    /// `/realtime/calls`, whose query or session may name a model.
    Call,
    /// Everything else: no model is looked for.
    Opaque,
}

impl Operation {
    /// Finds the operation that needs a model by its path below `/v1`.
    fn of_tail(tail: &str) -> Option<Self> {
        Some(match tail {
            "/chat/completions" => Self::ChatCompletions,
            "/completions" => Self::Completions,
            "/responses" => Self::Responses,
            "/embeddings" => Self::Embeddings,
            "/messages" => Self::Messages,
            "/messages/count_tokens" => Self::CountTokens,
            _ => return None,
        })
    }

    /// Tells whether the body must be JSON.
    pub(crate) const fn reads_json(self) -> bool {
        !matches!(self, Self::Opaque | Self::Call)
    }

    /// Tells whether a request without a model is an error (or takes the default).
    pub(crate) const fn needs_model(self) -> bool {
        !matches!(self, Self::MessageBatch | Self::OtherJson | Self::Form | Self::Call | Self::Opaque)
    }
}

/// Where the vendors' APIs take a WebSocket, below `/v1`.
pub(crate) const WEBSOCKET_TAILS: [&str; 4] =
    ["/responses", "/realtime", "/realtime/translations", "/live/sessions"];

/// Methods that the vendors' APIs use. Any other is refused before it reaches a provider.
pub(crate) const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

impl<'p> Route<'p> {
    /// Reads a method and a path; `has_anthropic_version` decides on paths that both vendors have.
    ///
    /// # Errors
    /// 400 for a path that could be read in two ways, 404 for one that nothing answers, 405 for a
    /// method that its path does not know.
    pub(crate) fn parse(
        method: &Method,
        path: &'p str,
        has_anthropic_version: bool,
    ) -> Result<Self, ApiError> {
        if let Some(forward) = Forward::of_operation(method, path) {
            return Ok(Self::Forward(forward));
        }
        path::check(path)?;
        let own = match path {
            "/" | "/api/hello" => Some(Own::Probe),
            "/health" => Some(Own::Health),
            "/ready" => Some(Own::Ready),
            "/health/providers" => Some(Own::ProviderHealth),
            _ => None,
        };
        if let Some(own) = own {
            return own.for_method(method);
        }
        let (pin, tail) = split_pin(path).ok_or_else(|| unknown_path(path))?;
        match tail {
            "/models" => return Own::Models(pin).for_method(method),
            "/providers" if pin == Pin::None => return Own::Providers.for_method(method),
            _ => {}
        }
        if let Some(id) = tail.strip_prefix("/models/")
            && is_read(method)
        {
            return Ok(Self::Own(Own::Model(pin, id)));
        }
        // An id of a model may hold an encoded slash; nowhere else is one safe to pass on.
        if !tail.starts_with("/models/") && contains_ignore_case(tail, "%2f") {
            return Err(unsafe_path("an encoded slash"));
        }
        if tail == "/" || tail.is_empty() {
            return Err(unknown_path(path));
        }
        let kind = match pin {
            Pin::None => kind_of(tail, has_anthropic_version),
            Pin::Kind(kind) | Pin::Provider(kind, _) => kind,
        };
        if let Some(meant) = nearly_an_operation(tail) {
            let message =
                format!("no such path: did you mean `/v1{meant}`? Paths are told apart to the letter");
            return Err(ApiError::new(ErrorCode::NotFound, message));
        }
        let operation = operation_of(method, tail)?;
        Ok(Self::Forward(Forward { pin, kind, tail, operation }))
    }
}

impl<'p> Own<'p> {
    fn for_method(self, method: &Method) -> Result<Route<'p>, ApiError> {
        if is_read(method) { Ok(Route::Own(self)) } else { Err(ApiError::method_not_allowed("GET, HEAD")) }
    }
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Splits a path into what it pins and the part below `/v1`, with its leading slash.
fn split_pin(path: &str) -> Option<(Pin<'_>, &str)> {
    if let Some(tail) = below_v1(path) {
        return Some((Pin::None, tail));
    }
    let (first, after) = path.strip_prefix('/')?.split_once('/')?;
    let kind = ProviderKind::from_segment(first)?;
    let after_with_slash = path.get(1 + first.len()..)?;
    if after == "models" {
        return Some((Pin::Kind(kind), after_with_slash));
    }
    if let Some(tail) = below_v1(after_with_slash) {
        return Some((Pin::Kind(kind), tail));
    }
    // The first `/v1` ends the provider's path; a segment is never empty (`//` was refused).
    let at = after_with_slash
        .match_indices("/v1")
        .map(|(at, _)| at)
        .find(|at| matches!(after_with_slash.as_bytes().get(at + 3), None | Some(b'/')))?;
    let tail = below_v1(after_with_slash.get(at..)?)?;
    Some((Pin::Provider(kind, after_with_slash.get(1..at)?), tail))
}

/// Returns what follows one or more leading `/v1`: some clients send the prefix twice.
fn below_v1(path: &str) -> Option<&str> {
    let mut tail = path;
    while let Some(rest) = tail.strip_prefix("/v1").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        tail = rest;
    }
    (tail.len() < path.len()).then_some(tail)
}

/// Returns the kind whose API has the path.
fn kind_of(tail: &str, has_anthropic_version: bool) -> ProviderKind {
    let first = tail.strip_prefix('/').unwrap_or(tail);
    let end = first.bytes().position(|byte| byte == b'/').unwrap_or(first.len());
    match first.get(..end).unwrap_or_default() {
        "messages" | "complete" => ProviderKind::Anthropic,
        "chat" | "completions" | "responses" | "embeddings" | "moderations" | "images" | "audio"
        | "realtime" => ProviderKind::OpenAi,
        _ if has_anthropic_version => ProviderKind::Anthropic,
        _ => ProviderKind::OpenAi,
    }
}

/// Returns the operation that a path is but for a trailing slash or the case of letters. A provider
/// may take it for the operation, and its model must not go unseen.
fn nearly_an_operation(tail: &str) -> Option<String> {
    if !tail.ends_with('/') && !tail.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let plain = tail.trim_end_matches('/').to_ascii_lowercase();
    (plain != tail && operation_of(&Method::POST, &plain).is_ok_and(Operation::reads_json)).then_some(plain)
}

fn operation_of(method: &Method, tail: &str) -> Result<Operation, ApiError> {
    if let Some(operation) = Operation::of_tail(tail).filter(|_| *method == Method::POST) {
        return Ok(operation);
    }
    let post_only = matches!(
        tail,
        "/completions"
            | "/embeddings"
            | "/messages"
            | "/messages/count_tokens"
            | "/complete"
            | "/moderations"
    );
    match *method {
        Method::POST => Ok(match tail {
            "/messages/batches" => Operation::MessageBatch,
            "/complete"
            | "/moderations"
            | "/decisions"
            | "/batches"
            | "/responses/compact"
            | "/responses/input_tokens"
            | "/images/generations"
            | "/audio/speech"
            | "/fine_tuning/jobs"
            | "/assistants"
            | "/threads/runs"
            | "/realtime/sessions" => Operation::OtherJson,
            "/videos" => Operation::Form,
            "/realtime/calls" => Operation::Call,
            _ if tail.starts_with("/images/") || tail.starts_with("/audio/") => Operation::Form,
            _ if names_model_below_id(tail) => Operation::OtherJson,
            _ => Operation::Opaque,
        }),
        _ if post_only => Err(ApiError::method_not_allowed("POST")),
        Method::GET | Method::HEAD | Method::PUT | Method::PATCH | Method::DELETE => Ok(Operation::Opaque),
        _ => Err(ApiError::method_not_allowed(FORWARDED_METHODS)),
    }
}

/// Returns a segment with its percent escapes resolved.
fn decoded(segment: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Tells whether a path with an id in it takes JSON that may name a model.
fn names_model_below_id(tail: &str) -> bool {
    let mut segments = tail.split('/').skip(1);
    let parts = [segments.next(), segments.next(), segments.next(), segments.next(), segments.next()];
    matches!(
        parts,
        [Some("assistants"), Some(_), None, ..]
            | [Some("threads"), Some(_), Some("runs"), None, ..]
            | [Some("realtime"), Some("calls"), Some(_), Some("accept"), None]
    )
}

/// Explains an unknown path by what its sender most likely meant.
fn unknown_path(path: &str) -> ApiError {
    const OPERATIONS: [&str; 5] =
        ["/chat/completions", "/completions", "/responses", "/embeddings", "/messages"];
    let operation = OPERATIONS.into_iter().find(|operation| path.ends_with(operation));
    let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let message = match (operation, ProviderKind::from_segment(first)) {
        (Some(operation), Some(kind)) if path.len() > 1 + first.len() + operation.len() => format!(
            "no such path: the model does not belong into the URL. Send POST /{kind}/v1{operation} and name it \
             in the body as `model`"
        ),
        (Some(operation), _) => {
            format!("no such path: the base URL must end in `/v1`. Send POST /v1{operation}")
        }
        (None, _) => {
            "no such path: the vendors' APIs are below `/v1`, so the base URL of an OpenAI client must \
                      end in `/v1` (an Anthropic client adds it by itself)"
                .to_owned()
        }
    };
    ApiError::new(ErrorCode::NotFound, message)
}

#[cfg(test)]
mod tests;
