//! Outages of providers, event by event and without waiting: clients come at a constant rate, each
//! provider answers as its script says, and the plan decides.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use gate_balance::{
    Attempt, Decision, Member, Outcome, Plan, Policy, Pool, Registry, Route, Sticky, Strategy, TargetId,
    session_hash,
};

/// What a provider does with a request that comes at this millisecond while so many are in flight, and
/// after how many milliseconds.
type Script = fn(u64, u32) -> (Does, u64);

#[derive(Clone, Copy)]
enum Does {
    Answer(u16),
    Refuse,
}

/// The outcome of a whole run.
#[derive(Debug, Default)]
struct Tally {
    failed: u32,
    /// Attempts that came to each provider, by the second.
    arrived: Vec<BTreeMap<u64, u32>>,
    most_in_flight: Vec<u32>,
    most_attempts: u32,
    latencies: Vec<u64>,
}

impl Tally {
    fn sent(&self, provider: usize, seconds: std::ops::Range<u64>) -> u32 {
        self.arrived[provider].range(seconds).map(|(_, count)| count).sum()
    }

    fn latency(&self, percent: usize) -> u64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * percent / 100]
    }
}

struct Request {
    plan: Plan,
    began: u64,
    attempt: Option<Attempt>,
    outcome: Option<Outcome>,
}

struct Simulation {
    scripts: Vec<Script>,
    route: Arc<Route>,
    policy: Arc<Policy>,
    start: Instant,
    /// Moments in milliseconds at which a request goes on, by its number.
    events: BinaryHeap<Reverse<(u64, usize)>>,
    requests: Vec<Request>,
    tally: Tally,
}

/// Sends `count` requests, one each `gap_micros`, without sessions.
fn simulate(strategy: Strategy, scripts: &[Script], count: u64, gap_micros: u64) -> Tally {
    simulate_weighted(strategy, scripts, &vec![1; scripts.len()], count, gap_micros)
}

fn simulate_weighted(
    strategy: Strategy,
    scripts: &[Script],
    weights: &[u32],
    count: u64,
    gap_micros: u64,
) -> Tally {
    let start = Instant::now();
    let registry = Registry::default();
    let member = |n: usize| Member {
        target: registry.target(TargetId { provider: format!("p{n}"), key: 0 }, start),
        weight: NonZeroU32::new(weights[n]).unwrap(),
    };
    let members = (0..scripts.len()).map(member).collect();
    let mut simulation = Simulation {
        scripts: scripts.to_vec(),
        route: Arc::new(Route::new(vec![Pool::new(members, strategy, Sticky::Yes)])),
        policy: Arc::new(Policy::default()),
        start,
        events: BinaryHeap::new(),
        requests: Vec::new(),
        tally: Tally {
            arrived: vec![BTreeMap::new(); scripts.len()],
            most_in_flight: vec![0; scripts.len()],
            ..Tally::default()
        },
    };
    for n in 0..count {
        let began = n * gap_micros / 1000;
        let plan = Plan::new(&simulation.route, &simulation.policy, None, Rng::with_seed(n));
        simulation.events.push(Reverse((began, simulation.requests.len())));
        simulation.requests.push(Request { plan, began, attempt: None, outcome: None });
    }
    simulation.run()
}

impl Simulation {
    fn run(mut self) -> Tally {
        while let Some(Reverse((millis, id))) = self.events.pop() {
            let now = self.start + Duration::from_millis(millis);
            match (self.requests[id].attempt.take(), self.requests[id].outcome.take()) {
                (Some(attempt), Some(outcome)) => self.settle(id, attempt, &outcome, millis, now),
                _ => self.send(id, millis, now),
            }
        }
        self.tally
    }

    fn send(&mut self, id: usize, millis: u64, now: Instant) {
        let Ok(attempt) = self.requests[id].plan.next(now) else {
            self.tally.failed += 1;
            return;
        };
        let provider = attempt.place().member;
        let in_flight = attempt.target().in_flight();
        *self.tally.arrived[provider].entry(millis / 1000).or_default() += 1;
        self.tally.most_in_flight[provider] = self.tally.most_in_flight[provider].max(in_flight);
        self.tally.most_attempts = self.tally.most_attempts.max(attempt.number());
        let (does, takes) = self.scripts[provider](millis, in_flight);
        let latency = Duration::from_millis(takes);
        self.requests[id].outcome = Some(match does {
            Does::Answer(status) => Outcome::Answered { status, retry_after: None, latency },
            Does::Refuse => Outcome::Unreachable,
        });
        self.requests[id].attempt = Some(attempt);
        self.events.push(Reverse((millis + takes, id)));
    }

