//! Peers that read and write bytes. They parse no more HTTP than it takes to know where a message ends.

mod client;
mod http2;
mod script;

pub use client::{BodyEnd, RawBody, RawClient, RawHead, RawResponse};
pub use http2::{RawFrame, RawHttp2, flag, kind};
pub use script::{RawPeer, RawScript, Transcript};

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
