//! Errors made by the gateway: a closed list of codes, and their answer in the caller's dialect.
//! An upstream's own error is a response and never becomes one of these.

use std::borrow::Cow;

use bytes::Bytes;
use gate_model_ref::ProviderKind;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::body::GateBody;
use crate::request_id::RequestId;

/// The code of a gateway error, as `x-gateway-error` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// The body is not JSON, or not a JSON object.
    InvalidJson,
    /// A member that decides the routing stands in the body twice.
    DuplicateKey,
    /// Two credentials that differ.
    AmbiguousCredentials,
    /// The model's name does not fit the grammar.
    InvalidModelName,
    /// No model is named and none is the default.
    MissingModel,
    /// Several providers have the model.
    AmbiguousModel,
    /// The model belongs to the other kind's endpoint.
    ModelKindMismatch,
    /// Any other fault of the request.
    BadRequest,
    /// The sender may not do this.
    PermissionDenied,
    /// Nothing has the model.
    ModelNotFound,
    /// No such path.
    NotFound,
    /// The path does not know the method.
    MethodNotAllowed,
    /// The request took too long to arrive.
    RequestTimeout,
    /// The body is larger than the limit.
    RequestTooLarge,
    /// The target is longer than the limit.
    UriTooLong,
    /// The body is not of a type that the route reads.
    UnsupportedMediaType,
    /// An expectation other than `100-continue`.
    ExpectationFailed,
    /// The `Host` is not one that this gateway answers for.
    MisdirectedRequest,
    /// The route would need a protocol that the gateway does not speak.
    UpgradeRequired,
    /// The head is larger than the limit.
    HeadersTooLarge,
    /// A transfer coding that the gateway does not know.
    NotImplemented,
    /// The request has passed this gateway before.
    LoopDetected,
    /// A bug of the gateway, caught.
    InternalError,
    /// The provider lacks a setting that the request needs.
    ProviderNotConfigured,
    /// No connection to the provider.
    UpstreamConnectFailed,
    /// The provider closed the connection without an answer.
    UpstreamClosed,
    /// The provider's answer breaks the protocol.
    UpstreamProtocol,
    /// No trustworthy TLS connection to the provider.
    UpstreamTls,
    /// The provider refused the gateway's own key.
    UpstreamAuth,
    /// The gateway shuts down.
    ProviderUnavailable,
    /// The gateway has no room for the request.
    Overloaded,
    /// The provider took too long.
    UpstreamTimeout,
}

impl ErrorCode {
    /// Returns the code's text.
    pub(crate) const fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// Returns the status that goes with the code.
    pub(crate) const fn status(self) -> StatusCode {
        self.parts().1
    }

