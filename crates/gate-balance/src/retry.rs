//! Which outcomes allow another attempt, where, and after what wait.

use std::time::Duration;

use fastrand::Rng;

use crate::clock::scaled;
use crate::outcome::Outcome;
use crate::settings::RetrySettings;

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The client gets this answer.
    Pass,
    /// The same target is asked again.
    RetrySame {
        /// After this wait.
        after: Duration,
    },
    /// Another target is asked.
    Next {
        /// After this wait.
        after: Duration,
    },
    /// Another attempt of this request is under way; what it brings counts.
    Wait,
    /// The client gets an error of the gateway: there is no answer and there will be none.
    Fail,
}

/// Where another attempt may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// There is to be none.
    Nowhere,
    /// To another key, or to one who does the same job with a key of its own.
    OtherKey,
    /// To another provider.
    OtherProvider,
    /// Anywhere but there.
    Elsewhere,
    /// Anywhere, there too.
    Anywhere,
}

/// Returns where another attempt may go after this outcome.
///
/// What was never sent can always be sent again. What was sent may have been done and billed, so it is
/// repeated only after an answer whose status is listed as one that says it was not.
pub(crate) fn reach(outcome: &Outcome, settings: &RetrySettings) -> Reach {
    match *outcome {
        Outcome::Unreachable => Reach::Anywhere,
        Outcome::Distrusted => Reach::Elsewhere,
        Outcome::KeyRefused { .. } => Reach::OtherKey,
        // The wait for a connection there is over.
        Outcome::Busy => Reach::OtherProvider,
        Outcome::Answered { status, .. } if settings.retryable_status.contains(&status) => Reach::Anywhere,
        // The same target would say the same again.
        _ if outcome.is_no_answer() && settings.retryable_status.contains(&502) => Reach::Elsewhere,
        Outcome::Lost if settings.retry_lost => Reach::Anywhere,
        Outcome::Answered { .. } | Outcome::Lost => Reach::Nowhere,
    }
}

/// Returns a wait before the next repetition, where `repetitions` were made before: any time up to a
/// bound that grows ("full jitter"), so that those who failed together do not come back together.
pub(crate) fn backoff(settings: &RetrySettings, repetitions: u32, rng: &mut Rng) -> Duration {
    let exponent = f64::from(repetitions.min(1000));
    let bound = scaled(
        settings.backoff_base,
        settings.backoff_multiplier.max(1.0).powf(exponent),
        settings.backoff_max,
    );
    bound.mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: load-balancing B-16.
    #[test]
    fn what_may_have_been_done_is_repeated_only_by_status() {
        let check = |outcome: Outcome, expected: Reach| {
            assert_eq!(reach(&outcome, &RetrySettings::default()), expected, "{outcome:?}");
        };
        check(Outcome::Unreachable, Reach::Anywhere);
        check(Outcome::Distrusted, Reach::Elsewhere);
        check(Outcome::Busy, Reach::OtherProvider);
        check(Outcome::Lost, Reach::Nowhere);
        check(Outcome::KeyRefused { status: 401 }, Reach::OtherKey);
        check(Outcome::KeyRefused { status: 403 }, Reach::OtherKey);
        let answered = |status| Outcome::Answered { status, retry_after: None, latency: Duration::ZERO };
        for status in [429, 502, 503, 529] {
            check(answered(status), Reach::Anywhere);
        }
        for status in [301, 307, 399, 600, 999] {
            check(answered(status), Reach::Elsewhere);
        }
        let only_503 = RetrySettings { retryable_status: vec![503], ..RetrySettings::default() };
        assert_eq!(reach(&answered(301), &only_503), Reach::Nowhere);
        for status in [101, 200, 304, 400, 401, 403, 404, 408, 413, 500, 501, 504, 599] {
            check(answered(status), Reach::Nowhere);
        }
        let lost = RetrySettings { retry_lost: true, ..RetrySettings::default() };
        assert_eq!(reach(&Outcome::Lost, &lost), Reach::Anywhere);
    }

    // Spec: load-balancing B-7.
    #[test]
    fn backoff_is_any_time_up_to_a_bound_that_grows_and_ends() {
        let mut rng = Rng::with_seed(1);
        let mut check = |settings: &RetrySettings, repetitions: u32, bound_ms: u64| {
            let waits: Vec<_> = (0..1000).map(|_| backoff(settings, repetitions, &mut rng)).collect();
            let bound = Duration::from_millis(bound_ms);
            assert!(waits.iter().all(|wait| *wait <= bound), "{repetitions}");
            assert!(waits.iter().any(|wait| *wait >= bound.mul_f64(0.9)), "{repetitions}");
            assert!(waits.iter().any(|wait| *wait <= bound.mul_f64(0.1)), "{repetitions}");
        };
        let settings = RetrySettings::default();
        check(&settings, 0, 250);
        check(&settings, 1, 500);
        check(&settings, 4, 4000);
        check(&settings, 5, 8000);
        check(&settings, 6, 8000);
        check(&settings, u32::MAX, 8000);
        check(&RetrySettings { backoff_multiplier: 0.0, ..settings }, 3, 250);
    }
}
