//! Asks providers at intervals whether they are there, where the configuration wants that. When each is
//! due and what its answer changes is decided by `gate-balance`; here it is asked.
//!
//! A probe is no request: it has no record, takes no place among requests, and is logged at level DEBUG.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use fastrand::Rng;
use gate_balance::{Fault, Finding, Outcome, Probe};
use gate_config::{Provider, ProviderIndex};
use gate_upstream::{
    RequestBody, RequestCredential, Sent, UpstreamError, UpstreamErrorKind, UpstreamRequest, UpstreamResponse,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep_until};

use crate::attempts::outcome;
use crate::gateway::Gateway;
use crate::journey::now;
use crate::snapshot::Snapshot;
use crate::{failure, forward};

/// Probes at once. What is due beyond that waits for its turn.
const MAX_PROBES: usize = 32;
/// How often all providers are looked through at most: of a thousand, one ends a probe every 30 ms.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// What is read of an answer so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("emx-gate/", env!("CARGO_PKG_VERSION")));

impl Gateway {
    /// Probes providers as `[llm.health_check]` says, for as long as the future is polled; it follows
    /// reloads. [`serve`](crate::serve) does this by itself. It is for gateways that some other server
    /// asks; calling it twice asks no more often.
    ///
    /// # Cancel safety
    /// Dropping the future ends the probes under way, which then count as nothing.
    pub async fn watch_providers(&self) -> Infallible {
        let mut rng = Rng::new();
        let mut running = JoinSet::new();
        loop {
            let mut reloaded = pin!(self.reloaded());
            // Before the configuration is looked at, so that none is missed in between.
            reloaded.as_mut().enable();
            let begin = Instant::now();
            let next = self.start_probes(&mut running, &mut rng);
            tokio::select! {
                () = reloaded => {}
                () = wait_until(next) => {}
                // There is room for another, and its own next time is known.
                Some(_) = running.join_next() => {}
            }
            sleep_until(begin + MIN_PAUSE).await;
        }
    }

    /// Starts the probes that are due, and returns when the next one is, as far as that is known.
    fn start_probes(&self, running: &mut JoinSet<()>, rng: &mut Rng) -> Option<Instant> {
        while running.try_join_next().is_some() {}
        let snapshot = self.snapshot();
        let policy = &snapshot.balance.policy;
        if !policy.health.active {
            return None;
        }
        let mut next = None;
        let tree = &snapshot.providers;
        let is_asked = |index, provider: &Provider| provider.is_configured && !tree.is_stood_in_for(index);
        for (index, _) in tree.providers().filter(|(index, provider)| is_asked(*index, provider)) {
            let targets = snapshot.balance.targets(index);
            let Some(due) = targets.iter().filter_map(|target| target.probe_due(policy, now(), rng)).min()
            else {
                continue;
            };
            if due > now() {
                next = Some(next.map_or(due, |next: std::time::Instant| next.min(due)));
            } else if running.len() < MAX_PROBES {
                let probes = targets.iter().filter_map(|target| target.begin_probe(policy, now(), rng));
                running.spawn(probe(self.clone(), Arc::clone(&snapshot), index, probes.collect()));
            }
        }
        // A breaker that opens from now on lets somebody try no sooner than this.
        let recovery = Instant::now().checked_add(policy.breaker.recovery_timeout);
        next.map(Instant::from_std).into_iter().chain(recovery).min()
    }
}

async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Asks a provider with its first key. What that says of the provider is true of its other keys too; a
/// refusal is not.
async fn probe(gateway: Gateway, snapshot: Arc<Snapshot>, provider: ProviderIndex, probes: Vec<Probe>) {
    let Some(finding) = ask(&gateway, &snapshot, provider).await else { return };
    for probe in probes {
        let finding = match finding {
            Finding::Alive | Finding::KeyRefused { .. } if probe.target().id().key > 0 => Finding::Reachable,
            finding => finding,
        };
        let is_news = probe.settle(finding, now());
        if let (true, Finding::KeyRefused { status }) = (is_news, finding) {
            log_refusal(&snapshot, provider, status);
        }
    }
}

