use std::num::NonZeroU32;

use super::*;
use crate::outcome::Fault;
use crate::pool::Sticky;
use crate::registry::Registry;
use crate::settings::{RetrySettings, Strategy};
use crate::target::{Draining, Finding, TargetId};

/// What a scripted target does with each request.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(u16),
    /// 429 or another status, with a wait in seconds.
    Ask(u16, u64),
    RefuseKey(u16),
    Refuse,
    Distrust,
    BeBusy,
    Lose,
}

impl Does {
    fn outcome(self) -> Outcome {
        let answered = |status, wait: Option<u64>| Outcome::Answered {
            status,
            retry_after: wait.map(Duration::from_secs),
            latency: Duration::from_millis(50),
        };
        match self {
            Self::Answer(status) => answered(status, None),
            Self::Ask(status, wait) => answered(status, Some(wait)),
            Self::RefuseKey(status) => Outcome::KeyRefused { status },
            Self::Refuse => Outcome::Unreachable,
            Self::Distrust => Outcome::Distrusted,
            Self::BeBusy => Outcome::Busy,
            Self::Lose => Outcome::Lost,
        }
    }
}

/// Pools of targets, each named by a letter for its provider and a digit for its key, such as `a0`.
struct Bench {
    route: Arc<Route>,
    policy: Arc<Policy>,
    now: Instant,
}

impl Bench {
    fn new(pools: &[&[&str]]) -> Self {
        let now = Instant::now();
        let registry = Registry::default();
        let member = |name: &&str| {
            let (provider, key) = name.split_at(1);
            let id = TargetId { provider: provider.to_owned(), key: key.parse().unwrap() };
            Member { target: registry.target(id, now), weight: NonZeroU32::MIN }
        };
        let pool = |names: &&[&str]| {
            Pool::new(names.iter().map(member).collect(), Strategy::RoundRobin, Sticky::Yes)
        };
        let route = Arc::new(Route::new(pools.iter().map(pool).collect()));
        Self { route, policy: Arc::new(Policy::default()), now }
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.route, &self.policy, None, Rng::with_seed(7))
    }

    /// Runs one request; returns where it went, as in `a0 b0`, and how it ended.
    fn run(&self, does: &dyn Fn(&str) -> Does) -> (String, Result<Decision, NoAttempt>) {
        let mut plan = self.plan();
        let mut went = Vec::new();
        let mut now = self.now;
        loop {
            let mut attempt = match plan.next(now) {
                Ok(attempt) => attempt,
                Err(none) => return (went.join(" "), Err(none)),
            };
            went.push(name(&attempt));
            let outcome = does(went.last().unwrap()).outcome();
            match plan.settle(&mut attempt, &outcome, now) {
                Decision::RetrySame { after } | Decision::Next { after } => now += after,
                decision => {
                    assert_eq!(plan.next(now).unwrap_err(), NoAttempt::Over);
                    attempt.ended(now);
                    return (went.join(" "), Ok(decision));
                }
            }
        }
    }
}

fn name(attempt: &Attempt) -> String {
    let id = attempt.target().id();
    format!("{}{}", id.provider, id.key)
}

