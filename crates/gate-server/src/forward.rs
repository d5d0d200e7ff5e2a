//! Carries one request to its provider: where it goes, what is sent, and what of the answer comes
//! back.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use gate_config::{Provider, ProviderIndex, Scope, Target};
use gate_model_ref::{ModelRef, ProviderKind};
use gate_upstream::{RequestBody, RequestCredential, UpstreamError, UpstreamRequest, UpstreamResponse};
use gate_usage::{ContentType, Dialect};
use http::header::{HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use http_body::Body;

use crate::answer::{Answer, Payload};
use crate::auth::ClientCredentials;
use crate::error::{ApiError, ErrorCode, GATEWAY_ERROR, StreamDialect};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::head::RequestHead;
use crate::hops::Hops;
use crate::relay::Framing;
use crate::route::{self, Forward, Operation};
use crate::shutdown::InFlight;
use crate::snapshot::Snapshot;
use crate::{content, failure, headers, masking, receive, websocket};

/// Where a request goes, and with which bytes.
pub(crate) struct Plan {
    pub(crate) provider: ProviderIndex,
    pub(crate) body: RequestBody,
    /// The upstream model, where the request names one.
    pub(crate) model: Option<Box<str>>,
}

/// Counts and logs the times that a request was sent again because a kept connection had closed
/// before it took a byte.
fn note_retries(exchange: &mut Exchange, retries: u32) {
    exchange.record.attempts += retries;
    if retries > 0 {
        log::info!("{}: sent again on a new connection, since the kept one had closed", exchange.id.as_str());
    }
}

/// What of a request decides how its answer is read.
pub(crate) struct Asked {
    method: Method,
    /// Whether "not modified" is an answer to it.
    is_conditional: bool,
}

impl Asked {
    pub(crate) fn new(parts: &Parts) -> Self {
        let has = |name| parts.headers.contains_key(name);
        Self {
            method: parts.method.clone(),
            is_conditional: matches!(parts.method, Method::GET | Method::HEAD)
                && (has(IF_NONE_MATCH) || has(IF_MODIFIED_SINCE)),
        }
    }
}

/// Carries a request to its provider and returns the answer, whose body is still to come.
///
/// # Errors
/// Everything that the gateway itself refuses, and every fault of the provider before its head.
///
/// # Cancel safety
/// Dropping the future cancels the request at the provider.
pub(crate) async fn forward<B>(
    gateway: &Gateway,
    snapshot: &Arc<Snapshot>,
    request: (&mut Parts, Pin<&mut B>),
    (route, credentials): (Forward<'_>, ClientCredentials),
    in_flight: &InFlight,
    exchange: &mut Exchange,
) -> Result<Answer, ApiError>
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = request;
    let hops = Hops::parse(&parts.headers)?.pass(gateway.instance())?;
    let scope = scope_of(snapshot, &route)?;
    if websocket::is_wanted(&route, parts) {
        let opening = websocket::Opening { gateway, snapshot, parts, route, scope, credentials, hops };
        return Box::pin(websocket::open(opening, in_flight, exchange)).await;
    }
    if route.operation.reads_json() && !body.is_end_stream() {
        content::require_json(&parts.headers)?;
    }
    let body = receive::receive(body, &parts.headers, &snapshot.server.limits).await?;
    exchange.record.bytes_in = u64::try_from(body.len()).unwrap_or(u64::MAX);

    let plan = plan(snapshot, &route, scope, body)?;
    let endpoint = snapshot.endpoint(plan.provider);
    exchange.record.provider = Some(endpoint.shared_name());
    exchange.record.model = plan.model.as_deref().map(Into::into);
    let credential = credentials.choose(endpoint)?;
    let is_our_key = matches!(credential, RequestCredential::Configured);
    let asked = Asked::new(parts);
    let mut upstream_headers = std::mem::take(&mut parts.headers);
    headers::to_upstream(&mut upstream_headers);
    hops.write(&mut upstream_headers);
    log::debug!(
        "{}: {:?} goes to `{}` as {}: {}",
        exchange.id.as_str(),
        route.operation,
        endpoint.name(),
        plan.model.as_deref().unwrap_or("no model"),
        snapshot.providers.provider(plan.provider).url(route.tail),
    );
    let request = UpstreamRequest {
        method: parts.method.clone(),
        path: route.tail.to_owned(),
        query: query_of(parts, snapshot.providers.provider(plan.provider)),
        headers: upstream_headers,
        credential,
        body: plan.body,
    };
    exchange.record.attempts = 1;
    let response = tokio::select! {
        sent = gateway.upstream().send(endpoint, request) => {
            note_retries(exchange, sent.as_ref().map_or_else(UpstreamError::retries, |sent| sent.timings.retries));
            sent.map_err(|error| failure::upstream(endpoint.name(), &error))?
        }
        () = in_flight.ended() => return Err(failure::shutting_down()),
    };
    exchange.record.ttfb = Some(exchange.elapsed());
    let mut answer = answer(response, &route, &asked)?;
    if is_our_key && matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        blame_our_key(snapshot, plan.provider, exchange, &mut answer).await?;
    }
    mark(&mut answer.headers, endpoint.name(), plan.model.as_deref());
    Ok(answer)
}

