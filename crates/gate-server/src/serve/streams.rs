//! The requests of one HTTP/2 connection. hyper runs each in a future of its own; here each becomes a
//! task with a clock beside it, as the connection has one: a client that gives a stream no room stops
//! hyper from asking its body for more, so a timer in the body would not be polled.
//!
//! Every piece of an answer reports when the connection has written it. What was handed out and not
//! written for too long is a client that does not read.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Method, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::body::{BrokenBody, GateBody};
use crate::client_io::{Activity, Busy, Ended};
use crate::lazy_timer::LazyTimer;

/// The largest piece that is handed out at once. What is left of one is progress that nobody sees,
/// so it is small.
const PIECE_BYTES: usize = 16 * 1024;
/// So many requests may be reset by the client before they are answered whole, at once.
const RESET_BURST: u64 = 500;
/// So many more may be with each second.
const RESETS_PER_SECOND: u64 = 50;

tokio::task_local! {
    /// The stream whose task this is.
    static STREAM: Arc<Stream>;
}

/// The streams of one connection, shared by hyper, which begins them, and the connection's future,
/// which owns their tasks.
#[derive(Clone)]
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    activity: Activity,
    /// How long a client may take nothing of an answer; `None` waits for ever.
    write: Option<Duration>,
    state: Mutex<State>,
}

struct State {
    begun: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Why the connection has to end, if it has to.
    ended: Option<Ended>,
    waker: Option<Waker>,
    resets: u64,
    forgiven: Instant,
}

impl Streams {
    pub(super) fn new(activity: Activity, write: Option<Duration>) -> Self {
        let state =
            State { begun: Vec::new(), ended: None, waker: None, resets: 0, forgiven: Instant::now() };
        Self(Arc::new(Shared { activity, write, state: Mutex::new(state) }))
    }

