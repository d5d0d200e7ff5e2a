//! One immutable configuration with everything prepared that a request needs from it. This is the
//! only place that turns configuration into upstream endpoints.

use std::sync::Arc;

use gate_balance::Registry;
use gate_config::{GateConfig, Provider, ProviderIndex, ProviderTree, Scheme, ServerConfig};
use gate_upstream::{
    AuthStyle, Credential, Endpoint, EndpointConfig, EndpointError, PoolSettings, Roots, Timeouts,
    TlsSettings, UpstreamClient,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::balance::Balance;
use crate::edge::HostGuard;
use crate::known_ways::KnownWays;
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
    /// Where requests go.
    pub(crate) balance: Balance,
    pub(crate) known_ways: KnownWays,
    /// Of each provider an endpoint for each of its keys, at least one.
    endpoints: Vec<Box<[Endpoint]>>,
    /// Of each provider its id as a header of its answers, where it can be one.
    ids: Vec<Option<HeaderValue>>,
}

impl Snapshot {
    /// Prepares a configuration.
    ///
    /// # Errors
    /// The first provider whose settings make no endpoint, such as a header that is none, or a
    /// certificate that cannot be used.
    pub(crate) fn try_new(
        config: GateConfig,
        upstream: &UpstreamClient,
        registry: &Registry,
    ) -> Result<Self, BuildError> {
        let GateConfig { server, providers, .. } = config;
        let endpoints = providers
            .providers()
            .map(|(_, provider)| {
                let endpoints = endpoints(provider, &server)?;
                // Certificates are read now: a bad file is a fault of the configuration, not of
                // the first request.
                endpoints.first().map_or(Ok(()), |endpoint| upstream.prepare(endpoint))?;
                Ok(endpoints)
            })
            .collect::<Result<_, EndpointError>>()?;
        let host_guard = HostGuard::new(&server);
        let tls = server.tls.as_ref().map(TlsAcceptor::try_new).transpose()?;
        let balance = Balance::new(&server, &providers, registry);
        let ids =
            providers.providers().map(|(_, provider)| HeaderValue::from_str(&provider.id).ok()).collect();
        let known_ways = KnownWays::default();
        Ok(Self { server, providers, host_guard, tls, balance, known_ways, endpoints, ids })
    }

    /// Returns the id of a provider as a header's value.
    pub(crate) fn id(&self, index: ProviderIndex) -> Option<HeaderValue> {
        self.ids.get(index.position()).cloned().flatten()
    }

    /// Returns the endpoint of a provider, with its first key.
    #[expect(clippy::indexing_slicing, reason = "endpoints were made for each provider of this tree")]
    pub(crate) fn endpoint(&self, index: ProviderIndex) -> &Endpoint {
        &self.endpoints[index.position()][0]
    }

    /// Returns the endpoint of a provider with one of its keys, counted from 0.
    pub(crate) fn endpoint_of(&self, index: ProviderIndex, key: u32) -> &Endpoint {
        let endpoints = self.endpoints.get(index.position());
        let endpoint = endpoints.and_then(|endpoints| endpoints.get(usize::try_from(key).ok()?));
        endpoint.unwrap_or_else(|| self.endpoint(index))
    }
}

/// Makes an endpoint for each key of a provider, and one where there is none. They share connections.
fn endpoints(provider: &Provider, server: &ServerConfig) -> Result<Box<[Endpoint]>, EndpointError> {
    let first = Endpoint::try_new(endpoint_config(provider, server)?)?;
    let others = provider.api_keys.iter().skip(1).map(|key| {
        let credential = Some(Credential::new(key.expose()));
        Endpoint::try_new(EndpointConfig { credential, ..endpoint_config(provider, server)? })
    });
    std::iter::once(Ok(first)).chain(others).collect()
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
