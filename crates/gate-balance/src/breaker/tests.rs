use super::*;
use crate::outcome::Fault;

const S: Verdict = Verdict::Success;
const F: Verdict = Verdict::Failure(Fault::Lost);
const N: Verdict = Verdict::Neither;

/// A breaker with a clock in seconds.
struct Bench {
    breaker: Breaker,
    settings: BreakerSettings,
    start: Instant,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        Self { breaker: Breaker::new(start), settings: BreakerSettings::default(), start }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn acquire(&mut self, second: u64) -> Result<Ticket, u64> {
        let now = self.at(second);
        self.breaker.acquire(&self.settings, now).map_err(|wait| wait.as_secs())
    }

    /// Sends one request, if it may pass.
    fn send(&mut self, second: u64, verdict: Verdict) -> Result<(), u64> {
        let ticket = self.acquire(second)?;
        self.settle(second, ticket, verdict);
        Ok(())
    }

    fn settle(&mut self, second: u64, ticket: Ticket, verdict: Verdict) {
        let now = self.at(second);
        self.breaker.settle(ticket, verdict, &self.settings, now);
    }

    fn fail_until_open(&mut self, second: u64) {
        while self.send(second, F).is_ok() {}
    }
}

// Spec: load-balancing B-11.
#[test]
fn failures_in_a_row_open_it() {
    let check = |verdicts: &[Verdict], expected: Result<(), u64>| {
        let mut bench = Bench::new();
        for verdict in verdicts {
            bench.send(0, *verdict).unwrap();
        }
        assert_eq!(bench.acquire(0).map(|_| ()), expected, "{verdicts:?}");
    };
    check(&[F, F, F, F], Ok(()));
    check(&[F, F, F, F, F], Err(30));
    check(&[F, F, F, F, S, F, F, F, F], Ok(()));
    check(&[F, F, F, F, N, F], Err(30));
    check(&[N; 100], Ok(()));
    check(&[F, S, S].repeat(9), Ok(()));
    check(&[F, S].repeat(4), Ok(()));
    check(&[S, F].repeat(5), Err(30));
}

// Spec: load-balancing B-11.
#[test]
fn a_trial_lets_a_few_through_and_closes_when_they_succeed() {
    let mut bench = Bench::new();
    bench.fail_until_open(0);
    assert_eq!(bench.acquire(29), Err(1));
    let trial = [30, 30, 30].map(|second| bench.acquire(second).unwrap());
    assert_eq!(bench.acquire(30), Err(1));
    bench.settle(31, trial[0], S);
    bench.settle(31, trial[1], S);
    assert_eq!(bench.acquire(31), Err(1));
    assert_eq!(bench.breaker.state(bench.at(31)), BreakerState::HalfOpen);
    bench.settle(32, trial[2], S);
    assert_eq!(bench.breaker.state(bench.at(32)), BreakerState::Closed);
    (0..100).for_each(|_| assert!(bench.acquire(32).is_ok()));
}

// Spec: load-balancing B-11.
#[test]
fn a_request_that_is_given_up_frees_its_place_in_a_trial() {
    let mut bench = Bench::new();
    bench.fail_until_open(0);
    for _ in 0..100 {
        let ticket = bench.acquire(30).unwrap();
        bench.breaker.cancel(ticket);
        bench.send(30, N).unwrap();
    }
    let trial = [30, 30, 30].map(|second| bench.acquire(second).unwrap());
    assert!(bench.acquire(30).is_err());
    bench.settle(30, trial[0], F);
    assert_eq!(bench.acquire(30), Err(60));
}

// Spec: load-balancing B-18.
#[test]
fn recovery_takes_longer_each_time_up_to_a_bound() {
    let mut bench = Bench::new();
    bench.fail_until_open(0);
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..6 {
        let wait = bench.acquire(now).unwrap_err();
        waits.push(wait);
        now += wait;
        bench.send(now, F).unwrap();
    }
    assert_eq!(waits, [30, 60, 120, 240, 300, 300]);
}

// Spec: load-balancing B-18.
#[test]
fn a_relapse_soon_after_a_recovery_takes_longer_and_a_late_one_does_not() {
    let check = |relapse: u64, expected: u64| {
        let mut bench = Bench::new();
        bench.fail_until_open(0);
        (0..3).for_each(|_| bench.send(30, S).unwrap());
        bench.fail_until_open(relapse);
        assert_eq!(bench.acquire(relapse), Err(expected), "{relapse}");
    };
    check(31, 60);
    check(59, 60);
    check(60, 30);
    check(1000, 30);
}

// Spec: load-balancing B-18.
#[test]
fn a_late_answer_to_an_earlier_state_counts_for_nothing() {
    let mut bench = Bench::new();
    let early = bench.acquire(0).unwrap();
    let other = bench.acquire(0).unwrap();
    bench.fail_until_open(0);
    let trial = bench.acquire(30).unwrap();
    bench.settle(30, early, F);
    bench.settle(30, other, S);
    assert_eq!(bench.breaker.state(bench.at(30)), BreakerState::HalfOpen);
    bench.settle(30, trial, S);
    (0..2).for_each(|_| bench.send(30, S).unwrap());
    assert_eq!(bench.breaker.state(bench.at(30)), BreakerState::Closed);
}

#[test]
fn one_that_is_switched_off_refuses_nothing() {
    let mut bench = Bench::new();
    bench.settings.enabled = false;
    (0..100).for_each(|_| bench.send(0, F).unwrap());
}
