//! HTTP/1.1 as a client speaks it (RFC 9112): one request out, one answer in, on whatever carries bytes.
//!
//! ```text
//! Outgoing: head and body of a request ──► transport ──► Incoming: Head, then pieces of its body
//! ```
//!
//! It is written for a proxy whose reader is the one who drives: there is no second task to wake, nothing is
//! held that has been handed on, and a connection on which nothing moves has no buffer. Heads are parsed by
//! `httparse`; what is here is framing, which is where a proxy must not be in doubt: where a message ends, and
//! whether the connection is in a state to carry another.

mod bounds;
mod chunked;
mod framing;
mod head;
mod incoming;
mod outgoing;

pub(crate) use bounds::{MAX_HEAD_BYTES, MAX_INTERIM};
pub(crate) use head::Head;
pub(crate) use incoming::Incoming;
pub(crate) use outgoing::{Broken, Message, Outgoing};

#[cfg(any(test, fuzzing))]
pub(crate) mod property;
#[cfg(test)]
mod tests;
