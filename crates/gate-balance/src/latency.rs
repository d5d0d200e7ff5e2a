//! How long a target takes to answer: an average that jumps up at once and comes down slowly ("peak
//! EWMA", as in Finagle and Linkerd).

use std::time::{Duration, Instant};

/// In this time an old value loses 63 % of its weight.
const DECAY: Duration = Duration::from_secs(10);

/// What a failure counts as at least. A target that fails fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);

/// The moving average of one target.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    last: Option<(f64, Instant)>,
}

impl Latency {
    /// Returns the average in seconds, `None` before the first answer. It sinks while nothing comes, so
    /// that a target that once was slow is tried again.
    pub(crate) fn seconds(&self, now: Instant) -> Option<f64> {
        let (seconds, at) = self.last?;
        Some(seconds * weight(now.saturating_duration_since(at)))
    }

    /// Returns the average in seconds as it was after the last answer.
    pub(crate) fn last(&self) -> Option<f64> {
        self.last.map(|(seconds, _)| seconds)
    }

    pub(crate) fn observe(&mut self, latency: Duration, now: Instant) {
        let new = latency.as_secs_f64();
        let mixed = match self.last {
            Some((old, at)) => {
                let weight = weight(now.saturating_duration_since(at));
                (old * weight + new * (1.0 - weight)).max(new)
            }
            None => new,
        };
        self.last = Some((mixed, now));
    }

    /// Notes that no answer came. The estimate doubles, for nobody knows how long it would have taken.
    pub(crate) fn penalise(&mut self, now: Instant) {
        let doubled = self.seconds(now).unwrap_or_default() * 2.0;
        let seconds = doubled.clamp(FAILURE.as_secs_f64(), 60.0);
        self.last = Some((seconds, now));
    }
}

fn weight(age: Duration) -> f64 {
    (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_jumps_up_and_comes_down_slowly() {
        let start = Instant::now();
        let check = |observed: &[(u64, u64)], read_at: u64, expected_ms: u64| {
            let mut latency = Latency::default();
            for &(at, ms) in observed {
                latency.observe(Duration::from_millis(ms), start + Duration::from_secs(at));
            }
            let seconds = latency.seconds(start + Duration::from_secs(read_at)).unwrap();
            assert_eq!((seconds * 1000.0).round() as u64, expected_ms, "{observed:?} at {read_at}");
        };
        check(&[(0, 100)], 0, 100);
        check(&[(0, 100), (1, 900)], 1, 900);
        check(&[(0, 1000), (10, 0)], 10, 368);
        check(&[(0, 1000)], 10, 368);
        check(&[(0, 1000), (0, 10)], 0, 1000);
    }

    #[test]
    fn a_failure_never_looks_fast() {
        let start = Instant::now();
        let mut latency = Latency::default();
        latency.observe(Duration::from_millis(5), start);
        latency.penalise(start);
        assert_eq!(latency.seconds(start), Some(1.0));
        latency.penalise(start);
        assert_eq!(latency.seconds(start), Some(2.0));
    }
}
