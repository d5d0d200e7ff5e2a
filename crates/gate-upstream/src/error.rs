//! Why an exchange failed, and whether the provider may have seen the request. The text is for the
//! log: it may name hosts, so a client's message is made from the kind alone.

use std::error::Error;
use std::sync::Arc;
use std::{fmt, io};

use crate::http1::{Broken, MAX_HEAD_BYTES, MAX_INTERIM};
use crate::response::Timings;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamErrorKind {
    /// The host has no address, or the resolver failed.
    Dns,
    /// The connection timeout passed while the name was looked up.
    DnsTimeout,
    /// No address accepted a connection.
    Connect,
    /// The connection timeout passed while TCP was connecting.
    ConnectTimeout,
    /// TLS failed: the certificate, the versions, or something that does not speak TLS.
    Tls,
    /// The connection timeout passed during the TLS handshake.
    TlsTimeout,
    /// The connection ended before the response head.
    Closed,
    /// The connection ended inside the response body.
    ClosedMidBody,
    /// What came is not HTTP, or HTTP that nobody may answer with.
    Protocol,
    /// No response head in time.
    FirstByteTimeout,
    /// The response body fell silent.
    ReadTimeout,
    /// The provider stopped taking the request.
    WriteTimeout,
    /// The whole exchange took too long.
    TotalTimeout,
    /// All connections stayed busy.
    PoolFull,
    /// This machine has no descriptor, port or memory left.
    LocalResource,
    /// The request cannot be written as HTTP, such as a path with a space.
    InvalidRequest,
    /// The source of a streamed request body failed: the fault of whoever sends it.
    RequestBody,
}

impl UpstreamErrorKind {
    /// Returns the kind's stable name for logs and metrics.
    ///
    /// ```
    /// assert_eq!(gate_upstream::UpstreamErrorKind::TlsTimeout.as_str(), "tls_timeout");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::DnsTimeout => "dns_timeout",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::TlsTimeout => "tls_timeout",
            Self::Closed => "closed",
            Self::ClosedMidBody => "closed_mid_body",
            Self::Protocol => "protocol",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::ReadTimeout => "read_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::PoolFull => "pool_full",
            Self::LocalResource => "local_resource",
            Self::InvalidRequest => "invalid_request",
            Self::RequestBody => "request_body",
        }
    }

    /// Returns whether a deadline passed.
    pub const fn is_timeout(self) -> bool {
        matches!(
            self,
            Self::DnsTimeout
                | Self::ConnectTimeout
                | Self::TlsTimeout
                | Self::FirstByteTimeout
                | Self::ReadTimeout
                | Self::WriteTimeout
                | Self::TotalTimeout
        )
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Dns => "host name lookup failed",
            Self::DnsTimeout => "host name lookup took too long",
            Self::Connect => "cannot connect",
            Self::ConnectTimeout => "connecting took too long",
            Self::Tls => "TLS failed",
            Self::TlsTimeout => "the TLS handshake took too long",
            Self::Closed => "the connection ended before the response head",
            Self::ClosedMidBody => "the connection ended inside the response body",
            Self::Protocol => "the response is not valid HTTP",
            Self::FirstByteTimeout => "no response head in time",
            Self::ReadTimeout => "the response body fell silent",
            Self::WriteTimeout => "the request is no longer being read",
            Self::TotalTimeout => "the exchange took too long",
            Self::PoolFull => "all connections are busy",
            Self::LocalResource => "this machine is out of descriptors, ports or memory",
            Self::InvalidRequest => "the request cannot be written as HTTP",
            Self::RequestBody => "the request body broke off at its source",
        }
    }
}

/// Whether the provider may have seen any of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Not one byte was given to the transport: to send the request again is always safe.
    Nothing,
    /// Some byte was. The provider may be at work on it, and charge for it.
    Maybe,
}

/// The failure of one exchange with a provider.
///
/// `Display` says what happened at which provider; the chain of [`Error::source`] says why.
pub struct UpstreamError {
    endpoint: Arc<str>,
    kind: UpstreamErrorKind,
    sent: Sent,
    retries: u32,
    /// Boxed: an error is moved often and seldom asked for it.
    timings: Option<Box<Timings>>,
    cause: Option<Cause>,
}

impl UpstreamError {
    pub(crate) fn new(endpoint: Arc<str>, sent: Sent, retries: u32, fault: Fault) -> Self {
        let (kind, cause) = (fault.kind, fault.cause);
        Self { endpoint, kind, sent, retries, timings: None, cause }
    }

    /// Says how long each step took that was taken.
    pub(crate) fn after(mut self, timings: Timings) -> Self {
        self.timings = Some(Box::new(timings));
        self
    }

    /// Returns what went wrong.
    pub fn kind(&self) -> UpstreamErrorKind {
        self.kind
    }

    /// Returns whether the provider may have seen any of the request.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Returns how often the request had been sent again, because its kept connection turned out to
    /// be closed, before this happened.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Returns how long each step took up to this, the one that failed included. `None` where none was
    /// taken, and for an error of a response's body: the steps to that are in its head.
    pub fn timings(&self) -> Option<&Timings> {
        self.timings.as_deref()
    }
}

