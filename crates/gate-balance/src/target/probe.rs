//! Probes of a target: when one is due, and what its answer changes. Who asks, and how, is not known here.
//!
//! A probe is no request. It never opens a breaker: a list of models may fail where completions work, and
//! a target that is alone would then be lost. In a half-open breaker, though, it takes the place of a
//! request, so that none is risked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::Target;
use crate::breaker::{BreakerState, Ticket};
use crate::clock::{after, scaled};
use crate::health::ShownBy;
use crate::outcome::{Fault, Verdict};
use crate::settings::{HealthSettings, Policy};

/// Within this time after the start, or within an interval if that is shorter, everyone is probed once.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// By how much of an interval the next probe may come earlier or later, so that those of many targets, and
/// of many gateways, spread.
const JITTER: f64 = 0.1;

/// What a probe has found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Somebody is there, and has not refused the key.
    Alive,
    /// Somebody is there; this key was not tried.
    Reachable,
    /// Somebody is there and refuses the key (401), or does not let it ask this (403).
    KeyRefused {
        /// The status.
        status: u16,
    },
    /// Nobody is there, or nobody who can answer.
    Failed(Fault),
}

/// What is known of a target's probes.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Since the start.
    pub(super) made: u64,
    is_running: bool,
    /// The next is due a share of the interval after a moment. Not the sum, for a reload may bring another
    /// interval.
    next: Option<(Instant, f64)>,
    /// How the last one was refused.
    refused: Option<u16>,
}

impl Probes {
    pub(super) fn next(&self, settings: &HealthSettings) -> Option<Instant> {
        let (since, share) = self.next.filter(|_| settings.active)?;
        Some(after(since, scaled(settings.interval, share, Duration::MAX)))
    }

    pub(super) fn is_key_refused(&self, settings: &HealthSettings) -> bool {
        settings.active && self.refused == Some(401)
    }

    pub(super) fn is_refused(&self, settings: &HealthSettings) -> bool {
        settings.active && self.refused.is_some()
    }

    /// Notes that the key was taken. What a 403 means is not touched: the key works and may still not be
    /// allowed to ask what probes ask.
    pub(super) fn forgive_key(&mut self) {
        self.refused = self.refused.filter(|status| *status != 401);
    }
}

impl Target {
    /// Returns when it is to be probed: at its time, or when an open breaker lets somebody try. Nothing
    /// while a probe is under way and where there are none.
    ///
    /// The first call draws the time of the first probe, and the targets of a start are thereby spread.
    pub fn probe_due(&self, policy: &Policy, now: Instant, rng: &mut Rng) -> Option<Instant> {
        let HealthSettings { active, interval, .. } = policy.health;
        let mut live = self.live();
        if !active || live.probes.is_running {
            return None;
        }
        live.probes.next.get_or_insert_with(|| {
            let round = FIRST_ROUND.min(interval).as_secs_f64();
            (now, rng.f64() * round / interval.as_secs_f64().max(f64::MIN_POSITIVE))
        });
        live.next_probe(policy)
    }

    /// Begins a probe, unless one is under way. It takes a place in a half-open breaker if there is one.
    /// The next is due an interval later.
    pub fn begin_probe(self: &Arc<Self>, policy: &Arc<Policy>, now: Instant, rng: &mut Rng) -> Option<Probe> {
        let mut live = self.live();
        if live.probes.is_running {
            return None;
        }
        live.probes.made += 1;
        live.probes.is_running = true;
        live.probes.next = Some((now, 1.0 + JITTER * (2.0 * rng.f64() - 1.0)));
        let is_trial = live.breaker_state(policy, now) == BreakerState::HalfOpen;
        let trial = is_trial.then(|| live.breaker.acquire(&policy.breaker, now).ok()).flatten();
        drop(live);
        Some(Probe { target: Arc::clone(self), policy: Arc::clone(policy), trial })
    }
}

/// A probe under way. Dropped unsettled it counts as nothing.
#[derive(Debug)]
pub struct Probe {
    target: Arc<Target>,
    policy: Arc<Policy>,
    trial: Option<Ticket>,
}

impl Probe {
    /// Returns which target is probed.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Counts what was found, and returns whether that is a refusal of the key which the last probe did
    /// not meet.
    pub fn settle(mut self, finding: Finding, now: Instant) -> bool {
        let (verdict, fault, refused) = match finding {
            Finding::Alive | Finding::Reachable => (Verdict::Success, None, None),
            Finding::Failed(fault) => (Verdict::Failure(fault), Some(fault), None),
            Finding::KeyRefused { status } => {
                (Verdict::Neither, Some(Fault::KeyRefused(status)), Some(status))
            }
        };
        let mut live = self.target.live();
        live.health.note(verdict, &self.policy.health, now);
        live.health.last_error = fault.map(|fault| (now, fault)).or(live.health.last_error);
        if let Some(trial) = self.trial.take() {
            live.breaker.settle(trial, verdict, &self.policy.breaker, now);
        }
        let was = live.probes.refused;
        match finding {
            Finding::Alive => {
                live.key_refused_until = None;
                live.probes.refused = None;
            }
            Finding::KeyRefused { .. } => live.probes.refused = refused,
            // These say nothing of the key.
            Finding::Reachable | Finding::Failed(_) => {}
        }
        self.target.tell_change(live, ShownBy::Probe, fault, (&self.policy, now));
        refused.is_some() && refused != was
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut live = self.target.live();
        live.probes.is_running = false;
        if let Some(trial) = self.trial.take() {
            live.breaker.cancel(trial);
        }
    }
}

#[cfg(test)]
mod tests;