    /// Starts the tasks of streams that have begun, drops those that have ended, and is ready when the
    /// connection has to end because of them. Called after hyper, in the same task.
    pub(super) fn poll(&self, tasks: &mut JoinSet<()>, cx: &mut Context<'_>) -> Poll<Ended> {
        {
            let mut state = self.0.state();
            for stream in state.begun.drain(..) {
                tasks.spawn(stream);
            }
            if let Some(ended) = state.ended {
                return Poll::Ready(ended);
            }
            if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
        }
        while let Poll::Ready(Some(_)) = tasks.poll_join_next(cx) {}
        Poll::Pending
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever panicked, a list of futures and a few numbers are as right as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, ended: Ended) {
        let mut state = self.state();
        state.ended.get_or_insert(ended);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Counts a request that its client has reset. Each costs the client one small frame, and here a
    /// request that is begun and cancelled.
    fn count_reset(&self) {
        let now = Instant::now();
        let mut state = self.state();
        let seconds = now.duration_since(state.forgiven).as_secs();
        state.forgiven += Duration::from_secs(seconds);
        state.resets = state.resets.saturating_sub(seconds.saturating_mul(RESETS_PER_SECOND)) + 1;
        let is_flood = state.resets > RESET_BURST;
        drop(state);
        if is_flood {
            self.end(Ended::Flooded);
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let watch = StreamTask {
            stream: Arc::new(Stream { activity: self.0.activity.clone(), ..Stream::default() }),
            inner: Some(Box::pin(stream)),
            timer: LazyTimer::default(),
            shared: Arc::clone(&self.0),
            _busy: self.0.activity.busy(),
        };
        let task = STREAM.scope(Arc::clone(&watch.stream), watch);
        self.0.state().begun.push(Box::pin(task));
    }
}

/// What is known of one request's answer.
#[derive(Debug, Default)]
struct Stream {
    /// Whether all of the answer was handed out, or the gateway itself broke it off.
    is_over: AtomicBool,
    activity: Activity,
    pieces: Mutex<Pieces>,
}

/// The pieces of an answer that were handed out and not written.
#[derive(Debug, Default)]
struct Pieces {
    count: usize,
    /// When the first of them was handed out, or the one before it was written.
    since: Option<Instant>,
    /// Whoever waits until there are none.
    waker: Option<Waker>,
}

impl Stream {
    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut pieces = self.pieces();
        pieces.count += 1;
        pieces.since.get_or_insert_with(Instant::now);
        drop(pieces);
        self.activity.hand_out();
        Bytes::from_owner(Piece { bytes, stream: Arc::clone(self) })
    }

    /// Waits until every piece is written.
    fn poll_written(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut pieces = self.pieces();
        if pieces.count == 0 {
            return Poll::Ready(());
        }
        pieces.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn set_over(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A piece of an answer. The connection drops it when it has written it.
struct Piece {
    bytes: Bytes,
    stream: Arc<Stream>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut pieces = self.stream.pieces();
        pieces.count -= 1;
        pieces.since = (pieces.count > 0).then(Instant::now);
        if pieces.count == 0
            && let Some(waker) = pieces.waker.take()
        {
            drop(pieces);
            waker.wake();
        }
    }
}

/// hyper's future of one request, and the clock of its client.
struct StreamTask<F> {
    /// hyper's; gone once all of the answer is handed out.
    inner: Option<Pin<Box<F>>>,
    stream: Arc<Stream>,
    timer: LazyTimer,
    shared: Arc<Shared>,
    _busy: Busy,
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(inner) = &mut this.inner
            && inner.as_mut().poll(cx).is_ready()
        {
            this.inner = None;
            if !this.stream.is_over.load(Ordering::Relaxed) {
                this.shared.count_reset();
                return Poll::Ready(());
            }
        }
        if this.inner.is_none() && this.stream.poll_written(cx).is_ready() {
            return Poll::Ready(());
        }
        let since = this.stream.pieces().since;
        let Some((since, limit)) = since.zip(this.shared.write) else { return Poll::Pending };
        std::task::ready!(this.timer.poll(cx, since + limit));
        if this.inner.take().is_some() {
            // Dropping hyper's future resets this stream, and leaves the others alone.
            log::debug!("stream ended: {:?}", Ended::Stalled);
        } else {
            // Nobody can reset it any more, for its end is handed out too.
            this.shared.end(Ended::Stalled);
        }
        Poll::Ready(())
    }
}

/// Makes an answer one that its stream can watch, and that HTTP/2 can carry.
pub(super) fn watched(response: Response<GateBody>, method: &Method) -> Response<WatchedBody> {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONNECTION);
    let is_head = method == Method::HEAD;
    if is_head && let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        // hyper would send the body here, which is no answer to HEAD.
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    // Outside of a task of ours nobody watches, and nobody is misled.
    let stream = STREAM.try_with(Arc::clone).unwrap_or_default();
    let body = WatchedBody { inner: body, rest: Bytes::new(), broken: None, is_head, stream };
    if body.is_end_stream() {
        body.stream.set_over();
    }
    Response::from_parts(parts, body)
}

/// A body that hands out pieces which report when they are written.
pub(super) struct WatchedBody {
    inner: GateBody,
    /// What was taken from the body and not handed out.
    rest: Bytes,
    /// How the body broke, until that is passed on.
    broken: Option<BrokenBody>,
    is_head: bool,
    stream: Arc<Stream>,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let this = self.get_mut();
        while this.rest.is_empty() && this.broken.is_none() {
            let frame = match std::task::ready!(pin!(&mut this.inner).poll_frame(cx)) {
                Some(frame) => frame.map(Frame::into_data),
                None => {
                    this.stream.set_over();
                    return Poll::Ready(None);
                }
            };
            match frame {
                Ok(Ok(data)) => this.rest = data,
                // Trailers; an answer of the gateway has none.
                Ok(Err(_)) => {}
                Err(broken) => this.broken = Some(broken),
            }
        }
        if this.broken.is_some() {
            // A reset drops what is not written, and that may be the event that explains it.
            std::task::ready!(this.stream.poll_written(cx));
            this.stream.set_over();
            return Poll::Ready(this.broken.take().map(Err));
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        let piece = this.stream.hand_out(piece);
        if this.is_end_stream() {
            this.stream.set_over();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_head || (self.rest.is_empty() && self.broken.is_none() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.inner.size_hint() } else { SizeHint::default() }
    }
}
