//! Routes that survive: what clients see of providers that fail, while there is another one and while
//! there is none, and what the providers get to see of it.
//!
//! The clock is paused: it moves only when nothing else can happen, so that an outage of minutes takes
//! a second and every wait is exact. Providers are hosts in memory; one that is down refuses.
//!
//! What the plan alone decides is simulated in `gate-balance`, for each strategy and without a byte.
//! Here it is the whole gateway, with connections that are kept, closed and refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod all_down;
mod beside;
mod counting;
mod kept;
mod outage;
mod rig;
mod streams;
mod trouble;
mod uploads;
