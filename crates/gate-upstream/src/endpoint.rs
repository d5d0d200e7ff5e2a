//! Where and how a provider's API is reached, prepared once so that a request only copies.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use gate_model_ref::ProviderKind;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, InvalidUri, PathAndQuery};
use http::{Uri, uri};

use crate::credential::{AuthStyle, Credential};
use crate::settings::{PoolSettings, Timeouts, TlsSettings};
use crate::{anthropic, pool};

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What an [`Endpoint`] is made of.
#[derive(Clone)]
pub struct EndpointConfig {
    /// The provider's id, for logs and errors.
    pub name: Arc<str>,
    /// The wire dialect.
    pub kind: ProviderKind,
    /// Whether the connection is encrypted.
    pub scheme: Scheme,
    /// `host[:port]`; it is also what the `host` header says.
    pub authority: String,
    /// What stands before every path, such as `/v1` or nothing.
    pub path_prefix: String,
    /// What stands first in every query, already encoded.
    pub query: Option<String>,
    /// Where the key is written.
    pub auth: AuthStyle,
    /// The configured key.
    pub credential: Option<Credential>,
    /// Headers that every request gets; they replace a client's of the same name.
    pub headers: HeaderMap,
    /// The `anthropic-version` of requests that name none; `None` is the dialect's own default.
    pub default_version: Option<HeaderValue>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// How TLS is spoken, where it is.
    pub tls: TlsSettings,
    /// How connections are kept.
    pub pool: PoolSettings,
}

impl fmt::Debug for EndpointConfig {
    /// Shows what tells endpoints apart. Values of static headers are often keys: only their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("scheme", &self.scheme)
            .field("authority", &self.authority)
            .field("path_prefix", &self.path_prefix)
            .field("auth", &self.auth)
            .field("credential", &self.credential)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("timeouts", &self.timeouts)
            .field("tls", &self.tls)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

/// Settings that make no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The authority is no `host[:port]`.
    #[error("provider `{endpoint}`: `{authority}` is not a host with an optional port")]
    Authority {
        /// The provider's id.
        endpoint: String,
        /// What was given.
        authority: String,
    },
    /// The prefix or the query cannot stand in a request line.
    #[error("provider `{endpoint}`: `{path}` cannot stand in a request line")]
    Path {
        /// The provider's id.
        endpoint: String,
        /// The path and query without the configured query's values.
        path: String,
        /// Why.
        source: InvalidUri,
    },
    /// The key holds a byte that no header may hold.
    #[error("provider `{endpoint}`: the key holds a character that cannot be sent in a header")]
    Credential {
        /// The provider's id.
        endpoint: String,
    },
    /// A configured header is none.
    #[error("provider `{endpoint}`: `{header}` is not a valid header name, or its value cannot be sent")]
    Header {
        /// The provider's id.
        endpoint: String,
        /// The header's name.
        header: String,
    },
    /// The certificates or keys cannot be used.
    #[error("provider `{endpoint}`: {message}")]
    Tls {
        /// The provider's id.
        endpoint: String,
        /// What is wrong with which file.
        message: String,
    },
}

impl EndpointError {
    /// Makes the error of a configured header that is none.
    pub fn header(endpoint: &str, header: &str) -> Self {
        Self::Header { endpoint: endpoint.to_owned(), header: header.to_owned() }
    }
}

/// A prepared endpoint. Cloning is cheap.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    kind: ProviderKind,
    auth: AuthStyle,
    authority: Authority,
    path_prefix: String,
    query: Option<String>,
    host: HeaderValue,
    credential: Option<(HeaderName, HeaderValue)>,
    headers: HeaderMap,
    default_version: Option<HeaderValue>,
    timeouts: Timeouts,
    identity: pool::Identity,
}

