//! One request on its way out.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::Method;
use tokio::io::AsyncWrite;

use crate::RequestBody;
use crate::transport::Transport;

/// Most pieces that one write hands over.
const WRITE_PIECES: usize = 16;

/// How many bytes are gathered before they are written, where the body is there in pieces.
const GATHERED_BYTES: usize = 16 * 1024;

/// A request as it goes out.
pub(crate) struct Message {
    pub(crate) method: Method,
    /// The request line and the headers, framing included, up to the empty line.
    pub(crate) head: Bytes,
    pub(crate) body: RequestBody,
}

impl fmt::Debug for Message {
    /// Does not show the head, which has a key in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("method", &self.method)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// Why a request cannot go on.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The transport takes no more, and not because the server is gone.
    Transport(io::Error),
    /// The source of the body failed.
    Source,
}

/// How far a request has got.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// What is to be written next, in order.
    queue: VecDeque<Bytes>,
    /// What comes after it. `None` once all of it is in the queue.
    body: Option<RequestBody>,
    /// How many bytes the transport has taken. Over TLS this is plain text. It is 0 only if nothing is on its
    /// way.
    taken: u64,
    is_chunked: bool,
    /// Whether the body came from a source.
    passes_once: bool,
    is_unflushed: bool,
    /// Whether the transport had no room at the last attempt.
    is_blocked: bool,
    /// Whether the server takes no more.
    is_lost: bool,
}

impl Outgoing {
    /// Gives it a request. Nothing is written yet.
    pub(crate) fn begin(&mut self, message: Message) {
        self.is_chunked = message.body.len().is_none();
        self.taken = 0;
        self.queue.push_back(message.head);
        self.body = Some(message.body).filter(|body| !body.is_empty());
        self.passes_once = self.body.as_ref().is_some_and(RequestBody::passes_once);
    }

    /// Returns the head and the body of a request of which the transport took nothing, to be sent elsewhere.
    /// `None` if it took something, or if the body passes only once and somebody has begun to take it.
    pub(crate) fn take_back(&mut self) -> Option<(Bytes, RequestBody)> {
        let body = self.body.take();
        if self.taken > 0 || (self.passes_once && body.as_ref().is_none_or(RequestBody::is_spent)) {
            return None;
        }
        let head = self.queue.pop_front()?;
        Some((head, body.unwrap_or_default().behind(self.queue.drain(..))))
    }

    /// Returns how many bytes of the request the transport has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns whether it waits for the transport to have room.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Returns whether it waits for whoever sends the body.
    pub(crate) fn is_starved(&self) -> bool {
        !self.is_lost && self.queue.is_empty() && self.body.is_some()
    }

    /// Returns whether the transport has taken the whole request.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_lost && self.queue.is_empty() && self.body.is_none() && !self.is_unflushed
    }

    /// Writes as far as it goes.
    ///
    /// A server may answer and close before it has read the whole request, as with a 413 for a large body
    /// (RFC 9112 §9.6). Then our next write fails although the answer lies ready to be read. So a write that
    /// finds the server gone is the end of writing and no error: reading brings the answer, or the end.
    ///
    /// # Errors
    /// The request breaks off.
    pub(crate) fn poll(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Result<(), Broken> {
        let outcome = self.poll_write(transport, cx);
        if matches!(outcome, Err(Broken::Transport(_))) && transport.may_have_sent_before_an_error() {
            self.taken = self.taken.max(1);
        }
        match outcome {
            Err(Broken::Transport(error)) if is_disconnect(&error) => {
                self.is_lost = true;
                self.is_blocked = false;
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn poll_write(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.is_lost {
            return Ok(());
        }
        let mut transport = Pin::new(transport);
        loop {
            self.fill(cx)?;
            if self.queue.is_empty() {
                break;
            }
            let mut pieces = [IoSlice::new(&[]); WRITE_PIECES];
            let mut count = 0;
            for (slot, piece) in pieces.iter_mut().zip(&self.queue) {
                *slot = IoSlice::new(piece);
                count += 1;
            }
            let written = transport.as_mut().poll_write_vectored(cx, pieces.get(..count).unwrap_or_default());
            match written.map_err(Broken::Transport)? {
                Poll::Ready(written) => self.advance(written)?,
                Poll::Pending => {
                    self.is_blocked = true;
                    return Ok(());
                }
            }
        }
        if self.is_unflushed {
            let flushed = transport.poll_flush(cx).map_err(Broken::Transport)?;
            self.is_unflushed = flushed.is_pending();
            self.is_blocked = self.is_unflushed;
        }
        Ok(())
    }

    /// Queues what there is of the body, up to a bound.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        while let Some(body) = &mut self.body {
            if self.queue.len() >= WRITE_PIECES
                || self.queue.iter().map(Bytes::len).sum::<usize>() >= GATHERED_BYTES
            {
                return Ok(());
            }
            match body.poll_pieces(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Err(_))) => return Err(Broken::Source),
                Poll::Ready(Some(Ok(pieces))) => {
                    let is_end = body.is_end();
                    self.queue_pieces(pieces);
                    if is_end {
                        self.end_body();
                    }
                }
                Poll::Ready(None) => self.end_body(),
            }
        }
        Ok(())
    }

    fn queue_pieces(&mut self, pieces: [Bytes; 3]) {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        if self.is_chunked {
            let mut line = Vec::with_capacity(18);
            // Writing to memory does not fail.
            let _ = write!(line, "{length:x}\r\n");
            self.queue.push_back(line.into());
        }
        self.queue.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        if self.is_chunked {
            self.queue.push_back(Bytes::from_static(b"\r\n"));
        }
    }

    fn end_body(&mut self) {
        self.body = None;
        if self.is_chunked {
            self.queue.push_back(Bytes::from_static(b"0\r\n\r\n"));
        }
    }

    /// Takes what was written from the queue.
    fn advance(&mut self, mut written: usize) -> Result<(), Broken> {
        if written == 0 {
            return Err(Broken::Transport(io::ErrorKind::WriteZero.into()));
        }
        // A `usize` is at most 64 bits wide, so nothing is lost.
        self.taken += written as u64;
        (self.is_blocked, self.is_unflushed) = (false, true);
        while let Some(piece) = self.queue.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                break;
            }
            written -= piece.len();
            self.queue.pop_front();
        }
        Ok(())
    }
}

impl fmt::Debug for Outgoing {
    /// Does not show what is queued, which has a key in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("taken", &self.taken)
            .field("is_over", &self.is_over())
            .field("is_blocked", &self.is_blocked)
            .finish_non_exhaustive()
    }
}

fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

#[cfg(test)]
mod tests;
