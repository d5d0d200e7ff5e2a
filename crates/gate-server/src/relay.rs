//! Passes an upstream's answer on as it comes, reads the usage from it, and never shows a broken
//! one as whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use gate_upstream::{UpstreamBody, UpstreamError, UpstreamErrorKind};
use gate_usage::{EndReason, Meter};
use http_body::{Body, Frame, SizeHint};

use crate::body::BrokenBody;
use crate::error::{ErrorCode, StreamDialect, error_event};
use crate::exchange::Exchange;
use crate::failure;
use crate::shutdown::{EndWatch, InFlight};

/// An answer on its way from an upstream to a client.
#[derive(Debug)]
pub(crate) struct Relay {
    upstream: UpstreamBody,
    meter: Meter,
    framing: Framing,
    state: State,
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
        upstream: UpstreamBody,
        meter: Meter,
        framing: Framing,
        in_flight: InFlight,
        exchange: Box<Exchange>,
    ) -> Self {
        let end_watch = EndWatch::default();
        let mut relay =
            Self { upstream, meter, framing, state: State::Streaming, end_watch, in_flight, exchange };
        if relay.upstream.is_end_stream() {
            relay.complete();
        }
        relay
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Streaming => self.poll_upstream(cx),
            State::Telling(event) => {
                self.state = State::Flushing;
                self.exchange.record.bytes_out += length(&event);
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
        match Pin::new(&mut self.upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.state = State::Streaming;
                // The upstream side yields data only; it drops trailers.
                if let Some(data) = frame.data_ref() {
                    self.meter.push(data);
                    if let Some(birth) = &mut self.exchange.birth {
                        birth.look(data);
                    }
                    self.exchange.record.bytes_out += length(data);
                }
                if self.upstream.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.meter.finish();
                if self.framing.needs_terminal && !self.meter.has_terminal() {
                    return self.break_off(cx, &Break {
                        code: ErrorCode::UpstreamClosed,
                        reason: EndReason::UpstreamIncomplete,
                        message: "the provider closed the answer before its end; what came is not the whole answer",
                    });
                }
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
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
                Poll::Pending
            }
        }
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
            Some(dialect) => State::Telling(error_event(
                dialect,
                cause.code,
                cause.message,
                &self.exchange.id,
                !self.meter.is_at_event_boundary(),
            )),
            None => State::Flushing,
        };
        self.poll_frame(cx)
    }

    fn complete(&mut self) {
        self.meter.finish();
        self.exchange.end(EndReason::Complete);
        self.state = State::Done;
    }
}

impl Break {
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
        // Also for a client that left half-way: what was seen until then was used.
        let (usage, source) = self.meter.result();
        self.exchange.record.usage = usage;
        self.exchange.record.usage_source = source;
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
