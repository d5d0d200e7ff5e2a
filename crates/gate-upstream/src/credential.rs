//! Keys of providers, and how each is written into a request. A key never shows in `Debug`.

use std::fmt;
use std::sync::Arc;

use gate_model_ref::ProviderKind;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};

use crate::{anthropic, openai};

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// A provider's key. Cloning is cheap.
///
/// ```
/// let key = gate_upstream::Credential::new("sk-secret");
/// assert_eq!(format!("{key:?}"), "Credential(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Arc<str>);

impl Credential {
    /// Wraps a key.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// In which header a provider expects its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStyle {
    /// `authorization: Bearer <key>`
    Bearer,
    /// `x-api-key: <key>`
    XApiKey,
    /// `api-key: <key>`, as Azure has it.
    ApiKey,
    /// No key is sent, even if there is one.
    None,
}

impl AuthStyle {
    /// Returns the style of the vendor that a kind is named after.
    pub const fn default_for(kind: ProviderKind) -> Self {
        match kind {
            ProviderKind::OpenAi => openai::DEFAULT_AUTH,
            ProviderKind::Anthropic => anthropic::DEFAULT_AUTH,
        }
    }

    /// Writes a key as a header, marked as sensitive; nothing for [`AuthStyle::None`].
    ///
    /// # Errors
    /// The key holds a byte that no header value may hold.
    pub(crate) fn header(
        self,
        credential: &Credential,
    ) -> Result<Option<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
        let key = &*credential.0;
        let (name, value) = match self {
            Self::Bearer => (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {key}"))?),
            Self::XApiKey => (X_API_KEY, HeaderValue::from_str(key)?),
            Self::ApiKey => (API_KEY, HeaderValue::from_str(key)?),
            Self::None => return Ok(None),
        };
        let mut value = value;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

/// Which key a request carries.
#[derive(Clone, Debug)]
pub enum RequestCredential {
    /// The endpoint's own, if it has one.
    Configured,
    /// This one, written as the endpoint's [`AuthStyle`] says.
    Key(Credential),
    /// This header as it is: the client's own.
    AsSent(HeaderName, HeaderValue),
    /// None.
    None,
}