// Spec: load-balancing B-6, B-7, B-9, B-16, B-52.
#[test]
fn attempts_go_where_the_outcome_allows() {
    use Does::{Answer, Ask, BeBusy, Distrust, Lose, Refuse, RefuseKey};
    let check = |pools: &[&[&str]], first: Does, others: Does, went: &str, end: Decision| {
        let does = |name: &str| if name == "a0" { first } else { others };
        let result = Bench::new(pools).run(&does);
        assert_eq!(result, (went.to_owned(), Ok(end)), "{pools:?} {first:?} {others:?}");
    };
    let (pass, fail) = (Decision::Pass, Decision::Fail);
    let two: &[&[&str]] = &[&["a0", "b0"]];
    let with_fallback: &[&[&str]] = &[&["a0"], &["c0"]];
    let keys: &[&[&str]] = &[&["a0", "b0", "a1"], &["c0"]];
    check(two, Answer(200), Answer(200), "a0", pass);
    check(two, Refuse, Answer(200), "a0 b0", pass);
    check(two, Answer(503), Answer(200), "a0 b0", pass);
    check(two, Ask(429, 60), Answer(200), "a0 b0", pass);
    // Those that may have been billed, and those that are the client's.
    for status in [500, 504, 400, 404, 413] {
        check(two, Answer(status), Answer(200), "a0", pass);
    }
    check(two, Lose, Answer(200), "a0", fail);
    // Three attempts in all, fallbacks included.
    check(with_fallback, Refuse, Answer(200), "a0 c0", pass);
    check(with_fallback, Refuse, Refuse, "a0 c0 c0", fail);
    check(with_fallback, Answer(503), Answer(503), "a0 c0 c0", pass);
    check(&[&["a0", "b0"], &["c0"], &["d0"]], Refuse, Refuse, "a0 b0 c0", fail);
    // With nowhere else to go, the same one; unless it asks for more than a client's patience.
    check(&[&["a0"]], Refuse, Refuse, "a0 a0 a0", fail);
    check(&[&["a0"]], Ask(503, 2), Refuse, "a0 a0 a0", pass);
    check(&[&["a0"]], Ask(429, 60), Refuse, "a0", pass);
    check(&[&["a0"]], Ask(503, 60), Refuse, "a0", pass);
    check(&[&["a0"]], Distrust, Refuse, "a0", fail);
    check(with_fallback, Distrust, Answer(200), "a0 c0", pass);
    // A key that is refused: the provider's other one, then the pool, then the fallbacks.
    check(keys, RefuseKey(401), Answer(200), "a0 a1", pass);
    check(keys, RefuseKey(403), RefuseKey(403), "a0 a1 b0", pass);
    check(with_fallback, RefuseKey(401), Answer(200), "a0 c0", pass);
    check(with_fallback, RefuseKey(403), RefuseKey(403), "a0 c0", pass);
    check(&[&["a0"]], RefuseKey(401), Answer(200), "a0", pass);
    // Connections that are all in use: another provider, for the keys of one share them.
    check(&[&["a0", "a1", "b0"]], BeBusy, Answer(200), "a0 b0", pass);
    check(with_fallback, BeBusy, Answer(200), "a0 c0", pass);
    check(with_fallback, BeBusy, BeBusy, "a0 c0", fail);
    check(&[&["a0", "a1"]], BeBusy, Answer(200), "a0", fail);
    // Another provider before another key of one that is in trouble.
    check(&[&["a0", "a1", "b0"]], Answer(503), Answer(200), "a0 b0", pass);
}

// Spec: load-balancing B-7.
#[test]
fn waits_are_those_that_the_provider_names_or_jitter() {
    let check = |does: Does, range_ms: std::ops::RangeInclusive<u128>| {
        let bench = Bench::new(&[&["a0"]]);
        let mut plan = bench.plan();
        let mut attempt = plan.next(bench.now).unwrap();
        let decision = plan.settle(&mut attempt, &does.outcome(), bench.now);
        let Decision::RetrySame { after } = decision else { panic!("{does:?}: {decision:?}") };
        assert!(range_ms.contains(&after.as_millis()), "{does:?}: {after:?}");
    };
    check(Does::Refuse, 0..=250);
    check(Does::Answer(502), 0..=250);
    check(Does::Ask(502, 3), 3000..=3250);
    check(Does::Ask(429, 8), 8000..=8000);
    check(Does::Ask(429, 0), 0..=250);
    check(Does::Answer(429), 1000..=1250);
}

// Spec: load-balancing B-7, B-21.
#[test]
fn repetitions_at_a_provider_are_paid_and_first_requests_at_another_are_free() {
    let check = |pools: &[&[&str]], attempts: usize| {
        let mut bench = Bench::new(pools);
        let mut policy = Policy::default();
        policy.breaker.enabled = false;
        bench.policy = Arc::new(policy);
        let went: usize = (0..100).map(|_| bench.run(&|_| Does::Answer(502)).0.split(' ').count()).sum();
        assert_eq!(went, attempts, "{pools:?}");
    };
    // A hundred requests, ten repetitions from the reserve and twenty from the share.
    check(&[&["a0"]], 130);
    check(&[&["a0", "a1"]], 130);
    check(&[&["a0", "a1", "a2", "a3"]], 130);
    check(&[&["a0"], &["b0"], &["c0"]], 300);
}

// Spec: load-balancing B-11.
#[test]
fn a_client_that_leaves_frees_its_place_in_a_trial() {
    let bench = Bench::new(&[&["a0"]]);
    while bench.run(&|_| Does::Refuse).1.is_ok() {}
    // The breaker opened at the latest after the waits of the repetitions, each below a second.
    let later = bench.now + Duration::from_secs(33);
    for _ in 0..10 {
        drop(bench.plan().next(later).unwrap());
    }
    let _trial = [0; 3].map(|_| bench.plan().next(later).unwrap());
    assert!(bench.plan().next(later).is_err());
}