impl Endpoint {
    /// Prepares an endpoint. No file is read and no connection made.
    ///
    /// # Errors
    /// [`EndpointError`] names the setting that cannot be used, and never a key.
    pub fn try_new(config: EndpointConfig) -> Result<Self, EndpointError> {
        let named = || config.name.to_string();
        let authority = parse_authority(&config)?;
        let sample = join(&config.path_prefix, "/", config.query.as_deref(), None);
        PathAndQuery::from_str(&sample).map_err(|source| EndpointError::Path {
            endpoint: named(),
            path: config.path_prefix.clone(),
            source,
        })?;
        let credential = match &config.credential {
            Some(key) => {
                config.auth.header(key).map_err(|_| EndpointError::Credential { endpoint: named() })?
            }
            None => None,
        };
        let mut headers = config.headers;
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| EndpointError::Authority {
            endpoint: config.name.to_string(),
            authority: config.authority.clone(),
        })?;
        let identity = pool::Identity::new(
            authority.host().trim_matches(['[', ']']).to_ascii_lowercase(),
            authority.port_u16().unwrap_or(config.scheme.default_port()),
            (config.scheme == Scheme::Https).then_some(config.tls),
            config.pool,
        );
        let default_version = match config.kind {
            ProviderKind::Anthropic => Some(config.default_version.unwrap_or(anthropic::DEFAULT_VERSION)),
            ProviderKind::OpenAi => None,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                name: config.name,
                kind: config.kind,
                auth: config.auth,
                authority,
                path_prefix: config.path_prefix,
                query: config.query,
                host,
                credential,
                headers,
                default_version,
                timeouts: config.timeouts,
                identity,
            }),
        })
    }

    /// Returns the provider's id.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the provider's id as something to keep.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.inner.name)
    }

    /// Returns the wire dialect.
    pub fn kind(&self) -> ProviderKind {
        self.inner.kind
    }

    /// Returns whether a key is configured and would be sent.
    pub fn has_credential(&self) -> bool {
        self.inner.credential.is_some()
    }

    /// Returns where the key is written.
    pub fn auth(&self) -> AuthStyle {
        self.inner.auth
    }

    /// Returns the URL that a request goes to.
    ///
    /// `path` is the part below the prefix and `query` the client's own, without `?`.
    ///
    /// # Errors
    /// They cannot stand in a request line.
    pub fn uri(&self, path: &str, query: Option<&str>) -> Result<Uri, http::Error> {
        let scheme = if self.inner.identity.tls.is_some() { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
        Uri::builder()
            .scheme(scheme)
            .authority(self.inner.authority.clone())
            .path_and_query(self.path_and_query(path, query)?)
            .build()
    }

    /// Returns what the request line says.
    pub(crate) fn path_and_query(&self, path: &str, query: Option<&str>) -> Result<PathAndQuery, InvalidUri> {
        PathAndQuery::try_from(join(&self.inner.path_prefix, path, self.inner.query.as_deref(), query))
    }

    pub(crate) fn host(&self) -> &HeaderValue {
        &self.inner.host
    }

    pub(crate) fn credential(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.inner.credential.as_ref()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.inner.headers
    }

    pub(crate) fn default_version(&self) -> Option<&HeaderValue> {
        self.inner.default_version.as_ref()
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.inner.timeouts
    }

    pub(crate) fn identity(&self) -> &pool::Identity {
        &self.inner.identity
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.inner.name)
            .field("kind", &self.inner.kind)
            .field("authority", &self.inner.authority)
            .field("path_prefix", &self.inner.path_prefix)
            .finish_non_exhaustive()
    }
}

fn parse_authority(config: &EndpointConfig) -> Result<Authority, EndpointError> {
    let text = &config.authority;
    let parsed = Authority::from_str(text).ok().filter(|authority| {
        // `http` takes user information, an empty host and ports that are no number.
        let port = authority.as_str().strip_prefix(authority.host());
        !authority.host().is_empty()
            && (port == Some("") || authority.port_u16().is_some_and(|port| port != 0))
    });
    parsed.ok_or_else(|| EndpointError::Authority {
        endpoint: config.name.to_string(),
        authority: text.rsplit('@').next().unwrap_or_default().to_owned(),
    })
}

/// Joins `prefix` and `path`, and the two queries where there are any, without touching an octet of
/// either: what a client encoded stays encoded.
fn join(prefix: &str, path: &str, configured: Option<&str>, client: Option<&str>) -> String {
    let [configured, client] = [configured, client].map(Option::unwrap_or_default);
    // To the byte: what has room to spare takes another allocation when it becomes a URI.
    let room = [configured, client].map(|query| if query.is_empty() { 0 } else { query.len() + 1 });
    let mut joined = String::with_capacity(prefix.len() + path.len() + room[0] + room[1]);
    joined.push_str(prefix);
    joined.push_str(path);
    let mut separator = '?';
    for query in [configured, client] {
        if !query.is_empty() {
            joined.push(separator);
            joined.push_str(query);
            separator = '&';
        }
    }
    joined
}

#[cfg(test)]
mod tests;