/// Returns what an answer, or the lack of one, tells; nothing where it tells something about this machine.
async fn ask(gateway: &Gateway, snapshot: &Snapshot, provider: ProviderIndex) -> Option<Finding> {
    let endpoint = snapshot.endpoint(provider);
    let limit = snapshot.server.health_check.timeout;
    let begin = Instant::now();
    let asked = gateway.upstream().send_within(endpoint, request(snapshot, provider), limit).await;
    let (name, time) = (endpoint.name(), begin.elapsed().as_millis());
    match asked {
        Ok(response) => {
            log::debug!("probe of `{name}`: status {} after {time} ms", response.status.as_u16());
            let finding = judge(&response, endpoint.has_credential());
            // It is there, whatever becomes of the rest, which only gives the connection back.
            let _ = Limited::new(response.body, MAX_ANSWER_BYTES).collect().await;
            Some(finding)
        }
        Err(error) => {
            log::debug!("probe of `{name}`: {} after {time} ms", failure::chain(&error));
            blame(&error).map(Finding::Failed)
        }
    }
}

fn request(snapshot: &Snapshot, index: ProviderIndex) -> UpstreamRequest {
    let (provider, endpoint) = (snapshot.providers.provider(index), snapshot.endpoint(index));
    let asked = &snapshot.server.health_check.endpoint;
    let (path, query) =
        asked.split_once('?').map_or((asked.as_str(), None), |(path, query)| (path, Some(query)));
    // A path that needs a model gets none, and whoever answers that it is missing is there.
    let path = provider.api_base.request_path(path, None).map_or_else(|_| path.to_owned(), Into::into);
    let headers = HeaderMap::from_iter([
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, HeaderValue::from_static("application/json")),
    ]);
    let credential = match endpoint.has_credential() {
        true => RequestCredential::Configured,
        false => RequestCredential::None,
    };
    let query = forward::query_of(query, provider);
    UpstreamRequest {
        method: Method::GET,
        path,
        query,
        headers: headers.into(),
        credential,
        body: RequestBody::empty(),
    }
}

/// Whoever answers is there, unless the answer says that it cannot work. It need not know the path: 404
/// and 405, and 501 too, come from somebody who has read the request.
fn judge(response: &UpstreamResponse, has_key: bool) -> Finding {
    match response.status {
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if has_key => {
            Finding::KeyRefused { status: status.as_u16() }
        }
        StatusCode::NOT_IMPLEMENTED => Finding::Alive,
        status if status.as_u16() >= 500 => Finding::Failed(Fault::Status(status.as_u16())),
        _ => Finding::Alive,
    }
}

/// Returns what a fault says about the provider.
fn blame(error: &UpstreamError) -> Option<Fault> {
    // All of the time was spent waiting for one of the connections that requests hold.
    let is_dialled = error.timings().is_some_and(|timings| timings.dns.or(timings.connect).is_some());
    if error.kind() == UpstreamErrorKind::TotalTimeout && error.sent() == Sent::Nothing && !is_dialled {
        return None;
    }
    outcome::of_fault(error).as_ref().and_then(Outcome::fault)
}

/// Tells the operator that the key of probes is refused; once, and not at each probe.
fn log_refusal(snapshot: &Snapshot, provider: ProviderIndex, status: u16) {
    forward::log_refused_key(snapshot, provider, 0, "probe", status);
    if status == StatusCode::FORBIDDEN.as_u16() {
        let endpoint = &snapshot.server.health_check.endpoint;
        log::warn!(
            "probe: if that key may do everything but ask {endpoint:?}, choose another `endpoint` in \
             `[llm.health_check]`"
        );
    }
}