    const fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Self::InvalidJson => ("invalid_json", StatusCode::BAD_REQUEST),
            Self::DuplicateKey => ("duplicate_key", StatusCode::BAD_REQUEST),
            Self::AmbiguousCredentials => ("ambiguous_credentials", StatusCode::BAD_REQUEST),
            Self::InvalidModelName => ("invalid_model_name", StatusCode::BAD_REQUEST),
            Self::MissingModel => ("missing_model", StatusCode::BAD_REQUEST),
            Self::AmbiguousModel => ("ambiguous_model", StatusCode::BAD_REQUEST),
            Self::ModelKindMismatch => ("model_kind_mismatch", StatusCode::BAD_REQUEST),
            Self::BadRequest => ("bad_request", StatusCode::BAD_REQUEST),
            Self::PermissionDenied => ("permission_denied", StatusCode::FORBIDDEN),
            Self::ModelNotFound => ("model_not_found", StatusCode::NOT_FOUND),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::RequestTimeout => ("request_timeout", StatusCode::REQUEST_TIMEOUT),
            Self::RequestTooLarge => ("request_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::UriTooLong => ("uri_too_long", StatusCode::URI_TOO_LONG),
            Self::UnsupportedMediaType => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::ExpectationFailed => ("expectation_failed", StatusCode::EXPECTATION_FAILED),
            Self::MisdirectedRequest => ("misdirected_request", StatusCode::MISDIRECTED_REQUEST),
            Self::UpgradeRequired => ("upgrade_required", StatusCode::UPGRADE_REQUIRED),
            Self::HeadersTooLarge => ("headers_too_large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::NotImplemented => ("not_implemented", StatusCode::NOT_IMPLEMENTED),
            Self::LoopDetected => ("loop_detected", StatusCode::LOOP_DETECTED),
            Self::InternalError => ("internal_error", StatusCode::INTERNAL_SERVER_ERROR),
            Self::ProviderNotConfigured => ("provider_not_configured", StatusCode::INTERNAL_SERVER_ERROR),
            Self::UpstreamConnectFailed => ("upstream_connect_failed", StatusCode::BAD_GATEWAY),
            Self::UpstreamClosed => ("upstream_closed", StatusCode::BAD_GATEWAY),
            Self::UpstreamProtocol => ("upstream_protocol", StatusCode::BAD_GATEWAY),
            Self::UpstreamTls => ("upstream_tls", StatusCode::BAD_GATEWAY),
            Self::UpstreamAuth => ("upstream_auth", StatusCode::BAD_GATEWAY),
            Self::ProviderUnavailable => ("provider_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE),
            Self::UpstreamTimeout => ("upstream_timeout", StatusCode::GATEWAY_TIMEOUT),
        }
    }

    /// Tells whether the same request may succeed when it is sent again.
    pub(crate) const fn may_retry_help(self) -> bool {
        matches!(
            self,
            Self::RequestTimeout
                | Self::UpstreamConnectFailed
                | Self::UpstreamClosed
                | Self::ProviderUnavailable
                | Self::Overloaded
                | Self::UpstreamTimeout
        )
    }

    /// Returns the `type` of an OpenAI error object.
    const fn openai_type(self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.as_u16() >= 500 => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Returns the `type` of an Anthropic error object.
    const fn anthropic_type(self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            StatusCode::GATEWAY_TIMEOUT => "timeout_error",
            status if status.as_u16() >= 500 => "api_error",
            _ => "invalid_request_error",
        }
    }
}

/// An error of the gateway: what the client is told, and what the log is told besides.
#[derive(Debug)]
pub(crate) struct ApiError {
    /// What went wrong.
    pub(crate) code: ErrorCode,
    /// The client's sentence: names the thing and the fix; no host, key or upstream body.
    pub(crate) message: Cow<'static, str>,
    /// The log's sentence, where it may say more.
    pub(crate) detail: Option<String>,
    /// The methods to name in `allow`.
    pub(crate) allow: Option<&'static str>,
    /// Seconds after which a retry is worth a try.
    pub(crate) retry_after: Option<u32>,
    /// Whether the connection must not be used again.
    pub(crate) close: bool,
}

impl ApiError {
    /// Makes an error of a code and the client's sentence.
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), detail: None, allow: None, retry_after: None, close: false }
    }

    /// Adds what only the log may know.
    #[must_use]
    pub(crate) fn with_detail(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Ends the connection after this answer: what follows on it cannot be trusted.
    #[must_use]
    pub(crate) const fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Makes the 405 that names the methods which the path knows.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(ErrorCode::MethodNotAllowed, format!("this path answers {allow} only"))
        }
    }

    /// Renders the answer in the dialect of `kind`.
    pub(crate) fn render(&self, kind: ProviderKind, id: &RequestId) -> Response<GateBody> {
        let mut response = Response::new(GateBody::full(error_body(kind, self.code, &self.message, id)));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.mark(kind, id, headers);
        response
    }

    fn mark(&self, kind: ProviderKind, id: &RequestId, headers: &mut HeaderMap) {
        headers.insert(GATEWAY_ERROR, HeaderValue::from_static(self.code.as_str()));
        let id_header = match kind {
            ProviderKind::OpenAi => HeaderName::from_static("x-request-id"),
            ProviderKind::Anthropic => HeaderName::from_static("request-id"),
        };
        headers.insert(id_header, id.header_value());
        if !self.code.may_retry_help() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// The header that tells a gateway's error from an upstream's.
pub(crate) const GATEWAY_ERROR: HeaderName = HeaderName::from_static("x-gateway-error");
/// The header by which the vendors' SDKs are told whether to try again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

#[derive(Serialize)]
struct OpenAiError<'a> {
    error: OpenAiErrorBody<'a>,
}

