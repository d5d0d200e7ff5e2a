//! Carries one request to its provider: where it goes, what is sent, and what of the answer comes
//! back.

use std::sync::Arc;

use bytes::Bytes;
use gate_config::{OnDisconnect, Provider, ProviderIndex, Scope, Target};
use gate_model_ref::{ModelRef, ProviderKind};
use gate_upstream::{
    RequestBody, RequestCredential, Timings, UpstreamError, UpstreamErrorKind, UpstreamRequest,
    UpstreamResponse,
};
use gate_usage::{ContentType, Dialect, StepTimes};
use http::header::{CONNECTION, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use crate::answer::{Answer, Payload};
use crate::auth::ClientCredentials;
use crate::error::{ApiError, ErrorCode, GATEWAY_ERROR, StreamDialect};
use crate::exchange::Exchange;
use crate::extra_frame::ExtraFrame;
use crate::gateway::Gateway;
use crate::head::RequestHead;
use crate::hops::Hops;
use crate::intake::{Content, Received};
use crate::makers::Birth;
use crate::relay::{Framing, Treatment};
use crate::route::{self, Forward, Operation};
use crate::shutdown::InFlight;
use crate::snapshot::Snapshot;
use crate::upload::ClientBody;
use crate::{batch, content, failure, headers, intake, masking, websocket};

/// Who answered, and in a request: who shall answer.
const PROVIDER: HeaderName = HeaderName::from_static("x-gateway-provider");

/// Where a request goes, and with which bytes.
pub(crate) struct Plan {
    pub(crate) provider: ProviderIndex,
    pub(crate) body: RequestBody,
    /// The upstream model, where the request names one.
    pub(crate) model: Option<Box<str>>,
    /// What is not the client's own of the answer, because the gateway asked for it.
    pub(crate) extra_frame: Option<ExtraFrame>,
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

/// Where names are looked up, and where a request without a name goes.
#[derive(Clone, Copy)]
struct Scopes {
    named: Scope,
    unnamed: Scope,
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
    request: (&mut Parts, &mut ClientBody<B>),
    (mut route, credentials): (Forward<'_>, ClientCredentials),
    in_flight: &InFlight,
    exchange: &mut Exchange,
) -> Result<Answer, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let (parts, body) = request;
    let hops = Hops::parse(&parts.headers)?.pass(gateway.instance())?;
    if route.is_admin() && !snapshot.server.allow_admin_paths {
        return Err(failure::admin_path());
    }
    let scope = scope_of(snapshot, &mut route, &parts.headers)?;
    if websocket::is_wanted(&route, parts) {
        let opening = websocket::Opening { gateway, snapshot, parts, route, scope, credentials, hops };
        return Box::pin(websocket::open(opening, in_flight, exchange)).await;
    }
    let scopes = Scopes { named: scope, unnamed: scope_of_object(gateway, snapshot, &route, scope) };
    let begin = Instant::now();
    let received = intake::take_in(body, &parts.headers, route.operation, &snapshot.server.limits).await;
    exchange.wait(begin.elapsed());
    let received = received?;
    exchange.record.steps.receive = Some(begin.elapsed());
    let upload = Arc::clone(&received.progress);
    exchange.upload = Some(Arc::clone(&upload));

    let begin = Instant::now();
    // Kept only to be read once more; the bytes are shared with what is sent.
    let to_estimate = snapshot.server.estimate_usage.then(|| received.held.clone());
    let plan = plan(snapshot, &route, scopes, received)?;
    exchange.record.steps.route = Some(begin.elapsed());
    let endpoint = snapshot.endpoint(plan.provider);
    exchange.record.provider = Some(endpoint.shared_name());
    exchange.record.model = plan.model.as_deref().map(Into::into);
    let provider = snapshot.providers.provider(plan.provider);
    let path = provider
        .api_base
        .request_path(route.tail, plan.model.as_deref())
        .map_err(|reason| failure::no_deployment(endpoint.name(), reason))?
        .into_owned();
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
        provider.url(route.tail, plan.model.as_deref()),
    );
    let request = UpstreamRequest {
        method: parts.method.clone(),
        path,
        query: query_of(parts, provider),
        headers: upstream_headers,
        credential,
        body: plan.body,
    };
    exchange.record.attempts = 1;
    let begin = Instant::now();
    let sent = tokio::select! {
        sent = gateway.upstream().send(endpoint, request) => {
            note_retries(exchange, sent.as_ref().map_or_else(UpstreamError::retries, |sent| sent.timings.retries));
            // What ended an upload is known best where it was seen.
            sent.map_err(|error| match (error.kind(), upload.fault()) {
                (UpstreamErrorKind::RequestBody, Some(fault)) => fault.to_api_error(),
                _ => failure::upstream(endpoint.name(), &error),
            })
        }
        () = in_flight.ended() => Err(failure::shutting_down()),
    };
    exchange.wait(begin.elapsed());
    let response = sent?;
    note_steps(&mut exchange.record.steps, &response.timings);
    exchange.record.ttfb = Some(exchange.elapsed());
    let treatment = Treatment {
        extra_frame: plan.extra_frame,
        estimate: None,
        keepalive: snapshot.server.sse_keepalive,
        drains: match snapshot.providers.provider(plan.provider).on_disconnect {
            OnDisconnect::Cancel => None,
            OnDisconnect::Drain => Some(gateway.drains()),
        },
    };
    let mut answer = answer(response, &route, &asked, treatment)?;
    if let Some(request) = to_estimate {
        answer.estimate(&request);
    }
    if is_our_key && matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        blame_our_key(snapshot, plan.provider, exchange, &mut answer).await?;
    }
    if may_be_new_object(&route, &parts.method, &answer)
        && snapshot.providers.kind_root(route.kind) != Some(plan.provider)
    {
        exchange.birth = Some(Birth::new(Arc::clone(gateway.makers()), endpoint.shared_name()));
    }
    if !upload.is_whole() {
        // An answer before the end of the upload: nobody may read the rest, so that nothing can
        // follow on this connection.
        answer.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    mark(&mut answer.headers, endpoint.name(), plan.model.as_deref());
    Ok(answer)
}

/// Notes what the time at the provider went to.
pub(crate) fn note_steps(steps: &mut StepTimes, timings: &Timings) {
    steps.queue = Some(timings.pool_wait);
    steps.connect = timings.connect.map(|tcp| tcp + timings.dns.unwrap_or_default());
    steps.tls = timings.tls;
    steps.upstream = Some(timings.first_byte);
}

/// Turns what the path or the header pins into where names are looked up. A pin by the header also
/// decides whose API a path is that both vendors have.
fn scope_of(snapshot: &Snapshot, route: &mut Forward<'_>, headers: &HeaderMap) -> Result<Scope, ApiError> {
    let by_path = match route.pin {
        route::Pin::None | route::Pin::Kind(_) => None,
        route::Pin::Provider(kind, path) => Some(find_pinned(snapshot, kind, path)?),
    };
    let Some(by_header) = pin_of_header(snapshot, headers)? else {
        return Ok(by_path.map_or(Scope::Kind(route.kind), Scope::Pinned));
    };
    let pinned = snapshot.providers.provider(by_header);
    if let Some(by_path) = by_path.filter(|by_path| *by_path != by_header) {
        let by_path = snapshot.providers.provider(by_path);
        let message = format!(
            "`x-gateway-provider` names `{}`, but the path is pinned to `{}`: pin by one of them",
            pinned.id, by_path.id
        );
        return Err(ApiError::new(ErrorCode::BadRequest, message));
    }
    if pinned.kind != route.kind && route.is_of_one_kind() {
        let message = format!(
            "`x-gateway-provider` names `{}`, an {} provider, but this path is of the kind {}",
            pinned.id, pinned.kind, route.kind
        );
        return Err(ApiError::new(ErrorCode::BadRequest, message));
    }
    route.kind = pinned.kind;
    Ok(Scope::Pinned(by_header))
}

/// Sends a request for an object that one of the providers made to that provider. A pin outranks it,
/// and so does a model.
fn scope_of_object(gateway: &Gateway, snapshot: &Snapshot, route: &Forward<'_>, scope: Scope) -> Scope {
    let may_be_unnamed = !route.operation.needs_model() && route.operation != Operation::MessageBatch;
    if scope != Scope::Kind(route.kind) || !may_be_unnamed {
        return scope;
    }
    let maker = gateway.makers().find(route.tail).and_then(|id| snapshot.providers.find(&id));
    // A reload may have removed the provider, or given its name to another kind.
    let maker = maker.filter(|maker| snapshot.providers.provider(*maker).kind == route.kind);
    maker.map_or(scope, Scope::Pinned)
}

/// Tells whether an answer may show an object that later requests name by its id. Answers that are
/// kept by nobody would only fill the memory.
fn may_be_new_object(route: &Forward<'_>, method: &Method, answer: &Answer) -> bool {
    let makes_objects = !matches!(
        route.operation,
        Operation::ChatCompletions
            | Operation::Completions
            | Operation::Embeddings
            | Operation::Messages
            | Operation::CountTokens
    );
    let content_type = match &answer.payload {
        Payload::Upstream { content_type, .. } => *content_type,
        Payload::Full(_) | Payload::Tunnel(_) => return false,
    };
    makes_objects
        && *method == Method::POST
        && answer.status.is_success()
        && matches!(content_type, ContentType::Json | ContentType::EventStream)
}

/// Finds the provider that `x-gateway-provider` names by its dotted path.
fn pin_of_header(snapshot: &Snapshot, headers: &HeaderMap) -> Result<Option<ProviderIndex>, ApiError> {
    let mut values = headers.get_all(PROVIDER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::new(ErrorCode::BadRequest, "two `x-gateway-provider` headers; send one"));
    }
    let id = String::from_utf8_lossy(value.as_bytes());
    let found = snapshot.providers.find(id.trim());
    found.map(Some).ok_or_else(|| failure::unknown_provider(&id))
}

