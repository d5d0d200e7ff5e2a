//! Accepts connections on a bound listener and serves them until told to stop, then drains.

mod frames;
mod http1;
mod http2;
mod peers;
mod streams;
mod tls;
mod workers;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::body::GateBody;
use crate::client_io::{ClientClocks, has_left};
use crate::exchange::Sinks;
use crate::gateway::Gateway;

pub(crate) use frames::Frames;
pub(crate) use peers::{Peers, Place, TooMany};
pub(crate) use tls::TlsAcceptor;
pub use tls::{TlsError, check_certificate};
use workers::Workers;

/// Connections that may wait for `accept`, if the system lets as many (`net.core.somaxconn`). The 128 of
/// the standard library are gone in one burst, and a client whose connection was dropped there may not
/// learn of it for a minute.
const BACKLOG: i32 = 4096;
/// How long a failing `accept` pauses the loop when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What ended answers get to send their error event.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often idle upstream connections are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Sets up what the sockets of connections inherit from that of the listener: set on each of them it would
/// be seven system calls more before its first request is read.
fn prepare(listener: &TcpListener) {
    let socket = SockRef::from(listener);
    if let Err(error) = socket.listen(BACKLOG) {
        log::debug!("the backlog stays as it is: {error}");
    }
    // Without it the kernel holds back small pieces, 40 ms per token at worst.
    if let Err(error) = socket.set_tcp_nodelay(true) {
        log::debug!("set_tcp_nodelay failed: {error}");
    }
    if let Err(error) = socket.set_tcp_keepalive(&keepalive()) {
        log::debug!("set_tcp_keepalive failed: {error}");
    }
}

/// Finds a client that is gone while nothing is said, in a minute or so.
fn keepalive() -> TcpKeepalive {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(3);
    keepalive
}

/// What one client connection may do, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) clocks: ClientClocks,
    /// Most requests at once, where a connection can have several.
    pub(crate) streams: u32,
    /// After how much silence a client of HTTP/2 is asked whether it is still there, if it is.
    pub(crate) ping_interval: Option<Duration>,
    /// How long it has to say so.
    pub(crate) ping_timeout: Duration,
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

/// Serves a gateway on a bound listener until `shutdown` completes, then drains. With `[llm.tls]` in its
/// configuration each connection begins with TLS, and may speak HTTP/2 after that.
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
    serve_on(&[], listener, gateway, shutdown).await
}

/// Like [`serve`], with each connection on one of these runtimes: the one that has the fewest. With none
/// it is the caller's.
///
/// A runtime of one thread for each processor costs less than one of several threads, which look for each
/// other's work and wake each other for it. A connection then stays where it is: what it does waits for
/// nothing but its own thread.
///
/// # Errors
/// As [`serve`].
///
/// # Cancel safety
/// As [`serve`].
pub async fn serve_on(
    workers: &[Handle],
    listener: TcpListener,
    gateway: Gateway,
    shutdown: impl Future<Output = ()>,
) -> io::Result<Drained> {
    let inner = gateway.clone();
    let handler = move |request| inner.handle(request);
    Server::new(gateway, handler, Workers::new(workers)).run(listener, shutdown).await
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
    Server::new(gateway, handler, Workers::new(&[])).run(listener, shutdown).await
}

struct Server<H> {
    gateway: Gateway,
    handler: H,
    workers: Workers,
    permits: Arc<Semaphore>,
    /// Tells connections to end; each holds a receiver until it has, sessions included.
    closing: watch::Sender<()>,
}

impl<H, F> Server<H>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<GateBody>> + Send + 'static,
{
    fn new(gateway: Gateway, handler: H, workers: Workers) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(gateway.max_connections())),
            closing: watch::Sender::new(()),
            gateway,
            handler,
            workers,
        }
    }

    async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<Drained> {
        prepare(&listener);
        let mut connections = JoinSet::new();
        tokio::select! {
            result = self.accept(&listener, &mut connections) => match result? {},
            // A gateway that shuts down needs to know nothing more of its providers.
            never = self.gateway.watch_providers() => match never {},
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
                    Ok((stream, peer)) => {
                        // One that is too many for its address is closed by being dropped.
                        let Ok(place) = self.gateway.enter(peer.ip()) else { continue };
                        let connection = self.connection();
                        let serve = |stream| async move {
                            connection.serve(stream).await;
                            drop((permit, place));
                        };
                        self.workers.spawn(stream, serve, connections);
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

    /// Prepares a connection.
    fn connection(&self) -> Connection<H> {
        Connection {
            tls: self.gateway.tls(),
            bounds: self.gateway.bounds(),
            sinks: Arc::clone(self.gateway.sinks()),
            handler: self.handler.clone(),
            closing: self.closing.subscribe(),
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

/// What one connection is served with.
struct Connection<H> {
    tls: Option<TlsAcceptor>,
    bounds: Bounds,
    sinks: Sinks,
    handler: H,
    closing: watch::Receiver<()>,
}

impl<H, F> Connection<H>
where
    H: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<GateBody>> + Send + 'static,
{
    async fn serve(self, stream: TcpStream) {
        let Self { tls, bounds, sinks, handler, closing } = self;
        match tls {
            // Boxed, or each connection without TLS would have the room for one with it.
            Some(tls) => Box::pin(serve_tls(stream, &tls, (bounds, &sinks), handler, closing)).await,
            None => {
                let kept = (bounds.clocks, &sinks);
                if let Some(broken) = http1::serve((stream, Some(has_left)), kept, handler, closing).await {
                    reset(&broken);
                }
            }
        }
    }
}

/// Makes a connection end in a reset. To a client of HTTP/1.0 the end of the connection is the end of
/// the body, and only a reset tells it that this one is not whole (RFC 9112 §8).
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        log::debug!("set_zero_linger failed: {error}");
    }
}

/// Serves one connection that begins with TLS, in the version of HTTP that both sides agree on there.
async fn serve_tls<H, F>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    (bounds, sinks): (Bounds, &Sinks),
    handler: H,
    mut closing: watch::Receiver<()>,
) where
    H: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<GateBody>> + Send + 'static,
{
    let handshake = tls.accept(stream, bounds.clocks.header);
    let stream = tokio::select! {
        stream = handshake => stream,
        // Nothing was asked for yet, so nothing is lost.
        _ = closing.changed() => return,
    };
    match stream {
        Ok(stream) if tls::is_http2(&stream) => http2::serve(stream, bounds, handler, closing).await,
        Ok(stream) => {
            let kept = (bounds.clocks, sinks);
            if let Some(broken) = http1::serve((stream, Some(tls::has_left)), kept, handler, closing).await {
                reset(broken.get_ref().0);
            }
        }
        Err(error) => log::debug!("no TLS connection: {error}"),
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
    let handler = move |request| inner.handle(request);
    let kept = (gateway.bounds().clocks, gateway.sinks());
    http1::serve((stream, None), kept, handler, closing.subscribe()).await;
}

/// Does the same for a connection that speaks HTTP/2 from its first byte, such as one whose TLS was
/// ended by a program of one's own.
///
/// # Cancel safety
/// As [`serve_stream`].
pub async fn serve_http2_stream<T>(stream: T, gateway: &Gateway)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let closing = watch::Sender::new(());
    let inner = gateway.clone();
    let handler = move |request| inner.handle(request);
    http2::serve(stream, gateway.bounds(), handler, closing.subscribe()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_has_what_was_set_on_the_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener);
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        drop(client);
    }
}
