//! Carries one request to its provider: where it goes, what is sent, and what of the answer comes
//! back.

use std::sync::Arc;

use bytes::Bytes;
use gate_config::{OnDisconnect, Provider, ProviderIndex};
use gate_model_ref::ProviderKind;
use gate_upstream::{Timings, UpstreamError, UpstreamResponse};
use gate_usage::{ContentType, Dialect, StepTimes};
use http::header::{CONNECTION, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LOCATION};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use crate::answer::{Answer, Payload};
use crate::attempts::{Answered, Errand, WhoseKey};
use crate::auth::ClientCredentials;
use crate::balance::Stop;
use crate::body_memory::Bounds;
use crate::client_headers::{ClientHeaders, Field, Present};
use crate::error::{ApiError, ErrorCode, GATEWAY_ERROR, StreamDialect};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::hold::{Held, Replay};
use crate::hops::Hops;
use crate::makers::{self, Birth};
use crate::plan::Choice;
use crate::relay::{Framing, Treatment};
use crate::route::{Forward, Operation};
use crate::scope::{self, Scopes};
use crate::shutdown::InFlight;
use crate::snapshot::Snapshot;
use crate::upload::ClientBody;
use crate::{content, failure, headers, intake, journey, masking, plan, websocket};

/// Who answered; in a request it says who shall answer.
const PROVIDER: HeaderName = Field::XGatewayProvider.name();

