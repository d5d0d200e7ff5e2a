//! The attempts of one request: first from the balanced pool, then from the fallbacks, each chosen when
//! it is due, by what is known then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::hedge;
use crate::outcome::Outcome;
use crate::pool::{Member, Pool};
use crate::retry::{Decision, Reach, backoff, reach};
use crate::settings::Policy;
use crate::sticky::Stickiness;
use crate::target::{Closed, Permit, Target, Why};

/// Where requests for one name may go: the balanced pool, then each fallback as a pool of its own.
#[derive(Debug)]
pub struct Route {
    pools: Vec<Pool>,
}

impl Route {
    /// Makes a route of pools in the order in which they are tried.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self { pools }
    }

    /// Returns the pools in order.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// Returns whether there is but one target, so that a failure leaves nowhere to go.
    pub fn is_single(&self) -> bool {
        self.members().nth(1).is_none()
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.pools.iter().flat_map(Pool::members)
    }
}

/// A place in a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the route's pools.
    pub pool: usize,
    /// Which of the pool's members.
    pub member: usize,
}

/// The attempts of one request. Dropped with it.
#[derive(Debug)]
pub struct Plan {
    route: Arc<Route>,
    policy: Arc<Policy>,
    session: Option<u64>,
    rng: Rng,
    /// Where attempts went, in order; those at one place stand more than once.
    tried: Vec<Place>,
    /// The attempt that was decided on and not yet taken.
    decided: Option<Attempt>,
    /// Attempts under way.
    running: u32,
    /// The client has something, or never will.
    is_over: bool,
}

/// One attempt: a target, and this request's place in it. Kept until the answer has ended, so that the
/// target's requests in flight are right. Dropped unsettled, or settled with a good head but not told how
/// the answer ended, it counts as neither success nor failure.
#[derive(Debug)]
pub struct Attempt {
    permit: Permit,
    place: Place,
    number: u32,
    stickiness: Option<Stickiness>,
}

/// Why there is no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAttempt {
    /// No target takes requests now. Known at once, without asking any.
    AllDown {
        /// When it is worth trying again.
        retry_after: Duration,
        /// What keeps them from it.
        cause: DownCause,
    },
    /// The last decision was that there is none, or none was taken since the last attempt.
    Over,
}

/// What keeps a route's targets from taking requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownCause {
    /// They fail.
    Failing,
    /// All of them asked for fewer requests.
    Cooling,
}

impl Attempt {
    /// Returns where it goes.
    pub fn target(&self) -> &Arc<Target> {
        self.permit.target()
    }

    /// Returns where in the route that stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Returns which attempt of its request it is, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns whether it went to the target of its session, where it has one and the pool is sticky.
    pub fn stickiness(&self) -> Option<Stickiness> {
        self.stickiness
    }

    /// Notes that the answer, settled as good, came to its end: only now it counts as a success.
    pub fn ended(&mut self, now: Instant) {
        self.permit.ended(now);
    }

    /// Notes that the answer, settled as good, broke off.
    pub fn broke(&mut self, now: Instant) {
        self.permit.broke(now);
    }
}

impl Plan {
    /// Makes the plan of a request. `session` is its session's hash
    /// ([`session_hash`](crate::session_hash)), if it has one.
    pub fn new(route: &Arc<Route>, policy: &Arc<Policy>, session: Option<u64>, rng: Rng) -> Self {
        Self {
            route: Arc::clone(route),
            policy: Arc::clone(policy),
            session,
            rng,
            tried: Vec::new(),
            decided: None,
            running: 0,
            is_over: false,
        }
    }

    /// Returns the first attempt, or the one that was decided on last.
    ///
    /// # Errors
    /// [`NoAttempt::AllDown`] if nothing takes requests; [`NoAttempt::Over`] if no more was decided on.
    pub fn next(&mut self, now: Instant) -> Result<Attempt, NoAttempt> {
        if let Some(attempt) = self.decided.take() {
            self.running += 1;
            return Ok(attempt);
        }
        if self.is_over || !self.tried.is_empty() {
            return Err(NoAttempt::Over);
        }
        let Some(attempt) = self.start(now) else {
            self.is_over = true;
            return Err(self.all_down(now));
        };
        let provider = attempt.target().provider();
        provider.retries.earn(self.policy.retry.budget_percent);
        hedge::earn(provider);
        self.running = 1;
        Ok(attempt)
    }

    /// Counts what became of an attempt, and decides what comes next. After [`Decision::RetrySame`] and
    /// [`Decision::Next`] the new attempt is ready: wait, then call [`next`](Self::next).
    pub fn settle(&mut self, attempt: &mut Attempt, outcome: &Outcome, now: Instant) -> Decision {
        attempt.permit.settle(outcome, now);
        self.running = self.running.saturating_sub(1);
        let reach = reach(outcome, &self.policy.retry);
        let is_final = outcome.is_answer() && reach == Reach::Nowhere;
        if !self.is_over && !is_final && self.running > 0 {
            return Decision::Wait;
        }
        if !self.is_over
            && self.has_attempts_left()
            && let Some((next, decision)) = self.follow(attempt, outcome, reach, now)
        {
            self.decided = Some(next);
            return decision;
        }
        self.is_over = true;
        if outcome.is_answer() { Decision::Pass } else { Decision::Fail }
    }

