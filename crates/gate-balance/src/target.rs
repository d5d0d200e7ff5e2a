//! One place to send to, a provider with one of its keys, and what is known of it right now.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::breaker::{Breaker, BreakerState, Ticket};
use crate::budget::ShareBudget;
use crate::clock::{after, left};
use crate::cooldown::Cooldown;
use crate::health::{Change, Health, HealthCounts, HealthReport, Limit, ShownBy};
use crate::latency::Latency;
use crate::outcome::{Fault, Outcome, Verdict};
use crate::settings::Policy;
use crate::sticky;

mod probe;

use probe::Probes;
pub use probe::{Finding, Probe};

/// Repetitions that a provider without traffic may have at once.
const RETRY_RESERVE: u32 = 10;

/// By what a target is known again after a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetId {
    /// The dotted path of the provider, such as `openai.azure`.
    pub provider: String,
    /// Which of its keys, from 0.
    pub key: u32,
}

/// What the targets of one provider share.
#[derive(Debug)]
pub struct Provider {
    pub(crate) retries: ShareBudget,
    pub(crate) hedges: ShareBudget,
    /// How many keys there were at most.
    pub(crate) keys: AtomicU32,
}

impl Provider {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            retries: ShareBudget::new(RETRY_RESERVE, now),
            hedges: ShareBudget::new(0, now),
            keys: AtomicU32::new(0),
        }
    }
}

/// One place to send to. Shared by all requests and by all configurations that have it.
#[derive(Debug)]
pub struct Target {
    id: TargetId,
    provider: Arc<Provider>,
    /// The same in every process and version, so that several gateways keep a session together.
    hash: u64,
    in_flight: AtomicU32,
    /// Who is told of changes.
    tell: Tell,
    live: Mutex<Live>,
}

/// A function that is told of changes.
pub(crate) type Tell = fn(&Change<'_>);

/// What changes with every answer. Held for a few instructions only.
#[derive(Debug)]
struct Live {
    breaker: Breaker,
    cooldown: Cooldown,
    /// Until when the key is not used, since the provider refused it.
    key_refused_until: Option<Instant>,
    health: HealthCounts,
    /// The state that was told last.
    told: Health,
    requests: u64,
    failures: u64,
    probes: Probes,
    latency: Latency,
}

/// Why a target gets no request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) why: Why,
    /// How long at least.
    pub(crate) wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was told not to get any.
    Draining,
    /// Its breaker is open.
    Open,
    /// It asked for a rest.
    Cooling,
    /// It refused the key.
    KeyRefused,
    /// Probes say that it is down.
    Shunned,
}

impl Target {
    pub(crate) fn new(id: TargetId, provider: Arc<Provider>, tell: Tell, now: Instant) -> Self {
        provider.keys.fetch_max(id.key.saturating_add(1), Relaxed);
        Self {
            hash: sticky::mix(sticky::session_hash(id.provider.as_bytes()), u64::from(id.key)),
            id,
            provider,
            in_flight: AtomicU32::new(0),
            tell,
            live: Mutex::new(Live {
                breaker: Breaker::new(now),
                cooldown: Cooldown::default(),
                key_refused_until: None,
                health: HealthCounts::default(),
                told: Health::Unknown,
                requests: 0,
                failures: 0,
                probes: Probes::default(),
                latency: Latency::default(),
            }),
        }
    }

    /// Returns by what it is known.
    pub fn id(&self) -> &TargetId {
        &self.id
    }

    /// Returns whether its provider has, or had, other keys.
    pub fn is_one_of_several(&self) -> bool {
        self.provider.keys.load(Relaxed) > 1
    }

    /// Returns how many requests are under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Says whether it gets new requests. Those under way go on.
    pub fn set_draining(&self, draining: Draining) {
        self.live().health.is_draining = draining == Draining::Yes;
    }

