//! Configuration of emx-gate: where it comes from, what it means, and how names resolve in it.
//!
//! It reads files and, in one place, the environment; it opens no socket and runs no async code.

mod api_base;
mod balancing;
mod document;
mod environment;
mod explain;
mod file_access;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod layers;
mod load;
mod origin;
mod problem;
mod provider;
mod query;
mod report;
mod secret;
mod section;
mod server;
mod setting;
mod sources;
mod tree;
mod value;

pub use api_base::{ApiBase, ApiBaseError, NoDeployment, Scheme};
pub use balancing::{CircuitBreaker, HealthCheck, LoadBalancing, Retry, Strategy};
pub use explain::{Explanation, explain};
pub use host::is_loopback_host;
pub use load::{Loaded, load};
pub use origin::{Origin, Source};
pub use problem::{Problem, Problems, Warning};
pub use provider::{AuthStyle, ClientIdentity, Model, OnDisconnect, Provider};
pub use report::Report;
pub use secret::Secret;
pub use server::{Limits, LogFormat, LogLevel, ServerConfig, Timeouts, TlsConfig};
pub use sources::{SourceArgs, Sources};
pub use tree::{
    DefaultError, ListedModel, NotFoundReason, PoolMember, ProviderIndex, ProviderTree, ResolveError, Route,
    Scope, Target,
};

/// The whole configuration, resolved.
#[derive(Clone, Debug)]
pub struct GateConfig {
    /// The gateway's own settings.
    pub server: ServerConfig,
    /// The providers and their models.
    pub providers: ProviderTree,
}
