//! The credentials that a client sent, and which of all credentials goes upstream.

use gate_upstream::{AuthStyle, Credential, Endpoint, RequestCredential};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::error::{ApiError, ErrorCode};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const API_KEY: HeaderName = HeaderName::from_static("api-key");
const X_GATEWAY_API_KEY: HeaderName = HeaderName::from_static("x-gateway-api-key");
const X_PROVIDER_API_KEY: HeaderName = HeaderName::from_static("x-provider-api-key");

/// What a client sent to say who it is.
#[derive(Debug, Default)]
pub(crate) struct ClientCredentials {
    /// The header to pass on where a provider has no key of its own.
    own: Option<(HeaderName, HeaderValue)>,
    /// The key that the client wants used at the provider.
    for_provider: Option<Credential>,
}

impl ClientCredentials {
    /// Reads the credentials of a request.
    ///
    /// # Errors
    /// 400 if two of them differ: readers would disagree on who asks.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut token: Option<&[u8]> = None;
        for name in [header::AUTHORIZATION, X_API_KEY, API_KEY, X_GATEWAY_API_KEY] {
            for value in headers.get_all(&name) {
                let this = token_of(&name, value);
                if token.is_some_and(|other| other != this) {
                    return Err(ApiError::new(
                        ErrorCode::AmbiguousCredentials,
                        "two credentials that differ: send one of `authorization`, `x-api-key`, `api-key` and \
                         `x-gateway-api-key`, or the same value in all of them",
                    ));
                }
                token = Some(this);
            }
        }
        let own = [header::AUTHORIZATION, X_API_KEY].into_iter().find_map(|name| {
            let mut value = headers.get(&name)?.clone();
            value.set_sensitive(true);
            Some((name, value))
        });
        Ok(Self { own, for_provider: provider_key(headers)? })
    }

    /// Chooses the credential for an endpoint: the client's explicit one for the provider, the
    /// provider's configured one, the client's own.
    ///
    /// # Errors
    /// 500 if there is none and the endpoint needs one.
    pub(crate) fn choose(self, endpoint: &Endpoint) -> Result<RequestCredential, ApiError> {
        if endpoint.auth() == AuthStyle::None {
            return Ok(RequestCredential::None);
        }
        if let Some(key) = self.for_provider {
            return Ok(RequestCredential::Key(key));
        }
        if endpoint.has_credential() {
            return Ok(RequestCredential::Configured);
        }
        match self.own {
            Some((name, value)) => Ok(RequestCredential::AsSent(name, value)),
            None => Err(ApiError::new(
                ErrorCode::ProviderNotConfigured,
                format!(
                    "provider `{name}` has no key: set `api_key` in `[llm.provider.{name}]`, or send one as \
                     `x-provider-api-key`",
                    name = endpoint.name()
                ),
            )),
        }
    }
}

/// Returns the secret part of a credential header.
fn token_of<'v>(name: &HeaderName, value: &'v HeaderValue) -> &'v [u8] {
    let bytes = value.as_bytes();
    match bytes.split_first_chunk::<7>() {
        Some((scheme, token))
            if *name == header::AUTHORIZATION && scheme.eq_ignore_ascii_case(b"bearer ") =>
        {
            token.trim_ascii()
        }
        _ => bytes,
    }
}

fn provider_key(headers: &HeaderMap) -> Result<Option<Credential>, ApiError> {
    let mut values = headers.get_all(&X_PROVIDER_API_KEY).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(ApiError::new(
            ErrorCode::AmbiguousCredentials,
            "two values of `x-provider-api-key` that differ: send one",
        ));
    }
    match first.to_str() {
        Ok(key) if !key.is_empty() => Ok(Some(Credential::new(key))),
        _ => Err(ApiError::new(
            ErrorCode::BadRequest,
            "`x-provider-api-key` must be a key of visible ASCII characters",
        )),
    }
}

#[cfg(test)]
mod tests;