    /// Starts a second attempt beside one that is late, if the share of hedges allows it and there is
    /// another target. Of the two, the first to be settled with [`Decision::Pass`] counts; the other is
    /// to be dropped.
    pub fn hedge(&mut self, now: Instant) -> Option<Attempt> {
        if self.is_over || self.running != 1 || self.decided.is_some() || !self.has_attempts_left() {
            return None;
        }
        let first = Arc::clone(self.target_at(*self.tried.first()?)?.provider());
        let (place, stickiness) = self.choose(Whom::Any, now)?;
        let attempt = hedge::take(&first, now).then(|| self.begin(place, stickiness, now)).flatten()?;
        self.running += 1;
        Some(attempt)
    }

    /// Returns whether another attempt may follow those that there were.
    pub fn may_go_on(&self) -> bool {
        !self.is_over && self.has_attempts_left()
    }

    /// Returns whether another target could still give an answer: one that is asked beside this, or one that
    /// was not tried and takes requests now.
    pub fn has_other(&self, now: Instant) -> bool {
        let is_other = |pool: usize, member: usize| !self.tried.contains(&Place { pool, member });
        if !self.is_over && self.running > 1 {
            return true;
        }
        self.may_go_on()
            && self.route.pools.iter().enumerate().any(|(pool, members)| {
                members.members().iter().enumerate().any(|(member, Member { target, .. })| {
                    is_other(pool, member) && target.closed(&self.policy, now).is_none()
                })
            })
    }

    /// Notes that the client has got a byte: there will be no other attempt.
    pub fn commit(&mut self) {
        self.is_over = true;
        self.decided = None;
    }

    fn has_attempts_left(&self) -> bool {
        self.tried.len() < usize::try_from(self.policy.retry.max_attempts.max(1)).unwrap_or(usize::MAX)
    }

    /// Begins the attempt after `attempt`, if there is one.
    fn follow(
        &mut self,
        attempt: &Attempt,
        outcome: &Outcome,
        reach: Reach,
        now: Instant,
    ) -> Option<(Attempt, Decision)> {
        let elsewhere = match reach {
            Reach::Nowhere => return None,
            // A refusal of a key costs the provider nothing, so it is no matter of budgets.
            Reach::OtherKey => {
                self.choose_among(Whom::OtherKey(attempt), &[], now).or_else(|| self.choose(Whom::Any, now))
            }
            Reach::OtherProvider => {
                (0..self.route.pools.len()).find_map(|pool| self.choose(Whom::NewProvider(pool), now))
            }
            Reach::Elsewhere | Reach::Anywhere => self.choose_paid(now),
        };
        if let Some((place, stickiness)) = elsewhere
            && let Some(next) = self.begin(place, stickiness, now)
        {
            // The first change of place is at once. If that was no better, things are bad in general.
            let after = match self.tried.len() {
                0..=2 => Duration::ZERO,
                tried => self.backoff(tried - 3),
            };
            return Some((next, Decision::Next { after }));
        }
        if reach != Reach::Anywhere {
            return None;
        }
        let after = self.wait_at_same(attempt, outcome, now)?;
        if !self.pay(attempt.target(), now) {
            return None;
        }
        let next = self.begin(attempt.place, attempt.stickiness, now)?;
        Some((next, Decision::RetrySame { after }))
    }

