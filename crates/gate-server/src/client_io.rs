//! A client's connection with the clocks that hyper lacks: for the first byte, for a whole head,
//! for idling between requests, and for a client that does not read its answer. It also sees a
//! client leave that hyper does not see.
//!
//! The connection is shared by two halves in one task. [`ClientIo`] is hyper's: it notes what
//! happens. [`ClientWatch`] is polled after hyper, each time the task wakes: it draws the
//! conclusions. A timer in hyper's half would not do, since hyper does not ask to read or write
//! just when nothing happens any more.

mod leaving;

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use gate_config::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::lazy_timer::LazyTimer;
use crate::request_line::{Known, RequestLine};
use crate::serve::Frames;
use leaving::Leaving;
pub(crate) use leaving::{HasLeft, has_left};

/// What is read ahead of hyper to see whether the client is still there. More than this is an upload that
/// its provider does not take, or a client that sends requests faster than it gets answers; then only the
/// socket can tell.
const READ_AHEAD: usize = 8 * 1024;

/// How long what a client still sends is read away when its connection ends with an early answer.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_READ_BYTES: usize = 8 * 1024;

/// The waits on one client connection, and the bounds on the heads of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientClocks {
    /// From the connection to the first byte, and from a head's first byte to its end.
    pub(crate) header: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// Between two accepted pieces of an answer; `None` waits for ever.
    pub(crate) write: Option<Duration>,
    /// The largest head in bytes.
    pub(crate) max_head_bytes: usize,
    /// The most header lines of a head.
    pub(crate) max_headers: usize,
}

impl ClientClocks {
    pub(crate) fn new(server: &ServerConfig) -> Self {
        Self {
            header: server.limits.header_timeout,
            idle: server.limits.idle_timeout,
            write: server.timeouts.write,
            max_head_bytes: server.limits.max_head_bytes,
            max_headers: server.limits.max_headers,
        }
    }
}

/// Counts the requests of a connection, shared by its halves and its service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Pieces of answers that were handed out; counted on connections of HTTP/2 only.
    pieces: AtomicU64,
    leaves_unread: AtomicBool,
}

impl Activity {
    /// Marks the connection busy until the guard is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.0))
    }

    /// Counts a piece of an answer.
    pub(crate) fn hand_out(&self) {
        self.0.pieces.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the connection ends with an answer that may overtake the rest of its request.
    pub(crate) fn leave_unread(&self) {
        self.0.leaves_unread.store(true, Ordering::Relaxed);
    }

    fn leaves_unread(&self) -> bool {
        self.0.leaves_unread.load(Ordering::Relaxed)
    }

    fn pieces(&self) -> u64 {
        self.0.pieces.load(Ordering::Relaxed)
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Tells whether a request is being answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.begun() != self.0.ended.load(Ordering::Relaxed)
    }
}

/// Keeps a connection from being taken for idle: held from a request's head until its answer's
/// body is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Counts>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Splits a connection into hyper's half and the one that watches it.
pub(crate) fn watched<T>(
    (io, has_left): (T, HasLeft<T>),
    clocks: ClientClocks,
    activity: Activity,
) -> (ClientIo<T>, ClientWatch<T>) {
    split((io, has_left), clocks, activity, None)
}

/// Does the same for a connection of HTTP/2, where what comes is told apart by its frames.
pub(crate) fn watched_http2<T>(
    io: T,
    clocks: ClientClocks,
    activity: Activity,
) -> (ClientIo<T>, ClientWatch<T>) {
    split((io, None), clocks, activity, Some(Frames::new(Instant::now())))
}

fn split<T>(
    (io, has_left): (T, HasLeft<T>),
    clocks: ClientClocks,
    activity: Activity,
    frames: Option<Frames>,
) -> (ClientIo<T>, ClientWatch<T>) {
    let now = Instant::now();
    let connection = Arc::new(Mutex::new(Connection {
        io,
        ahead: Vec::new(),
        is_eof: false,
        reading: Reading::First(now),
        line: RequestLine::default(),
        frames,
        resumed: now,
        stalled_since: None,
        hyper: HyperReads::Nothing,
    }));
    let client = ClientIo { connection: Arc::clone(&connection), activity: activity.clone(), linger: None };
    let (leaving, timer) = (Leaving::new(has_left), LazyTimer::default());
    (client, ClientWatch { connection, clocks, activity, begun: 0, leaving, timer })
}

