//! A session under way: bytes or messages both ways until one side ends it, and its account.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use gate_upstream::UpgradedIo;
use gate_usage::{Dialect, EndReason, RequestRecord};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

use super::frame::{CloseCode, FrameTracker, Piece, close};
use super::message::MessageReader;
use super::refusal::Refusal;
use super::session::{Client, Joined, Session, Stop, Turned, carry};
use super::usage::SessionMeter;
use crate::body_memory::Hold;
use crate::client_io::Busy;
use crate::error::ErrorCode;
use crate::exchange::Exchange;
use crate::panics;
use crate::shutdown::InFlight;

/// How much is copied at once, each way.
const COPY_BYTES: usize = 16 * 1024;
/// How long one side has to close after the other did.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// How long a client has to take the last words; less than a shutdown waits for them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The two sides of a session, before it is bound to the account of its request.
#[derive(Debug)]
pub(crate) struct Switch {
    client: OnUpgrade,
    far: Far,
}

#[derive(Debug)]
enum Far {
    /// The provider has agreed; `write` bounds how long it may take nothing.
    Joined { io: Box<UpgradedIo>, write: Option<Duration> },
    /// The first message will tell.
    Routed(Box<Session>),
}

impl Switch {
    pub(crate) fn joined(client: OnUpgrade, io: UpgradedIo, write: Option<Duration>) -> Self {
        Self { client, far: Far::Joined { io: Box::new(io), write } }
    }

    pub(crate) fn routed(client: OnUpgrade, session: Session) -> Self {
        Self { client, far: Far::Routed(Box::new(session)) }
    }
}

/// A WebSocket session that an answer with status 101 begins.
///
/// Whoever serves the connection runs it once HTTP has ended there: [`serve`](crate::serve) does,
/// on the task of the connection. Dropping it ends the session, and settles the account.
#[derive(Debug)]
pub struct Tunnel {
    switch: Switch,
    in_flight: InFlight,
    exchange: Box<Exchange>,
    busy: Option<Busy>,
}

/// How one direction stopped.
#[derive(Debug)]
pub(super) enum Copied {
    /// With a frame that closes the session.
    Closed,
    /// The sender's connection ended without one.
    Ended,
    /// The receiver takes no more.
    Lost,
    /// What the client sends is not taken.
    Refused(Box<Refusal>),
}

/// How a session ended.
#[derive(Debug)]
struct End {
    reason: EndReason,
    refusal: Option<Box<Refusal>>,
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        Self { reason, refusal: None }
    }
}

impl From<Box<Refusal>> for End {
    fn from(refusal: Box<Refusal>) -> Self {
        Self { reason: EndReason::GatewayError, refusal: Some(refusal) }
    }
}

impl Tunnel {
    pub(crate) fn new(switch: Switch, in_flight: InFlight, exchange: Box<Exchange>) -> Self {
        Self { switch, in_flight, exchange, busy: None }
    }

    /// Keeps the client's connection from being taken for idle.
    pub(crate) fn hold(&mut self, busy: Option<Busy>) {
        self.busy = busy;
    }

    /// Runs the session to its end: either side's, or that of a shutdown.
    ///
    /// It has no deadline for silence: such sessions are silent while nobody speaks. The keepalive of
    /// TCP finds a peer that is gone, and one that takes nothing is given up after `write`.
    ///
    /// # Cancel safety
    /// Dropping the future closes both connections.
    pub async fn run(self) {
        let Self { switch, in_flight, mut exchange, busy: _busy } = self;
        let client = match switch.client.await {
            Ok(client) => TokioIo::new(client),
            Err(error) => return log::debug!("{}: no upgrade: {error}", exchange.id.as_str()),
        };
        let (mut read, mut write) = split(client);
        let mut sent = FrameTracker::default();
        let id = exchange.id.clone();
        let outcome = {
            let session = pin!(async {
                let client = (&mut read, &mut write, &mut sent);
                match switch.far {
                    Far::Joined { io, write: limit } => {
                        relay(*io, limit, client, &in_flight, &mut exchange.record).await
                    }
                    Far::Routed(session) => converse(*session, client, &in_flight, &mut exchange).await,
                }
            });
            panics::caught(&id, session).await
        };
        let end = outcome.unwrap_or_else(|_| Box::new(Refusal::from(panics::internal_error())).into());
        exchange.end(end.reason);
        if let Some(refusal) = &end.refusal {
            exchange.fail(refusal.error.code);
            if let Some(detail) = &refusal.error.detail {
                log::warn!("{}: {}: {detail}", exchange.id.as_str(), refusal.error.code.as_str());
            }
        }
        if end.reason != EndReason::ClientGone {
            let bytes = &mut exchange.record.bytes_out;
            let farewell = pin!(part(&end, &mut read, &mut write, &mut sent, bytes));
            // What a panic has left of the connection may not be fit for one.
            if !matches!(timeout(LAST_WORDS, panics::caught(&id, farewell)).await, Ok(Ok(()))) {
                log::debug!("{}: the client took no farewell", exchange.id.as_str());
            }
        }
    }
}

