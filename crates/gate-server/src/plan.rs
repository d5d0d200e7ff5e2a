//! Where a request goes and with which bytes: its model is found, resolved and spliced.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use gate_balance::Attempt;
use gate_config::{ProviderIndex, Route, Scope, Target};
use gate_model_ref::ModelRef;
use gate_upstream::RequestBody;
use http::HeaderMap;

use crate::balance::{Stop, Way};
use crate::error::{ApiError, ErrorCode};
use crate::form::RoutingPart;
use crate::head::RequestHead;
use crate::intake::{Content, Received};
use crate::journey::{self, Journey};
use crate::query::ModelQuery;
use crate::route::{Forward, Operation};
use crate::scope::Scopes;
use crate::snapshot::Snapshot;
use crate::{batch, failure, objects, scope};

mod cargo;

pub(crate) use cargo::{Cargo, Kept};
use cargo::{Spelling, json_cargo};

/// Where a request goes, and with which bytes.
pub(crate) struct Plan {
    pub(crate) journey: Journey,
    /// The first attempt, which `cargo` is for.
    pub(crate) attempt: Attempt,
    pub(crate) cargo: Cargo,
    pub(crate) kept: Kept,
    /// Whether the answer may be an object that later requests name.
    pub(crate) makes_object: bool,
}

