//! What an operator can choose. The defaults are those of the configuration's documentation; the fields
//! that have no key there say why they are as they are.

use std::time::Duration;

/// Everything that decides where requests go. One value for each configuration; the live state of the
/// targets is not in here, so that a reload changes the rules and forgets nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Attempts of one request.
    pub retry: RetrySettings,
    /// When a target gets no requests for a while.
    pub breaker: BreakerSettings,
    /// What is reported, and how targets are probed.
    pub health: HealthSettings,
    /// What a 429 does.
    pub cooldown: CooldownSettings,
}

/// How one target of a pool is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each in turn; weights do not count.
    RoundRobin,
    /// Each in turn in proportion to its weight, evenly interleaved.
    #[default]
    Weighted,
    /// The one with the fewest requests in flight for its weight.
    LeastRequests,
    /// Any, in proportion to its weight.
    Random,
    /// The cheaper of two that were drawn, by latency and requests in flight.
    P2cEwma,
}

impl Strategy {
    /// Returns the strategy that a configuration's `strategy` names, `None` for any other word.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "round_robin" => Self::RoundRobin,
            "weighted" => Self::Weighted,
            "least_requests" => Self::LeastRequests,
            "random" => Self::Random,
            "p2c_ewma" => Self::P2cEwma,
            _ => return None,
        })
    }
}

/// How often and how soon a request is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// Attempts of one request over retries, fallbacks and hedges together; 0 counts as 1.
    pub max_attempts: u32,
    /// The longest wait before the first repetition at the same target.
    pub backoff_base: Duration,
    /// By how much that grows with each further one.
    pub backoff_multiplier: f64,
    /// The bound of all waits, also of those that a provider asks for: a client is not kept waiting
    /// longer, it gets the provider's answer.
    pub backoff_max: Duration,
    /// The statuses that allow another attempt although the provider had the request.
    pub retryable_status: Vec<u16>,
    /// Repetitions at a provider, as a percentage of its requests; 0 is none.
    pub budget_percent: u32,
    /// Whether a request of which bytes were sent is repeated when its answer never came. No key sets
    /// this yet: the provider may have done the work, and would bill it again.
    pub retry_lost: bool,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff_base: Duration::from_millis(250),
            backoff_multiplier: 2.0,
            backoff_max: Duration::from_secs(8),
            retryable_status: vec![429, 502, 503, 529],
            budget_percent: 20,
            retry_lost: false,
        }
    }
}

/// When a circuit breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSettings {
    /// Whether there are breakers at all.
    pub enabled: bool,
    /// Failures in a row that open it.
    pub failure_threshold: u32,
    /// The share of failures within `window` that opens it. A target that fails every second request
    /// never fails five times in a row.
    pub failure_ratio: f64,
    /// Requests within `window` below which a share says nothing.
    pub ratio_min_requests: u32,
    /// Over which time the share is counted. The good answers of before hide a brown-out for about as long.
    pub window: Duration,
    /// How long it stays open the first time.
    pub recovery_timeout: Duration,
    /// Up to where that doubles while the target goes on failing.
    pub recovery_max: Duration,
    /// Requests that try a half-open target, and successes that close it; 0 counts as 1.
    pub half_open_max_calls: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 5,
            failure_ratio: 0.5,
            ratio_min_requests: 10,
            window: Duration::from_secs(10),
            recovery_timeout: Duration::from_secs(30),
            recovery_max: Duration::from_secs(300),
            half_open_max_calls: 3,
        }
    }
}

/// What counts for a target's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Whether the outcomes of requests count.
    pub passive: bool,
    /// Failures in a row that make a target unhealthy.
    pub failure_threshold: u32,
    /// Successes in a row that make it healthy again.
    pub success_threshold: u32,
    /// Whether targets are probed.
    pub active: bool,
    /// Time between two probes.
    pub interval: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            passive: true,
            failure_threshold: 3,
            success_threshold: 2,
            active: false,
            interval: Duration::from_secs(30),
        }
    }
}

/// How long a target rests after it said that it gets too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CooldownSettings {
    /// The rest where the provider names none; it doubles each time.
    pub base: Duration,
    /// The bound of every rest. A provider may name the end of the month; then it is asked again once in
    /// this time, for limits are raised and accounts are paid.
    pub max: Duration,
}

impl Default for CooldownSettings {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}
