//! Passes an upstream's answer on as it comes, reads the usage from it, and never shows a broken
//! one as whole.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gate_balance::Attempt;
use gate_upstream::{UpstreamError, UpstreamErrorKind};
use gate_usage::{EndReason, Estimate, Meter, UsageSource};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::body::BrokenBody;
use crate::drains::Drains;
use crate::error::{ErrorCode, StreamDialect, error_event};
use crate::exchange::Exchange;
use crate::extra_frame::ExtraFrame;
use crate::failure;
use crate::hold::Replay;
use crate::journey;
use crate::lazy_timer::LazyTimer;
use crate::panics;
use crate::shutdown::{EndWatch, InFlight};

/// An answer on its way from an upstream to a client.
#[derive(Debug)]
pub(crate) struct Relay {
    upstream: Replay,
    /// Whose answer it is; a place among the provider's requests, until this is dropped.
    attempt: Option<Attempt>,
    meter: Box<Meter>,
    estimate: Option<Box<Estimate>>,
    framing: Framing,
    state: State,
    extra_frame: Option<ExtraFrame>,
    keepalive: Option<Keepalive>,
    drains: Option<Arc<Drains>>,
    end_watch: EndWatch,
    in_flight: InFlight,
    exchange: Box<Exchange>,
}

/// What tells whether an answer is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    /// The dialect of errors inside the stream; `None` where the answer is no event stream.
    pub(crate) stream: Option<StreamDialect>,
    /// Whether only the content tells: the upstream marks the end by closing, so that a cut looks
    /// like an end.
    pub(crate) needs_terminal: bool,
}

/// What the configuration wants done to an answer besides relaying it.
#[derive(Debug, Default)]
pub(crate) struct Treatment {
    /// The attempt whose answer it is.
    pub(crate) attempt: Option<Attempt>,
    /// After how much silence an event stream gets a comment line.
    pub(crate) keepalive: Option<Duration>,
    /// Who reads the answer to its end if the client leaves; nobody, if it is to be cancelled.
    pub(crate) drains: Option<Arc<Drains>>,
    /// What takes the usage out of an event stream that the client did not ask for.
    pub(crate) extra_frame: Option<ExtraFrame>,
    /// The guess at the usage, for an answer that reports none.
    pub(crate) estimate: Option<Box<Estimate>>,
}

/// Breaks the silence of an event stream, so that no load balancer takes it for dead. It looks at
/// what the client is sent: the provider's own clock is not touched by it.
#[derive(Debug)]
struct Keepalive {
    interval: Duration,
    last_sent: Instant,
    timer: LazyTimer,
}

/// A comment, which every reader of event streams passes over.
const KEEPALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

#[derive(Debug)]
enum State {
    Streaming,
    /// The upstream failed: this event goes out first.
    Telling(Bytes),
    /// hyper drops what it has not flushed when a body fails, so it gets one turn to flush.
    Flushing,
    Failing,
    Done,
}

/// Why an answer stops before its end.
struct Break {
    code: ErrorCode,
    reason: EndReason,
    message: &'static str,
}

