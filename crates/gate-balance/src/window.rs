//! Successes and failures of the last while, in slots of time.

use std::time::{Duration, Instant};

/// A slot is a tenth of the window, so the count is right to a tenth of it.
const SLOTS: u64 = 10;

/// Counts that forget what is older than the window.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    origin: Instant,
    /// Of the newest slot, counted from `origin`.
    newest: u64,
    slots: [Count; SLOTS as usize],
}

/// How many requests there were, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) all: u32,
    pub(crate) failed: u32,
}

impl Window {
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin, newest: 0, slots: Default::default() }
    }

    /// Notes one request, and returns the counts of the window that ends now.
    pub(crate) fn note(&mut self, is_failure: bool, length: Duration, now: Instant) -> Count {
        // They count centuries, and are divided much faster than all that a duration can hold.
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let slot = nanos(now.saturating_duration_since(self.origin)) / (nanos(length) / SLOTS).max(1);
        // A slot of the past means that the length has changed: then old counts cannot be placed.
        if slot < self.newest || slot - self.newest >= SLOTS {
            self.slots = Default::default();
        } else {
            for passed in self.newest + 1..=slot {
                self.count(passed, |count| *count = Count::default());
            }
        }
        self.newest = slot;
        self.count(slot, |count| {
            count.all = count.all.saturating_add(1);
            count.failed = count.failed.saturating_add(u32::from(is_failure));
        });
        self.slots.iter().fold(Count::default(), |sum, count| Count {
            all: sum.all.saturating_add(count.all),
            failed: sum.failed.saturating_add(count.failed),
        })
    }

    pub(crate) fn clear(&mut self) {
        self.slots = Default::default();
    }

    fn count(&mut self, slot: u64, change: impl FnOnce(&mut Count)) {
        let place = usize::try_from(slot % SLOTS).unwrap_or_default();
        if let Some(count) = self.slots.get_mut(place) {
            change(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        const LENGTH: Duration = Duration::from_secs(10);
        let origin = Instant::now();
        let check = |notes: &[(u64, bool)], expected: (u32, u32)| {
            let mut window = Window::new(origin);
            let mut last = Count::default();
            for &(at, is_failure) in notes {
                last = window.note(is_failure, LENGTH, origin + Duration::from_secs(at));
            }
            assert_eq!((last.all, last.failed), expected, "{notes:?}");
        };
        check(&[(0, true)], (1, 1));
        check(&[(0, true), (9, false)], (2, 1));
        check(&[(0, true), (10, false)], (1, 0));
        check(&[(0, true), (5, true), (12, false)], (2, 1));
        check(&[(0, true), (1_000, false)], (1, 0));
    }
}
