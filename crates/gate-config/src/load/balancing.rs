//! The settings of pools, retries and health, resolved; what contradicts itself is reported.

use std::time::Duration;

use crate::problem::Findings;
use crate::section::{Section, Set};
use crate::{CircuitBreaker, HealthCheck, LoadBalancing, Retry, Strategy};

/// Reads `[llm.load_balancing]`; like all here, what is unset or wrong keeps its default.
pub(super) fn load_balancing(table: &Section<'_>) -> LoadBalancing {
    let default = LoadBalancing::default();
    LoadBalancing {
        strategy: table
            .word("strategy", Strategy::ALL, Strategy::as_str)
            .map_or(default.strategy, |set| set.value),
        is_sticky: flag(table, "sticky", default.is_sticky),
    }
}

/// Reads `[llm.retry]`.
pub(super) fn retry(table: &Section<'_>, findings: &mut Findings) -> Retry {
    let default = Retry::default();
    let statuses = table.wholes("retryable_status").map(|set| {
        let mut statuses: Vec<u16> =
            set.value.into_iter().filter_map(|status| status.try_into().ok()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    });
    let retry = Retry {
        max_attempts: count(table, "max_attempts", default.max_attempts),
        backoff_base: seconds(table, "backoff_base", default.backoff_base),
        backoff_multiplier: table
            .number("backoff_multiplier")
            .map_or(default.backoff_multiplier, |set| set.value),
        backoff_max: seconds(table, "backoff_max", default.backoff_max),
        retryable_status: statuses.unwrap_or(default.retryable_status),
        budget_percent: count(table, "budget_percent", default.budget_percent),
        hold_bytes: table
            .whole("hold_size_kb")
            .and_then(|set| usize::try_from(set.value << 10).ok())
            .unwrap_or(default.hold_bytes),
        hold_time: seconds(table, "hold_time", default.hold_time),
    };
    let (base, most) = (retry.backoff_base, retry.backoff_max);
    // One of them was written, as the defaults agree.
    if let Some(Set { origin, .. }) =
        table.seconds("backoff_max").or_else(|| table.seconds("backoff_base")).filter(|_| most < base)
    {
        let message = format!(
            "the longest wait (`backoff_max`, {} s) is less than the first (`backoff_base`, {} s)",
            most.as_secs_f64(),
            base.as_secs_f64()
        );
        findings.problem(origin.key, origin.source, message);
    }
    retry
}

/// Reads `[llm.circuit_breaker]`.
pub(super) fn circuit_breaker(table: &Section<'_>) -> CircuitBreaker {
    let default = CircuitBreaker::default();
    CircuitBreaker {
        is_enabled: flag(table, "enabled", default.is_enabled),
        failure_threshold: count(table, "failure_threshold", default.failure_threshold),
        recovery_timeout: seconds(table, "recovery_timeout", default.recovery_timeout),
        half_open_max_calls: count(table, "half_open_max_calls", default.half_open_max_calls),
    }
}

/// Reads `[llm.health_check]`.
pub(super) fn health_check(table: &Section<'_>, findings: &mut Findings) -> HealthCheck {
    let default = HealthCheck::default();
    let endpoint = table.text("endpoint").and_then(|Set { value, origin }| match check_path(&value) {
        Ok(()) => Some(value),
        Err(message) => {
            findings.problem(origin.key, origin.source, message);
            None
        }
    });
    HealthCheck {
        is_passive: flag(table, "passive", default.is_passive),
        failure_threshold: count(table, "failure_threshold", default.failure_threshold),
        success_threshold: count(table, "success_threshold", default.success_threshold),
        is_active: flag(table, "active", default.is_active),
        interval: seconds(table, "interval", default.interval),
        timeout: seconds(table, "timeout", default.timeout),
        endpoint: endpoint.unwrap_or(default.endpoint),
    }
}

/// Checks that a text is a path that can stand behind a provider's base.
fn check_path(text: &str) -> Result<(), String> {
    let message = || format!("expected a path below `/v1`, such as `/models`, found {text:?}");
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.contains('#');
    let is_target = text.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == text);
    if !(is_path && is_target) || text.split(['/', '?']).any(|segment| matches!(segment, "." | "..")) {
        return Err(message());
    }
    match text.strip_prefix("/v1") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Err(format!(
            "`/v1` is put in front by itself: write {:?}",
            if rest.is_empty() { "/" } else { rest }
        )),
        _ => Ok(()),
    }
}

fn flag(table: &Section<'_>, name: &'static str, default: bool) -> bool {
    table.flag(name).map_or(default, |set| set.value)
}

fn count(table: &Section<'_>, name: &'static str, default: u32) -> u32 {
    table.whole(name).and_then(|set| set.value.try_into().ok()).unwrap_or(default)
}

fn seconds(table: &Section<'_>, name: &'static str, default: Duration) -> Duration {
    table.seconds(name).map_or(default, |set| set.value)
}
