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
        text.push(&hex(fastrand::u64(..)));
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

/// Writes a number in 16 digits, several times faster than `fmt` does.
fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| {
        let digit = (number >> (60 - 4 * place)) as u8 & 0xf;
        if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
    })
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
    fn random_digits_are_all_sixteen() {
        for number in [0, 0xa, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(str::from_utf8(&hex(number)), Ok(&*format!("{number:016x}")));
        }
    }
}
