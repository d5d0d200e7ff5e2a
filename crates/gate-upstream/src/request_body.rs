//! The body of a request: slices that are all there, so that values in the middle are replaced
//! without copying the rest, or slices and then a stream that the client is still sending.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, mem};

use bytes::buf::Chain;
use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

mod streamed;

use streamed::{Edit, Streamed};

/// What a streamed body takes its data from.
pub type BodySource = Pin<Box<dyn Body<Data = Bytes, Error = RequestBodyError> + Send>>;

/// A request body.
///
/// ```
/// use bytes::Bytes;
/// use gate_upstream::RequestBody;
///
/// let sent = Bytes::from_static(br#"{"model":"gpt-4","n":1}"#);
/// let body = RequestBody::spliced([sent.slice(..9), Bytes::from_static(b"\"o3\""), sent.slice(16..)]);
/// assert_eq!(body.len(), Some(sent.len() as u64 - 3));
/// ```
#[derive(Debug)]
pub struct RequestBody {
    pieces: Pieces,
}

/// What is still to be sent. Empty slices stand for nothing. All are boxed: a request passes through many
/// hands.
#[derive(Debug)]
enum Pieces {
    Few(Box<[Bytes; 3]>),
    Other(Box<Other>),
}

#[derive(Debug)]
enum Other {
    Many(VecDeque<Bytes>),
    Streamed(Streamed),
}

/// The source of a streamed body failed, gave more or fewer bytes than it said, or had been taken by a clone.
///
/// It holds no reason: whoever made the source knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestBodyError;

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body broke off")
    }
}

impl std::error::Error for RequestBodyError {}

impl Default for RequestBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl RequestBody {
    /// Makes the body of a request that has none.
    pub fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// Makes a body of one piece.
    pub fn whole(bytes: Bytes) -> Self {
        Self::spliced([bytes, Bytes::new(), Bytes::new()])
    }

    /// Makes a body of three pieces that follow one another.
    pub fn spliced(slices: [Bytes; 3]) -> Self {
        Self { pieces: Pieces::Few(Box::new(slices)) }
    }

    /// Makes a body of any number of pieces that follow one another.
    pub fn pieces(slices: impl IntoIterator<Item = Bytes>) -> Self {
        Self { pieces: Pieces::Other(Box::new(Other::Many(slices.into_iter().collect()))) }
    }

    /// Makes a body of pieces that are there and of what a source gives after them; `rest` is how
    /// many bytes the source will give, where that is known.
    ///
    /// Such a body can be sent once only, but has clones until the first poll of it or of one of them:
    /// from then on that one alone has the source. If the source fails, the exchange fails with
    /// [`UpstreamErrorKind::RequestBody`](crate::UpstreamErrorKind::RequestBody), and the provider
    /// sees a request that breaks off.
    pub fn streamed(prefix: impl IntoIterator<Item = Bytes>, source: BodySource, rest: Option<u64>) -> Self {
        let streamed = Streamed::new(prefix.into_iter().collect(), source, rest);
        Self { pieces: Pieces::Other(Box::new(Other::Streamed(streamed))) }
    }

    /// Returns how many bytes are still to be sent, all of them before the first poll; `None` where
    /// a source does not say.
    pub fn len(&self) -> Option<u64> {
        match &self.pieces {
            Pieces::Few(slices) => Some(total(&**slices)),
            Pieces::Other(other) => match &**other {
                Other::Many(slices) => Some(total(slices)),
                Other::Streamed(streamed) => streamed.len(),
            },
        }
    }

    /// Returns whether it is known that nothing is left to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Returns a second body of the same bytes, which costs nothing, since both share them; `None`
    /// where the bytes pass only once and somebody has begun to take them.
    ///
    /// Of a streamed body and its clones the one that is polled first has the bytes. Another that is
    /// polled in spite of that fails with [`RequestBodyError`] before its first byte.
    pub fn try_clone(&self) -> Option<Self> {
        let pieces = match &self.pieces {
            Pieces::Few(slices) => Pieces::Few(slices.clone()),
            Pieces::Other(other) => match &**other {
                Other::Many(slices) => Pieces::Other(Box::new(Other::Many(slices.clone()))),
                Other::Streamed(streamed) => Pieces::Other(Box::new(Other::Streamed(streamed.try_clone()?))),
            },
        };
        Some(Self { pieces })
    }

