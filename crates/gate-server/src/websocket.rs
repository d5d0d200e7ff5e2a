//! WebSocket sessions: which requests open one, where it goes, and what is agreed to. A session is
//! then a [`Tunnel`]; no request of another protocol is made of it, and none into it.
//!
//! Two ways lead into one. Where the query names the model, the provider is asked first and its
//! answer is passed on. On `/v1/responses` the model stands in the first message, so the gateway
//! agrees by itself, reads that message, and then asks the provider.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gate_balance::Attempt;
use gate_config::Scope;
use gate_model_ref::ModelRef;
use gate_upstream::{RequestBody, Upgrade, UpstreamRequest};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::answer::{Answer, Payload};
use crate::attempts::{Handshake, WhoseKey};
use crate::auth::ClientCredentials;
use crate::balance::Stop;
use crate::client_headers::{ClientHeaders, Field};
use crate::error::{ApiError, ErrorCode};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::hold::Held;
use crate::hops::Hops;
use crate::journey::Journey;
use crate::makers::Makers;
use crate::plan::Choice;
use crate::query::ModelQuery;
use crate::relay::Treatment;
use crate::route::{Forward, Route, WEBSOCKET_TAILS};
use crate::shutdown::InFlight;
use crate::snapshot::Snapshot;
use crate::{failure, forward, headers, plan, scope};

mod births;
mod frame;
mod handshake;
mod message;
mod refusal;
mod session;
mod tunnel;
mod turn;
mod usage;

#[cfg(any(test, fuzzing))]
pub use message::property::frames;
use session::Session;
pub(crate) use tunnel::Switch;
pub use tunnel::Tunnel;
use turn::Turns;

/// The path below `/v1` whose sessions name the model in their messages.
const RESPONSES: &str = "/responses";

/// A request that opens a session, with what was read from it so far.
pub(crate) struct Opening<'r> {
    pub(crate) gateway: &'r Gateway,
    pub(crate) snapshot: &'r Arc<Snapshot>,
    pub(crate) parts: &'r mut Parts,
    pub(crate) route: Forward<'r>,
    pub(crate) scope: Scope,
    pub(crate) credentials: ClientCredentials,
    pub(crate) hops: Hops,
}

/// Refuses a handshake where there is no WebSocket: as a plain request it would be answered by what
/// its sender cannot read. An offer of another protocol is one that a server may leave be.
///
/// # Errors
/// 400, and the message names the paths that take one.
pub(crate) fn check_route(
    route: &Route<'_>,
    parts: &Parts,
    headers: ClientHeaders<'_>,
) -> Result<(), ApiError> {
    if !headers.present.has(Field::Upgrade) {
        return Ok(());
    }
    let takes_one = matches!(route, Route::Forward(route) if is_wanted(route, parts));
    if takes_one || !handshake::is_offered(parts) {
        return Ok(());
    }
    let paths = WEBSOCKET_TAILS.map(|tail| format!("`GET /v1{tail}`")).join(", ");
    let message =
        format!("there is no WebSocket here, only at {paths}; send a plain request without `upgrade`");
    Err(ApiError::new(ErrorCode::BadRequest, message))
}

/// Tells whether a request opens a session. Elsewhere an `upgrade` header is one of the connection,
/// and dropped with it.
pub(crate) fn is_wanted(route: &Forward<'_>, parts: &Parts) -> bool {
    route.can_upgrade() && handshake::is_wanted(parts)
}

/// Opens a session, or passes on what the provider says instead.
///
/// # Errors
/// 426 at once where no provider that the request can go to speaks WebSocket, so that a client
/// falls back to HTTP without delay; 400 for a handshake that is none; else as for any request.
///
/// # Cancel safety
/// Dropping the future closes the connection to the provider.
pub(crate) async fn open(
    mut opening: Opening<'_>,
    in_flight: &InFlight,
    exchange: &mut Exchange,
) -> Result<Box<Answer>, ApiError> {
    if !has_websocket(opening.snapshot, opening.scope) {
        return Err(unsupported());
    }
    let key = handshake::check(opening.parts)?;
    let headers = &mut opening.parts.headers;
    opening.credentials = opening.credentials.with_offered(headers, &handshake::offered_keys(headers))?;
    // What is compressed could be neither routed nor counted.
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    // hyper leaves it there; a server that can hand no connection over leaves none.
    let client = opening.parts.extensions.remove::<OnUpgrade>().ok_or_else(unsupported)?;
    if opening.route.tail == RESPONSES {
        Ok(Box::new(agree(opening, client, &key)))
    } else {
        ask(opening, client, in_flight, exchange).await
    }
}

