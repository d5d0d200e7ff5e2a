//! Turns the errors of the crates below into the gateway's own: the one place where each becomes a
//! code, a sentence for the client and a sentence for the log.

use gate_config::{NoDeployment, NotFoundReason, ProviderIndex, ProviderTree, ResolveError, Scope};
use gate_model_ref::{ParseError, ProviderKind};
use gate_upstream::{UpstreamError, UpstreamErrorKind};
use http::StatusCode;

use crate::error::{ApiError, ErrorCode};

/// The longest piece of a client's text that a message repeats.
const MAX_SHOWN: usize = 64;

/// Returns a client's text, cut and with control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// A name that does not fit the grammar.
pub(crate) fn name(error: &ParseError) -> ApiError {
    ApiError::new(ErrorCode::InvalidModelName, format!("`model` is no valid name: {error}"))
}

/// A name that resolves to nothing.
pub(crate) fn resolve(tree: &ProviderTree, name: &str, scope: Scope, error: &ResolveError) -> ApiError {
    let name = shown(name);
    match error {
        ResolveError::KindMismatch { kind } => ApiError::new(
            ErrorCode::ModelKindMismatch,
            format!("model `{name}` belongs to an {kind} provider: send it as POST {}", endpoints_of(*kind)),
        ),
        ResolveError::Ambiguous { candidates } => ApiError::new(
            ErrorCode::AmbiguousModel,
            format!(
                "several providers have model `{name}`: use one of the full names `{}`, or let \
                 `[llm.provider] default` name one",
                candidates.join("`, `")
            ),
        ),
        ResolveError::OutsidePin { provider } => {
            let pin = match scope {
                Scope::Pinned(pin) => tree.provider(pin).id.as_str(),
                Scope::Kind(kind) => kind.as_str(),
            };
            ApiError::new(
                ErrorCode::BadRequest,
                format!(
                    "model `{name}` belongs to provider `{}`, but this path is pinned to `{pin}`: send it to /v1, or \
                     name a model of `{pin}`",
                    tree.provider(*provider).id
                ),
            )
        }
        ResolveError::NotFound { near, reason } => {
            let what = match reason {
                NotFoundReason::Closed(provider) => format!(
                    "provider `{}` has no model `{name}` and passes no other name on (`open = true` would let it)",
                    tree.provider(*provider).id
                ),
                NotFoundReason::NoDefaultModel(provider) => format!(
                    "`{name}` is the provider `{}`, which has no `model` of its own: add the model's name",
                    tree.provider(*provider).id
                ),
                NotFoundReason::RootNotConfigured(_) => format!("no provider has model `{name}`"),
            };
            let hint = match near.as_slice() {
                [] => "GET /v1/models lists every configured model".to_owned(),
                near => format!("did you mean `{}`?", near.join("`, `")),
            };
            ApiError::new(ErrorCode::ModelNotFound, format!("{what}; {hint}"))
        }
    }
}

/// A request that names no model where one is needed.
pub(crate) fn missing_model() -> ApiError {
    ApiError::new(
        ErrorCode::MissingModel,
        "the body names no `model`, and `[llm.provider] default` names none for this endpoint",
    )
}

/// A request without a model, for a kind that nothing configures.
pub(crate) fn no_root(kind: ProviderKind) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!(
            "this path names no model, and `[llm.provider.{kind}]` is not configured: pin a provider by its path, \
             as in /{kind}/<provider>/v1/…, or by the header `x-gateway-provider: {kind}.<provider>`"
        ),
    )
}

/// A pin to a provider that does not exist.
pub(crate) fn unknown_provider(id: &str) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("no provider `{}` is configured; GET /v1/providers lists them", shown(id)),
    )
}

/// A batch whose requests go to two providers.
pub(crate) fn mixed_batch(
    tree: &ProviderTree,
    one: (&str, ProviderIndex),
    other: (&str, ProviderIndex),
) -> ApiError {
    ApiError::new(
        ErrorCode::BadRequest,
        format!(
            "a batch goes to one provider as a whole: its model `{}` is of `{}`, and `{}` of `{}`; send a batch for \
             each",
            shown(one.0),
            tree.provider(one.1).id,
            shown(other.0),
            tree.provider(other.1).id
        ),
    )
}

/// A batch whose requests name objects of two providers.
pub(crate) fn mixed_objects(
    tree: &ProviderTree,
    one: (&str, ProviderIndex),
    other: (&str, ProviderIndex),
) -> ApiError {
    ApiError::new(
        ErrorCode::BadRequest,
        format!(
            "a batch goes to one provider as a whole: `{}` is of `{}`, and `{}` of `{}`, and no provider knows the \
             objects of another; send a batch for each",
            shown(one.0),
            tree.provider(one.1).id,
            shown(other.0),
            tree.provider(other.1).id
        ),
    )
}

/// A path that administers an account, where that is not allowed.
pub(crate) fn admin_path() -> ApiError {
    ApiError::new(
        ErrorCode::PermissionDenied,
        "this path administers the account that the gateway's key belongs to; `[llm] allow_admin_paths = true` lets it \
         pass",
    )
}

