//! Ids of requests: `req-<unix seconds>-<16 hex digits>`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// The id of one request: unique enough to find it in a log, and short enough to read out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// Makes a new id; its time is `now`.
    pub(crate) fn new(now: SystemTime) -> Self {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Every request has one, and `format!` takes several times as long.
        let mut text = String::with_capacity("req-1700000000-0123456789abcdef".len());
        text.push_str("req-");
        text.push_str(itoa::Buffer::new().format(seconds));
        text.push('-');
        let random = fastrand::u64(..);
        let digits: [u8; 16] = std::array::from_fn(|place| hex_digit((random >> (4 * place)) as u8 & 0xf));
        text.push_str(str::from_utf8(&digits).unwrap_or_default());
        Self(text.into())
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

const fn hex_digit(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
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
}
