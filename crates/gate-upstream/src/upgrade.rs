//! Leaves HTTP: asks a provider to speak WebSocket on a connection of its own, and hands the bare
//! connection over. It knows the handshake and nothing of what follows.

use std::fmt;
use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use http::header::{HeaderMap, UPGRADE};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::{UpstreamClient, respond};
use crate::endpoint::Endpoint;
use crate::error::{Sent, UpstreamError};
use crate::exchange::Exchange;
use crate::http1::Message;
use crate::pool::Lease;
use crate::request::UpstreamRequest;
use crate::response::{Timings, UpstreamResponse};
use crate::transport::Transport;

/// What a provider made of the wish to speak WebSocket.
#[derive(Debug)]
pub enum Upgrade {
    /// It agreed: HTTP has ended on this connection.
    Switched {
        /// The headers of the 101, those of the handshake among them.
        headers: HeaderMap,
        /// The connection, beginning with the first byte behind the 101.
        io: UpgradedIo,
        /// How long each step took.
        timings: Timings,
    },
    /// It answered in HTTP.
    Refused(UpstreamResponse),
}

impl Upgrade {
    /// Returns how long each step took.
    pub fn timings(&self) -> &Timings {
        match self {
            Self::Switched { timings, .. } => timings,
            Self::Refused(response) => &response.timings,
        }
    }
}

impl UpstreamClient {
    /// Asks for a WebSocket on a new connection, which counts to the pool's cap as long as the
    /// [`UpgradedIo`] lives. The request's `sec-websocket-*` headers are the caller's affair; those
    /// of one connection are written here.
    ///
    /// The connection timeout and `first_byte` apply. Once the provider has agreed there is no
    /// deadline any more: such a session may be silent, and TCP's keepalive finds a dead peer.
    ///
    /// # Errors
    /// As [`send`](Self::send). A refusal is no error.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn upgrade(
        &self,
        endpoint: &Endpoint,
        request: UpstreamRequest,
    ) -> Result<Upgrade, UpstreamError> {
        let exchange = Exchange::start(endpoint, endpoint.timeouts().total);
        let message = request.write_with(endpoint, &[("connection", "Upgrade"), ("upgrade", "websocket")]);
        let message = message.map_err(|fault| exchange.error(Sent::Nothing, fault))?;
        let mut timings = Timings::default();
        let outcome = self.ask_for_upgrade(endpoint, message, exchange, &mut timings).await;
        outcome.map_err(|error| error.after(timings))
    }

    async fn ask_for_upgrade(
        &self,
        endpoint: &Endpoint,
        message: Message,
        mut exchange: Exchange,
        timings: &mut Timings,
    ) -> Result<Upgrade, UpstreamError> {
        let lease = self.lease(endpoint, &mut exchange, timings).await?;
        let turn = lease.turn(exchange.total).await;
        timings.pool_wait += exchange.end_step();
        let (turn, _) = turn.map_err(|fault| exchange.error(Sent::Nothing, fault))?;
        let mut connection = self.dial(endpoint, (&lease, turn), &mut exchange, timings).await?;
        connection.machine.begin(message);
        let head = exchange.head(&mut connection).await;
        timings.first_byte = Some(exchange.end_step());
        let head = head?;

        if head.status == StatusCode::SWITCHING_PROTOCOLS && is_websocket(&head.headers) {
            let io = UpgradedIo::new(connection.into_transport(), lease);
            return Ok(Upgrade::Switched { headers: head.headers, io, timings: *timings });
        }
        Ok(Upgrade::Refused(respond(head, (connection, lease, exchange), timings)))
    }
}

/// Tells whether a 101 switches to WebSocket (RFC 6455 §4.1).
fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// A connection to a provider that speaks HTTP no more. Dropping it closes it.
pub struct UpgradedIo {
    /// What was read together with the head of the answer.
    early: Cursor<Bytes>,
    transport: Transport,
    /// Keeps the place under the pool's cap.
    _lease: Lease,
}

impl UpgradedIo {
    fn new((transport, early): (Transport, Bytes), lease: Lease) -> Self {
        Self { early: Cursor::new(early), transport, _lease: lease }
    }
}

impl fmt::Debug for UpgradedIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradedIo").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl AsyncRead for UpgradedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            return Pin::new(&mut self.early).poll_read(cx, buffer);
        }
        Pin::new(&mut self.transport).poll_read(cx, buffer)
    }
}

impl AsyncWrite for UpgradedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
