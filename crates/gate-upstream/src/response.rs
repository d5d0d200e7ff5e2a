//! What a provider answered: the head, how long each step took, and a body still to come.

use std::time::Duration;

use http::header::HeaderMap;
use http::{StatusCode, Version};

use crate::UpstreamBody;

/// A provider's answer. Any status is one, also 3xx, 4xx, 5xx and an unasked 101.
#[derive(Debug)]
pub struct UpstreamResponse {
    /// The status.
    pub status: StatusCode,
    /// The version that the provider claims.
    pub version: Version,
    /// All headers. Of a message that names both, only `transfer-encoding` is left, which is one
    /// `chunked`. There is one `content-length` or none, and the body obeys it; of an answer to HEAD
    /// and of a 304 it tells the length of the body that did not come.
    pub headers: HeaderMap,
    /// The body.
    pub body: UpstreamBody,
    /// How long each step took.
    pub timings: Timings,
    /// Whether only the end of the connection ends the body, so that a cut looks like an end.
    pub is_close_delimited: bool,
}

/// How long each step of an exchange took, up to the response head or to the fault that came instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until a connection was free.
    pub pool_wait: Duration,
    /// The name lookup, if there was one. This and what follows count also where they failed, as long as
    /// they took to do so.
    pub dns: Option<Duration>,
    /// TCP, if a connection was made.
    pub connect: Option<Duration>,
    /// The TLS handshake, if there was one.
    pub tls: Option<Duration>,
    /// From the start of sending on the connection in use to the response head; `None` where none was
    /// made.
    pub first_byte: Option<Duration>,
    /// Whether the connection had served before.
    pub reused: bool,
    /// How often the request was sent again because its kept connection turned out to be closed.
    pub retries: u32,
}