    /// Returns what is known of it.
    pub fn report(&self, policy: &Policy, now: Instant) -> HealthReport {
        let live = self.live();
        HealthReport {
            health: live.word(policy, now),
            consecutive_failures: live.health.consecutive_failures,
            requests: live.requests,
            failures: live.failures,
            probes: live.probes.made,
            last_check: live.health.last_check,
            last_error: live.health.last_error,
            next_probe: live.next_probe(policy).filter(|at| *at > now),
            breaker: live.breaker_state(policy, now),
            cooling: live.cooldown.wait(now),
            in_flight: self.in_flight(),
            latency: live.latency.last().and_then(|s| Duration::try_from_secs_f64(s).ok()),
        }
    }

    pub(crate) fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn latency_seconds(&self, now: Instant) -> Option<f64> {
        self.live().latency.seconds(now)
    }

    /// Returns why it gets no request now, if so. The gravest reason, for it lasts longest.
    pub(crate) fn closed(&self, policy: &Policy, now: Instant) -> Option<Closed> {
        let live = self.live();
        if live.health.is_draining {
            return Some(Closed { why: Why::Draining, wait: policy.breaker.recovery_timeout });
        }
        if let Some(wait) = live.breaker.wait(&policy.breaker, now) {
            return Some(Closed { why: Why::Open, wait });
        }
        if let Some(wait) = live.cooldown.wait(now) {
            return Some(Closed { why: Why::Cooling, wait });
        }
        if let Some(wait) = live.key_refused_until.and_then(|until| left(until, now)) {
            return Some(Closed { why: Why::KeyRefused, wait });
        }
        if live.probes.is_key_refused(&policy.health) {
            return Some(Closed { why: Why::KeyRefused, wait: policy.health.interval });
        }
        let is_shunned = live.health.is_shunned(&policy.health);
        is_shunned.then_some(Closed { why: Why::Shunned, wait: policy.health.interval })
    }

    /// Takes a place in it for one request. Only the breaker can refuse: the other reasons are wishes,
    /// and whoever picked knows them.
    pub(crate) fn acquire(self: &Arc<Self>, policy: &Arc<Policy>, now: Instant) -> Result<Permit, Duration> {
        let mut live = self.live();
        let ticket = live.breaker.acquire(&policy.breaker, now)?;
        live.requests += 1;
        drop(live);
        self.in_flight.fetch_add(1, Relaxed);
        Ok(Permit { target: Arc::clone(self), policy: Arc::clone(policy), ticket, known: Known::Nothing })
    }

    /// Tells of a change, if what was just learnt is one.
    fn tell_change(
        &self,
        mut live: MutexGuard<'_, Live>,
        shown_by: ShownBy,
        fault: Option<Fault>,
        (policy, now): (&Policy, Instant),
    ) {
        let to = live.word(policy, now);
        let from = std::mem::replace(&mut live.told, to);
        let consecutive_failures = live.health.consecutive_failures;
        drop(live);
        if from != to {
            (self.tell)(&Change { target: self, from, to, shown_by, fault, consecutive_failures });
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // Nothing in here can be left half done by a panic that would matter.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn word(&self, policy: &Policy, now: Instant) -> Health {
        let is_refused = self.key_refused_until.is_some_and(|until| until > now)
            || self.probes.is_key_refused(&policy.health);
        let limit = if is_refused {
            Limit::Refused
        } else if self.cooldown.wait(now).is_some() || self.probes.is_refused(&policy.health) {
            Limit::Some
        } else {
            Limit::None
        };
        self.health.health(self.breaker_state(policy, now), limit)
    }

    fn breaker_state(&self, policy: &Policy, now: Instant) -> BreakerState {
        // Nobody asks a breaker that a reload has switched off.
        if policy.breaker.enabled { self.breaker.state(now) } else { BreakerState::Closed }
    }

    /// Returns when it is next tried, as far as that is known.
    fn next_probe(&self, policy: &Policy) -> Option<Instant> {
        let probe = self.probes.next(&policy.health);
        let reopens = self.breaker.reopens(&policy.breaker);
        probe.into_iter().chain(reopens).min()
    }
}

/// Whether a target gets new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draining {
    /// It gets none.
    Yes,
    /// It gets its share.
    No,
}