impl fmt::Debug for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamError")
            .field("endpoint", &self.endpoint)
            .field("kind", &self.kind)
            .field("sent", &self.sent)
            .field("retries", &self.retries)
            .field("cause", &self.cause)
            .finish()
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider `{}`: {}", self.endpoint, self.kind.sentence())
    }
}

impl Error for UpstreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| match cause {
            Cause::Io(error) => error as &(dyn Error + 'static),
            Cause::Parse(error) => error,
            Cause::Tls(error) => error,
            Cause::Http(error) => error,
            Cause::Violation(violation) => violation,
        })
    }
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    Parse(httparse::Error),
    Tls(rustls::Error),
    Http(http::Error),
    Violation(Violation),
}

/// What is wrong with an answer whose lines are well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("more than {MAX_INTERIM} interim responses")]
    InterimFlood,
    #[error("a head of more than {MAX_HEAD_BYTES} bytes")]
    LargeHead,
    #[error("a `transfer-encoding` that is not exactly one `chunked`")]
    TransferCoding,
    #[error("a `transfer-encoding` in an answer of HTTP/1.0")]
    OldTransferCoding,
    #[error("a `content-length` that is no number, or more than one")]
    Length,
    #[error("a status or a header line that is none")]
    Head,
    #[error("a malformed chunk")]
    Chunk,
}

/// A kind with its cause, before anyone has said whose request it was.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: UpstreamErrorKind,
    cause: Option<Cause>,
}

impl From<UpstreamErrorKind> for Fault {
    fn from(kind: UpstreamErrorKind) -> Self {
        Self { kind, cause: None }
    }
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self { kind: UpstreamErrorKind::Protocol, cause: Some(Cause::Violation(violation)) }
    }
}

impl From<httparse::Error> for Fault {
    fn from(error: httparse::Error) -> Self {
        Self { kind: UpstreamErrorKind::Protocol, cause: Some(Cause::Parse(error)) }
    }
}

impl Fault {
    pub(crate) fn invalid_request(error: impl Into<http::Error>) -> Self {
        Self { kind: UpstreamErrorKind::InvalidRequest, cause: Some(Cause::Http(error.into())) }
    }

    pub(crate) fn dns(error: io::Error) -> Self {
        Self::local_or(UpstreamErrorKind::Dns, error)
    }

    pub(crate) fn connect(error: io::Error) -> Self {
        Self::local_or(UpstreamErrorKind::Connect, error)
    }

    /// Classifies what ended a TLS handshake. Even a plain reset counts: the port took the
    /// connection, and it is the handshake that it did not want.
    pub(crate) fn handshake(error: io::Error) -> Self {
        Self { kind: UpstreamErrorKind::Tls, cause: Some(Cause::Io(error)) }
    }

    /// Unusable key material.
    pub(crate) fn tls(error: rustls::Error) -> Self {
        Self { kind: UpstreamErrorKind::Tls, cause: Some(Cause::Tls(error)) }
    }

    /// Classifies what ended a connection that has brought no response head.
    pub(crate) fn before_head(error: io::Error) -> Self {
        // All that is not about TLS or this machine means that the peer went away.
        Self { kind: io_kind(&error, UpstreamErrorKind::Closed), cause: Some(Cause::Io(error)) }
    }

    /// Classifies what ended a connection while a response body was under way.
    pub(crate) fn mid_body(error: io::Error) -> Self {
        Self { kind: io_kind(&error, UpstreamErrorKind::ClosedMidBody), cause: Some(Cause::Io(error)) }
    }

    /// Classifies what ended a request on its way.
    pub(crate) fn broken(broken: Broken) -> Self {
        match broken {
            Broken::Source => UpstreamErrorKind::RequestBody.into(),
            Broken::Transport(error) => Self::before_head(error),
        }
    }

    fn local_or(kind: UpstreamErrorKind, error: io::Error) -> Self {
        let kind = if is_local(&error) { UpstreamErrorKind::LocalResource } else { kind };
        Self { kind, cause: Some(Cause::Io(error)) }
    }
}

fn io_kind(error: &io::Error, otherwise: UpstreamErrorKind) -> UpstreamErrorKind {
    if is_tls(error) {
        UpstreamErrorKind::Tls
    } else if is_local(error) {
        UpstreamErrorKind::LocalResource
    } else {
        otherwise
    }
}

fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Tells whether an error is about this machine: no descriptor, port, address or memory left.
pub(crate) fn is_local(error: &io::Error) -> bool {
    // ENFILE and EMFILE have the same numbers on every Unix, and no `ErrorKind`.
    const FULL_TABLES: [i32; 2] = [23, 24];
    let out_of_files = cfg!(unix) && error.raw_os_error().is_some_and(|code| FULL_TABLES.contains(&code));
    out_of_files || matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}

#[cfg(test)]
mod tests;
