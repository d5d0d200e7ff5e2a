//! One connection of HTTP/1.1.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use gate_usage::EndReason;
use http::header::CONNECTION;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::unconstrained;

use crate::body::GateBody;
use crate::client_io::{Activity, ClientClocks, HasLeft, watched};
use crate::error::ErrorCode;
use crate::exchange::{Exchange, Sinks};
use crate::request_line::Known;

/// The number of headers that hyper reads without giving memory for each head anew.
const CHEAP_HEADERS: usize = 100;

/// Serves one connection, whose stream may tell when its client has left. Returns the stream if an answer
/// on it was broken off for a client that cannot see that from the framing.
pub(super) async fn serve<T, H, F>(
    stream: (T, HasLeft<T>),
    (clocks, sinks): (ClientClocks, &Sinks),
    handler: H,
    mut closing: watch::Receiver<()>,
) -> Option<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<GateBody>>,
{
    let activity = Activity::default();
    let is_old = Arc::new(AtomicBool::new(false));
    // The session that the last answer begins.
    let tunnel = Mutex::new(None);
    let keep = &tunnel;
    let (io, mut client) = watched(stream, clocks, activity.clone());
    let noted = Arc::clone(&is_old);
    let service = service_fn(move |request: Request<Incoming>| {
        noted.store(request.version() < Version::HTTP_11, Ordering::Relaxed);
        let busy = activity.busy();
        let activity = activity.clone();
        // hyper keeps the room for this future until the connection ends. The handler's own is far larger,
        // and goes with the head of the answer: a stream lasts long, and there may be thousands.
        let answer = Box::pin(handler(request));
        async move {
            let mut response = answer.await;
            if response.headers().get(CONNECTION).is_some_and(|value| value == "close") {
                activity.leave_unread();
            }
            response.body_mut().hold(busy);
            if let Some(tunnel) = response.body_mut().take_tunnel() {
                *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    // hyper answers 431 beyond these.
    builder.max_header_size(clocks.max_head_bytes).max_buf_size(2 * clocks.max_head_bytes);
    if clocks.max_headers != CHEAP_HEADERS {
        builder.max_headers(clocks.max_headers);
    }
    let connection = builder
        .timer(TokioTimer::new())
        // The watch sees clients that leave. hyper would get itself another buffer to look for that,
        // while the body still stands in the one it has, which it now uses again for the next request.
        .half_close(true)
        // Our own clocks cover the head; this one would also end idle connections.
        .header_read_timeout(None)
        // Responses are small frames: one copied write beats a vector of three slices a frame.
        .writev(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    // The receiver itself stays: the server waits until the last one is gone.
    let news = closing.clone();
    // Unconstrained: a task that has used up its turn would be sent away before it is registered.
    let mut told = pin!(unconstrained(closing.changed()));
    let (mut is_closing, mut registered) = (false, None::<Waker>);
    let outcome = poll_fn(|cx| {
        if !is_closing {
            // An error means that the server is gone; then this future is about to be dropped.
            is_closing = match &registered {
                // Whoever waits is woken, so that this turn need not take the lock of all who wait.
                Some(waker) if waker.will_wake(cx.waker()) => news.has_changed().unwrap_or(true),
                _ => {
                    registered = Some(cx.waker().clone());
                    told.as_mut().poll(cx).is_ready()
                }
            };
            if is_closing {
                connection.as_mut().graceful_shutdown();
            }
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => client.poll(cx).map(Err),
        }
    })
    .await;
    drop(connection);
    let tunnel = tunnel.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (outcome, tunnel) {
        // It runs here, so that it counts as this connection until it ends.
        (Ok(Ok(())), Some(tunnel)) => Box::pin(tunnel.run()).await,
        (Ok(Ok(())), None) => {}
        (Ok(Err(error)), _) => {
            log::debug!("connection ended: {error}");
            if error.is_parse() {
                tell_of_bad_http(&error);
                account_for_refusal(&error, client.refused(), sinks);
            }
            return client.into_inner().filter(|_| error.is_user() && is_old.load(Ordering::Relaxed));
        }
        (Err(ended), _) => log::debug!("connection ended: {ended:?}"),
    }
    None
}

/// Writes the record of what hyper has refused by itself (api A-38): no other part of the gateway gets
/// to see it.
fn account_for_refusal(error: &hyper::Error, known: Known, sinks: &Sinks) {
    if known.is_tls {
        return;
    }
    let code = match error.is_parse_too_large() {
        false => ErrorCode::BadRequest,
        // hyper has one question for two answers.
        true if error.to_string() == "URI too long" => ErrorCode::UriTooLong,
        true => ErrorCode::HeadersTooLarge,
    };
    let mut exchange = Exchange::refused(known, sinks);
    // The beginning of HTTP/2 gets no answer on a connection of HTTP/1.1.
    if !error.is_parse_version_h2() {
        exchange.set_status(code.status());
    }
    exchange.fail(code);
    exchange.end(EndReason::GatewayError);
}

/// Tells why the parser refused the bytes of a client, which no record says: once in ten seconds, since whoever scans ports must not fill the log.
fn tell_of_bad_http(error: &hyper::Error) {
    const INTERVAL: Duration = Duration::from_secs(10);
    // For the process, as the log is.
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_none_or(|at| at.elapsed() >= INTERVAL) {
        *told = Some(Instant::now());
        log::info!("a client sent what is no HTTP request: {error}; others like it are not told of for 10 s");
    }
}
