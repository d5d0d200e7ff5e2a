//! Whether a client has left, as its socket tells it without being read.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::lazy_timer::LazyTimer;

/// How often the socket is asked. It cannot wake anyone for this: while there is something to be read,
/// which nobody reads, it is ready all the time.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

/// Tells whether a client has ended its sending side, or the whole connection; `None` for a stream that
/// can only be read to find out.
pub(crate) type HasLeft<T> = Option<fn(&T) -> bool>;

/// [`HasLeft`] for TCP. What the client has sent may still stand there unread.
pub(crate) fn has_left(stream: &TcpStream) -> bool {
    // What is known is known at once; nobody is woken for more.
    let mut cx = Context::from_waker(Waker::noop());
    let ready = pin!(stream.ready(Interest::READABLE)).poll(&mut cx);
    matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

/// Asks a stream again and again.
pub(super) struct Leaving<T> {
    has_left: HasLeft<T>,
    next: Option<Instant>,
    timer: LazyTimer,
}

impl<T> Leaving<T> {
    pub(super) fn new(has_left: HasLeft<T>) -> Self {
        Self { has_left, next: None, timer: LazyTimer::default() }
    }

    /// Is ready when the client has left, and wakes the task to be asked again while it has not.
    pub(super) fn poll(&mut self, stream: &T, cx: &mut Context<'_>) -> Poll<()> {
        let Some(has_left) = self.has_left else { return Poll::Pending };
        while !has_left(stream) {
            let next = *self.next.get_or_insert_with(|| Instant::now() + INTERVAL);
            std::task::ready!(self.timer.poll(cx, next));
            self.next = None;
        }
        Poll::Ready(())
    }
}
