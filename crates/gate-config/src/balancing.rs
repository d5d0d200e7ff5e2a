//! How requests are shared among targets and tried again, as settings. What they mean for one request
//! is decided by whoever balances.

use std::time::Duration;

/// How the targets of a pool share its requests: `[llm.load_balancing]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancing {
    /// Who is next (`strategy`, default `weighted`).
    pub strategy: Strategy,
    /// Whether requests of one session stay at one target, whose prompt cache then is warm (`sticky`,
    /// default yes).
    pub is_sticky: bool,
}

/// How the next target of a pool is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// In turns as frequent as their weights, spread evenly.
    #[default]
    Weighted,
    /// In turns, whatever the weights.
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastRequests,
    /// By chance, weighted.
    Random,
    /// The better of two random ones, by a moving average of their latency and their load.
    P2cEwma,
}

impl Strategy {
    /// Returns the word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::RoundRobin => "round_robin",
            Self::LeastRequests => "least_requests",
            Self::Random => "random",
            Self::P2cEwma => "p2c_ewma",
        }
    }

    /// Every strategy, the default first.
    pub(crate) const ALL: [Self; 5] =
        [Self::Weighted, Self::RoundRobin, Self::LeastRequests, Self::Random, Self::P2cEwma];
}

/// When a request is tried again: `[llm.retry]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Most attempts of one request, the first, retries and fallbacks together (`max_attempts`, default
    /// 3, 1 to 10).
    pub max_attempts: u32,
    /// Longest wait before the second attempt at one target (`backoff_base`, default 0.25 s; 0 waits
    /// for nothing).
    pub backoff_base: Duration,
    /// What each further wait is longer by (`backoff_multiplier`, default 2, 1 to 100).
    pub backoff_multiplier: f64,
    /// Longest wait of all, also where the provider asks for one (`backoff_max`, default 8 s, never
    /// less than `backoff_base`).
    pub backoff_max: Duration,
    /// Statuses after which a request is tried again, each from 400 to 599, in ascending order
    /// (`retryable_status`, default 429, 502, 503 and 529).
    pub retryable_status: Vec<u16>,
    /// Retries for each 100 requests of a provider (`budget_percent`, default 20, 0 to 100).
    pub budget_percent: u32,
    /// Most bytes of a stream that are held before its first content, while another target could still
    /// answer (`hold_size_kb`, default 16 KiB; 0 holds nothing).
    pub hold_bytes: usize,
    /// Longest time that they are held (`hold_time`, default 5 s; 0 holds nothing).
    pub hold_time: Duration,
}

/// When a target is left alone because it fails: `[llm.circuit_breaker]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Whether there is one (`enabled`, default yes).
    pub is_enabled: bool,
    /// Failures in a row after which a target gets no requests (`failure_threshold`, default 5).
    pub failure_threshold: u32,
    /// How long it gets none at first (`recovery_timeout`, default 30 s).
    pub recovery_timeout: Duration,
    /// Requests at once that then try whether it is back (`half_open_max_calls`, default 3).
    pub half_open_max_calls: u32,
}

/// What tells that a target is well: `[llm.health_check]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Whether requests tell (`passive`, default yes).
    pub is_passive: bool,
    /// Failures in a row after which a target is not well (`failure_threshold`, default 3).
    pub failure_threshold: u32,
    /// Successes in a row after which it is again (`success_threshold`, default 2).
    pub success_threshold: u32,
    /// Whether probes tell too (`active`, default no).
    pub is_active: bool,
    /// From one probe to the next (`interval`, default 30 s).
    pub interval: Duration,
    /// Longest wait for the answer of a probe (`timeout`, default 5 s).
    pub timeout: Duration,
    /// The path below `/v1` that probes ask, with its query (`endpoint`, default `/models`).
    pub endpoint: String,
}

impl Default for LoadBalancing {
    fn default() -> Self {
        Self { strategy: Strategy::default(), is_sticky: true }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff_base: Duration::from_millis(250),
            backoff_multiplier: 2.0,
            backoff_max: Duration::from_secs(8),
            retryable_status: vec![429, 502, 503, 529],
            budget_percent: 20,
            hold_bytes: 16 << 10,
            hold_time: Duration::from_secs(5),
        }
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            is_enabled: true,
            failure_threshold: 5,
            recovery_timeout: Duration::from_secs(30),
            half_open_max_calls: 3,
        }
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            is_passive: true,
            failure_threshold: 3,
            success_threshold: 2,
            is_active: false,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            endpoint: "/models".to_owned(),
        }
    }
}
