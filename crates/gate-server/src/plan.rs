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
use crate::error::ApiError;
use crate::extra_frame::ExtraFrame;
use crate::head::RequestHead;
use crate::intake::{Content, Received};
use crate::journey::{self, Journey};
use crate::query::ModelQuery;
use crate::route::{Forward, Operation};
use crate::scope::Scopes;
use crate::snapshot::Snapshot;
use crate::{batch, failure, objects};

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

/// What one attempt sends.
pub(crate) struct Cargo {
    pub(crate) body: RequestBody,
    /// The query, where it names the model and that is replaced in it.
    pub(crate) query: Option<String>,
    /// What is not the client's own of the answer, because the gateway asked for it.
    pub(crate) extra_frame: Option<ExtraFrame>,
}

/// What is kept of a request, so that it can be sent again.
pub(crate) enum Kept {
    /// Nothing: it passes only once.
    Nothing,
    /// The same for whoever gets it.
    Same { body: RequestBody, query: Option<String>, has_extra_frame: bool },
    /// JSON whose model is another at each provider.
    Json(Bytes),
    /// A form whose model is.
    Form { held: Bytes, model: Range<usize> },
    /// A query whose model is.
    Query { query: String, body: RequestBody },
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

impl Cargo {
    fn plain(body: RequestBody) -> Self {
        Self { body, query: None, extra_frame: None }
    }

    /// Returns what is kept of this for targets that all get the same.
    fn kept(&self) -> Kept {
        match self.body.try_clone() {
            None => Kept::Nothing,
            Some(body) => {
                Kept::Same { body, query: self.query.clone(), has_extra_frame: self.extra_frame.is_some() }
            }
        }
    }
}

impl Kept {
    /// Makes what another attempt sends; `None` where the request passes only once.
    pub(crate) fn cargo(&self, snapshot: &Snapshot, route: &Forward<'_>, stop: &Stop) -> Option<Cargo> {
        let model = stop.model.as_deref().unwrap_or_default();
        match self {
            Self::Nothing => None,
            Self::Same { body, query, has_extra_frame } => Some(Cargo {
                body: body.try_clone()?,
                query: query.clone(),
                extra_frame: has_extra_frame.then(ExtraFrame::default),
            }),
            Self::Json(body) => {
                Some(json_cargo(snapshot, route, &RequestHead::parse(body).ok()?, body, stop))
            }
            Self::Form { held, model: span } => {
                Some(Cargo::plain(RequestBody::spliced(form_pieces(held, span, model))))
            }
            Self::Query { query, body } => Some(Cargo {
                query: Some(ModelQuery::parse(query).ok()?.splice(query, model)),
                ..Cargo::plain(body.try_clone()?)
            }),
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
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
            let Some(model) = model.as_ref().filter(|model| !model.value.is_empty()) else {
                return unnamed(snapshot, scopes, received);
            };
            let name = String::from_utf8_lossy(&model.value);
            let way = way(snapshot, resolve(snapshot, scopes.named, &name)?, choice);
            let (journey, attempt) = begin(snapshot, way, choice, None)?;
            let stop = journey.stop(&attempt);
            let upstream_model = stop.model.as_deref().unwrap_or_default();
            let span = model.span.clone();
            let held = received.held.clone();
            let pieces = if name == upstream_model {
                [held.clone(), Bytes::new(), Bytes::new()]
            } else {
                form_pieces(&held, &span, upstream_model)
            };
            let cargo = Cargo::plain(received.into_body(pieces));
            let kept = match cargo.kept() {
                Kept::Same { .. } if journey.is_of_several() => Kept::Form { held, model: span },
                kept => kept,
            };
            Ok(Plan { journey, attempt, cargo, kept, makes_object: true })
        }
        Content::Json if route.operation == Operation::MessageBatch => plan_batch(snapshot, scopes, received),
        Content::Json => plan_json(snapshot, route, scopes, &received.held, choice),
    }
}

fn form_pieces(held: &Bytes, model: &Range<usize>, upstream_model: &str) -> [Bytes; 3] {
    let new = Bytes::copy_from_slice(upstream_model.as_bytes());
    [held.slice(..model.start), new, held.slice(model.end..)]
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
    let way = way(snapshot, resolve(snapshot, scopes.named, name)?, choice);
    let (journey, attempt) = begin(snapshot, way, choice, None)?;
    let model = journey.stop(&attempt).model.as_deref().unwrap_or_default();
    let cargo = Cargo { query: Some(found.splice(query, model)), ..Cargo::plain(received.into_body_as_is()) };
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
    body: &Bytes,
    choice: Choice<'_>,
) -> Result<Plan, ApiError> {
    let head = RequestHead::parse(body)?;
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
        (Some(name), maker) => {
            let at_maker = maker
                .and_then(|maker| snapshot.providers.resolve_at_maker(ModelRef::parse(name).ok()?, maker));
            match at_maker {
                Some(target) => Ok(alone(target)),
                None => Ok(way(snapshot, resolve(snapshot, scopes.named, name)?, choice)),
            }
        }
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

/// Makes what is sent of a JSON body to one stop.
fn json_cargo(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    head: &RequestHead<'_>,
    body: &Bytes,
    stop: &Stop,
) -> Cargo {
    let Some(model) = &stop.model else { return Cargo::plain(RequestBody::whole(body.clone())) };
    let may_ask = snapshot.providers.provider(stop.provider).inject_stream_usage
        && matches!(route.operation, Operation::ChatCompletions | Operation::Completions);
    let usage = if may_ask { head.usage_edit() } else { None };
    Cargo {
        extra_frame: usage.as_ref().map(|_| ExtraFrame::default()),
        body: head.splice(body, model, usage),
        query: None,
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
    let models = batch::models(&received.held)?;
    let mut targets: Vec<Target<'_>> = Vec::with_capacity(models.len());
    for (at, model) in models.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| Some((models.get(before)?, targets.get(before)?)));
        let target = match before {
            Some((same, target)) if same.name == model.name => *target,
            _ => resolve(snapshot, scopes.named, &model.name)?.first(),
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
    let body = batch::splice(&received.held, &models, targets.iter().map(|target| target.upstream_model));
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
    plan_alone(snapshot, Stop { provider, model: None }, received.into_body_as_is())
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
