//! One request on one connection, up to the response head, under its deadlines.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::RequestBody;
use crate::connection::Connection;
use crate::deadline::{Alarm, after, earlier};
use crate::error::{Fault, Sent, UpstreamError, UpstreamErrorKind};
use crate::settings::Timeouts;
use crate::wakes::Wakes;

/// What stays the same from the call to the end of the body: whose exchange it is, and its limits.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) endpoint: Arc<str>,
    pub(crate) timeouts: Timeouts,
    /// When the whole must be over.
    pub(crate) total: Option<Instant>,
    /// How often the request was sent again.
    pub(crate) retries: u32,
    /// Through which everything about it is polled, from the first byte sent to the last one read.
    pub(crate) wakes: Wakes,
    alarm: Alarm,
}

impl Exchange {
    /// Starts the clock of an exchange.
    pub(crate) fn start(endpoint: Arc<str>, timeouts: Timeouts) -> Self {
        let total = after(Instant::now(), timeouts.total);
        Self { endpoint, timeouts, total, retries: 0, wakes: Wakes::new(), alarm: Alarm::default() }
    }

    /// Makes the error that ends this exchange.
    pub(crate) fn error(&self, sent: Sent, fault: Fault) -> UpstreamError {
        UpstreamError::new(&self.endpoint, sent, self.retries, fault)
    }

    /// Returns whether the time for the whole is over at `now`.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.total.is_some_and(|total| total <= now)
    }

    /// Is ready with what has run out: `limit` since `since`, which is called `kind`, or the whole.
    pub(crate) fn poll_expired(
        &mut self,
        since: Instant,
        limit: Option<Duration>,
        kind: UpstreamErrorKind,
        cx: &mut Context<'_>,
    ) -> Poll<UpstreamErrorKind> {
        let step = after(since, limit);
        let Some(deadline) = earlier(step, self.total) else { return Poll::Pending };
        let is_step = step == Some(deadline);
        let expired = if is_step { kind } else { UpstreamErrorKind::TotalTimeout };
        self.alarm.poll(deadline, cx).map(|()| expired)
    }

    /// Sends a request and waits for the response head. Part of the request may still be on its way
    /// when it comes; whoever reads the body goes on sending.
    ///
    /// # Errors
    /// The error says whether this connection took any byte.
    ///
    /// # Cancel safety
    /// After the future is dropped the connection is of no further use; dropping that as well closes
    /// it, and the server sees the request cancelled.
    pub(crate) async fn head(
        &mut self,
        connection: &mut Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let before = connection.progress().bytes();
        let outcome = self.drive_to_head(connection, request, before).await;
        outcome.map_err(|fault| {
            let is_untouched = connection.progress().bytes() == before;
            let sent = if is_untouched { Sent::Nothing } else { Sent::Maybe };
            self.error(sent, fault)
        })
    }

    async fn drive_to_head(
        &mut self,
        connection: &mut Connection,
        request: Request<RequestBody>,
        before: u64,
    ) -> Result<Response<Incoming>, Fault> {
        let upload = request.body().upload();
        let mut head = pin!(connection.send(request));
        let mut written = before;
        let mut last_write = Instant::now();
        let wakes = self.wakes.clone();
        let mut poll = |cx: &mut Context<'_>| {
            // An error of the connection reaches us through `head`, where hyper sends it first.
            let _ = connection.poll_drive(cx);
            if let Poll::Ready(outcome) = head.as_mut().poll(cx) {
                return Poll::Ready(outcome.map_err(Fault::before_head));
            }
            if connection.has_ended() {
                return Poll::Ready(Err(UpstreamErrorKind::Closed.into()));
            }
            let progress = connection.progress();
            if progress.bytes() != written {
                written = progress.bytes();
                last_write = Instant::now();
            }
            let is_uploading = upload.as_ref().is_some_and(|upload| !upload.is_whole());
            let (limit, kind) = if progress.is_blocked() {
                (self.timeouts.write, UpstreamErrorKind::WriteTimeout)
            } else if is_uploading {
                // It is the client who is slow, and its own limits see to that. The provider's time
                // begins when it has the whole request.
                last_write = Instant::now();
                (None, UpstreamErrorKind::FirstByteTimeout)
            } else {
                (self.timeouts.first_byte, UpstreamErrorKind::FirstByteTimeout)
            };
            self.poll_expired(last_write, limit, kind, cx).map(|kind| Err(kind.into()))
        };
        poll_fn(|cx| wakes.poll(cx, &mut poll)).await
    }
}
