//! The upstream side of the gateway: it carries one request to a provider's HTTP API and hands back
//! the answer as it comes. It knows no configuration, decides nothing about retries beyond the one
//! that is always safe, and never looks into a body.
//!
//! ```text
//! UpstreamClient ── Pool per connection identity ── Connection ── Transport (TCP, TLS or memory)
//!        │                                               │
//!      send(Endpoint, UpstreamRequest) ──► UpstreamResponse { head, UpstreamBody }
//! ```
//!
//! Two decisions shape the crate:
//!
//! * **Whoever waits drives.** No task is spawned for a connection. The future of
//!   [`UpstreamClient::send`] polls it until the response head is there, and then the
//!   [`UpstreamBody`] does. Data never changes tasks, a burst of small events is handed on in one
//!   go, and dropping the future or the body closes the socket, which cancels the request.
//! * **Errors are classified where they are born.** An [`UpstreamError`] says what went wrong
//!   ([`UpstreamErrorKind`]) and whether a byte of the request may have left ([`Sent`]): that is all
//!   a caller needs to choose a status, or to try elsewhere. A 4xx or 5xx is a response, no error.
//!
//! Only HTTP/1.1 is spoken. One HTTP/2 connection carries the streams of many clients, and a few
//! readers that stall can make the peer close all of them.

mod anthropic;
mod body;
mod client;
mod connection;
mod credential;
mod deadline;
mod dial;
mod endpoint;
mod error;
mod exchange;
mod eyeballs;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod http1;
mod openai;
mod pool;
mod request;
mod request_body;
mod resolver;
mod response;
mod settings;
mod tls;
mod transport;
mod upgrade;
mod wakes;

#[cfg(test)]
mod tests;

pub use body::UpstreamBody;
pub use client::UpstreamClient;
pub use credential::{AuthStyle, Credential, RequestCredential};
pub use dial::{Dialer, MemoryDialer, MemoryListener};
pub use endpoint::{Endpoint, EndpointConfig, EndpointError, Scheme};
pub use error::{Sent, UpstreamError, UpstreamErrorKind};
pub use pool::PoolStats;
pub use request::UpstreamRequest;
pub use request_body::{BodySource, RequestBody, RequestBodyError};
pub use response::{Timings, UpstreamResponse};
pub use settings::{PoolSettings, Roots, Timeouts, TlsSettings};
pub use upgrade::{Upgrade, UpgradedIo};
