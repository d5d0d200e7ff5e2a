//! The demo's errors in both dialects, and the model names that ask for them.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::json_response;
use crate::body::ScriptBody;

/// Whose shapes an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
}

/// A fault that a model name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Status(u16),
    Slow,
    Cut,
}

impl Fault {
    pub(super) fn of(model: &str) -> Option<Self> {
        match model {
            "error-400" => Some(Self::Status(400)),
            "error-401" => Some(Self::Status(401)),
            "error-429" => Some(Self::Status(429)),
            "error-500" => Some(Self::Status(500)),
            "error-529" => Some(Self::Status(529)),
            "slow" => Some(Self::Slow),
            "cut" => Some(Self::Cut),
            _ => None,
        }
    }
}

/// An answer that is an error: status, the parameter at fault if one is, and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    parameter: Option<&'static str>,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: String) -> Self {
        Self { status, parameter: None, message }
    }

    pub(super) fn invalid(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unknown_model(id: &str) -> Self {
        let message = format!("the model `{id}` does not exist");
        Self { parameter: Some("model"), ..Self::new(StatusCode::NOT_FOUND, message) }
    }

    /// A 400 about one parameter; `problem` continues a sentence that starts with its name.
    pub(super) fn parameter(name: &'static str, problem: &str) -> Self {
        Self { parameter: Some(name), ..Self::invalid(format!("{name}: {problem}")) }
    }

    /// The error that a model name such as `error-429` asks for.
    pub(super) fn on_demand(status: u16) -> Self {
        // Every status of `Fault::of` is a valid one; the fallback only spares a panic.
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, format!("the model `error-{}` always answers this", status.as_u16()))
    }

    /// Returns the status and OpenAI's error object.
    pub(super) fn openai_error(&self) -> (u16, Value) {
        let status = self.status.as_u16();
        let (kind, code) = openai_kind(status, self.parameter);
        let error = json!({ "message": self.message, "type": kind, "param": self.parameter, "code": code });
        (status, error)
    }

    pub(super) fn into_response(self, dialect: Dialect, serial: u64) -> Response<ScriptBody> {
        let status = self.status.as_u16();
        let body = match dialect {
            Dialect::OpenAi => json!({ "error": self.openai_error().1 }),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": { "type": anthropic_kind(status), "message": self.message },
                "request_id": request_id(serial),
            }),
        };
        let mut response = json_response(&body);
        *response.status_mut() = self.status;
        if status == 429 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Makes the id that both vendors send with each answer.
pub(super) fn request_id(serial: u64) -> String {
    format!("req_demo{serial:08}")
}

/// Returns OpenAI's `type` and `code` for a status; an unknown URL and an unknown model are both 404.
fn openai_kind(status: u16, parameter: Option<&str>) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 if parameter.is_some() => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}

/// Returns Anthropic's `type` for a status.
fn anthropic_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
