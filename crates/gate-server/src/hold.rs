//! The beginning of a stream that is held back while another target could still answer: until its first
//! content the client has seen nothing, so a stream that fails before can be replaced by another's.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use gate_upstream::{UpstreamBody, UpstreamError, UpstreamErrorKind, UpstreamResponse};
use gate_usage::ContentType;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::balance::Hold;
use crate::content;
use crate::error::StreamDialect;

mod beginning;

use beginning::{Beginning, Sight};

/// What was read of an answer before anybody decided that it is the client's. Boxed where there is anything:
/// of most answers there is nothing, and this goes with each of them.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Box<Beginnings>>);

#[derive(Debug, Default)]
struct Beginnings {
    /// The pieces in reverse order, as they came.
    pieces: Vec<Bytes>,
    error: Option<UpstreamError>,
    /// The status that a failure before the first content stands for.
    status: Option<u16>,
}

/// An answer's body behind what was held of it: byte for byte what the provider sent.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Nothing once it has been handed out, and where nothing was held.
    held: Held,
    body: UpstreamBody,
}

/// What tells that a body is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    OfFraming,
    /// It cannot be told from a break.
    OfConnection,
}

/// Reads an event stream up to its first content, its end, or a limit.
pub(crate) async fn hold(response: &mut UpstreamResponse, dialect: StreamDialect, limit: Hold) -> Held {
    if content::type_of_answer(&response.headers) == ContentType::EventStream {
        // At the limit it is the client's, whatever it will be.
        let end = if response.is_close_delimited { End::OfConnection } else { End::OfFraming };
        let mut held = Box::<Beginnings>::default();
        let _ = timeout(limit.time, held.read(&mut response.body, dialect, limit.bytes, end)).await;
        held.pieces.reverse();
        return Held(Some(held));
    }
    Held::default()
}

impl Held {
    /// Returns the status that a failure before the first content stands for.
    pub(crate) fn status(&self) -> Option<u16> {
        self.0.as_ref()?.status
    }

    /// Reads what is left of an answer's body; returns whether it is no longer than `limit` in all. An error
    /// is kept as its end.
    pub(crate) async fn read_rest(&mut self, body: &mut UpstreamBody, limit: usize) -> bool {
        let held = self.0.get_or_insert_default();
        let mut length: usize = held.pieces.iter().map(Bytes::len).sum();
        let mut rest = Vec::new();
        // After an error there is nothing.
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => {
                    length += data.len();
                    rest.push(data);
                }
                Ok(Err(_)) => {}
                Err(error) => held.error = Some(error),
            }
            if length > limit {
                return false;
            }
        }
        held.pieces.splice(0..0, rest.into_iter().rev());
        true
    }
}

impl Beginnings {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.error.is_none()
    }

    /// What was read before a cancellation stays in `self`.
    async fn read(&mut self, body: &mut UpstreamBody, dialect: StreamDialect, limit: usize, end: End) {
        let mut beginning = Beginning::new(dialect);
        let mut length = 0;
        while length < limit {
            match body.frame().await {
                // In due form, but without anything: what that means is for the relay to say. What ends
                // with its connection says what it has to say before, or has broken off.
                None => {
                    self.status = (end == End::OfConnection).then_some(502);
                    return;
                }
                Some(Err(error)) => {
                    self.status = Some(match error.kind() {
                        UpstreamErrorKind::ReadTimeout | UpstreamErrorKind::TotalTimeout => 504,
                        _ => 502,
                    });
                    self.error = Some(error);
                    return;
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    length += data.len();
                    let sight = beginning.push(&data);
                    self.pieces.push(data);
                    match sight {
                        Sight::Nothing => {}
                        Sight::Content => return,
                        Sight::Error(status) => {
                            self.status = Some(status);
                            return;
                        }
                    }
                }
            }
        }
    }
}

impl Replay {
    pub(crate) fn new(held: Held, body: UpstreamBody) -> Self {
        Self { held: Held(held.0.filter(|held| !held.is_empty())), body }
    }
}

impl From<UpstreamBody> for Replay {
    fn from(body: UpstreamBody) -> Self {
        Self { held: Held::default(), body }
    }
}

impl Body for Replay {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Some(held) = &mut self.held.0 else { return Pin::new(&mut self.body).poll_frame(cx) };
        let piece = held.pieces.pop().map(|piece| Ok(Frame::data(piece)));
        let next = piece.or_else(|| held.error.take().map(Err));
        if held.is_empty() {
            self.held = Held::default();
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.held.0.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(held) = &self.held.0 else { return self.body.size_hint() };
        let (pieces, rest) = (held.pieces.iter().map(Bytes::len).sum::<usize>(), self.body.size_hint());
        let pieces = u64::try_from(pieces).unwrap_or(u64::MAX);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(pieces));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(pieces));
        }
        hint
    }
}
