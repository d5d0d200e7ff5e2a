//! One HTTP/1.1 connection together with the machine that moves its bytes. Nobody drives it but its
//! owner: a request's future, a response body, or for an instant the pool.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::{fmt, io};

use bytes::Bytes;
use http::Method;
use tokio::runtime;
use tokio::task::unconstrained;
use tokio::time::Instant;

use crate::deadline::{Alarm, here};
use crate::error::Fault;
use crate::http1::{Head, Incoming, Message, Outgoing};
use crate::transport::Transport;
use crate::wakes::Wakes;

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
    transport: Transport,
    outgoing: Outgoing,
    incoming: Incoming,
    method: Method,
    /// The timer of the exchange under way. It stays where it is set, since the next one ends later.
    pub(crate) alarm: Alarm,
}

impl Connection {
    /// Sets HTTP up over a transport. Nothing is sent yet.
    pub(crate) fn new(transport: Transport, retire_at: Option<Instant>) -> Self {
        let machine = Machine {
            transport,
            outgoing: Outgoing::default(),
            incoming: Incoming::new(),
            method: Method::default(),
            alarm: Alarm::default(),
        };
        let (home, idle_since) = (here(), Instant::now());
        Self { wakes: Wakes::new(), machine, home, retire_at, idle_since }
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
    /// read behind that answer.
    pub(crate) fn into_transport(mut self) -> (Transport, Bytes) {
        let early = self.machine.incoming.take_early();
        (self.machine.transport, early)
    }

    /// Ends an exchange and returns whether there may be another, as far as is known.
    ///
    /// A connection that nobody uses holds on to no task, whose memory would else stay as long as it does.
    pub(crate) fn end(&mut self) -> bool {
        self.wakes.forget_task();
        self.machine.may_go_on()
    }

    /// Finds out, without waiting, whether the connection can take a request: both messages of the
    /// last exchange are complete, both sides want to go on, and the server has neither closed it
    /// nor sent anything unasked.
    pub(crate) fn is_reusable(&mut self) -> bool {
        self.machine.may_go_on() && self.machine.is_silent()
    }
}

impl Machine {
    /// Hands a request over. Nothing moves until the head of its answer is polled for.
    pub(crate) fn begin(&mut self, message: Message) {
        self.method.clone_from(&message.method);
        self.outgoing.begin(message);
        self.incoming.begin();
    }

    /// Takes the request back, if no byte of it was sent and it can be sent elsewhere.
    pub(crate) fn take_back(&mut self) -> Option<Message> {
        let (head, body) = self.outgoing.take_back()?;
        Some(Message { method: self.method.clone(), head, body })
    }

    /// Returns how far the request has got.
    pub(crate) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// Returns how much of the answer is still to come.
    pub(crate) fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// Sends the request and reads the head of its answer. Part of the request may still be on its way
    /// when it comes.
    ///
    /// # Errors
    /// The connection ended, the request broke off, or what comes is no answer.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Fault>> {
        // Before the first byte is sent: a server that has closed the connection has not seen the request.
        if self.outgoing.taken() == 0
            && let Poll::Ready(ended) = Incoming::poll_silence(&mut self.transport, cx)
        {
            let error = ended.err().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
            return Poll::Ready(Err(Fault::before_head(error)));
        }
        self.outgoing.poll(&mut self.transport, cx).map_err(Fault::broken)?;
        self.incoming.poll_head(&mut self.transport, &self.method, cx)
    }

    /// Reads the next piece of the answer's body, and sends what is left of the request.
    ///
    /// # Errors
    /// Either of the two broke off.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if !self.outgoing.is_over()
            && let Err(broken) = self.outgoing.poll(&mut self.transport, cx)
        {
            return Poll::Ready(Some(Err(Fault::broken(broken))));
        }
        self.incoming.poll_data(&mut self.transport, cx)
    }

    fn may_go_on(&self) -> bool {
        self.outgoing.is_over() && self.incoming.may_follow()
    }

    /// Returns whether the server has kept silent, and the connection open.
    ///
    /// The look uses no waker, and is exempt from tokio's budget, under which a busy task would find every
    /// connection silent.
    fn is_silent(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let transport = &mut self.transport;
        let mut look = unconstrained(poll_fn(|cx| Incoming::poll_silence(transport, cx)));
        Pin::new(&mut look).poll(&mut cx).is_pending()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("outgoing", &self.machine.outgoing)
            .field("incoming", &self.machine.incoming)
            .finish_non_exhaustive()
    }
}
