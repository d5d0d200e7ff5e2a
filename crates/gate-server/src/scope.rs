//! Where a request may go: what its path or a header pins, and who made the object that it names.

use gate_config::{ProviderIndex, Scope};
use gate_model_ref::ProviderKind;

use crate::client_headers::{ClientHeaders, Field};
use crate::error::{ApiError, ErrorCode};
use crate::failure;
use crate::makers::Makers;
use crate::objects::NamedObjects;
use crate::route::{self, Forward, Operation};
use crate::snapshot::Snapshot;

/// Where names are looked up, and where a request without a name goes.
#[derive(Clone, Copy)]
pub(crate) struct Scopes<'g> {
    pub(crate) named: Scope,
    /// As `named`, unless the path names an object whose maker is known.
    pub(crate) unnamed: Scope,
    /// Who made the objects that a body names.
    pub(crate) makers: &'g Makers,
}

impl Scopes<'_> {
    /// Returns the provider that made an object which the request names: in its path, or among
    /// `objects`. A pin outranks it.
    pub(crate) fn maker(&self, snapshot: &Snapshot, objects: &NamedObjects<'_>) -> Option<ProviderIndex> {
        match (self.named, self.unnamed) {
            (Scope::Kind(_), Scope::Pinned(maker)) => Some(maker),
            (scope, _) => maker_of(self.makers, snapshot, scope, objects.ids()),
        }
    }
}

/// Turns what the path or the header pins into where names are looked up. A pin by the header also
/// decides whose API a path is that both vendors have.
pub(crate) fn scope_of(
    snapshot: &Snapshot,
    route: &mut Forward<'_>,
    headers: ClientHeaders<'_>,
) -> Result<Scope, ApiError> {
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

/// Sends a request for an object that one of the providers made to that provider. A pin outranks it.
pub(crate) fn scope_of_object(
    makers: &Makers,
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scope: Scope,
) -> Scope {
    let may_be_unnamed = !route.operation.needs_model() && route.operation != Operation::MessageBatch;
    if scope != Scope::Kind(route.kind) || !may_be_unnamed {
        return scope;
    }
    let maker = makers.find(route.tail).and_then(|id| known(snapshot, route.kind, &id));
    maker.map_or(scope, Scope::Pinned)
}

/// Returns the provider that made the first of these objects whose maker is known. A pin outranks it.
pub(crate) fn maker_of<'i>(
    makers: &Makers,
    snapshot: &Snapshot,
    scope: Scope,
    ids: impl Iterator<Item = &'i str>,
) -> Option<ProviderIndex> {
    let Scope::Kind(kind) = scope else { return None };
    known(snapshot, kind, &makers.find_any(ids)?)
}

/// Returns the one provider that made all of these objects whose maker is known.
///
/// # Errors
/// 400 for two makers. A pin outranks them.
pub(crate) fn maker_of_all<'i>(
    makers: &Makers,
    snapshot: &Snapshot,
    scope: Scope,
    ids: impl Iterator<Item = &'i str>,
) -> Result<Option<ProviderIndex>, ApiError> {
    let mut first: Option<(&str, ProviderIndex)> = None;
    for id in ids {
        let Some(maker) = maker_of(makers, snapshot, scope, std::iter::once(id)) else { continue };
        match first {
            Some(one) if one.1 != maker => {
                return Err(failure::mixed_objects(&snapshot.providers, one, (id, maker)));
            }
            Some(_) => {}
            None => first = Some((id, maker)),
        }
    }
    Ok(first.map(|(_, maker)| maker))
}

/// Finds the provider of an id that was remembered. A reload may have removed it, taken away what it
/// needs, or given its name to another kind.
fn known(snapshot: &Snapshot, kind: ProviderKind, id: &str) -> Option<ProviderIndex> {
    let found = snapshot.providers.find(id)?;
    let provider = snapshot.providers.provider(found);
    (provider.kind == kind && provider.is_configured).then_some(found)
}

/// Finds the provider that `x-gateway-provider` names by its dotted path.
fn pin_of_header(snapshot: &Snapshot, headers: ClientHeaders<'_>) -> Result<Option<ProviderIndex>, ApiError> {
    let mut values = headers.get_all(Field::XGatewayProvider);
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