/// Counts and logs the times that a request was sent again because a kept connection had closed
/// before it took a byte.
pub(crate) fn note_retries(exchange: &mut Exchange, retries: u32) {
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
    (parts, present, body): (&mut Parts, Present, &mut ClientBody<B>),
    (route, credentials): (&mut Forward<'_>, &mut ClientCredentials),
    in_flight: &InFlight,
    exchange: &mut Exchange,
) -> Result<Box<Answer>, ApiError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let headers = ClientHeaders { map: &parts.headers, present };
    let hops = Hops::parse(headers)?.pass(gateway.instance())?;
    if route.is_admin() && !snapshot.server.allow_admin_paths {
        return Err(failure::admin_path());
    }
    let scope = scope::scope_of(snapshot, route, headers)?;
    if websocket::is_wanted(route, parts) {
        let (route, credentials) = (*route, std::mem::take(credentials));
        let opening = websocket::Opening { gateway, snapshot, parts, route, scope, credentials, hops };
        return Box::pin(websocket::open(opening, in_flight, exchange)).await;
    }
    let makers = gateway.makers();
    let unnamed = scope::scope_of_object(makers, snapshot, route, scope);
    let scopes = Scopes { named: scope, unnamed, makers };
    let begin = Instant::now();
    let bounds = Bounds { limits: &snapshot.server.limits, memory: gateway.body_memory() };
    // Boxed, as sending is: neither needs its room while the other has its own.
    let received = Box::pin(intake::take_in(body, headers, route.operation, bounds)).await;
    let end = Instant::now();
    let waited = end - begin;
    exchange.wait(waited);
    exchange.record.steps.receive = Some(waited);
    let received = received?;
    let upload = Arc::clone(&received.progress);
    exchange.upload = Some(Arc::clone(&upload));

    // Kept only to be read once more; the bytes are shared with what is sent.
    let to_estimate = snapshot.server.estimate_usage.then(|| received.held.clone());
    let choice = if credentials.is_for_provider() { Choice::First } else { Choice::Any(&parts.headers) };
    let plan = plan::plan(snapshot, route, scopes, parts.uri.query(), received, choice)?;
    let makes_object = plan.makes_object;
    let asked = Asked::new(parts);
    let mut upstream_headers = std::mem::take(&mut parts.headers);
    headers::to_upstream(&mut upstream_headers);
    hops.write(&mut upstream_headers);
    let errand = Errand {
        gateway,
        snapshot,
        route,
        method: &parts.method,
        query: parts.uri.query(),
        credentials,
        upload: &upload,
    };
    let begin = Instant::now();
    exchange.record.steps.route = Some(begin - end);
    // Boxed: hyper keeps the room of this future as long as a connection lives, and what sending takes is
    // not needed once there is an answer.
    let answered = Box::pin(errand.run(plan, upstream_headers, in_flight, exchange)).await;
    let end = Instant::now();
    exchange.wait(end - begin);
    let Answered { response, held, stop, key, attempt, whose_key, extra_frame } = *answered?;
    let endpoint = snapshot.endpoint(stop.provider);
    exchange.record.provider = Some(endpoint.shared_name());
    exchange.record.model.clone_from(&stop.model);
    exchange.record.ttfb = Some(exchange.elapsed_at(end));
    let provider = snapshot.providers.provider(stop.provider);
    let treatment = Treatment {
        // One that failed before its first content has been counted as that.
        attempt: attempt.filter(|_| held.status().is_none()),
        extra_frame,
        estimate: None,
        keepalive: snapshot.server.sse_keepalive,
        drains: matches!(provider.on_disconnect, OnDisconnect::Drain).then(|| gateway.drains()),
    };
    let mut answer = answer((response, held), route, &asked, treatment)?;
    if let Some(request) = to_estimate {
        answer.estimate(&request);
    }
    if whose_key == WhoseKey::Ours && refuses_key(answer.status) {
        Box::pin(blame_our_key(snapshot, (stop.provider, key), exchange, &mut answer)).await?;
    }
    let may_tell_of_container = route.operation == Operation::Messages;
    if (makes_object || may_tell_of_container)
        && parts.method == Method::POST
        && answer.status.is_success()
        && makers::matters(&snapshot.providers, stop.provider)
    {
        if route.tail == "/realtime/calls" {
            makers.note_location(answer.headers.get(LOCATION), &endpoint.shared_name());
        } else if let Some(content_type) = type_of_new_object(&answer) {
            let birth = Birth::new(Arc::clone(makers), endpoint.shared_name());
            exchange.birth = Some(match may_tell_of_container {
                true => birth.of_messages(content_type, makes_object),
                false => birth,
            });
        }
    }
    if !upload.is_whole() {
        // An answer before the end of the upload: nobody may read the rest, so that nothing can
        // follow on this connection.
        answer.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    mark(&mut answer.headers, snapshot, &stop);
    Ok(answer)
}

/// Notes what the time at the provider went to, whether there was an answer or not.
pub(crate) fn note_steps(steps: &mut StepTimes, outcome: Result<&Timings, &UpstreamError>) {
    let Some(timings) = outcome.map_or_else(UpstreamError::timings, Some) else { return };
    steps.queue = Some(timings.pool_wait);
    steps.connect = match (timings.dns, timings.connect) {
        (None, None) => None,
        (dns, tcp) => Some(dns.unwrap_or_default() + tcp.unwrap_or_default()),
    };
    steps.tls = timings.tls;
    steps.upstream = timings.first_byte;
}

/// Returns the type of an answer that may show an object that was made.
fn type_of_new_object(answer: &Answer) -> Option<ContentType> {
    let content_type = match &answer.payload {
        Payload::Upstream { content_type, .. } => *content_type,
        Payload::Full(_) | Payload::Tunnel(_) => return None,
    };
    matches!(content_type, ContentType::Json | ContentType::EventStream).then_some(content_type)
}

/// Returns the client's query without the parameters that the operator has set, such as
/// `api-version`: those are not the client's to change.
pub(crate) fn query_of(query: Option<&str>, provider: &Provider) -> Option<String> {
    let query = provider.client_query(query?);
    (!query.is_empty()).then(|| query.into_owned())
}

/// Turns an upstream's head into the client's.
///
/// # Errors
/// 502 for a status that is no answer: a redirect (following one would carry the key to wherever
/// it points), a switch of protocols, a number beyond 599.
pub(crate) fn answer(
    (response, held): (UpstreamResponse, Held),
    route: &Forward<'_>,
    asked: &Asked,
    mut treatment: Treatment,
) -> Result<Box<Answer>, ApiError> {
    let status = response.status;
    let is_answer = match status.as_u16() {
        304 => asked.is_conditional,
        number => matches!(number, 200..=299 | 400..=599),
    };
    if !is_answer {
        // "Not modified" can be the client's doing.
        if let Some(attempt) = treatment.attempt.as_mut().filter(|_| status != StatusCode::NOT_MODIFIED) {
            attempt.broke(journey::now());
        }
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
    Ok(Box::new(Answer {
        status,
        headers,
        payload: Payload::Upstream {
            body: Replay::new(held, response.body),
            dialect: dialect(route),
            content_type,
            framing,
        },
        treatment,
    }))
}

/// Tells whether a status refuses a key.
pub(crate) fn refuses_key(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Tells the operator that a provider refuses one of the gateway's own keys, of which none is shown.
pub(crate) fn log_refused_key(snapshot: &Snapshot, provider: ProviderIndex, key: u32, id: &str, status: u16) {
    let provider = snapshot.providers.provider(provider);
    let (setting, which) = match provider.api_keys.len() {
        0 | 1 => ("api_key", String::new()),
        several => ("api_keys", format!(" {} of {several}", u64::from(key) + 1)),
    };
    log::error!(
        "{id}: provider `{}` refused the configured key{which} with {status}: check `{setting}` in \
         `[llm.provider.{}]`",
        provider.id,
        provider.id,
    );
}

/// Handles an answer that refuses the gateway's own key: the client did nothing wrong and cannot
/// mend it, and must not learn the key from an upstream that quotes it.
pub(crate) async fn blame_our_key(
    snapshot: &Snapshot,
    (provider, key): (ProviderIndex, u32),
    exchange: &mut Exchange,
    answer: &mut Answer,
) -> Result<(), ApiError> {
    let provider = snapshot.providers.provider(provider);
    exchange.fail(ErrorCode::UpstreamAuth);
    answer.headers.insert(GATEWAY_ERROR, HeaderValue::from_static(ErrorCode::UpstreamAuth.as_str()));
    let key = usize::try_from(key).ok().and_then(|key| provider.api_keys.get(key));
    let Some(key) = key else { return Ok(()) };
    let begin = Instant::now();
    let masked = masking::mask(answer, key.expose()).await;
    exchange.wait(begin.elapsed());
    masked
}

/// Says who answered.
pub(crate) fn mark(headers: &mut HeaderMap, snapshot: &Snapshot, stop: &Stop) {
    const MODEL: HeaderName = HeaderName::from_static("x-gateway-model");
    if let Some(id) = snapshot.id(stop.provider) {
        headers.insert(PROVIDER, id);
    }
    if let Some(model) = stop.model.as_deref().and_then(|model| HeaderValue::from_str(model).ok()) {
        headers.insert(MODEL, model);
    }
}

pub(crate) fn stream_dialect(route: &Forward<'_>) -> StreamDialect {
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
        Operation::MessageBatch
        | Operation::OtherJson
        | Operation::Form
        | Operation::Call
        | Operation::Opaque => match route.kind {
            ProviderKind::OpenAi if route.tail.starts_with("/images/") => Dialect::Images,
            ProviderKind::OpenAi if route.tail.starts_with("/audio/") => Dialect::Audio,
            ProviderKind::OpenAi | ProviderKind::Anthropic => Dialect::Other,
        },
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