/// Which of a route's targets a request may have.
#[derive(Clone, Copy)]
pub(crate) enum Choice<'p> {
    /// Any, by the rules of balancing and the session that these headers tell.
    Any(&'p HeaderMap),
    /// Any that speaks WebSocket, likewise.
    WebSocket(&'p HeaderMap),
    /// Only the first, whose account the client's key is for.
    First,
}

/// Decides where a request goes and splices its model.
pub(crate) fn plan(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes<'_>,
    query: Option<&str>,
    received: Received,
    choice: Choice<'_>,
) -> Result<Plan, ApiError> {
    match &received.content {
        Content::Opaque if route.has_model_in_query() => {
            plan_query(snapshot, scopes, query, received, choice)
        }
        Content::Opaque => unnamed(snapshot, scopes, received),
        Content::Form(model) => {
            let Some(model) = model.clone().filter(|model| !model.value.is_empty()) else {
                return unnamed(snapshot, scopes, received);
            };
            let name = String::from_utf8_lossy(&model.value);
            plan_form(snapshot, scopes, received, choice, (&name, model.span, Spelling::Plain))
        }
        Content::Session(Some(session)) => {
            let session = session.clone();
            plan_session(snapshot, scopes, query, &session, received, choice)
        }
        Content::Session(None) => plan_query(snapshot, scopes, query, received, choice),
        Content::Json(_) if route.operation == Operation::MessageBatch => {
            plan_batch(snapshot, scopes, received)
        }
        Content::Json(_) => plan_json(snapshot, route, scopes, received, choice),
    }
}

/// Decides where a form goes that names its model in a span of what is held, and splices it there.
fn plan_form(
    snapshot: &Snapshot,
    scopes: Scopes<'_>,
    received: Received,
    choice: Choice<'_>,
    (name, span, spelling): (&str, Range<usize>, Spelling),
) -> Result<Plan, ApiError> {
    let way = named_way(snapshot, scopes.named, name, choice)?;
    let (journey, attempt) = begin(snapshot, way, choice, None)?;
    let model = journey.stop(&attempt).model.as_deref().unwrap_or_default();
    let body = received.into_body();
    let as_it_came = if journey.is_of_several() { body.try_clone() } else { None };
    let is_same = name == model;
    let cargo = Cargo::plain(if is_same { body } else { body.replacing(span.clone(), spelling.of(model)) });
    let kept = match as_it_came {
        Some(body) => Kept::Form { body, span, spelling },
        None => cargo.kept(),
    };
    Ok(Plan { journey, attempt, cargo, kept, makes_object: true })
}

/// Decides where a form goes whose session may name the model, and splices it there.
fn plan_session(
    snapshot: &Snapshot,
    scopes: Scopes<'_>,
    query: Option<&str>,
    session: &RoutingPart,
    received: Received,
    choice: Choice<'_>,
) -> Result<Plan, ApiError> {
    let head = RequestHead::parse(&session.value)
        .map_err(|error| ApiError { message: format!("`session`: {}", error.message).into(), ..error })?;
    let Some(model) = head.model.filter(|model| !model.name.is_empty()) else {
        return plan_query(snapshot, scopes, query, received, choice);
    };
    if ModelQuery::parse(query.unwrap_or_default())?.model.is_some() {
        let message = "both the query and the form's `session` name a `model`; send it once";
        return Err(ApiError::new(ErrorCode::DuplicateKey, message));
    }
    let at = session.span.start;
    let span = at + model.span.start..at + model.span.end;
    plan_form(snapshot, scopes, received, choice, (&model.name, span, Spelling::Json))
}

/// Decides where a request goes whose query may name the model, and splices it.
fn plan_query(
    snapshot: &Snapshot,
    scopes: Scopes<'_>,
    query: Option<&str>,
    received: Received,
    choice: Choice<'_>,
) -> Result<Plan, ApiError> {
    let query = query.unwrap_or_default();
    let found = ModelQuery::parse(query)?;
    let Some(name) = &found.model else { return unnamed(snapshot, scopes, received) };
    let way = named_way(snapshot, scopes.named, name, choice)?;
    let (journey, attempt) = begin(snapshot, way, choice, None)?;
    let model = journey.stop(&attempt).model.as_deref().unwrap_or_default();
    let cargo = Cargo { query: Some(found.splice(query, model)), ..Cargo::plain(received.into_body()) };
    let kept = match cargo.kept() {
        Kept::Same { body, .. } if journey.is_of_several() => Kept::Query { query: query.to_owned(), body },
        kept => kept,
    };
    Ok(Plan { journey, attempt, cargo, kept, makes_object: true })
}

/// Decides where a message of a session may go, and tells whether its answer may be an object that later
/// requests name.
pub(crate) fn plan_message(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes<'_>,
    message: &Bytes,
    choice: Choice<'_>,
) -> Result<(Way, bool), ApiError> {
    let head = RequestHead::parse(message)?;
    let way = json_way(snapshot, route, scopes, &head, choice)?;
    Ok((way, objects::makes_object(route, &head)))
}

/// Puts the model of a stop into a message of a session.
pub(crate) fn splice_message(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    message: &Bytes,
    stop: &Stop,
) -> Result<RequestBody, ApiError> {
    Ok(json_cargo(snapshot, route, &RequestHead::parse(message)?, message, stop).body)
}

/// Decides where a JSON body goes, and splices its model.
fn plan_json(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes<'_>,
    received: Received,
    choice: Choice<'_>,
) -> Result<Plan, ApiError> {
    let body = &received.held;
    let head = match received.content {
        Content::Json(Some(scanner)) => RequestHead::parse_on(*scanner, body)?,
        _ => RequestHead::parse(body)?,
    };
    let way = json_way(snapshot, route, scopes, &head, choice)?;
    let (journey, attempt) = begin(snapshot, way, choice, Some(body))?;
    let cargo = json_cargo(snapshot, route, &head, body, journey.stop(&attempt));
    let kept = if journey.is_of_several() { Kept::Json(body.clone()) } else { cargo.kept() };
    Ok(Plan { journey, attempt, cargo, kept, makes_object: objects::makes_object(route, &head) })
}

/// Finds where a JSON body may go. An object that it names is with one provider alone.
fn json_way(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes<'_>,
    head: &RequestHead<'_>,
    choice: Choice<'_>,
) -> Result<Way, ApiError> {
    let name = head.model.as_ref().map(|model| model.name.as_ref()).filter(|name| !name.is_empty());
    let maker = scopes.maker(snapshot, &head.objects);
    let needs_model =
        route.operation.needs_model() && !(route.operation == Operation::Responses && head.has_prompt);
    let alone = |target| snapshot.balance.alone(Stop::of(target));
    match (name, maker) {
        (Some(name), maker) => match at_maker(snapshot, maker, name) {
            Some(target) => Ok(alone(target)),
            None => named_way(snapshot, scopes.named, name, choice),
        },
        (None, _) if !needs_model => {
            let provider = without_model(snapshot, maker.map_or(scopes.unnamed, Scope::Pinned))?;
            Ok(snapshot.balance.alone(Stop { provider, model: None }))
        }
        (None, Some(maker)) => {
            head.require_no_twin()?;
            let provider = Stop { provider: maker, model: None };
            let default = pinned_default(snapshot, Scope::Pinned(maker));
            Ok(default.map_or_else(|| snapshot.balance.alone(provider), alone))
        }
        (None, None) => {
            head.require_no_twin()?;
            let default = snapshot.providers.route_default(scopes.named);
            let pinned =
                || pinned_default(snapshot, scopes.named).map(|target| snapshot.providers.route_of(target));
            Ok(way(snapshot, default.or_else(pinned).ok_or_else(failure::missing_model)?, choice))
        }
    }
}

/// Finds what a name stands for at the provider that made an object which the request names too: no other
/// has it.
fn at_maker<'s>(snapshot: &'s Snapshot, maker: Option<ProviderIndex>, name: &'s str) -> Option<Target<'s>> {
    snapshot.providers.resolve_at_maker(ModelRef::parse(name).ok()?, maker?)
}

/// Finds the way of a request for a name.
fn named_way(snapshot: &Snapshot, scope: Scope, name: &str, choice: Choice<'_>) -> Result<Way, ApiError> {
    let find = || Ok(way(snapshot, resolve(snapshot, scope, name)?, choice));
    match (scope, choice) {
        (Scope::Kind(kind), Choice::Any(_)) => snapshot.known_ways.of(kind, name, find),
        _ => find(),
    }
}

/// Turns a route of the configuration into the way of a request.
pub(crate) fn way(snapshot: &Snapshot, route: Route<'_>, choice: Choice<'_>) -> Way {
    match choice {
        Choice::Any(_) => snapshot.balance.way(&route, |_| true),
        Choice::WebSocket(_) => {
            snapshot.balance.way(&route, |stop| snapshot.providers.provider(stop.provider).websocket)
        }
        Choice::First => snapshot.balance.alone(Stop::of(route.first())),
    }
}

/// Begins a request's way.
///
/// # Errors
/// 503 if nothing on the way takes requests now.
pub(crate) fn begin(
    snapshot: &Snapshot,
    way: Way,
    choice: Choice<'_>,
    body: Option<&Bytes>,
) -> Result<(Journey, Attempt), ApiError> {
    let session = match choice {
        Choice::Any(headers) | Choice::WebSocket(headers) if way.is_shared() => {
            journey::session(headers, body)
        }
        _ => None,
    };
    Journey::begin(snapshot, way, session)
}

/// Returns the pinned provider's own default model: a pin without a model means the provider.
fn pinned_default(snapshot: &Snapshot, scope: Scope) -> Option<Target<'_>> {
    let Scope::Pinned(provider) = scope else { return None };
    let upstream_model = snapshot.providers.provider(provider).default_model.as_deref()?;
    Some(Target { provider, upstream_model })
}

