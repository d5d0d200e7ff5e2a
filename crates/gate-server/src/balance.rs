//! What of a configuration decides where requests go: the one place that turns `gate-config`'s settings
//! and routes into those of `gate-balance`, and back into providers and models.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use gate_balance::{
    BreakerSettings, HealthSettings, Member, Place, Policy, Pool, Registry, RetrySettings, Sticky, Strategy,
    Target, TargetId,
};
use gate_config::{Provider, ProviderIndex, ProviderTree, Route, ServerConfig};

/// What a provider's weight is multiplied by where it is divided among several keys, so that the quotient
/// of the smallest weight and the most keys is still exact enough.
const WEIGHT_SCALE: u32 = 10_000;

/// One configuration's rules and targets.
#[derive(Debug)]
pub(crate) struct Balance {
    pub(crate) policy: Arc<Policy>,
    strategy: Strategy,
    sticky: Sticky,
    hold: Hold,
    /// Of each provider its targets, one for each key.
    targets: Vec<Box<[Arc<Target>]>>,
    weights: Vec<u32>,
    /// Of each provider the route of requests that go nowhere else.
    alone: Vec<Arc<gate_balance::Route>>,
    /// The routes with several providers that were asked for: how many form the pool, then the place of
    /// each. A pool's turns live in its route, so that all requests must share it. There are no more
    /// than the configuration has combinations, whatever names clients send.
    shared: RwLock<HashMap<Box<[usize]>, Arc<gate_balance::Route>>>,
}

/// How much of a stream is held back before its first content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// Where one request may go.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    route: Arc<gate_balance::Route>,
    stops: Stops,
}

#[derive(Clone, Debug)]
enum Stops {
    One(Stop),
    /// Never empty, with how many of them form the pool; the others are fallbacks.
    Several(Arc<[Stop]>, usize),
}

/// A provider with the model that it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) provider: ProviderIndex,
    /// The upstream model, where the request names one.
    pub(crate) model: Option<Arc<str>>,
}

impl Stop {
    pub(crate) fn of(target: gate_config::Target<'_>) -> Self {
        Self { provider: target.provider, model: Some(target.upstream_model.into()) }
    }
}

impl Balance {
    /// Prepares a configuration. What `registry` knows of its targets from before stays known.
    pub(crate) fn new(server: &ServerConfig, providers: &ProviderTree, registry: &Registry) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let strategy = strategy(server.load_balancing.strategy);
        let sticky = if server.load_balancing.is_sticky { Sticky::Yes } else { Sticky::No };
        let targets: Vec<Box<[Arc<Target>]>> = providers
            .providers()
            .map(|(_, provider)| keys_of(provider).map(|key| target(provider, key, registry, now)).collect())
            .collect();
        let weights = providers.providers().map(|(_, provider)| provider.weight.unwrap_or(1)).collect();
        let mut balance = Self {
            policy: Arc::new(policy(server)),
            strategy,
            sticky,
            hold: Hold { bytes: server.retry.hold_bytes, time: server.retry.hold_time },
            targets,
            weights,
            alone: Vec::new(),
            shared: RwLock::default(),
        };
        balance.alone = (0..balance.targets.len())
            .map(|provider| Arc::new(gate_balance::Route::new(vec![balance.pool(&[provider])])))
            .collect();
        balance
    }

    /// Returns the targets of a provider, one for each of its keys.
    pub(crate) fn targets(&self, provider: ProviderIndex) -> &[Arc<Target>] {
        self.targets.get(provider.position()).map_or(&[], |targets| targets)
    }

    /// Returns how much of a stream is held; `None` where nothing is.
    pub(crate) fn hold(&self) -> Option<Hold> {
        Some(self.hold).filter(|hold| hold.bytes > 0 && !hold.time.is_zero())
    }

    /// Returns the way of a request that one provider alone can answer.
    #[expect(clippy::indexing_slicing, reason = "one route was made for each provider of this tree")]
    pub(crate) fn alone(&self, stop: Stop) -> Way {
        Way { route: Arc::clone(&self.alone[stop.provider.position()]), stops: Stops::One(stop) }
    }

    /// Returns the way of a request for a name: the pool, then the fallbacks, of either those that can
    /// have it. If none can, it is the first.
    pub(crate) fn way(&self, route: &Route<'_>, can_have: impl Fn(&Stop) -> bool) -> Way {
        let mut fallbacks = route.fallbacks().map(Stop::of).filter(&can_have).peekable();
        if !route.is_pool() && fallbacks.peek().is_none() {
            return self.alone(Stop::of(route.first()));
        }
        let pool = route.pool().map(|member| Stop::of(member.target));
        let mut stops: Vec<Stop> = pool.filter(&can_have).collect();
        let pooled = stops.len();
        stops.extend(fallbacks);
        if stops.is_empty() {
            return self.alone(Stop::of(route.first()));
        }
        let route = self.shared_route(pooled, &stops);
        Way { route, stops: Stops::Several(stops.into(), pooled) }
    }

    fn shared_route(&self, pooled: usize, stops: &[Stop]) -> Arc<gate_balance::Route> {
        let places = stops.iter().map(|stop| stop.provider.position());
        let key: Box<[usize]> = std::iter::once(pooled).chain(places).collect();
        // A panic elsewhere leaves no entry half made.
        let known = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = known.get(&key) {
            return Arc::clone(route);
        }
        drop(known);
        let (members, others) = key.get(1..).unwrap_or_default().split_at(pooled);
        let pools = std::iter::once(self.pool(members)).chain(others.chunks(1).map(|one| self.pool(one)));
        let route = Arc::new(gate_balance::Route::new(pools.collect()));
        let mut known = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_insert(route))
    }

    /// Makes a pool of all keys of some providers.
    fn pool(&self, providers: &[usize]) -> Pool {
        let has_several_keys =
            |provider: &usize| self.targets.get(*provider).is_some_and(|keys| keys.len() > 1);
        let scale = if providers.iter().any(has_several_keys) { WEIGHT_SCALE } else { 1 };
        let mut members = Vec::new();
        for provider in providers {
            let targets = self.targets.get(*provider).map_or(&[][..], |targets| targets);
            let whole = self.weights.get(*provider).copied().unwrap_or(1).saturating_mul(scale);
            let keys = u32::try_from(targets.len()).unwrap_or(u32::MAX).max(1);
            let weight = NonZeroU32::new(whole / keys).unwrap_or(NonZeroU32::MIN);
            members.extend(targets.iter().map(|target| Member { target: Arc::clone(target), weight }));
        }
        Pool::new(members, self.strategy, self.sticky)
    }
}

