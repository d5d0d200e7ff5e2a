//! The body of a request: bytes that are all there, in up to three slices, so that one value in the
//! middle is replaced without copying the rest.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A request body of known length.
///
/// A clone shares the bytes, so keeping one for a second attempt costs nothing.
///
/// ```
/// use bytes::Bytes;
/// use gate_upstream::RequestBody;
///
/// let sent = Bytes::from_static(br#"{"model":"gpt-4","n":1}"#);
/// let body = RequestBody::spliced([sent.slice(..9), Bytes::from_static(b"\"o3\""), sent.slice(16..)]);
/// assert_eq!(body.len(), sent.len() as u64 - 3);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestBody {
    /// What is still to be sent. Empty slices stand for nothing.
    slices: [Bytes; 3],
}

impl RequestBody {
    /// Makes the body of a request that has none.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Makes a body of one piece.
    pub fn whole(bytes: Bytes) -> Self {
        Self { slices: [bytes, Bytes::new(), Bytes::new()] }
    }

    /// Makes a body of three pieces that follow one another.
    pub fn spliced(slices: [Bytes; 3]) -> Self {
        Self { slices }
    }

    /// Returns how many bytes are still to be sent: all of them before the first poll.
    pub fn len(&self) -> u64 {
        // A `usize` is at most 64 bits wide, so nothing is lost.
        self.slices.iter().map(|slice| slice.len() as u64).sum()
    }

    /// Returns whether nothing is left to be sent.
    pub fn is_empty(&self) -> bool {
        self.slices.iter().all(Bytes::is_empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.slices.iter_mut().find(|slice| !slice.is_empty());
        Poll::Ready(next.map(|slice| Ok(Frame::data(mem::take(slice)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