impl Relay {
    pub(crate) fn new(
        upstream: Replay,
        meter: Box<Meter>,
        framing: Framing,
        treatment: Treatment,
        in_flight: InFlight,
        exchange: Box<Exchange>,
    ) -> Self {
        let mut relay = Self {
            upstream,
            attempt: treatment.attempt,
            meter,
            estimate: treatment.estimate,
            framing,
            state: State::Streaming,
            extra_frame: treatment.extra_frame.filter(|_| framing.stream.is_some()),
            keepalive: treatment.keepalive.filter(|_| framing.stream.is_some()).map(Keepalive::new),
            drains: treatment.drains,
            end_watch: EndWatch::default(),
            in_flight,
            exchange,
        };
        if relay.upstream.is_end_stream() {
            relay.complete();
        }
        relay
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Returns how large the body is. Of an event stream nobody knows, whatever the provider says:
    /// an error event or a comment of ours may come to it, and one that filled up the announced
    /// length would make a broken stream look whole.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.framing.stream {
            Some(_) => SizeHint::default(),
            None => self.upstream.size_hint(),
        }
    }

    /// Takes leave of the client: an answer that is to be read on goes where that is done, any
    /// other is cancelled at its provider.
    pub(crate) fn leave(mut self: Box<Self>) {
        let is_unfinished = matches!(self.state, State::Streaming) && !self.in_flight.shutdown().is_ending();
        if let Some(drains) = self.drains.take().filter(|_| is_unfinished && !self.meter.has_error()) {
            self.in_flight.leave();
            self.exchange.client_left();
            self.keepalive = None;
            drains.spawn(self);
        }
    }

    /// Reads the rest of the answer for the sake of its usage.
    ///
    /// # Cancel safety
    /// Dropping the future with the relay cancels the answer; the record has what was seen.
    pub(crate) async fn read_on(&mut self) {
        let mut next = async || poll_fn(|cx| self.poll_frame(cx)).await;
        while let Some(Ok(_)) = next().await {}
    }

    /// Yields the next piece. A panic on the way breaks the answer off: the connection to the provider
    /// is then not touched again until it is closed with the relay.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        panics::guarded(self.exchange.id.clone(), || self.poll_state(cx))
            .or_else(|_| panics::guarded(self.exchange.id.clone(), || self.break_off(cx, &Break::PANIC)))
            .unwrap_or(Poll::Ready(Some(Err(BrokenBody(())))))
    }

    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Streaming => self.poll_upstream(cx),
            State::Telling(event) => {
                self.state = State::Flushing;
                self.exchange.sent(&event);
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
            State::Flushing => {
                self.state = State::Failing;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::Failing => Poll::Ready(Some(Err(BrokenBody(())))),
            State::Done => Poll::Ready(None),
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        loop {
            match Pin::new(&mut self.upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.state = State::Streaming;
                    // The upstream side yields data only; it drops trailers.
                    let Ok(data) = frame.into_data() else { continue };
                    let data = self.read(data);
                    if !data.is_empty() || matches!(self.state, State::Done) {
                        return Poll::Ready(self.frame(data));
                    }
                }
                other => return self.poll_other(cx, other),
            }
        }
    }

    /// Reads a piece of the answer and returns what of it the client gets now.
    fn read(&mut self, data: Bytes) -> Bytes {
        self.meter.push(&data);
        if let Some(birth) = &mut self.exchange.birth {
            birth.look(&data);
        }
        if let Some(estimate) = &mut self.estimate {
            estimate.push(&data);
        }
        let data = match &mut self.extra_frame {
            Some(extra_frame) => extra_frame.push(data),
            None => data,
        };
        if !self.upstream.is_end_stream() {
            return data;
        }
        let held = self.complete();
        if held.is_empty() { data } else { [data, held].concat().into() }
    }

    /// Makes a frame for the client, or the end if there is nothing in it.
    fn frame(&mut self, data: Bytes) -> Option<Result<Frame<Bytes>, BrokenBody>> {
        if data.is_empty() {
            return None;
        }
        self.exchange.sent(&data);
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.last_sent = Instant::now();
        }
        Some(Ok(Frame::data(data)))
    }

    /// Handles everything that is not data.
    fn poll_other(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<Option<Result<Frame<Bytes>, UpstreamError>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match outcome {
            Poll::Ready(None | Some(Ok(_))) => {
                self.meter.finish();
                if self.framing.needs_terminal && !self.meter.has_terminal() {
                    self.blame();
                    return self.break_off(cx, &Break {
                        code: ErrorCode::UpstreamClosed,
                        reason: EndReason::UpstreamIncomplete,
                        message: "the provider closed the answer before its end; what came is not the whole answer",
                    });
                }
                let held = self.complete();
                Poll::Ready(self.frame(held))
            }
            Poll::Ready(Some(Err(error))) if self.is_whole_despite(&error) => {
                let held = self.complete();
                Poll::Ready(self.frame(held))
            }
            Poll::Ready(Some(Err(error))) => {
                if error.kind() != UpstreamErrorKind::RequestBody {
                    self.blame();
                }
                log::warn!("{}: the answer broke off: {}", self.exchange.id.as_str(), failure::chain(&error),);
                self.break_off(cx, &Break::of(&error))
            }
            Poll::Pending => {
                if self.end_watch.poll(self.in_flight.shutdown(), cx).is_ready() {
                    return self.break_off(
                        cx,
                        &Break {
                            code: ErrorCode::ProviderUnavailable,
                            reason: EndReason::Shutdown,
                            message: "the gateway shuts down; send the request again",
                        },
                    );
                }
                self.state = State::Streaming;
                self.poll_keepalive(cx)
            }
        }
    }

    /// Tells whether an answer that was to end with its connection is whole, although the connection
    /// did not end in due form: many servers close TCP without the closing alert of TLS.
    fn is_whole_despite(&mut self, error: &UpstreamError) -> bool {
        if !self.framing.needs_terminal || error.kind() != UpstreamErrorKind::ClosedMidBody {
            return false;
        }
        self.meter.finish();
        self.meter.has_terminal()
    }

    /// Sends a comment if the client has seen nothing for long enough and stands between two
    /// events: within one, it would become a part of it.
    fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let Some(keepalive) = self.keepalive.as_mut().filter(|_| self.meter.is_at_event_boundary()) else {
            return Poll::Pending;
        };
        ready!(keepalive.timer.poll(cx, keepalive.last_sent + keepalive.interval));
        keepalive.last_sent = Instant::now();
        self.exchange.sent(&KEEPALIVE);
        Poll::Ready(Some(Ok(Frame::data(KEEPALIVE))))
    }

    /// Starts the unclean end: the error event where the answer is a stream, then the failure.
    fn break_off(
        &mut self,
        cx: &mut Context<'_>,
        cause: &Break,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        self.exchange.fail(cause.code);
        self.exchange.end(cause.reason);
        self.state = match self.framing.stream {
            Some(dialect) => {
                let event = error_event(
                    dialect,
                    cause.code,
                    cause.message,
                    &self.exchange.id,
                    !self.meter.is_at_event_boundary(),
                );
                let held = self.extra_frame.as_mut().map(ExtraFrame::release).unwrap_or_default();
                State::Telling(if held.is_empty() { event } else { [held, event].concat().into() })
            }
            None => State::Flushing,
        };
        self.poll_state(cx)
    }

    /// Counts against the provider that it broke off an answer that had begun well.
    fn blame(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.broke(journey::now());
        }
    }

    /// Notes that the answer is whole, and returns what of it was held back.
    fn complete(&mut self) -> Bytes {
        self.meter.finish();
        if self.meter.has_error() {
            self.blame();
            self.exchange.end(EndReason::UpstreamError);
        } else {
            if let Some(attempt) = &mut self.attempt {
                attempt.ended(journey::now());
            }
            self.exchange.end(EndReason::Complete);
        }
        self.state = State::Done;
        self.extra_frame.as_mut().map(ExtraFrame::finish).unwrap_or_default()
    }
}