/// Resolves every model of a batch. The provider gets the whole of it, so all must be its own: of a pool
/// it is the first, and it goes to no other.
fn plan_batch(snapshot: &Snapshot, scopes: Scopes<'_>, received: Received) -> Result<Plan, ApiError> {
    // The slice is of its own handle, so that the models do not borrow what is sent.
    let held = received.held.clone();
    let models = batch::models(&held)?;
    let ids = models.iter().flat_map(|model| model.objects.ids());
    let maker = scope::maker_of_all(scopes.makers, snapshot, scopes.named, ids)?;
    let mut targets: Vec<Target<'_>> = Vec::with_capacity(models.len());
    for (at, model) in models.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| Some((models.get(before)?, targets.get(before)?)));
        let target = match before {
            Some((same, target)) if same.name == model.name => *target,
            _ => match at_maker(snapshot, maker, &model.name) {
                Some(target) => target,
                None => resolve(snapshot, scopes.named, &model.name)?.first(),
            },
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
    let model: Option<Arc<str>> = is_one_model.then(|| first.upstream_model.into());
    let body = batch::splice(&held, &models, targets.iter().map(|target| target.upstream_model));
    plan_alone(snapshot, Stop { provider: first.provider, model }, body)
}

/// Finds what a client's name for a model stands for.
fn resolve<'s>(snapshot: &'s Snapshot, scope: Scope, name: &'s str) -> Result<Route<'s>, ApiError> {
    let name_ref = ModelRef::parse(name).map_err(|error| failure::name(&error))?;
    let found = snapshot.providers.route(name_ref, scope);
    found.map_err(|error| failure::resolve(&snapshot.providers, name, scope, &error))
}

/// Plans a request that names no model: it goes out as it came.
fn unnamed(snapshot: &Snapshot, scopes: Scopes<'_>, received: Received) -> Result<Plan, ApiError> {
    let provider = without_model(snapshot, scopes.unnamed)?;
    plan_alone(snapshot, Stop { provider, model: None }, received.into_body())
}

/// Plans a request that one provider alone can answer.
fn plan_alone(snapshot: &Snapshot, stop: Stop, body: RequestBody) -> Result<Plan, ApiError> {
    let (journey, attempt) = Journey::begin(snapshot, snapshot.balance.alone(stop), None)?;
    let cargo = Cargo::plain(body);
    let kept = cargo.kept();
    Ok(Plan { journey, attempt, cargo, kept, makes_object: true })
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
