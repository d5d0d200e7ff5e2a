//! Second attempts at a late answer: for which share of requests there may be one.

use std::time::Instant;

use crate::target::Provider;

/// Of a provider's requests, so many percent may be hedged. If more than that are late, the provider is
/// slow, and twice the requests make it slower. There is no reserve: the share is never exceeded.
const HEDGE_PERCENT: u32 = 5;

/// Notes a request that a hedge may be earned with.
pub(crate) fn earn(provider: &Provider) {
    provider.hedges.earn(HEDGE_PERCENT);
}

/// Pays for a hedge, if there is enough.
pub(crate) fn take(provider: &Provider, now: Instant) -> bool {
    provider.hedges.take(HEDGE_PERCENT, now)
}
