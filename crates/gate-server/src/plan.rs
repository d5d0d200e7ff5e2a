//! Where a request goes and with which bytes: its model is found, resolved and spliced.

use std::ops::Range;

use bytes::Bytes;
use gate_config::{ProviderIndex, Scope, Target};
use gate_model_ref::ModelRef;
use gate_upstream::RequestBody;

use crate::error::{ApiError, ErrorCode};
use crate::extra_frame::ExtraFrame;
use crate::form::RoutingPart;
use crate::head::{self, RequestHead};
use crate::intake::{Content, Received};
use crate::query::ModelQuery;
use crate::route::{Forward, Operation};
use crate::scope::Scopes;
use crate::snapshot::Snapshot;
use crate::{batch, failure, objects, scope};

/// Where a request goes, and with which bytes.
pub(crate) struct Plan {
    pub(crate) provider: ProviderIndex,
    pub(crate) body: RequestBody,
    /// The query, where it names the model and that is replaced in it.
    pub(crate) query: Option<String>,
    /// The upstream model, where the request names one.
    pub(crate) model: Option<Box<str>>,
    /// Whether the answer may be an object that later requests name.
    pub(crate) makes_object: bool,
    /// What is not the client's own of the answer, because the gateway asked for it.
    pub(crate) extra_frame: Option<ExtraFrame>,
}

/// Decides where a request goes and splices its model.
pub(crate) fn plan(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes<'_>,
    query: Option<&str>,
    received: Received,
) -> Result<Plan, ApiError> {
    match &received.content {
        Content::Opaque if route.has_model_in_query() => plan_query(snapshot, scopes, query, received),
        Content::Opaque => unnamed(snapshot, scopes, received),
        Content::Form(model) => {
            let Some(model) = model.clone().filter(|model| !model.value.is_empty()) else {
                return unnamed(snapshot, scopes, received);
            };
            let name = String::from_utf8_lossy(&model.value);
            let target = resolve(snapshot, scopes.named, &name)?;
            let new = (name != target.upstream_model)
                .then(|| Bytes::copy_from_slice(target.upstream_model.as_bytes()));
            Ok(plan_form(received, target, new.map(|new| (model.span, new))))
        }
        Content::Session(Some(session)) => {
            let session = session.clone();
            plan_session(snapshot, scopes, query, &session, received)
        }
        Content::Session(None) => plan_query(snapshot, scopes, query, received),
        Content::Json if route.operation == Operation::MessageBatch => plan_batch(snapshot, scopes, received),
        Content::Json => plan_json(snapshot, route, scopes, &received.held),
    }
}

/// Decides where a request goes whose query may name the model, and splices it.
fn plan_query(
    snapshot: &Snapshot,
    scopes: Scopes<'_>,
    query: Option<&str>,
    received: Received,
) -> Result<Plan, ApiError> {
    let query = query.unwrap_or_default();
    let found = ModelQuery::parse(query)?;
    let Some(name) = &found.model else { return unnamed(snapshot, scopes, received) };
    let target = resolve(snapshot, scopes.named, name)?;
    Ok(Plan {
        provider: target.provider,
        body: received.into_body_as_is(),
        query: Some(found.splice(query, target.upstream_model)),
        model: Some(target.upstream_model.into()),
        makes_object: true,
        extra_frame: None,
    })
}

/// Sends a form to its target, with one span of what is held replaced.
fn plan_form(received: Received, target: Target<'_>, edit: Option<(Range<usize>, Bytes)>) -> Plan {
    let held = &received.held;
    let pieces = match edit {
        None => [held.clone(), Bytes::new(), Bytes::new()],
        Some((span, new)) => [held.slice(..span.start), new, held.slice(span.end..)],
    };
    Plan {
        provider: target.provider,
        body: received.into_body(pieces),
        query: None,
        model: Some(target.upstream_model.into()),
        makes_object: true,
        extra_frame: None,
    }
}

