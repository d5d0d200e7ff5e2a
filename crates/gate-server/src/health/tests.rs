use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;
use gate_balance::{Fault, Finding, Policy, Registry, TargetId};

use super::*;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep(change: &Change<'_>) {
    let line = format!("{} {}", level(change.from, change.to), describe(change));
    LINES.lock().unwrap().push(line);
}

// Spec: monitoring L-40.
#[test]
fn a_change_of_state_is_a_line_that_says_what_was_seen() {
    let now = Instant::now();
    let registry = Registry::telling(keep);
    let policy = std::sync::Arc::new(Policy::default());
    let target =
        |provider: &str, key: u32| registry.target(TargetId { provider: provider.to_owned(), key }, now);
    let find = |target: &std::sync::Arc<Target>, findings: &[Finding]| {
        for finding in findings {
            target.begin_probe(&policy, now, &mut Rng::with_seed(1)).unwrap().settle(*finding, now);
        }
    };
    let failed = Finding::Failed(Fault::Status(503));
    find(&target("openai.a", 0), &[Finding::Alive, failed, failed, failed, Finding::Alive, Finding::Alive]);
    target("openai.b", 0);
    find(&target("openai.b", 1), &[Finding::Failed(Fault::Unreachable)]);
    let expected = [
        "DEBUG provider `openai.a` is HEALTHY, was UNKNOWN: it answers (seen by a probe)",
        "INFO provider `openai.a` is DEGRADED, was HEALTHY: answered with status 503 (seen by a probe)",
        "WARN provider `openai.a` is UNHEALTHY, was DEGRADED: answered with status 503 (seen by a probe, failure 3 in a row)",
        "INFO provider `openai.a` is DEGRADED, was UNHEALTHY: it answers (seen by a probe)",
        "INFO provider `openai.a` is HEALTHY, was DEGRADED: it answers (seen by a probe)",
        "INFO provider `openai.b` (key 2) is DEGRADED, was UNKNOWN: cannot be connected to (seen by a probe)",
    ];
    assert_eq!(std::mem::take(&mut *LINES.lock().unwrap()), expected);
}

/// A key as it would be found.
fn key(health: Health, is_current: bool) -> Seen {
    let now = Instant::now();
    let target = Registry::default().target(TargetId { provider: "openai.a".to_owned(), key: 0 }, now);
    let report = HealthReport { health, ..target.report(&Policy::default(), now) };
    Seen { number: 0, report, is_current }
}

// Spec: monitoring L-39; load-balancing B-43.
#[test]
fn a_provider_is_what_its_keys_are_together() {
    use Health::{Degraded, Draining, Healthy, Unhealthy, Unknown};
    let check = |keys: &[Health], expected: Health| {
        let mut keys: Vec<Seen> = keys.iter().map(|health| key(*health, true)).collect();
        assert_eq!(status(&keys), expected);
        keys.reverse();
        assert_eq!(status(&keys), expected);
        // One that a reload took away does not count beside others.
        keys.push(key(Healthy, false));
        assert_eq!(status(&keys), expected);
    };
    check(&[Healthy], Healthy);
    check(&[Unhealthy, Unhealthy], Unhealthy);
    check(&[Unknown, Unknown], Unknown);
    check(&[Unknown, Healthy, Unknown], Healthy);
    check(&[Unknown, Unhealthy], Degraded);
    check(&[Healthy, Healthy, Unhealthy], Degraded);
    check(&[Healthy, Degraded], Degraded);
    check(&[Draining, Draining], Draining);
    assert_eq!(status(&[key(Healthy, false)]), Draining);
}

// Spec: monitoring L-39.
#[test]
fn the_provider_takes_requests_as_far_as_its_best_key_does() {
    let open = BreakerState::Open { until: Instant::now() };
    let check = |states: &[BreakerState], expected: &str| {
        assert_eq!(breaker(states.iter().copied()), expected, "{states:?}");
    };
    check(&[BreakerState::Closed], "closed");
    check(&[open, BreakerState::Closed], "closed");
    check(&[open, BreakerState::HalfOpen], "half_open");
    check(&[open, open], "open");
}

// Spec: monitoring L-39.
#[test]
fn moments_are_times_of_day_to_the_millisecond() {
    let monotonic = Instant::now() + Duration::from_secs(1000);
    let clock = Clock { monotonic, wall: "2026-01-02T03:04:05.678901Z".parse().unwrap() };
    let check = |at: Instant, expected: &str| assert_eq!(clock.show(at), expected);
    check(monotonic, "2026-01-02T03:04:05.678Z");
    check(monotonic + Duration::from_millis(60_001), "2026-01-02T03:05:05.679Z");
    check(monotonic - Duration::from_secs(6), "2026-01-02T03:03:59.678Z");
}
