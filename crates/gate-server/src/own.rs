//! The gateway's own endpoints: is it alive, is it ready, what does it offer.

use gate_config::Scope;
use gate_model_ref::ProviderKind;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::answer::Answer;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::health;
use crate::listing;
use crate::route::{Own, Pin};
use crate::scope::find_pinned;
use crate::snapshot::Snapshot;

/// Answers a request to one of the gateway's own endpoints; lists have the shape that clients of
/// `dialect` read.
///
/// # Errors
/// 404 for a provider or a model that is not configured.
pub(crate) fn answer(
    gateway: &Gateway,
    snapshot: &Snapshot,
    own: Own<'_>,
    query: Option<&str>,
    dialect: ProviderKind,
) -> Result<Answer, ApiError> {
    match own {
        Own::Probe => Ok(Answer::json(
            StatusCode::OK,
            &json!({"name": "emx-gate", "version": env!("CARGO_PKG_VERSION")}),
        )),
        Own::Health => Ok(health::summary(gateway, snapshot)),
        Own::Ready => Ok(ready(gateway, snapshot)),
        Own::ProviderHealth => Ok(health::providers(gateway, snapshot)),
        Own::Providers => Ok(listing::providers(snapshot)),
        Own::Models(pin) => {
            let scope = scope(snapshot, pin)?;
            listing::models(snapshot, scope, query, dialect)
        }
        Own::Model(pin, id) => {
            let scope = scope(snapshot, pin)?;
            listing::model(snapshot, scope, id, dialect)
        }
    }
}

fn scope(snapshot: &Snapshot, pin: Pin<'_>) -> Result<Option<Scope>, ApiError> {
    Ok(match pin {
        Pin::None => None,
        Pin::Kind(kind) => Some(Scope::Kind(kind)),
        Pin::Provider(kind, path) => Some(Scope::Pinned(find_pinned(snapshot, kind, path)?)),
    })
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: ReadyChecks,
}

#[derive(Serialize)]
struct ReadyChecks {
    config_loaded: bool,
    providers_configured: bool,
}

fn ready(gateway: &Gateway, snapshot: &Snapshot) -> Answer {
    let providers_configured = snapshot.providers.providers().any(|(_, provider)| provider.is_configured);
    let ready = providers_configured && !gateway.is_draining();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &Ready { ready, checks: ReadyChecks { config_loaded: true, providers_configured } })
}