/// Passes bytes both ways. What they say is between the two sides; only the tokens that the provider
/// reports are noted once they have passed.
async fn relay<R, W>(
    io: UpgradedIo,
    limit: Option<Duration>,
    (read, write, sent): (&mut R, &mut W, &mut FrameTracker),
    in_flight: &InFlight,
    record: &mut RequestRecord,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut from_upstream, mut to_upstream) = split(io);
    let mut passed = FrameTracker::default();
    let RequestRecord { bytes_in, bytes_out, usage, usage_source, .. } = record;
    let mut meter = SessionMeter::new(Dialect::Realtime, usage, usage_source);
    let upward = copy(read, &mut to_upstream, &mut passed, bytes_in, limit, |_| {});
    let downward = copy(&mut from_upstream, write, sent, bytes_out, limit, |piece| meter.see(piece));
    both(upward, downward, in_flight).await
}

/// Reads the first message, asks its provider, and passes messages up and bytes down.
async fn converse<R, W>(
    session: Session,
    (read, write, sent): (&mut R, &mut W, &mut FrameTracker),
    in_flight: &InFlight,
    exchange: &mut Exchange,
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let limits = &session.turns.snapshot.server.limits;
    let hold = Hold::nothing(session.gateway.body_memory(), limits.max_body_memory_bytes);
    let mut reader = MessageReader::new(limits.max_request_bytes, hold);
    let client = Client { read: &mut *read, write: &mut *write, sent: &mut *sent, reader: &mut reader };
    // Boxed: it is over soon, and would be most of the session's future.
    let joined = match Box::pin(session.join(client, in_flight, exchange)).await {
        Ok(joined) => joined,
        Err(Stop::Gone) => return EndReason::ClientGone.into(),
        Err(Stop::Closed) => return EndReason::Complete.into(),
        Err(Stop::Shutdown) => return EndReason::Shutdown.into(),
        Err(Stop::Refused(refusal)) => return refusal.into(),
    };
    let Joined { io, turns, provider, first } = joined;
    let limit = turns.snapshot.server.timeouts.write;
    let (mut from_upstream, mut to_upstream) = split(io);
    let RequestRecord { bytes_in, bytes_out, usage, usage_source, .. } = &mut exchange.record;
    let mut meter = SessionMeter::new(Dialect::Responses, usage, usage_source);
    let mut births = turns.births(provider);
    let see = |piece: Piece<'_>| {
        meter.see(piece);
        if let Some(births) = births.as_mut().filter(|_| turns.makes_object()) {
            births.see(piece);
        }
    };
    let turned = Turned { turns: &turns, provider, first };
    let upward = carry(turned, &mut reader, read, &mut to_upstream, bytes_in);
    let downward = copy(&mut from_upstream, write, sent, bytes_out, limit, see);
    both(upward, downward, in_flight).await
}