impl Way {
    pub(crate) fn route(&self) -> &Arc<gate_balance::Route> {
        &self.route
    }

    /// Tells whether it matters which session a request is of.
    pub(crate) fn is_shared(&self) -> bool {
        self.route.pools().iter().any(|pool| pool.members().len() > 1)
    }

    /// Returns every provider that may be asked, in order.
    pub(crate) fn stops(&self) -> &[Stop] {
        match &self.stops {
            Stops::One(stop) => std::slice::from_ref(stop),
            Stops::Several(stops, _) => stops,
        }
    }

    /// Returns what stands at a place of the route.
    #[expect(
        clippy::indexing_slicing,
        reason = "a place is of this way's own route, which was made of its stops"
    )]
    pub(crate) fn stop_at(&self, place: Place) -> &Stop {
        match &self.stops {
            Stops::One(stop) => stop,
            Stops::Several(stops, pooled) => match place.pool {
                // A pool may hold several keys of a provider, which follow one another; each first one has
                // the number 0.
                0 => {
                    let members = self.route.pools()[0].members()[..=place.member].iter();
                    &stops[members.filter(|member| member.target.id().key == 0).count() - 1]
                }
                fallback => &stops[pooled + fallback - 1],
            },
        }
    }
}

/// Returns the numbers of a provider's keys. One without a key has one target too.
fn keys_of(provider: &Provider) -> std::ops::Range<u32> {
    0..u32::try_from(provider.api_keys.len()).unwrap_or(u32::MAX).max(1)
}

fn target(provider: &Provider, key: u32, registry: &Registry, now: Instant) -> Arc<Target> {
    registry.target(TargetId { provider: provider.id.clone(), key }, now)
}

fn strategy(strategy: gate_config::Strategy) -> Strategy {
    use gate_config::Strategy as Configured;
    match strategy {
        Configured::Weighted => Strategy::Weighted,
        Configured::RoundRobin => Strategy::RoundRobin,
        Configured::LeastRequests => Strategy::LeastRequests,
        Configured::Random => Strategy::Random,
        Configured::P2cEwma => Strategy::P2cEwma,
    }
}

/// What has no key in the configuration keeps its default.
fn policy(server: &ServerConfig) -> Policy {
    let ServerConfig { retry, circuit_breaker: breaker, health_check: health, .. } = server;
    Policy {
        retry: RetrySettings {
            max_attempts: retry.max_attempts,
            backoff_base: retry.backoff_base,
            backoff_multiplier: retry.backoff_multiplier,
            backoff_max: retry.backoff_max,
            retryable_status: retry.retryable_status.clone(),
            budget_percent: retry.budget_percent,
            ..RetrySettings::default()
        },
        breaker: BreakerSettings {
            enabled: breaker.is_enabled,
            failure_threshold: breaker.failure_threshold,
            recovery_timeout: breaker.recovery_timeout,
            half_open_max_calls: breaker.half_open_max_calls,
            ..BreakerSettings::default()
        },
        health: HealthSettings {
            passive: health.is_passive,
            failure_threshold: health.failure_threshold,
            success_threshold: health.success_threshold,
            active: health.is_active,
            interval: health.interval,
        },
        ..Policy::default()
    }
}
