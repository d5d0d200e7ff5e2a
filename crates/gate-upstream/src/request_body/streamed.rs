//! A body that passes only once. It has clones, until one of them is polled: that one has the bytes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::{fmt, mem};

use bytes::Bytes;

use super::{BodySource, RequestBodyError, next, total};

pub(super) struct Streamed {
    state: State,
    /// How many bytes the source still has to give, where that is known.
    rest: Option<u64>,
    slot: Slot,
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
pub(super) struct Edit {
    span: Range<usize>,
    bytes: Bytes,
}

struct Stream {
    prefix: VecDeque<Bytes>,
    source: BodySource,
}

/// Where the bytes are until the first poll of any clone takes them.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<Stream>>>);

impl Slot {
    /// A source that panicked is as broken as one that failed, and says so itself.
    fn lock(&self) -> MutexGuard<'_, Option<Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Edit {
    pub(super) fn new(span: Range<usize>, bytes: Bytes) -> Self {
        Self { span, bytes }
    }

    pub(super) fn splice(self, slice: &Bytes) -> [Bytes; 3] {
        [slice.slice(..self.span.start), self.bytes, slice.slice(self.span.end..)]
    }

    pub(super) fn apply(self, mut slices: VecDeque<Bytes>) -> VecDeque<Bytes> {
        let first = slices.pop_front().unwrap_or_default();
        self.splice(&first).into_iter().chain(slices).collect()
    }
}

impl Streamed {
    pub(super) fn new(prefix: VecDeque<Bytes>, source: BodySource, rest: Option<u64>) -> Self {
        let state = State::Untouched { edit: None, length: total(&prefix) };
        Self { state, rest, slot: Slot(Arc::new(Mutex::new(Some(Stream { prefix, source })))) }
    }

    pub(super) fn len(&self) -> Option<u64> {
        let before = match &self.state {
            State::Untouched { length, .. } => *length,
            State::Taken(stream) => total(&stream.prefix),
        };
        self.rest.map(|rest| before.saturating_add(rest))
    }

    pub(super) fn is_spent(&self) -> bool {
        matches!(self.state, State::Taken(_)) || self.slot.lock().is_none()
    }

    pub(super) fn try_clone(&self) -> Option<Self> {
        match &self.state {
            State::Untouched { edit, length } if !self.is_spent() => Some(Self {
                state: State::Untouched { edit: edit.clone(), length: *length },
                rest: self.rest,
                slot: self.slot.clone(),
            }),
            _ => None,
        }
    }

    pub(super) fn edit(&mut self, by: Edit) {
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
            let mut stream = self.slot.lock().take().ok_or(RequestBodyError)?;
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

    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, RequestBodyError>>> {
        if let Some(slice) = next(&mut self.stream()?.prefix) {
            return Poll::Ready(Some(Ok(slice)));
        }
        loop {
            let Some(frame) = ready!(self.stream()?.source.as_mut().poll_frame(cx)).transpose()? else {
                // A body that is shorter than it was said to be must not look whole.
                if self.rest.is_some_and(|rest| rest > 0) {
                    return Poll::Ready(Some(Err(RequestBodyError)));
                }
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
            return Poll::Ready(Some(Ok(data)));
        }
    }

    /// Returns whether the end is known. A source that says so with bytes owing has failed, which a
    /// further poll will tell.
    pub(super) fn is_end(&self) -> bool {
        match &self.state {
            State::Taken(stream) => self.is_end_of(stream),
            State::Untouched { edit, .. } => {
                let adds = edit.as_ref().is_some_and(|edit| !edit.bytes.is_empty());
                !adds && self.slot.lock().as_ref().is_some_and(|stream| self.is_end_of(stream))
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

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed")
            .field("length", &self.len())
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