/// Finds the provider that a path names below its kind, segments joined by `/`.
pub(crate) fn find_pinned(
    snapshot: &Snapshot,
    kind: ProviderKind,
    path: &str,
) -> Result<ProviderIndex, ApiError> {
    let id = format!("{kind}.{}", path.replace('/', "."));
    snapshot.providers.find(&id).ok_or_else(|| failure::unknown_provider(&id))
}

/// Decides where a request goes and splices its model.
fn plan(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes,
    received: Received,
) -> Result<Plan, ApiError> {
    match &received.content {
        Content::Opaque => unnamed(snapshot, scopes, received),
        Content::Form(model) => {
            let Some(model) = model.as_ref().filter(|model| !model.value.is_empty()) else {
                return unnamed(snapshot, scopes, received);
            };
            let name = String::from_utf8_lossy(&model.value);
            let target = resolve(snapshot, scopes.named, &name)?;
            let held = &received.held;
            let pieces = if name == target.upstream_model {
                [held.clone(), Bytes::new(), Bytes::new()]
            } else {
                let new = Bytes::copy_from_slice(target.upstream_model.as_bytes());
                [held.slice(..model.span.start), new, held.slice(model.span.end..)]
            };
            let model = Some(target.upstream_model.into());
            Ok(Plan { provider: target.provider, body: received.into_body(pieces), model, extra_frame: None })
        }
        Content::Json if route.operation == Operation::MessageBatch => plan_batch(snapshot, scopes, received),
        Content::Json => plan_json(snapshot, route, scopes, &received.held),
    }
}

