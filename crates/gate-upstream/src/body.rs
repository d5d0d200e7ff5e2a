//! A response body that drives its own connection: polling it moves the bytes, its end gives the
//! connection back, and dropping it early closes the connection, which cancels the request.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::connection::{Connection, Machine};
use crate::error::{Fault, Sent, UpstreamError, UpstreamErrorKind, is_request_body};
use crate::exchange::Exchange;
use crate::pool::Lease;

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
    incoming: Incoming,
    /// `None` once the body has ended or failed.
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    // Declared before the lease, and so closed before another request may open one.
    connection: Box<Connection>,
    lease: Lease,
    transfer: Transfer,
}

/// What is known of a body on its way. A step of its exchange is from one piece to the next.
#[derive(Debug)]
struct Transfer {
    exchange: Exchange,
    /// Whether the connection has moved all that it can. It has when the head is there: often all of the
    /// body came with it.
    is_driven: bool,
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
        let transfer = Transfer { exchange, is_driven: true, is_request_broken: false };
        let mut body = Self { incoming, live: Some(Live { connection, lease, transfer }) };
        // An empty body is never polled.
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    /// Gives the connection back. Called with the last piece of data rather than after it, since a
    /// reader who knows the length does not ask again.
    fn finish(&mut self) {
        if let Some(Live { connection, lease, transfer }) = self.live.take() {
            lease.release(connection, transfer.exchange.since);
        }
    }

    /// Closes the connection and makes the error of it.
    fn fail(&mut self, fault: Fault) -> Option<UpstreamError> {
        self.live.take().map(|live| live.transfer.exchange.error(Sent::Maybe, fault))
    }
}

impl Transfer {
    fn poll_data(
        &mut self,
        incoming: &mut Incoming,
        machine: &mut Machine,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            // The connection first: it fills the one slot that `incoming` then takes from. If it fails,
            // `incoming` tells, after the data that came before.
            let was_driven = mem::take(&mut self.is_driven);
            if !was_driven && let Poll::Ready(Err(error)) = machine.poll_drive(cx) {
                self.is_request_broken = is_request_body(&error);
            }
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are for the next hop only if it asked for them, and nobody did.
                    let Ok(data) = frame.into_data() else { continue };
                    self.exchange.end_step();
                    // The timer below is for silence; a provider that never pauses does not get there.
                    let is_over = self.exchange.is_over();
                    let over = UpstreamErrorKind::TotalTimeout;
                    return Poll::Ready(Some(if is_over { Err(over.into()) } else { Ok(data) }));
                }
                Poll::Ready(Some(Err(_))) if self.is_request_broken => {
                    return Poll::Ready(Some(Err(UpstreamErrorKind::RequestBody.into())));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Fault::mid_body(error)))),
                Poll::Ready(None) => {
                    self.exchange.end_step();
                    return Poll::Ready(None);
                }
                Poll::Pending if was_driven => {}
                // Hyper ends `incoming` before the connection; if it ever did not, nobody would wake us.
                Poll::Pending if machine.has_ended() => {
                    return Poll::Ready(Some(Err(UpstreamErrorKind::ClosedMidBody.into())));
                }
                Poll::Pending => break,
            }
        }
        let limit = (self.exchange.timeouts().read, UpstreamErrorKind::ReadTimeout);
        let times = (self.exchange.since, Instant::now());
        let expired = self.exchange.poll_expired(&mut machine.alarm, times, limit, cx);
        expired.map(|kind| Some(Err(kind.into())))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Self { incoming, live: Some(Live { connection, transfer, .. }) } = &mut *self else {
            return Poll::Ready(None);
        };
        let Connection { wakes, machine, .. } = &mut **connection;
        let outcome = match ready!(wakes.poll(cx, |cx| transfer.poll_data(incoming, machine, cx))) {
            Some(Ok(data)) => {
                if incoming.is_end_stream() {
                    self.finish();
                }
                Some(Ok(Frame::data(data)))
            }
            Some(Err(fault)) => self.fail(fault).map(Err),
            None => {
                self.finish();
                None
            }
        };
        Poll::Ready(outcome)
    }

    fn is_end_stream(&self) -> bool {
        self.live.is_none() || self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
