use std::sync::Mutex;

use super::*;
use crate::health::{Change, Health, HealthReport};
use crate::outcome::Outcome;
use crate::registry::Registry;
use crate::settings::BreakerSettings;
use crate::target::{Closed, TargetId, Why};

/// One target with probes on, and a clock.
struct Bench {
    target: Arc<Target>,
    policy: Arc<Policy>,
    rng: Rng,
    now: Instant,
}

const LOST: Finding = Finding::Failed(Fault::Lost);
const REFUSED: Finding = Finding::KeyRefused { status: 401 };
const FORBIDDEN: Finding = Finding::KeyRefused { status: 403 };

impl Bench {
    fn new() -> Self {
        Self::in_registry(&Registry::default(), Policy::default())
    }

    fn in_registry(registry: &Registry, mut policy: Policy) -> Self {
        policy.health.active = true;
        let now = Instant::now();
        let target = registry.target(TargetId { provider: "openai.a".to_owned(), key: 0 }, now);
        Self { target, policy: Arc::new(policy), rng: Rng::with_seed(3), now }
    }

    fn wait(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn due(&mut self) -> Option<Instant> {
        self.target.probe_due(&self.policy, self.now, &mut self.rng)
    }

    fn begin(&mut self) -> Probe {
        self.target.begin_probe(&self.policy, self.now, &mut self.rng).unwrap()
    }

    fn find(&mut self, finding: Finding) -> bool {
        let now = self.now;
        self.begin().settle(finding, now)
    }

    fn request(&mut self, outcome: &Outcome) {
        let mut permit = self.target.acquire(&self.policy, self.now).unwrap();
        permit.settle(outcome, self.now);
        permit.ended(self.now);
    }

    fn report(&self) -> HealthReport {
        self.target.report(&self.policy, self.now)
    }

    fn is_shunned_for(&self) -> Option<Why> {
        self.target.closed(&self.policy, self.now).map(|closed: Closed| closed.why)
    }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after: None, latency: Duration::from_millis(1) }
}

// Spec: load-balancing B-40.
#[test]
fn the_first_probe_is_soon_and_the_next_an_interval_later() {
    let mut times: Vec<u128> = Vec::new();
    for seed in 0..20 {
        let mut bench = Bench::new();
        bench.rng = Rng::with_seed(seed);
        let first = bench.due().unwrap();
        assert!(first - bench.now <= FIRST_ROUND);
        times.push((first - bench.now).as_millis());
        // Asking moves nothing.
        bench.wait(1.0);
        assert_eq!(bench.due(), Some(first));
        bench.now = first;
        let probe = bench.begin();
        assert_eq!(bench.due(), None, "one at a time");
        assert!(bench.target.begin_probe(&bench.policy, bench.now, &mut bench.rng).is_none());
        drop(probe);
        let pause = bench.due().unwrap() - bench.now;
        assert!((27.0..=33.0).contains(&pause.as_secs_f64()), "{pause:?}");
        assert_eq!(bench.report().next_probe, Some(bench.now + pause));
    }
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 15, "they are not spread: {times:?}");
}

// Spec: load-balancing B-40.
#[test]
fn a_reload_changes_when_the_next_probe_is_due() {
    let mut bench = Bench::new();
    drop(bench.begin());
    let mut policy = Policy::clone(&bench.policy);
    policy.health.interval = Duration::from_secs(1);
    bench.policy = Arc::new(policy.clone());
    assert!(bench.due().unwrap() - bench.now < Duration::from_secs(2));
    policy.health.active = false;
    bench.policy = Arc::new(policy);
    assert_eq!((bench.due(), bench.report().next_probe), (None, None));
}

// Spec: load-balancing B-40, B-41.
#[test]
fn what_probes_find_makes_the_word_and_keeps_requests_away() {
    use Finding::{Alive, Reachable};
    let check = |findings: &[Finding], expected: (Health, Option<Why>)| {
        let mut bench = Bench::new();
        for finding in findings {
            bench.find(*finding);
        }
        assert_eq!((bench.report().health, bench.is_shunned_for()), expected, "{findings:?}");
        assert_eq!(bench.report().probes, findings.len() as u64);
        assert_eq!((bench.report().requests, bench.report().failures), (0, 0));
    };
    check(&[Alive], (Health::Healthy, None));
    check(&[Reachable], (Health::Healthy, None));
    check(&[LOST], (Health::Degraded, None));
    check(&[LOST, LOST, LOST], (Health::Unhealthy, Some(Why::Shunned)));
    check(&[LOST, LOST, LOST, Alive], (Health::Degraded, Some(Why::Shunned)));
    check(&[LOST, LOST, LOST, Alive, Alive], (Health::Healthy, None));
    check(&[REFUSED], (Health::Unhealthy, Some(Why::KeyRefused)));
    check(&[REFUSED, Alive], (Health::Healthy, None));
    check(&[REFUSED, Reachable], (Health::Unhealthy, Some(Why::KeyRefused)));
    check(&[REFUSED, LOST], (Health::Unhealthy, Some(Why::KeyRefused)));
    check(&[FORBIDDEN], (Health::Degraded, None));
    check(&[FORBIDDEN, Alive], (Health::Healthy, None));
}