    fn settle(&mut self, id: usize, mut attempt: Attempt, outcome: &Outcome, millis: u64, now: Instant) {
        let request = &mut self.requests[id];
        match request.plan.settle(&mut attempt, outcome, now) {
            Decision::RetrySame { after } | Decision::Next { after } => {
                let after = u64::try_from(after.as_millis()).unwrap();
                self.events.push(Reverse((millis + after, id)));
            }
            Decision::Pass if matches!(outcome, Outcome::Answered { status: 200, .. }) => {
                attempt.ended(now);
                self.tally.latencies.push(millis - request.began);
            }
            _ => self.tally.failed += 1,
        }
    }
}

const ALL: [Strategy; 5] =
    [Strategy::RoundRobin, Strategy::Weighted, Strategy::LeastRequests, Strategy::Random, Strategy::P2cEwma];

fn well(_: u64, _: u32) -> (Does, u64) {
    (Does::Answer(200), 100)
}

/// A number below 100 that has no pattern which could meet that of a strategy.
fn drawn(millis: u64) -> u64 {
    session_hash(&millis.to_le_bytes()) % 100
}

fn is_out(millis: u64) -> bool {
    (10_000..40_000).contains(&millis)
}

// Spec: load-balancing B-6, B-11.
#[test]
fn nobody_notices_that_one_of_two_is_out_for_half_a_minute() {
    let flaky: Script = |millis, _| if is_out(millis) { (Does::Refuse, 1) } else { well(0, 0) };
    for strategy in ALL {
        // 10,000 requests in 100 seconds.
        let tally = simulate(strategy, &[flaky, well], 10_000, 10_000);
        assert_eq!(tally.failed, 0, "{strategy:?}");
        assert!(tally.latency(99) <= 110, "{strategy:?}: {}", tally.latency(99));
        // Of 1,500 requests that were its share, it saw those that opened the breaker: five, after the
        // good answers of those that were under way.
        assert!(tally.sent(0, 10..40) <= 20, "{strategy:?}: {}", tally.sent(0, 10..40));
        // And it is used again. A strategy that goes by latency lets it prove itself first.
        assert!(tally.sent(0, 75..100) >= 800, "{strategy:?}: {}", tally.sent(0, 75..100));
    }
}

// Spec: load-balancing B-11.
#[test]
fn one_dead_of_three_gets_next_to_nothing() {
    // A black hole: each attempt costs the whole time to connect.
    let dead: Script = |_, _| (Does::Refuse, 5000);
    for strategy in ALL {
        let tally = simulate(strategy, &[well, dead, well], 30_000, 10_000);
        assert_eq!(tally.failed, 0, "{strategy:?}");
        // Before the first five time out, 5 s × 33 requests a second; then a few in each trial.
        let at_first = tally.sent(1, 0..6);
        assert!(at_first <= 210, "{strategy:?}: {at_first}");
        let later = tally.sent(1, 6..300);
        assert!(later <= 3 * 4, "{strategy:?}: {later}");
        assert!(tally.latency(99) <= 5100, "{strategy:?}: {}", tally.latency(99));
    }
}

// Spec: load-balancing B-6, B-18.
#[test]
fn a_flapping_provider_is_tried_ever_more_seldom() {
    let flapping: Script = |millis, _| if millis / 1000 % 2 == 0 { well(0, 0) } else { (Does::Refuse, 1) };
    let tally = simulate(Strategy::Weighted, &[flapping, well, well], 60_000, 10_000);
    assert_eq!(tally.failed, 0);
    // Half of 20,000 would fail if it got its share.
    let refused: u32 = (0..600).filter(|second| second % 2 == 1).map(|s| tally.sent(0, s..s + 1)).sum();
    assert!(refused <= 60, "{refused}");
}

// Spec: load-balancing B-6, B-11.
#[test]
fn a_brown_out_is_taken_for_an_outage() {
    // Seven of ten requests get 503, at once and in no order.
    let brown: Script = |millis, _| match is_out(millis) && drawn(millis) < 70 {
        true => (Does::Answer(503), 5),
        false => well(0, 0),
    };
    for strategy in ALL {
        let tally = simulate(strategy, &[brown, well, well], 10_000, 10_000);
        assert_eq!(tally.failed, 0, "{strategy:?}");
        assert!(tally.sent(0, 10..40) <= 150, "{strategy:?}: {}", tally.sent(0, 10..40));
        assert!(tally.most_attempts <= 3);
    }
}

