//! Decides where a request goes, whether it goes again, and what is to be thought of who answered. It
//! does no I/O and reads no clock: each call gets `now`, chance comes from a generator that is passed in,
//! and so a test of an hour's outage takes a millisecond and always ends the same.
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//!
//! use gate_balance::*;
//!
//! let mut now = Instant::now();
//! let registry = Registry::default();
//! let member = |provider: &str| Member {
//!     target: registry.target(TargetId { provider: provider.to_owned(), key: 0 }, now),
//!     weight: NonZeroU32::MIN,
//! };
//! let members = vec![member("openai.east"), member("openai.west")];
//! let route = Arc::new(Route::new(vec![Pool::new(members, Strategy::Weighted, Sticky::Yes)]));
//! let policy = Arc::new(Policy::default());
//!
//! // East cannot be reached; so far nobody knows.
//! let send = |target: &Target| match target.id().provider.as_str() {
//!     "openai.east" => Outcome::Unreachable,
//!     _ => Outcome::Answered { status: 200, retry_after: None, latency: Duration::from_millis(80) },
//! };
//! let mut plan = Plan::new(&route, &policy, None, fastrand::Rng::with_seed(1));
//! let (mut attempt, decision) = loop {
//!     let mut attempt = plan.next(now).expect("a target is up");
//!     let outcome = send(attempt.target());
//!     match plan.settle(&mut attempt, &outcome, now) {
//!         Decision::RetrySame { after } | Decision::Next { after } => now += after,
//!         decision => break (attempt, decision),
//!     }
//! };
//! assert_eq!((attempt.number(), decision), (2, Decision::Pass));
//! // All of the answer has come.
//! attempt.ended(now);
//! ```
//!
//! How the pieces fit: a [`Registry`] has every [`Target`], a provider with one of its keys, and what is
//! known of it: breaker, rest, health, latency, requests in flight. It lives as long as the process, so a
//! reload forgets nothing. A [`Route`] belongs to a configuration: a [`Pool`] to choose from, then
//! fallbacks. A [`Policy`] has the rules. A [`Plan`] is one request on its way along a route; each
//! [`Attempt`] that it gives out is to be settled with an [`Outcome`], which teaches the target's state
//! and brings a [`Decision`]. An attempt is kept until its answer has ended: only then a good one counts as
//! a success ([`Attempt::ended`]) or, broken off, as a failure ([`Attempt::broke`]). Dropped before, it counts
//! as nothing: a client that leaves says nothing about a provider.
//!
//! There is a lock for each target, pool and budget, held for a few instructions. Of two only one order
//! occurs: a pool's, then a target's.

mod breaker;
mod budget;
mod clock;
mod cooldown;
mod health;
mod hedge;
mod latency;
mod outcome;
mod plan;
mod pool;
mod registry;
mod retry;
mod settings;
mod sticky;
mod strategy;
mod target;
mod window;

pub use breaker::{Breaker, BreakerState, Ticket};
pub use budget::ShareBudget;
pub use cooldown::parse_retry_after;
pub use health::{Change, Health, HealthReport, ShownBy};
pub use outcome::{Fault, Outcome, Verdict};
pub use plan::{Attempt, DownCause, NoAttempt, Place, Plan, Route};
pub use pool::{Member, Pool, Sticky};
pub use registry::Registry;
pub use retry::Decision;
pub use settings::{BreakerSettings, CooldownSettings, HealthSettings, Policy, RetrySettings, Strategy};
pub use sticky::{Stickiness, session_hash};
pub use target::{Draining, Finding, Probe, Provider, Target, TargetId};
