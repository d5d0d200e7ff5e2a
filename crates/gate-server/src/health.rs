//! How each provider does, as `/health` and `/health/providers` show it and as the log tells it. Nothing
//! here decides anything.

use std::collections::BTreeMap;
use std::time::Instant;

use gate_balance::{BreakerState, Change, Health, HealthReport, ShownBy, Target};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::answer::Answer;
use crate::gateway::Gateway;
use crate::journey::now;
use crate::snapshot::Snapshot;

/// Answers `GET /health`.
pub(crate) fn summary(gateway: &Gateway, snapshot: &Snapshot) -> Answer {
    let clock = Clock::now();
    let providers: BTreeMap<String, Summary> = all(gateway, snapshot, clock.monotonic)
        .into_iter()
        .map(|(id, keys)| {
            let last_check = keys.iter().filter_map(|key| key.report.last_check).max();
            (id, Summary { status: status(&keys).as_str(), last_check: last_check.map(|at| clock.show(at)) })
        })
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let timestamp = clock.wall.to_string();
    Answer::json(
        StatusCode::OK,
        &json!({ "status": "ok", "timestamp": timestamp, "version": version, "providers": providers }),
    )
}

/// Answers `GET /health/providers`.
pub(crate) fn providers(gateway: &Gateway, snapshot: &Snapshot) -> Answer {
    let clock = Clock::now();
    let providers: BTreeMap<String, Provider> = all(gateway, snapshot, clock.monotonic)
        .into_iter()
        .map(|(id, keys)| {
            let each = keys.iter().map(|key| Key {
                key: u64::from(key.number) + 1,
                state: State::of(key.health(), std::slice::from_ref(key), &clock),
            });
            // Where there is one key, the provider is that key.
            let each = if keys.len() > 1 { each.collect() } else { Vec::new() };
            (id, Provider { state: State::of(status(&keys), &keys, &clock), keys: each })
        })
        .collect();
    Answer::json(StatusCode::OK, &json!({ "providers": providers }))
}

#[derive(Serialize)]
struct Summary {
    status: &'static str,
    last_check: Option<String>,
}

#[derive(Serialize)]
struct Provider {
    #[serde(flatten)]
    state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Key>,
}

/// The state of one key, which is told by its place and never shown.
#[derive(Serialize)]
struct Key {
    /// From 1.
    key: u64,
    #[serde(flatten)]
    state: State,
}

#[derive(Serialize)]
struct State {
    status: &'static str,
    consecutive_failures: u32,
    last_check: Option<String>,
    last_error: Option<String>,
    last_error_at: Option<String>,
    next_probe: Option<String>,
    breaker: &'static str,
    /// Until when it rests, since it asked for that.
    resting_until: Option<String>,
    requests: u64,
    failures: u64,
    probes: u64,
    in_flight: u32,
    /// The average wait for the head of an answer.
    latency_ms: Option<u64>,
}

/// One target, as it was found.
struct Seen {
    /// Which key, from 0.
    number: u32,
    report: HealthReport,
    /// Whether a configuration still has it.
    is_current: bool,
}

impl Seen {
    fn of(target: &Target, snapshot: &Snapshot, now: Instant, is_current: bool) -> Self {
        let report = target.report(&snapshot.balance.policy, now);
        Self { number: target.id().key, report, is_current }
    }

    fn health(&self) -> Health {
        if self.is_current { self.report.health } else { Health::Draining }
    }
}

/// Returns the targets of each configured provider, and those that a reload took away and that requests
/// still use.
fn all(gateway: &Gateway, snapshot: &Snapshot, now: Instant) -> BTreeMap<String, Vec<Seen>> {
    let configured = snapshot.providers.providers().filter(|(_, provider)| provider.is_configured);
    let mut all: BTreeMap<String, Vec<Seen>> = configured
        .map(|(index, provider)| {
            let targets = snapshot.balance.targets(index).iter();
            (provider.id.clone(), targets.map(|target| Seen::of(target, snapshot, now, true)).collect())
        })
        .collect();
    gateway.registry().forget_unused();
    for target in gateway.registry().targets().iter().filter(|target| target.in_flight() > 0) {
        let id = target.id();
        let known = all.get(&id.provider);
        if !known.is_some_and(|keys| keys.iter().any(|key| key.number == id.key)) {
            let keys = all.entry(id.provider.clone()).or_default();
            keys.push(Seen::of(target, snapshot, now, false));
        }
    }
    all
}

