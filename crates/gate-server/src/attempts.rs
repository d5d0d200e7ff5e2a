//! Sends a request until somebody answers it: one loop over what `gate-balance` decides.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use gate_balance::{Attempt, Decision, Outcome};
use gate_config::ProviderIndex;
use gate_upstream::{RequestCredential, UpstreamError, UpstreamErrorKind, UpstreamRequest, UpstreamResponse};
use gate_usage::AttemptOutcome;
use http::{HeaderMap, Method};
use tokio::time::Instant;

use crate::auth::ClientCredentials;
use crate::balance::{Hold, Stop};
use crate::error::ApiError;
use crate::exchange::Exchange;
use crate::extra_frame::ExtraFrame;
use crate::gateway::Gateway;
use crate::hold::{self, Held};
use crate::journey::{Journey, now};
use crate::plan::{Cargo, Kept, Plan};
use crate::route::Forward;
use crate::shutdown::InFlight;
use crate::snapshot::Snapshot;
use crate::upload::UploadProgress;
use crate::{failure, forward};

mod hedge;
mod let_go;
pub(crate) mod outcome;

pub(crate) use outcome::{Handshake, WhoseKey};

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
    /// Which of its provider's keys was used.
    pub(crate) key: u32,
    /// To be kept until the answer has ended; nothing where it was read to its end already.
    pub(crate) attempt: Option<Attempt>,
    pub(crate) whose_key: WhoseKey,
    pub(crate) extra_frame: Option<ExtraFrame>,
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
    /// After how long a second attempt is made beside it, where there may be one.
    hedge_after: Option<Duration>,
    /// Where it stands in the account.
    place: usize,
}

/// One attempt that has come back.
struct Tried {
    attempt: Attempt,
    stop: Stop,
    whose_key: WhoseKey,
    extra_frame: Option<ExtraFrame>,
    result: Result<(UpstreamResponse, Held), UpstreamError>,
    /// Until the head of its answer, or until it failed.
    latency: Duration,
    /// Until it was known whether it is good: with what was held of a stream.
    time: Duration,
}

/// What an attempt brought for the client. Boxed: it is large, and passes through several hands.
type Best = Result<Box<Answered>, ApiError>;

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
    pub(crate) fn run<'a>(
        &'a self,
        plan: Plan,
        headers: HeaderMap,
        in_flight: &'a InFlight,
        exchange: &'a mut Exchange,
    ) -> impl Future<Output = Best> {
        let Plan { journey, attempt, cargo, kept, .. } = plan;
        let again = Again { headers: headers.into(), kept };
        let mut trip = Trip { errand: self, journey, again, entrusted: None, exchange, best: None };
        let mut order = trip.order(attempt, cargo);
        async move {
            loop {
                let order_now = order?;
                let decision = match order_now.hedge_after {
                    None => {
                        let place = order_now.place;
                        let tried = {
                            let sending = pin!(self.send(order_now));
                            in_flight.unless_ended(sending).await
                        };
                        tried.map(|tried| trip.settle(place, tried))
                    }
                    Some(late) => {
                        // Boxed: it is rare, and would be half of every request's future.
                        let mut both = Box::pin(trip.hedge(order_now, late));
                        in_flight.unless_ended(both.as_mut()).await
                    }
                };
                let decision = decision.ok_or_else(failure::shutting_down)?;
                let Some(Decision::RetrySame { after } | Decision::Next { after }) = decision else {
                    return trip.end();
                };
                log_next(trip.exchange, after);
                // Boxed: it is rare, and its room would be moved about with that of each attempt.
                Box::pin(trip.pause(after, in_flight)).await?;
                order = match trip.next() {
                    Some(Err(error)) => return trip.best.unwrap_or(Err(error)),
                    Some(next) => next,
                    None => return trip.end(),
                };
            }
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
        mut cargo: Cargo,
        headers: Arc<HeaderMap>,
        entrusted: &mut Option<ProviderIndex>,
    ) -> Result<Order, ApiError> {
        let endpoint = self.snapshot.endpoint_of(stop.provider, attempt.target().id().key);
        let credential = self.credentials.choose(endpoint)?;
        let whose_key = WhoseKey::of(&credential);
        if whose_key == WhoseKey::TheClients && *entrusted.get_or_insert(stop.provider) != stop.provider {
            return Err(failure::not_entrusted(endpoint.name()));
        }
        let extra_frame = cargo.extra_frame.take();
        let request = self.request(&stop, cargo, headers, credential)?;
        Ok(Order { attempt, stop, request, whose_key, extra_frame, hold: None, hedge_after: None, place: 0 })
    }

    /// # Errors
    /// There is no URL for the model.
    fn request(
        &self,
        stop: &Stop,
        cargo: Cargo,
        headers: Arc<HeaderMap>,
        credential: RequestCredential,
    ) -> Result<UpstreamRequest, ApiError> {
        let provider = self.snapshot.providers.provider(stop.provider);
        let path = provider
            .api_base
            .request_path(self.route.tail, stop.model.as_deref())
            .map_err(|reason| failure::no_deployment(&provider.id, reason))?
            .into_owned();
        Ok(UpstreamRequest {
            method: self.method.clone(),
            path,
            query: forward::query_of(cargo.query.as_deref().or(self.query), provider),
            headers,
            credential,
            body: cargo.body,
        })
    }

    /// Sends an order.
    fn send(&self, order: Order) -> impl Future<Output = Tried> {
        let Order { attempt, stop, request, whose_key, extra_frame, hold, .. } = order;
        let begin = Instant::now();
        let endpoint = self.snapshot.endpoint_of(stop.provider, attempt.target().id().key);
        let sending = self.gateway.upstream().send(endpoint, request);
        async move {
            let result = sending.await;
            let latency = begin.elapsed();
            let mut time = latency;
            let result = match (result, hold) {
                (Ok(mut response), Some(hold)) if response.status.is_success() => {
                    let dialect = forward::stream_dialect(self.route);
                    let held = Box::pin(hold::hold(&mut response, dialect, hold)).await;
                    time = begin.elapsed();
                    Ok((response, held))
                }
                (Ok(response), _) => Ok((response, Held::default())),
                (Err(error), _) => Err(error),
            };
            Tried { attempt, stop, whose_key, extra_frame, result, latency, time }
        }
    }
}

