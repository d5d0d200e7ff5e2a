//! One HTTP/1.1 connection together with the machine that moves its bytes. Nobody drives it but its
//! owner: a request's future, a response body, or for an instant the pool.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::runtime;
use tokio::task::unconstrained;
use tokio::time::Instant;

use crate::RequestBody;
use crate::deadline::{Alarm, here};
use crate::wakes::Wakes;
use crate::wire::{Transport, Wire, WireState};

/// A connection and when it has to go.
pub(crate) struct Connection {
    /// Through which everything of an exchange is polled, from the first byte sent to the last one read.
    pub(crate) wakes: Wakes,
    pub(crate) machine: Machine,
    /// The runtime that its socket wakes.
    home: Option<runtime::Id>,
    /// When it is too old for a further request.
    pub(crate) retire_at: Option<Instant>,
    /// When it last came back to the pool.
    pub(crate) idle_since: Instant,
}

/// What moves the bytes of a connection.
pub(crate) struct Machine {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<TokioIo<Wire>, RequestBody>,
    progress: Arc<WireState>,
    has_ended: bool,
    /// The timer of the exchange under way. It stays where it is set, since the next one ends later.
    pub(crate) alarm: Alarm,
}

impl Connection {
    /// Sets HTTP up over a transport. Nothing is sent yet.
    pub(crate) async fn open(transport: Transport, retire_at: Option<Instant>) -> hyper::Result<Self> {
        let progress = Arc::new(WireState::default());
        let wire = TokioIo::new(Wire::new(transport, Arc::clone(&progress)));
        let (sender, driver) = http1::handshake(wire).await?;
        let machine = Machine { sender, driver, progress, has_ended: false, alarm: Alarm::default() };
        let (home, idle_since) = (here(), Instant::now());
        Ok(Self { wakes: Wakes::new(), machine, home, retire_at, idle_since })
    }

    /// Tells whether the connection was made in this runtime. Elsewhere it works as well, but each
    /// readiness of its socket then crosses from one thread to another.
    pub(crate) fn is_at_home(&self, here: Option<runtime::Id>) -> bool {
        self.home == here
    }

    /// Prepares for an exchange in this runtime.
    pub(crate) fn begin(&mut self, here: Option<runtime::Id>) {
        self.machine.alarm.move_to(here);
    }

    /// Takes the connection apart after an answer that ended HTTP on it: the transport, and what was
    /// read behind that answer. `None` if the connection still speaks HTTP.
    pub(crate) fn into_transport(mut self) -> Option<(Transport, Bytes)> {
        self.machine.has_run_out().then(|| {
            let parts = self.machine.driver.into_parts();
            (parts.io.into_inner().into_transport(), parts.read_buf)
        })
    }

    /// Ends an exchange and returns whether there may be another: see [`is_reusable`](Self::is_reusable).
    ///
    /// hyper mostly knows it from the poll that brought the end of the answer, and then is not asked again.
    /// A connection that nobody uses holds on to no task, whose memory would else stay as long as it does.
    pub(crate) fn end(&mut self) -> bool {
        self.wakes.forget_task();
        !self.machine.has_ended && (self.machine.sender.is_ready() || self.is_reusable())
    }

    /// Finds out, without waiting, whether the connection can take a request: both messages of the
    /// last exchange are complete, both sides want to go on, and the server has neither closed it
    /// nor sent anything unasked.
    ///
    /// The driver is polled once, since only reading tells: a close that arrived while nobody looked
    /// leaves the sender "ready".
    pub(crate) fn is_reusable(&mut self) -> bool {
        !self.machine.has_run_out() && self.machine.sender.is_ready()
    }
}

impl Machine {
    /// Hands a request over. The future yields the response head, but only
    /// [`poll_drive`](Self::poll_drive) makes it come.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.progress.expect_head();
        self.sender.send_request(request)
    }

    /// Moves bytes both ways as far as they go. `Ready` means that the connection has ended; it is
    /// told once, and later calls return `Pending`.
    pub(crate) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.has_ended {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.driver).poll(cx);
        self.has_ended = outcome.is_ready();
        outcome
    }

    /// Returns whether the connection has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns what is known about the write side.
    pub(crate) fn progress(&self) -> &WireState {
        &self.progress
    }

    /// Moves bytes without waiting, and returns whether the connection has ended.
    ///
    /// The poll uses no waker, and is exempt from tokio's budget, under which a busy task would find every
    /// connection alive.
    fn has_run_out(&mut self) -> bool {
        if !self.has_ended {
            let mut cx = Context::from_waker(Waker::noop());
            let outcome = Pin::new(&mut unconstrained(&mut self.driver)).poll(&mut cx);
            self.has_ended = outcome.is_ready();
        }
        self.has_ended
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("progress", &self.machine.progress)
            .field("has_ended", &self.machine.has_ended)
            .finish_non_exhaustive()
    }
}
