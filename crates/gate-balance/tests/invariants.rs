//! What holds for all weights, outcomes and orders of events.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use gate_balance::{
    Attempt, Breaker, BreakerSettings, BreakerState, Decision, Draining, Fault, Member, Outcome, Plan,
    Policy, Pool, Registry, RetrySettings, Route, ShareBudget, Sticky, Strategy, TargetId, Ticket, Verdict,
    session_hash,
};
use proptest::prelude::{
    Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_assert_ne, prop_oneof,
};
use proptest::{proptest, strategy};

fn members(weights: &[u32], now: Instant) -> Vec<Member> {
    let registry = Registry::default();
    let member = |(n, weight): (usize, &u32)| Member {
        target: registry.target(TargetId { provider: format!("p{n}"), key: 0 }, now),
        weight: NonZeroU32::new(*weight).unwrap(),
    };
    weights.iter().enumerate().map(member).collect()
}

fn route(weights: &[u32], strategy: Strategy, now: Instant) -> Arc<Route> {
    Arc::new(Route::new(vec![Pool::new(members(weights, now), strategy, Sticky::Yes)]))
}

/// Where `requests` requests go, each answered before the next.
fn spread(route: &Arc<Route>, requests: u32, now: Instant) -> Vec<u32> {
    let policy = Arc::new(Policy::default());
    let mut counts = vec![0; route.pools()[0].members().len()];
    for seed in 0..requests {
        let mut plan = Plan::new(route, &policy, None, Rng::with_seed(u64::from(seed)));
        counts[plan.next(now).unwrap().place().member] += 1;
    }
    counts
}

