//! One request on its way: where it may go, where it is going now, and what of it is kept so that it can
//! go again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use gate_balance::{Attempt, DownCause, NoAttempt, session_hash};
use http::{HeaderMap, HeaderName};
use memchr::memmem;
use serde::Deserialize;

use crate::balance::{Stop, Way};
use crate::error::{ApiError, ErrorCode};
use crate::snapshot::Snapshot;

/// The headers by which clients tell their sessions, the first that is there counts.
const SESSION: [HeaderName; 3] = [
    HeaderName::from_static("x-claude-code-session-id"),
    HeaderName::from_static("session-id"),
    HeaderName::from_static("x-session-affinity"),
];

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Journey {
    way: Way,
    pub(crate) plan: gate_balance::Plan,
}

impl Journey {
    /// Begins the way of a request.
    ///
    /// # Errors
    /// 503 if nothing on the way takes requests now.
    pub(crate) fn begin(
        snapshot: &Snapshot,
        way: Way,
        session: Option<u64>,
    ) -> Result<(Self, Attempt), ApiError> {
        let mut plan = gate_balance::Plan::new(way.route(), &snapshot.balance.policy, session, Rng::new());
        match plan.next(now()) {
            Ok(attempt) => Ok((Self { way, plan }, attempt)),
            Err(NoAttempt::AllDown { retry_after, cause }) => Err(all_down(retry_after, cause)),
            Err(NoAttempt::Over) => Err(all_down(Duration::ZERO, DownCause::Failing)),
        }
    }

    /// Tells whether there are several providers on the way, and so maybe several models.
    pub(crate) fn is_of_several(&self) -> bool {
        self.way.stops().len() > 1
    }

    /// Tells whether there is another target at all, be it another key of the same provider.
    pub(crate) fn has_several_targets(&self) -> bool {
        !self.way.route().is_single()
    }

    /// Returns where an attempt goes.
    pub(crate) fn stop(&self, attempt: &Attempt) -> &Stop {
        self.way.stop_at(attempt.place())
    }
}

/// The clock of everything that `gate-balance` is told: tokio's, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the session of a request, if it tells one: by a header, or by the body's `prompt_cache_key`.
/// A body is only looked at where it is JSON that was read already.
pub(crate) fn session(headers: &HeaderMap, body: Option<&Bytes>) -> Option<u64> {
    let by_header = SESSION.iter().find_map(|name| headers.get(name));
    if let Some(value) = by_header.filter(|value| !value.is_empty()) {
        return Some(session_hash(value.as_bytes()));
    }
    // Most bodies do not have it, and the search is much faster than a parser.
    let body = body.filter(|body| memmem::find(body, b"\"prompt_cache_key\"").is_some())?;
    let keyed: Keyed = serde_json::from_slice(body).ok()?;
    keyed.prompt_cache_key.filter(|key| !key.is_empty()).map(|key| session_hash(key.as_bytes()))
}

#[derive(Deserialize)]
struct Keyed {
    prompt_cache_key: Option<String>,
}

/// No target takes requests: known without asking any.
fn all_down(retry_after: Duration, cause: DownCause) -> ApiError {
    let message = match cause {
        DownCause::Failing => {
            "every provider for this request is failing and gets no requests for a while; try again later"
        }
        DownCause::Cooling => "every provider for this request has asked for fewer requests; try again later",
    };
    // A part of a second counts as a whole one: sooner would be too soon.
    let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
    let seconds = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
    ApiError { retry_after: Some(seconds), ..ApiError::new(ErrorCode::ProviderUnavailable, message) }
}
