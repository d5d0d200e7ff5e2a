//! Accepts connections on a bound listener and serves them until told to stop, then drains.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http::header::CONNECTION;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::body::GateBody;
use crate::client_io::{Activity, ClientClocks, watched};
use crate::gateway::Gateway;

/// The number of headers that hyper reads without giving memory for each head anew.
const CHEAP_HEADERS: usize = 100;
/// How long a failing `accept` pauses the loop when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What ended answers get to send their error event.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often idle upstream connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Finds a client that is gone while nothing is said, in a minute or so.
fn keepalive() -> TcpKeepalive {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(3);
    keepalive
}

/// How a server ended. Only requests that the gateway answers are counted, not those of routes
/// beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests that were being answered when the shutdown began.
    pub in_flight: usize,
    /// Those of them that were ended by force, because they outlasted the drain.
    pub ended: usize,
}

/// Serves a gateway on a bound listener until `shutdown` completes, then drains.
///
/// The drain: `/ready` says 503 at once; connections are accepted for `drain_delay` more; then the
/// listener closes, idle connections close, and running answers have `drain` to end. What still
/// runs is ended with an error event, or uncleanly where there can be none.
///
/// # Errors
/// The listener fails in a way that no later `accept` can mend.
///
/// # Cancel safety
/// Dropping the future closes every connection at once.
pub async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Drained> {
    let inner = gateway.clone();
    let handler = move |request| {
        let gateway = inner.clone();
        async move { gateway.handle(request).await }
    };
    serve_with(listener, gateway, handler, shutdown).await
}

/// Like [`serve`], with a function of the caller's that answers each request: it can have routes of
/// its own and hand everything else to [`Gateway::handle`].
///
/// # Errors
/// As [`serve`].
pub async fn serve_with<H, F>(
    listener: TcpListener,
    gateway: Gateway,
    handler: H,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Drained>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<GateBody>> + Send + 'static,
{
    let server = Server {
        permits: Arc::new(Semaphore::new(gateway.max_connections())),
        closing: watch::Sender::new(()),
        gateway,
        handler,
    };
    server.run(listener, shutdown).await
}

struct Server<H> {
    gateway: Gateway,
    handler: H,
    permits: Arc<Semaphore>,
    /// Tells connections to end; each holds a receiver until it has, sessions included.
    closing: watch::Sender<()>,
}

impl<H, F> Server<H>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<GateBody>> + Send + 'static,
{
    async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<Drained> {
        let mut connections = JoinSet::new();
        tokio::select! {
            result = self.accept(&listener, &mut connections) => match result? {},
            () = shutdown => {}
        }
        self.gateway.start_draining();
        let in_flight = self.gateway.in_flight();
        let delay = self.gateway.drain_delay();
        if !delay.is_zero() {
            tokio::select! {
                result = self.accept(&listener, &mut connections) => match result? {},
                () = sleep(delay) => {}
            }
        }
        drop(listener);
        let gateway = self.gateway.clone();
        let ended = self.drain(connections).await;
        // Their records must be written before whoever waits for the server closes the log.
        gateway.end_left_answers().await;
        Ok(Drained { in_flight, ended })
    }

    /// Accepts until the future is dropped.
    async fn accept(&self, listener: &TcpListener, connections: &mut JoinSet<()>) -> io::Result<Infallible> {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // The permit comes first: a connection that cannot be served waits in the kernel's
            // queue instead of here.
            let accepted = async {
                let permit = Arc::clone(&self.permits).acquire_owned().await;
                (permit, listener.accept().await)
            };
            tokio::select! {
                (permit, accepted) = accepted => match accepted {
                    Ok((stream, _peer)) => {
                        let connection = self.connection(stream);
                        connections.spawn(async move {
                            connection.await;
                            drop(permit);
                        });
                    }
                    Err(error) => self.survive(error).await?,
                },
                // Ended tasks are reaped as they end, or the set would grow for ever.
                Some(_) = connections.join_next() => {}
                _ = sweep.tick() => self.gateway.sweep(),
            }
        }
    }

    /// Decides what a failed `accept` means (accept(2)).
    async fn survive(&self, error: io::Error) -> io::Result<()> {
        match error.kind() {
            // The client was gone before it was accepted.
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::InvalidInput => Err(error),
            _ => {
                log::warn!("accept failed: {error}; trying again in {} ms", ACCEPT_PAUSE.as_millis());
                sleep(ACCEPT_PAUSE).await;
                Ok(())
            }
        }
    }

    fn connection(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + use<H, F> {
        // Without it the kernel holds back small pieces, 40 ms per token at worst.
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("set_nodelay failed: {error}");
        }
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive()) {
            log::debug!("set_tcp_keepalive failed: {error}");
        }
        let clocks = self.gateway.client_clocks();
        let (handler, closing) = (self.handler.clone(), self.closing.subscribe());
        async move {
            let broken = serve_connection(stream, clocks, handler, closing).await;
            // To a client of HTTP/1.0 the end of the connection is the end of the body. Only a reset
            // tells it that this one is not whole (RFC 9112 §8).
            if let Some(stream) = broken
                && let Err(error) = stream.set_zero_linger()
            {
                log::debug!("set_zero_linger failed: {error}");
            }
        }
    }

    /// Waits for running answers, then ends them; returns how many were ended.
    async fn drain(self, mut connections: JoinSet<()>) -> usize {
        let deadline = Instant::now() + self.gateway.drain_limit();
        let Self { gateway, closing, .. } = self;
        // Without a connection there is no receiver, and nobody to be told.
        let _ = closing.send(());
        if timeout_at(deadline, closing.closed()).await.is_ok() {
            return 0;
        }
        let ended = gateway.in_flight();
        gateway.end_answers();
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if timeout(LAST_WORDS, all_ended).await.is_err() {
            connections.shutdown().await;
        }
        ended
    }
}

/// Serves one connection over any stream of bytes, such as an in-memory one.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub async fn serve_stream<T>(stream: T, gateway: &Gateway)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let closing = watch::Sender::new(());
    let inner = gateway.clone();
    let handler = move |request| {
        let gateway = inner.clone();
        async move { gateway.handle(request).await }
    };
    serve_connection(stream, gateway.client_clocks(), handler, closing.subscribe()).await;
}

/// Serves one connection, and returns its stream if an answer on it was broken off for a client
/// that cannot see that from the framing.
async fn serve_connection<T, H, F>(
    stream: T,
    clocks: ClientClocks,
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
        let answer = handler(request);
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
        // Our own clocks cover the head; this one would also end idle connections.
        .header_read_timeout(None)
        // Responses are small frames: one copied write beats a vector of three slices a frame.
        .writev(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    // An error means that the server is gone; then this future is about to be dropped. The receiver
    // itself stays: the server waits until the last one is gone.
    let mut told = pin!(closing.changed());
    let mut is_closing = false;
    let outcome = poll_fn(|cx| {
        if !is_closing && told.as_mut().poll(cx).is_ready() {
            is_closing = true;
            connection.as_mut().graceful_shutdown();
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
            return client.into_inner().filter(|_| error.is_user() && is_old.load(Ordering::Relaxed));
        }
        (Err(ended), _) => log::debug!("connection ended: {ended:?}"),
    }
    None
}
