//! A share of traffic: each request earns a part of one repetition.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one repetition costs; a request earns as much as the percentage says.
const PRICE: u64 = 100;

/// Repetitions that can be saved up from traffic. It bounds the burst after a long good time.
const MAX_SAVED: u64 = 100;

/// A bucket that fills with traffic, and a small reserve that fills with time.
///
/// The number of `true` answers of [`take`](Self::take) never exceeds the percentage of the calls of
/// [`earn`](Self::earn), plus the reserve, plus one for each second.
#[derive(Debug)]
pub struct ShareBudget {
    /// Repetitions that a quiet provider may have: below ten requests, a share of 20 % would be one
    /// repetition or none. Zero for a strict share.
    reserve: u64,
    purse: Mutex<Purse>,
}

#[derive(Debug)]
struct Purse {
    earned: u64,
    reserved: u64,
    /// Up to when the reserve has been filled.
    filled: Instant,
}

impl ShareBudget {
    /// Makes a budget with a full reserve of so many repetitions, which gets one back each second.
    pub fn new(reserve: u32, now: Instant) -> Self {
        let reserve = u64::from(reserve);
        Self { reserve, purse: Mutex::new(Purse { earned: 0, reserved: reserve, filled: now }) }
    }

    /// Notes a request that is no repetition.
    pub fn earn(&self, percent: u32) {
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        purse.earned = purse.earned.saturating_add(u64::from(percent)).min(MAX_SAVED * PRICE);
    }

    /// Pays for one repetition, if there is enough.
    pub fn take(&self, percent: u32, now: Instant) -> bool {
        if percent == 0 {
            return false;
        }
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        if purse.earned >= PRICE {
            purse.earned -= PRICE;
            return true;
        }
        let seconds = now.saturating_duration_since(purse.filled).as_secs();
        purse.reserved = purse.reserved.saturating_add(seconds).min(self.reserve);
        // What is left of a second is kept, or a caller each half second would never see it fill.
        purse.filled = purse.filled.checked_add(Duration::from_secs(seconds)).unwrap_or(now);
        let has_reserve = purse.reserved > 0;
        purse.reserved = purse.reserved.saturating_sub(1);
        has_reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: load-balancing B-7.
    #[test]
    fn a_quiet_provider_may_repeat_and_a_busy_one_by_its_share() {
        let start = Instant::now();
        let check = |reserve: u32, requests: u32, tries: &[(u64, u32)], expected: u32| {
            let budget = ShareBudget::new(reserve, start);
            (0..requests).for_each(|_| budget.earn(20));
            let mut taken = 0;
            for &(at_ms, times) in tries {
                let now = start + Duration::from_millis(at_ms);
                taken += (0..times).filter(|_| budget.take(20, now)).count();
            }
            assert_eq!(taken, expected as usize, "{reserve} {requests} {tries:?}");
        };
        check(10, 0, &[(0, 100)], 10);
        check(10, 100, &[(0, 100)], 30);
        check(0, 4, &[(0, 100)], 0);
        check(0, 5, &[(0, 100)], 1);
        check(0, 1_000_000, &[(0, 1000)], 100);
        check(2, 0, &[(0, 9), (500, 9), (1000, 9), (1500, 9), (2000, 9)], 4);
        check(2, 0, &[(0, 9), (60_000, 9)], 4);
    }

    // Spec: load-balancing B-7.
    #[test]
    fn a_share_of_nothing_has_no_reserve() {
        let now = Instant::now();
        assert!(!ShareBudget::new(10, now).take(0, now));
    }
}