// Spec: load-balancing B-12.
#[test]
fn when_all_are_down_nobody_is_asked() {
    let bench = Bench::new(&[&["a0"], &["c0"]]);
    while bench.run(&|_| Does::Refuse).1.is_ok() {}
    let (went, end) = bench.run(&|_| panic!("was asked"));
    let retry_after = Duration::from_secs(30);
    assert_eq!(went, "");
    assert_eq!(end, Err(NoAttempt::AllDown { retry_after, cause: DownCause::Failing }));
}

// Spec: load-balancing B-9, B-12.
#[test]
fn a_rest_is_kept_unless_there_is_but_one_target() {
    let bench = Bench::new(&[&["a0"], &["c0"]]);
    assert_eq!(bench.run(&|name| Does::Ask(429, if name == "a0" { 50 } else { 40 })).0, "a0 c0");
    let retry_after = Duration::from_secs(40);
    let all_down = NoAttempt::AllDown { retry_after, cause: DownCause::Cooling };
    assert_eq!(bench.run(&|_| panic!("was asked")).1, Err(all_down));

    let bench = Bench::new(&[&["a0"]]);
    for _ in 0..3 {
        assert_eq!(bench.run(&|_| Does::Ask(429, 50)), ("a0".to_owned(), Ok(Decision::Pass)));
    }
}

// Spec: load-balancing B-9.
#[test]
fn a_key_that_is_refused_is_left_out_until_no_other_works() {
    let bench = Bench::new(&[&["a0", "a1"]]);
    assert_eq!(
        bench.run(&|name| if name == "a0" { Does::RefuseKey(401) } else { Does::Answer(200) }).0,
        "a0 a1"
    );
    for _ in 0..5 {
        assert_eq!(bench.run(&|_| Does::Answer(200)).0, "a1");
    }
    assert_eq!(bench.run(&|_| Does::RefuseKey(401)).1, Ok(Decision::Pass));
    assert_eq!(bench.run(&|_| Does::RefuseKey(401)).1, Ok(Decision::Pass));
}

// Spec: load-balancing B-9.
#[test]
fn a_fallback_comes_before_a_key_that_is_known_to_be_refused() {
    let bench = Bench::new(&[&["a0", "a1"], &["c0"]]);
    let refuse = |name: &str| if name == "c0" { Does::Answer(200) } else { Does::RefuseKey(401) };
    assert_eq!(bench.run(&refuse), ("a0 a1 c0".to_owned(), Ok(Decision::Pass)));
    assert_eq!(bench.run(&refuse).0, "c0");
    // Of the two keys one is tried again when its time is over, and the other is not asked behind it.
    let policy = &bench.policy;
    let later = bench.now + policy.breaker.recovery_timeout;
    let [a0, a1] = [0, 1].map(|key| Arc::clone(&bench.route.pools()[0].members()[key].target));
    a1.acquire(policy, later).unwrap().settle(&Outcome::KeyRefused { status: 401 }, later);
    assert!(a0.closed(policy, later).is_none());
    assert_eq!(Bench { now: later, ..bench }.run(&refuse).0, "a0 c0");
}

// Spec: load-balancing B-52.
#[test]
fn connections_that_are_all_in_use_say_nothing_of_the_target() {
    let bench = Bench::new(&[&["a0"]]);
    (0..20).for_each(|_| assert_eq!(bench.run(&|_| Does::BeBusy), ("a0".to_owned(), Ok(Decision::Fail))));
    let report = bench.route.pools()[0].members()[0].target.report(&bench.policy, bench.now);
    assert_eq!((report.requests, report.failures, report.consecutive_failures), (20, 0, 0));
    assert_eq!((report.last_error, report.in_flight), (None, 0));
}

// Spec: load-balancing B-9.
#[test]
fn what_one_client_may_not_do_puts_no_key_out_of_use() {
    let bench = Bench::new(&[&["a0", "a1"]]);
    assert_eq!(bench.run(&|_| Does::RefuseKey(403)).1, Ok(Decision::Pass));
    let went: Vec<_> = (0..2).map(|_| bench.run(&|_| Does::Answer(200)).0).collect();
    assert!(went.contains(&"a0".to_owned()) && went.contains(&"a1".to_owned()), "{went:?}");
}

// Spec: load-balancing B-6.
#[test]
fn after_the_first_byte_nothing_is_sent_again() {
    let bench = Bench::new(&[&["a0", "b0"]]);
    let mut plan = bench.plan();
    let mut attempt = plan.next(bench.now).unwrap();
    plan.commit();
    assert_eq!(plan.settle(&mut attempt, &Outcome::Unreachable, bench.now), Decision::Fail);
    assert_eq!(plan.next(bench.now).unwrap_err(), NoAttempt::Over);
}

