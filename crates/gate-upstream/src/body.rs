//! A response body that drives its own connection: polling it moves the bytes, its end gives the
//! connection back, and dropping it early closes the connection, which cancels the request.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::{Fault, Sent, UpstreamError, UpstreamErrorKind, is_request_body};
use crate::exchange::Exchange;
use crate::pool::Lease;
use crate::wakes::Wakes;

/// The body of an [`UpstreamResponse`](crate::UpstreamResponse).
///
/// It yields data as it comes and never trailers. After an error it has ended. An error does not
/// take back what was yielded before it.
///
/// A body that nobody polls makes no progress and notices no deadline: the limits are for the
/// provider, and a reader who does not read needs a limit of its own. The one for the whole exchange
/// holds all the same: once it has passed, what is still to come is not handed out.
#[derive(Debug)]
pub struct UpstreamBody {
    wakes: Wakes,
    transfer: Transfer,
}

/// What comes over the connection, and the connection.
#[derive(Debug)]
struct Transfer {
    incoming: Incoming,
    /// `None` once the body has ended or failed.
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    // Declared before the lease, and so closed before another request may open one.
    connection: Box<Connection>,
    lease: Lease,
    /// Boxed: it is most of a body, and a body is moved around before it is read.
    exchange: Box<Exchange>,
    last_data: Instant,
    /// Whether the request's own source failed, so that the provider cannot be blamed.
    is_request_broken: bool,
}

impl UpstreamBody {
    pub(crate) fn new(
        incoming: Incoming,
        connection: Box<Connection>,
        lease: Lease,
        exchange: Exchange,
    ) -> Self {
        let wakes = exchange.wakes.clone();
        let (exchange, last_data) = (Box::new(exchange), Instant::now());
        let live = Live { connection, lease, exchange, last_data, is_request_broken: false };
        let mut transfer = Transfer { incoming, live: Some(live) };
        // An empty body is never polled.
        if transfer.incoming.is_end_stream() {
            transfer.finish();
        }
        Self { wakes, transfer }
    }
}

impl Transfer {
    /// Gives the connection back. Called with the last piece of data rather than after it, since a
    /// reader who knows the length does not ask again.
    fn finish(&mut self) {
        if let Some(live) = self.live.take() {
            live.lease.release(live.connection);
        }
    }

    /// Closes the connection and makes the error of it.
    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let live = self.live.take();
        Poll::Ready(live.map(|live| Err(live.exchange.error(Sent::Maybe, fault))))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Some(live) = &mut self.live else { return Poll::Ready(None) };
        // The connection first: it fills the one slot that `incoming` then takes from. If it fails,
        // `incoming` tells, after the data that came before.
        if let Poll::Ready(Err(error)) = live.connection.poll_drive(cx) {
            live.is_request_broken = is_request_body(&error);
        }
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are for the next hop only if it asked for them, and nobody did.
                    let Ok(data) = frame.into_data() else { continue };
                    live.last_data = Instant::now();
                    // The timer below is for silence; a provider that never pauses does not get there.
                    if live.exchange.is_over(live.last_data) {
                        return self.fail(UpstreamErrorKind::TotalTimeout.into());
                    }
                    if self.incoming.is_end_stream() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(_))) if live.is_request_broken => {
                    return self.fail(UpstreamErrorKind::RequestBody.into());
                }
                Poll::Ready(Some(Err(error))) => return self.fail(Fault::mid_body(error)),
                Poll::Ready(None) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                // Hyper ends `incoming` before the connection; if it ever did not, nobody would wake us.
                Poll::Pending if live.connection.has_ended() => {
                    return self.fail(UpstreamErrorKind::ClosedMidBody.into());
                }
                Poll::Pending => break,
            }
        }
        let (since, limit) = (live.last_data, live.exchange.timeouts.read);
        match live.exchange.poll_expired(since, limit, UpstreamErrorKind::ReadTimeout, cx) {
            Poll::Ready(kind) => self.fail(kind.into()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Self { wakes, transfer } = &mut *self;
        wakes.poll(cx, |cx| transfer.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.transfer.live.is_none() || self.transfer.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.transfer.incoming.size_hint()
    }
}
