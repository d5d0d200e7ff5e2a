//! A scripted HTTP/1.1 upstream that records every request. It decides nothing by itself: a queue of
//! replies or a closure does.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use gate_testkit::mock::{MockUpstream, Reply};
//! use gate_testkit::raw::RawClient;
//!
//! let mock = MockUpstream::replying([Reply::json(200, r#"{"ok":true}"#)]);
//! let mut client = RawClient::new(mock.connect());
//! client.send(b"GET /v1/models HTTP/1.1\r\nhost: mock\r\n\r\n").await?;
//! let response = client.read_response().await?;
//! assert_eq!(response.body.bytes, br#"{"ok":true}"#);
//! assert_eq!(mock.next_request().await.target, "/v1/models");
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

mod reply;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::PATIENCE;
use crate::body::{Broken, ScriptBody};

pub use reply::Reply;

/// The buffer of an in-memory connection in bytes: small, so that a slow reader is felt soon.
const DUPLEX_BYTES: usize = 64 * 1024;

/// A request as the mock received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRequest {
    /// The method, such as `POST`.
    pub method: String,
    /// The request target as sent: path and query.
    pub target: String,
    /// Names in lower case and values, in the order of arrival; a repeated name stands where it came
    /// first. Bytes that are no UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body without its framing; what had arrived, if it broke off.
    pub body: Bytes,
    /// Whether the body arrived whole.
    pub is_complete: bool,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl ReceivedRequest {
    /// Returns the first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns how often a header came.
    pub fn header_count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(key, _)| key == name).count()
    }

    /// Returns the body as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What has happened at a mock so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections opened.
    pub opened: usize,
    /// Connections that have ended.
    pub closed: usize,
    /// Requests received, whole or broken off.
    pub requests: usize,
    /// Replies that the peer did not wait for: dropped before their script was played.
    pub cancelled: usize,
}

/// A scripted upstream. Dropping it ends its connections and frees its ports.
#[derive(Debug)]
pub struct MockUpstream {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    script: Mutex<Script>,
    log: Mutex<Log>,
    counts: watch::Sender<Counts>,
}

enum Script {
    Queue(VecDeque<Reply>),
    Handler(Box<dyn FnMut(&ReceivedRequest) -> Reply + Send>),
}

#[derive(Default)]
struct Log {
    requests: Vec<ReceivedRequest>,
    /// How many of them `next_request` has handed out.
    taken: usize,
}

impl MockUpstream {
    /// Makes a mock that gives these replies in order. A request too many gets a 500 that says so.
    pub fn replying(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::new(Script::Queue(replies.into_iter().collect()))
    }

    /// Makes a mock that asks the closure for each reply.
    pub fn answering(handler: impl FnMut(&ReceivedRequest) -> Reply + Send + 'static) -> Self {
        Self::new(Script::Handler(Box::new(handler)))
    }

    fn new(script: Script) -> Self {
        let shared = Shared {
            script: Mutex::new(script),
            log: Mutex::default(),
            counts: watch::Sender::new(Counts::default()),
        };
        Self { shared: Arc::new(shared), tasks: Mutex::default() }
    }

