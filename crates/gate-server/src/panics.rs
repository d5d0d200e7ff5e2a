//! Confines a panic to the request that met it. A panic is a bug of ours, or of a body or a sink that
//! an embedder brought; it must not end the connection of a neighbour, still less the process.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use crate::error::{ApiError, ErrorCode};
use crate::request_id::RequestId;

/// A panic was caught. Its text is gone on purpose: the panic of a slice quotes what it was slicing,
/// which may be a client's body or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

thread_local! {
    /// What this thread is at work for.
    static AT_WORK: RefCell<Option<RequestId>> = const { RefCell::new(None) };
}

/// Returns the id of the request that the calling thread is at work for, if there is one.
///
/// It is for panic hooks, which run before anything is unwound. The gateway itself installs none,
/// since a process has only one.
pub fn request_at_work() -> Option<Arc<str>> {
    // A hook may run while a thread ends, and then there is nothing to tell.
    AT_WORK.try_with(|id| id.try_borrow().ok()?.as_ref().map(RequestId::to_shared)).ok()?
}

/// Says what the thread is at work for until it is dropped; then it is what it was before.
struct AtWork(Option<RequestId>);

impl AtWork {
    fn on(id: RequestId) -> Self {
        Self(AT_WORK.with(|at_work| at_work.replace(Some(id))))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = AT_WORK.try_with(|at_work| at_work.replace(before));
    }
}

/// Does something for a request and catches its panic.
///
/// # Unwind safety
/// What `act` had in hand may be half changed, so callers must not go on with it: after a panic they
/// say so to the client, drop what they hold, and with it close the connection to the provider. What
/// requests share stands behind locks that no panic leaves half changed.
pub(crate) fn guarded<T>(id: RequestId, act: impl FnOnce() -> T) -> Result<T, Panicked> {
    let _at_work = AtWork::on(id);
    catch_unwind(AssertUnwindSafe(act)).map_err(|_| Panicked)
}

/// Runs a future for a request and catches its panic, as [`guarded`] does, in each of its polls.
///
/// The future is pinned by the caller: an async function that takes another future by value has room for
/// it twice, where it came and where it is pinned, and requests are large ones.
///
/// # Cancel safety
/// That of the future.
pub(crate) async fn caught<F: Future>(
    id: &RequestId,
    mut future: Pin<&mut F>,
) -> Result<F::Output, Panicked> {
    // It is not polled again after a panic, as its only poller ends here.
    poll_fn(|cx| match guarded(id.clone(), || future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// What the client is told, on a connection that then ends: nobody knows how much of the request
/// was read.
pub(crate) fn internal_error() -> ApiError {
    ApiError::new(ErrorCode::InternalError, MESSAGE)
        .with_detail("a panic was caught; the panic hook tells where it was".to_owned())
        .closing()
}

/// The client's sentence.
pub(crate) const MESSAGE: &str =
    "the gateway failed on this request; the fault is its own, and its log tells more under the request's id";

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::SystemTime;

    use super::*;

    // Spec: security S-26.
    #[tokio::test]
    async fn a_panic_is_caught_in_whichever_poll_it_comes() {
        for yields in 0..3 {
            let id = RequestId::new(SystemTime::now());
            let future = pin!(async {
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                assert_eq!(request_at_work().as_deref(), Some(id.as_str()));
                std::panic::panic_any("a test")
            });
            let outcome: Result<(), Panicked> = caught(&id, future).await;
            assert_eq!(outcome, Err(Panicked));
            assert_eq!(request_at_work(), None);
        }
    }

    #[tokio::test]
    async fn catching_takes_no_room_for_what_it_watches() {
        let id = RequestId::new(SystemTime::now());
        let large = pin!(async {
            let bytes = [1_u8; 4096];
            tokio::task::yield_now().await;
            bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>()
        });
        let watched = caught(&id, large);
        assert!(size_of_val(&watched) < 256, "{} bytes", size_of_val(&watched));
        assert_eq!(watched.await, Ok(4096));
    }

    // Spec: security S-26.
    #[test]
    fn work_within_work_is_that_of_the_inner_request() {
        let [outer, inner] = [0, 1].map(|_| RequestId::new(SystemTime::now()));
        let seen = guarded(outer.clone(), || {
            let inside = guarded(inner.clone(), request_at_work);
            (inside, request_at_work())
        });
        assert_eq!(seen, Ok((Ok(Some(inner.to_shared())), Some(outer.to_shared()))));
    }
}