/// Decides where a form goes whose session may name the model, and splices it there.
fn plan_session(
    snapshot: &Snapshot,
    scopes: Scopes<'_>,
    query: Option<&str>,
    session: &RoutingPart,
    received: Received,
) -> Result<Plan, ApiError> {
    let head = RequestHead::parse(&session.value)
        .map_err(|error| ApiError { message: format!("`session`: {}", error.message).into(), ..error })?;
    let Some(model) = head.model.filter(|model| !model.name.is_empty()) else {
        return plan_query(snapshot, scopes, query, received);
    };
    if ModelQuery::parse(query.unwrap_or_default())?.model.is_some() {
        let message = "both the query and the form's `session` name a `model`; send it once";
        return Err(ApiError::new(ErrorCode::DuplicateKey, message));
    }
    let target = resolve(snapshot, scopes.named, &model.name)?;
    let at = session.span.start;
    let span = at + model.span.start..at + model.span.end;
    let new = (model.name != target.upstream_model).then(|| Bytes::from(head::quoted(target.upstream_model)));
    Ok(plan_form(received, target, new.map(|new| (span, new))))
}

/// Decides where a message of a session goes, and splices its model.
pub(crate) fn plan_message(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes<'_>,
    message: &Bytes,
) -> Result<Plan, ApiError> {
    plan_json(snapshot, route, scopes, message)
}

/// Decides where a JSON body goes, and splices its model.
fn plan_json(
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scopes: Scopes<'_>,
    body: &Bytes,
) -> Result<Plan, ApiError> {
    let head = RequestHead::parse(body)?;
    let name = head.model.as_ref().map(|model| model.name.as_ref()).filter(|name| !name.is_empty());
    let makes_object = objects::makes_object(route, &head);
    let maker = scopes.maker(snapshot, &head.objects);
    let needs_model =
        route.operation.needs_model() && !(route.operation == Operation::Responses && head.has_prompt);
    let target = match (name, maker) {
        (Some(name), maker) => resolve_near(snapshot, scopes.named, maker, name).map(Some)?,
        (None, _) if !needs_model => None,
        (None, Some(maker)) => {
            head.require_no_twin()?;
            pinned_default(snapshot, Scope::Pinned(maker))
        }
        (None, None) => {
            head.require_no_twin()?;
            let default = snapshot.providers.resolve_default(scopes.named);
            let default = default.or_else(|| pinned_default(snapshot, scopes.named));
            Some(default.ok_or_else(failure::missing_model)?)
        }
    };
    let Some(target) = target else {
        let provider = without_model(snapshot, maker.map_or(scopes.unnamed, Scope::Pinned))?;
        let body = RequestBody::whole(body.clone());
        return Ok(Plan { provider, body, query: None, model: None, makes_object, extra_frame: None });
    };
    let may_ask = snapshot.providers.provider(target.provider).inject_stream_usage
        && matches!(route.operation, Operation::ChatCompletions | Operation::Completions);
    let usage = if may_ask { head.usage_edit() } else { None };
    Ok(Plan {
        provider: target.provider,
        extra_frame: usage.as_ref().map(|_| ExtraFrame::default()),
        body: head.splice(body, target.upstream_model, usage),
        query: None,
        model: Some(target.upstream_model.into()),
        makes_object,
    })
}

/// Finds what a name stands for, at first at the provider that made an object which the request names
/// too: no other has it.
fn resolve_near<'s>(
    snapshot: &'s Snapshot,
    scope: Scope,
    maker: Option<ProviderIndex>,
    name: &'s str,
) -> Result<Target<'s>, ApiError> {
    let at_maker = |maker| snapshot.providers.resolve_at_maker(ModelRef::parse(name).ok()?, maker);
    maker.and_then(at_maker).map_or_else(|| resolve(snapshot, scope, name), Ok)
}

/// Returns the pinned provider's own default model: a pin without a model means the provider.
fn pinned_default(snapshot: &Snapshot, scope: Scope) -> Option<Target<'_>> {
    let Scope::Pinned(provider) = scope else { return None };
    let upstream_model = snapshot.providers.provider(provider).default_model.as_deref()?;
    Some(Target { provider, upstream_model })
}

/// Resolves every model of a batch. The provider gets the whole of it, so all must be its own.
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
            _ => resolve_near(snapshot, scopes.named, maker, &model.name)?,
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
        body: batch::splice(&held, &models, targets.iter().map(|target| target.upstream_model)),
        query: None,
        model: is_one_model.then(|| first.upstream_model.into()),
        makes_object: true,
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
fn unnamed(snapshot: &Snapshot, scopes: Scopes<'_>, received: Received) -> Result<Plan, ApiError> {
    let provider = without_model(snapshot, scopes.unnamed)?;
    let body = received.into_body_as_is();
    Ok(Plan { provider, body, query: None, model: None, makes_object: true, extra_frame: None })
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
