//! The two moments of a shutdown: new requests are turned away, then running answers are ended.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The state of a shutdown, shared by everything that has to notice it.
#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    is_draining: AtomicBool,
    is_ending: AtomicBool,
    ending: Arc<Notify>,
    in_flight: AtomicUsize,
    /// Those of them that have a place among the requests to providers.
    admitted: AtomicUsize,
}

impl Shutdown {
    /// From now on the gateway says that it is not ready.
    pub(crate) fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Ends every running answer.
    pub(crate) fn end_answers(&self) {
        // Before the wake-up, so that whoever registers after it still sees the flag.
        self.is_ending.store(true, Ordering::SeqCst);
        self.ending.notify_waiters();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    /// Returns how many requests are being answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { shutdown: Arc::clone(self), is_counted: true, is_admitted: false }
    }
}

/// Counts one request as in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    shutdown: Arc<Shutdown>,
    is_counted: bool,
    is_admitted: bool,
}

impl InFlight {
    /// Waits until running answers are to be ended.
    pub(crate) async fn ended(&self) {
        let mut watch = EndWatch::default();
        poll_fn(|cx| watch.poll(&self.shutdown, cx)).await;
    }

    /// Runs a future, but no longer than until running answers are to be ended.
    ///
    /// # Cancel safety
    /// That of the future.
    pub(crate) async fn unless_ended<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut watch = EndWatch::default();
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => watch.poll(&self.shutdown, cx).map(|()| None),
        })
        .await
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Takes one of `most` places among the requests to providers, and tells whether there was one.
    pub(crate) fn admit(&mut self, most: usize) -> bool {
        let add = |admitted: usize| (admitted < most).then_some(admitted + 1);
        let is_admitted = self.is_admitted
            || self.shutdown.admitted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        self.is_admitted = is_admitted;
        is_admitted
    }

    /// Gives the place to the next request: this one asks no provider any more.
    pub(crate) fn give_place(&mut self) {
        if std::mem::take(&mut self.is_admitted) {
            self.shutdown.admitted.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts the request no longer, since nobody waits for its answer; a shutdown still ends it.
    pub(crate) fn leave(&mut self) {
        self.give_place();
        if std::mem::take(&mut self.is_counted) {
            self.shutdown.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.leave();
    }
}

/// One waiter for the end of answers. It costs nothing until it first has to wait, and then one
/// registration for as long as the same task polls it.
#[derive(Default)]
pub(crate) struct EndWatch {
    registered: Option<(Pin<Box<OwnedNotified>>, Waker)>,
}

impl EndWatch {
    pub(crate) fn poll(&mut self, shutdown: &Shutdown, cx: &mut Context<'_>) -> Poll<()> {
        if shutdown.is_ending() {
            return Poll::Ready(());
        }
        if self.registered.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let mut notified = match self.registered.take() {
            Some((notified, _)) => notified,
            None => Box::pin(Arc::clone(&shutdown.ending).notified_owned()),
        };
        if notified.as_mut().poll(cx).is_ready() || shutdown.is_ending() {
            return Poll::Ready(());
        }
        self.registered = Some((notified, cx.waker().clone()));
        Poll::Pending
    }
}

impl std::fmt::Debug for EndWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndWatch").field("is_registered", &self.registered.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_wakes_when_answers_are_ended() {
        let shutdown = Arc::new(Shutdown::default());
        let guard = shutdown.enter();
        let waiter = tokio::spawn(async move { guard.ended().await });
        tokio::task::yield_now().await;
        assert_eq!(shutdown.in_flight(), 1);
        shutdown.end_answers();
        waiter.await.unwrap();
        assert_eq!(shutdown.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_late_waiter_does_not_wait() {
        let shutdown = Arc::new(Shutdown::default());
        shutdown.end_answers();
        shutdown.enter().ended().await;
    }
}
