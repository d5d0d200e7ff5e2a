//! Ids of requests: `req-<unix seconds>-<16 hex digits>`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use crate::text::Text;

/// The length of an id whose seconds have all the digits that they can have.
const MAX_LENGTH: usize = "req-".len() + 20 + "-".len() + 16;

/// The id of one request: unique enough to find it in a log, and short enough to read out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// Makes a new id; its time is `now`.
    pub(crate) fn new(now: SystemTime) -> Self {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut text = Text::<MAX_LENGTH>::default();
        text.push(b"req-");
        text.number(seconds);
        text.push(b"-");
        let random = fastrand::u64(..);
        text.push(&hex((random >> 32) as u32));
        text.push(&hex(random as u32));
        Self(text.as_str().into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    pub(crate) fn header_value(&self) -> HeaderValue {
        // Letters, digits and dashes only, so this cannot fail; an empty value would be the answer.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Writes a number in 8 digits at once.
fn hex(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    // Each digit gets a byte of its own.
    let spread = [(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f0f_0f0f_0f0f_0f0f)];
    let digits = spread.iter().fold(u64::from(number), |wide, (by, mask)| (wide << by | wide) & mask);
    // One for each that is a letter: with 6 more it is beyond 15.
    let letters = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u64::from(b'0') * ONES + u64::from(b'a' - b'9' - 1) * letters).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_id_is_its_second_and_random_digits() {
        let id = RequestId::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let (head, random) = id.as_str().rsplit_once('-').unwrap();
        assert_eq!(head, "req-1700000000");
        assert!(random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit()), "{random}");
        assert_ne!(id, RequestId::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    }

    #[test]
    fn digits_are_those_of_a_number() {
        for number in [0, 9, 0xa, 0x1234_5678, 0x9abc_def0, u32::MAX] {
            assert_eq!(str::from_utf8(&hex(number)), Ok(&*format!("{number:08x}")));
        }
    }
}
