//! The gateway's own settings: address, logs, limits and waits.

use std::path::PathBuf;
use std::time::Duration;

use crate::{CircuitBreaker, HealthCheck, LoadBalancing, Retry};

/// The resolved settings of `[llm]` outside the provider tree.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Host name or address to listen on.
    pub host: String,
    /// Port to listen on; 0 means any free one.
    pub port: u16,
    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// Shape of a log line.
    pub log_format: LogFormat,
    /// Bounds on what clients may do.
    pub limits: Limits,
    /// Longest waits.
    pub timeouts: Timeouts,
    /// What TLS is spoken with (`[llm.tls]`); without it the listener speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// How the targets of a pool share its requests (`[llm.load_balancing]`).
    pub load_balancing: LoadBalancing,
    /// When a request is tried again, and where (`[llm.retry]`).
    pub retry: Retry,
    /// When a target is left alone because it fails (`[llm.circuit_breaker]`).
    pub circuit_breaker: CircuitBreaker,
    /// What tells that a target is well (`[llm.health_check]`).
    pub health_check: HealthCheck,
    /// Names accepted in `Host` besides the loopback names, in lower case, without port.
    pub allowed_hosts: Vec<String>,
    /// Whether an address that others can reach may be served without authentication.
    pub allow_unauthenticated: bool,
    /// Whether paths that administer the vendor's account (`/v1/organization…`) are passed on.
    pub allow_admin_paths: bool,
    /// How long an event stream to a client may be silent before a comment line is put into it
    /// (`sse_keepalive_sec`, default none; 0 means none).
    pub sse_keepalive: Option<Duration>,
    /// Whether usage that no provider reports is estimated (`estimate_usage`, default no).
    pub estimate_usage: bool,
}

/// The certificate of the listener: `[llm.tls]`. Its files were looked into at load; whether the key
/// is the certificate's is seen by whoever makes the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the certificate, followed by those that lead to its authority (`cert_file`).
    pub cert_file: PathBuf,
    /// PEM file of its private key, not encrypted (`key_file`).
    pub key_file: PathBuf,
}

/// A severity of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only failures.
    Error,
    /// And what looks wrong.
    Warn,
    /// And one line per request.
    Info,
    /// And decisions.
    Debug,
    /// And everything else.
    Trace,
}

impl LogLevel {
    /// Returns the level as the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Every level, most severe first.
    pub(crate) const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Aligned text for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Returns the format as the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// Every format.
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::Json];
}

/// Bounds on what clients may do: `[llm.limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body in bytes (`max_request_size_mb`, default 32 MiB).
    pub max_request_bytes: u64,
    /// Largest body that is passed on as it comes, in bytes (`max_upload_size_mb`, default 2 GiB; 0
    /// means no limit).
    pub max_upload_bytes: Option<u64>,
    /// Longest time to receive a whole request that is read first (`max_request_duration_sec`, default 300 s).
    pub max_request_duration: Duration,
    /// Most client connections at once (`max_connections`, default 10,000).
    pub max_connections: usize,
    /// Most connections at once from one address, of IPv6 from one /64 (`max_connections_per_ip`, default
    /// half of `max_connections`; 0 means no limit). Connections from this machine are not counted.
    pub max_connections_per_ip: Option<usize>,
    /// Most requests at once on one connection of HTTP/2 (`max_streams_per_connection`, default 128).
    pub max_streams_per_connection: u32,
    /// How long a client of HTTP/2 may be silent before it is asked whether it is still there
    /// (`ping_interval`, default 30 s; 0 means that it is not asked).
    pub ping_interval: Option<Duration>,
    /// How long it has to say so (`ping_timeout`, default 20 s).
    pub ping_timeout: Duration,
    /// Longest time from a head's first byte to its end, and from the connection to the first byte
    /// (`header_timeout`, default 10 s).
    pub header_timeout: Duration,
    /// Longest time between two requests of one connection (`idle_timeout`, default 75 s).
    pub idle_timeout: Duration,
    /// Longest time between two pieces of a request body (`body_idle_timeout`, default 30 s).
    pub body_idle_timeout: Duration,
    /// Least bytes a second that a client must send of a body, on average once `body_idle_timeout`
    /// has passed (`min_body_rate`, default 240; 0 means no limit).
    pub min_body_rate: u64,
    /// Most requests to providers at once, sessions included (`max_in_flight`, default 8000).
    pub max_in_flight: usize,
    /// Most bytes that the bodies of all requests together may hold in memory
    /// (`max_body_memory_mb`, default 1 GiB, never less than `max_request_bytes`).
    pub max_body_memory_bytes: u64,
    /// Longest time that a body waits for room in that memory before it is read
    /// (`body_memory_wait`, default 1 s; 0 means not at all).
    pub body_memory_wait: Duration,
    /// Largest head of a request in bytes (`max_header_size_kb`, default 64 KiB).
    pub max_head_bytes: usize,
    /// Most header lines of a request (`max_headers`, default 100).
    pub max_headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 32 << 20,
            max_upload_bytes: Some(2048 << 20),
            max_request_duration: Duration::from_secs(300),
            max_connections: 10_000,
            max_connections_per_ip: Some(5_000),
            max_streams_per_connection: 128,
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(20),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(30),
            min_body_rate: 240,
            max_in_flight: 8000,
            max_body_memory_bytes: 1024 << 20,
            body_memory_wait: Duration::from_secs(1),
            max_head_bytes: 64 << 10,
            max_headers: 100,
        }
    }
}

/// Longest waits: `[llm.timeout]`. `None` means no limit (0 in the configuration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS, TCP and TLS together (`connection`, default 5 s).
    pub connection: Option<Duration>,
    /// From the request sent to the response head (`first_byte`, default 600 s).
    pub first_byte: Option<Duration>,
    /// Between two pieces of a response (`read`, default 300 s).
    pub read: Option<Duration>,
    /// Between two accepted pieces, of a request by an upstream or of a response by a client
    /// (`write`, default 60 s).
    pub write: Option<Duration>,
    /// The whole exchange with an upstream (`total`, default none).
    pub total: Option<Duration>,
    /// At shutdown, for running responses to end (`drain`, default 30 s; 0 means at once).
    pub drain: Duration,
    /// At shutdown, still accepting while load balancers notice (`drain_delay`, default 0 s).
    pub drain_delay: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connection: Some(Duration::from_secs(5)),
            first_byte: Some(Duration::from_secs(600)),
            read: Some(Duration::from_secs(300)),
            write: Some(Duration::from_secs(60)),
            total: None,
            drain: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8848,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            tls: None,
            load_balancing: LoadBalancing::default(),
            retry: Retry::default(),
            circuit_breaker: CircuitBreaker::default(),
            health_check: HealthCheck::default(),
            allowed_hosts: Vec::new(),
            allow_unauthenticated: false,
            allow_admin_paths: false,
            sse_keepalive: None,
            estimate_usage: false,
        }
    }
}
