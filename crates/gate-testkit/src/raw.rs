//! Peers that read and write bytes. They parse no more HTTP than it takes to know where a message ends.

#[cfg(feature = "tls")]
mod authority;
mod client;
mod http2;
mod script;
mod server;

#[cfg(feature = "tls")]
pub use authority::{Authority, Flaw};
pub use client::{BodyEnd, RawBody, RawClient, RawHead, RawResponse};
pub use http2::{RawFrame, RawHttp2, flag, kind};
pub use script::{Latch, RawPeer, RawScript, Transcript};
pub use server::RawServer;

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// Reads what there is and appends it; 0 is the peer's end.
async fn read_more(io: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.reserve(READ_BYTES);
    io.read_buf(buffer).await
}

/// Waits for `work`, but no longer than `patience`.
async fn within<T>(
    patience: Duration,
    what: &str,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("waited {patience:?} in vain to {what}");
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        }
    }
}

/// Returns the number that the first `content-length` of a head names; 0 without one.
fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

/// Returns the offset just after the first `needle` at or after `from`.
fn end_of(needle: &[u8], bytes: &[u8], from: usize) -> Option<usize> {
    let found = bytes.get(from..)?.windows(needle.len()).position(|window| window == needle)?;
    Some(from + found + needle.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_needle_is_counted_from_the_start() {
        assert_eq!(end_of(b"\r\n", b"a\r\nb\r\n", 0), Some(3));
        assert_eq!(end_of(b"\r\n", b"a\r\nb\r\n", 3), Some(6));
        assert_eq!(end_of(b"\r\n", b"a\r\nb\r\n", 5), None);
        assert_eq!(end_of(b"\r\n", b"a", 7), None);
    }
}
