//! The body of every answer: bytes of the gateway's own, or an upstream's as they come.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http_body::{Body, Frame, SizeHint};

use crate::client_io::Busy;
use crate::exchange::Exchange;
use crate::relay::Relay;
use crate::websocket::Tunnel;

/// The body of an answer of the gateway.
///
/// A closed enum inside, never a boxed `dyn Body`. Dropping it ends what it stands for: an upstream
/// that is still sending is cut off, and the request's record is written.
#[derive(Debug)]
pub struct GateBody {
    inner: Inner,
    /// Tells the connection that it is not idle; see [`Busy`].
    busy: Option<Busy>,
}

#[derive(Debug)]
enum Inner {
    Full {
        data: Option<Bytes>,
        /// Settled when the body is dropped.
        exchange: Option<Box<Exchange>>,
    },
    /// `None` only while it is dropped.
    Relay(Option<Box<Relay>>),
    /// No body: the connection leaves HTTP.
    Tunnel(Option<Box<Tunnel>>),
}

impl GateBody {
    /// Makes a body of bytes that are all there.
    pub fn full(data: impl Into<Bytes>) -> Self {
        let data = Some(data.into()).filter(|data| !data.is_empty());
        Self { inner: Inner::Full { data, exchange: None }, busy: None }
    }

    /// Makes a body that relays an upstream's.
    pub(crate) fn relay(relay: Relay) -> Self {
        Self { inner: Inner::Relay(Some(Box::new(relay))), busy: None }
    }

    /// Makes the body of an answer that begins a session of another protocol.
    pub(crate) fn tunnel(tunnel: Tunnel) -> Self {
        Self { inner: Inner::Tunnel(Some(Box::new(tunnel))), busy: None }
    }

    /// Takes the session that an answer with status 101 begins. A server of one's own runs it when
    /// its connection has left HTTP; [`serve`](crate::serve) does so by itself.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        let Inner::Tunnel(tunnel) = &mut self.inner else { return None };
        let mut tunnel = tunnel.take()?;
        tunnel.hold(self.busy.take());
        Some(tunnel)
    }

    /// Lets a body of the gateway's own settle the account of its request when it ends.
    pub(crate) fn settle(&mut self, mut account: Box<Exchange>) {
        if let Inner::Full { data, exchange } = &mut self.inner {
            // An answer to HEAD has the length of a body that is not sent.
            let is_sent = account.record.method != Some(Method::HEAD);
            let length = data.as_ref().filter(|_| is_sent).map_or(0, Bytes::len);
            account.record.bytes_out = u64::try_from(length).unwrap_or(u64::MAX);
            *exchange = Some(account);
        }
    }

    /// Keeps the connection busy until this body is dropped.
    pub(crate) fn hold(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl Drop for GateBody {
    fn drop(&mut self) {
        if let Inner::Relay(relay) = &mut self.inner
            && let Some(relay) = relay.take()
        {
            relay.leave();
        }
    }
}

impl Body for GateBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match &mut self.get_mut().inner {
            Inner::Full { data, .. } => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Inner::Relay(Some(relay)) => relay.poll_frame(cx),
            Inner::Relay(None) => Poll::Ready(None),
            Inner::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Full { data, .. } => data.is_none(),
            Inner::Relay(relay) => relay.as_ref().is_none_or(|relay| relay.is_end_stream()),
            Inner::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Full { data, .. } => SizeHint::with_exact(
                data.as_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX)),
            ),
            Inner::Relay(relay) => relay.as_ref().map_or_else(SizeHint::default, |relay| relay.size_hint()),
            Inner::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

/// The end of a body that is not whole: the connection must end uncleanly, so that no client takes
/// what it got for everything.
#[derive(Debug)]
pub struct BrokenBody(pub(crate) ());

impl fmt::Display for BrokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for BrokenBody {}