    /// Opens an in-memory connection and returns the client's end.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as the other functions that serve.
    pub fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(DUPLEX_BYTES);
        self.serve_stream(server);
        client
    }

    /// Serves a connection that is open already.
    pub fn serve_stream(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        self.spawn(Arc::clone(&self.shared).serve(io));
    }

    /// Serves every connection that arrives in the channel, such as those of an in-memory dialer.
    pub fn serve_incoming<S>(&self, incoming: mpsc::Receiver<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        self.spawn(crate::serve::each_incoming(incoming, move |io| Arc::clone(&shared).serve(io)));
    }

    /// Serves every connection of the listener.
    pub fn serve_listener(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            crate::serve::each_tcp(listener, move |io| Arc::clone(&shared).serve(io)).await;
        });
    }

    /// Listens on a free port of 127.0.0.1 and returns the address.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn bind(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        self.serve_listener(listener);
        Ok(addr)
    }

    /// Returns every request so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        locked(&self.shared.log).requests.clone()
    }

    /// Returns what has happened so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits for the next request that this function has not returned yet.
    ///
    /// # Panics
    ///
    /// When none arrives within [`PATIENCE`]: the test has failed.
    pub async fn next_request(&self) -> ReceivedRequest {
        let mut counts = self.shared.counts.subscribe();
        loop {
            if let Some(request) = locked(&self.shared.log).take() {
                return request;
            }
            changed(&mut counts, "the next request").await;
        }
    }

    /// Waits until the counts are as the closure wants them, and returns them; `what` names the
    /// event in the message of a failure.
    ///
    /// # Panics
    ///
    /// When nothing changes within [`PATIENCE`]: the test has failed.
    pub async fn wait_until(&self, what: &str, mut is_reached: impl FnMut(Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts.subscribe();
        loop {
            let now = *counts.borrow_and_update();
            if is_reached(now) {
                return now;
            }
            changed(&mut counts, what).await;
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = locked(&self.tasks);
        // Tasks that have ended are dropped here, so that the set does not grow without end.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

async fn changed(counts: &mut watch::Receiver<Counts>, what: &str) {
    let changed = tokio::time::timeout(PATIENCE, counts.changed()).await;
    #[expect(clippy::panic, reason = "the caller is a test, and it has failed")]
    if !matches!(changed, Ok(Ok(()))) {
        panic!("the mock upstream waited in vain for {what}; so far {:?}", *counts.borrow());
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, io: impl AsyncRead + AsyncWrite + Unpin) {
        let mut connection = 0;
        self.counts.send_modify(|counts| {
            connection = counts.opened;
            counts.opened += 1;
        });
        let _closed = OnDrop(|| self.counts.send_modify(|counts| counts.closed += 1));
        let service = service_fn(|request| {
            let shared = Arc::clone(&self);
            async move { Ok::<_, Infallible>(shared.answer(request, connection).await) }
        });
        // No timer: a paused clock must not close idle connections. Errors are the peer's leaving
        // or the break that a script wants; tests see both in the counts and at the client's side.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, connection: usize) -> Response<WatchedBody> {
        let received = receive(request, connection).await;
        let reply = locked(&self.script).reply_to(&received);
        locked(&self.log).requests.push(received);
        self.counts.send_modify(|counts| counts.requests += 1);
        // From here on the peer may leave, which drops this future or the body that it returns.
        let (delay, response) = reply.into_parts();
        let (head, body) = response.into_parts();
        let watched = WatchedBody { body, shared: Arc::clone(&self) };
        match delay {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
        Response::from_parts(head, watched)
    }
}

/// Reads a request to its end, or to where it breaks off.
async fn receive(request: Request<Incoming>, connection: usize) -> ReceivedRequest {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    let mut is_complete = true;
    while let Some(frame) = incoming.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => body.extend_from_slice(&bytes),
            // Trailers are not recorded.
            Ok(Err(_)) => {}
            Err(_) => {
                is_complete = false;
                break;
            }
        }
    }
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    ReceivedRequest {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers,
        body: body.into(),
        is_complete,
        connection,
    }
}

impl Script {
    fn reply_to(&mut self, request: &ReceivedRequest) -> Reply {
        match self {
            Self::Queue(replies) => replies.pop_front().unwrap_or_else(|| {
                let message = format!("the mock has no reply left for {} {}", request.method, request.target);
                Reply::text(500, message)
            }),
            Self::Handler(handler) => handler(request),
        }
    }
}

impl Log {
    fn take(&mut self) -> Option<ReceivedRequest> {
        let request = self.requests.get(self.taken)?.clone();
        self.taken += 1;
        Some(request)
    }
}

/// A reply's body that tells when it is dropped before its end.
struct WatchedBody {
    body: ScriptBody,
    shared: Arc<Shared>,
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if !self.body.is_played() {
            self.shared.counts.send_modify(|counts| counts.cancelled += 1);
        }
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("counts", &*self.counts.borrow()).finish_non_exhaustive()
    }
}

/// Locks although a test's handler may have panicked under the lock: that test fails anyway, and the
/// others should tell their own story.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
