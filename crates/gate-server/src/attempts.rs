//! Sends a request until somebody answers it: one loop over what `gate-balance` decides.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gate_balance::{Attempt, Decision, Outcome, parse_retry_after};
use gate_config::ProviderIndex;
use gate_upstream::{
    RequestCredential, Sent, Upgrade, UpstreamError, UpstreamErrorKind, UpstreamRequest, UpstreamResponse,
};
use gate_usage::AttemptOutcome;
use http::header::{HeaderMap, RETRY_AFTER};
use http::{HeaderName, Method};
use tokio::time::{Instant, sleep};

use crate::auth::ClientCredentials;
use crate::balance::{Hold, Stop};
use crate::error::ApiError;
use crate::exchange::Exchange;
use crate::extra_frame::ExtraFrame;
use crate::gateway::Gateway;
use crate::hold::{self, Held};
use crate::journey::{Journey, now};
use crate::plan::{Cargo, Plan};
use crate::route::Forward;
use crate::shutdown::InFlight;
use crate::snapshot::Snapshot;
use crate::upload::UploadProgress;
use crate::{failure, forward};

/// What is the same in all attempts of a request.
pub(crate) struct Errand<'r> {
    pub(crate) gateway: &'r Gateway,
    pub(crate) snapshot: &'r Arc<Snapshot>,
    pub(crate) route: &'r Forward<'r>,
    pub(crate) method: &'r Method,
    /// The client's query.
    pub(crate) query: Option<&'r str>,
    pub(crate) credentials: &'r ClientCredentials,
    pub(crate) upload: &'r UploadProgress,
}

/// An answer, and whose it is.
pub(crate) struct Answered {
    pub(crate) response: UpstreamResponse,
    /// What of its body was read already.
    pub(crate) held: Held,
    pub(crate) stop: Stop,
    /// To be kept until the answer has ended.
    pub(crate) attempt: Attempt,
    pub(crate) whose_key: WhoseKey,
    pub(crate) extra_frame: Option<ExtraFrame>,
}

/// Whose credential a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhoseKey {
    Ours,
    TheClients,
    Nobodys,
}

/// One attempt that is to be made.
struct Order {
    attempt: Attempt,
    stop: Stop,
    request: UpstreamRequest,
    whose_key: WhoseKey,
    extra_frame: Option<ExtraFrame>,
    /// How much of a stream is held, while there is somebody else who could give one.
    hold: Option<Hold>,
}

/// One attempt that has come back.
struct Tried {
    attempt: Attempt,
    stop: Stop,
    whose_key: WhoseKey,
    extra_frame: Option<ExtraFrame>,
    result: Result<(UpstreamResponse, Held), UpstreamError>,
    /// Until the head of its answer, or until it failed.
    time: Duration,
}

/// What an attempt brought for the client.
type Best = Result<Answered, ApiError>;