/// A connection, and what is known of it.
struct Connection<T> {
    io: T,
    /// Bytes that were read for the watch and are hyper's to read.
    ahead: Vec<u8>,
    /// Whether the client has ended its side.
    is_eof: bool,
    reading: Reading,
    /// How the newest request begins, if the connection speaks HTTP/1.1.
    line: RequestLine,
    /// What is known of the client's frames, if the connection speaks HTTP/2.
    frames: Option<Frames>,
    /// When it last took something after a stall.
    resumed: Instant,
    /// Since when the peer has accepted nothing, while there is something to write.
    stalled_since: Option<Instant>,
    /// What hyper read since the watch looked last.
    hyper: HyperReads,
}

/// What the next byte from the client would be.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// The first of the connection.
    First(Instant),
    /// The first of another request; counted from when the connection was seen idle.
    Idle(Instant),
    /// Part of a head that began then.
    Head(Instant),
    /// Whatever: a request is being answered, and whoever reads its body has its own deadline.
    Busy,
}

/// What came of it when hyper asked for bytes last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum HyperReads {
    /// It did not ask, or has read all there was.
    #[default]
    Nothing,
    /// It got as many as it had room for, and there may be more.
    Filled,
    /// It waits for them.
    Waits,
}

/// hyper's half of a connection.
pub(crate) struct ClientIo<T> {
    connection: Arc<Mutex<Connection<T>>>,
    activity: Activity,
    /// Runs once our side is closed and what the client still sends is read away.
    linger: Option<Pin<Box<Sleep>>>,
}

impl<T> ClientIo<T> {
    fn lock(&self) -> MutexGuard<'_, Connection<T>> {
        // Nothing panics while it holds the lock; if it did, the bytes would still be right.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.lock();
        let before = buf.filled().len();
        if connection.ahead.is_empty() {
            if connection.is_eof {
                return Poll::Ready(Ok(()));
            }
            let outcome = Pin::new(&mut connection.io).poll_read(cx, buf);
            connection.hyper = match outcome {
                Poll::Pending => HyperReads::Waits,
                Poll::Ready(_) if buf.remaining() == 0 => HyperReads::Filled,
                Poll::Ready(_) => HyperReads::Nothing,
            };
            std::task::ready!(outcome)?;
        } else {
            let length = connection.ahead.len().min(buf.remaining());
            buf.put_slice(connection.ahead.get(..length).unwrap_or_default());
            connection.ahead.drain(..length);
        }
        if let Some(read) = buf.filled().get(before..).filter(|read| !read.is_empty()) {
            connection.note_read(read, &self.activity);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> ClientIo<T> {
    /// Writes, and notes whether the peer takes anything.
    fn note<R>(&self, write: impl FnOnce(Pin<&mut T>) -> Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let mut connection = self.lock();
        let outcome = write(Pin::new(&mut connection.io));
        if outcome.is_pending() {
            connection.stalled_since.get_or_insert_with(Instant::now);
        } else if connection.stalled_since.take().is_some() {
            connection.resumed = Instant::now();
        }
        outcome
    }
}

impl<T: AsyncRead + Unpin> ClientIo<T> {
    /// Reads away what the client still sends, for a while. A close with bytes unread is a reset,
    /// which can reach the client before it has read its answer (RFC 9112 §9.6).
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME)));
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = [MaybeUninit::uninit(); LINGER_READ_BYTES];
        loop {
            let mut read = ReadBuf::uninit(&mut room);
            match Pin::new(&mut connection.io).poll_read(cx, &mut read) {
                Poll::Pending => return until.as_mut().poll(cx),
                Poll::Ready(Ok(())) if !read.filled().is_empty() && Instant::now() < until.deadline() => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.note(|io| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note(|io| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note(|io| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let outcome = std::task::ready!(this.note(|io| io.poll_shutdown(cx)));
            if outcome.is_err() || !this.activity.leaves_unread() {
                return Poll::Ready(outcome);
            }
        }
        this.poll_linger(cx).map(Ok)
    }
}

/// Why a watch ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing came, or not enough, for too long.
    Silent,
    /// No request came for too long after the last one, or after an HTTP/2 connection began.
    Idle,
    /// The client takes nothing of its answer.
    Stalled,
    /// The client left while it was being answered.
    Gone,
    /// The client sends frames, or resets its own requests, faster than anyone can mean.
    Flooded,
}

/// The half that watches. It has to be polled after hyper whenever the task wakes.
pub(crate) struct ClientWatch<T> {
    connection: Arc<Mutex<Connection<T>>>,
    clocks: ClientClocks,
    activity: Activity,
    /// How many requests had begun when it looked last: one can come and go in between.
    begun: usize,
    /// Asks the socket where reading ahead does not show it.
    leaving: Leaving<T>,
    timer: LazyTimer,
}

impl<T: AsyncRead + Unpin> ClientWatch<T> {
    /// Is ready when the connection has to end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let (deadline, ended) = {
            let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = self.activity.begun();
            let has_new = std::mem::replace(&mut self.begun, begun) != begun;
            connection.update(self.activity.is_busy(), has_new);
            if connection.is_gone(cx)
                || connection.is_full() && self.leaving.poll(&connection.io, cx).is_ready()
            {
                return Poll::Ready(Ended::Gone);
            }
            if connection.frames.as_ref().is_some_and(Frames::is_flood) {
                return Poll::Ready(Ended::Flooded);
            }
            match connection.deadline(&self.clocks) {
                Some(deadline) => deadline,
                None => return Poll::Pending,
            }
        };
        self.timer.poll(cx, deadline).map(|()| ended)
    }

    /// Returns what is known of a request that hyper has refused, which has not begun.
    pub(crate) fn refused(&self) -> Known {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.line.known(self.activity.begun())
    }

    /// Returns the stream itself, once hyper's half is gone.
    pub(crate) fn into_inner(self) -> Option<T> {
        let connection = Arc::into_inner(self.connection)?;
        Some(connection.into_inner().unwrap_or_else(PoisonError::into_inner).io)
    }
}

