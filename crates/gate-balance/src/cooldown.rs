//! Rests that a provider asked for with 429: not broken, only to be left alone for a while.

use std::time::{Duration, Instant, SystemTime};

use crate::clock::{after, left, scaled};
use crate::settings::CooldownSettings;

/// When a target may be asked again.
#[derive(Debug, Default)]
pub(crate) struct Cooldown {
    until: Option<Instant>,
    /// Rests in a row, without an answer that was none.
    strikes: u32,
}

impl Cooldown {
    /// Begins a rest: as long as the provider said, else longer each time.
    pub(crate) fn begin(&mut self, told: Option<Duration>, settings: &CooldownSettings, now: Instant) {
        // Of a hundred requests that were in flight together, a hundred are refused: that is one strike.
        let was_cooling = self.wait(now).is_some();
        let own = scaled(settings.base, 2_f64.powi(self.strikes.min(30).cast_signed()), settings.max);
        let rest = told.map_or(own, |told| told.min(settings.max));
        if told.is_some() || !was_cooling {
            // A later refusal that names less does not undo what an earlier one named.
            self.until = self.until.max(Some(after(now, rest)));
        }
        if !was_cooling {
            self.strikes = self.strikes.saturating_add(1);
        }
    }

    /// Notes an answer that asked for no rest. A rest that has begun goes on.
    pub(crate) fn forgive(&mut self) {
        self.strikes = 0;
    }

    /// Returns how long the rest still lasts.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        left(self.until?, now)
    }
}

/// Reads how long a provider asks to wait, from the values of `retry-after` and `retry-after-ms`.
///
/// The latter wins, being finer. Seconds may have a fraction (the vendors' clients read one); a date is
/// one of the three forms of RFC 9110, section 5.6.7, and one in the past is no wait. `wall` is the time
/// of day. The result is not capped; what is no number and no date is `None`.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use gate_balance::parse_retry_after;
///
/// let wall = SystemTime::UNIX_EPOCH;
/// assert_eq!(parse_retry_after(Some("1.5"), None, wall), Some(Duration::from_millis(1500)));
/// let date = Some("Thu, 01 Jan 1970 00:00:07 GMT");
/// assert_eq!(parse_retry_after(date, None, wall), Some(Duration::from_secs(7)));
/// ```
pub fn parse_retry_after(seconds: Option<&str>, millis: Option<&str>, wall: SystemTime) -> Option<Duration> {
    millis.and_then(|millis| number(millis, 1000.0)).or_else(|| {
        let text = seconds?.trim();
        number(text, 1.0).or_else(|| {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(wall).unwrap_or_default())
        })
    })
}

/// Reads a number of which `per_second` are a second. Only digits and a point: no sign, no `inf`.
fn number(text: &str, per_second: f64) -> Option<Duration> {
    let text = text.trim();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = is_plain.then(|| text.parse().ok()).flatten()?;
    Some(Duration::try_from_secs_f64(number / per_second).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: load-balancing B-7.
    #[test]
    fn waits_are_read_in_every_form_that_providers_use() {
        let wall = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let check = |seconds: Option<&str>, millis: Option<&str>, expected_ms: Option<u64>| {
            let read = parse_retry_after(seconds, millis, wall);
            assert_eq!(read, expected_ms.map(Duration::from_millis), "{seconds:?} {millis:?}");
        };
        check(Some("7"), None, Some(7000));
        check(Some(" 7 "), None, Some(7000));
        check(Some("0"), None, Some(0));
        check(Some("0.25"), None, Some(250));
        check(None, Some("1500"), Some(1500));
        check(Some("7"), Some("1500"), Some(1500));
        check(Some("7"), Some("soon"), Some(7000));
        check(Some("Sun, 06 Nov 1994 08:50:37 GMT"), None, Some(60_000));
        check(Some("Sunday, 06-Nov-94 08:50:37 GMT"), None, Some(60_000));
        check(Some("Sun Nov  6 08:50:37 1994"), None, Some(60_000));
        check(Some("Sun, 06 Nov 1994 08:00:00 GMT"), None, Some(0));
        check(Some("1000000000000"), None, Some(1_000_000_000_000_000));
        for nothing in ["", "-1", "inf", "NaN", "1e3", "1.2.3", ".", "tomorrow", "7 seconds"] {
            check(Some(nothing), None, None);
        }
        check(None, None, None);
        let endless = "9".repeat(400);
        assert_eq!(parse_retry_after(Some(&endless), None, wall), Some(Duration::MAX));
    }

    // Spec: load-balancing B-9.
    #[test]
    fn a_rest_lasts_as_told_or_longer_each_time() {
        let start = Instant::now();
        let check = |refusals: &[(u64, Option<u64>)], expected: Option<u64>| {
            let mut cooldown = Cooldown::default();
            let mut now = start;
            for &(at, told) in refusals {
                now = start + Duration::from_secs(at);
                cooldown.begin(told.map(Duration::from_secs), &CooldownSettings::default(), now);
            }
            assert_eq!(cooldown.wait(now).map(|wait| wait.as_secs()), expected, "{refusals:?}");
        };
        check(&[(0, Some(7))], Some(7));
        check(&[(0, Some(0))], None);
        check(&[(0, Some(u64::MAX))], Some(300));
        check(&[(0, Some(7)), (1, Some(2))], Some(6));
        check(&[(0, Some(7)), (1, None)], Some(6));
        check(&[(0, None)], Some(1));
        check(&[(0, None), (0, None), (0, None)], Some(1));
        check(&[(0, None), (1, None)], Some(2));
        check(&[(0, None), (0, None), (0, None), (1, None)], Some(2));
        check(&[(0, None), (1, None), (3, None)], Some(4));
        let patient: Vec<_> = (0..40).map(|n| (n * 1000, None)).collect();
        check(&patient, Some(300));
    }
}
