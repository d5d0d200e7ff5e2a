//! How a target is doing, told from what became of its requests and, where they are on, of probes. It
//! reports; what gets traffic is decided by breaker, rest and, with probes on, by this.

use std::time::{Duration, Instant};

use crate::breaker::BreakerState;
use crate::clock::after;
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
    /// Failures since the start.
    pub failures: u64,
    /// Successes since the start.
    pub successes: u64,
    /// When something was last learnt of it.
    pub last_check: Option<Instant>,
    /// What went wrong last, also where that was long ago.
    pub last_error: Option<Fault>,
    /// When it is next tried: by a probe, or by a request that an open breaker lets through.
    pub next_probe: Option<Instant>,
    /// Where its breaker stands.
    pub breaker: BreakerState,
    /// How much of a rest that it asked for is left.
    pub cooling: Option<Duration>,
    /// Requests under way.
    pub in_flight: u32,
    /// The average wait for an answer's head.
    pub latency: Option<Duration>,
}

/// The counts behind the word.
#[derive(Debug, Default)]
pub(crate) struct HealthCounts {
    pub(crate) consecutive_failures: u32,
    consecutive_successes: u32,
    pub(crate) failures: u64,
    pub(crate) successes: u64,
    pub(crate) last_check: Option<Instant>,
    pub(crate) last_error: Option<Fault>,
    is_unhealthy: bool,
    pub(crate) is_draining: bool,
    last_probe: Option<Instant>,
}

impl HealthCounts {
    pub(crate) fn note(&mut self, verdict: Verdict, settings: &HealthSettings, now: Instant) {
        self.last_check = Some(now);
        match verdict {
            Verdict::Success => {
                self.successes += 1;
                self.consecutive_failures = 0;
                self.consecutive_successes = self.consecutive_successes.saturating_add(1);
                if self.consecutive_successes >= settings.success_threshold {
                    self.is_unhealthy = false;
                }
            }
            Verdict::Failure(fault) => {
                self.failures += 1;
                self.last_error = Some(fault);
                self.consecutive_successes = 0;
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                if self.consecutive_failures >= settings.failure_threshold.max(1) {
                    self.is_unhealthy = true;
                }
            }
            Verdict::Neither => {}
        }
    }

    /// Takes the turn to probe, if it is due. Of two callers only one gets it.
    pub(crate) fn begin_probe(&mut self, settings: &HealthSettings, now: Instant) -> bool {
        let is_due = settings.active && self.next_probe(settings).is_none_or(|at| at <= now);
        if is_due {
            self.last_probe = Some(now);
        }
        is_due
    }

    /// Returns when the next probe is due, `None` if there was none yet or probes are off.
    pub(crate) fn next_probe(&self, settings: &HealthSettings) -> Option<Instant> {
        settings.active.then(|| self.last_probe.map(|at| after(at, settings.interval))).flatten()
    }

    /// Returns whether it is better left alone. Only with probes on: without them a target that gets no
    /// request never gets better, and the breaker sees to trials.
    pub(crate) fn is_shunned(&self, settings: &HealthSettings) -> bool {
        settings.active && self.is_unhealthy
    }

    pub(crate) fn health(&self, breaker: BreakerState, is_limited: bool) -> Health {
        let is_recovering = self.is_unhealthy && self.consecutive_successes > 0;
        if self.is_draining {
            Health::Draining
        } else if matches!(breaker, BreakerState::Open { .. }) || (self.is_unhealthy && !is_recovering) {
            Health::Unhealthy
        } else if is_recovering
            || is_limited
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
            assert_eq!(counts.health(BreakerState::Closed, false), expected, "{verdicts:?}");
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

    // Spec: load-balancing B-19.
    #[test]
    fn a_probe_is_due_once_an_interval_and_for_one_caller() {
        let start = Instant::now();
        let settings = HealthSettings { active: true, ..HealthSettings::default() };
        let mut counts = HealthCounts::default();
        let mut check = |at: u64, expected: bool| {
            assert_eq!(counts.begin_probe(&settings, start + Duration::from_secs(at)), expected, "{at}");
        };
        check(0, true);
        check(0, false);
        check(29, false);
        check(30, true);
        check(31, false);
        assert!(!HealthCounts::default().begin_probe(&HealthSettings::default(), start));
    }
}