impl Keepalive {
    fn new(interval: Duration) -> Self {
        Self { interval, last_sent: Instant::now(), timer: LazyTimer::default() }
    }
}

impl Break {
    const PANIC: Self = Self {
        code: ErrorCode::InternalError,
        reason: EndReason::GatewayError,
        message: "the gateway failed on this answer; what came is not the whole answer",
    };

    fn of(error: &UpstreamError) -> Self {
        let (code, reason, message) = match error.kind() {
            UpstreamErrorKind::ReadTimeout | UpstreamErrorKind::TotalTimeout => (
                ErrorCode::UpstreamTimeout,
                EndReason::UpstreamTimeout,
                "the provider stopped sending; what came is not the whole answer",
            ),
            UpstreamErrorKind::Protocol => (
                ErrorCode::UpstreamProtocol,
                EndReason::UpstreamClosed,
                "the provider's answer broke the protocol; what came is not the whole answer",
            ),
            // The client broke off its own request, while the provider answered already.
            UpstreamErrorKind::RequestBody => (
                ErrorCode::BadRequest,
                EndReason::ClientGone,
                "the request body broke off; what came is not the whole answer",
            ),
            _ => (
                ErrorCode::UpstreamClosed,
                EndReason::UpstreamClosed,
                "the provider closed the connection; what came is not the whole answer",
            ),
        };
        Self { code, reason, message }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A client that leaves at the provider's error leaves because of it.
        if self.meter.has_error() {
            self.blame();
            self.exchange.end(EndReason::UpstreamError);
        }
        // Also for a client that left half-way: what was seen until then was used.
        let (usage, source) = match (self.meter.result(), &self.estimate) {
            ((_, UsageSource::None), Some(estimate)) => (estimate.usage(), UsageSource::Estimate),
            (reported, _) => reported,
        };
        self.exchange.record.usage = usage;
        self.exchange.record.usage_source = source;
    }
}
