//! One provider, resolved: everything inherited is filled in, and each setting knows its origin.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use gate_model_ref::ProviderKind;

use crate::query;
use crate::{ApiBase, Origin, Secret};

/// A node of the tree that has an endpoint: the resolved form of `[llm.provider.<path>]`.
///
/// `Debug` shows the names of headers and query parameters without their values, which may be
/// credentials.
#[derive(Clone)]
pub struct Provider {
    /// The dotted path as configured, such as `openai.azure`.
    pub id: String,
    /// The wire dialect.
    pub kind: ProviderKind,
    /// Base URL of the API; a kind root has the vendor's own by default.
    pub api_base: ApiBase,
    /// How the credential is sent.
    pub auth: AuthStyle,
    /// The credential, with `env:` and `file:` already followed; of several the first.
    pub api_key: Option<Secret>,
    /// Every credential, no two of them equal: those of `api_keys`, or the one of `api_key`, or none.
    pub api_keys: Vec<Secret>,
    /// Query parameters added to every request, in order of their names.
    pub query: BTreeMap<String, String>,
    /// Headers added to every request, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Whether the path of `api_base` is used as it is.
    pub exact_base: bool,
    /// Longest wait for a byte from this provider; overrides the global waits.
    pub timeout: Option<Duration>,
    /// Estimate of a request's output for reserving; never written into a body.
    pub max_tokens: Option<u64>,
    /// Most connections to this provider at once, idle ones included.
    pub max_connections: Option<usize>,
    /// PEM file with the authorities to trust instead of the bundled roots.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and its key.
    pub client_identity: Option<ClientIdentity>,
    /// `anthropic-version` for clients that sent none; only for the kind `anthropic`.
    pub anthropic_version: Option<String>,
    /// What becomes of an answer whose client leaves.
    pub on_disconnect: OnDisconnect,
    /// Whether the usage of a stream is asked for where the client left it open.
    pub inject_stream_usage: bool,
    /// The provider's own default model: the upstream model that its bare name stands for.
    pub default_model: Option<String>,
    /// The provider's own configured models in the order of the configuration: its default, its
    /// `models`, then the model sections below it.
    pub models: Vec<Model>,
    /// The share of a pool's requests that this one gets, 1 to 10,000, where it is to be in pools.
    pub weight: Option<u32>,
    /// Where its requests go once it fails, as configured: paths of providers and names of models.
    pub fallback: Vec<String>,
    /// How late the first byte of an answer is before a second target is asked too.
    pub hedge_after: Option<Duration>,
    /// Whether a name that is not configured is refused instead of passed through: `models` is
    /// given and `open` is not.
    pub is_closed: bool,
    /// Whether anything in a file, the environment or an override mentions this provider; an
    /// unmentioned kind root exists only with its built-in defaults.
    pub is_configured: bool,
    /// Whether the provider speaks WebSocket, so that upgrades are passed on to it.
    pub websocket: bool,
    /// Where each setting came from, by setting name (`api_base`, `api_key`, …).
    pub origins: BTreeMap<&'static str, Origin>,
    /// Traditional variables that are set but lost, by setting name: a file, an `EMX_LLM_`
    /// variable or another traditional variable said otherwise.
    pub losers: BTreeMap<&'static str, Vec<Origin>>,
}

impl Provider {
    /// Returns the URL of a request for people to read; `path_below_v1` is such as
    /// `/chat/completions`, `model` the upstream model where it is known (see [`ApiBase::url`]).
    pub fn url(&self, path_below_v1: &str, model: Option<&str>) -> String {
        self.api_base.url(self.kind, self.exact_base, path_below_v1, model, &self.query)
    }

    /// Returns a client's query (`a=1&b=2`, without `?`) without the parameters that `query` or
    /// `api_base` set, which are the operator's to decide. What is left is byte for byte the
    /// client's, and may be empty.
    pub fn client_query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        let is_in_base = |name: &str| self.api_base.query().is_some_and(|base| query::has(base, name));
        query::without(query, |name| self.query.contains_key(name) || is_in_base(name))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("id", &self.id)
            .field("api_base", &self.api_base)
            .field("auth", &self.auth)
            .field("api_key", &self.api_key)
            .field("query", &self.query.keys())
            .field("headers", &self.headers.keys())
            .field("models", &self.models)
            .field("is_closed", &self.is_closed)
            .field("is_configured", &self.is_configured)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

/// One configured model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name below the provider's path: the section's dotted path, or the upstream model.
    pub name: String,
    /// What is sent upstream, spelled as configured.
    pub upstream: String,
    /// Whether a section of its own names it, so that its dotted path is its exact name.
    pub is_section: bool,
    /// Estimate of a request's output for reserving, where this model has its own.
    pub max_tokens: Option<u64>,
}

/// How a provider wants its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStyle {
    /// `authorization: Bearer …`
    Bearer,
    /// `x-api-key: …`
    XApiKey,
    /// `api-key: …`
    ApiKey,
    /// No credential at all.
    None,
}

impl AuthStyle {
    /// Returns the style as the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::XApiKey => "x-api-key",
            Self::ApiKey => "api-key",
            Self::None => "none",
        }
    }

    /// Every style.
    pub(crate) const ALL: [Self; 4] = [Self::Bearer, Self::XApiKey, Self::ApiKey, Self::None];
}

/// What becomes of a provider's answer whose client leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDisconnect {
    /// It is cancelled at the provider, which costs no more than what came until then.
    #[default]
    Cancel,
    /// It is read to its end, within bounds, to learn what it really cost.
    Drain,
}

impl OnDisconnect {
    /// Returns the word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Drain => "drain",
        }
    }

    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Cancel, Self::Drain];
}

/// A client certificate for mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// PEM file with the certificate chain, leaf first.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}
