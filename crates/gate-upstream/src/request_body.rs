//! The body of a request: slices that are all there, so that values in the middle are replaced
//! without copying the rest, or slices and then a stream that the client is still sending.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::{fmt, mem};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

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

/// What is still to be sent. Empty slices stand for nothing. The usual case is the one in place.
#[derive(Debug)]
enum Pieces {
    Few([Bytes; 3]),
    Other(Box<Other>),
}

#[derive(Debug)]
enum Other {
    Many(VecDeque<Bytes>),
    Streamed(Streamed),
}

struct Streamed {
    state: State,
    /// How many bytes the source still has to give, where that is known.
    rest: Option<u64>,
    upload: Upload,
}

enum State {
    /// Nobody has polled this body. Its bytes are where its clones find them too, so that one that is kept
    /// holds none of what another has sent.
    Untouched {
        /// What is another in this clone than in what they share.
        edit: Option<Edit>,
        /// How many bytes come before those of the source.
        length: u64,
    },
    Taken(Stream),
}

/// Bytes in place of a span of the first slice.
#[derive(Clone)]
struct Edit {
    span: Range<usize>,
    bytes: Bytes,
}

struct Stream {
    prefix: VecDeque<Bytes>,
    source: BodySource,
}

/// What the clones of a streamed body share, one of which may be sent. It also tells whether that was
/// taken to its end, for hyper owns the body.
#[derive(Clone)]
pub(crate) struct Upload(Arc<Shared>);

struct Shared {
    /// The bytes, until the first poll of any clone takes them.
    slot: Mutex<Option<Stream>>,
    is_whole: AtomicBool,
}

impl Upload {
    fn new(stream: Stream) -> Self {
        Self(Arc::new(Shared { slot: Mutex::new(Some(stream)), is_whole: AtomicBool::new(false) }))
    }

