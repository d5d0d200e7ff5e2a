//! How a target is doing, told from what became of its requests and, where they are on, of probes. It
//! reports; what gets traffic is decided by breaker, rest and, with probes on, by this.

use std::time::{Duration, Instant};

use crate::breaker::BreakerState;
use crate::outcome::{Fault, Verdict};
use crate::settings::HealthSettings;

/// The state of a target in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Healthy,
    /// It works, but not always: some failures, a rest, or a recovery that is not over.
    Degraded,
    /// It does not.
    Unhealthy,
    /// It gets no new requests, by the operator's wish.
    Draining,
    /// It was never asked.
    Unknown,
}

impl Health {
    /// Returns the word of `GET /health/providers`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Unhealthy => "UNHEALTHY",
            Self::Draining => "DRAINING",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// What `GET /health/providers` shows of a target. Moments are the caller's to turn into times of day.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthReport {
    /// The state in one word.
    pub health: Health,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Requests since the start, those under way included.
    pub requests: u64,
    /// Those of them that failed by its fault.
    pub failures: u64,
    /// Probes since the start.
    pub probes: u64,
    /// When something was last learnt of it.
    pub last_check: Option<Instant>,
    /// What went wrong last and when, also where that was long ago.
    pub last_error: Option<(Instant, Fault)>,
    /// When it is next tried: by a probe, or by a request that an open breaker lets through. Nothing where
    /// that can happen at any time.
    pub next_probe: Option<Instant>,
    /// Where its breaker stands.
    pub breaker: BreakerState,
    /// How much of a rest that it asked for is left.
    pub cooling: Option<Duration>,
    /// Requests under way.
    pub in_flight: u32,
    /// The average wait for an answer's head, as it was after the last answer. Failures lengthen it.
    pub latency: Option<Duration>,
}

/// The counts behind the word.
#[derive(Debug, Default)]
pub(crate) struct HealthCounts {
    pub(crate) consecutive_failures: u32,
    consecutive_successes: u32,
    pub(crate) last_check: Option<Instant>,
    pub(crate) last_error: Option<(Instant, Fault)>,
    is_unhealthy: bool,
    pub(crate) is_draining: bool,
}

/// How far a target keeps itself from being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Not at all.
    None,
    /// It asked for a rest, or does not let itself be probed.
    Some,
    /// It refuses the key.
    Refused,
}

/// That a target is doing otherwise than before. Told to whoever made the [`Registry`](crate::Registry),
/// outside all locks.
#[derive(Debug)]
pub struct Change<'t> {
    /// Whose state it is.
    pub target: &'t crate::Target,
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
    /// What has shown it.
    pub shown_by: ShownBy,
    /// What went wrong, where it did.
    pub fault: Option<Fault>,
    /// Failures since the last success.
    pub consecutive_failures: u32,
}

/// What shows how a target is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownBy {
    /// A request of a client.
    Request,
    /// A probe.
    Probe,
}

impl HealthCounts {
    pub(crate) fn note(&mut self, verdict: Verdict, settings: &HealthSettings, now: Instant) {
        self.last_check = Some(now);
        match verdict {
            Verdict::Success => {
                self.consecutive_failures = 0;
                self.consecutive_successes = self.consecutive_successes.saturating_add(1);
                if self.consecutive_successes >= settings.success_threshold {
                    self.is_unhealthy = false;
                }
            }
            Verdict::Failure(fault) => {
                self.last_error = Some((now, fault));
                self.consecutive_successes = 0;
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                if self.consecutive_failures >= settings.failure_threshold.max(1) {
                    self.is_unhealthy = true;
                }
            }
            Verdict::Neither => {}
        }
    }

    /// Returns whether it is better left alone. Only with probes on: without them a target that gets no
    /// request never gets better, and the breaker sees to trials.
    pub(crate) fn is_shunned(&self, settings: &HealthSettings) -> bool {
        settings.active && self.is_unhealthy
    }

    pub(crate) fn health(&self, breaker: BreakerState, limit: Limit) -> Health {
        let is_recovering = self.is_unhealthy && self.consecutive_successes > 0;
        let is_down = matches!(breaker, BreakerState::Open { .. }) || (self.is_unhealthy && !is_recovering);
        if self.is_draining {
            Health::Draining
        } else if is_down || limit == Limit::Refused {
            Health::Unhealthy
        } else if is_recovering
            || limit == Limit::Some
            || self.consecutive_failures > 0
            || breaker == BreakerState::HalfOpen
        {
            Health::Degraded
        } else if self.last_check.is_none() {
            Health::Unknown
        } else {
            Health::Healthy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: load-balancing B-19.
    #[test]
    fn the_word_follows_failures_and_successes_in_a_row() {
        const F: Verdict = Verdict::Failure(Fault::Lost);
        const S: Verdict = Verdict::Success;
        const N: Verdict = Verdict::Neither;
        let now = Instant::now();
        let check = |verdicts: &[Verdict], expected: Health| {
            let mut counts = HealthCounts::default();
            for verdict in verdicts {
                counts.note(*verdict, &HealthSettings::default(), now);
            }
            assert_eq!(counts.health(BreakerState::Closed, Limit::None), expected, "{verdicts:?}");
        };
        check(&[], Health::Unknown);
        check(&[S], Health::Healthy);
        check(&[N], Health::Healthy);
        check(&[F], Health::Degraded);
        check(&[F, F], Health::Degraded);
        check(&[F, F, S], Health::Healthy);
        check(&[F, F, F], Health::Unhealthy);
        check(&[F, F, N, F], Health::Unhealthy);
        check(&[F, F, F, S], Health::Degraded);
        check(&[F, F, F, S, F], Health::Unhealthy);
        check(&[F, F, F, S, S], Health::Healthy);
    }

    // Spec: load-balancing B-19, B-40.
    #[test]
    fn the_word_knows_breakers_rests_and_refused_keys() {
        let now = Instant::now();
        let open = BreakerState::Open { until: now };
        let check = |breaker: BreakerState, limit: Limit, is_draining: bool, expected: Health| {
            let mut counts = HealthCounts { is_draining, ..HealthCounts::default() };
            counts.note(Verdict::Success, &HealthSettings::default(), now);
            assert_eq!(counts.health(breaker, limit), expected, "{breaker:?}, {limit:?}, {is_draining}");
        };
        check(BreakerState::Closed, Limit::None, false, Health::Healthy);
        check(BreakerState::Closed, Limit::Some, false, Health::Degraded);
        check(BreakerState::Closed, Limit::Refused, false, Health::Unhealthy);
        check(BreakerState::HalfOpen, Limit::None, false, Health::Degraded);
        check(open, Limit::None, false, Health::Unhealthy);
        check(open, Limit::Refused, true, Health::Draining);
    }
}