    /// Puts other bytes in place of a span of the first slice that this body was made of. It is for a body
    /// that was neither polled nor changed in this way.
    #[must_use]
    pub fn replacing(mut self, span: Range<usize>, bytes: Bytes) -> Self {
        let edit = Edit::new(span, bytes);
        match &mut self.pieces {
            Pieces::Few(slices) if slices[1].is_empty() && slices[2].is_empty() => {
                return Self::spliced(edit.splice(&slices[0]));
            }
            Pieces::Few(slices) => return Self::pieces(edit.apply(slices.iter().cloned().collect())),
            Pieces::Other(other) => match &mut **other {
                Other::Many(slices) => *slices = edit.apply(mem::take(slices)),
                Other::Streamed(streamed) => streamed.edit(edit),
            },
        }
        self
    }

    /// Puts pieces in front of a body that is there.
    pub(crate) fn behind(self, pieces: impl ExactSizeIterator<Item = Bytes>) -> Self {
        if pieces.len() == 0 {
            return self;
        }
        let rest: Vec<Bytes> = match self.pieces {
            Pieces::Few(slices) => slices.into_iter().collect(),
            Pieces::Other(other) => match *other {
                Other::Many(slices) => slices.into(),
                Other::Streamed(_) => Vec::new(),
            },
        };
        Self::pieces(pieces.chain(rest))
    }

    /// Returns whether the bytes pass only once: they come from a source.
    pub fn passes_once(&self) -> bool {
        self.as_streamed().is_some()
    }

    /// Returns whether the bytes pass only once and somebody, maybe a clone, has begun to take them.
    pub fn is_spent(&self) -> bool {
        self.as_streamed().is_some_and(Streamed::is_spent)
    }

    /// Returns the next pieces, which follow one another; some may be empty, but not all.
    ///
    /// # Errors
    /// The source failed.
    pub(crate) fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<[Bytes; 3], RequestBodyError>>> {
        let pieces = match &mut self.pieces {
            Pieces::Few(slices) => Some(mem::take(&mut **slices)).filter(|slices| total(slices) > 0),
            Pieces::Other(other) => {
                let slice = match &mut **other {
                    Other::Many(slices) => next(slices),
                    Other::Streamed(streamed) => ready!(streamed.poll_data(cx)).transpose()?,
                };
                slice.map(|slice| [slice, Bytes::new(), Bytes::new()])
            }
        };
        Poll::Ready(pieces.map(Ok))
    }

    /// Returns whether it is known that nothing more will come.
    pub(crate) fn is_end(&self) -> bool {
        match &self.pieces {
            Pieces::Few(slices) => slices.iter().all(Bytes::is_empty),
            Pieces::Other(other) => match &**other {
                Other::Many(slices) => slices.iter().all(Bytes::is_empty),
                Other::Streamed(streamed) => streamed.is_end(),
            },
        }
    }

    fn as_streamed(&self) -> Option<&Streamed> {
        match &self.pieces {
            Pieces::Few(_) => None,
            Pieces::Other(other) => match &**other {
                Other::Many(_) => None,
                Other::Streamed(streamed) => Some(streamed),
            },
        }
    }
}

// A `usize` is at most 64 bits wide, so nothing is lost.
fn total<'b>(slices: impl IntoIterator<Item = &'b Bytes>) -> u64 {
    slices.into_iter().map(|slice| slice.len() as u64).sum()
}

/// Takes the next piece that holds anything.
fn next(slices: &mut VecDeque<Bytes>) -> Option<Bytes> {
    std::iter::from_fn(|| slices.pop_front()).find(|slice| !slice.is_empty())
}

/// What follows one another is handed out at once.
type Data = Chain<Chain<Bytes, Bytes>, Bytes>;

impl Body for RequestBody {
    type Data = Data;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, RequestBodyError>>> {
        let pieces = ready!(self.get_mut().poll_pieces(cx)).transpose()?;
        let chain = |[first, second, third]: [Bytes; 3]| first.chain(second).chain(third);
        Poll::Ready(pieces.map(|pieces| Ok(Frame::data(chain(pieces)))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