/// Decides where a message of a session goes, and splices its model.
pub(crate) fn plan_message(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scope: Scope,
    message: &Bytes,
) -> Result<Plan, ApiError> {
    plan_json(snapshot, route, Scopes { named: scope, unnamed: scope }, message)
}

/// Decides where a JSON body goes, and splices its model.
fn plan_json(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes,
    body: &Bytes,
) -> Result<Plan, ApiError> {
    let head = RequestHead::parse(body)?;
    let name = head.model.as_ref().map(|model| model.name.as_ref()).filter(|name| !name.is_empty());
    let target = match name {
        Some(name) => resolve(snapshot, scopes.named, name)?,
        None if !route.operation.needs_model()
            || (route.operation == Operation::Responses && head.has_prompt) =>
        {
            let provider = without_model(snapshot, scopes.unnamed)?;
            return Ok(Plan {
                provider,
                body: RequestBody::whole(body.clone()),
                model: None,
                extra_frame: None,
            });
        }
        None => {
            head.require_no_twin()?;
            let default = snapshot.providers.resolve_default(scopes.named);
            default.or_else(|| pinned_default(snapshot, scopes.named)).ok_or_else(failure::missing_model)?
        }
    };
    let may_ask = snapshot.providers.provider(target.provider).inject_stream_usage
        && matches!(route.operation, Operation::ChatCompletions | Operation::Completions);
    let usage = if may_ask { head.usage_edit() } else { None };
    Ok(Plan {
        provider: target.provider,
        extra_frame: usage.as_ref().map(|_| ExtraFrame::default()),
        body: head.splice(body, target.upstream_model, usage),
        model: Some(target.upstream_model.into()),
    })
}

