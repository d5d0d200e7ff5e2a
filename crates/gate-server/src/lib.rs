//! The gateway: it finds the provider that a request's model names, sends the request there as it
//! came, and relays the answer as it comes. It translates nothing.
//!
//! ```no_run
//! use gate_config::{Sources, load};
//! use gate_server::{Gateway, serve};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let sources = Sources::empty().with_text("demo", "[llm.provider.openai]\napi_key = \"sk-example\"\n");
//! let gateway = Gateway::builder(load(&sources)?.config).build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8848").await?;
//! serve(listener, gateway, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Errors are answers: [`Gateway::handle`] cannot fail. Libraries must not decide where lines go
//! or what a signal means, so this one writes through the `log` facade only, reports each finished
//! request to the [`RecordSink`]s it is given, and stops when the future it is given completes.

mod answer;
mod attempts;
mod auth;
mod balance;
mod batch;
mod body;
mod body_memory;
mod client_headers;
mod client_io;
mod containers;
mod content;
mod drains;
mod edge;
mod error;
mod exchange;
mod extra_frame;
mod failure;
mod form;
mod forward;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod head;
mod headers;
mod health;
mod hold;
mod hops;
mod intake;
mod journey;
mod known_ways;
mod lazy_timer;
mod listing;
mod makers;
mod masking;
mod objects;
mod own;
mod pace;
mod panics;
mod plan;
mod probe;
mod query;
mod receive;
mod relay;
mod request_id;
mod request_line;
mod route;
mod scope;
mod serve;
mod shutdown;
mod snapshot;
mod text;
mod upload;
mod watch;
mod websocket;

pub use body::{BrokenBody, GateBody};
pub use gate_usage::{Attempt, AttemptOutcome, Attempts, RecordSink, RequestRecord, StepTimes};
pub use gateway::{Gateway, GatewayBuilder};
pub use panics::request_at_work;
pub use probe::{Probe, ProbeError};
pub use serve::{
    Drained, TlsError, check_certificate, serve, serve_http2_stream, serve_on, serve_stream, serve_with,
};
pub use snapshot::BuildError;
pub use websocket::Tunnel;
