//! How fast a client must send a body: no pause longer than `body_idle_timeout`, and on average at
//! least `min_body_rate`. Only the time in which the client was waited for counts.
//!
//! The two are one rule: a client may be behind the rate by no more than the longest pause. So one
//! that sends a byte before each pause gets too long is found out soon after its first pause, while
//! one that sent much may rest on it.

use std::time::Duration;

use gate_config::Limits;

use crate::error::{ApiError, ErrorCode};

/// How far a client is with a body, and how long it may be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    idle: Duration,
    /// Bytes a second; 0 is no limit.
    rate: u64,
    bytes: u64,
    waited: Duration,
}

/// Which bound a client has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It paused for too long.
    Paused,
    /// It sends fewer bytes a second than this.
    Slow(u64),
}

impl Pace {
    /// The pace that a request's body must have.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { rate: limits.min_body_rate, ..Self::unhurried(limits.body_idle_timeout) }
    }

    /// A pace without a rate.
    pub(crate) fn unhurried(idle: Duration) -> Self {
        Self { idle, rate: 0, bytes: 0, waited: Duration::ZERO }
    }

    /// Returns how long the next piece may take, and what it is if it takes longer.
    pub(crate) fn patience(&self) -> (Duration, Late) {
        // Without a rate, nothing was ever to be sent in any time.
        let Some(earned) = self.bytes.saturating_mul(1000).checked_div(self.rate) else {
            return (self.idle, Late::Paused);
        };
        let left = (self.idle + Duration::from_millis(earned)).saturating_sub(self.waited);
        if left < self.idle { (left, Late::Slow(self.rate)) } else { (self.idle, Late::Paused) }
    }

    /// Notes a piece and how long it was waited for.
    pub(crate) fn came(&mut self, bytes: usize, waited: Duration) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.waited += waited;
    }
}

impl Late {
    /// Returns the client's error.
    pub(crate) fn to_api_error(self) -> ApiError {
        match self {
            Self::Paused => ApiError::new(
                ErrorCode::RequestTimeout,
                "the request body paused for too long (`[llm.limits] body_idle_timeout`); send it without pauses",
            ),
            Self::Slow(rate) => ApiError::new(
                ErrorCode::RequestTimeout,
                format!(
                    "the request body comes with less than {rate} bytes a second (`[llm.limits] min_body_rate`); \
                     send it faster"
                ),
            ),
        }
        .closing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: security S-46.
    #[test]
    fn a_client_may_be_behind_the_rate_by_the_longest_pause() {
        const SLOW: Late = Late::Slow(240);
        let check = |pieces: &[(usize, u64)], expected: (u64, Late)| {
            let limits = Limits { min_body_rate: 240, ..Limits::default() };
            let mut pace = Pace::new(&limits);
            for &(bytes, waited) in pieces {
                pace.came(bytes, Duration::from_secs(waited));
            }
            let (patience, late) = pace.patience();
            assert_eq!((patience.as_secs(), late), expected, "{pieces:?}");
        };
        check(&[], (30, Late::Paused));
        check(&[(240, 1)], (30, Late::Paused));
        check(&[(1, 10)], (20, SLOW));
        check(&[(1, 29)], (1, SLOW));
        check(&[(1, 29), (1, 2)], (0, SLOW));
        check(&[(24_000, 20)], (30, Late::Paused));
        check(&[(2400, 10), (2400, 20)], (20, SLOW));
        check(&[(usize::MAX, 29)], (30, Late::Paused));
    }

    // Spec: security S-46.
    #[test]
    fn without_a_rate_only_pauses_count() {
        let mut pace = Pace::unhurried(Duration::from_secs(30));
        pace.came(1, Duration::from_secs(1_000_000));
        assert_eq!(pace.patience(), (Duration::from_secs(30), Late::Paused));
    }
}
