//! Targets among which a request may choose freely, and how it does.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;

use crate::settings::Strategy;
use crate::sticky::{self, Seat, Stickiness};
use crate::strategy::Picker;
use crate::target::Target;

/// A target with its weight in one pool.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where to.
    pub target: Arc<Target>,
    /// Its share. Only proportions count, so fractions are scaled up by the caller, and the keys of a
    /// provider divide its weight among them.
    pub weight: NonZeroU32,
}

/// Whether sessions stay with their targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sticky {
    /// As long as these are not overloaded.
    #[default]
    Yes,
    /// No: each request is for itself.
    No,
}

/// Targets that are as good as each other.
#[derive(Debug)]
pub struct Pool {
    members: Vec<Member>,
    sticky: Sticky,
    picker: Picker,
}

impl Pool {
    /// Makes a pool. One without members is passed over.
    pub fn new(members: Vec<Member>, strategy: Strategy, sticky: Sticky) -> Self {
        Self { picker: Picker::new(strategy, members.len()), members, sticky }
    }

    /// Returns the members, in the order in which they were given.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Chooses among the members that are open. `is_open` may be asked more than once for each.
    pub(crate) fn pick(
        &self,
        session: Option<u64>,
        is_open: impl Fn(usize, &Target) -> bool,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<(usize, Option<Stickiness>)> {
        let is_open = |place: usize| self.members.get(place).is_some_and(|m| is_open(place, &m.target));
        match session {
            Some(session) if self.sticky == Sticky::Yes => {
                let seats = self.members.iter().enumerate().map(|(place, member)| Seat {
                    hash: member.target.hash(),
                    weight: member.weight.get(),
                    in_flight: member.target.in_flight(),
                    is_open: is_open(place),
                });
                sticky::pick(session, seats).map(|(place, stickiness)| (place, Some(stickiness)))
            }
            _ => self.picker.pick(&self.members, &is_open, now, rng).map(|place| (place, None)),
        }
    }
}
