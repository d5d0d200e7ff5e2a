//! The credentials that a client sent, and which of all credentials goes upstream.

use gate_upstream::{AuthStyle, Credential, Endpoint, RequestCredential};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::client_headers::{ClientHeaders, Field};
use crate::error::{ApiError, ErrorCode};

/// The headers that say who asks.
const CREDENTIALS: [Field; 4] = [Field::Authorization, Field::XApiKey, Field::ApiKey, Field::XGatewayApiKey];

/// What a client sent to say who it is.
#[derive(Debug, Default)]
pub(crate) struct ClientCredentials {
    /// The header to pass on where a provider has no key of its own.
    own: Option<(HeaderName, HeaderValue)>,
    /// The key that stands among the subprotocols of a WebSocket: the same for who can set no header.
    offered: Option<Credential>,
    /// The key that the client wants used at the provider.
    for_provider: Option<Credential>,
}

impl ClientCredentials {
    /// Reads the credentials of a request.
    ///
    /// # Errors
    /// 400 if two of them differ: readers would disagree on who asks.
    pub(crate) fn parse(headers: ClientHeaders<'_>) -> Result<Self, ApiError> {
        // One alone agrees with itself.
        if headers.has_several(&CREDENTIALS) {
            must_agree(headers, &[])?;
        }
        let own = [Field::Authorization, Field::XApiKey].into_iter().find_map(|field| {
            let mut value = headers.get(field)?.clone();
            value.set_sensitive(true);
            Some((field.name(), value))
        });
        Ok(Self { own, offered: None, for_provider: provider_key(headers)? })
    }

    /// Adds the keys that the request of these headers offers as WebSocket subprotocols.
    ///
    /// # Errors
    /// 400 if one of them differs from another credential, as in [`Self::parse`].
    pub(crate) fn with_offered(self, headers: &HeaderMap, keys: &[&str]) -> Result<Self, ApiError> {
        must_agree(ClientHeaders::of(headers), keys)?;
        Ok(Self { offered: keys.first().map(|key| Credential::new(*key)), ..self })
    }

    /// Tells whether the client brings the key of the provider that it expects.
    pub(crate) fn is_for_provider(&self) -> bool {
        self.for_provider.is_some()
    }

    /// Chooses the credential for an endpoint: the client's explicit one for the provider, the
    /// provider's configured one, the client's own.
    ///
    /// # Errors
    /// 500 if there is none and the endpoint needs one.
    pub(crate) fn choose(&self, endpoint: &Endpoint) -> Result<RequestCredential, ApiError> {
        if endpoint.auth() == AuthStyle::None {
            return Ok(RequestCredential::None);
        }
        if let Some(key) = &self.for_provider {
            return Ok(RequestCredential::Key(key.clone()));
        }
        if endpoint.has_credential() {
            return Ok(RequestCredential::Configured);
        }
        match (&self.own, &self.offered) {
            (Some((name, value)), _) => Ok(RequestCredential::AsSent(name.clone(), value.clone())),
            // It came as no header, so it goes up as the one that the provider reads.
            (None, Some(key)) => Ok(RequestCredential::Key(key.clone())),
            (None, None) => Err(ApiError::new(
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

/// Checks that whoever asks says it once: in the headers, and in `keys` that came by another way.
fn must_agree(headers: ClientHeaders<'_>, keys: &[&str]) -> Result<(), ApiError> {
    let in_headers = CREDENTIALS
        .into_iter()
        .flat_map(|field| headers.get_all(field).map(move |value| token_of(field, value)));
    let mut tokens = in_headers.chain(keys.iter().map(|key| key.as_bytes()));
    let Some(first) = tokens.next() else { return Ok(()) };
    if tokens.all(|other| other == first) {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::AmbiguousCredentials,
        "two credentials that differ: send one of `authorization`, `x-api-key`, `api-key` and \
         `x-gateway-api-key`, or the same value in all of them",
    ))
}

/// Returns the secret part of a credential header.
fn token_of(field: Field, value: &HeaderValue) -> &[u8] {
    let bytes = value.as_bytes();
    match bytes.split_first_chunk::<7>() {
        Some((scheme, token)) if field == Field::Authorization && scheme.eq_ignore_ascii_case(b"bearer ") => {
            token.trim_ascii()
        }
        _ => bytes,
    }
}

fn provider_key(headers: ClientHeaders<'_>) -> Result<Option<Credential>, ApiError> {
    let mut values = headers.get_all(Field::XProviderApiKey);
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