    /// Returns whether all of the body was taken.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_whole.load(Relaxed)
    }

    fn set_whole(&self) {
        self.0.is_whole.store(true, Relaxed);
    }

    /// A source that panicked is as broken as one that failed, and says so itself.
    fn slot(&self) -> MutexGuard<'_, Option<Stream>> {
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        Self { pieces: Pieces::Few(slices) }
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
        let prefix: VecDeque<Bytes> = prefix.into_iter().collect();
        let state = State::Untouched { edit: None, length: total(&prefix) };
        let streamed = Streamed { state, rest, upload: Upload::new(Stream { prefix, source }) };
        Self { pieces: Pieces::Other(Box::new(Other::Streamed(streamed))) }
    }

    /// Returns how many bytes are still to be sent, all of them before the first poll; `None` where
    /// a source does not say.
    pub fn len(&self) -> Option<u64> {
        match &self.pieces {
            Pieces::Few(slices) => Some(total(slices)),
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
        let edit = Edit { span, bytes };
        match &mut self.pieces {
            Pieces::Few([first, second, third]) if second.is_empty() && third.is_empty() => {
                return Self::spliced(edit.splice(first));
            }
            Pieces::Few(slices) => return Self::pieces(edit.apply(slices.iter().cloned().collect())),
            Pieces::Other(other) => match &mut **other {
                Other::Many(slices) => *slices = edit.apply(mem::take(slices)),
                Other::Streamed(streamed) => streamed.edit(edit),
            },
        }
        self
    }

    /// Returns whether the bytes pass only once: they come from a source.
    pub fn passes_once(&self) -> bool {
        self.as_streamed().is_some()
    }

    /// Returns whether the bytes pass only once and somebody, maybe a clone, has begun to take them.
    pub fn is_spent(&self) -> bool {
        self.as_streamed().is_some_and(Streamed::is_spent)
    }

    /// Returns what tells whether the client has sent everything; `None` if it has already.
    pub(crate) fn upload(&self) -> Option<Upload> {
        self.as_streamed().map(|streamed| streamed.upload.clone())
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

impl Edit {
    fn splice(self, slice: &Bytes) -> [Bytes; 3] {
        [slice.slice(..self.span.start), self.bytes, slice.slice(self.span.end..)]
    }

    fn apply(self, mut slices: VecDeque<Bytes>) -> VecDeque<Bytes> {
        let first = slices.pop_front().unwrap_or_default();
        self.splice(&first).into_iter().chain(slices).collect()
    }
}

impl Streamed {
    fn len(&self) -> Option<u64> {
        let before = match &self.state {
            State::Untouched { length, .. } => *length,
            State::Taken(stream) => total(&stream.prefix),
        };
        self.rest.map(|rest| before.saturating_add(rest))
    }

    fn is_spent(&self) -> bool {
        matches!(self.state, State::Taken(_)) || self.upload.slot().is_none()
    }

    fn try_clone(&self) -> Option<Self> {
        match &self.state {
            State::Untouched { edit, length } if !self.is_spent() => Some(Self {
                state: State::Untouched { edit: edit.clone(), length: *length },
                rest: self.rest,
                upload: self.upload.clone(),
            }),
            _ => None,
        }
    }

    fn edit(&mut self, by: Edit) {
        match &mut self.state {
            State::Untouched { edit, length } => {
                let (out, into) = (by.span.len() as u64, by.bytes.len() as u64);
                *length = length.saturating_sub(out).saturating_add(into);
                *edit = Some(by);
            }
            State::Taken(stream) => stream.prefix = by.apply(mem::take(&mut stream.prefix)),
        }
    }

    /// Returns what is left of the bytes, taking them at the first time from where clones could do so too.
    ///
    /// # Errors
    /// A clone has done so.
    fn stream(&mut self) -> Result<&mut Stream, RequestBodyError> {
        if let State::Untouched { edit, .. } = &mut self.state {
            let mut stream = self.upload.slot().take().ok_or(RequestBodyError)?;
            if let Some(edit) = edit.take() {
                stream.prefix = edit.apply(stream.prefix);
            }
            self.state = State::Taken(stream);
        }
        match &mut self.state {
            State::Taken(stream) => Ok(stream),
            State::Untouched { .. } => Err(RequestBodyError),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if let Some(slice) = next(&mut self.stream()?.prefix) {
            self.note_end();
            return Poll::Ready(Some(Ok(Frame::data(slice))));
        }
        loop {
            let Some(frame) = ready!(self.stream()?.source.as_mut().poll_frame(cx)).transpose()? else {
                // A body that is shorter than it was said to be must not look whole.
                if self.rest.is_some_and(|rest| rest > 0) {
                    return Poll::Ready(Some(Err(RequestBodyError)));
                }
                self.upload.set_whole();
                return Poll::Ready(None);
            };
            // Trailers are for one hop, and nobody asked for them.
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            if let Some(rest) = &mut self.rest {
                *rest = rest.checked_sub(data.len() as u64).ok_or(RequestBodyError)?;
            }
            self.note_end();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    /// Notes the end, of which hyper does not ask where it knows the length.
    fn note_end(&self) {
        if self.is_end() {
            self.upload.set_whole();
        }
    }

    /// Returns whether the end is known. A source that says so with bytes owing has failed, which a
    /// further poll will tell.
    fn is_end(&self) -> bool {
        match &self.state {
            State::Taken(stream) => self.is_end_of(stream),
            State::Untouched { edit, .. } => {
                let adds = edit.as_ref().is_some_and(|edit| !edit.bytes.is_empty());
                !adds && self.upload.slot().as_ref().is_some_and(|stream| self.is_end_of(stream))
            }
        }
    }

    fn is_end_of(&self, stream: &Stream) -> bool {
        let is_over = match self.rest {
            Some(rest) => rest == 0,
            None => stream.source.is_end_stream(),
        };
        is_over && stream.prefix.iter().all(Bytes::is_empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let slice = match &mut self.pieces {
            Pieces::Few(slices) => slices.iter_mut().find(|slice| !slice.is_empty()).map(mem::take),
            Pieces::Other(other) => match &mut **other {
                Other::Many(slices) => next(slices),
                Other::Streamed(streamed) => return streamed.poll_frame(cx),
            },
        };
        Poll::Ready(slice.map(|slice| Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.pieces {
            Pieces::Few(slices) => slices.iter().all(Bytes::is_empty),
            Pieces::Other(other) => match &**other {
                Other::Many(slices) => slices.iter().all(Bytes::is_empty),
                Other::Streamed(streamed) => streamed.is_end(),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed")
            .field("length", &self.len())
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