impl Errand<'_> {
    /// Sends a request to where its plan says, again and elsewhere as long as that is allowed. The client
    /// gets the answer of the last provider that gave one, be it an error, and one of the gateway only
    /// where there was none.
    ///
    /// # Errors
    /// The fault of the last attempt; what cannot be sent at all; the end of a shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the request at its provider, which is not blamed for it.
    pub(crate) async fn run(
        &self,
        plan: Plan,
        headers: HeaderMap,
        in_flight: &InFlight,
        exchange: &mut Exchange,
    ) -> Result<Answered, ApiError> {
        let Plan { mut journey, mut attempt, mut cargo, kept, .. } = plan;
        if kept.is_nothing() {
            // What has passed cannot pass again, whatever comes of it.
            journey.plan.commit();
        }
        let kept_headers = journey.plan.may_go_on().then(|| headers.clone());
        let mut headers = headers;
        let mut best: Option<Best> = None;
        let mut entrusted = None;
        loop {
            let stop = journey.stop(&attempt).clone();
            let mut order = match self.order(attempt, stop, cargo, headers, &mut entrusted) {
                Ok(order) => order,
                Err(error) => return better(best, Err(error)),
            };
            order.hold = self.snapshot.balance.hold().filter(|_| journey.plan.has_other(now()));
            let place = begin(exchange, self, &order);
            let mut tried = tokio::select! {
                tried = self.send(order) => tried,
                () = in_flight.ended() => return Err(failure::shutting_down()),
            };
            let outcome = tried.outcome();
            self.note(exchange, place, &tried, outcome);
            let decision = outcome.map(|outcome| journey.plan.settle(&mut tried.attempt, &outcome, now()));
            let found = better(best, tried.into_best(self));
            let Some(Decision::RetrySame { after } | Decision::Next { after }) = decision else {
                return found;
            };
            log_next(exchange, after);
            pause(after, in_flight).await?;
            let next = journey.plan.next(now()).ok().and_then(|attempt| {
                let cargo = kept.cargo(self.snapshot, self.route, journey.stop(&attempt))?;
                Some((attempt, cargo, kept_headers.clone()?))
            });
            let Some(next) = next else { return found };
            (attempt, cargo, headers) = next;
            best = Some(found);
        }
    }

    /// Writes the request of one attempt.
    ///
    /// # Errors
    /// There is no credential for this provider, no URL for the model, or the client's credential has been
    /// given to another provider.
    fn order(
        &self,
        attempt: Attempt,
        stop: Stop,
        cargo: Cargo,
        headers: HeaderMap,
        entrusted: &mut Option<ProviderIndex>,
    ) -> Result<Order, ApiError> {
        let endpoint = self.snapshot.endpoint_of(stop.provider, attempt.target().id().key);
        let provider = self.snapshot.providers.provider(stop.provider);
        let path = provider
            .api_base
            .request_path(self.route.tail, stop.model.as_deref())
            .map_err(|reason| failure::no_deployment(endpoint.name(), reason))?
            .into_owned();
        let credential = self.credentials.choose(endpoint)?;
        let whose_key = WhoseKey::of(&credential);
        if whose_key == WhoseKey::TheClients && *entrusted.get_or_insert(stop.provider) != stop.provider {
            return Err(failure::not_entrusted(endpoint.name()));
        }
        let request = UpstreamRequest {
            method: self.method.clone(),
            path,
            query: forward::query_of(cargo.query.as_deref().or(self.query), provider),
            headers,
            credential,
            body: cargo.body,
        };
        Ok(Order { attempt, stop, request, whose_key, extra_frame: cargo.extra_frame, hold: None })
    }

    async fn send(&self, order: Order) -> Tried {
        let Order { attempt, stop, request, whose_key, extra_frame, hold } = order;
        let endpoint = self.snapshot.endpoint_of(stop.provider, attempt.target().id().key);
        let begin = Instant::now();
        let result = self.gateway.upstream().send(endpoint, request).await;
        let time = begin.elapsed();
        let result = match (result, hold) {
            (Ok(mut response), Some(hold)) if response.status.is_success() => {
                let held = hold::hold(&mut response, forward::stream_dialect(self.route), hold).await;
                Ok((response, held))
            }
            (Ok(response), _) => Ok((response, Held::default())),
            (Err(error), _) => Err(error),
        };
        Tried { attempt, stop, whose_key, extra_frame, result, time }
    }

    /// Notes in the account, and in the log where something went wrong, what became of an attempt.
    fn note(&self, exchange: &mut Exchange, place: usize, tried: &Tried, outcome: Option<Outcome>) {
        let timings = tried.result.as_ref().map(|(response, _)| &response.timings);
        forward::note_steps(&mut exchange.record.steps, timings);
        let (retries, shown) = match &tried.result {
            Ok((response, held)) => {
                let status = held.status().unwrap_or(response.status.as_u16());
                (response.timings.retries, AttemptOutcome::Status(status))
            }
            Err(error) => (error.retries(), AttemptOutcome::Fault(error.kind().as_str())),
        };
        forward::note_retries(exchange, retries);
        exchange.record.tried.settle(place, shown, tried.time);
        let id = exchange.id.as_str();
        if let Some(Outcome::KeyRefused { status }) = outcome {
            let key = tried.attempt.target().id().key;
            forward::log_refused_key(self.snapshot, tried.stop.provider, key, id, status);
        }
    }
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

impl Tried {
    /// Returns what this says about the target; nothing where it says something about the client or this
    /// machine.
    fn outcome(&self) -> Option<Outcome> {
        match &self.result {
            Ok((response, held)) => outcome_of_answer(response, held.status(), self.whose_key, self.time),
            Err(error) => outcome_of(error),
        }
    }