/// Drives both directions until the session ends.
async fn both(
    upward: impl Future<Output = Copied>,
    downward: impl Future<Output = Copied>,
    in_flight: &InFlight,
) -> End {
    let (mut upward, mut downward) = (pin!(upward), pin!(downward));
    tokio::select! {
        // What the provider still said comes before what follows from its end.
        biased;
        copied = &mut downward => match copied {
            Copied::Closed => {
                settle(upward, in_flight).await;
                EndReason::Complete.into()
            }
            Copied::Lost => EndReason::ClientGone.into(),
            Copied::Ended | Copied::Refused(_) => EndReason::UpstreamClosed.into(),
        },
        copied = &mut upward => match copied {
            Copied::Closed => {
                settle(downward, in_flight).await;
                EndReason::Complete.into()
            }
            Copied::Lost => match settle(downward, in_flight).await {
                Some(Copied::Closed) => EndReason::Complete.into(),
                _ => EndReason::UpstreamClosed.into(),
            },
            Copied::Ended => EndReason::ClientGone.into(),
            Copied::Refused(refusal) => refusal.into(),
        },
        () = in_flight.ended() => EndReason::Shutdown.into(),
    }
}

/// Lets the other direction end in its turn.
async fn settle(direction: impl Future<Output = Copied>, in_flight: &InFlight) -> Option<Copied> {
    tokio::select! {
        copied = timeout(CLOSE_WAIT, direction) => copied.ok(),
        () = in_flight.ended() => None,
    }
}

/// Passes bytes on as they come, up to the frame that closes the session.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    tracker: &mut FrameTracker,
    bytes: &mut u64,
    limit: Option<Duration>,
    mut see: impl FnMut(Piece<'_>),
) -> Copied {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(COPY_BYTES);
        if from.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return Copied::Ended;
        }
        if !send_all(to, &mut buffer, tracker, bytes, limit, &mut see).await {
            return Copied::Lost;
        }
        if tracker.has_closed() {
            return Copied::Closed;
        }
    }
}

/// Sends a frame and tells whether all of it was taken.
///
/// # Cancel safety
/// The tracker knows what was sent.
pub(super) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &Bytes,
    tracker: &mut FrameTracker,
    bytes: &mut u64,
    limit: Option<Duration>,
) -> bool {
    send_all(to, &mut frame.clone(), tracker, bytes, limit, &mut |_| {}).await
}

async fn send_all(
    to: &mut (impl AsyncWrite + Unpin),
    buffer: &mut (impl bytes::Buf + AsRef<[u8]>),
    tracker: &mut FrameTracker,
    bytes: &mut u64,
    limit: Option<Duration>,
    see: &mut impl FnMut(Piece<'_>),
) -> bool {
    while buffer.has_remaining() {
        let Ok(count @ 1..) = within(limit, to.write(buffer.chunk())).await else { return false };
        tracker.advance(buffer.chunk().get(..count).unwrap_or_default(), &mut *see);
        // A `usize` is at most 64 bits wide, so nothing is lost.
        *bytes += count as u64;
        buffer.advance(count);
    }
    within(limit, to.flush()).await.is_ok()
}

/// Waits for a write, but no longer than a peer may take nothing.
async fn within<T>(limit: Option<Duration>, write: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match limit {
        None => write.await,
        Some(limit) => timeout(limit, write).await.unwrap_or(Err(io::ErrorKind::TimedOut.into())),
    }
}

/// Tells the client why the session ends, where a frame may still be put, and lets it read that
/// before the connection closes: closing one with unread bytes resets it.
async fn part(
    end: &End,
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    sent: &mut FrameTracker,
    bytes: &mut u64,
) {
    if !sent.has_closed() {
        if let Some(refusal) = &end.refusal
            && sent.is_at_message_boundary()
        {
            send(write, &refusal.message(), sent, bytes, None).await;
        }
        let farewell = match (end.reason, &end.refusal) {
            (_, Some(refusal)) => Some(refusal.close()),
            (EndReason::Shutdown, None) => Some(close(CloseCode::GoingAway, "the gateway shuts down", None)),
            (EndReason::UpstreamClosed, None) => {
                Some(close(CloseCode::Internal, ErrorCode::UpstreamClosed.as_str(), None))
            }
            _ => None,
        };
        if let Some(farewell) = farewell.filter(|_| sent.is_at_frame_boundary()) {
            send(write, &farewell, sent, bytes, None).await;
        }
    }
    if write.shutdown().await.is_ok() {
        let mut unread = [0; 4096];
        while read.read(&mut unread).await.unwrap_or(0) > 0 {}
    }
}