#[derive(Serialize)]
struct OpenAiErrorBody<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    error: AnthropicErrorBody<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicErrorBody<'a> {
    r#type: &'a str,
    message: &'a str,
}

/// Returns the error object of a dialect as JSON.
fn error_body(kind: ProviderKind, code: ErrorCode, message: &str, id: &RequestId) -> Bytes {
    let json = match kind {
        ProviderKind::OpenAi => serde_json::to_vec(&OpenAiError {
            error: OpenAiErrorBody { message, r#type: code.openai_type(), param: None, code: code.as_str() },
        }),
        ProviderKind::Anthropic => serde_json::to_vec(&AnthropicError {
            r#type: "error",
            error: AnthropicErrorBody { r#type: code.anthropic_type(), message },
            request_id: id.as_str(),
        }),
    };
    // Plain strings always serialize.
    json.unwrap_or_default().into()
}

/// The shape of an error inside an event stream, which differs by API and not only by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamDialect {
    /// `data: {"error":{…}}`
    Chat,
    /// `event: error` with `type`, `code` and `message` at the top.
    Responses,
    /// `event: error` with Anthropic's error object.
    Messages,
}

#[derive(Serialize)]
struct ResponsesError<'a> {
    r#type: &'a str,
    code: &'a str,
    message: &'a str,
    param: Option<&'a str>,
}

/// Returns one event that tells a client of a stream that it ends here and is not whole.
///
/// `is_inside_event` says that the upstream broke off within an event: the new one then starts
/// behind a blank line, or a client would read both as one.
pub(crate) fn error_event(
    dialect: StreamDialect,
    code: ErrorCode,
    message: &str,
    id: &RequestId,
    is_inside_event: bool,
) -> Bytes {
    let mut event = Vec::with_capacity(256);
    if is_inside_event {
        event.extend_from_slice(b"\n\n");
    }
    let json = match dialect {
        StreamDialect::Chat => error_body(ProviderKind::OpenAi, code, message, id),
        StreamDialect::Messages => error_body(ProviderKind::Anthropic, code, message, id),
        StreamDialect::Responses => {
            serde_json::to_vec(&ResponsesError { r#type: "error", code: code.as_str(), message, param: None })
                .unwrap_or_default()
                .into()
        }
    };
    if dialect != StreamDialect::Chat {
        event.extend_from_slice(b"event: error\n");
    }
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(&json);
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[derive(Serialize)]
struct WebSocketError<'a, E> {
    r#type: &'a str,
    status: u16,
    error: E,
}

/// Returns the message that tells a client of a WebSocket of an error, as OpenAI's API does.
pub(crate) fn error_message(code: ErrorCode, message: &str) -> Bytes {
    let error = OpenAiErrorBody { message, r#type: code.openai_type(), param: None, code: code.as_str() };
    message_of(code.status(), error)
}

/// Returns the message that passes on what a provider's answer says in `error`.
pub(crate) fn passed_error_message(status: StatusCode, error: &RawValue) -> Bytes {
    message_of(status, error)
}

fn message_of(status: StatusCode, error: impl Serialize) -> Bytes {
    let message = WebSocketError { r#type: "error", status: status.as_u16(), error };
    // Plain strings, and JSON that was read, always serialize.
    serde_json::to_vec(&message).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
