//! Sums of times that cannot overflow. The crate reads no clock: every `now` comes from the caller.

use std::time::{Duration, Instant};

/// What is further away than this is never: a sum with it fits every platform's `Instant`.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Returns the moment `wait` after `now`, at most a year away.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FOREVER)).unwrap_or(now)
}

/// Returns what of a wait is left at `now`, `None` if it is over.
pub(crate) fn left(until: Instant, now: Instant) -> Option<Duration> {
    (until > now).then(|| until - now)
}

/// Multiplies a time by a factor. What is no finite time becomes `cap`.
pub(crate) fn scaled(time: Duration, factor: f64, cap: Duration) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).map_or(cap, |scaled| scaled.min(cap))
}
