//! A response body that drives its own connection: polling it moves the bytes, its end gives the
//! connection back, and dropping it early closes the connection, which cancels the request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::connection::{Connection, Machine};
use crate::error::{Fault, Sent, UpstreamError, UpstreamErrorKind};
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
    /// `None` once the body has ended or failed.
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    // Declared before the lease, and so closed before another request may open one.
    connection: Box<Connection>,
    lease: Lease,
    /// A step of it is from one piece to the next.
    exchange: Exchange,
}

impl UpstreamBody {
    pub(crate) fn new(connection: Box<Connection>, lease: Lease, exchange: Exchange) -> Self {
        let mut body = Self { live: Some(Live { connection, lease, exchange }) };
        // An empty body is never polled.
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    /// Gives the connection back. Called with the last piece of data rather than after it, since a
    /// reader who knows the length does not ask again.
    fn finish(&mut self) {
        if let Some(Live { connection, lease, exchange }) = self.live.take() {
            lease.release(connection, exchange.since);
        }
    }

    /// Closes the connection and makes the error of it.
    fn fail(&mut self, fault: Fault) -> Option<UpstreamError> {
        self.live.take().map(|live| live.exchange.error(Sent::Maybe, fault))
    }
}

impl Exchange {
    fn poll_data(
        &mut self,
        machine: &mut Machine,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Poll::Ready(outcome) = machine.poll_data(cx) {
            self.end_step();
            // The timer below is for silence; a provider that never pauses does not get there.
            let is_over = matches!(outcome, Some(Ok(_))) && self.is_over();
            let over = || Some(Err(UpstreamErrorKind::TotalTimeout.into()));
            return Poll::Ready(if is_over { over() } else { outcome });
        }
        let limit = (self.timeouts().read, UpstreamErrorKind::ReadTimeout);
        let expired = self.poll_expired(&mut machine.alarm, (self.since, Instant::now()), limit, cx);
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
        let Some(Live { connection, exchange, .. }) = &mut self.live else { return Poll::Ready(None) };
        let Connection { wakes, machine, .. } = &mut **connection;
        let outcome = match ready!(wakes.poll(cx, |cx| exchange.poll_data(machine, cx))) {
            Some(Ok(data)) => {
                if machine.incoming().is_over() {
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
        self.live.as_ref().is_none_or(|live| live.connection.machine.incoming().is_over())
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.live.as_ref().map_or(Some(0), |live| live.connection.machine.incoming().length());
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
