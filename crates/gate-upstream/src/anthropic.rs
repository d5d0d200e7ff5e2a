//! What is particular to the Anthropic dialect on the way out.

use http::{HeaderName, HeaderValue};

use crate::AuthStyle;

/// How Anthropic's own API wants its key: `x-api-key: sk-ant-…`.
pub(crate) const DEFAULT_AUTH: AuthStyle = AuthStyle::XApiKey;

/// The header without which Anthropic's API refuses a request.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The version that is sent when neither the client nor the configuration names one. It is still
/// the newest: later features are switched on by `anthropic-beta`.
pub(crate) const DEFAULT_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
