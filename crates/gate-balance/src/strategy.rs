//! The ways to choose one of a pool's open members. Each walks the few members there are and allocates
//! nothing.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use fastrand::Rng;

use crate::pool::Member;
use crate::settings::Strategy;

/// What a request in flight at a target counts that has never answered, in seconds. Until a target has
/// answered once, it gets one request, and then others get theirs.
const UNKNOWN_LATENCY: f64 = 60.0;

/// A strategy with what it must remember.
#[derive(Debug)]
pub(crate) struct Picker {
    strategy: Strategy,
    /// Requests so far, for `RoundRobin`.
    turn: AtomicUsize,
    /// How far each member is ahead of its share, for `Weighted`.
    credits: Mutex<Vec<i64>>,
}

impl Picker {
    pub(crate) fn new(strategy: Strategy, members: usize) -> Self {
        Self { strategy, turn: AtomicUsize::new(0), credits: Mutex::new(vec![0; members]) }
    }

    /// Chooses among the members whose place is open.
    pub(crate) fn pick(
        &self,
        members: &[Member],
        is_open: &dyn Fn(usize) -> bool,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<usize> {
        let open = || members.iter().enumerate().filter(|(place, _)| is_open(*place));
        match self.strategy {
            Strategy::RoundRobin => self.round_robin(open),
            Strategy::Weighted => self.weighted(open()),
            Strategy::LeastRequests => least_requests(open(), rng),
            Strategy::Random => random(open(), rng),
            Strategy::P2cEwma => {
                let first = random(open(), rng)?;
                let second = random(open().filter(|(place, _)| *place != first), rng);
                Some(second.map_or(first, |second| cheaper(members, first, second, now)))
            }
        }
    }

    /// Counts among the open ones: to skip a closed one would give its turns to its neighbour.
    fn round_robin<'a, I: Iterator<Item = (usize, &'a Member)>>(
        &self,
        open: impl Fn() -> I,
    ) -> Option<usize> {
        let count = open().count();
        let turn = self.turn.fetch_add(1, Relaxed).checked_rem(count)?;
        // One may have closed since it was counted.
        open().nth(turn).or_else(|| open().next()).map(|(place, _)| place)
    }

    /// Smooth weighted round robin, as in nginx: each member earns its weight, the richest is chosen and
    /// pays what all have earned. So 5, 1, 1 comes as a a b a c a a and not as a a a a a b c.
    fn weighted<'a>(&self, open: impl Iterator<Item = (usize, &'a Member)>) -> Option<usize> {
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        let mut richest: Option<(usize, i64)> = None;
        for (place, member) in open {
            let weight = i64::from(member.weight.get());
            let credit = credits.get_mut(place)?;
            *credit += weight;
            total += weight;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((place, *credit));
            }
        }
        let (place, _) = richest?;
        *credits.get_mut(place)? -= total;
        Some(place)
    }
}

/// Chooses in proportion to weights, in one pass: each member replaces the choice so far with the chance
/// that its weight has among those seen.
fn random<'a>(open: impl Iterator<Item = (usize, &'a Member)>, rng: &mut Rng) -> Option<usize> {
    let mut total = 0_u64;
    let mut chosen = None;
    for (place, member) in open {
        let weight = u64::from(member.weight.get());
        total += weight;
        if rng.u64(0..total) < weight {
            chosen = Some(place);
        }
    }
    chosen
}

/// Among those with the fewest requests for their weight, chooses in proportion to weights: in a quiet
/// time all are equal, and the first one would get everything.
fn least_requests<'a>(open: impl Iterator<Item = (usize, &'a Member)>, rng: &mut Rng) -> Option<usize> {
    // The load and weight of the least loaded so far, and the weights of those that tie with it.
    let mut least: Option<(u64, u64)> = None;
    let mut total = 0;
    let mut chosen = None;
    for (place, member) in open {
        // The count is read once: it changes under our eyes.
        let load = u64::from(member.target.in_flight());
        let weight = u64::from(member.weight.get());
        let order = least.map_or(Ordering::Less, |(least_load, least_weight)| {
            (load * least_weight).cmp(&(least_load * weight))
        });
        match order {
            Ordering::Greater => continue,
            Ordering::Less => (least, total) = (Some((load, weight)), weight),
            Ordering::Equal => total += weight,
        }
        if rng.u64(0..total) < weight {
            chosen = Some(place);
        }
    }
    chosen
}

/// Returns the one that would answer sooner, were each as large as its weight says. That weights counted
/// when the two were drawn is not enough: of two members both are always drawn.
fn cheaper(members: &[Member], first: usize, second: usize, now: Instant) -> usize {
    let cost = |place: usize| {
        members.get(place).map_or(f64::MAX, |member| {
            let in_flight = f64::from(member.target.in_flight());
            let wait = match member.target.latency_seconds(now) {
                Some(latency) => latency * (in_flight + 1.0),
                None => UNKNOWN_LATENCY * in_flight,
            };
            wait / f64::from(member.weight.get())
        })
    };
    if cost(second) < cost(first) { second } else { first }
}
