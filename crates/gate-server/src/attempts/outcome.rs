//! What an answer, or the lack of one, says about the target that was asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gate_balance::{Attempt, Outcome, parse_retry_after};
use gate_upstream::{RequestCredential, Sent, Upgrade, UpstreamError, UpstreamErrorKind, UpstreamResponse};
use gate_usage::AttemptOutcome;
use http::HeaderName;
use http::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

use crate::exchange::Exchange;
use crate::journey::{Journey, now};

/// Whose credential a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhoseKey {
    Ours,
    TheClients,
    Nobodys,
}

impl WhoseKey {
    pub(crate) fn of(credential: &RequestCredential) -> Self {
        match credential {
            RequestCredential::Configured => Self::Ours,
            RequestCredential::Key(_) | RequestCredential::AsSent(..) => Self::TheClients,
            RequestCredential::None => Self::Nobodys,
        }
    }
}

/// The one attempt that the handshake of a session gets: it is not repeated.
pub(crate) struct Handshake {
    journey: Journey,
    attempt: Attempt,
    whose_key: WhoseKey,
    begin: Instant,
    /// Where it stands in the account.
    place: usize,
}

impl Handshake {
    /// Notes that it begins.
    pub(crate) fn begin(
        exchange: &mut Exchange,
        (journey, attempt): (Journey, Attempt),
        whose_key: WhoseKey,
        provider: Arc<str>,
    ) -> Self {
        exchange.record.attempts = 1;
        let place = exchange.record.tried.begin(provider, attempt.target().id().key);
        Self { journey, attempt, whose_key, begin: Instant::now(), place }
    }

    /// Counts what came of it.
    pub(crate) fn settle(mut self, exchange: &mut Exchange, result: &Result<Upgrade, UpstreamError>) {
        let time = self.begin.elapsed();
        self.journey.plan.commit();
        let outcome = match result {
            Ok(Upgrade::Switched { .. }) => {
                Some(Outcome::Answered { status: 101, retry_after: None, latency: time })
            }
            // Neither a session nor an error is no answer.
            Ok(Upgrade::Refused(response)) => {
                let status = response.status.is_success().then_some(502);
                of_answer(response, status, self.whose_key, time)
            }
            Err(error) => of_fault(error),
        };
        if let Some(outcome) = outcome {
            self.journey.plan.settle(&mut self.attempt, &outcome, now());
            // How a session goes on says little of the provider: most end when somebody leaves.
            self.attempt.ended(now());
        }
        let shown = match result {
            Ok(Upgrade::Switched { .. }) => AttemptOutcome::Status(101),
            Ok(Upgrade::Refused(response)) => AttemptOutcome::Status(response.status.as_u16()),
            Err(error) => AttemptOutcome::Fault(error.kind().as_str()),
        };
        exchange.record.tried.settle(self.place, shown, time);
    }
}

/// Returns what an answer says about the target; nothing where it is about the client's own account.
pub(super) fn of_answer(
    response: &UpstreamResponse,
    status: Option<u16>,
    whose_key: WhoseKey,
    latency: Duration,
) -> Option<Outcome> {
    let status = status.unwrap_or(response.status.as_u16());
    match (whose_key, status) {
        (WhoseKey::Ours, 401 | 403) => Some(Outcome::KeyRefused { status }),
        (WhoseKey::TheClients, 429) => None,
        // Who has answered asks for no pause.
        (_, 200..=299) => Some(Outcome::Answered { status, retry_after: None, latency }),
        _ => Some(Outcome::Answered { status, retry_after: retry_after(&response.headers), latency }),
    }
}

/// Returns what a fault says about the target.
pub(crate) fn of_fault(error: &UpstreamError) -> Option<Outcome> {
    use UpstreamErrorKind as Kind;
    match (error.kind(), error.sent()) {
        (Kind::PoolFull, _) => Some(Outcome::Busy),
        (Kind::LocalResource | Kind::InvalidRequest | Kind::RequestBody, _) => None,
        (Kind::Tls, Sent::Nothing) => Some(Outcome::Distrusted),
        (_, Sent::Nothing) => Some(Outcome::Unreachable),
        (_, Sent::Maybe) => Some(Outcome::Lost),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(RETRY_AFTER), text(RETRY_AFTER_MS)) {
        (None, None) => None,
        (seconds, millis) => parse_retry_after(seconds, millis, SystemTime::now()),
    }
}
