//! The one timer of an exchange. Deadlines move with every piece of data; the timer does not.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

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
}

impl Alarm {
    /// Is ready once `deadline` has passed, and wakes the task then.
    ///
    /// That holds for a busy task, too. A connection that always has bytes uses up tokio's budget
    /// for the turn, after which a timer says "not yet" whatever the time is, turn after turn. So the
    /// clock is asked first, and the timer is exempt from the budget.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while Instant::now() < deadline {
            if Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Ready(())
    }
}
