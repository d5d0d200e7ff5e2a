//! One answer on its way in.

use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::{Buf as _, Bytes};
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, ReadBuf};

use super::chunked::Chunked;
use super::framing::{self, Framing};
use super::head::{Head, HeadReader};
use crate::error::{Fault, UpstreamErrorKind, Violation};
use crate::transport::Transport;

/// Most bytes that one read takes. It reads to the stack, and what came is copied to its size, so that a
/// connection that waits holds no buffer.
const READ_BYTES: usize = 16 * 1024;

/// Where in an answer its reader is.
#[derive(Default)]
pub(crate) struct Incoming {
    state: State,
    /// What came with the head, and has not been decoded.
    early: Bytes,
    /// Whether the connection may carry another answer after this one, if it is read to its end.
    is_kept_open: bool,
}

#[derive(Default)]
enum State {
    /// There is none, or it has ended.
    #[default]
    Over,
    Head(HeadReader),
    Length(u64),
    Chunked(Chunked),
    Close,
}

impl Incoming {
    /// Makes the reader of a new connection.
    pub(crate) fn new() -> Self {
        Self { is_kept_open: true, ..Self::default() }
    }

    /// Prepares for an answer.
    pub(crate) fn begin(&mut self) {
        *self = Self { state: State::Head(HeadReader::default()), early: Bytes::new(), is_kept_open: false };
    }

    /// Returns whether there is no more of the answer.
    pub(crate) fn is_over(&self) -> bool {
        match &self.state {
            State::Over | State::Length(0) => true,
            State::Chunked(chunked) => chunked.is_over(),
            State::Head(_) | State::Length(_) | State::Close => false,
        }
    }

    /// Returns whether another answer may follow this one, which has ended.
    pub(crate) fn may_follow(&self) -> bool {
        self.is_over() && self.is_kept_open && self.early.is_empty()
    }

    /// Returns how many bytes are still to come, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.state {
            State::Over => Some(0),
            State::Length(left) => Some(*left),
            State::Chunked(chunked) if chunked.is_over() => Some(0),
            State::Head(_) | State::Chunked(_) | State::Close => None,
        }
    }

    /// Takes what came behind the answer, which ended HTTP on this connection.
    pub(crate) fn take_early(&mut self) -> Bytes {
        mem::take(&mut self.early)
    }

    /// Finds out whether anything has come where nothing is due. `Pending` is the good news.
    pub(crate) fn poll_silence(transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_read(transport, cx, |_| ())
    }

    /// Reads the head of the answer to a request with this method.
    ///
    /// # Errors
    /// The connection ended, or what comes is no answer.
    pub(crate) fn poll_head(
        &mut self,
        transport: &mut Transport,
        method: &Method,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Fault>> {
        let State::Head(reader) = &mut self.state else {
            return Poll::Ready(Err(UpstreamErrorKind::Closed.into()));
        };
        loop {
            let read = ready!(poll_read(transport, cx, |bytes| {
                if bytes.is_empty() { None } else { Some(reader.push(bytes)) }
            }));
            let pushed = read
                .map_err(Fault::before_head)?
                .ok_or_else(|| Fault::before_head(io::ErrorKind::UnexpectedEof.into()))?;
            let Some((mut head, early)) = pushed? else { continue };
            let framing = framing::settle(method, &mut head)?;
            // Behind a 101 there is no HTTP any more, asked for or not.
            self.is_kept_open = framing::is_kept_open(head.version, &head.headers)
                && framing != Framing::Close
                && head.status != StatusCode::SWITCHING_PROTOCOLS;
            head.is_close_delimited = framing == Framing::Close;
            self.early = early;
            self.state = match framing {
                Framing::Length(length) => State::Length(length),
                Framing::Chunked => State::Chunked(Chunked::default()),
                Framing::Close => State::Close,
            };
            return Poll::Ready(Ok(head));
        }
    }

    /// Reads the next piece of the body; `None` is its end.
    ///
    /// # Errors
    /// The connection ended before the body did, or the body is malformed.
    pub(crate) fn poll_data(
        &mut self,
        transport: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            if let Some(data) = self.take_early_data()? {
                return Poll::Ready(Some(Ok(data)));
            }
            if let State::Chunked(chunked) = &self.state {
                // What is known to be broken is not waited for: the server may keep the connection open.
                chunked.check()?;
            }
            if self.is_over() {
                return Poll::Ready(None);
            }
            let read = ready!(poll_read(transport, cx, |bytes| {
                if bytes.is_empty() { None } else { Some(self.decode(bytes)) }
            }));
            match read.map_err(Fault::mid_body)? {
                Some(Ok(data)) if data.is_empty() => {}
                Some(decoded) => return Poll::Ready(Some(decoded.map_err(Fault::from))),
                None if matches!(self.state, State::Close) => self.state = State::Over,
                None => return Poll::Ready(Some(Err(Fault::mid_body(io::ErrorKind::UnexpectedEof.into())))),
            }
        }
    }

    /// Takes the data that came with the head. It shares memory with the head, where it is one piece as it is.
    fn take_early_data(&mut self) -> Result<Option<Bytes>, Violation> {
        if self.early.is_empty() {
            return Ok(None);
        }
        let data = match &mut self.state {
            State::Over | State::Head(_) => return Ok(None),
            State::Close => mem::take(&mut self.early),
            State::Length(left) => {
                let length = take_from(left, &self.early);
                self.early.split_to(length)
            }
            State::Chunked(chunked) => {
                let (data, length) = chunked.decode(&self.early)?;
                self.early.advance(length);
                data
            }
        };
        Ok(Some(data).filter(|data| !data.is_empty()))
    }

    /// Returns the data in bytes that were read.
    fn decode(&mut self, bytes: &[u8]) -> Result<Bytes, Violation> {
        let (data, length) = match &mut self.state {
            State::Over | State::Head(_) => (Bytes::new(), 0),
            State::Close => (Bytes::copy_from_slice(bytes), bytes.len()),
            State::Length(left) => {
                let length = take_from(left, bytes);
                (bytes.get(..length).map(Bytes::copy_from_slice).unwrap_or_default(), length)
            }
            State::Chunked(chunked) => chunked.decode(bytes)?,
        };
        // Whatever comes behind an answer that nobody asked for more of, the next would be read from it.
        self.is_kept_open &= length == bytes.len();
        Ok(data)
    }
}

impl fmt::Debug for Incoming {
    /// Does not show what has come.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("is_over", &self.is_over())
            .field("length", &self.length())
            .field("is_kept_open", &self.is_kept_open)
            .finish_non_exhaustive()
    }
}

/// Returns how many of these bytes belong to a body, of which so many are still to come.
fn take_from(left: &mut u64, bytes: &[u8]) -> usize {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    // A `usize` is at most 64 bits wide, so nothing is lost.
    *left -= length as u64;
    length
}

/// Reads once, and returns what is made of the bytes; there are none at the end.
fn poll_read<T>(
    transport: &mut Transport,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut room);
    ready!(Pin::new(transport).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(take(buffer.filled())))
}
