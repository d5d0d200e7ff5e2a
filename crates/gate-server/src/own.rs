//! The gateway's own endpoints: is it alive, is it ready, what does it offer.

use std::collections::BTreeMap;

use gate_config::Scope;
use gate_model_ref::ProviderKind;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::answer::Answer;
use crate::error::ApiError;
use crate::gateway::Gateway;
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
        Own::Health => Ok(health(snapshot)),
        Own::Ready => Ok(ready(gateway, snapshot)),
        Own::ProviderHealth => Ok(provider_health(snapshot)),
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

/// The state of a provider as far as it is known; nothing watches providers yet.
const UNKNOWN: &str = "UNKNOWN";

#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
    timestamp: String,
    version: &'a str,
    providers: BTreeMap<&'a str, ProviderStatus>,
}

#[derive(Serialize)]
struct ProviderStatus {
    status: &'static str,
    last_check: Option<String>,
}

fn health(snapshot: &Snapshot) -> Answer {
    Answer::json(
        StatusCode::OK,
        &Health {
            status: "ok",
            timestamp: jiff::Timestamp::now().to_string(),
            version: env!("CARGO_PKG_VERSION"),
            providers: configured(snapshot)
                .map(|id| (id, ProviderStatus { status: UNKNOWN, last_check: None }))
                .collect(),
        },
    )
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
    let providers_configured = configured(snapshot).next().is_some();
    let ready = providers_configured && !gateway.is_draining();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &Ready { ready, checks: ReadyChecks { config_loaded: true, providers_configured } })
}

#[derive(Serialize)]
struct ProviderHealth {
    status: &'static str,
    consecutive_failures: u32,
    last_check: Option<String>,
    last_error: Option<String>,
    next_probe: Option<String>,
}

fn provider_health(snapshot: &Snapshot) -> Answer {
    let providers: BTreeMap<&str, ProviderHealth> = configured(snapshot)
        .map(|id| {
            let unknown = ProviderHealth {
                status: UNKNOWN,
                consecutive_failures: 0,
                last_check: None,
                last_error: None,
                next_probe: None,
            };
            (id, unknown)
        })
        .collect();
    Answer::json(StatusCode::OK, &json!({ "providers": providers }))
}

fn configured(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    snapshot
        .providers
        .providers()
        .filter(|(_, provider)| provider.is_configured)
        .map(|(_, provider)| provider.id.as_str())
}