fn outcomes() -> impl strategy::Strategy<Value = Outcome> {
    let answered = |status, wait: Option<u64>| Outcome::Answered {
        status,
        retry_after: wait.map(Duration::from_secs),
        latency: Duration::from_millis(20),
    };
    prop_oneof![
        Just(Outcome::Unreachable),
        Just(Outcome::Distrusted),
        Just(Outcome::Busy),
        Just(Outcome::Lost),
        Just(Outcome::KeyRefused { status: 401 }),
        Just(answered(200, None)),
        Just(answered(503, None)),
        Just(answered(429, Some(1))),
        Just(answered(500, None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    // Spec: load-balancing B-1.
    #[test]
    fn weighted_shares_are_exact_over_a_cycle(weights in prop::collection::vec(1_u32..20, 1..6), cycles in 1_u32..3) {
        let now = Instant::now();
        let counts = spread(&route(&weights, Strategy::Weighted, now), weights.iter().sum::<u32>() * cycles, now);
        let expected: Vec<u32> = weights.iter().map(|weight| weight * cycles).collect();
        prop_assert_eq!(counts, expected);
    }

    // Spec: load-balancing B-7.
    #[test]
    fn no_request_has_more_attempts_than_allowed(
        max in 1_u32..6,
        outcomes in prop::collection::vec(outcomes(), 1..400),
    ) {
        let mut now = Instant::now();
        let route = route(&[1, 2, 3], Strategy::Random, now);
        let retry = RetrySettings { max_attempts: max, ..RetrySettings::default() };
        let policy = Arc::new(Policy { retry, ..Policy::default() });
        let mut outcomes = outcomes.into_iter();
        'requests: loop {
            now += Duration::from_millis(300);
            let mut plan = Plan::new(&route, &policy, None, Rng::with_seed(3));
            let mut sent_unsafely = false;
            for number in 1.. {
                let Ok(mut attempt) = plan.next(now) else { break };
                prop_assert!(attempt.number() == number && number <= max);
                prop_assert!(!sent_unsafely, "sent again what may have been done");
                let Some(outcome) = outcomes.next() else { break 'requests };
                sent_unsafely = matches!(outcome, Outcome::Lost | Outcome::Answered { status: 500, .. });
                match plan.settle(&mut attempt, &outcome, now) {
                    Decision::RetrySame { after } | Decision::Next { after } => now += after,
                    _ => break,
                }
            }
            if outcomes.len() == 0 { break }
        }
    }

    // Spec: load-balancing B-11.
    #[test]
    fn no_trial_has_more_requests_than_allowed(
        max in 1_u32..5,
        steps in prop::collection::vec((0_u64..20, 0_usize..8, 0_u8..4), 1..400),
    ) {
        let settings = BreakerSettings { half_open_max_calls: max, failure_threshold: 2, ..BreakerSettings::default() };
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        // Each with whether it is part of the trial that is on.
        let mut running: Vec<(Ticket, bool)> = Vec::new();
        let mut succeeded = 0;
        for (seconds, which, what) in steps {
            now += Duration::from_secs(seconds);
            let before = breaker.state(now);
            if what == 0 || running.is_empty() {
                if let Ok(ticket) = breaker.acquire(&settings, now) {
                    running.push((ticket, before == BreakerState::HalfOpen));
                } else {
                    prop_assert_ne!(before, BreakerState::Closed);
                }
            } else {
                let (ticket, is_trial) = running.remove(which % running.len());
                match what {
                    1 => breaker.settle(ticket, Verdict::Success, &settings, now),
                    2 => breaker.settle(ticket, Verdict::Failure(Fault::Lost), &settings, now),
                    _ => breaker.cancel(ticket),
                }
                succeeded += u32::from(is_trial && what == 1);
            }
            if before == BreakerState::HalfOpen && breaker.state(now) != before {
                running.iter_mut().for_each(|(_, is_trial)| *is_trial = false);
                succeeded = 0;
            }
            let trial = running.iter().filter(|(_, is_trial)| *is_trial).count();
            prop_assert!(u32::try_from(trial).unwrap() + succeeded <= max);
        }
    }

    // Spec: load-balancing B-17.
    #[test]
    fn a_target_that_goes_moves_no_session_of_another(weights in prop::collection::vec(1_u32..9, 2..8), gone in 0_usize..8) {
        let now = Instant::now();
        let gone = gone % weights.len();
        let route = route(&weights, Strategy::Weighted, now);
        let policy = Arc::new(Policy::default());
        let place = |session: u64| {
            let mut plan = Plan::new(&route, &policy, Some(session), Rng::with_seed(0));
            plan.next(now).unwrap().place().member
        };
        let sessions: Vec<u64> = (0..60_u64).map(|n| session_hash(&n.to_le_bytes())).collect();
        let before: Vec<usize> = sessions.iter().map(|session| place(*session)).collect();
        route.pools()[0].members()[gone].target.set_draining(Draining::Yes);
        for (session, before) in sessions.iter().zip(before) {
            let after = place(*session);
            prop_assert_eq!(before == gone, after != before);
        }
    }

    // Spec: load-balancing B-7.
    #[test]
    fn a_budget_is_never_exceeded(
        percent in 1_u32..=100,
        reserve in 0_u32..20,
        steps in prop::collection::vec((any::<bool>(), 0_u64..700), 1..1000),
    ) {
        let start = Instant::now();
        let mut now = start;
        let budget = ShareBudget::new(reserve, start);
        let (mut earned, mut taken) = (0_u64, 0_u64);
        for (is_request, millis) in steps {
            now += Duration::from_millis(millis);
            if is_request {
                budget.earn(percent);
                earned += u64::from(percent);
            } else {
                taken += u64::from(budget.take(percent, now));
            }
            let from_time = if reserve == 0 { 0 } else { u64::from(reserve) + (now - start).as_secs() };
            prop_assert!(taken <= from_time + earned / 100, "{taken} of {earned}");
        }
    }
}

// Spec: load-balancing B-1.
#[test]
fn weighted_turns_are_interleaved() {
    let now = Instant::now();
    let route = route(&[5, 1, 1], Strategy::Weighted, now);
    let policy = Arc::new(Policy::default());
    let turns: Vec<usize> = (0..7)
        .map(|_| Plan::new(&route, &policy, None, Rng::with_seed(0)).next(now).unwrap().place().member)
        .collect();
    assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
}

// Spec: load-balancing B-1.
#[test]
fn strategies_give_each_its_share() {
    let now = Instant::now();
    let check = |strategy: Strategy, expected: [u32; 3]| {
        let counts = spread(&route(&[1, 2, 3], strategy, now), 6000, now);
        for (count, expected) in counts.iter().zip(expected) {
            assert!(count.abs_diff(expected) < 200, "{strategy:?}: {counts:?}");
        }
    };
    check(Strategy::RoundRobin, [2000, 2000, 2000]);
    check(Strategy::Weighted, [1000, 2000, 3000]);
    check(Strategy::Random, [1000, 2000, 3000]);
    check(Strategy::LeastRequests, [1000, 2000, 3000]);
}

// Spec: load-balancing B-1.
#[test]
fn least_requests_evens_out_what_is_in_flight() {
    let now = Instant::now();
    let route = route(&[1, 2, 3], Strategy::LeastRequests, now);
    let policy = Arc::new(Policy::default());
    let held: Vec<Attempt> = (0..60)
        .map(|seed| Plan::new(&route, &policy, None, Rng::with_seed(seed)).next(now).unwrap())
        .collect();
    let in_flight: Vec<u32> = route.pools()[0].members().iter().map(|m| m.target.in_flight()).collect();
    assert_eq!(in_flight, [10, 20, 30]);
    drop(held);
    assert!(route.pools()[0].members().iter().all(|m| m.target.in_flight() == 0));
}

// Spec: load-balancing B-1.
#[test]
fn strategies_are_known_by_name() {
    let check =
        |name: &str, expected: Option<Strategy>| assert_eq!(Strategy::parse(name), expected, "{name}");
    check("round_robin", Some(Strategy::RoundRobin));
    check("weighted", Some(Strategy::Weighted));
    check("least_requests", Some(Strategy::LeastRequests));
    check("random", Some(Strategy::Random));
    check("p2c_ewma", Some(Strategy::P2cEwma));
    check("Weighted", None);
    check("", None);
}
