//! The account of one finished request, and where it goes. Nothing of what client and model said
//! to each other is in it, and no credential.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;

use crate::attempts::Attempts;
use crate::usage::{Usage, UsageSource};

/// How a request ended, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client was sent a whole answer of the provider's, be it an error, or of the gateway's
    /// own pages.
    Complete,
    /// The client left before its answer ended.
    ClientGone,
    /// The provider's answer broke off.
    UpstreamClosed,
    /// The provider fell silent in the middle of its answer.
    UpstreamTimeout,
    /// The provider ended a stream in due form, but without its terminal event.
    UpstreamIncomplete,
    /// The provider ended a stream with an error event of its own.
    UpstreamError,
    /// The gateway answered with an error of its own; the record's `error_code` says which.
    GatewayError,
    /// The gateway shut down before the answer ended.
    Shutdown,
}

impl EndReason {
    /// Every reason, in the order in which lists show them.
    pub const ALL: [Self; 8] = [
        Self::Complete,
        Self::ClientGone,
        Self::UpstreamClosed,
        Self::UpstreamTimeout,
        Self::UpstreamIncomplete,
        Self::UpstreamError,
        Self::GatewayError,
        Self::Shutdown,
    ];

    /// Returns the name that logs and metrics show.
    ///
    /// ```
    /// # use gate_usage::EndReason;
    /// assert_eq!(EndReason::ClientGone.as_str(), "client_gone");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamIncomplete => "upstream_incomplete",
            Self::UpstreamError => "upstream_error",
            Self::GatewayError => "gateway_error",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Where the time from a request's head to the head of its answer went. A step that failed counts as
/// long as it took; one that was not taken is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Reading and checking the client's credentials.
    pub auth: Option<Duration>,
    /// Receiving the body from the client.
    pub receive: Option<Duration>,
    /// Reading the head of the body, finding provider and model, and choosing the headers that go up.
    pub route: Option<Duration>,
    /// Waiting for a free connection to the provider.
    pub queue: Option<Duration>,
    /// Name lookup and TCP, where a connection was made.
    pub connect: Option<Duration>,
    /// The TLS handshake, where there was one.
    pub tls: Option<Duration>,
    /// From the request sent to the head of the provider's answer, or to what came instead.
    pub upstream: Option<Duration>,
    /// The gateway's own share: everything that is waiting neither for the client nor for a
    /// provider.
    pub gateway: Option<Duration>,
}

/// The account of one request. There is exactly one, made when the request has ended in whatever
/// way, its client's leaving included.
///
/// A clone allocates nothing (but for a method that HTTP does not define and that is longer than
/// 15 bytes), so a sink can pass the record on to a thread of its own.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// The gateway's id of the request.
    pub request_id: Arc<str>,
    /// The provider's id of the request, from its answer.
    pub upstream_request_id: Option<Arc<str>>,
    /// The client's method, unless it sent none that could be read.
    pub method: Option<Method>,
    /// The client's path, without the query, which may hold a key; unless it could not be read.
    pub path: Option<Arc<str>>,
    /// The id of the provider, such as `openai.azure`; none if the request did not get that far.
    pub provider: Option<Arc<str>>,
    /// The upstream model, if the request names one.
    pub model: Option<Arc<str>>,
    /// The status that the client was sent; none if it left before.
    pub status: Option<u16>,
    /// When the head of the request had been read.
    pub started_at: SystemTime,
    /// From then to the end of the answer.
    pub duration: Duration,
    /// From then to the head of the provider's answer.
    pub ttfb: Option<Duration>,
    /// Where the time to the head of the answer went.
    pub steps: StepTimes,
    /// The tokens used, as far as they are known.
    pub usage: Usage,
    /// Who says so.
    pub usage_source: UsageSource,
    /// How the request ended.
    pub end: EndReason,
    /// The code of the error that the gateway made, or blames on the provider.
    pub error_code: Option<&'static str>,
    /// How often the request was sent to a provider, those times included when it was sent again since a
    /// kept connection had closed.
    pub attempts: u32,
    /// Each attempt with its target, its outcome and its time.
    pub tried: Attempts,
    /// Whether the request went to the target that its session belongs to, where it has a session and the
    /// choice was by it.
    pub sticky_hit: Option<bool>,
    /// The size of the request's body in bytes.
    pub bytes_in: u64,
    /// How many bytes of the answer's body were handed to the client's connection.
    pub bytes_out: u64,
}

impl RequestRecord {
    /// Opens the account of a request of which only the head is known.
    ///
    /// Its end is [`EndReason::ClientGone`] until somebody says otherwise: an account that is
    /// closed without a word is that of a request whose client gave up.
    pub fn new(request_id: Arc<str>, method: Method, path: Arc<str>, started_at: SystemTime) -> Self {
        Self {
            request_id,
            upstream_request_id: None,
            method: Some(method),
            path: Some(path),
            provider: None,
            model: None,
            status: None,
            started_at,
            duration: Duration::ZERO,
            ttfb: None,
            steps: StepTimes::default(),
            usage: Usage::default(),
            usage_source: UsageSource::None,
            end: EndReason::ClientGone,
            error_code: None,
            attempts: 0,
            tried: Attempts::default(),
            sticky_hit: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

/// Takes the records of finished requests.
pub trait RecordSink: Send + Sync {
    /// Takes one record.
    ///
    /// This runs in the middle of the data path, also while a body is dropped: it must neither
    /// block nor panic. A sink that writes anywhere hands the record to a bounded queue, and
    /// drops and counts what does not fit.
    fn record(&self, record: &RequestRecord);
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: monitoring L-6.
    #[test]
    fn the_names_of_ends_are_distinct_and_in_snake_case() {
        let names = EndReason::ALL.map(EndReason::as_str);
        for (index, name) in names.iter().enumerate() {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(!names.iter().skip(index + 1).any(|other| other == name), "{name} twice");
        }
    }

    // Spec: monitoring L-4.
    #[test]
    fn an_account_that_is_closed_without_a_word_is_that_of_a_client_gone() {
        let record =
            RequestRecord::new("req-1".into(), Method::POST, "/v1/responses".into(), SystemTime::UNIX_EPOCH);
        assert_eq!(record.end, EndReason::ClientGone);
        assert_eq!((record.usage.is_empty(), record.usage_source), (true, UsageSource::None));
        assert_eq!((record.status, record.attempts), (None, 0));
    }
}
