//! Whole exchanges: over pipes in memory with a paused clock, and TLS over loopback.

mod pool;
mod repeats;
mod requests;
mod responses;
mod steps;
pub(crate) mod support;
mod timeouts;
mod tls;
mod turns;
mod upgrade;
mod uploads;