// Spec: load-balancing B-41.
#[test]
fn a_refused_key_is_news_once_and_works_again_when_a_request_says_so() {
    let mut bench = Bench::new();
    assert!(bench.find(REFUSED));
    assert!(!bench.find(REFUSED));
    assert!(!bench.find(LOST));
    assert!(!bench.find(REFUSED));
    bench.request(&answered(200));
    assert_eq!((bench.report().health, bench.is_shunned_for()), (Health::Healthy, None));
    assert!(bench.find(REFUSED));
    // That a request was answered does not mean that the key may ask what probes ask.
    assert!(bench.find(FORBIDDEN));
    bench.request(&answered(200));
    assert_eq!(bench.report().health, Health::Degraded);
    assert!(!bench.find(FORBIDDEN));
}

// Spec: load-balancing B-42.
#[test]
fn probes_never_open_a_breaker() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.find(LOST);
    }
    assert_eq!(bench.report().breaker, BreakerState::Closed);
}

// Spec: load-balancing B-42.
#[test]
fn a_half_open_breaker_is_tried_by_a_probe() {
    /// What becomes of the breaker; if it opens again, for how many seconds.
    #[derive(Debug, PartialEq)]
    enum Becomes {
        Closed,
        HalfOpen,
        Open(u64),
    }
    let check = |finding: Finding, expected: Becomes| {
        let breaker = BreakerSettings { half_open_max_calls: 1, ..BreakerSettings::default() };
        let mut bench = Bench::in_registry(&Registry::default(), Policy { breaker, ..Policy::default() });
        (0..5).for_each(|_| bench.request(&Outcome::Lost));
        let reopens = bench.now + Duration::from_secs(30);
        // While it is open a probe is no trial; the next is due when there can be one.
        bench.wait(20.0);
        bench.find(Finding::Alive);
        assert_eq!(bench.report().breaker, BreakerState::Open { until: reopens });
        assert_eq!(bench.due(), Some(reopens));
        bench.now = reopens;
        let probe = bench.begin();
        assert!(bench.target.acquire(&bench.policy, bench.now).is_err(), "the trial is full");
        probe.settle(finding, bench.now);
        let becomes = match bench.report().breaker {
            BreakerState::Closed => Becomes::Closed,
            BreakerState::HalfOpen => Becomes::HalfOpen,
            BreakerState::Open { until } => Becomes::Open((until - bench.now).as_secs()),
        };
        assert_eq!(becomes, expected, "{finding:?}");
        let is_free = bench.target.acquire(&bench.policy, bench.now).is_ok();
        assert_eq!(is_free, !matches!(expected, Becomes::Open(_)));
    };
    check(Finding::Alive, Becomes::Closed);
    check(LOST, Becomes::Open(60));
    // That says nothing of how it does.
    check(REFUSED, Becomes::HalfOpen);
}

static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep(change: &Change<'_>) {
    let Change { target, from, to, shown_by, fault, consecutive_failures } = change;
    let fault = fault.map_or_else(|| "none".to_owned(), |fault| fault.to_string());
    // The function may look at the target: no lock is held.
    let in_flight = target.in_flight();
    TOLD.lock().unwrap().push(format!(
        "{} {}>{} {shown_by:?} {consecutive_failures} {in_flight} {fault}",
        target.id().provider,
        from.as_str(),
        to.as_str()
    ));
}

// Spec: monitoring L-40.
#[test]
fn each_change_is_told_once() {
    let mut bench = Bench::in_registry(&Registry::telling(keep), Policy::default());
    bench.request(&answered(200));
    bench.request(&answered(200));
    (0..5).for_each(|_| bench.request(&answered(500)));
    bench.find(Finding::Alive);
    bench.wait(30.0);
    bench.find(Finding::Alive);
    bench.find(Finding::Alive);
    bench.find(Finding::Alive);
    let told = std::mem::take(&mut *TOLD.lock().unwrap());
    let expected = [
        "openai.a UNKNOWN>HEALTHY Request 0 1 none",
        "openai.a HEALTHY>DEGRADED Request 1 1 answered with status 500",
        "openai.a DEGRADED>UNHEALTHY Request 3 1 answered with status 500",
        "openai.a UNHEALTHY>DEGRADED Probe 0 0 none",
        "openai.a DEGRADED>HEALTHY Probe 0 0 none",
    ];
    assert_eq!(told, expected);
}
