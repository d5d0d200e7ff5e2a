//! One request on one connection, up to the response head, under its deadlines.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::{Connection, Machine};
use crate::deadline::{Alarm, after, earlier};
use crate::endpoint::Endpoint;
use crate::error::{Fault, Sent, UpstreamError, UpstreamErrorKind};
use crate::http1::Head;
use crate::settings::Timeouts;

/// What stays the same from the call to the end of the body, whose exchange it is and when it must be over,
/// and where it has got to.
#[derive(Debug)]
pub(crate) struct Exchange {
    endpoint: Endpoint,
    /// When the whole must be over.
    pub(crate) total: Option<Instant>,
    /// When the step began that is under way. The clock is read where a step ends and handed on from there.
    pub(crate) since: Instant,
    /// How often the request was sent again.
    pub(crate) retries: u32,
}

impl Exchange {
    /// Starts the clock of an exchange, which takes no longer than `total`.
    pub(crate) fn start(endpoint: &Endpoint, total: Option<Duration>) -> Self {
        let since = Instant::now();
        Self { endpoint: endpoint.clone(), total: after(since, total), since, retries: 0 }
    }

    /// Returns how long each step may take. The time for the whole may be less than it says here.
    pub(crate) fn timeouts(&self) -> &Timeouts {
        self.endpoint.timeouts()
    }

    /// Ends the step under way and returns how long it took.
    pub(crate) fn end_step(&mut self) -> Duration {
        let begin = self.since;
        self.since = Instant::now();
        self.since.duration_since(begin)
    }

    /// Makes the error that ends this exchange.
    pub(crate) fn error(&self, sent: Sent, fault: Fault) -> UpstreamError {
        UpstreamError::new(self.endpoint.shared_name(), sent, self.retries, fault)
    }

    /// Returns whether the time for the whole is over, as of the beginning of the step.
    pub(crate) fn is_over(&self) -> bool {
        self.total.is_some_and(|total| total <= self.since)
    }

    /// Is ready with what has run out at `now`: `limit` since `since`, which is called `kind`, or the whole.
    pub(crate) fn poll_expired(
        &self,
        alarm: &mut Alarm,
        (since, now): (Instant, Instant),
        (limit, kind): (Option<Duration>, UpstreamErrorKind),
        cx: &mut Context<'_>,
    ) -> Poll<UpstreamErrorKind> {
        let step = after(since, limit);
        let Some(deadline) = earlier(step, self.total) else { return Poll::Pending };
        ready!(alarm.poll(deadline, now, cx));
        Poll::Ready(if step == Some(deadline) { kind } else { UpstreamErrorKind::TotalTimeout })
    }

    /// Waits for the response head of a request that the connection has been given. Part of the request
    /// may still be on its way when it comes; whoever reads the body goes on sending.
    ///
    /// # Errors
    /// The error says whether this connection took any byte.
    ///
    /// # Cancel safety
    /// After the future is dropped the connection is of no further use; dropping that as well closes
    /// it, and the server sees the request cancelled.
    pub(crate) fn head(
        &mut self,
        connection: &mut Connection,
    ) -> impl Future<Output = Result<Head, UpstreamError>> {
        let Connection { wakes, machine, .. } = connection;
        let (mut taken, mut last_write) = (0, self.since);
        poll_fn(move |cx| {
            let outcome =
                ready!(wakes.poll(cx, |cx| self.poll_head(machine, (&mut taken, &mut last_write), cx)));
            Poll::Ready(outcome.map_err(|fault| {
                let sent = if machine.outgoing().taken() == 0 { Sent::Nothing } else { Sent::Maybe };
                self.error(sent, fault)
            }))
        })
    }

    /// `taken` is how much of the request was sent when this was pending last, and `last_write` when it grew.
    fn poll_head(
        &mut self,
        machine: &mut Machine,
        (taken, last_write): (&mut u64, &mut Instant),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Fault>> {
        if let Poll::Ready(outcome) = machine.poll_head(cx) {
            return Poll::Ready(outcome);
        }
        let (now, outgoing) = (Instant::now(), machine.outgoing());
        // While it uploads it is the client who is slow, and its own limits see to that. The provider's
        // time begins when it has the whole request.
        let is_client_slow = outgoing.is_starved();
        if outgoing.taken() != *taken || is_client_slow {
            (*taken, *last_write) = (outgoing.taken(), now);
        }
        let limit = if outgoing.is_blocked() {
            (self.timeouts().write, UpstreamErrorKind::WriteTimeout)
        } else {
            let limit = self.timeouts().first_byte.filter(|_| !is_client_slow);
            (limit, UpstreamErrorKind::FirstByteTimeout)
        };
        self.poll_expired(&mut machine.alarm, (*last_write, now), limit, cx).map(|kind| Err(kind.into()))
    }
}