impl<T: AsyncRead + Unpin> Connection<T> {
    /// Draws the conclusions from what the client sent.
    fn note_read(&mut self, bytes: &[u8], activity: &Activity) {
        let now = Instant::now();
        self.reading = match (&mut self.frames, self.reading) {
            (None, Reading::First(_) | Reading::Idle(_)) => {
                self.line.begin(bytes, activity.begun());
                Reading::Head(now)
            }
            (None, same) => {
                if matches!(same, Reading::Head(_)) {
                    self.line.add(bytes);
                }
                same
            }
            (Some(frames), reading) => {
                frames.read(bytes, activity.pieces(), now);
                match reading {
                    // The connection stands; what it waits for is a request.
                    Reading::First(_) if frames.has_begun() => Reading::Idle(now),
                    same => same,
                }
            }
        };
    }

    /// Follows the connection from one request to the next.
    fn update(&mut self, is_busy: bool, has_new: bool) {
        self.reading = match self.reading {
            _ if is_busy => Reading::Busy,
            Reading::Busy => Reading::Idle(Instant::now()),
            _ if has_new => Reading::Idle(Instant::now()),
            same => same,
        };
    }

    /// Tells whether the client has left in the middle of a request.
    ///
    /// hyper is told not to look for that between a request's body and its answer (`half_close`): it
    /// would get a buffer for what must not come, and would not look at all behind one byte too many,
    /// such as the line end that old clients add. On HTTP/2 it never stops looking.
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        if self.frames.is_some() || !matches!(self.reading, Reading::Busy) {
            return false;
        }
        match std::mem::take(&mut self.hyper) {
            // Then it sees the client leave by itself, and what comes is its to read: taken from under
            // it in small pieces, a large body would cost hundreds of system calls.
            HyperReads::Waits => false,
            // It reads on in the next turn; if not, that turn shows it.
            HyperReads::Filled => {
                cx.waker().wake_by_ref();
                false
            }
            HyperReads::Nothing => self.look_ahead(cx),
        }
    }

    /// Looks for the end of what the client sends, behind what nobody has asked for yet.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.is_eof && self.ahead.len() < READ_AHEAD {
            let mut room = [MaybeUninit::uninit(); READ_AHEAD];
            let free = READ_AHEAD - self.ahead.len();
            let mut buf = ReadBuf::uninit(room.get_mut(..free).unwrap_or_default());
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.ahead.extend_from_slice(buf.filled()),
                Poll::Ready(_) => self.is_eof = true,
            }
        }
        self.is_eof
    }

    /// Tells whether nothing more is read ahead, so that the end of what the client sends cannot be seen.
    fn is_full(&self) -> bool {
        self.ahead.len() >= READ_AHEAD && matches!(self.reading, Reading::Busy)
    }

    /// Returns when the connection has to end if nothing happens, and why.
    fn deadline(&self, clocks: &ClientClocks) -> Option<(Instant, Ended)> {
        if let Some(since) = self.stalled_since {
            // What is still to be written belongs to an answer, even if its body is dropped.
            return clocks.write.map(|limit| (since + limit, Ended::Stalled));
        }
        if let Some(since) = self.frames.as_ref().and_then(Frames::head_since) {
            // Until it is whole, no other frame may come between, so everything waits for it.
            return Some((since + clocks.header, Ended::Silent));
        }
        match self.reading {
            Reading::First(since) | Reading::Head(since) => Some((since + clocks.header, Ended::Silent)),
            Reading::Idle(since) => Some((since.max(self.resumed) + clocks.idle, Ended::Idle)),
            Reading::Busy => None,
        }
    }
}

#[cfg(test)]
mod tests;
