//! A waker between an exchange and the task that polls it. It knows whether anything has happened since
//! the last poll, and keeps the parts of the exchange from waking the task that is polling them.
//!
//! A connection outlives the tasks that use it, one after another, and its socket and its timer remember
//! whom they wake: they wake this, and it wakes the task of the exchange under way, or none. Nor has a task
//! that wakes for another reason, such as a client that takes more, to move a connection on which nothing
//! came.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A poll is under way: what wakes now is seen at its end.
const POLLED: u8 = 1;
/// Something has happened that no poll has seen.
const WOKEN: u8 = 2;

/// The wake-ups of the exchanges of one connection, one after another.
pub(crate) struct Wakes {
    shared: Arc<Shared>,
    /// What is polled gets this one.
    waker: Waker,
    /// The task that polled last, here as well: to look whether it is another takes no lock.
    task: Waker,
}

struct Shared {
    state: AtomicU8,
    /// The task that polled last.
    task: Mutex<Waker>,
}

impl Wakes {
    pub(crate) fn new() -> Self {
        // Woken, since the first poll has everything to see.
        let shared = Shared { state: AtomicU8::new(WOKEN), task: Mutex::new(Waker::noop().clone()) };
        let shared = Arc::new(shared);
        Self { waker: Waker::from(Arc::clone(&shared)), shared, task: Waker::noop().clone() }
    }

    /// Lets go of the task that polled last.
    pub(crate) fn forget_task(&mut self) {
        self.set_task(Waker::noop());
    }

    fn set_task(&mut self, task: &Waker) {
        if !self.task.will_wake(task) {
            self.task.clone_from(task);
            self.shared.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(task);
        }
    }

    /// Polls, if anything has happened since this was last pending.
    ///
    /// All that `poll` waits for has to be polled by it, with the context that it is given. Whoever gets
    /// `Ready` has to poll again, if it wants to hear of anything further: until then no task is woken.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // The task before the look: a wake-up in between then reaches this one.
        self.set_task(cx.waker());
        let state = &self.shared.state;
        if state.load(Ordering::Acquire) & WOKEN == 0 {
            return Poll::Pending;
        }
        // Swapped, never stored: who wakes beside this and leaves it to us must have been seen.
        state.swap(POLLED, Ordering::AcqRel);
        let outcome = poll(&mut Context::from_waker(&self.waker));
        if outcome.is_ready() {
            state.swap(WOKEN, Ordering::AcqRel);
        } else if state.fetch_and(!POLLED, Ordering::AcqRel) & WOKEN != 0 {
            // Not polled again at once: what wakes itself does so to let other tasks run.
            cx.waker().wake_by_ref();
        }
        outcome
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Where either was set, the task is at work or on its way.
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) == 0 {
            self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakes").field("state", &self.shared.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::{Relaxed, SeqCst};
    use std::time::Duration;

    use super::*;

    /// A task that counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// What is polled: it can be woken from outside, and can wake itself.
    #[derive(Default)]
    struct Polled {
        polls: usize,
        waker: Option<Waker>,
    }

    impl Polled {
        fn poll(
            &mut self,
            wakes: &mut Wakes,
            task: &Arc<Task>,
            wakes_itself: bool,
            outcome: Poll<()>,
        ) -> Poll<()> {
            let waker = Waker::from(Arc::clone(task));
            wakes.poll(&mut Context::from_waker(&waker), |cx| {
                self.polls += 1;
                self.waker = Some(cx.waker().clone());
                if wakes_itself {
                    cx.waker().wake_by_ref();
                }
                outcome
            })
        }

        fn wake(&self) {
            self.waker.as_ref().unwrap().wake_by_ref();
        }
    }

    #[test]
    fn what_was_pending_is_polled_again_only_once_it_was_woken() {
        let (mut wakes, task, mut polled) = (Wakes::new(), Arc::new(Task::default()), Polled::default());
        for expected in 1..4 {
            for _ in 0..3 {
                assert_eq!(polled.poll(&mut wakes, &task, false, Poll::Pending), Poll::Pending);
                assert_eq!(polled.polls, expected);
            }
            // Two events before the next poll are one wake-up.
            polled.wake();
            polled.wake();
            assert_eq!(task.0.load(Relaxed), expected);
        }
    }

    #[test]
    fn the_task_that_polled_last_is_woken_though_its_poll_found_nothing_to_do() {
        let (mut wakes, mut polled) = (Wakes::new(), Polled::default());
        let [first, last] = [(); 2].map(|()| Arc::new(Task::default()));
        let _ = polled.poll(&mut wakes, &first, false, Poll::Pending);
        let _ = polled.poll(&mut wakes, &last, false, Poll::Pending);
        polled.wake();
        assert_eq!((first.0.load(Relaxed), last.0.load(Relaxed), polled.polls), (0, 1, 1));
    }

    #[test]
    fn between_exchanges_no_task_is_held_and_none_is_woken() {
        let (mut wakes, task, mut polled) = (Wakes::new(), Arc::new(Task::default()), Polled::default());
        let _ = polled.poll(&mut wakes, &task, false, Poll::Pending);
        wakes.forget_task();
        polled.wake();
        assert_eq!((Arc::strong_count(&task), task.0.load(Relaxed)), (1, 0));
        let _ = polled.poll(&mut wakes, &task, false, Poll::Pending);
        assert_eq!(polled.polls, 2);
        polled.wake();
        assert_eq!(task.0.load(Relaxed), 1);
    }

    #[test]
    fn a_poll_that_wakes_its_own_task_comes_again_and_one_that_yields_wakes_nobody() {
        fn check(wakes_itself: bool, outcome: Poll<()>, woken: usize, is_polled_again: bool) {
            let (mut wakes, task, mut polled) = (Wakes::new(), Arc::new(Task::default()), Polled::default());
            assert_eq!(polled.poll(&mut wakes, &task, wakes_itself, outcome), outcome);
            assert_eq!(task.0.load(Relaxed), woken, "{wakes_itself} {outcome:?}");
            let _ = polled.poll(&mut wakes, &task, false, Poll::Pending);
            assert_eq!(polled.polls == 2, is_polled_again, "{wakes_itself} {outcome:?}");
        }
        check(false, Poll::Pending, 0, false);
        check(true, Poll::Pending, 1, true);
        check(false, Poll::Ready(()), 0, true);
        check(true, Poll::Ready(()), 0, true);
    }

    /// A lost wake-up shows as a wait without end.
    #[tokio::test]
    async fn no_wake_up_of_another_thread_is_lost() {
        const EVENTS: usize = 50_000;
        let mut wakes = Wakes::new();
        let (told, waker) = (Arc::new(AtomicUsize::new(0)), wakes.waker.clone());
        let teller = std::thread::spawn({
            let told = Arc::clone(&told);
            move || {
                for _ in 0..EVENTS {
                    told.fetch_add(1, SeqCst);
                    waker.wake_by_ref();
                }
            }
        });
        let mut seen = 0;
        let mut next = async || {
            poll_fn(|cx| {
                wakes.poll(cx, |_| {
                    let now = told.load(SeqCst);
                    if now == seen {
                        return Poll::Pending;
                    }
                    seen = now;
                    Poll::Ready(())
                })
            })
            .await;
            seen
        };
        let all = async { while next().await < EVENTS {} };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        teller.join().unwrap();
    }
}
