//! How long, how many and whom to trust: an endpoint's limits and TLS material, as plain data that
//! compares and hashes.

use std::path::PathBuf;
use std::time::Duration;

/// How long each step of an exchange may take; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// To a usable connection: name lookup, TCP and TLS together, over all addresses.
    pub connection: Option<Duration>,
    /// From the last byte of the request that the transport took to the response head. It begins
    /// anew with each piece that is sent, so a slow upload does not use it up; interim 1xx answers
    /// do not extend it.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response body, and from the head to the first.
    pub read: Option<Duration>,
    /// Without progress while the request is being sent.
    pub write: Option<Duration>,
    /// From the call to the end of the response body.
    pub total: Option<Duration>,
}

/// Which certificate authorities vouch for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Mozilla's, compiled in. The operating system's are loaded and added only once a server turns
    /// up whose issuer is unknown: start-up then needs no file, and a company's own authority works
    /// nevertheless.
    #[default]
    Bundled,
    /// Those of a PEM file, and no others.
    CaFile(PathBuf),
}

/// How a TLS connection is made.
///
/// The files are read when the first connection with these settings is prepared. The result, with
/// its session cache, is kept as long as the client lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// Who vouches for the server.
    pub roots: Roots,
    /// PEM files of our own certificate chain and its key, for servers that ask for them.
    pub client_identity: Option<(PathBuf, PathBuf)>,
}

/// How connections are kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolSettings {
    /// Most connections open at once; at least 1 is assumed. Further requests wait.
    pub max_connections: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How long a connection may serve, give or take a fifth, so that changes of an address or
    /// behind a load balancer are noticed and connections made together do not end together.
    pub max_age: Duration,
    /// How long a request waits for one of the connections to become free.
    pub connect_wait: Duration,
}

impl Default for PoolSettings {
    /// 1024 connections, kept 4 s unused and about 5 minutes in all, waited for up to 2 s.
    ///
    /// Four seconds is short on purpose. The shortest idle limit of a common server is the 5 s of
    /// Node.js; keeping a connection longer than the server does means that sooner or later a
    /// request is written just as the server closes, and such a request must not be repeated.
    fn default() -> Self {
        Self {
            max_connections: 1024,
            idle_timeout: Duration::from_secs(4),
            max_age: Duration::from_secs(300),
            connect_wait: Duration::from_secs(2),
        }
    }
}