/// Returns the state of a provider by those of its keys. A key that was never asked says nothing.
fn status(keys: &[Seen]) -> Health {
    let mut current = keys.iter().filter(|key| key.is_current).map(Seen::health).peekable();
    let Some(first) = current.peek().copied() else { return Health::Draining };
    let both = |one: Health, other: Health| match (one, other) {
        (one, other) if one == other => one,
        (Health::Unknown, Health::Healthy) | (Health::Healthy, Health::Unknown) => Health::Healthy,
        _ => Health::Degraded,
    };
    current.fold(first, both)
}

impl State {
    /// Sums up some keys.
    fn of(status: Health, keys: &[Seen], clock: &Clock) -> Self {
        let reports = || keys.iter().map(|key| &key.report);
        let last_error = reports().filter_map(|report| report.last_error).max_by_key(|(at, _)| *at);
        let rest = reports().map(|report| report.cooling).min().flatten();
        let latencies = reports().filter_map(|report| report.latency);
        Self {
            status: status.as_str(),
            consecutive_failures: reports().map(|report| report.consecutive_failures).max().unwrap_or(0),
            last_check: reports().filter_map(|report| report.last_check).max().map(|at| clock.show(at)),
            last_error: last_error.map(|(_, fault)| fault.to_string()),
            last_error_at: last_error.map(|(at, _)| clock.show(at)),
            next_probe: reports().filter_map(|report| report.next_probe).min().map(|at| clock.show(at)),
            breaker: breaker(reports().map(|report| report.breaker)),
            resting_until: rest.map(|rest| clock.show(clock.monotonic + rest)),
            requests: reports().map(|report| report.requests).sum(),
            failures: reports().map(|report| report.failures).sum(),
            probes: reports().map(|report| report.probes).max().unwrap_or(0),
            in_flight: reports().map(|report| report.in_flight).sum(),
            latency_ms: latencies.min().map(|latency| latency.as_millis().try_into().unwrap_or(u64::MAX)),
        }
    }
}

/// Returns the state of several breakers: that of the one which lets most through.
fn breaker(states: impl Iterator<Item = BreakerState>) -> &'static str {
    const WORDS: [&str; 3] = ["closed", "half_open", "open"];
    let place = states.map(|state| match state {
        BreakerState::Closed => 0_usize,
        BreakerState::HalfOpen => 1,
        BreakerState::Open { .. } => 2,
    });
    place.min().and_then(|place| WORDS.get(place)).unwrap_or(&WORDS[0])
}

/// Turns moments into times of day.
struct Clock {
    monotonic: Instant,
    wall: Timestamp,
}

impl Clock {
    fn now() -> Self {
        Self { monotonic: now(), wall: Timestamp::now() }
    }

    /// Writes a moment as RFC 3339, to the millisecond.
    fn show(&self, at: Instant) -> String {
        let ahead = SignedDuration::try_from(at.saturating_duration_since(self.monotonic));
        let behind = SignedDuration::try_from(self.monotonic.saturating_duration_since(at));
        // Out of range is only what is thousands of years away.
        let difference = ahead.unwrap_or(SignedDuration::MAX).saturating_sub(behind.unwrap_or_default());
        format!("{:.3}", self.wall.saturating_add(difference).unwrap_or(self.wall))
    }
}

/// Says in the log that a target does otherwise than before: WARN where it has become useless, DEBUG where
/// it was only looked at for the first time, else INFO.
pub(crate) fn log_change(change: &Change<'_>) {
    log::log!(level(change.from, change.to), "{}", describe(change));
}

fn level(from: Health, to: Health) -> log::Level {
    match (from, to) {
        (_, Health::Unhealthy) => log::Level::Warn,
        (Health::Unknown, Health::Healthy) => log::Level::Debug,
        _ => log::Level::Info,
    }
}

fn describe(change: &Change<'_>) -> String {
    let Change { target, from, to, shown_by, fault, consecutive_failures } = change;
    let key = match target.is_one_of_several() {
        true => format!(" (key {})", u64::from(target.id().key) + 1),
        false => String::new(),
    };
    let shown_by = match shown_by {
        ShownBy::Request => "a request",
        ShownBy::Probe => "a probe",
    };
    let why = fault.map_or_else(|| "it answers".to_owned(), |fault| fault.to_string());
    let count = match consecutive_failures {
        0 | 1 => String::new(),
        several => format!(", failure {several} in a row"),
    };
    let (id, from, to) = (&target.id().provider, from.as_str(), to.as_str());
    format!("provider `{id}`{key} is {to}, was {from}: {why} (seen by {shown_by}{count})")
}

#[cfg(test)]
mod tests;
