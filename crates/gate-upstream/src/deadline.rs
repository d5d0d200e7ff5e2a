//! The one timer of an exchange. Deadlines move with every piece of data; the timer does not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Returns the runtime of the calling thread.
pub(crate) fn here() -> Option<runtime::Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

/// Returns the instant `limit` after `since`; `None` if there is no limit or it is beyond time.
pub(crate) fn after(since: Instant, limit: Option<Duration>) -> Option<Instant> {
    since.checked_add(limit?)
}

/// Returns the earlier of two deadlines, where `None` is never.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// A timer that is moved lazily.
///
/// Setting a timer costs a walk through the runtime's wheel, and a stream sets a later deadline with
/// every event. So a later deadline leaves the timer alone: it fires at the old time, finds that the
/// deadline has moved, and is set to what is left. Only an earlier deadline sets it at once.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The runtime that the timer belongs to: that in which it was first asked.
    home: Option<runtime::Id>,
    /// Whether the timer was asked since it was set, and will wake whoever asked.
    is_set: bool,
}

impl Alarm {
    /// Prepares for being asked in this runtime. A timer cannot be asked any more, and wakes nobody, once
    /// its own has ended.
    pub(crate) fn move_to(&mut self, here: Option<runtime::Id>) {
        if self.sleep.is_some() && self.home != here {
            *self = Self::default();
        }
    }

    /// Is ready if `deadline` has passed by `now`, and else wakes the task then. It has to be asked with
    /// the same waker each time: a timer that is set is not asked again.
    ///
    /// That holds for a busy task, too. A connection that always has bytes uses up tokio's budget
    /// for the turn, after which a timer says "not yet" whatever the time is, turn after turn. So the
    /// clock is asked first, and the timer is exempt from the budget.
    pub(crate) fn poll(&mut self, deadline: Instant, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if deadline <= now {
            return Poll::Ready(());
        }
        let home = &mut self.home;
        let sleep = self.sleep.get_or_insert_with(|| {
            *home = here();
            Box::pin(sleep_until(deadline))
        });
        let is_due_between = now < sleep.deadline() && sleep.deadline() <= deadline;
        if self.is_set && is_due_between {
            return Poll::Pending;
        }
        if !is_due_between {
            sleep.as_mut().reset(deadline);
        }
        while Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx).is_ready() {
            if sleep.deadline() == deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        self.is_set = true;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_timer_serves_one_deadline_after_another() {
        let mut alarm = Alarm::default();
        for (given_up, awaited) in [(60, 2), (1, 5), (3, 3), (30, 40), (4, 9)] {
            let begin = Instant::now();
            let [given_up, awaited] = [given_up, awaited].map(|seconds| begin + Duration::from_secs(seconds));
            let is_over = poll_fn(|cx| Poll::Ready(alarm.poll(given_up, begin, cx).is_ready())).await;
            assert!(!is_over);
            poll_fn(|cx| alarm.poll(awaited, Instant::now(), cx)).await;
            assert_eq!(Instant::now(), awaited);
        }
    }

    #[test]
    fn a_timer_that_was_first_asked_in_a_runtime_that_has_ended_is_made_anew() {
        let runtime = || runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut alarm, second) = (Alarm::default(), runtime());
        // Made here: what matters is where it is asked.
        second.block_on(async { alarm.move_to(here()) });
        runtime().block_on(async {
            let now = Instant::now();
            let is_over =
                poll_fn(|cx| Poll::Ready(alarm.poll(now + Duration::from_millis(20), now, cx).is_ready()));
            assert!(!is_over.await);
        });
        second.block_on(async {
            alarm.move_to(here());
            let deadline = Instant::now() + Duration::from_millis(20);
            let fires = poll_fn(|cx| alarm.poll(deadline, Instant::now(), cx));
            tokio::time::timeout(Duration::from_secs(5), fires).await.unwrap();
        });
    }
}
