//! The circuit breaker of one target: closed, open, half-open. A state machine without a lock; whoever
//! shares it has one.
//!
//! What was let through under one state says nothing about the next: a ticket carries the generation
//! that it was given in, and a late answer to an older one is not counted. So failures of requests that
//! were sent before the breaker opened cannot end a recovery.

use std::time::{Duration, Instant};

use crate::clock::{after, left};
use crate::outcome::Verdict;
use crate::settings::BreakerSettings;
use crate::window::Window;

/// How long to wait where nobody can know it: the places of a half-open breaker are taken, and become
/// free when some request is answered.
const UNTIL_A_PROBE_ENDS: Duration = Duration::from_secs(1);

/// Counts outcomes, and refuses requests while they are bad.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// Failures in a row.
    consecutive: u32,
    window: Window,
    /// How long it stays open, this time or the last.
    recovery: Duration,
    /// When it closed the last time.
    closed_at: Option<Instant>,
    generation: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { running: u32, succeeded: u32 },
}

/// Where a breaker stands, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// None passes until then.
    Open {
        /// When the next one may try.
        until: Instant,
    },
    /// A few pass, to see how it goes.
    HalfOpen,
}

/// A request's leave to pass. To be given back with [`Breaker::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    generation: u64,
    /// Whether it is one of those that a trial waits for.
    holds_place: bool,
}

impl Breaker {
    /// Makes a closed breaker that knows nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            consecutive: 0,
            window: Window::new(now),
            recovery: Duration::ZERO,
            closed_at: None,
            generation: 0,
        }
    }

    /// Lets a request through, or says how long none will be.
    ///
    /// # Errors
    /// The time until it is worth asking again, while the breaker is open or its trial is full.
    pub fn acquire(&mut self, settings: &BreakerSettings, now: Instant) -> Result<Ticket, Duration> {
        if let Some(wait) = self.wait(settings, now) {
            return Err(wait);
        }
        if settings.enabled {
            match &mut self.state {
                State::Closed => {}
                State::Open { .. } => self.enter(State::HalfOpen { running: 1, succeeded: 0 }),
                State::HalfOpen { running, .. } => *running += 1,
            }
        }
        Ok(Ticket { generation: self.generation, holds_place: true })
    }

    /// Returns how long no request will be let through, `None` if the next one will.
    pub fn wait(&self, settings: &BreakerSettings, now: Instant) -> Option<Duration> {
        match self.state {
            _ if !settings.enabled => None,
            State::Closed => None,
            State::Open { until } => left(until, now),
            State::HalfOpen { running, succeeded } => {
                (running + succeeded >= settings.half_open_max_calls.max(1)).then_some(UNTIL_A_PROBE_ENDS)
            }
        }
    }

    /// Takes a ticket back. [`Verdict::Neither`] frees its place and counts as nothing.
    pub fn settle(&mut self, ticket: Ticket, verdict: Verdict, settings: &BreakerSettings, now: Instant) {
        if ticket.generation != self.generation {
            return;
        }
        match (&mut self.state, verdict) {
            (State::HalfOpen { .. }, Verdict::Neither) => self.cancel(ticket),
            (State::HalfOpen { running, succeeded }, Verdict::Success) => {
                *running = running.saturating_sub(u32::from(ticket.holds_place));
                *succeeded += 1;
                if *succeeded >= settings.half_open_max_calls.max(1) {
                    self.close(now);
                }
            }
            (State::HalfOpen { .. }, Verdict::Failure(_)) => self.open(settings, now),
            (State::Closed, Verdict::Success) => {
                self.consecutive = 0;
                self.window.note(false, settings.window, now);
            }
            (State::Closed, Verdict::Failure(_)) => self.count_failure(settings, now),
            (State::Closed, Verdict::Neither) | (State::Open { .. }, _) => {}
        }
    }

    /// Takes the ticket of a request back of which nothing became: its place is free again.
    pub fn cancel(&mut self, mut ticket: Ticket) {
        self.give_place(&mut ticket);
    }

    /// Gives the place of a request whose answer has begun to the next one of a trial. The answer may last
    /// for minutes, and still counts when it ends.
    pub fn give_place(&mut self, ticket: &mut Ticket) {
        let holds_place = std::mem::take(&mut ticket.holds_place);
        if ticket.generation == self.generation
            && let State::HalfOpen { running, .. } = &mut self.state
        {
            *running = running.saturating_sub(u32::from(holds_place));
        }
    }

    /// Returns where it stands at `now`.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if until > now => BreakerState::Open { until },
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns when an open breaker lets a request through again, be it in the past.
    pub(crate) fn reopens(&self, settings: &BreakerSettings) -> Option<Instant> {
        match self.state {
            State::Open { until } if settings.enabled => Some(until),
            _ => None,
        }
    }

    fn count_failure(&mut self, settings: &BreakerSettings, now: Instant) {
        self.consecutive = self.consecutive.saturating_add(1);
        let count = self.window.note(true, settings.window, now);
        let is_over_ratio = count.all >= settings.ratio_min_requests
            && f64::from(count.failed) >= settings.failure_ratio * f64::from(count.all);
        if settings.enabled && (self.consecutive >= settings.failure_threshold.max(1) || is_over_ratio) {
            self.open(settings, now);
        }
    }

    fn open(&mut self, settings: &BreakerSettings, now: Instant) {
        // A target that fails again soon after a recovery has not recovered. Without this, one that is up
        // for a second and down for a second would be tried at the shortest distance for ever.
        let is_relapse = match self.state {
            State::HalfOpen { .. } => true,
            _ => self.closed_at.is_some_and(|at| now.saturating_duration_since(at) < self.recovery),
        };
        let longest = settings.recovery_max.max(settings.recovery_timeout);
        self.recovery = if is_relapse {
            self.recovery.saturating_mul(2).clamp(settings.recovery_timeout, longest)
        } else {
            settings.recovery_timeout
        };
        self.enter(State::Open { until: after(now, self.recovery) });
    }

    fn close(&mut self, now: Instant) {
        self.closed_at = Some(now);
        self.enter(State::Closed);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.consecutive = 0;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests;