/// A request without a URL at a provider that has the model in its path.
pub(crate) fn no_deployment(provider: &str, reason: NoDeployment) -> ApiError {
    match reason {
        NoDeployment::NoModel => ApiError::new(
            ErrorCode::MissingModel,
            format!("provider `{provider}` has the model in its URL, so the body must name a `model`"),
        ),
        NoDeployment::DotSegment => ApiError::new(
            ErrorCode::InvalidModelName,
            format!("`model` is no valid name at provider `{provider}`, which has it in its URL"),
        ),
    }
}

/// A fault of the provider, or on the way to it, before its answer began.
pub(crate) fn upstream(provider: &str, error: &UpstreamError) -> ApiError {
    use UpstreamErrorKind as Kind;
    let (code, message) = match error.kind() {
        Kind::Dns | Kind::Connect => (
            ErrorCode::UpstreamConnectFailed,
            format!("no connection to provider `{provider}`: it is down, or its `api_base` is wrong"),
        ),
        Kind::DnsTimeout | Kind::ConnectTimeout | Kind::TlsTimeout => (
            ErrorCode::UpstreamTimeout,
            format!("no connection to provider `{provider}` in time (`[llm.timeout] connection`)"),
        ),
        Kind::Tls => (
            ErrorCode::UpstreamTls,
            format!(
                "no trustworthy TLS connection to provider `{provider}`: its certificate, or the authorities in \
                 `ca_file`, must be checked by the operator"
            ),
        ),
        Kind::Closed | Kind::ClosedMidBody => (
            ErrorCode::UpstreamClosed,
            format!("provider `{provider}` closed the connection without an answer"),
        ),
        Kind::Protocol => {
            (ErrorCode::UpstreamProtocol, format!("the answer of provider `{provider}` is not valid HTTP"))
        }
        Kind::FirstByteTimeout | Kind::ReadTimeout | Kind::WriteTimeout | Kind::TotalTimeout => (
            ErrorCode::UpstreamTimeout,
            format!(
                "provider `{provider}` did not answer in time (`timeout` of the provider, `[llm.timeout]`)"
            ),
        ),
        Kind::PoolFull | Kind::LocalResource => (
            ErrorCode::Overloaded,
            format!("the gateway has no free connection to provider `{provider}`; try again shortly"),
        ),
        Kind::RequestBody => (ErrorCode::BadRequest, request_body_broke().message.into_owned()),
        Kind::InvalidRequest => (
            ErrorCode::BadRequest,
            format!("the request cannot be written for provider `{provider}`: check its path and headers"),
        ),
    };
    let mut api_error = ApiError::new(code, message).with_detail(chain(error));
    if code == ErrorCode::Overloaded {
        api_error.retry_after = Some(1);
    }
    api_error
}

/// An answer that was not the last, until nobody else gave one: it was too large or too slow to be kept.
pub(crate) fn not_kept(provider: &str, status: u16) -> ApiError {
    ApiError::new(
        ErrorCode::UpstreamClosed,
        format!(
            "provider `{provider}` answered with {status}, too long or too slowly to be kept while others were asked"
        ),
    )
}

/// A request body that breaks off, or whose framing is none.
pub(crate) fn request_body_broke() -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "the request body broke off or its framing is invalid").closing()
}

/// Returns an error and its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A status that is no answer.
pub(crate) fn unexpected_status(status: StatusCode) -> ApiError {
    let number = status.as_u16();
    let message = if status.is_redirection() {
        format!(
            "the provider answered with a redirect ({number}), which is not followed: `api_base` must be the final address"
        )
    } else {
        format!("the provider answered with the status {number}, which is no answer to this request")
    };
    ApiError::new(ErrorCode::UpstreamProtocol, message)
}

/// A request whose own credential another provider has had already.
pub(crate) fn not_entrusted(provider: &str) -> ApiError {
    ApiError::new(
        ErrorCode::ProviderNotConfigured,
        format!(
            "provider `{provider}` has no key, and the request's own was given to another provider before"
        ),
    )
}

/// A request beyond the number that is answered at once.
pub(crate) fn too_many_requests(most: usize) -> ApiError {
    let message = format!(
        "the gateway answers {most} requests already, as many as it may (`[llm.limits] max_in_flight`); try again shortly"
    );
    ApiError { retry_after: Some(1), ..ApiError::new(ErrorCode::Overloaded, message) }
}

/// A request that the shutdown overtook.
pub(crate) fn shutting_down() -> ApiError {
    let message = "the gateway shuts down; send the request again";
    ApiError { retry_after: Some(1), ..ApiError::new(ErrorCode::ProviderUnavailable, message).closing() }
}

fn endpoints_of(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::OpenAi => "/v1/chat/completions, /v1/responses or /v1/embeddings",
        ProviderKind::Anthropic => "/v1/messages",
    }
}

#[cfg(test)]
mod tests;