/// Returns the pinned provider's own default model: a pin without a model means the provider.
fn pinned_default(snapshot: &Snapshot, scope: Scope) -> Option<Target<'_>> {
    let Scope::Pinned(provider) = scope else { return None };
    let upstream_model = snapshot.providers.provider(provider).default_model.as_deref()?;
    Some(Target { provider, upstream_model })
}

/// Resolves every model of a batch. The provider gets the whole of it, so all must be its own.
fn plan_batch(snapshot: &Snapshot, scopes: Scopes, received: Received) -> Result<Plan, ApiError> {
    let models = batch::models(&received.held)?;
    let mut targets: Vec<Target<'_>> = Vec::with_capacity(models.len());
    for (at, model) in models.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| Some((models.get(before)?, targets.get(before)?)));
        let target = match before {
            Some((same, target)) if same.name == model.name => *target,
            _ => resolve(snapshot, scopes.named, &model.name)?,
        };
        if let (Some(first), Some(first_model)) = (targets.first(), models.first())
            && first.provider != target.provider
        {
            let one = (first_model.name.as_str(), first.provider);
            return Err(failure::mixed_batch(&snapshot.providers, one, (&model.name, target.provider)));
        }
        targets.push(target);
    }
    let Some(first) = targets.first() else { return unnamed(snapshot, scopes, received) };
    let is_one_model = targets.iter().all(|target| target.upstream_model == first.upstream_model);
    Ok(Plan {
        provider: first.provider,
        body: batch::splice(&received.held, &models, targets.iter().map(|target| target.upstream_model)),
        model: is_one_model.then(|| first.upstream_model.into()),
        extra_frame: None,
    })
}

/// Finds what a client's name for a model stands for.
fn resolve<'s>(snapshot: &'s Snapshot, scope: Scope, name: &'s str) -> Result<Target<'s>, ApiError> {
    let name_ref = ModelRef::parse(name).map_err(|error| failure::name(&error))?;
    let found = snapshot.providers.resolve(name_ref, scope);
    found.map_err(|error| failure::resolve(&snapshot.providers, name, scope, &error))
}

/// Plans a request that names no model: it goes out as it came.
fn unnamed(snapshot: &Snapshot, scopes: Scopes, received: Received) -> Result<Plan, ApiError> {
    let provider = without_model(snapshot, scopes.unnamed)?;
    Ok(Plan { provider, body: received.into_body_as_is(), model: None, extra_frame: None })
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
    treatment: Treatment,
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
        payload: Payload::Upstream { body: response.body, dialect: dialect(route), content_type, framing },
        treatment,
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

fn dialect(route: &Forward<'_>) -> Dialect {
    match route.operation {
        Operation::ChatCompletions => Dialect::ChatCompletions,
        Operation::Completions => Dialect::Completions,
        Operation::Responses => Dialect::Responses,
        Operation::Embeddings => Dialect::Embeddings,
        Operation::Messages => Dialect::Messages,
        Operation::CountTokens => Dialect::CountTokens,
        Operation::MessageBatch | Operation::OtherJson | Operation::Form | Operation::Opaque => {
            match route.kind {
                ProviderKind::OpenAi if route.tail.starts_with("/images/") => Dialect::Images,
                ProviderKind::OpenAi if route.tail.starts_with("/audio/") => Dialect::Audio,
                ProviderKind::OpenAi | ProviderKind::Anthropic => Dialect::Other,
            }
        }
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