/// What a request is made of when it is sent once more.
struct Again {
    kept: Kept,
    headers: Arc<HeaderMap>,
}

/// The attempts of one request so far.
struct Trip<'t, 'r> {
    errand: &'t Errand<'r>,
    journey: Journey,
    again: Again,
    /// The provider that was given a credential of the client's: no other gets it.
    entrusted: Option<ProviderIndex>,
    exchange: &'t mut Exchange,
    /// What the client gets, if nothing better comes.
    best: Option<Best>,
}

impl Again {
    /// Returns what is sent to a stop; nothing where the body passes only once and was taken. By a unique
    /// borrow, since a body that is still to come cannot be shared between threads.
    fn make(&mut self, errand: &Errand<'_>, stop: &Stop) -> Option<Cargo> {
        self.kept.cargo(errand.snapshot, errand.route, stop)
    }
}

impl Trip<'_, '_> {
    /// Prepares an attempt.
    ///
    /// # Errors
    /// As of [`Errand::order`].
    fn order(&mut self, attempt: Attempt, cargo: Cargo) -> Result<Order, ApiError> {
        let headers = Arc::clone(&self.again.headers);
        let stop = self.journey.stop(&attempt).clone();
        let mut order = self.errand.order(attempt, stop, cargo, headers, &mut self.entrusted)?;
        // Whoever answers has begun to take a body that passes once: no other can take over.
        if self.journey.has_several_targets() && !order.request.body.passes_once() {
            let snapshot = self.errand.snapshot;
            let provider = snapshot.providers.provider(order.stop.provider);
            order.hedge_after = provider.hedge_after.filter(|_| self.journey.plan.may_go_on());
            order.hold = snapshot.balance.hold().filter(|_| self.journey.plan.has_other(now()));
        }
        order.place = begin(self.exchange, self.errand, &order);
        Ok(order)
    }

    /// Prepares an attempt behind the first; nothing where the body passes only once and was taken.
    fn further(&mut self, attempt: Attempt) -> Option<Result<Order, ApiError>> {
        let cargo = self.again.make(self.errand, self.journey.stop(&attempt))?;
        Some(self.order(attempt, cargo))
    }

    /// Prepares the attempt that was decided on.
    fn next(&mut self) -> Option<Result<Order, ApiError>> {
        let attempt = self.journey.plan.next(now()).ok()?;
        self.further(attempt)
    }

    /// Counts an attempt that has come back.
    fn settle(&mut self, place: usize, mut tried: Tried) -> Option<Decision> {
        let outcome = tried.outcome();
        self.note(place, &tried, outcome);
        if self.again.kept.is_spent() {
            // What has passed cannot pass again, whatever came of it.
            self.journey.plan.commit();
        }
        let decision = outcome.map(|outcome| self.journey.plan.settle(&mut tried.attempt, &outcome, now()));
        let now_best = tried.into_best(self.errand);
        self.best = Some(match (self.best.take(), now_best) {
            // An answer is better than none, and of two the later one.
            (Some(Ok(answer)), Err(_)) => Ok(answer),
            (_, now_best) => now_best,
        });
        decision
    }

    /// Notes in the account, and in the log where a key was refused, what became of an attempt.
    fn note(&mut self, place: usize, tried: &Tried, outcome: Option<Outcome>) {
        let exchange = &mut *self.exchange;
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
        if let Some(Outcome::KeyRefused { status }) = outcome {
            let (provider, key) = (tried.stop.provider, tried.attempt.target().id().key);
            forward::log_refused_key(self.errand.snapshot, provider, key, exchange.id.as_str(), status);
        }
    }

    /// Returns what the client gets.
    fn end(self) -> Best {
        // There was an attempt, and it left something.
        self.best.unwrap_or_else(|| Err(failure::shutting_down()))
    }
}

impl Tried {
    /// Returns what this says about the target; nothing where it says something about the client or this
    /// machine.
    fn outcome(&self) -> Option<Outcome> {
        match &self.result {
            Ok((response, held)) => outcome::of_answer(response, held.status(), self.whose_key, self.latency),
            Err(error) => outcome::of_fault(error),
        }
    }

    fn into_best(self, errand: &Errand<'_>) -> Best {
        let Self { attempt, stop, whose_key, extra_frame, result, .. } = self;
        match result {
            Ok((response, held)) => {
                let (key, attempt) = (attempt.target().id().key, Some(attempt));
                Ok(Box::new(Answered { response, held, stop, key, attempt, whose_key, extra_frame }))
            }
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