// Spec: load-balancing B-13.
#[test]
fn of_a_hundred_late_requests_five_are_hedged() {
    let bench = Bench::new(&[&["a0", "b0"]]);
    let hedges = (0..1000).filter(|_| {
        let mut plan = bench.plan();
        let _first = plan.next(bench.now).unwrap();
        plan.hedge(bench.now).is_some()
    });
    assert_eq!(hedges.count(), 50);
}

// Spec: load-balancing B-13.
#[test]
fn of_two_attempts_one_may_fail_while_the_other_runs() {
    let bench = Bench::new(&[&["a0", "b0"]]);
    let (mut plan, mut first, mut second) = (0..100)
        .find_map(|_| {
            let mut plan = bench.plan();
            let first = plan.next(bench.now).unwrap();
            let second = plan.hedge(bench.now)?;
            Some((plan, first, second))
        })
        .unwrap();
    assert_ne!(name(&first), name(&second));
    assert!(plan.hedge(bench.now).is_none());
    // No third is left, but either can stand in for the other.
    assert!(plan.has_other(bench.now));
    assert_eq!(plan.settle(&mut first, &Outcome::Lost, bench.now), Decision::Wait);
    assert!(!plan.has_other(bench.now));
    assert_eq!(plan.settle(&mut second, &Does::Answer(200).outcome(), bench.now), Decision::Pass);
}

// Spec: load-balancing B-13.
#[test]
fn a_hedge_needs_another_target() {
    let bench = Bench::new(&[&["a0"]]);
    for _ in 0..100 {
        let mut plan = bench.plan();
        let _first = plan.next(bench.now).unwrap();
        assert!(plan.hedge(bench.now).is_none());
    }
}

// Spec: load-balancing B-19.
#[test]
fn requests_in_flight_are_counted_until_the_answer_has_ended() {
    let bench = Bench::new(&[&["a0"]]);
    let mut plan = bench.plan();
    let mut attempt = plan.next(bench.now).unwrap();
    let target = Arc::clone(attempt.target());
    plan.settle(&mut attempt, &Does::Answer(200).outcome(), bench.now);
    assert_eq!(target.in_flight(), 1);
    attempt.broke(bench.now);
    drop(attempt);
    let report = target.report(&bench.policy, bench.now);
    assert_eq!((report.in_flight, report.requests, report.failures), (0, 1, 1));
    assert_eq!(report.last_error, Some((bench.now, Fault::Broke)));
}

// Spec: load-balancing B-19.
#[test]
fn a_draining_target_gets_no_requests() {
    let bench = Bench::new(&[&["a0", "b0"]]);
    let a0 = &bench.route.pools()[0].members()[0].target;
    a0.set_draining(Draining::Yes);
    (0..4).for_each(|_| assert_eq!(bench.run(&|_| Does::Answer(200)).0, "b0"));
    a0.set_draining(Draining::No);
    let went: Vec<_> = (0..2).map(|_| bench.run(&|_| Does::Answer(200)).0).collect();
    assert!(went.contains(&"a0".to_owned()), "{went:?}");
}

// Spec: load-balancing B-19.
#[test]
fn probes_are_believed_as_long_as_another_target_is_left() {
    let mut bench = Bench::new(&[&["a0", "b0"]]);
    let mut policy = Policy::default();
    policy.health.active = true;
    bench.policy = Arc::new(policy);
    let fail = |place: usize| {
        let target = &bench.route.pools()[0].members()[place].target;
        for _ in 0..3 {
            let probe = target.begin_probe(&bench.policy, bench.now, &mut Rng::with_seed(1)).unwrap();
            assert!(!probe.settle(Finding::Failed(Fault::Lost), bench.now));
        }
    };
    fail(0);
    (0..4).for_each(|_| assert_eq!(bench.run(&|_| Does::Answer(200)).0, "b0"));
    fail(1);
    assert_eq!(bench.run(&|_| Does::Answer(200)).1, Ok(Decision::Pass));
}

// Spec: load-balancing B-7.
#[test]
fn one_attempt_is_always_made() {
    let mut bench = Bench::new(&[&["a0", "b0"]]);
    let retry = RetrySettings { max_attempts: 0, ..RetrySettings::default() };
    bench.policy = Arc::new(Policy { retry, ..Policy::default() });
    assert_eq!(bench.run(&|_| Does::Refuse), ("a0".to_owned(), Ok(Decision::Fail)));
}

#[test]
fn a_route_without_targets_is_down() {
    let down = Bench::new(&[&[]]).run(&|_| Does::Refuse).1;
    assert!(matches!(down, Err(NoAttempt::AllDown { cause: DownCause::Failing, .. })), "{down:?}");
}