/// Turns what the path pins into where names are looked up.
fn scope_of(snapshot: &Snapshot, route: &Forward<'_>) -> Result<Scope, ApiError> {
    match route.pin {
        route::Pin::None | route::Pin::Kind(_) => Ok(Scope::Kind(route.kind)),
        route::Pin::Provider(kind, path) => find_pinned(snapshot, kind, path).map(Scope::Pinned),
    }
}

/// Finds the provider that a path names below its kind, segments joined by `/`.
pub(crate) fn find_pinned(
    snapshot: &Snapshot,
    kind: ProviderKind,
    path: &str,
) -> Result<ProviderIndex, ApiError> {
    let id = format!("{kind}.{}", path.replace('/', "."));
    snapshot.providers.find(&id).ok_or_else(|| {
        ApiError::new(
            ErrorCode::NotFound,
            format!("no provider `{}` is configured; GET /v1/providers lists them", failure::shown(&id)),
        )
    })
}

/// Decides where a request goes and splices its model.
pub(crate) fn plan(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scope: Scope,
    body: Bytes,
) -> Result<Plan, ApiError> {
    if !route.operation.reads_json() {
        return Ok(Plan {
            provider: without_model(snapshot, scope)?,
            body: RequestBody::whole(body),
            model: None,
        });
    }
    let head = RequestHead::parse(&body)?;
    let name = head.model.as_ref().map(|model| model.name.as_ref()).filter(|name| !name.is_empty());
    let target = match name {
        Some(name) => {
            let name_ref = ModelRef::parse(name).map_err(|error| failure::name(&error))?;
            let found = snapshot.providers.resolve(name_ref, scope);
            found.map_err(|error| failure::resolve(&snapshot.providers, name, scope, &error))?
        }
        None if !route.operation.needs_model()
            || (route.operation == Operation::Responses && head.has_prompt) =>
        {
            let provider = without_model(snapshot, scope)?;
            return Ok(Plan { provider, body: RequestBody::whole(body), model: None });
        }
        None => {
            head.require_no_twin()?;
            let default = snapshot.providers.resolve_default(scope);
            default.or_else(|| pinned_default(snapshot, scope)).ok_or_else(failure::missing_model)?
        }
    };
    Ok(Plan {
        provider: target.provider,
        body: head.splice(&body, target.upstream_model),
        model: Some(target.upstream_model.into()),
    })
}

/// Returns the pinned provider's own default model: a pin without a model means the provider.
fn pinned_default(snapshot: &Snapshot, scope: Scope) -> Option<Target<'_>> {
    let Scope::Pinned(provider) = scope else { return None };
    let upstream_model = snapshot.providers.provider(provider).default_model.as_deref()?;
    Some(Target { provider, upstream_model })
}

/// Returns the provider of a request that names no model: the pinned one, else the kind's root.
pub(crate) fn without_model(snapshot: &Snapshot, scope: Scope) -> Result<ProviderIndex, ApiError> {
    match scope {
        Scope::Pinned(provider) => Ok(provider),
        Scope::Kind(kind) => snapshot
            .providers
            .kind_root(kind)
            .filter(|root| snapshot.providers.provider(*root).is_configured)
            .ok_or_else(|| failure::no_root(kind)),
    }
}