/// A request's place in a target, from the start of the attempt to the end of its answer. Dropped before
/// it is known whether that is good, it counts as neither success nor failure.
#[derive(Debug)]
pub(crate) struct Permit {
    target: Arc<Target>,
    policy: Arc<Policy>,
    ticket: Ticket,
    known: Known,
}

/// What is known of a request so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    /// The head of its answer is good. What it counts as is known at the end: counted here and again where
    /// it breaks off, a target that breaks each of its answers would never be bad for more than a half.
    Begun,
    Counted(Verdict),
}

impl Permit {
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Counts what became of the request; of an answer that begins well, all but that it is a success, which
    /// [`ended`](Self::ended) says. Only the first call counts.
    pub(crate) fn settle(&mut self, outcome: &Outcome, now: Instant) {
        if self.known != Known::Nothing {
            return;
        }
        let verdict = outcome.verdict();
        let mut live = self.target.live();
        if outcome.is_beginning() {
            self.known = Known::Begun;
            live.breaker.give_place(&mut self.ticket);
            // Somebody is there, which is more than was known of one that was never asked.
            self.note(&mut live, Verdict::Neither, now);
        } else {
            self.known = Known::Counted(verdict);
            live.breaker.settle(self.ticket, verdict, &self.policy.breaker, now);
            self.note(&mut live, verdict, now);
        }
        if self.policy.health.passive {
            live.health.last_error = outcome.fault().map(|fault| (now, fault)).or(live.health.last_error);
        }
        match *outcome {
            Outcome::Answered { status, retry_after, latency } => {
                if status == 429 || (matches!(status, 503 | 529) && retry_after.is_some()) {
                    live.cooldown.begin(retry_after, &self.policy.cooldown, now);
                } else if verdict == Verdict::Success {
                    live.cooldown.forgive();
                    live.key_refused_until = None;
                    live.probes.forgive_key();
                    live.latency.observe(latency, now);
                }
            }
            // A key that is refused is refused to everyone. Not so 403, which may be about what one client
            // asked for: that client must not be able to put a key out of use.
            Outcome::KeyRefused { status: 401 } => {
                live.key_refused_until = Some(after(now, self.policy.breaker.recovery_timeout));
            }
            _ => {}
        }
        if matches!(verdict, Verdict::Failure(_)) {
            live.failures += 1;
            live.latency.penalise(now);
        }
        self.target.tell_change(live, ShownBy::Request, outcome.fault(), (&self.policy, now));
    }

    /// Counts an answer that began well as the success that it was to its end.
    pub(crate) fn ended(&mut self, now: Instant) {
        if self.known == Known::Begun {
            self.count(Verdict::Success, now);
        }
    }

    /// Counts an answer that broke off; one that was an error from its head on has been counted.
    pub(crate) fn broke(&mut self, now: Instant) {
        if !matches!(self.known, Known::Counted(Verdict::Failure(_))) {
            self.target.live().failures += 1;
            self.count(Verdict::Failure(Fault::Broke), now);
        }
    }

    fn count(&mut self, verdict: Verdict, now: Instant) {
        self.known = Known::Counted(verdict);
        let mut live = self.target.live();
        live.breaker.settle(self.ticket, verdict, &self.policy.breaker, now);
        self.note(&mut live, verdict, now);
        let fault = match verdict {
            Verdict::Failure(fault) => Some(fault),
            Verdict::Success | Verdict::Neither => None,
        };
        self.target.tell_change(live, ShownBy::Request, fault, (&self.policy, now));
    }

    fn note(&self, live: &mut Live, verdict: Verdict, now: Instant) {
        if self.policy.health.passive {
            live.health.note(verdict, &self.policy.health, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.target.in_flight.fetch_sub(1, Relaxed);
        if matches!(self.known, Known::Nothing | Known::Begun) {
            self.target.live().breaker.cancel(self.ticket);
        }
    }
}

#[cfg(test)]
mod tests;
