//! Where a request may go: what its path or a header pins, and who made the object that it names.

use gate_config::{ProviderIndex, Scope};
use gate_model_ref::ProviderKind;
use http::HeaderMap;

use crate::error::{ApiError, ErrorCode};
use crate::failure;
use crate::forward::PROVIDER;
use crate::gateway::Gateway;
use crate::route::{self, Forward, Operation};
use crate::snapshot::Snapshot;

/// Where names are looked up, and where a request without a name goes.
#[derive(Clone, Copy)]
pub(crate) struct Scopes {
    pub(crate) named: Scope,
    pub(crate) unnamed: Scope,
}

/// Turns what the path or the header pins into where names are looked up. A pin by the header also
/// decides whose API a path is that both vendors have.
pub(crate) fn scope_of(
    snapshot: &Snapshot,
    route: &mut Forward<'_>,
    headers: &HeaderMap,
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

/// Sends a request for an object that one of the providers made to that provider. A pin outranks it,
/// and so does a model.
pub(crate) fn scope_of_object(
    gateway: &Gateway,
    snapshot: &Snapshot,
    route: &Forward<'_>,
    scope: Scope,
) -> Scope {
    let may_be_unnamed = !route.operation.needs_model() && route.operation != Operation::MessageBatch;
    if scope != Scope::Kind(route.kind) || !may_be_unnamed {
        return scope;
    }
    let maker = gateway.makers().find(route.tail).and_then(|id| snapshot.providers.find(&id));
    // A reload may have removed the provider, or given its name to another kind.
    let maker = maker.filter(|maker| snapshot.providers.provider(*maker).kind == route.kind);
    maker.map_or(scope, Scope::Pinned)
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