/// Tells whether any provider where the request may go speaks WebSocket.
fn has_websocket(snapshot: &Snapshot, scope: Scope) -> bool {
    let pin = match scope {
        Scope::Pinned(pin) => Some(snapshot.providers.provider(pin).id.as_str()),
        Scope::Kind(_) => None,
    };
    snapshot.providers.providers().any(|(_, provider)| {
        let is_in_scope = match (scope, pin) {
            (Scope::Kind(kind), _) => provider.kind == kind,
            // A pinned name can also mean a provider below the pin.
            (Scope::Pinned(_), pin) => pin
                .and_then(|pin| provider.id.strip_prefix(pin))
                .is_some_and(|below| below.is_empty() || below.starts_with('.')),
        };
        is_in_scope && provider.is_configured && provider.websocket
    })
}

fn unsupported() -> ApiError {
    ApiError::new(
        ErrorCode::UpgradeRequired,
        "no provider for this request speaks WebSocket (`websocket = true` would say so); send it as POST over \
         plain HTTP",
    )
}

/// Agrees to a session whose first message will say where it goes.
fn agree(opening: Opening<'_>, client: OnUpgrade, key: &HeaderValue) -> Answer {
    let mut client_headers = std::mem::take(&mut opening.parts.headers);
    let protocol = handshake::choose_protocol(&mut client_headers);
    headers::to_upstream(&mut client_headers);
    opening.hops.write(&mut client_headers);
    let proof = handshake::accept(key);
    let mut answer = HeaderMap::new();
    answer.insert(SEC_WEBSOCKET_ACCEPT, proof.clone());
    if let Some(protocol) = protocol {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let session = Session {
        gateway: opening.gateway.clone(),
        turns: Turns {
            snapshot: Arc::clone(opening.snapshot),
            kind: opening.route.kind,
            scope: opening.scope,
            makers: Arc::clone(opening.gateway.makers()),
            makes_object: AtomicBool::new(false),
            is_for_provider: opening.credentials.is_for_provider(),
        },
        credentials: opening.credentials,
        headers: client_headers,
        query: opening.parts.uri.query().map(str::to_owned),
        proof,
    };
    switching(answer, Switch::routed(client, session))
}

/// Asks the provider of the model that the query names.
async fn ask(
    opening: Opening<'_>,
    client: OnUpgrade,
    in_flight: &InFlight,
    exchange: &mut Exchange,
) -> Result<Box<Answer>, ApiError> {
    let Opening { gateway, snapshot, parts, route, scope, credentials, hops } = opening;
    let query = parts.uri.query().unwrap_or_default();
    let choice =
        if credentials.is_for_provider() { Choice::First } else { Choice::WebSocket(&parts.headers) };
    let Target { journey, attempt, stop, query } =
        Target::find(snapshot, scope, gateway.makers(), query, choice)?;
    if !snapshot.providers.provider(stop.provider).websocket {
        return Err(unsupported());
    }
    let key = attempt.target().id().key;
    let endpoint = snapshot.endpoint_of(stop.provider, key);
    exchange.record.provider = Some(endpoint.shared_name());
    exchange.record.model.clone_from(&stop.model);
    let credential = credentials.choose(endpoint)?;
    let whose_key = WhoseKey::of(&credential);
    let mut upstream_headers = std::mem::take(&mut parts.headers);
    handshake::strip_protocols(&mut upstream_headers);
    headers::to_upstream(&mut upstream_headers);
    hops.write(&mut upstream_headers);
    let request = UpstreamRequest {
        method: Method::GET,
        path: route.tail.to_owned(),
        query: forward::query_of(Some(&query), snapshot.providers.provider(stop.provider)),
        headers: upstream_headers.into(),
        credential,
        body: RequestBody::empty(),
    };
    let handshake = Handshake::begin(exchange, (journey, attempt), whose_key, endpoint.shared_name());
    let begin = Instant::now();
    let outcome = tokio::select! {
        outcome = gateway.upstream().upgrade(endpoint, request) => {
            handshake.settle(exchange, &outcome);
            forward::note_steps(&mut exchange.record.steps, outcome.as_ref().map(Upgrade::timings));
            outcome.map_err(|error| failure::upstream(endpoint.name(), &error))
        }
        () = in_flight.ended() => Err(failure::shutting_down()),
    };
    exchange.wait(begin.elapsed());
    let outcome = outcome?;
    exchange.record.ttfb = Some(exchange.elapsed());
    let mut answer = match outcome {
        Upgrade::Switched { headers: agreed, .. } if agreed.contains_key(SEC_WEBSOCKET_EXTENSIONS) => {
            return Err(handshake::invalid_answer(endpoint.name()));
        }
        Upgrade::Switched { headers: mut agreed, io, .. } => {
            headers::to_client(&mut agreed, false);
            let switch = Switch::joined(client, io, snapshot.server.timeouts.write);
            Box::new(switching(agreed, switch))
        }
        Upgrade::Refused(response) => {
            let asked = forward::Asked::new(parts);
            let mut answer =
                forward::answer((response, Held::default()), &route, &asked, Treatment::default())?;
            if whose_key == WhoseKey::Ours && forward::refuses_key(answer.status) {
                let (id, status) = (exchange.id.as_str(), answer.status.as_u16());
                forward::log_refused_key(snapshot, stop.provider, key, id, status);
                forward::blame_our_key(snapshot, (stop.provider, key), exchange, &mut answer).await?;
            }
            answer
        }
    };
    forward::mark(&mut answer.headers, snapshot, &stop);
    Ok(answer)
}

/// Makes the 101.
fn switching(mut headers: HeaderMap, switch: Switch) -> Answer {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    Answer {
        status: StatusCode::SWITCHING_PROTOCOLS,
        headers,
        payload: Payload::Tunnel(Box::new(switch)),
        treatment: Treatment::default(),
    }
}

/// Where a session goes whose query names the model.
struct Target {
    journey: Journey,
    attempt: Attempt,
    stop: Stop,
    query: String,
}

impl Target {
    fn find(
        snapshot: &Snapshot,
        scope: Scope,
        makers: &Makers,
        query: &str,
        choice: Choice<'_>,
    ) -> Result<Self, ApiError> {
        let found = ModelQuery::parse(query)?;
        let way = match (&found.model, &found.call) {
            (Some(name), _) => {
                let name_ref = ModelRef::parse(name).map_err(|error| failure::name(&error))?;
                let resolved = snapshot.providers.route(name_ref, scope);
                let route =
                    resolved.map_err(|error| failure::resolve(&snapshot.providers, name, scope, &error))?;
                plan::way(snapshot, route, choice)
            }
            (None, Some(call)) => {
                let maker = scope::maker_of(makers, snapshot, scope, [call.as_str()].into_iter());
                let provider = plan::without_model(snapshot, maker.map_or(scope, Scope::Pinned))?;
                snapshot.balance.alone(Stop { provider, model: None })
            }
            (None, None) => {
                let route = snapshot.providers.route_default(scope).ok_or_else(missing_model)?;
                plan::way(snapshot, route, choice)
            }
        };
        let (journey, attempt) = plan::begin(snapshot, way, choice, None)?;
        let stop = journey.stop(&attempt).clone();
        let query =
            stop.model.as_deref().map_or_else(|| query.to_owned(), |model| found.splice(query, model));
        Ok(Self { journey, attempt, stop, query })
    }
}

fn missing_model() -> ApiError {
    ApiError::new(
        ErrorCode::MissingModel,
        "the query names no `model`, and `[llm.provider] default` names none for this endpoint",
    )
}
