//! One connection of HTTP/2: hyper's, with bounds that let a stream hurt only itself, and a watch.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Bounds;
use super::streams::{Streams, watched};
use crate::body::GateBody;
use crate::client_io::{Activity, Ended, watched_http2};
use crate::lazy_timer::LazyTimer;

/// What a client may send of one body before the gateway has read it.
const STREAM_WINDOW: u32 = 128 * 1024;
/// What is kept of an answer that the client makes no room for, besides one piece of its body.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// Requests that a client may reset before they are looked at.
const MAX_PENDING_RESETS: usize = 20;
/// Requests that a client may get reset by errors of its own, over the life of a connection. The rest of a
/// body that was refused can be such an error, if it comes late; so it is not as few as one could wish.
const MAX_ERROR_RESETS: usize = 256;
/// What a client without a request has to hear that its connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves one connection until it ends or, once told by `closing`, until its requests are answered.
///
/// # Cancel safety
/// Dropping the future closes the connection and cancels its requests.
pub(super) async fn serve<T, H, F>(stream: T, bounds: Bounds, handler: H, mut closing: watch::Receiver<()>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<GateBody>> + Send + 'static,
{
    let activity = Activity::default();
    let (io, mut client) = watched_http2(stream, bounds.clocks, activity.clone());
    let streams = Streams::new(activity.clone(), bounds.clocks.write);
    let service = service_fn(move |request: Request<Incoming>| {
        let method = request.method().clone();
        let answer = handler(request);
        async move { Ok::<_, Infallible>(watched(answer.await, &method)) }
    });
    let connection = builder(&streams, &bounds).serve_connection(TokioIo::new(io), service);
    let mut connection = Box::pin(connection);
    // Dropped with this future, and every request with it.
    let mut tasks = JoinSet::new();
    // The receiver stays until the end: the server waits until the last one is gone.
    let mut told = pin!(closing.changed());
    let mut farewell = None;
    let outcome = poll_fn(|cx| {
        if farewell.is_none() && told.as_mut().poll(cx).is_ready() {
            connection.as_mut().graceful_shutdown();
            farewell = Some(Farewell::default());
        }
        loop {
            let polled = connection.as_mut().poll(cx);
            let ended = streams.poll(&mut tasks, cx);
            if let Poll::Ready(result) = polled {
                return Poll::Ready(Ok(result));
            }
            if let Poll::Ready(ended) = ended {
                return Poll::Ready(Err(ended));
            }
            match client.poll(cx) {
                Poll::Ready(Ended::Idle) if farewell.is_none() => {
                    // A request on its way learns from a GOAWAY that it was not looked at.
                    connection.as_mut().graceful_shutdown();
                    farewell = Some(Farewell::default());
                }
                Poll::Ready(Ended::Idle) | Poll::Pending => break,
                Poll::Ready(ended) => return Poll::Ready(Err(ended)),
            }
        }
        match &mut farewell {
            Some(farewell) => farewell.poll(activity.is_busy(), cx).map(|()| Err(Ended::Idle)),
            None => Poll::Pending,
        }
    })
    .await;
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("connection ended: {error}"),
        Err(ended) => log::debug!("connection ended: {ended:?}"),
    }
}

/// A connection that is told to end does so when the client has said that it heard, and every request is
/// answered. A client that is gone says nothing, and is not waited for.
#[derive(Default)]
struct Farewell {
    /// Since when there is no request left.
    since: Option<Instant>,
    timer: LazyTimer,
}

impl Farewell {
    /// Is ready when the connection has to end without the client's word.
    fn poll(&mut self, is_busy: bool, cx: &mut Context<'_>) -> Poll<()> {
        if is_busy {
            self.since = None;
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.timer.poll(cx, since + FAREWELL)
    }
}

/// Returns the settings of a connection.
fn builder(streams: &Streams, bounds: &Bounds) -> http2::Builder<Streams> {
    let most = bounds.streams;
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(most)
        .max_header_list_size(u32::try_from(bounds.clocks.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        // Room for every stream: bodies that nobody reads yet do not stop another's. Windows end at 2^31-1
        // (RFC 9113 §6.9.1).
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(most).min(i32::MAX.unsigned_abs()))
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .keep_alive_interval(bounds.ping_interval)
        .keep_alive_timeout(bounds.ping_timeout);
    builder
}
