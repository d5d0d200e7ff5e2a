//! One immutable configuration with everything prepared that a request needs from it. This is the
//! only place that turns configuration into upstream endpoints.

use std::sync::Arc;

use gate_config::{GateConfig, Provider, ProviderIndex, ProviderTree, Scheme, ServerConfig};
use gate_upstream::{
    AuthStyle, Credential, Endpoint, EndpointConfig, EndpointError, PoolSettings, Roots, Timeouts,
    TlsSettings, UpstreamClient,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::edge::HostGuard;
use crate::serve::{TlsAcceptor, TlsError};

/// Why no gateway can be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A provider's settings make no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The certificate of `[llm.tls]` cannot be used.
    #[error("`[llm.tls]`: {0}")]
    Tls(#[from] TlsError),
}

/// A configuration, ready to serve. Each request keeps the one that it began with.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) server: ServerConfig,
    pub(crate) providers: ProviderTree,
    pub(crate) host_guard: HostGuard,
    /// What the listener speaks TLS with, if it does.
    pub(crate) tls: Option<TlsAcceptor>,
    endpoints: Vec<Endpoint>,
}

impl Snapshot {
    /// Prepares a configuration.
    ///
    /// # Errors
    /// The first provider whose settings make no endpoint, such as a header that is none, or a
    /// certificate that cannot be used.
    pub(crate) fn try_new(config: GateConfig, upstream: &UpstreamClient) -> Result<Self, BuildError> {
        let GateConfig { server, providers, .. } = config;
        let endpoints = providers
            .providers()
            .map(|(_, provider)| {
                let endpoint = Endpoint::try_new(endpoint_config(provider, &server)?)?;
                // Certificates are read now: a bad file is a fault of the configuration, not of
                // the first request.
                upstream.prepare(&endpoint)?;
                Ok(endpoint)
            })
            .collect::<Result<_, EndpointError>>()?;
        let host_guard = HostGuard::new(&server);
        let tls = server.tls.as_ref().map(TlsAcceptor::try_new).transpose()?;
        Ok(Self { server, providers, host_guard, tls, endpoints })
    }

    /// Returns the endpoint of a provider.
    #[expect(clippy::indexing_slicing, reason = "one endpoint was made for each provider of this tree")]
    pub(crate) fn endpoint(&self, index: ProviderIndex) -> &Endpoint {
        &self.endpoints[index.position()]
    }
}

fn endpoint_config(provider: &Provider, server: &ServerConfig) -> Result<EndpointConfig, EndpointError> {
    let base = &provider.api_base;
    Ok(EndpointConfig {
        name: Arc::from(provider.id.as_str()),
        kind: provider.kind,
        scheme: match base.scheme() {
            Scheme::Http => gate_upstream::Scheme::Http,
            Scheme::Https => gate_upstream::Scheme::Https,
        },
        authority: base.authority().to_owned(),
        path_prefix: base.prefix(provider.kind, provider.exact_base),
        query: base.query_with(&provider.query),
        auth: match provider.auth {
            gate_config::AuthStyle::Bearer => AuthStyle::Bearer,
            gate_config::AuthStyle::XApiKey => AuthStyle::XApiKey,
            gate_config::AuthStyle::ApiKey => AuthStyle::ApiKey,
            gate_config::AuthStyle::None => AuthStyle::None,
        },
        credential: provider.api_key.as_ref().map(|key| Credential::new(key.expose())),
        headers: headers(provider)?,
        default_version: version(provider)?,
        timeouts: timeouts(provider, server),
        tls: TlsSettings {
            roots: provider.ca_file.clone().map_or(Roots::Bundled, Roots::CaFile),
            client_identity: provider
                .client_identity
                .as_ref()
                .map(|identity| (identity.cert_file.clone(), identity.key_file.clone())),
        },
        pool: pool(provider),
    })
}

fn pool(provider: &Provider) -> PoolSettings {
    let default = PoolSettings::default();
    PoolSettings { max_connections: provider.max_connections.unwrap_or(default.max_connections), ..default }
}

/// A provider's `timeout` stands for both waits for a byte.
fn timeouts(provider: &Provider, server: &ServerConfig) -> Timeouts {
    let global = &server.timeouts;
    Timeouts {
        connection: global.connection,
        first_byte: provider.timeout.or(global.first_byte),
        read: provider.timeout.or(global.read),
        write: global.write,
        total: global.total,
    }
}

fn headers(provider: &Provider) -> Result<HeaderMap, EndpointError> {
    let mut headers = HeaderMap::with_capacity(provider.headers.len());
    for (name, value) in &provider.headers {
        let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = parsed.ok_or_else(|| EndpointError::header(&provider.id, name))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn version(provider: &Provider) -> Result<Option<HeaderValue>, EndpointError> {
    provider
        .anthropic_version
        .as_deref()
        .map(HeaderValue::from_str)
        .transpose()
        .map_err(|_| EndpointError::header(&provider.id, "anthropic-version"))
}

#[cfg(test)]
mod tests;
