//! The byte stream below HTTP: TCP, TLS over it, or a pipe in memory.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// An established connection, of whichever sort.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    /// Boxed: its state is ten times the size of the others.
    Tls(Box<TlsStream<TcpStream>>),
    Memory(DuplexStream),
}

impl Transport {
    /// Returns whether a write that failed may have sent some of its bytes all the same. TLS takes a buffer as
    /// a whole, sends it in as many writes as that needs, and tells of the one that failed.
    pub(crate) fn may_have_sent_before_an_error(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
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