    /// Returns how long to wait before the same target is asked again; `None` if that is longer than a
    /// client should wait, or its breaker is open.
    fn wait_at_same(&mut self, attempt: &Attempt, outcome: &Outcome, now: Instant) -> Option<Duration> {
        let rest = match attempt.target().closed(&self.policy, now) {
            Some(Closed { why: Why::Cooling, wait }) => wait,
            Some(Closed { why: Why::Open | Why::Draining, .. }) => return None,
            Some(Closed { why: Why::Shunned | Why::KeyRefused, .. }) | None => Duration::ZERO,
        };
        let told = match *outcome {
            Outcome::Answered { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let least = rest.max(told);
        let max = self.policy.retry.backoff_max;
        (least <= max).then(|| (least + self.backoff(self.tried.len().saturating_sub(1))).min(max))
    }

    fn backoff(&mut self, repetitions: usize) -> Duration {
        let repetitions = u32::try_from(repetitions).unwrap_or(u32::MAX);
        backoff(&self.policy.retry, repetitions, &mut self.rng)
    }

    /// Chooses and begins the first attempt.
    fn start(&mut self, now: Instant) -> Option<Attempt> {
        // A place in a trial may be gone between the choice and the attempt: then the choice is made
        // again, without that target.
        for _ in 0..=self.route.members().count() {
            let (place, stickiness) = self.choose(Whom::Any, now)?;
            if let Some(attempt) = self.begin(place, stickiness, now) {
                return Some(attempt);
            }
        }
        None
    }

    fn begin(&mut self, place: Place, stickiness: Option<Stickiness>, now: Instant) -> Option<Attempt> {
        let target = Arc::clone(self.target_at(place)?);
        let permit = target.acquire(&self.policy, now).ok()?;
        self.tried.push(place);
        let number = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        Some(Attempt { permit, place, number, stickiness })
    }

    /// Chooses a place for a repetition. One at a provider that was not asked yet is that provider's
    /// first request; one at a provider that was must be within its budget.
    fn choose_paid(&mut self, now: Instant) -> Option<(Place, Option<Stickiness>)> {
        for pool in 0..self.route.pools.len() {
            if let Some(found) = self.choose(Whom::NewProvider(pool), now) {
                return Some(found);
            }
            if let Some(found) = self.choose(Whom::InPool(pool), now)
                && let Some(target) = self.target_at(found.0)
                && self.pay(target, now)
            {
                return Some(found);
            }
        }
        None
    }

    fn pay(&self, target: &Target, now: Instant) -> bool {
        target.provider().retries.take(self.policy.retry.budget_percent, now)
    }

    /// Chooses among targets that were not tried: the first pool that has one, and by the pool's rules.
    fn choose(&mut self, whom: Whom<'_>, now: Instant) -> Option<(Place, Option<Stickiness>)> {
        // Probes can be wrong about a target, and where nothing else is left they are not believed; a key
        // is tried once more, for its refusal says more than ours. A rest is kept, unless there is but
        // one target: then there is nobody to spare it for, and it can say so itself.
        self.choose_among(whom, &[], now).or_else(|| {
            let last_resort: &[Why] = match self.route.is_single() {
                true => &[Why::Shunned, Why::KeyRefused, Why::Cooling],
                false => &[Why::Shunned, Why::KeyRefused],
            };
            self.choose_among(whom, last_resort, now)
        })
    }

    /// Chooses among targets that were not tried and are open, or closed for one of the reasons `allowed`.
    fn choose_among(
        &mut self,
        whom: Whom<'_>,
        allowed: &[Why],
        now: Instant,
    ) -> Option<(Place, Option<Stickiness>)> {
        let (route, policy, tried) = (&self.route, &self.policy, &self.tried);
        for (pool_place, pool) in route.pools.iter().enumerate() {
            let is_open = |member: usize, target: &Target| {
                let place = Place { pool: pool_place, member };
                !tried.contains(&place)
                    && whom.includes(place, target, route, tried)
                    && target.closed(policy, now).is_none_or(|closed| allowed.contains(&closed.why))
            };
            if let Some((member, stickiness)) = pool.pick(self.session, is_open, now, &mut self.rng) {
                return Some((Place { pool: pool_place, member }, stickiness));
            }
        }
        None
    }

    fn target_at(&self, place: Place) -> Option<&Arc<Target>> {
        target_at(&self.route, place)
    }

    fn all_down(&self, now: Instant) -> NoAttempt {
        let closed = || self.route.members().filter_map(|member| member.target.closed(&self.policy, now));
        let retry_after = closed().map(|closed| closed.wait).min();
        let cause = if closed().all(|closed| closed.why == Why::Cooling) && retry_after.is_some() {
            DownCause::Cooling
        } else {
            DownCause::Failing
        };
        NoAttempt::AllDown { retry_after: retry_after.unwrap_or(self.policy.breaker.recovery_timeout), cause }
    }
}

/// Among whom to choose.
#[derive(Clone, Copy)]
enum Whom<'a> {
    /// All.
    Any,
    /// Those of a pool.
    InPool(usize),
    /// Those of a pool whose provider this request has not asked yet.
    NewProvider(usize),
    /// Those with another key of an attempt's provider, in its pool.
    OtherKey(&'a Attempt),
}

impl Whom<'_> {
    fn includes(self, place: Place, target: &Target, route: &Route, tried: &[Place]) -> bool {
        match self {
            Self::Any => true,
            Self::InPool(pool) => place.pool == pool,
            Self::NewProvider(pool) => {
                let is_asked = |tried: &Place| {
                    target_at(route, *tried)
                        .is_some_and(|asked| Arc::ptr_eq(asked.provider(), target.provider()))
                };
                place.pool == pool && !tried.iter().any(is_asked)
            }
            Self::OtherKey(attempt) => {
                place.pool == attempt.place.pool
                    && Arc::ptr_eq(attempt.target().provider(), target.provider())
            }
        }
    }
}

fn target_at(route: &Route, place: Place) -> Option<&Arc<Target>> {
    route.pools.get(place.pool)?.members().get(place.member).map(|member| &member.target)
}

#[cfg(test)]
mod tests;