// Spec: load-balancing B-18.
#[test]
fn who_fails_every_second_request_is_found_out_by_its_share() {
    let strict: Script = |millis, _| match is_out(millis) && millis / 20 % 2 == 0 {
        true => (Does::Answer(503), 5),
        false => well(0, 0),
    };
    // Failures come by turns, hardly ever five in a row; 1,500 requests would be its share.
    let tally = simulate(Strategy::RoundRobin, &[strict, well], 10_000, 10_000);
    assert_eq!(tally.failed, 0);
    assert!(tally.sent(0, 10..40) <= 900, "{}", tally.sent(0, 10..40));
}

// Spec: load-balancing B-7.
#[test]
fn where_all_fail_the_load_does_not_multiply() {
    let busy: Script = |_, _| (Does::Answer(503), 20);
    let tally = simulate(Strategy::Weighted, &[busy], 3_000, 10_000);
    // Every request fails; those sent are the five that open the breaker, few repetitions, and trials.
    assert_eq!(tally.failed, 3_000);
    assert!(tally.sent(0, 0..60) <= 20, "{}", tally.sent(0, 0..60));
}

// Spec: load-balancing B-11.
#[test]
fn a_recovery_is_no_stampede() {
    // Out, then so slow at first that every request more makes it slower.
    let weak: Script = |millis, in_flight| match millis {
        10_000..40_000 => (Does::Refuse, 1),
        40_000..60_000 => (Does::Answer(200), 2000 * u64::from(in_flight)),
        _ => well(0, 0),
    };
    for strategy in ALL {
        let tally = simulate(strategy, &[weak, well, well], 10_000, 10_000);
        assert_eq!(tally.failed, 0, "{strategy:?}");
        // The trial begins when the breaker half-opens, after 40 s; 3 at once, until they have answered.
        for second in 40..42 {
            assert!(tally.sent(0, second..second + 1) <= 3, "{strategy:?} at {second}");
        }
    }
}

// Spec: load-balancing B-1.
#[test]
fn by_latency_a_slow_provider_gets_less() {
    let slow: Script = |_, _| (Does::Answer(200), 1000);
    let shares = |strategy| {
        let tally = simulate(strategy, &[slow, well, well], 6_000, 10_000);
        tally.sent(0, 0..60)
    };
    assert!(shares(Strategy::RoundRobin).abs_diff(2000) <= 1);
    assert!(shares(Strategy::LeastRequests) < 700);
    assert!(shares(Strategy::P2cEwma) < 400);
}

// Spec: load-balancing B-1.
#[test]
fn by_latency_weights_are_shares_of_the_load() {
    let check = |weights: &[u32], gap: u64, expected: &[std::ops::RangeInclusive<u32>]| {
        let scripts: Vec<Script> = vec![well; weights.len()];
        let tally = simulate_weighted(Strategy::P2cEwma, &scripts, weights, 10_000, gap);
        let sent: Vec<u32> = (0..weights.len()).map(|n| tally.sent(n, 0..u64::MAX)).collect();
        assert!(sent.iter().zip(expected).all(|(sent, range)| range.contains(sent)), "{gap}: {sent:?}");
    };
    // A hundred under way at once, then twenty, then ten.
    for gap in [1_000, 5_000, 10_000] {
        check(&[9, 1], gap, &[8900..=9100, 900..=1100]);
        check(&[1, 1], gap, &[4900..=5100, 4900..=5100]);
        check(&[6, 3, 1], gap, &[5800..=6200, 2900..=3100, 800..=1100]);
    }
    // Where hardly anything is under way, the large one is free for nearly all; the other is not forgotten.
    for gap in [50_000, 1_000_000] {
        check(&[9, 1], gap, &[9000..=9990, 10..=1000]);
    }
}

// Spec: load-balancing B-1.
#[test]
fn latency_counts_also_where_nothing_is_in_flight() {
    let slow: Script = |_, _| (Does::Answer(200), 400);
    // One request each half second: at most one is under way. Drawing two of three leaves the slow one
    // out of a third of the draws and lets it lose the others.
    let tally = simulate(Strategy::P2cEwma, &[slow, well, well], 600, 500_000);
    assert!(tally.sent(0, 0..300) <= 100, "{}", tally.sent(0, 0..300));
}

// Spec: load-balancing B-1.
#[test]
fn a_thousand_clients_at_once_spread_over_a_cold_pool() {
    for strategy in ALL {
        let tally = simulate(strategy, &[well, well, well, well], 1000, 0);
        assert_eq!((tally.failed, tally.most_attempts), (0, 1), "{strategy:?}");
        for most in &tally.most_in_flight {
            assert!(most.abs_diff(250) <= 60, "{strategy:?}: {:?}", tally.most_in_flight);
        }
    }
}