/// Returns the client's query without the parameters that the operator has set, such as
/// `api-version`: those are not the client's to change.
fn query_of(parts: &Parts, provider: &Provider) -> Option<String> {
    let query = provider.client_query(parts.uri.query()?);
    (!query.is_empty()).then(|| query.into_owned())
}

/// Turns an upstream's head into the client's.
///
/// # Errors
/// 502 for a status that is no answer: a redirect (following one would carry the key to wherever
/// it points), a switch of protocols, a number beyond 599.
pub(crate) fn answer(
    response: UpstreamResponse,
    route: &Forward<'_>,
    asked: &Asked,
) -> Result<Answer, ApiError> {
    let status = response.status;
    let is_answer = match status.as_u16() {
        304 => asked.is_conditional,
        number => matches!(number, 200..=299 | 400..=599),
    };
    if !is_answer {
        return Err(failure::unexpected_status(status));
    }
    let mut headers = response.headers;
    let content_type = content::type_of_answer(&headers);
    let framing = Framing {
        stream: (content_type == ContentType::EventStream).then(|| stream_dialect(route)),
        // Where the content itself says whether it is whole, it is asked.
        needs_terminal: response.is_close_delimited && content_type != ContentType::Other,
    };
    headers::to_client(&mut headers, asked.method == Method::HEAD);
    Ok(Answer {
        status,
        headers,
        payload: Payload::Upstream {
            body: response.body,
            dialect: dialect(route.operation),
            content_type,
            framing,
        },
        timings: Some(response.timings),
    })
}

/// Handles an answer that refuses the gateway's own key: the client did nothing wrong and cannot
/// mend it, and must not learn the key from an upstream that quotes it.
pub(crate) async fn blame_our_key(
    snapshot: &Snapshot,
    provider: ProviderIndex,
    exchange: &mut Exchange,
    answer: &mut Answer,
) -> Result<(), ApiError> {
    let provider = snapshot.providers.provider(provider);
    log::error!(
        "{}: provider `{}` refused the configured key with {}: check `api_key` in `[llm.provider.{}]`",
        exchange.id.as_str(),
        provider.id,
        answer.status.as_u16(),
        provider.id,
    );
    exchange.fail(ErrorCode::UpstreamAuth);
    answer.headers.insert(GATEWAY_ERROR, HeaderValue::from_static(ErrorCode::UpstreamAuth.as_str()));
    if let Some(key) = &provider.api_key {
        masking::mask(answer, key.expose()).await?;
    }
    Ok(())
}

/// Says who answered.
pub(crate) fn mark(headers: &mut HeaderMap, provider: &str, model: Option<&str>) {
    const PROVIDER: HeaderName = HeaderName::from_static("x-gateway-provider");
    const MODEL: HeaderName = HeaderName::from_static("x-gateway-model");
    for (name, value) in [(PROVIDER, Some(provider)), (MODEL, model)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
}

fn stream_dialect(route: &Forward<'_>) -> StreamDialect {
    match (route.kind, route.operation) {
        (ProviderKind::Anthropic, _) => StreamDialect::Messages,
        (ProviderKind::OpenAi, Operation::Responses) => StreamDialect::Responses,
        (ProviderKind::OpenAi, _) => StreamDialect::Chat,
    }
}

fn dialect(operation: Operation) -> Dialect {
    match operation {
        Operation::ChatCompletions => Dialect::ChatCompletions,
        Operation::Completions => Dialect::Completions,
        Operation::Responses => Dialect::Responses,
        Operation::Embeddings => Dialect::Embeddings,
        Operation::Messages => Dialect::Messages,
        Operation::CountTokens => Dialect::CountTokens,
        Operation::OtherJson | Operation::Form | Operation::Opaque => Dialect::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: monitoring L-13.
    #[test]
    fn each_time_that_a_request_is_sent_counts() {
        for (retries, attempts) in [(0, 1), (1, 2), (2, 3)] {
            let mut exchange = Exchange::begin(&Method::POST, "/v1/messages", Vec::new().into());
            exchange.record.attempts = 1;
            note_retries(&mut exchange, retries);
            assert_eq!(exchange.record.attempts, attempts);
        }
    }
}
