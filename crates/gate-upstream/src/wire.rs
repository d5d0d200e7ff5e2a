//! The byte stream below HTTP: it counts what the transport took, sees when it takes no more, keeps a
//! broken write side from hiding an answer that has already come, and bounds an answer's head.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::answer_head::AnswerHead;

/// An established connection, of whichever sort.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    /// Boxed: its state is ten times the size of the others.
    Tls(Box<TlsStream<TcpStream>>),
    Memory(DuplexStream),
}

/// What is known about the write side, and what is expected of the read side. Hyper owns the
/// [`Wire`], so this is shared; only one task at a time works on a connection, so that relaxed order
/// is enough.
#[derive(Debug, Default)]
pub(crate) struct WireState {
    bytes: AtomicU64,
    is_blocked: AtomicBool,
    is_head_due: AtomicBool,
}

impl WireState {
    /// Returns how many bytes the transport has taken. Over TLS this is plain text, and so never
    /// less than what is on its way.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Returns whether the transport had no room at the last attempt.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Relaxed)
    }

    /// Makes the wire take what is read next for the head of an answer.
    pub(crate) fn expect_head(&self) {
        self.is_head_due.store(true, Relaxed);
    }

    fn record(&self, written: usize) {
        // A `usize` is at most 64 bits wide, so nothing is lost.
        self.bytes.store(self.bytes() + written as u64, Relaxed);
        self.is_blocked.store(false, Relaxed);
    }
}

/// A transport under observation.
#[derive(Debug)]
pub(crate) struct Wire {
    transport: Transport,
    progress: Arc<WireState>,
    is_write_lost: bool,
    /// The head that is being read, if it is one.
    head: Option<AnswerHead>,
}

impl Wire {
    pub(crate) fn new(transport: Transport, progress: Arc<WireState>) -> Self {
        Self { transport, progress, is_write_lost: false, head: None }
    }

    /// Gives the transport back, for a protocol that has its own ways to end.
    pub(crate) fn into_transport(self) -> Transport {
        self.transport
    }

    /// Turns the outcome of a write into what HTTP is told.
    ///
    /// A server may answer and close before it has read the whole request, as with a 413 for a large
    /// body (RFC 9112 §9.6). Then our next write fails although the answer lies ready to be read,
    /// and hyper, told of the failure, would throw the answer away. So a lost write side reads as
    /// "no room", and the read side, which hyper always watches meanwhile, brings the answer or the
    /// end.
    fn settle<T>(&mut self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Err(error)) if is_disconnect(&error) => {
                self.is_write_lost = true;
                Poll::Pending
            }
            Poll::Pending => {
                self.progress.is_blocked.store(true, Relaxed);
                Poll::Pending
            }
            outcome => outcome,
        }
    }

    /// Looks at what was just read, as long as a head is due.
    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.progress.is_head_due.swap(false, Relaxed) {
            self.head = Some(AnswerHead::default());
        }
        let Some(head) = &mut self.head else { return Ok(()) };
        let has_ended = head.ends_in(bytes);
        if has_ended.unwrap_or(true) {
            self.head = None;
        }
        has_ended.map(drop).map_err(|violation| io::Error::new(io::ErrorKind::InvalidData, violation))
    }

    fn count(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = outcome {
            self.progress.record(written);
        }
        self.settle(outcome)
    }
}

fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
}

/// Calls a method on whichever stream the transport is.
macro_rules! delegate {
    ($transport:expr, $trait:ident :: $method:ident ( $($argument:expr),* )) => {
        match $transport {
            Transport::Tcp(stream) => $trait::$method(Pin::new(stream), $($argument),*),
            Transport::Tls(stream) => $trait::$method(Pin::new(stream), $($argument),*),
            Transport::Memory(stream) => $trait::$method(Pin::new(stream), $($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), AsyncRead::poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), AsyncWrite::poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), AsyncWrite::poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), AsyncWrite::poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), AsyncWrite::poll_shutdown(cx))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(AsyncRead::poll_read(Pin::new(&mut self.transport), cx, buffer))?;
        Poll::Ready(self.look(buffer.filled().get(before..).unwrap_or_default()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_write_lost {
            return Poll::Pending;
        }
        let outcome = AsyncWrite::poll_write(Pin::new(&mut self.transport), cx, bytes);
        self.count(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_write_lost {
            return Poll::Pending;
        }
        let outcome = AsyncWrite::poll_write_vectored(Pin::new(&mut self.transport), cx, slices);
        self.count(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_lost {
            return Poll::Pending;
        }
        let outcome = AsyncWrite::poll_flush(Pin::new(&mut self.transport), cx);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            self.progress.is_blocked.store(false, Relaxed);
        }
        self.settle(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_lost {
            return Poll::Ready(Ok(()));
        }
        AsyncWrite::poll_shutdown(Pin::new(&mut self.transport), cx)
    }
}