    fn into_best(self, errand: &Errand<'_>) -> Best {
        let Self { attempt, stop, whose_key, extra_frame, result, .. } = self;
        match result {
            Ok((response, held)) => Ok(Answered { response, held, stop, attempt, whose_key, extra_frame }),
            // What ended an upload is known best where it was seen.
            Err(error) => Err(match (error.kind(), errand.upload.fault()) {
                (UpstreamErrorKind::RequestBody, Some(fault)) => fault.to_api_error(),
                _ => failure::upstream(errand.snapshot.endpoint(stop.provider).name(), &error),
            }),
        }
    }
}

/// Notes that an attempt begins.
fn begin(exchange: &mut Exchange, errand: &Errand<'_>, order: &Order) -> usize {
    let Errand { snapshot, route, .. } = errand;
    let name = snapshot.endpoint(order.stop.provider).shared_name();
    let model = order.stop.model.as_deref();
    log::debug!(
        "{}: {:?} goes to `{name}` as {}: {}",
        exchange.id.as_str(),
        route.operation,
        model.unwrap_or("no model"),
        snapshot.providers.provider(order.stop.provider).url(route.tail, model),
    );
    let record = &mut exchange.record;
    record.attempts += 1;
    record.provider = Some(Arc::clone(&name));
    record.model.clone_from(&order.stop.model);
    if let Some(stickiness) = order.attempt.stickiness() {
        record.sticky_hit = Some(stickiness == gate_balance::Stickiness::Hit);
    }
    record.tried.begin(name, order.attempt.target().id().key)
}

/// Says that an attempt was not the last, and why.
fn log_next(exchange: &Exchange, after: Duration) {
    if let Some(last) = exchange.record.tried.iter().last() {
        log::info!("{}: {last}; tried again after {} ms", exchange.id.as_str(), after.as_millis());
    }
}

/// An answer is better than none, and of two the later one.
fn better(before: Option<Best>, now: Best) -> Best {
    match (before, now) {
        (Some(Ok(answer)), Err(_)) => Ok(answer),
        (_, now) => now,
    }
}

/// Settles the one attempt that a handshake of a session gets: it is not repeated.
pub(crate) fn settle_handshake(
    mut journey: Journey,
    mut attempt: Attempt,
    result: &Result<Upgrade, UpstreamError>,
    whose_key: WhoseKey,
    latency: Duration,
) {
    journey.plan.commit();
    let outcome = match result {
        Ok(Upgrade::Switched { .. }) => Some(Outcome::Answered { status: 101, retry_after: None, latency }),
        Ok(Upgrade::Refused(response)) => outcome_of_answer(response, None, whose_key, latency),
        Err(error) => outcome_of(error),
    };
    if let Some(outcome) = outcome {
        journey.plan.settle(&mut attempt, &outcome, now());
    }
}

/// Returns what an answer says about the target; nothing where it is about the client's own account.
fn outcome_of_answer(
    response: &UpstreamResponse,
    status: Option<u16>,
    whose_key: WhoseKey,
    latency: Duration,
) -> Option<Outcome> {
    let status = status.unwrap_or(response.status.as_u16());
    match (whose_key, status) {
        (WhoseKey::Ours, 401 | 403) => Some(Outcome::KeyRefused { status }),
        (WhoseKey::TheClients, 429) => None,
        _ => Some(Outcome::Answered { status, retry_after: retry_after(&response.headers), latency }),
    }
}

/// Returns what a fault says about the target.
fn outcome_of(error: &UpstreamError) -> Option<Outcome> {
    use UpstreamErrorKind as Kind;
    match (error.kind(), error.sent()) {
        (Kind::PoolFull | Kind::LocalResource | Kind::InvalidRequest | Kind::RequestBody, _) => None,
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

/// Waits between two attempts.
///
/// # Errors
/// The shutdown came before.
async fn pause(after: Duration, in_flight: &InFlight) -> Result<(), ApiError> {
    if after.is_zero() {
        return Ok(());
    }
    tokio::select! {
        () = sleep(after) => Ok(()),
        () = in_flight.ended() => Err(failure::shutting_down()),
    }
}
